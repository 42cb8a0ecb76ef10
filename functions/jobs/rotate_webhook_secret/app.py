"""POST /v1/webhook-secret/rotate: a new secret; those before it sign for another 24 hours."""

from robotchat.aws.api import Endpoint, IdempotencyKey
from robotchat.aws.wiring import webhooks
from robotchat.events.tenant_webhook import WebhookSecret

handler = Endpoint(scope="images")


@handler.post("/v1/webhook-secret/rotate")
def rotate_webhook_secret(idempotency_key: IdempotencyKey = None) -> WebhookSecret:
    return webhooks().rotate_secret(handler.tenant, idempotency_key=idempotency_key)
