"""GET /sdapi/v1/options: the options as they hold for the caller's requests.

An SD host's options, without what concerns its machine, under those that the caller's tenant has
set by `POST /sdapi/v1/options`.
"""

from typing import Any

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.get("/sdapi/v1/options")
def get_options() -> dict[str, Any]:
    return robot().webui_api.get_options(handler.tenant)
