"""The events of a response, and the response that they add up to.

Two sources make them: ``ChatAnswer`` from the chunks of a chat completion, ``RelayedAnswer`` from
the events of an upstream that speaks the Responses API itself. Either holds the response as it is
at each moment, so that whatever happens, what is stored is what was streamed.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from robotchat.errors import RobotchatError, UpstreamError, UpstreamGarbage, UpstreamRateLimited
from robotchat.gpt.driver import Body
from robotchat.gpt.normalize import as_json_text, garbage, text_of
from robotchat.gpt.responses.growing import grow
from robotchat.gpt.responses.image_tool import CALL, TOOL, ImageCall
from robotchat.gpt.responses.items import item_id
from robotchat.gpt.responses.tools import Tool, call_fields, tools_by_function
from robotchat.ids import new_id

logger = logging.getLogger(__name__)

FINAL = frozenset({"completed", "incomplete", "failed", "cancelled"})
"""The states of a response that never change."""


class AnswerBuilder(Protocol):
    """A response in the making. ``upstream_id`` is its id at an upstream that keeps the state."""

    response: Body
    upstream_id: str | None

    def take_over(self, events: Sequence[Body]) -> None:
        """Go on behind the events that another one has told of this response."""
        ...

    def start(self) -> Iterator[Body]:
        """The events before the first word."""
        ...

    def feed(self, event: Mapping[str, Any]) -> Iterator[Body]:
        """The events for one event of the upstream. Raises UpstreamError for a bad one."""
        ...

    def end(self, now: int) -> Iterator[Body]:
        """The upstream has ended: what is left to say before the terminal event."""
        ...

    def fail(self, error: RobotchatError) -> None:
        """The response has failed, with what was said so far."""
        ...

    def cut(self) -> None:
        """Nobody listens any more: the response stays as far as it came."""
        ...

    def terminal(self) -> Body:
        """The last event, which carries the final response."""
        ...


class _Numbered:
    """Numbers events, and ends responses."""

    def __init__(self, response: Body) -> None:
        self.response = response
        self.upstream_id: str | None = None
        self._sequence = 0

    def event(self, kind: str, **fields: Any) -> Body:
        """An event of the Responses API, with the next sequence number."""
        event = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return event

    def next_id(self, kind: str) -> str:
        """The id of the output item that comes next."""
        place = f"o{len(self.response['output'])}"
        return item_id(kind, str(self.response["id"]), place)

    def take_over(self, events: Sequence[Body]) -> None:
        """Go on behind the events that another one has told of this response."""
        for event in events:
            grow(self.response["output"], event)
        self._sequence = events[-1]["sequence_number"] + 1

    def start(self) -> Iterator[Body]:
        yield self.event("response.created", response=copy.deepcopy(self.response))
        yield self.event("response.in_progress", response=copy.deepcopy(self.response))

    def fail(self, error: RobotchatError) -> None:
        self.cut()
        self.response.update(status="failed", error=error_of(error), incomplete_details=None)

    def cut(self) -> None:
        self.response["status"] = "incomplete"
        for item in self.response["output"]:
            item.update(closed(item))

    def terminal(self) -> Body:
        status = self.response["status"]
        kind = "incomplete" if status == "cancelled" else status
        return {
            "type": f"response.{kind}",
            "sequence_number": self._sequence,
            "response": copy.deepcopy(self.response),
        }


def closed(item: Body) -> Body:
    """An item as it is when nothing more will come."""
    if item.get("type") == CALL and item.get("status") in ("in_progress", "generating"):
        # Clients take no other state of a picture, and none without a text as its result.
        return {**item, "status": "failed", "result": ""}
    return {**item, "status": "incomplete"} if item.get("status") == "in_progress" else item


def told(error: Exception, response_id: str) -> RobotchatError:
    """What a client learns of a failure; of one that is our own, the log learns the rest."""
    if isinstance(error, RobotchatError):
        return error
    logger.error("a response failed", exc_info=error, extra={"response_id": response_id})
    return RobotchatError("Something went wrong on our side. The response's id identifies it.")


def error_of(error: RobotchatError) -> Body:
    """The error of a failed response, with one of the codes that the API knows."""
    limited = isinstance(error, UpstreamRateLimited)
    return {
        "code": "rate_limit_exceeded" if limited else "server_error",
        "message": error.message,
    }


class ChatAnswer(_Numbered):
    """Makes a response from a chat completion, chunk by chunk."""

    def __init__(self, response: Body) -> None:
        super().__init__(response)
        self.image_calls: list[ImageCall] = []
        """The pictures that were called for since this was last emptied."""
        self.muted = False
        """Whether words are left out: where a picture is all that is wanted."""
        self.left_out = 0
        """Characters that were left out."""
        self._tools = tools_by_function(response["tools"])
        self._open: _TextItem | None = None
        self._calls: dict[int, _OpenCall] = {}
        self._finish_reason: str | None = None
        self._spent: Body | None = None

    def feed(self, event: Mapping[str, Any]) -> Iterator[Body]:
        if isinstance(event.get("model"), str) and event["model"]:
            self.response["model"] = event["model"]
        if isinstance(event.get("service_tier"), str):
            self.response["service_tier"] = event["service_tier"]
        if isinstance(event.get("usage"), dict):
            used = _usage(event["usage"])
            self.response["usage"] = summed([self._spent, used]) if self._spent else used
        choices = event.get("choices") or []
        if not isinstance(choices, list) or not all(isinstance(c, dict) for c in choices):
            raise garbage("stream")
        for choice in choices:
            if choice.get("index", 0) == 0:
                yield from self._feed_delta(choice.get("delta") or {}, choice.get("logprobs"))
                reason = choice.get("finish_reason")
                self._finish_reason = reason if isinstance(reason, str) else self._finish_reason

    @property
    def cut_short(self) -> str | None:
        """Why the upstream stopped before its end, in the API's words."""
        reasons = {"length": "max_output_tokens", "content_filter": "content_filter"}
        return reasons.get(self._finish_reason or "")

    def heard(self) -> Body:
        """What the upstream has said beside its words, for `hear_again`."""
        named = {
            name: self.response[name] for name in ("usage", "model", "service_tier", "tool_usage")
        }
        return {"finish_reason": self._finish_reason, **named}

    def hear_again(self, heard: Mapping[str, Any]) -> None:
        """Take over what another one has `heard`."""
        said = dict(heard)
        self._finish_reason = said.pop("finish_reason")
        self.response.update(said)
        self._spent = self.response["usage"]

    def pause(self) -> Iterator[Body]:
        """The upstream has ended; it may be asked again, and the answer goes on."""
        status = "incomplete" if self.cut_short else "completed"
        yield from self._close(status)
        calls, self._calls = self._calls, {}
        for index in sorted(calls):
            yield from calls[index].done(status)
        self._spent = self.response["usage"]

    def end(self, now: int) -> Iterator[Body]:
        yield from self.pause()
        self.response["status"] = "incomplete" if self.cut_short else "completed"
        if self.cut_short:
            self.response["incomplete_details"] = {"reason": self.cut_short}
        else:
            self.response["completed_at"] = now

    def say(self, text: str) -> Iterator[Body]:
        """A message of our own, which may be empty."""
        yield from self._close("completed")
        message = _Text(self)
        yield from message.added()
        if text:
            yield from message.delta(text, [])
        yield from message.done("completed")

    def _feed_delta(self, delta: Mapping[str, Any], logprobs: object) -> Iterator[Body]:
        if not isinstance(delta, dict):
            raise garbage("stream")
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        if reasoning and isinstance(reasoning, str):
            yield from self._feed_text(_Reasoning, reasoning, [])
        content = delta.get("content")
        if content is not None and not isinstance(content, str):
            text, thought = text_of(content) or ("", "")
            if thought:
                yield from self._feed_text(_Reasoning, thought, [])
            content = text
        if content:
            entries = logprobs.get("content") if isinstance(logprobs, dict) else None
            listed = entries if isinstance(entries, list) else []
            yield from self._feed_text(_Text, content, listed)
        refusal = delta.get("refusal")
        if refusal and isinstance(refusal, str):
            yield from self._feed_text(_Refusal, refusal, [])
        for call in delta.get("tool_calls") or ():
            yield from self._feed_call(call)

    def _feed_text(self, kind: type[_TextItem], text: str, logprobs: list[Body]) -> Iterator[Body]:
        if self.muted:
            self.left_out += len(text)
            return
        if self._open is None or type(self._open) is not kind:
            yield from self._close("completed")
            opened = kind(self)
            self._open = opened
            yield from opened.added()
        yield from self._open.delta(text, logprobs)

    def _feed_call(self, call: Mapping[str, Any]) -> Iterator[Body]:
        function = call.get("function") or {}
        index = call.get("index", 0)
        if index not in self._calls:
            name = function.get("name")
            if not isinstance(name, str) or not name:
                raise UpstreamGarbage("The language model called a function without a name.")
            yield from self._close("completed")
            # A function that nobody has asked for is the client's to refuse.
            tool = self._tools.get(name) or Tool("function", name, name)
            if self.muted and tool.kind != TOOL:
                return
            opened = _opened_call(self, call.get("id") or new_id("call"), tool)
            self._calls[index] = opened
            yield from opened.added()
        if function.get("arguments"):
            yield from self._calls[index].delta(as_json_text(function["arguments"]))

    def _close(self, status: str) -> Iterator[Body]:
        opened, self._open = self._open, None
        if opened is not None:
            yield from opened.done(status)


