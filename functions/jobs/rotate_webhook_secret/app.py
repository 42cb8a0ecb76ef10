"""POST /v1/webhook-secret/rotate: a new secret; the one before it signs for another 24 hours."""

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import webhooks
from robotchat.events.webhooks import WebhookSecret

handler = Endpoint(scope="images")


@handler.post("/v1/webhook-secret/rotate")
def rotate_webhook_secret() -> WebhookSecret:
    return webhooks().rotate_secret(handler.tenant)
