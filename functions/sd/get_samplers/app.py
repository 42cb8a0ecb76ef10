"""GET /sdapi/v1/samplers: the samplers that a request may name."""

from robotchat.art.answers import Sampler
from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.get("/sdapi/v1/samplers")
def get_samplers() -> list[Sampler]:
    return robot().catalog.get_samplers()
