"""DELETE /v1/responses/{response_id}: forget a stored response."""

from typing import Any

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import responses

handler = Endpoint(scope="chat")


@handler.delete("/v1/responses/<response_id>")
def delete_response(response_id: str) -> dict[str, Any]:
    return responses().delete(response_id, handler.tenant)
