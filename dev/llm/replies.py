"""What the stand-in says: always the same to the same request."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from robotchat.errors import RobotchatError
from robotchat.gpt.driver import AnswerStream
from robotchat.gpt.responses.engine import Responses

Body = dict[str, Any]
MODELS = ("stand-in", "stand-in-mini")


@dataclass
class Plan:
    """An answer that is ready to be sent: a status with a body, or the events of a stream."""

    status: int = 200
    body: Body = field(default_factory=dict)
    events: list[Body | str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def error(status: int, message: str, **fields: Any) -> Plan:
    """An answer in the shape of OpenAI's errors."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    told = {"message": message, "type": kind, "param": None, "code": None, **fields}
    return Plan(status, {"error": told})


class Replies:
    """Answers requests, and remembers prompts as an upstream with a prompt cache does."""

    def __init__(self) -> None:
        self._prompts: list[list[str]] = []
        self._count = 0
        self._responses = Responses(_Same(self), model=MODELS[0])
        self.script: Mapping[str, Any] = {}
        """The script of the response that is being made."""

    def models(self) -> Body:
        """``GET /v1/models``."""
        return {"object": "list", "data": [_model(name) for name in MODELS]}

    def model(self, name: str) -> Plan:
        """``GET /v1/models/{id}``."""
        if name not in MODELS:
            message = f"The model '{name}' does not exist"
            return error(404, message, param="model", code="model_not_found")
        return Plan(body=_model(name))

    def plan(self, path: str, body: Body, script: Mapping[str, Any]) -> Plan:
        """The answer to a POST."""
        if "status" in script:
            told = script.get("error") or {"message": "scripted", "type": "error"}
            return Plan(script["status"], {"error": told}, headers=script.get("headers", {}))
        n = body.get("n")
        if n is not None and (isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= 128):
            return error(400, "'n' must be an integer from 1 to 128.", param="n")
        if path.endswith("/chat/completions"):
            made = self.chat(body, script)
        elif path.endswith("/completions"):
            made = self.completion(body, script)
        elif path.endswith("/embeddings"):
            made = self.embeddings(body)
        elif path.endswith("/responses/input_tokens"):
            made = self.input_tokens(body)
        else:
            return self._response(body, script)
        if "body" in script:
            made.body = script["body"]
        if made.events is not None:
            if "events" in script:
                made.events = list(script["events"])
            elif script.get("done", True):
                made.events.append("data: [DONE]\n\n")
        return made

    # Chat completions.

    def chat(self, body: Body, script: Mapping[str, Any]) -> Plan:
        """``POST /v1/chat/completions``."""
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            return error(400, "'messages' is a required property", param="messages")
        if (wrong := _disorder(messages)) is not None:
            return wrong
        if "parallel_tool_calls" in body and not body.get("tools"):
            refusal = "'parallel_tool_calls' is only allowed when 'tools' are specified."
            return error(400, refusal, param="parallel_tool_calls")
        head = self._head("chat.completion", body)
        pieces = _pieces(script, lambda: _answer_to(messages, body))
        usage = self._usage([_text(m.get("content")) for m in messages], pieces, script)
        calls = [
            {
                "id": f"call_{head['id']}_{index}",
                "type": "function",
                "function": {
                    "name": call["name"],
                    "arguments": json.dumps(call.get("arguments", {})),
                },
            }
            for index, call in enumerate(script.get("tool_calls", ()))
        ]
        if calls and not ({"text", "pieces"} & set(script)):
            pieces = []
        finish = script.get("finish_reason", "tool_calls" if calls else "stop")
        count = body.get("n") or 1
        logprobs = bool(body.get("logprobs"))
        if body.get("stream"):
            events = self._chat_events(head, script, pieces, calls, finish, count, logprobs)
            return Plan(events=self._with_usage(events, head, body, usage))
        message: Body = {"role": "assistant", "content": "".join(pieces) or None}
        if calls:
            message["tool_calls"] = calls
        if script.get("reasoning"):
            message["reasoning_content"] = script["reasoning"]
        choices = [
            {
                "index": index,
                "message": message,
                "finish_reason": finish,
                "logprobs": _chat_logprobs(pieces) if logprobs else None,
            }
            for index in range(count)
        ]
        return Plan(body={**head, "choices": choices, **_usage_field(usage)})

    def _chat_events(
        self,
        head: Body,
        script: Mapping[str, Any],
        pieces: Sequence[str],
        calls: Sequence[Body],
        finish: str,
        count: int,
        logprobs: bool,
    ) -> list[Body | str]:
        head = {**head, "object": "chat.completion.chunk"}

        def chunk(index: int, delta: Body, **more: Any) -> Body:
            choice = {"index": index, "delta": delta, "finish_reason": None, **more}
            return {**head, "choices": [choice]}

        deltas: list[tuple[Body, Body]] = [({"role": "assistant", "content": ""}, {})]
        if script.get("reasoning"):
            deltas.append(({"reasoning_content": script["reasoning"]}, {}))
        for piece in pieces:
            more = {"logprobs": _chat_logprobs([piece])} if logprobs else {}
            deltas.append(({"content": piece}, more))
        for number, call in enumerate(calls):
            arguments = call["function"]["arguments"]
            middle = len(arguments) // 2
            opening = {**call, "index": number, "function": {**call["function"], "arguments": ""}}
            deltas.append(({"tool_calls": [opening]}, {}))
            for part in (arguments[:middle], arguments[middle:]):
                fragment = {"index": number, "function": {"arguments": part}}
                deltas.append(({"tool_calls": [fragment]}, {}))
        deltas.append(({}, {"finish_reason": finish}))
        return [chunk(index, delta, **more) for delta, more in deltas for index in range(count)]

    # Completions.

    def completion(self, body: Body, script: Mapping[str, Any]) -> Plan:
        """``POST /v1/completions``."""
        prompt = body.get("prompt")
        if not isinstance(prompt, str | list):
            return error(400, "'prompt' is a required property", param="prompt")
        prompts = [prompt] if isinstance(prompt, str) else [str(p) for p in prompt]
        head = self._head("text_completion", body)
        pieces = _pieces(script, lambda: f" ...and so on after {prompts[0]!r}.")
        usage = self._usage(prompts, pieces, script)
        finish = script.get("finish_reason", "stop")
        count = (body.get("n") or 1) * len(prompts)
        shown = body.get("logprobs") is not None
        if body.get("stream"):
            events: list[Body | str] = []
            for piece in pieces:
                for index in range(count):
                    logprobs = _completion_logprobs([piece]) if shown else None
                    choice = {"index": index, "text": piece, "finish_reason": None}
                    events.append({**head, "choices": [{**choice, "logprobs": logprobs}]})
            for index in range(count):
                choice = {"index": index, "text": "", "finish_reason": finish, "logprobs": None}
                events.append({**head, "choices": [choice]})
            return Plan(events=self._with_usage(events, head, body, usage))
        text = (prompts[0] if body.get("echo") else "") + "".join(pieces)
        choices = [
            {
                "index": index,
                "text": text,
                "finish_reason": finish,
                "logprobs": _completion_logprobs(pieces) if shown else None,
            }
            for index in range(count)
        ]
        return Plan(body={**head, "choices": choices, **_usage_field(usage)})

    # Embeddings.

    def embeddings(self, body: Body) -> Plan:
        """``POST /v1/embeddings``: two numbers for each text, as floats or in base64."""
        given = body.get("input")
        several: list[Any] = given if isinstance(given, list) else [given]
        if isinstance(given, list) and all(isinstance(one, int) for one in given):
            several = [given]
        if not several or not all(isinstance(one, (str, list)) and one for one in several):
            return error(400, "'input' must be a text or a list of texts.", param="input")
        vectors = [[float(len(one)), 1.0] for one in several]
        encoded = body.get("encoding_format") == "base64"
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": _base64_floats(vector) if encoded else vector,
            }
            for index, vector in enumerate(vectors)
        ]
        count = sum(len(str(one).split()) for one in several)
        usage = {"prompt_tokens": count, "total_tokens": count}
        model = body.get("model") or MODELS[0]
        return Plan(body={"object": "list", "data": data, "model": model, "usage": usage})

    # Responses, for upstreams that keep the state.

    def input_tokens(self, body: Body) -> Plan:
        """``POST /v1/responses/input_tokens``: as many tokens as there are words."""
        if body.get("input") is None:
            return error(400, "Missing required parameter: 'input'.", param="input")
        count = len(json.dumps(body["input"], ensure_ascii=False).split())
        return Plan(body={"object": "response.input_tokens", "input_tokens": count})

    def _response(self, body: Body, script: Mapping[str, Any]) -> Plan:
        self.script = script
        try:
            if body.get("stream"):
                return Plan(events=[*self._responses.stream(body)])
            return Plan(body=self._responses.create(body))
        except RobotchatError as failure:
            return error(400, failure.message, param=failure.param, code=failure.code)

    def response(self, response_id: str, *, delete: bool) -> Plan:
        """``GET`` or ``DELETE /v1/responses/{id}``."""
        act = self._responses.delete if delete else self._responses.get
        try:
            return Plan(body=act(response_id))
        except RobotchatError as failure:
            return error(failure.status, failure.message, param=failure.param, code=failure.code)

    # What all have in common.

    def _head(self, kind: str, body: Body) -> Body:
        self._count += 1
        model = body.get("model") or MODELS[0]
        return {"id": f"gen-{self._count}", "object": kind, "created": 0, "model": model}

    def _usage(
        self, prompt: list[str], pieces: Sequence[str], script: Mapping[str, Any]
    ) -> Body | None:
        """Words count as tokens; those of a beginning that came before count as cached."""
        if "usage" in script:
            usage: Body | None = script["usage"]
            return usage
        cached = 0
        for earlier in self._prompts:
            same = 0
            for ours, theirs in zip(prompt, earlier, strict=False):
                if ours != theirs:
                    break
                same += len(ours.split())
            cached = max(cached, same)
        self._prompts.append(prompt)
        asked = sum(len(part.split()) for part in prompt)
        return {
            "prompt_tokens": asked,
            "completion_tokens": len(pieces),
            "total_tokens": asked + len(pieces),
            "prompt_tokens_details": {"cached_tokens": cached},
        }

    def _with_usage(
        self, events: list[Body | str], head: Body, body: Body, usage: Body | None
    ) -> list[Body | str]:
        if usage is not None and (body.get("stream_options") or {}).get("include_usage"):
            last = events[-1]
            kind = last["object"] if isinstance(last, dict) else head["object"]
            events.append({**head, "object": kind, "choices": [], "usage": usage})
        return events


