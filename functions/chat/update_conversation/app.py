"""POST /v1/conversations/{conversation_id}: replace a conversation's metadata."""

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import responses, viewer
from robotchat.views import ConversationUpdate, ConversationView

handler = Endpoint(scope=("chat", "images"))


@handler.post("/v1/conversations/<conversation_id>")
def update_conversation(conversation_id: str, request: ConversationUpdate) -> ConversationView:
    conversation = responses().conversations.update(
        conversation_id, handler.tenant, metadata=request.metadata or {}
    )
    return viewer().conversation(conversation)
