"""GET /controlnet/model_list: ControlNet's models; `update` has the hosts look for new ones."""

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.get("/controlnet/model_list")
def get_controlnet_model_list(update: bool = True) -> dict[str, list[str]]:
    return {"model_list": robot().catalog.get_controlnet_models(update=update)}
