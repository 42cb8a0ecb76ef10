"""A request of the Responses API: what may be asked, and the response object that answers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from robotchat.errors import InvalidRequest
from robotchat.gpt.driver import Body
from robotchat.gpt.responses import image_tool
from robotchat.gpt.responses.items import parse_items
from robotchat.gpt.responses.tools import check_choice, check_tools

TRANSLATED = frozenset(
    {
        "background",
        "client_metadata",
        "context_management",
        "conversation",
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "model",
        "parallel_tool_calls",
        "previous_response_id",
        "reasoning",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
    }
)
"""Fields that are translated, or for us alone; every other one goes to the upstream as it is."""

_TYPES: Mapping[str, tuple[type, ...]] = {
    "background": (bool,),
    "include": (list,),
    "instructions": (str,),
    "max_output_tokens": (int,),
    "max_tool_calls": (int,),
    "metadata": (dict,),
    "model": (str,),
    "parallel_tool_calls": (bool,),
    "previous_response_id": (str,),
    "reasoning": (dict,),
    "store": (bool,),
    "stream": (bool,),
    "stream_options": (dict,),
    "temperature": (int, float),
    "text": (dict,),
    "tool_choice": (str, dict),
    "tools": (list,),
    "top_logprobs": (int,),
    "top_p": (int, float),
    "truncation": (str,),
}
_JSON_NAMES = {bool: "boolean", int: "integer", float: "number", str: "string"}
_JSON_NAMES |= {dict: "object", list: "array"}


@dataclass(frozen=True)
class Request:
    """A checked ``POST /v1/responses``: the body, and its input as items."""

    body: Mapping[str, Any]
    items: list[Body]

    @property
    def conversation_id(self) -> str | None:
        conversation = self.body.get("conversation")
        return conversation["id"] if isinstance(conversation, dict) else conversation

    @property
    def previous_response_id(self) -> str | None:
        return self.body.get("previous_response_id")

    @property
    def stored(self) -> bool:
        return self.body.get("store") is not False

    @property
    def background(self) -> bool:
        return bool(self.body.get("background"))

    @property
    def model(self) -> str | None:
        return self.body.get("model")

    @property
    def image_tool(self) -> Mapping[str, Any] | None:
        """The tool that draws, if the model may use it."""
        choice = self.body.get("tool_choice")
        if choice == "none":
            return None
        allowed = choice.get("tools") if isinstance(choice, dict) else None
        if allowed is not None and image_tool.image_tool(allowed) is None:
            return None
        return image_tool.image_tool(self.body.get("tools", ()))

    @property
    def auto_truncation(self) -> bool:
        return self.body.get("truncation") == "auto"


def parse_request(body: Mapping[str, Any]) -> Request:
    """Check the body of ``POST /v1/responses``. Raises InvalidRequest, naming the field."""
    body = {name: value for name, value in body.items() if value is not None}
    for name, types in _TYPES.items():
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            wanted = " or ".join(_JSON_NAMES[t] for t in types)
            raise InvalidRequest(f"'{name}' must be of type {wanted}.", param=name)
    if "prompt" in body:
        raise InvalidRequest("Stored prompts are not supported: send 'input'.", param="prompt")
    if "input" not in body:
        raise InvalidRequest("Missing required parameter: 'input'.", param="input")
    _check_conversation(body)
    check_metadata(body.get("metadata", {}))
    if body.get("truncation", "disabled") not in ("auto", "disabled"):
        raise InvalidRequest("'truncation' must be 'auto' or 'disabled'.", param="truncation")
    for name in ("max_output_tokens", "max_tool_calls"):
        if body.get(name, 1) < 1:
            raise InvalidRequest(f"'{name}' must be at least 1.", param=name)
    _check_text(body.get("text", {}))
    if body.get("background") and body.get("store") is False:
        raise InvalidRequest("A response in the background must be stored.", param="store")
    check_tools(body.get("tools", ()))
    if "tools" in body:
        body["tools"] = [_without_nulls(tool) for tool in body["tools"]]
    check_choice(body.get("tool_choice"), body.get("tools", ()))
    if len(items := parse_items(body["input"], "input")) == 0:
        raise InvalidRequest("'input' is empty.", param="input")
    return Request(body, items)


def _without_nulls(tool: Body) -> Body:
    """A tool that draws, without the fields that its sender has left open."""
    if tool["type"] != image_tool.TOOL:
        return tool
    return {name: value for name, value in tool.items() if value is not None}


def _check_text(text: Mapping[str, Any]) -> None:
    wanted = text.get("format")
    if wanted is None:
        return
    if not isinstance(wanted, dict):
        raise InvalidRequest("'text.format' must be of type object.", param="text.format")
    for name, kind in (("type", str), ("name", str), ("schema", dict)):
        value = wanted.get(name)
        if value is not None and not isinstance(value, kind):
            raise InvalidRequest(
                f"'text.format.{name}' must be of type {_JSON_NAMES[kind]}.",
                param=f"text.format.{name}",
            )


def _check_conversation(body: Mapping[str, Any]) -> None:
    conversation = body.get("conversation")
    if conversation is None:
        return
    if "previous_response_id" in body:
        raise InvalidRequest(
            "Send either 'previous_response_id' or 'conversation', not both.",
            param="previous_response_id",
        )
    if isinstance(conversation, dict):
        conversation = conversation.get("id")
    if not isinstance(conversation, str) or not conversation:
        raise InvalidRequest("'conversation' must be an id.", param="conversation")


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Whether metadata is as OpenAI has it. Raises InvalidRequest."""
    fits = len(metadata) <= 16 and all(
        len(key) <= 64 and isinstance(value, str) and len(value) <= 512
        for key, value in metadata.items()
    )
    if not fits:
        raise InvalidRequest(
            "'metadata' takes up to 16 pairs of strings, keys of up to 64 and values of up to "
            "512 characters.",
            param="metadata",
        )


