"""POST /sdapi/v1/options: set defaults for the caller's own further requests.

They go along with every request of the caller's tenant, where it does not set them itself by
`override_settings`; null takes one back. The options of the SD hosts never change, since others
draw on them too. Options that concern a host's machine are refused.
"""

from typing import Any

from robotchat.aws.answers import nothing
from robotchat.aws.api import Endpoint, Response
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.post("/sdapi/v1/options")
def set_options(options: dict[str, Any]) -> Response[None]:
    robot().webui_api.set_options(options, handler.tenant)
    return nothing({"X-Options-Scope": "tenant"})
