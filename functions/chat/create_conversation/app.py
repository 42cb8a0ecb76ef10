"""POST /v1/conversations: begin a conversation before anything is asked in it."""

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import responses, viewer
from robotchat.views import ConversationRequest, ConversationView

handler = Endpoint(scope=("chat", "images"))


@handler.post("/v1/conversations")
def create_conversation(request: ConversationRequest) -> ConversationView:
    conversation = responses().create_conversation(
        handler.tenant, metadata=request.metadata, items=request.items
    )
    return viewer().conversation(conversation)
