"""GET /v1/models/{model+}: one of the language models, whose id may have slashes in it."""

from typing import Any

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import chatbot

handler = Endpoint(scope="chat")


@handler.get("/v1/models/<model>")
def get_model(model: str) -> dict[str, Any]:
    return chatbot().model(model)
