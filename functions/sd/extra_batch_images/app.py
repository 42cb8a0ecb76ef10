"""POST /sdapi/v1/extra-batch-images: enlarge or repair several pictures; the caller waits."""

from typing import Any

from robotchat.aws.answers import time_left
from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot
from robotchat.hosts.webui_api import UpscaleBatchRequest

handler = Endpoint(scope="images")


@handler.post("/sdapi/v1/extra-batch-images")
def extra_batch_images(request: UpscaleBatchRequest) -> dict[str, Any]:
    handler.occupy()
    return robot().webui_api.upscale_batch(request, time_left=time_left(handler.lambda_context))
