"""GET /sdapi/v1/script-info: the scripts that a request may name, with their arguments."""

from robotchat.art.answers import ScriptInfo
from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.get("/sdapi/v1/script-info")
def get_script_info() -> list[ScriptInfo]:
    return robot().catalog.get_script_info()
