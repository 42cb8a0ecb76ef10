"""GET /sdapi/v1/loras: the LoRAs that a prompt may name."""

from robotchat.art.answers import Lora
from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.get("/sdapi/v1/loras")
def get_loras() -> list[Lora]:
    return robot().catalog.get_loras()
