"""POST /sdapi/v1/extra-single-image: enlarge or repair a picture; the caller waits."""

from typing import Any

from robotchat.aws.answers import time_left
from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot
from robotchat.hosts.webui_api import UpscaleRequest

handler = Endpoint(scope="images")


@handler.post("/sdapi/v1/extra-single-image")
def extra_single_image(request: UpscaleRequest) -> dict[str, Any]:
    handler.occupy()
    return robot().webui_api.upscale(request, time_left=time_left(handler.lambda_context))
