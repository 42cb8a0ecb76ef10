"""GET /sdapi/v1/sd-modules: the VAEs and text encoders that Forge's hosts can draw with."""

from robotchat.art.answers import Vae
from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.get("/sdapi/v1/sd-modules")
def get_modules() -> list[Vae]:
    return robot().catalog.get_modules()
