"""POST /v1/responses/input_tokens: how long a request would be, from an upstream that counts.

What the request continues is counted with it.
"""

from typing import Any

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import responses
from robotchat.gpt.requests import ResponseRequest

handler = Endpoint(scope="chat")


@handler.post("/v1/responses/input_tokens")
def count_input_tokens(request: ResponseRequest) -> dict[str, Any]:
    return responses(new=True).count_input_tokens(request.body(), handler.tenant)