class _Same:
    """The stand-in as a driver of its own responses."""

    def __init__(self, replies: Replies) -> None:
        self._replies = replies

    def chat_completion(self, body: Mapping[str, Any], *, timeout: float | None = None) -> Body:
        script = self._replies.script
        return self._replies.chat({**body, "stream": False}, script).body

    def stream_chat_completion(
        self, body: Mapping[str, Any], *, timeout: float | None = None
    ) -> AnswerStream:
        script = self._replies.script
        return _Listed(self._replies.chat({**body, "stream": True}, script).events or [])

    def completion(self, body: Mapping[str, Any], *, timeout: float | None = None) -> Body:
        return self._replies.completion(dict(body), {}).body

    def stream_completion(
        self, body: Mapping[str, Any], *, timeout: float | None = None
    ) -> AnswerStream:
        return _Listed(self._replies.completion({**body, "stream": True}, {}).events or [])

    def count_input_tokens(self, body: Mapping[str, Any], *, timeout: float | None = None) -> Body:
        return self._replies.input_tokens(dict(body)).body

    def embeddings(self, body: Mapping[str, Any], *, timeout: float | None = None) -> Body:
        return self._replies.embeddings(dict(body)).body

    def models(self) -> Body:
        return self._replies.models()

    def model(self, model_id: str) -> Body:
        return self._replies.model(model_id).body


