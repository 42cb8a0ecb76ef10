"""POST /v1/conversations: begin a conversation before anything is said in it."""

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot, viewer
from robotchat.views import ConversationRequest, ConversationView

handler = Endpoint(scope="images")


@handler.post("/v1/conversations")
def create_conversation(request: ConversationRequest) -> ConversationView:
    conversation = robot().conversations.create(handler.tenant, metadata=request.metadata)
    return viewer().conversation(conversation)
