"""GET /sdapi/v1/extensions: what is installed on the SD hosts beside the web UI."""

from robotchat.art.answers import Extension
from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.get("/sdapi/v1/extensions")
def get_extensions() -> list[Extension]:
    return robot().catalog.get_extensions()