class _Listed:
    """A stream of events that are there already."""

    def __init__(self, events: Sequence[Body | str]) -> None:
        self._events = iter([event for event in events if isinstance(event, dict)])

    def __iter__(self) -> _Listed:
        return self

    def __next__(self) -> Body:
        return next(self._events)

    def close(self) -> None:
        self._events = iter([])


def _base64_floats(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _disorder(messages: Sequence[Mapping[str, Any]]) -> Plan | None:
    """OpenAI's refusal of results that do not follow their calls, and of calls without results."""
    open_calls: set[str] = set()
    for index, message in enumerate(messages):
        role = message.get("role")
        if role == "tool":
            if message.get("tool_call_id") not in open_calls:
                told = "messages with role 'tool' must follow a message with 'tool_calls'."
                return error(400, told, param=f"messages.[{index}].role")
            open_calls.discard(message["tool_call_id"])
            continue
        if open_calls:
            told = "An assistant message with 'tool_calls' must be followed by tool messages."
            return error(400, told, param=f"messages.[{index}].role")
        open_calls = {call["id"] for call in message.get("tool_calls") or ()}
    return None


def _model(name: str) -> Body:
    return {"id": name, "object": "model", "created": 0, "owned_by": "robotchat"}


def _pieces(script: Mapping[str, Any], otherwise: Any) -> list[str]:
    if "pieces" in script:
        return list(script["pieces"])
    words = str(script["text"] if "text" in script else otherwise()).split(" ")
    return [words[0], *(f" {word}" for word in words[1:])]


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "[...]") for part in content or ())


def _answer_to(messages: Sequence[Mapping[str, Any]], body: Mapping[str, Any]) -> str:
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        return json.dumps(_instance(wanted["json_schema"].get("schema") or {}))
    if wanted.get("type") == "json_object":
        return json.dumps({"said": _text(messages[-1].get("content"))})
    return f"You said: {_text(messages[-1].get('content'))}"


def _instance(schema: Mapping[str, Any]) -> Any:
    """The plainest value that fits a JSON schema."""
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for several in ("anyOf", "oneOf"):
        if schema.get(several):
            return _instance(schema[several][0])
    kind = schema.get("type", "object")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            return {name: _instance(part) for name, part in schema.get("properties", {}).items()}
        case "array":
            return [_instance(schema.get("items", {}))] * schema.get("minItems", 1)
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return "text"


def _chat_logprobs(pieces: Sequence[str]) -> Body:
    return {
        "content": [
            {"token": p, "logprob": -0.5, "bytes": list(p.encode()), "top_logprobs": []}
            for p in pieces
        ]
    }


def _completion_logprobs(pieces: Sequence[str]) -> Body:
    return {
        "tokens": list(pieces),
        "token_logprobs": [-0.5 for _ in pieces],
        "top_logprobs": None,
        "text_offset": [sum(map(len, pieces[:index])) for index in range(len(pieces))],
    }


def _usage_field(usage: Body | None) -> Body:
    return {} if usage is None else {"usage": usage}
