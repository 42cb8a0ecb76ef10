"""POST /v1/webhook-deliveries/{delivery_id}/redeliver: send a delivery again, now."""

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import webhooks
from robotchat.events.delivery import DeliveryView

handler = Endpoint(scope="images")


@handler.post("/v1/webhook-deliveries/<delivery_id>/redeliver", status_code=202)
def redeliver_webhook(delivery_id: str) -> DeliveryView:
    return DeliveryView.of(webhooks().redeliver(delivery_id, handler.tenant))
