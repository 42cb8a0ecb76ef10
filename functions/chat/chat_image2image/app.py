"""POST /v1/chat/image2image: queue a change to a picture of the conversation, or to a new one.

Say in `message` what should be different: "make this cat blue". The picture is `image` (base64, a
data URI, an https URL or the id of an upload), or else the last one of the conversation. The
answer is the job; read it by its `id` until its `status` is final, then show its `images`.
"""

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
