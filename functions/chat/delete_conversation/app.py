"""DELETE /v1/conversations/{conversation_id}: forget all that was said and drawn in it."""

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot
from robotchat.views import Deleted

handler = Endpoint(scope=("chat", "images"))


@handler.delete("/v1/conversations/<conversation_id>")
def delete_conversation(conversation_id: str) -> Deleted:
    robot().delete_conversation(conversation_id, tenant=handler.tenant)
    return Deleted(id=conversation_id, object="conversation.deleted")
