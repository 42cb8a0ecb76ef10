"""POST /v1/conversations: begin a conversation before anything is asked in it."""

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import responses, viewer
from robotchat.views import ConversationRequest, ConversationView

handler = Endpoint(scope=("chat", "images"))


@handler.post("/v1/conversations")
def create_conversation(request: ConversationRequest | None = None) -> ConversationView:
    begun = request or ConversationRequest()
    conversation = responses().conversations.create(
        handler.tenant, metadata=begun.metadata, items=begun.items
    )
    return viewer().conversation(conversation)