def response_object(
    request: Request, response_id: str, *, model: str | None, created_at: int, status: str
) -> Body:
    """The Response object of a request, before anything was answered."""
    asked = request.body
    reasoning = asked.get("reasoning", {})
    echo: Callable[..., Any] = asked.get
    return {
        "id": response_id,
        "object": "response",
        "created_at": created_at,
        "status": status,
        "background": request.background,
        "completed_at": None,
        "conversation": {"id": request.conversation_id} if request.conversation_id else None,
        "error": None,
        "incomplete_details": None,
        "instructions": echo("instructions"),
        "max_output_tokens": echo("max_output_tokens"),
        "max_tool_calls": echo("max_tool_calls"),
        "metadata": echo("metadata", {}),
        "model": request.model or model or "",
        "output": [],
        "parallel_tool_calls": echo("parallel_tool_calls", True),
        "previous_response_id": request.previous_response_id,
        "prompt_cache_key": echo("prompt_cache_key"),
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "safety_identifier": echo("safety_identifier"),
        "service_tier": echo("service_tier"),
        "store": request.stored,
        "temperature": echo("temperature"),
        "text": {"format": {"type": "text"}, **echo("text", {})},
        "tool_choice": echo("tool_choice", "auto"),
        "tool_usage": None,
        "tools": [_echoed_tool(tool) for tool in echo("tools", ())],
        "top_logprobs": echo("top_logprobs", 0),
        "top_p": echo("top_p"),
        "truncation": echo("truncation", "disabled"),
        "usage": None,
        "user": echo("user"),
    }


def _echoed_tool(tool: Body) -> Body:
    match tool["type"]:
        case "function":
            return {"parameters": None, "strict": None, **tool}
        case image_tool.TOOL:
            return image_tool.echoed(tool)
        case _:
            return tool
