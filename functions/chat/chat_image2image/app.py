"""POST /v1/chat/image2image: queue a change to a picture of the conversation, or to a new one."""

from robotchat.aws.answers import take_turn
from robotchat.aws.api import Endpoint, IdempotencyKey, Response
from robotchat.conversation import ChatEditRequest
from robotchat.jobs.limits import Quote
from robotchat.views import JobView

handler = Endpoint(scope="images")


@handler.post("/v1/chat/image2image", status_code=202)
def chat_image2image(
    request: ChatEditRequest, idempotency_key: IdempotencyKey = None
) -> Response[JobView | Quote]:
    return take_turn(request, handler, idempotency_key)
