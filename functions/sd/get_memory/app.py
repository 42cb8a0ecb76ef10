"""GET /sdapi/v1/memory: use of the SD hosts' memory, added up."""

from typing import Any

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.get("/sdapi/v1/memory")
def get_memory() -> dict[str, Any]:
    return robot().catalog.get_memory()
