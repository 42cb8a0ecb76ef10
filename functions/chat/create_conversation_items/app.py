"""POST /v1/conversations/{conversation_id}/items: put items into a conversation."""

from typing import Any

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import responses
from robotchat.views import ItemsRequest

handler = Endpoint(scope="chat")


@handler.post("/v1/conversations/<conversation_id>/items")
def create_conversation_items(conversation_id: str, request: ItemsRequest) -> dict[str, Any]:
    return responses().conversations.add_items(conversation_id, request.items, handler.tenant)
