"""POST /v1/chat/text2image: queue a picture drawn from the conversation so far.

Say in `message` what to draw, or what to change of the picture before it: "a beach", then "at
sunset". The answer is the job; read it by its `id` until its `status` is final, then show its
`images`. Send the next message with its `conversation_id`; without one, a new conversation
begins.
"""

from robotchat.aws.answers import take_turn
from robotchat.aws.api import Endpoint, IdempotencyKey, Response
from robotchat.conversation import ChatImageRequest
from robotchat.jobs.limits import Quote
from robotchat.views import JobView

handler = Endpoint(scope="images")


@handler.post("/v1/chat/text2image", status_code=202)
def chat_text2image(
    request: ChatImageRequest, idempotency_key: IdempotencyKey = None
) -> Response[JobView | Quote]:
    return take_turn(request, handler, idempotency_key)
