"""GET /v1/conversations/{conversation_id}/items/{item_id}: one of the things said or drawn."""

from typing import Any

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import responses, viewer

handler = Endpoint(scope=("chat", "jobs:read"))


@handler.get("/v1/conversations/<conversation_id>/items/<item_id>")
def get_conversation_item(conversation_id: str, item_id: str) -> dict[str, Any]:
    return responses().conversations.item(
        conversation_id, item_id, handler.tenant, show=viewer().item
    )
