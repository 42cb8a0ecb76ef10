"""DELETE /v1/conversations/{conversation_id}/items/{item_id}: forget one item.

The items of a picture turn go together, and with them its pictures: it is the job that is deleted.
"""

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import responses, robot, viewer
from robotchat.views import ConversationView

handler = Endpoint(scope=("chat", "images"))


@handler.delete("/v1/conversations/<conversation_id>/items/<item_id>")
def delete_conversation_item(conversation_id: str, item_id: str) -> ConversationView:
    drawn = responses().conversations.delete_item(conversation_id, item_id, handler.tenant)
    if drawn is not None:
        robot().delete_job(drawn.id, tenant=handler.tenant)
    return viewer().conversation(robot().conversations.get(conversation_id, handler.tenant))
