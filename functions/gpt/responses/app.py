"""POST /v1/responses: respond, remembering what was said before; at once, streamed or later."""

from typing import Any

from robotchat.aws.api import Endpoint, EventStream, IdempotencyKey
from robotchat.aws.gpt import may_draw, needs_model, responded
from robotchat.aws.wiring import responses as all_responses
from robotchat.gpt.requests import ResponseRequest

handler = Endpoint(scope="chat")


@handler.post("/v1/responses")
def responses(
    request: ResponseRequest, idempotency_key: IdempotencyKey = None
) -> dict[str, Any] | EventStream:
    body, tenant = request.body(), handler.tenant
    may_draw(body)
    if request.stream or not body.get("background"):
        handler.occupy()
    engine = all_responses(new=needs_model(body))
    if request.stream:
        return responded(
            lambda: engine.stream(body, tenant, idempotency_key=idempotency_key),
            follows=bool(body.get("background")),
        )
    return engine.create(body, tenant, idempotency_key=idempotency_key)
