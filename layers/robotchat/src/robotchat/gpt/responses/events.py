"""The events of a response, and the response that they add up to.

Two sources make them: ``ChatAnswer`` from the chunks of a chat completion, ``RelayedAnswer`` from
the events of an upstream that speaks the Responses API itself. Either holds the response as it is
at each moment, so that whatever happens, what is stored is what was streamed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Protocol

from robotchat.errors import RobotchatError, UpstreamError, UpstreamGarbage, UpstreamRateLimited
from robotchat.gpt.driver import Body
from robotchat.ids import new_id

FINAL = frozenset({"completed", "incomplete", "failed", "cancelled"})
"""The states of a response that never change."""


class Answer(Protocol):
    """A response in the making. ``upstream_id`` is its id at an upstream that keeps the state."""

    response: Body
    upstream_id: str | None

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

    def start(self) -> Iterator[Body]:
        yield self.event("response.created", response=copy.deepcopy(self.response))
        yield self.event("response.in_progress", response=copy.deepcopy(self.response))

    def fail(self, error: RobotchatError) -> None:
        self.cut()
        self.response.update(status="failed", error=error_of(error), incomplete_details=None)

    def cut(self) -> None:
        self.response["status"] = "incomplete"
        for item in self.response["output"]:
            if item.get("status") == "in_progress":
                item["status"] = "incomplete"

    def terminal(self) -> Body:
        return {
            "type": f"response.{self.response['status']}",
            "sequence_number": self._sequence,
            "response": copy.deepcopy(self.response),
        }


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
        self._open: _TextItem | None = None
        self._calls: dict[int, _Call] = {}
        self._finish_reason: str | None = None

    def feed(self, event: Mapping[str, Any]) -> Iterator[Body]:
        if event.get("model"):
            self.response["model"] = event["model"]
        if event.get("service_tier"):
            self.response["service_tier"] = event["service_tier"]
        if isinstance(event.get("usage"), dict):
            self.response["usage"] = _usage(event["usage"])
        choices = event.get("choices") or []
        if not isinstance(choices, list) or not all(isinstance(c, dict) for c in choices):
            raise UpstreamGarbage("The language model's stream is not what its API promises.")
        for choice in choices:
            if choice.get("index", 0) == 0:
                yield from self._feed_delta(choice.get("delta") or {}, choice.get("logprobs"))
                self._finish_reason = choice.get("finish_reason") or self._finish_reason

    def feed_whole(self, completion: Mapping[str, Any]) -> Iterator[Body]:
        """Take an unstreamed chat completion, as the one chunk that it amounts to."""
        choices = completion.get("choices")
        if not isinstance(choices, list) or not choices:
            raise UpstreamGarbage("The language model's answer holds no choices.")
        first = choices[0]
        message = dict(first.get("message") or {})
        calls = enumerate(message.get("tool_calls") or ())
        message["tool_calls"] = [{**call, "index": index} for index, call in calls]
        yield from self.feed({**completion, "choices": [{**first, "delta": message}]})

    def end(self, now: int) -> Iterator[Body]:
        reasons = {"length": "max_output_tokens", "content_filter": "content_filter"}
        reason = reasons.get(self._finish_reason or "")
        status = "incomplete" if reason else "completed"
        yield from self._close(status)
        for index in sorted(self._calls):
            yield from self._calls[index].done(status)
        self.response["status"] = status
        if reason:
            self.response["incomplete_details"] = {"reason": reason}
        else:
            self.response["completed_at"] = now

    def _feed_delta(self, delta: Mapping[str, Any], logprobs: object) -> Iterator[Body]:
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        if reasoning and isinstance(reasoning, str):
            yield from self._feed_text(_Reasoning, reasoning, [])
        if delta.get("content"):
            entries = logprobs.get("content") if isinstance(logprobs, dict) else None
            yield from self._feed_text(_Text, str(delta["content"]), entries or [])
        if delta.get("refusal"):
            yield from self._feed_text(_Refusal, str(delta["refusal"]), [])
        for call in delta.get("tool_calls") or ():
            yield from self._feed_call(call)

    def _feed_text(self, kind: type[_TextItem], text: str, logprobs: list[Body]) -> Iterator[Body]:
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
            if not function.get("name"):
                raise UpstreamGarbage("The language model called a function without a name.")
            yield from self._close("completed")
            opened = _Call(self, call.get("id") or new_id("call"), function["name"])
            self._calls[index] = opened
            yield from opened.added()
        if function.get("arguments"):
            yield from self._calls[index].delta(function["arguments"])

    def _close(self, status: str) -> Iterator[Body]:
        opened, self._open = self._open, None
        if opened is not None:
            yield from opened.done(status)


class _OpenItem:
    """An output item that is still growing; ``item`` is the one in the response itself."""

    def __init__(self, answer: ChatAnswer, item: Body) -> None:
        self._answer = answer
        self.item = item
        self._place: Body = {
            "item_id": item["id"],
            "output_index": len(answer.response["output"]),
        }
        answer.response["output"].append(item)

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


class _TextItem(_OpenItem):
    """An item with one part of text. The class attributes are what kinds of text differ in."""

    prefix = "msg"
    shape: ClassVar[Body]
    """The item at the beginning."""
    part: ClassVar[Body]
    """The part at the beginning."""
    field = "text"
    """Which field of the part grows."""
    events = "response.output_text"
    with_logprobs = False

    def __init__(self, answer: ChatAnswer) -> None:
        super().__init__(
            answer,
            {"id": new_id(self.prefix), "status": "in_progress", **copy.deepcopy(self.shape)},
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
    prefix = "rs"
    shape: ClassVar[Body] = {"type": "reasoning", "summary": [], "content": []}
    part: ClassVar[Body] = {"type": "reasoning_text", "text": ""}
    events = "response.reasoning_text"


class _Call(_OpenItem):
    def __init__(self, answer: ChatAnswer, call_id: str, name: str) -> None:
        super().__init__(
            answer,
            {
                "id": new_id("fc"),
                "type": "function_call",
                "status": "in_progress",
                "call_id": call_id,
                "name": name,
                "arguments": "",
            },
        )

    def delta(self, text: str) -> Iterator[Body]:
        self.item["arguments"] += text
        yield self.event("response.function_call_arguments.delta", delta=text)

    def done(self, status: str) -> Iterator[Body]:
        yield self.event(
            "response.function_call_arguments.done",
            arguments=self.item["arguments"],
        )
        yield from super().done(status)


def _usage(usage: Mapping[str, Any]) -> Body:
    """A chat completion's usage in the names of the Responses API."""
    given = usage.get("prompt_tokens_details") or {}
    made = usage.get("completion_tokens_details") or {}
    asked, said = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    return {
        "input_tokens": asked,
        "input_tokens_details": {
            "cached_tokens": given.get("cached_tokens") or 0,
            "cache_write_tokens": given.get("cache_write_tokens") or 0,
        },
        "output_tokens": said,
        "output_tokens_details": {"reasoning_tokens": made.get("reasoning_tokens") or 0},
        "total_tokens": usage.get("total_tokens") or asked + said,
    }


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
        self._apply(kind, event)
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

    def _apply(self, kind: str, event: Mapping[str, Any]) -> None:
        """Let the response grow with its items, for the case that the end never comes."""
        output = self.response["output"]
        index = event.get("output_index")
        if kind in ("response.output_item.added", "response.output_item.done"):
            item = copy.deepcopy(event.get("item"))
            if index == len(output):
                output.append(item)
            elif isinstance(index, int) and index < len(output):
                output[index] = item
            return
        grow = _GROWTH.get(kind)
        if grow is not None and isinstance(index, int) and index < len(output):
            grow(output[index], event)


def _grow_part(item: Body, event: Mapping[str, Any]) -> None:
    parts = item.setdefault("content", [])
    if event.get("content_index") == len(parts):
        parts.append(copy.deepcopy(event["part"]))


def _grow_text(item: Body, event: Mapping[str, Any]) -> None:
    part = item["content"][event["content_index"]]
    field = "refusal" if part["type"] == "refusal" else "text"
    part[field] += event["delta"]


def _grow_arguments(item: Body, event: Mapping[str, Any]) -> None:
    item["arguments"] = item.get("arguments", "") + event["delta"]


_GROWTH: Mapping[str, Callable[[Body, Mapping[str, Any]], None]] = {
    "response.content_part.added": _grow_part,
    "response.output_text.delta": _grow_text,
    "response.refusal.delta": _grow_text,
    "response.reasoning_text.delta": _grow_text,
    "response.function_call_arguments.delta": _grow_arguments,
}
