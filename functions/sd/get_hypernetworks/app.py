"""GET /sdapi/v1/hypernetworks: the hypernetworks that a prompt may name."""

from typing import Any

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.get("/sdapi/v1/hypernetworks")
def get_hypernetworks() -> list[dict[str, Any]]:
    return robot().catalog.get_named("hypernetworks")
