"""POST /v1/images/generations: draw pictures from words, in OpenAI's own bodies.

The pictures come when they are drawn; with `stream`, previews before them as events. They are
drawn by the SD hosts, whatever OpenAI model is named. An `Idempotency-Key` makes it safe to ask
again.
"""

from typing import Any

from robotchat.aws.api import Endpoint, EventStream, IdempotencyKey
from robotchat.aws.openai_images import created
from robotchat.hosts.openai_images import CreateImageRequest

handler = Endpoint(scope="images")


@handler.post("/v1/images/generations")
def create_image(
    request: CreateImageRequest, idempotency_key: IdempotencyKey = None
) -> dict[str, Any] | EventStream:
    return created(request, handler, idempotency_key=idempotency_key)
