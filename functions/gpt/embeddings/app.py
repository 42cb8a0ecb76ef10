"""POST /v1/embeddings: texts as vectors, from an upstream that makes them."""

from typing import Any

from robotchat.aws.api import Endpoint
from robotchat.aws.wiring import chatbot
from robotchat.gpt.requests import EmbeddingRequest

handler = Endpoint(scope="chat")


@handler.post("/v1/embeddings")
def embeddings(request: EmbeddingRequest) -> dict[str, Any]:
    return chatbot().embeddings(request.body())
