"""POST /sdapi/v1/options: set defaults for the caller's own further requests.

They go along with every request of the caller's tenant, where it does not set them itself by
`override_settings`; null takes one back, as does the hosts' own value. Only what differs from what
`GET` shows is set, so that all options may be posted back to change one. The options of the SD
hosts never change, since others draw on them too. Options that concern a host's machine, and those
that no host has, are refused.
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
