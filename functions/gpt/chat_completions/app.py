"""POST /v1/chat/completions: answer messages, at once or as a stream."""

from typing import Any

from robotchat.aws.api import Endpoint, EventStream
from robotchat.aws.gpt import completed
from robotchat.aws.wiring import chatbot
from robotchat.gpt.requests import ChatCompletionRequest

handler = Endpoint(scope="chat")


@handler.post("/v1/chat/completions")
def chat_completions(request: ChatCompletionRequest) -> dict[str, Any] | EventStream:
    handler.occupy()
    bot = chatbot()
    return completed(request.body(), whole=bot.chat_completion, stream=bot.stream_chat_completion)
