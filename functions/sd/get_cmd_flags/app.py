"""GET /sdapi/v1/cmd-flags: an SD host's command-line flags, as far as they are harmless."""

from typing import Any

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.get("/sdapi/v1/cmd-flags")
def get_cmd_flags() -> dict[str, Any]:
    return robot().catalog.get_cmd_flags()
