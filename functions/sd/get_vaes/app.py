"""GET /sdapi/v1/sd-vae: the VAEs that `override_settings.sd_vae` may name."""

from robotchat.art.answers import Vae
from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.get("/sdapi/v1/sd-vae")
def get_vaes() -> list[Vae]:
    return robot().catalog.get_vaes()
