"""POST /v1/images/edits: change a picture by words, in OpenAI's own bodies.

A multipart form with the files `image` and `mask`, or JSON. Where the mask is transparent the
picture is drawn anew; without a mask, all of it may change.
"""

from typing import Any

from robotchat.aws.api import Endpoint, EventStream, IdempotencyKey
from robotchat.aws.openai_images import created
from robotchat.hosts.openai_images import CreateImageEditRequest

handler = Endpoint(scope="images", forms=True)


@handler.post("/v1/images/edits")
def create_image_edit(
    request: CreateImageEditRequest, idempotency_key: IdempotencyKey = None
) -> dict[str, Any] | EventStream:
    return created(request, handler, idempotency_key=idempotency_key)
