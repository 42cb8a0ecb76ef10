"""GET /sdapi/v1/upscalers: the ways to enlarge a picture."""

from robotchat.art.answers import Upscaler
from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.get("/sdapi/v1/upscalers")
def get_upscalers() -> list[Upscaler]:
    return robot().catalog.get_upscalers()
