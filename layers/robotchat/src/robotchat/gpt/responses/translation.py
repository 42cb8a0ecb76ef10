"""What items and requests of the Responses API are for an upstream.

Everything here is a pure translation. It is stable: the same items always become the same
messages, so that each request of a conversation begins with all of the one before, byte by byte,
and an upstream that caches evaluated prompts finds them again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from robotchat.errors import InvalidRequest
from robotchat.gpt.driver import Body
from robotchat.gpt.responses.request import TRANSLATED, Request


def chat_messages(items: Iterable[Mapping[str, Any]]) -> list[Body]:
    """Items as the messages of a chat completion.

    Calls of functions become part of the assistant's message before them. Reasoning is left out;
    a picture that was drawn is told in words, so that the model knows what it shows.
    """
    messages: list[Body] = []
    for item in items:
        kind = item["type"]
        if kind == "message":
            role = "system" if item["role"] == "developer" else item["role"]
            messages.append({"role": role, "content": _chat_content(item["content"])})
        elif kind == "function_call":
            if not messages or messages[-1]["role"] != "assistant":
                messages.append({"role": "assistant", "content": None})
            messages[-1].setdefault("tool_calls", []).append(
                {
                    "id": item["call_id"],
                    "type": "function",
                    "function": {"name": item["name"], "arguments": item["arguments"]},
                }
            )
        elif kind == "function_call_output":
            output = item["output"]
            messages.append(
                {
                    "role": "tool",
                    "tool_call_id": item["call_id"],
                    "content": output if isinstance(output, str) else _chat_content(output),
                }
            )
        elif kind == "image_generation_call":
            messages.append({"role": "assistant", "content": _told(item)})
    return messages


def _told(picture: Mapping[str, Any]) -> str:
    shown = picture.get("revised_prompt") or "no description"
    match picture.get("status"):
        case "completed":
            return f"[I drew a picture: {shown}]"
        case "in_progress" | "generating":
            return "[I am drawing a picture.]"
        case _:
            return "[The picture was not drawn.]"


def _chat_content(parts: Sequence[Mapping[str, Any]]) -> str | list[Body]:
    # Plain text goes as a string: not every upstream takes parts.
    if len(parts) == 1 and parts[0]["type"] in ("input_text", "output_text"):
        return str(parts[0]["text"])
    return [_chat_part(part) for part in parts]


def _chat_part(part: Mapping[str, Any]) -> Body:
    match part["type"]:
        case "refusal":
            return {"type": "refusal", "refusal": part["refusal"]}
        case "input_image":
            image = {"url": part["image_url"]}
            if part.get("detail", "auto") != "auto":
                image["detail"] = part["detail"]
            return {"type": "image_url", "image_url": image}
        case "input_file":
            file = {name: part[name] for name in ("file_data", "filename") if name in part}
            return {"type": "file", "file": file}
        case "input_audio":
            return {"type": "input_audio", "input_audio": part.get("input_audio")}
        case _:
            return {"type": "text", "text": part["text"]}


def chat_body(
    request: Request,
    messages: Sequence[Mapping[str, Any]],
    *,
    model: str | None,
    max_tokens_field: str,
    cache_prompt: bool,
) -> Body:
    """The chat completion that answers a request."""
    asked = request.body
    body: Body = {name: value for name, value in asked.items() if name not in TRANSLATED}
    body["messages"] = list(messages)
    if chosen := (request.model or model):
        body["model"] = chosen
    for name in ("temperature", "top_p", "parallel_tool_calls", "top_logprobs"):
        if name in asked:
            body[name] = asked[name]
    if "top_logprobs" in asked or "message.output_text.logprobs" in asked.get("include", ()):
        body["logprobs"] = True
    if "max_output_tokens" in asked:
        body[max_tokens_field] = asked["max_output_tokens"]
    if effort := asked.get("reasoning", {}).get("effort"):
        body["reasoning_effort"] = effort
    if asked.get("tools"):
        body["tools"] = [_chat_tool(tool) for tool in asked["tools"]]
        if "tool_choice" in asked:
            body["tool_choice"] = _chat_tool_choice(asked["tool_choice"])
    body.update(_chat_text(asked.get("text", {})))
    if cache_prompt:
        body["cache_prompt"] = True
    return body


def _chat_tool(tool: Mapping[str, Any]) -> Body:
    names = ("name", "description", "parameters", "strict")
    function = {name: tool[name] for name in names if tool.get(name) is not None}
    return {"type": "function", "function": function}


def _chat_tool_choice(choice: str | Mapping[str, Any]) -> str | Body:
    if isinstance(choice, str):
        return choice
    match choice.get("type"):
        case "function":
            return {"type": "function", "function": {"name": choice.get("name")}}
        case "allowed_tools":
            tools = [
                {"type": "function", "function": {"name": tool.get("name")}}
                for tool in choice.get("tools", ())
            ]
            allowed = {"mode": choice.get("mode", "auto"), "tools": tools}
            return {"type": "allowed_tools", "allowed_tools": allowed}
        case other:
            raise InvalidRequest(
                f"A tool choice of type '{other}' is not available here.", param="tool_choice"
            )


def _chat_text(text: Mapping[str, Any]) -> Body:
    body: Body = {}
    if "verbosity" in text:
        body["verbosity"] = text["verbosity"]
    wanted = text.get("format") or {"type": "text"}
    match wanted.get("type"):
        case "text":
            return body
        case "json_object":
            body["response_format"] = {"type": "json_object"}
        case "json_schema":
            names = ("name", "schema", "strict", "description")
            schema = {name: wanted[name] for name in names if wanted.get(name) is not None}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        case other:
            raise InvalidRequest(
                f"A text format of type '{other}' is not supported.", param="text.format.type"
            )
    return body


def relayed_items(items: Iterable[Mapping[str, Any]]) -> list[Body]:
    """Items for an upstream that speaks the Responses API, but does not know ours by their ids."""
    out: list[Body] = []
    for item in items:
        if item["type"] == "image_generation_call":
            out += [{"type": "message", **message} for message in chat_messages([item])]
        elif item["type"] != "reasoning":
            out.append({k: v for k, v in item.items() if k not in ("id", "status")})
    return out
