"""GET /v1/webhook-deliveries: what was sent to the caller's webhooks, newest first."""

from robotchat.aws.api import Endpoint, PageLimit
from robotchat.aws.wiring import webhooks
from robotchat.events.delivery import DeliveryList, DeliveryState, DeliveryView
from robotchat.records import PAGE_SIZE

handler = Endpoint(scope="jobs:read")


@handler.get("/v1/webhook-deliveries")
def list_webhook_deliveries(
    job_id: str | None = None,
    state: DeliveryState | None = None,
    limit: PageLimit = PAGE_SIZE,
    cursor: str | None = None,
) -> DeliveryList:
    found, following = webhooks().of_tenant(
        handler.tenant, job_id=job_id, state=state, limit=limit, cursor=cursor
    )
    return DeliveryList(data=[DeliveryView.of(one) for one in found], next_cursor=following)
