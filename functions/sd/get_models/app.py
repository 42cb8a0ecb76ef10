"""GET /sdapi/v1/sd-models: the checkpoints that a request may name."""

from robotchat.art.answers import Model
from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.get("/sdapi/v1/sd-models")
def get_models() -> list[Model]:
    return robot().catalog.get_models()
