"""GET /v1/webhook: where jobs are told whose requests name no webhook."""

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import webhooks
from robotchat.events.tenant_webhook import WebhookView

handler = Endpoint(scope="images")


@handler.get("/v1/webhook")
def get_webhook() -> WebhookView:
    return WebhookView.of(webhooks().settled(handler.tenant))
