"""GET /v1/models: the language models that can be asked."""

from typing import Any

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import chatbot

handler = Endpoint(scope="chat")


@handler.get("/v1/models")
def models() -> dict[str, Any]:
    return chatbot().models()
