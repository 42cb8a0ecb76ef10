"""POST /v1/chat/text2image: queue a picture drawn from the conversation so far."""

from robotchat.aws.answers import accepted
from robotchat.aws.api import Endpoint, IdempotencyKey, Response
from robotchat.aws.wiring import robot
from robotchat.conversation import ChatImageRequest
from robotchat.views import JobView

handler = Endpoint(scope="images")


@handler.post("/v1/chat/text2image", status_code=202)
def chat_text2image(
    request: ChatImageRequest, idempotency_key: IdempotencyKey = None
) -> Response[JobView]:
    return accepted(
        robot().submit_chat_image(request, tenant=handler.tenant, idempotency_key=idempotency_key)
    )
