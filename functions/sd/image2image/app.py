"""POST /sdapi/v1/img2img: draw a picture from a picture and words; the caller waits.

With `Prefer: wait=N`, for N seconds; with `Prefer: respond-async`, not at all. When that is not
enough the answer is 202 with the job, whose `Location` tells the rest. An `Idempotency-Key` makes
it safe to ask again. `webhook`, `metadata`, `expires_in` and `deadline` are the job's; with
`dry_run`, the answer is what the request would cost. The header `x-ignored-fields` names fields
that were not understood.
"""

from typing import Annotated, Any

from robotchat.aws.answers import draw
from robotchat.aws.api import Endpoint, Header, IdempotencyKey, Response
from robotchat.jobs.asking import Image2ImageBody
from robotchat.jobs.limits import Quote
from robotchat.views import JobView

handler = Endpoint(scope="images")


@handler.post("/sdapi/v1/img2img")
def image2image(
    body: Image2ImageBody,
    prefer: Annotated[str | None, Header()] = None,
    idempotency_key: IdempotencyKey = None,
) -> Response[dict[str, Any] | JobView | Quote]:
    return draw(body, handler, prefer=prefer, idempotency_key=idempotency_key)
