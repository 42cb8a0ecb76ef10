"""PUT /v1/webhook: set where jobs are told whose requests name no webhook."""

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import webhooks
from robotchat.events.tenant_webhook import WebhookSettings, WebhookView

handler = Endpoint(scope="images")


@handler.put("/v1/webhook")
def set_webhook(request: WebhookSettings) -> WebhookView:
    return WebhookView.of(webhooks().set_target(handler.tenant, request.target()))
