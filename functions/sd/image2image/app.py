"""POST /sdapi/v1/img2img: draw a picture from a picture and words; the caller waits."""

from typing import Annotated, Any

from robotchat.art import Image2ImageRequest
from robotchat.aws.answers import drawn, shift
from robotchat.aws.api import Endpoint, Header
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.post("/sdapi/v1/img2img")
def image2image(
    request: Image2ImageRequest, idempotency_key: Annotated[str | None, Header()] = None
) -> dict[str, Any]:
    job = robot().image2image(
        request,
        tenant=handler.tenant,
        idempotency_key=idempotency_key,
        shift=shift(handler.lambda_context),
    )
    return drawn(job, request)
