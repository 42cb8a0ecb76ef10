"""GET /v1/conversations: the caller's conversations, the last used first."""

from typing import Annotated

from robotchat.aws.api import Endpoint, Query
from robotchat.aws.wiring import robot, viewer
from robotchat.views import ConversationList

handler = Endpoint(scope=("chat", "jobs:read"))


@handler.get("/v1/conversations")
def list_conversations(
    limit: Annotated[int, Query(ge=1, le=100)] = 20, cursor: str | None = None
) -> ConversationList:
    found, following = robot().conversations.of_tenant(handler.tenant, limit=limit, cursor=cursor)
    return viewer().conversations(found, following)
