"""DELETE /v1/conversations/{conversation_id}: forget a conversation, its turns and pictures."""

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot
from robotchat.views import Deleted

handler = Endpoint(scope="images")


@handler.delete("/v1/conversations/<conversation_id>")
def delete_conversation(conversation_id: str) -> Deleted:
    robot().delete_conversation(conversation_id, tenant=handler.tenant)
    return Deleted(id=conversation_id, object="conversation.deleted")
