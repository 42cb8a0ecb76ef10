"""POST /v1/completions: continue a prompt, at once or as a stream."""

from typing import Any

from robotchat.aws.api import Endpoint, EventStream
from robotchat.aws.gpt import completed
from robotchat.aws.wiring import chatbot
from robotchat.gpt.requests import CompletionRequest

handler = Endpoint(scope="chat")


@handler.post("/v1/completions")
def completions(request: CompletionRequest) -> dict[str, Any] | EventStream:
    handler.occupy()
    bot = chatbot()
    return completed(request.body(), whole=bot.completion, stream=bot.stream_completion)
