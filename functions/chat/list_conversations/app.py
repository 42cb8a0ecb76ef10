"""GET /v1/conversations: the caller's conversations, the last used first."""

from robotchat.aws.api import Endpoint, PageLimit
from robotchat.aws.wiring import robot, viewer
from robotchat.records import PAGE_SIZE
from robotchat.views import ConversationList

handler = Endpoint(scope=("chat", "jobs:read"))


@handler.get("/v1/conversations")
def list_conversations(limit: PageLimit = PAGE_SIZE, cursor: str | None = None) -> ConversationList:
    found, following = robot().conversations.of_tenant(handler.tenant, limit=limit, cursor=cursor)
    return viewer().conversations(found, following)
