"""GET /v1/responses/{response_id}: a stored response, or its events from a given one on.

A connection to the events ends after two and a half minutes; who comes back asks for those after
the last `sequence_number` that it has seen, by `starting_after` or the header `Last-Event-ID`.
"""

from typing import Annotated, Any

from robotchat.aws.api import Endpoint, EventStream, Header, Query
from robotchat.aws.gpt import responded, sequence_number
from robotchat.aws.wiring import responses

handler = Endpoint(scope="chat")


@handler.get("/v1/responses/<response_id>")
def get_response(
    response_id: str,
    stream: bool = False,
    starting_after: Annotated[int, Query(ge=-1, le=2**63 - 1)] = -1,
    last_event_id: Annotated[str | None, Header()] = None,
) -> dict[str, Any] | EventStream:
    engine, tenant = responses(), handler.tenant
    if stream:
        handler.occupy()
        after = max(starting_after, sequence_number(last_event_id))
        return responded(
            lambda: engine.background.events(response_id, tenant, starting_after=after),
            follows=True,
        )
    return engine.get(response_id, tenant)
