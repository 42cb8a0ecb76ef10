"""GET /v1/conversations/{conversation_id}/items: what was said and drawn, page by page."""

from typing import Any, Literal

from robotchat.aws.api import Endpoint, PageLimit
from robotchat.aws.wiring import responses, viewer
from robotchat.records import PAGE_SIZE

handler = Endpoint(scope=("chat", "jobs:read"))


@handler.get("/v1/conversations/<conversation_id>/items")
def list_conversation_items(
    conversation_id: str,
    limit: PageLimit = PAGE_SIZE,
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
