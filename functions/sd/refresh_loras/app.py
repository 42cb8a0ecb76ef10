"""POST /sdapi/v1/refresh-loras: have every SD host look for new LoRAs."""

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.post("/sdapi/v1/refresh-loras")
def refresh_loras() -> None:
    robot().catalog.refresh_loras()
