"""GET /openapi.json: the description of this API (OpenAPI 3.1)."""

from typing import Any

from robotchat.aws.api import Endpoint
from robotchat.aws.document import openapi_document

handler = Endpoint(public=True)


@handler.get("/openapi.json")
def openapi() -> dict[str, Any]:
    return openapi_document()
