"""GET /v1/conversations/{conversation_id}: a conversation with its turns and their pictures."""

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot, viewer
from robotchat.views import ConversationView

handler = Endpoint(scope=("chat", "jobs:read"))


@handler.get("/v1/conversations/<conversation_id>")
def get_conversation(conversation_id: str) -> ConversationView:
    conversation = robot().conversations.get(conversation_id, handler.tenant)
    turns = viewer().turns(robot().conversations.turns(conversation.id))
    return viewer().conversation(conversation, turns)
