"""GET /v1/responses/{response_id}: a stored response, or its events from a given one on."""

from typing import Any

from robotchat.aws.api import Endpoint, EventStream
from robotchat.aws.gpt import responded
from robotchat.aws.wiring import responses

handler = Endpoint(scope="chat")


@handler.get("/v1/responses/<response_id>")
def get_response(
    response_id: str, stream: bool = False, starting_after: int = -1
) -> dict[str, Any] | EventStream:
    engine, tenant = responses(), handler.tenant
    if stream:
        return responded(
            lambda: engine.background.events(response_id, tenant, starting_after=starting_after)
        )
    return engine.get(response_id, tenant)