class OpenItem:
    """An output item that is still growing: a new one, or the last one of the response.

    ``item`` is the one in the response itself.
    """

    def __init__(self, answer: ChatAnswer, item: Body) -> None:
        self._answer = answer
        self.item = item
        output = answer.response["output"]
        if not output or output[-1] is not item:
            output.append(item)
        self._place: Body = {"item_id": item["id"], "output_index": len(output) - 1}

    def event(self, kind: str, **fields: Any) -> Body:
        return self._answer.event(kind, **self._place, **fields)

    def added(self) -> Iterator[Body]:
        yield self._answer.event(
            "response.output_item.added",
            output_index=self._place["output_index"],
            item=copy.deepcopy(self.item),
        )

    def done(self, status: str) -> Iterator[Body]:
        self.item["status"] = status
        yield self._answer.event(
            "response.output_item.done",
            output_index=self._place["output_index"],
            item=copy.deepcopy(self.item),
        )


class _TextItem(OpenItem):
    """An item with one part of text. The class attributes are what kinds of text differ in."""

    shape: ClassVar[Body]
    """The item at the beginning."""
    part: ClassVar[Body]
    """The part at the beginning."""
    field = "text"
    """Which field of the part grows."""
    events = "response.output_text"
    with_logprobs = False

    def __init__(self, answer: ChatAnswer) -> None:
        kind = self.shape["type"]
        super().__init__(
            answer,
            {"id": answer.next_id(kind), "status": "in_progress", **copy.deepcopy(self.shape)},
        )

    def added(self) -> Iterator[Body]:
        yield from super().added()
        part = copy.deepcopy(self.part)
        self.item["content"].append(part)
        yield self.event("response.content_part.added", content_index=0, part=copy.deepcopy(part))

    def delta(self, text: str, logprobs: list[Body]) -> Iterator[Body]:
        part = self.item["content"][0]
        part[self.field] += text
        extra: Body = {}
        if self.with_logprobs:
            part["logprobs"].extend(logprobs)
            extra["logprobs"] = logprobs
        yield self.event(f"{self.events}.delta", content_index=0, delta=text, **extra)

    def done(self, status: str) -> Iterator[Body]:
        part = self.item["content"][0]
        extra = {"logprobs": part["logprobs"]} if self.with_logprobs else {}
        yield self.event(
            f"{self.events}.done", content_index=0, **{self.field: part[self.field]}, **extra
        )
        yield self.event("response.content_part.done", content_index=0, part=copy.deepcopy(part))
        yield from super().done(status)


