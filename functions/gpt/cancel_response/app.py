"""POST /v1/responses/{response_id}/cancel: stop a response that is made in the background."""

from typing import Any

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import responses

handler = Endpoint(scope="chat")


@handler.post("/v1/responses/<response_id>/cancel")
def cancel_response(response_id: str) -> dict[str, Any]:
    return responses().background.cancel(response_id, handler.tenant)
