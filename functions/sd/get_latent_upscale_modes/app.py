"""GET /sdapi/v1/latent-upscale-modes: the upscalers that work before the picture is decoded."""

from typing import Any

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.get("/sdapi/v1/latent-upscale-modes")
def get_latent_upscale_modes() -> list[dict[str, Any]]:
    return robot().catalog.get_named("latent-upscale-modes")
