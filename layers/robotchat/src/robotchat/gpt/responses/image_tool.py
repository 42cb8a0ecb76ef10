"""The ``image_generation`` tool: what the model is told of it, and what it calls it with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from robotchat.gpt.driver import Body
from robotchat.gpt.normalize import written_json

TOOL = "image_generation"
CALL = "image_generation_call"
"""The type of its items."""

MAX_IMAGES = 8
"""Most pictures of one response, whatever the model calls for."""

Action = Literal["auto", "generate", "edit"]
Shape = Literal["square", "landscape", "portrait"]

_SHAPES: tuple[Shape, ...] = ("square", "landscape", "portrait")
_LONGEST_PROMPT = 2000

_DESCRIPTION = (
    "Draws a picture with Stable Diffusion and shows it to the user. Call it once for each picture "
    "that the user wants."
)
_PROMPT = (
    "What the whole picture shows, in English whatever the user's language: noun phrases and "
    "tags, subject first, without words of request. Of a changed picture, all that it shows after "
    "the change."
)


@dataclass(frozen=True)
class ImageCall:
    """How the model called the tool. Fields that it got wrong are as if it had left them out."""

    prompt: str
    negative_prompt: str | None = None
    action: Action = "auto"
    shape: Shape | None = None

    @classmethod
    def parse(cls, arguments: str) -> ImageCall:
        """From the arguments of the function; a bare text is the prompt."""
        try:
            given: Any = written_json(arguments)
        except ValueError:
            given = arguments
        if isinstance(given, str):
            given = {"prompt": given}
        if not isinstance(given, dict):
            given = {}
        negative, action = given.get("negative_prompt"), given.get("action")
        return cls(
            prompt=_text(given.get("prompt")),
            negative_prompt=_text(negative) if isinstance(negative, str) else None,
            action=action if action in ("generate", "edit") else "auto",
            shape=next((shape for shape in _SHAPES if shape == given.get("shape")), None),
        )


def _text(given: object) -> str:
    return given.strip()[:_LONGEST_PROMPT] if isinstance(given, str) else ""


def image_tool(tools: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The tool among those of a request, which may not have been checked yet."""
    return next(
        (tool for tool in tools if isinstance(tool, dict) and tool.get("type") == TOOL), None
    )


def function(tool: Mapping[str, Any]) -> Body:
    """The tool as the function that the upstream is told of."""
    properties: Body = {
        "prompt": {"type": "string", "description": _PROMPT},
        "negative_prompt": {"type": "string", "description": "What must not be seen, as tags."},
    }
    required = ["prompt"]
    if tool.get("action", "auto") == "auto":
        properties["action"] = {
            "type": "string",
            "enum": ["generate", "edit"],
            "description": "generate: a new picture; edit: change the last picture of the "
            "conversation, drawn or sent by the user.",
        }
        required.append("action")
    if tool.get("size", "auto") == "auto":
        properties["shape"] = {
            "type": "string",
            "enum": list(_SHAPES),
            "description": "Only if the user asks for a shape.",
        }
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"description": _DESCRIPTION, "parameters": parameters}


def as_functions(tools: Sequence[Mapping[str, Any]]) -> list[Body]:
    """Tools for an upstream that speaks the Responses API, but must not draw itself."""
    return [
        {"type": "function", "name": TOOL, **function(tool)} if tool["type"] == TOOL else dict(tool)
        for tool in tools
    ]


def is_forced(body: Mapping[str, Any]) -> bool:
    """Whether a request, which may not have been checked yet, leaves the model nothing but to
    call the tool."""
    tools = body.get("tools")
    if not isinstance(tools, list) or image_tool(tools) is None:
        return False
    choice = body.get("tool_choice")
    if choice == "required":
        return len(tools) == 1
    if not isinstance(choice, dict):
        return False
    if choice.get("type") == "allowed_tools":
        allowed = choice.get("tools")
        only = isinstance(allowed, list) and all(
            isinstance(one, dict) and one.get("type") == TOOL for one in allowed
        )
        return bool(allowed) and only and choice.get("mode") == "required"
    return choice.get("type") == TOOL


def echoed(tool: Mapping[str, Any]) -> Body:
    """The tool as an answer repeats it, with what was left out."""
    return {
        "action": "auto",
        "background": "auto",
        "moderation": "auto",
        "n": 1,
        "output_compression": 100,
        "output_format": "png",
        "quality": "auto",
        "size": "auto",
        **tool,
    }


def as_call(item: Mapping[str, Any]) -> Body:
    """An item of the tool as the call that it came from, the same for the same item."""
    arguments = {"prompt": item.get("revised_prompt") or ""}
    if item.get("action") in ("generate", "edit"):
        arguments["action"] = item["action"]
    text = json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
    return {
        "id": call_id(item),
        "type": "function",
        "function": {"name": TOOL, "arguments": text},
    }


def call_id(item: Mapping[str, Any]) -> str:
    """The id of that call."""
    return f"call_{item.get('id', '')}"[:64]


def told(item: Mapping[str, Any]) -> str:
    """What the model learns of its call."""
    match item.get("status"):
        case "completed":
            return "The picture was drawn, and the user sees it."
        case "in_progress" | "generating":
            return "The picture is still being drawn."
        case _:
            error = item.get("error")
            why = error.get("message") if isinstance(error, dict) else None
            return f"The picture was not drawn: {why or 'it failed.'}"
