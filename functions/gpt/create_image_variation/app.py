"""POST /v1/images/variations: draw a picture like another one, in OpenAI's own bodies.

A multipart form with the file `image`, or JSON.
"""

from typing import Any

from robotchat.aws.api import Endpoint, EventStream, IdempotencyKey
from robotchat.aws.openai_images import created
from robotchat.hosts.openai_images import CreateImageVariationRequest

handler = Endpoint(scope="images", forms=True)


@handler.post("/v1/images/variations")
def create_image_variation(
    request: CreateImageVariationRequest, idempotency_key: IdempotencyKey = None
) -> dict[str, Any] | EventStream:
    return created(request, handler, idempotency_key=idempotency_key)
