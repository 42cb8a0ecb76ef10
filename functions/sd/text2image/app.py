"""POST /sdapi/v1/txt2img: draw a picture from words; the caller waits."""

from typing import Annotated, Any

from robotchat.art import Text2ImageRequest
from robotchat.aws.answers import drawn, shift
from robotchat.aws.api import Endpoint, Header
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.post("/sdapi/v1/txt2img")
def text2image(
    request: Text2ImageRequest, idempotency_key: Annotated[str | None, Header()] = None
) -> dict[str, Any]:
    job = robot().text2image(
        request,
        tenant=handler.tenant,
        idempotency_key=idempotency_key,
        shift=shift(handler.lambda_context),
    )
    return drawn(job, request)
