"""GET /sdapi/v1/realesrgan-models: the Real-ESRGAN upscalers."""

from typing import Any

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.get("/sdapi/v1/realesrgan-models")
def get_realesrgan_models() -> list[dict[str, Any]]:
    return robot().catalog.get_named("realesrgan-models")
