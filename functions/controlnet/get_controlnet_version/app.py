"""GET /controlnet/version: the version of ControlNet's API."""

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.get("/controlnet/version")
def get_controlnet_version() -> dict[str, int]:
    return {"version": robot().catalog.get_controlnet_version()}
