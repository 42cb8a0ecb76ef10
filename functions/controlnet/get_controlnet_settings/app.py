"""GET /controlnet/settings: how many ControlNet units a request may have."""

from robotchat.art.answers import ControlNetSettings
from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.get("/controlnet/settings")
def get_controlnet_settings() -> ControlNetSettings:
    return robot().catalog.get_controlnet_settings()
