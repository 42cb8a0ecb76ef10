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
from robotchat.gpt.responses import image_tool
from robotchat.gpt.responses.request import TRANSLATED, Request
from robotchat.gpt.responses.tools import (
    CALLS,
    OUTPUTS,
    answered,
    called,
    chat_tool_choice,
    chat_tools,
)


def chat_messages(items: Sequence[Mapping[str, Any]], *, draws: bool = False) -> list[Body]:
    """Items as the messages of a chat completion, in an order that strict upstreams accept.

    Calls of tools become part of the assistant's message before them, and each is followed by
    its result at once. An assistant's message without a word is left out. Reasoning is given back
    only while the calls that it led to are being answered, which some upstreams insist on. A
    picture that was drawn is told in words, so that the model knows what it shows; to one that
    ``draws`` itself, as the call that it came from, since it would learn to say those words
    instead of calling.
    """
    messages: list[Body] = []
    thoughts: dict[int, str] = {}
    thought = ""
    for item in items:
        kind = item["type"]
        if kind in OUTPUTS:
            _add_result(messages, item)
            continue
        if kind == "reasoning":
            thought += _reasoning_text(item)
            continue
        if kind in CALLS:
            message = _calling(messages)
            call_id, name, arguments = called(item)
            function = {"name": name, "arguments": arguments}
            call = {"id": call_id, "type": "function", "function": function}
            message.setdefault("tool_calls", []).append(call)
        elif kind == image_tool.CALL and draws:
            message = _calling(messages)
            message.setdefault("tool_calls", []).append(image_tool.as_call(item))
            _put_result(messages, image_tool.call_id(item), image_tool.told(item))
        elif kind == image_tool.CALL:
            message = {"role": "assistant", "content": _told(item)}
            messages.append(message)
        elif item["role"] == "assistant":
            spoken = _add_spoken(messages, _chat_content(item["content"], between=""))
            if spoken is None:
                continue
            message = spoken
        else:
            role = "system" if item["role"] == "developer" else item["role"]
            between = "\n\n" if role == "system" else None
            content = _chat_content(item["content"], between)
            messages.append({"role": role, "content": content})
            if role == "user":
                thoughts.clear()
            thought = ""
            continue
        if thought:
            thoughts[id(message)] = thoughts.get(id(message), "") + thought
            thought = ""
    for message in messages:
        if message.get("tool_calls") and id(message) in thoughts:
            message["reasoning_content"] = thoughts[id(message)]
    return messages


def led_by_one_system_message(messages: Sequence[Body]) -> list[Body]:
    """The messages with all that the system says in one message before the others.

    Many models' templates take no other, and none later on.
    """
    system = [message["content"] for message in messages if message["role"] == "system"]
    others = [message for message in messages if message["role"] != "system"]
    if not system:
        return others
    if all(isinstance(content, str) for content in system):
        content: str | list[Body] = "\n\n".join(text for text in system if text)
    else:
        content = []
        for one in system:
            content += [{"type": "text", "text": one}] if isinstance(one, str) else one
    return [{"role": "system", "content": content}, *others] if content else others


def _calling(messages: list[Body]) -> Body:
    """The assistant's message that a call belongs to."""
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    return messages[-1]


def _add_spoken(messages: list[Body], content: str | list[Body]) -> Body | None:
    """Add what the assistant said; None when that is nothing."""
    if not content or (isinstance(content, str) and not content.strip()):
        return None
    last = messages[-1] if messages else {}
    if last.get("role") == "assistant" and last.get("tool_calls"):
        # Nothing may stand between a call and its result.
        before = last["content"]
        if before is None:
            last["content"] = content
        elif isinstance(before, str) and isinstance(content, str):
            last["content"] = before + content
        else:
            last["content"] = [*_as_parts(before), *_as_parts(content)]
        return last
    messages.append({"role": "assistant", "content": content})
    return messages[-1]


def _as_parts(content: str | list[Body]) -> list[Body]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _add_result(messages: list[Body], item: Mapping[str, Any]) -> None:
    """Add the result of a call, after the results that its message has got already."""
    call_id, output = answered(item)
    _put_result(messages, call_id, output if isinstance(output, str) else _chat_content(output))


def _put_result(messages: list[Body], call_id: str, content: str | list[Body]) -> None:
    place = len(messages)
    for index in range(len(messages) - 1, -1, -1):
        if any(call["id"] == call_id for call in messages[index].get("tool_calls") or ()):
            place = index + 1
            while place < len(messages) and messages[place]["role"] == "tool":
                place += 1
            break
    messages.insert(place, {"role": "tool", "tool_call_id": call_id, "content": content})


def _reasoning_text(item: Mapping[str, Any]) -> str:
    parts = item.get("content") or ()
    return "".join(str(part.get("text") or "") for part in parts)


def _told(image: Mapping[str, Any]) -> str:
    shown = image.get("revised_prompt") or "no description"
    match image.get("status"):
        case "completed":
            return f"[I drew a picture: {shown}]"
        case "in_progress" | "generating":
            return "[I am drawing a picture.]"
        case _:
            return "[The picture was not drawn.]"


def _chat_content(
    parts: Sequence[Mapping[str, Any]], between: str | None = None
) -> str | list[Body]:
    """Parts as chat completions have them; texts joined by what is ``between`` them, if given."""
    # Plain text goes as a string: not every upstream takes parts.
    texts = [part["text"] for part in parts if part["type"] in ("input_text", "output_text")]
    if len(texts) == len(parts) and (between is not None or len(parts) == 1):
        return (between or "").join(texts)
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
    for name in ("temperature", "top_p"):
        if name in asked:
            body[name] = asked[name]
    # Clients send 0 by default, and not every upstream has logprobs at all.
    if asked.get("top_logprobs") or "message.output_text.logprobs" in asked.get("include", ()):
        body["logprobs"] = True
        if "top_logprobs" in asked:
            body["top_logprobs"] = asked["top_logprobs"]
    if "max_output_tokens" in asked:
        body[max_tokens_field] = asked["max_output_tokens"]
    if effort := asked.get("reasoning", {}).get("effort"):
        body["reasoning_effort"] = effort
    if tools := chat_tools(asked.get("tools", ())):
        body["tools"] = tools
        if "tool_choice" in asked:
            body["tool_choice"] = chat_tool_choice(asked["tool_choice"])
        if "parallel_tool_calls" in asked:
            body["parallel_tool_calls"] = asked["parallel_tool_calls"]
    body.update(_chat_text(asked.get("text", {})))
    if cache_prompt:
        body["cache_prompt"] = True
    return body


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
        if item["type"] == image_tool.CALL:
            out += [{"type": "message", **message} for message in chat_messages([item])]
        elif item["type"] != "reasoning":
            plain = item["type"] in ("message", "function_call", "function_call_output")
            ours = ("id", "status") if plain else ("id",)
            out.append({k: v for k, v in item.items() if k not in ours})
    return out
