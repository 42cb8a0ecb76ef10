"""GET /v1/responses/{response_id}/input_items: what a stored response was asked."""

from typing import Annotated, Any, Literal

from robotchat.aws.api import Endpoint, Query
from robotchat.aws.wiring import responses

handler = Endpoint(scope="chat")


@handler.get("/v1/responses/<response_id>/input_items")
def response_input_items(
    response_id: str,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
    after: str | None = None,
) -> dict[str, Any]:
    return responses().input_items(
        response_id, handler.tenant, limit=limit, order=order, after=after
    )
