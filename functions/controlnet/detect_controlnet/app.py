"""POST /controlnet/detect: run a ControlNet preprocessor on pictures; the caller waits."""

from robotchat.art.answers import Detection, DetectRequest
from robotchat.aws.answers import time_left
from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.post("/controlnet/detect")
def detect_controlnet(request: DetectRequest) -> Detection:
    handler.occupy()
    return robot().webui_api.detect_controlnet(request, time_left=time_left(handler.lambda_context))
