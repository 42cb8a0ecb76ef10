"""GET /v1/webhook-secret: what the caller's receivers verify signatures with."""

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import webhooks
from robotchat.events.tenant_webhook import WebhookSecret

handler = Endpoint(scope="images")


@handler.get("/v1/webhook-secret")
def get_webhook_secret() -> WebhookSecret:
    return webhooks().secret(handler.tenant)
