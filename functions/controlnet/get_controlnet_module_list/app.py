"""GET /controlnet/module_list: ControlNet's preprocessors."""

from robotchat.art.answers import ControlNetModules
from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.get("/controlnet/module_list")
def get_controlnet_module_list(alias_names: bool = False) -> ControlNetModules:
    return robot().catalog.get_controlnet_modules(alias_names=alias_names)
