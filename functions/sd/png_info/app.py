"""POST /sdapi/v1/png-info: read the text that was written into a picture when it was drawn."""

from robotchat.art.answers import PngInfo
from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot
from robotchat.hosts.webui_api import PngInfoRequest

handler = Endpoint(scope="images")


@handler.post("/sdapi/v1/png-info")
def png_info(request: PngInfoRequest) -> PngInfo:
    return robot().webui_api.png_info(request)
