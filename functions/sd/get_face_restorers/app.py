"""GET /sdapi/v1/face-restorers: the ways to repair faces."""

from typing import Any

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import robot

handler = Endpoint(scope="images")


@handler.get("/sdapi/v1/face-restorers")
def get_face_restorers() -> list[dict[str, Any]]:
    return robot().catalog.get_named("face-restorers")