class _Text(_TextItem):
    shape: ClassVar[Body] = {"type": "message", "role": "assistant", "content": []}
    part: ClassVar[Body] = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    with_logprobs = True


class _Refusal(_TextItem):
    shape: ClassVar[Body] = {"type": "message", "role": "assistant", "content": []}
    part: ClassVar[Body] = {"type": "refusal", "refusal": ""}
    field = "refusal"
    events = "response.refusal"


class _Reasoning(_TextItem):
    shape: ClassVar[Body] = {"type": "reasoning", "summary": [], "content": []}
    part: ClassVar[Body] = {"type": "reasoning_text", "text": ""}
    events = "response.reasoning_text"


class _OpenCall(Protocol):
    """A call of a tool that is still growing."""

    def added(self) -> Iterator[Body]: ...

    def delta(self, text: str) -> Iterator[Body]: ...

    def done(self, status: str) -> Iterator[Body]: ...


def _opened_call(answer: ChatAnswer, call_id: str, tool: Tool) -> _OpenCall:
    match tool.kind:
        case "function":
            return _FunctionCall(answer, call_id, tool)
        case "image_generation":
            return _ImageCalled(answer)
        case "custom":
            return _CustomCall(answer, call_id, tool)
        case _:
            return _ActionCall(answer, call_id, tool)


def _named(tool: Tool) -> Body:
    return {"name": tool.name} | ({"namespace": tool.namespace} if tool.namespace else {})


class _FunctionCall(OpenItem):
    def __init__(self, answer: ChatAnswer, call_id: str, tool: Tool) -> None:
        kind = "function_call"
        head = {"id": answer.next_id(kind), "type": kind, "status": "in_progress"}
        super().__init__(answer, {**head, "call_id": call_id, **_named(tool), "arguments": ""})

    def delta(self, text: str) -> Iterator[Body]:
        self.item["arguments"] += text
        yield self.event("response.function_call_arguments.delta", delta=text)

    def done(self, status: str) -> Iterator[Body]:
        if not self.item["arguments"] and status == "completed":
            # A call without arguments; clients parse what they get.
            yield from self.delta("{}")
        yield self.event(
            "response.function_call_arguments.done",
            arguments=self.item["arguments"],
            name=self.item["name"],
        )
        yield from super().done(status)


