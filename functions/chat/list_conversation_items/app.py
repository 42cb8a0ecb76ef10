"""GET /v1/conversations/{conversation_id}/items: what was said and drawn, page by page."""

from typing import Annotated, Any, Literal

from robotchat.aws.api import Endpoint, Query
from robotchat.aws.wiring import responses, viewer

handler = Endpoint(scope=("chat", "jobs:read"))


@handler.get("/v1/conversations/<conversation_id>/items")
def list_conversation_items(
    conversation_id: str,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
    after: str | None = None,
) -> dict[str, Any]:
    return responses().conversations.list_items(
        conversation_id,
        handler.tenant,
        limit=limit,
        order=order,
        after=after,
        show=viewer().item,
    )
