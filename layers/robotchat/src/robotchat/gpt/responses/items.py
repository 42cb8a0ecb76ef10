"""The Responses API's requests and items, and what they are for a chat completions upstream.

Everything here is a pure translation. It is stable: the same items always become the same
messages, so that each request of a conversation begins with all of the one before, byte by byte,
and an upstream that caches evaluated prompts finds them again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robotchat.errors import ContextLengthExceeded, InvalidRequest
from robotchat.gpt.driver import Body
from robotchat.ids import new_id
from robotchat.jobs.job import Job, JobStatus

# --- the request ----------------------------------------------------------------------------------

_TAKEN = frozenset(
    {
        "background",
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
"""Fields that are translated; every other one goes to the upstream as it is."""

_TYPES: Mapping[str, tuple[type, ...]] = {
    "background": (bool,),
    "include": (list,),
    "instructions": (str,),
    "max_output_tokens": (int,),
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
    """A checked ``POST /v1/responses``: the body, and its input as items that have ids."""

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
    if body.get("max_output_tokens", 1) < 1:
        raise InvalidRequest("'max_output_tokens' must be at least 1.", param="max_output_tokens")
    if body.get("background") and body.get("store") is False:
        raise InvalidRequest("A response in the background must be stored.", param="store")
    for index, tool in enumerate(body.get("tools", ())):
        _check_tool(tool, f"tools[{index}]")
    if len(items := parse_items(body["input"], "input")) == 0:
        raise InvalidRequest("'input' is empty.", param="input")
    return Request(body, items)


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


def _check_tool(tool: object, param: str) -> None:
    if not isinstance(tool, dict) or not isinstance(tool.get("type"), str):
        raise InvalidRequest("A tool is an object with a 'type'.", param=param)
    if tool["type"] != "function":
        raise InvalidRequest(
            f"Tools of type '{tool['type']}' are not available here; 'function' is.", param=param
        )
    if not isinstance(tool.get("name"), str) or not tool["name"]:
        raise InvalidRequest("A function tool needs a 'name'.", param=f"{param}.name")


# --- items ----------------------------------------------------------------------------------------

_ID_PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "reasoning": "rs",
    "image_generation_call": "ig",
}


def parse_items(given: object, param: str) -> list[Body]:
    """Input as items in their stored form: with type, id and status, and content as parts.

    Ids are always ours, whatever the caller calls its items, so that no two are the same.

    Raises InvalidRequest for an item that could not be sent on.
    """
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, list):
        raise InvalidRequest(f"'{param}' must be a string or an array of items.", param=param)
    return [_parse_item(item, f"{param}[{index}]") for index, item in enumerate(given)]


def _parse_item(item: object, param: str) -> Body:
    if not isinstance(item, dict):
        raise InvalidRequest("An item must be an object.", param=param)
    kind = item.get("type", "message" if "role" in item else None)
    if kind not in _ID_PREFIXES:
        raise InvalidRequest(f"Items of type '{kind}' are not supported.", param=f"{param}.type")
    stored: Body = {
        **item,
        "type": kind,
        "id": new_id(_ID_PREFIXES[kind]),
        "status": item.get("status") or "completed",
    }
    if kind == "message":
        if item.get("role") not in ("user", "assistant", "system", "developer"):
            raise InvalidRequest(
                "A message's role is user, assistant, system or developer.", param=f"{param}.role"
            )
        stored["content"] = _parse_content(item.get("content"), item["role"], f"{param}.content")
    for name in {"function_call": ("call_id", "name", "arguments")}.get(kind, ()):
        if not isinstance(item.get(name), str):
            raise InvalidRequest(f"A function call needs '{name}'.", param=f"{param}.{name}")
    if kind == "function_call_output":
        if not isinstance(item.get("call_id"), str):
            raise InvalidRequest("The output needs its 'call_id'.", param=f"{param}.call_id")
        if not isinstance(item.get("output"), str):
            stored["output"] = _parse_content(item.get("output"), "user", f"{param}.output")
    return stored


def _parse_content(content: object, role: str, param: str) -> list[Body]:
    text = "output_text" if role == "assistant" else "input_text"
    if isinstance(content, str):
        content = [{"type": text, "text": content}]
    if not isinstance(content, list):
        raise InvalidRequest("Content must be a string or an array of parts.", param=param)
    return [_parse_part(part, f"{param}[{index}]") for index, part in enumerate(content)]


def _parse_part(part: object, param: str) -> Body:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(part, dict):
        raise InvalidRequest("A part of a content must be an object.", param=param)
    needed: str | None = None
    match kind:
        case "input_text" | "text":
            part, needed = {**part, "type": "input_text"}, "text"
        case "output_text":
            part, needed = {"annotations": [], "logprobs": [], **part}, "text"
        case "refusal":
            needed = "refusal"
        case "input_image":
            part, needed = {"detail": "auto", **part}, "image_url"
        case "input_file":
            needed = "file_data"
        case "input_audio":
            return part
        case _:
            raise InvalidRequest(
                f"Content of type '{kind}' is not supported.", param=f"{param}.type"
            )
    if not isinstance(part.get(needed), str):
        raise InvalidRequest(f"Content of type '{kind}' needs '{needed}'.", param=param)
    return part


# --- to chat completions --------------------------------------------------------------------------


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
    body: Body = {name: value for name, value in asked.items() if name not in _TAKEN}
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


# --- the token budget -----------------------------------------------------------------------------

IMAGE_TOKENS = 1000
"""What a picture, a file or a sound is taken to cost."""

MESSAGE_TOKENS = 4
"""What a message costs beside its text."""


def estimate_tokens(text: str) -> int:
    """About how many tokens a text has, without the model's tokenizer.

    Four ASCII characters make a token, one Chinese, Japanese or Korean character makes one, and
    so do two of any other script. Meant to be a little too high rather than too low.
    """
    weight = 0.0
    for character in text:
        code = ord(character)
        weight += 0.25 if code < 0x80 else 0.5 if code < 0x2E80 else 1.0
    return math.ceil(weight)


def message_tokens(message: Mapping[str, Any]) -> int:
    """About how many tokens a chat message has."""
    content = message.get("content") or ""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    tokens = MESSAGE_TOKENS
    for part in parts:
        text = part.get("text", part.get("refusal"))
        tokens += IMAGE_TOKENS if text is None else estimate_tokens(text)
    for call in message.get("tool_calls", ()):
        function = call["function"]
        tokens += estimate_tokens(function["name"]) + estimate_tokens(function["arguments"])
    return tokens


def fit(
    turns: Sequence[Sequence[Body]],
    new: Sequence[Body],
    *,
    instructions: str | None,
    window: int | None,
    reserve: int,
    auto: bool,
    halvings: int = 0,
) -> list[Body]:
    """The messages to send: instructions, the turns so far, and the new items.

    They must fit ``window`` tokens with ``reserve`` left for the answer (None: no limit is
    known). When they do not, the oldest turns are dropped if ``auto``; if that does not help, or
    may not be done, ContextLengthExceeded is raised. ``halvings`` drops more of the past: half of
    it, three quarters, and so on, for an upstream whose limit is found by trying.

    Turns are dropped in steps of a quarter of the window, so that the cut stays where it is for
    several turns and the upstream's prompt cache keeps its worth.
    """
    head: list[Body] = [{"role": "system", "content": instructions}] if instructions else []
    groups = _inseparable([*turns, new])
    past, last = groups[:-1], groups[-1]
    costs = [sum(map(message_tokens, chat_messages(group))) for group in past]
    fixed = sum(map(message_tokens, [*head, *chat_messages(last)]))
    drop = 0
    if window is not None:
        drop = _oldest_to_drop(costs, fixed, window - reserve, auto=auto)
    if halvings:
        keep = sum(costs) / 2**halvings
        while drop < len(costs) and sum(costs[drop:]) > keep:
            drop += 1
    return head + chat_messages(item for group in [*past[drop:], last] for item in group)


def _oldest_to_drop(costs: Sequence[int], fixed: int, budget: int, *, auto: bool) -> int:
    excess = fixed + sum(costs) - budget
    if excess <= 0:
        return 0
    if not auto or excess > sum(costs):
        raise ContextLengthExceeded(
            f"The input is about {fixed + sum(costs)} tokens, and the model takes {budget} beside "
            "its answer. Shorten it"
            + (
                ", or set 'truncation' to 'auto' to leave out the oldest turns."
                if not auto
                else "."
            ),
            param="input",
        )
    step = max(1, budget // 4)
    wanted = math.ceil(excess / step) * step
    dropped = drop = 0
    while dropped < excess or (dropped < wanted and drop < len(costs) - 1):
        dropped += costs[drop]
        drop += 1
    return drop


def _inseparable(turns: Iterable[Sequence[Body]]) -> list[list[Body]]:
    """Turns joined with the one before when they answer its function calls."""
    groups: list[list[Body]] = []
    for turn in turns:
        called = {item["call_id"] for item in turn if item["type"] == "function_call"}
        answered = {item["call_id"] for item in turn if item["type"] == "function_call_output"}
        if groups and not answered <= called:
            groups[-1] = [*groups[-1], *turn]
        else:
            groups.append(list(turn))
    return groups


# --- the response ---------------------------------------------------------------------------------


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
        "tools": [{"parameters": None, "strict": None, **tool} for tool in echo("tools", ())],
        "top_logprobs": echo("top_logprobs", 0),
        "top_p": echo("top_p"),
        "truncation": echo("truncation", "disabled"),
        "usage": None,
        "user": echo("user"),
    }


# --- pictures in a conversation -------------------------------------------------------------------

_CALL_STATUS = {
    JobStatus.QUEUED: "in_progress",
    JobStatus.RUNNING: "generating",
    JobStatus.SUCCEEDED: "completed",
}


def picture_turn(job: Job) -> list[Body]:
    """A picture turn of a conversation as items: what was said, and what was drawn or answered.

    The item of a picture carries its job's id. A job that was deleted is no turn any more.
    """
    if job.deleted:
        return []
    name = job.id.partition("_")[2]
    said = {
        "id": f"msg_{name}",
        "type": "message",
        "role": "user",
        "status": "completed",
        "content": [{"type": "input_text", "text": job.message or ""}],
    }
    if job.reply is not None:
        part = {"type": "output_text", "text": job.reply, "annotations": [], "logprobs": []}
        answer: Body = {
            "id": f"msg_{name}_reply",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [part],
        }
    else:
        answer = {
            "id": f"ig_{name}",
            "type": "image_generation_call",
            "status": _CALL_STATUS.get(job.status, "failed"),
            "revised_prompt": job.prompt,
            "result": None,
            "job_id": job.id,
        }
    return [said, answer]