class _CustomCall(OpenItem):
    """A call whose input is free text; it is wrapped in JSON until all of it is there."""

    def __init__(self, answer: ChatAnswer, call_id: str, tool: Tool) -> None:
        kind = "custom_tool_call"
        head = {"id": answer.next_id(kind), "type": kind, "status": "in_progress"}
        super().__init__(answer, {**head, "call_id": call_id, **_named(tool), "input": ""})
        self._tool = tool
        self._arguments = ""

    def delta(self, text: str) -> Iterator[Body]:
        self._arguments += text
        yield from ()

    def done(self, status: str) -> Iterator[Body]:
        self.item.update(call_fields(self._tool, self._arguments))
        text = self.item["input"]
        yield self.event("response.custom_tool_call_input.delta", delta=text)
        yield self.event("response.custom_tool_call_input.done", input=text)
        yield from super().done(status)


class _Gathered:
    """A call of which nothing is told before all of its arguments are there."""

    def __init__(self, answer: ChatAnswer) -> None:
        self._answer = answer
        self._arguments = ""

    def added(self) -> Iterator[Body]:
        yield from ()

    def delta(self, text: str) -> Iterator[Body]:
        self._arguments += text
        yield from ()


class _ImageCalled(_Gathered):
    """A call for a picture; its item comes with the drawing."""

    def done(self, status: str) -> Iterator[Body]:
        if status == "completed":
            self._answer.image_calls.append(ImageCall.parse(self._arguments))
        yield from ()


class _ActionCall(_Gathered):
    """A call that says what to do in fields of its own: there is no item before they are known."""

    def __init__(self, answer: ChatAnswer, call_id: str, tool: Tool) -> None:
        super().__init__(answer)
        self._call_id = call_id
        self._tool = tool

    def done(self, status: str) -> Iterator[Body]:
        kind = f"{self._tool.kind}_call"
        head = {"id": self._answer.next_id(kind), "type": kind, "status": "in_progress"}
        fields = call_fields(self._tool, self._arguments)
        item = OpenItem(self._answer, {**head, "call_id": self._call_id, **fields})
        yield from item.added()
        yield from item.done(status)


def _usage(usage: Mapping[str, Any]) -> Body:
    """A chat completion's usage in the names of the Responses API."""
    given, made = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    prompt, completion = _tokens(usage, "prompt_tokens"), _tokens(usage, "completion_tokens")
    return {
        "input_tokens": prompt,
        "input_tokens_details": {
            "cached_tokens": _tokens(given, "cached_tokens"),
            "cache_write_tokens": _tokens(given, "cache_write_tokens"),
        },
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": _tokens(made, "reasoning_tokens")},
        "total_tokens": _tokens(usage, "total_tokens") or prompt + completion,
    }


def summed(usages: Iterable[Body]) -> Body:
    """The usage of several requests together."""
    first, *rest = usages
    for more in rest:
        first = {
            name: summed([first[name], value]) if isinstance(value, dict) else first[name] + value
            for name, value in more.items()
        }
    return first


def _tokens(usage: object, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    return int(value) if isinstance(value, (int, float)) else 0


_WHOLE = frozenset(f"response.{status}" for status in ("created", "queued", "in_progress", *FINAL))
"""Events that carry the whole response: these we say ourselves."""


class RelayedAnswer(_Numbered):
    """Passes an upstream's own Responses events on, under our ids and numbers."""

    def __init__(self, response: Body) -> None:
        super().__init__(response)
        self._ours = {
            name: response[name]
            for name in (
                "id",
                "created_at",
                "background",
                "conversation",
                "metadata",
                "previous_response_id",
                "store",
            )
        }

    def feed(self, event: Mapping[str, Any]) -> Iterator[Body]:
        kind = event.get("type")
        if not isinstance(kind, str):
            raise UpstreamGarbage("The language model's stream is not what its API promises.")
        if kind == "error":
            raise UpstreamError("The language model failed while it answered.")
        if isinstance(event.get("response"), dict):
            self.take(event["response"])
        if kind in _WHOLE:
            return
        grow(self.response["output"], event)
        rest = {k: v for k, v in event.items() if k not in ("type", "sequence_number", "response")}
        yield self.event(kind, **rest)

    def take(self, response: Mapping[str, Any]) -> None:
        """Take the upstream's account of the response; ids and echoes stay ours."""
        self.upstream_id = response.get("id") or self.upstream_id
        output = response.get("output") or self.response["output"]
        status = response.get("status", "in_progress")
        self.response.update({**response, **self._ours, "output": copy.deepcopy(output)})
        self.response["status"] = status if status in FINAL else "in_progress"

    def end(self, now: int) -> Iterator[Body]:
        if self.response["status"] not in FINAL:
            raise UpstreamError("The language model's stream ended in the middle.")
        return iter(())
