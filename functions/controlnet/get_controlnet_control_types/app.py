"""GET /controlnet/control_types: which ControlNet preprocessors and models go together."""

from robotchat.art.answers import ControlType
from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.get("/controlnet/control_types")
def get_controlnet_control_types() -> dict[str, dict[str, ControlType]]:
    return {"control_types": robot().catalog.get_controlnet_control_types()}
