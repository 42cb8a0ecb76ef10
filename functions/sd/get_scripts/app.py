"""GET /sdapi/v1/scripts: the scripts that a request may name."""

from robotchat.art.answers import Scripts
from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.get("/sdapi/v1/scripts")
def get_scripts() -> Scripts:
    return robot().catalog.get_scripts()
