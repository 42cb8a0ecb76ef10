"""GET /v1/responses/{response_id}/input_items: what a stored response was asked."""

from typing import Any, Literal

from robotchat.aws.api import Endpoint, PageLimit
from robotchat.aws.wiring import responses
from robotchat.records import PAGE_SIZE

handler = Endpoint(scope="chat")


@handler.get("/v1/responses/<response_id>/input_items")
def response_input_items(
    response_id: str,
    limit: PageLimit = PAGE_SIZE,
    order: Literal["asc", "desc"] = "desc",
    after: str | None = None,
) -> dict[str, Any]:
    return responses().input_items(
        response_id, handler.tenant, limit=limit, order=order, after=after
    )
