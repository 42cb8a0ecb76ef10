"""What the GPT endpoints have in common: an answer whole or streamed, in OpenAI's own bodies."""

from __future__ import annotations

import contextvars
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from robotchat.aws import streams
from robotchat.aws.api import EventStream, caller
from robotchat.aws.metrics import record_first_token
from robotchat.aws.wiring import settings
from robotchat.errors import Forbidden
from robotchat.gpt.driver import AnswerStream, Body, Interrupt
from robotchat.gpt.responses.image_tool import TOOL, is_forced

HEARTBEAT = 5.0
"""Seconds of silence after which a stream shows that it is still there."""

DONE = b"data: [DONE]\n\n"


def completed(
    body: Mapping[str, Any],
    *,
    whole: Callable[[Mapping[str, Any]], Body],
    stream: Callable[[Mapping[str, Any]], AnswerStream],
) -> Body | EventStream:
    """A completion, streamed as nameless events up to ``[DONE]`` when the body asks for that."""
    if not body.get("stream"):
        return whole(body)
    return _streamed(lambda: stream(body), lambda event: (None, event), end=DONE)


def responded(open_stream: Callable[[], AnswerStream], *, follows: bool = False) -> EventStream:
    """The events of a response, each under the name of its type.

    With ``follows`` they are of one that is made elsewhere: who reads them connects again after a
    while, and goes on behind the last `sequence_number`, which is also the event's id.
    """
    if not follows:
        return _streamed(open_stream, lambda event: (event["type"], event))
    return _streamed(open_stream, _numbered, bound=settings().follow_time)


def needs_model(body: Mapping[str, Any]) -> bool:
    """Whether a response needs a language model: it does not where all that it is to do is draw,
    for which there are rules."""
    return not is_forced(body)


def may_draw(body: Mapping[str, Any]) -> None:
    """Whether the caller may have the pictures that a response is asked for. Raises Forbidden."""
    tools = body.get("tools")
    listed = tools if isinstance(tools, list) else ()  # what else it may be is refused later
    named = [tool.get("type") for tool in listed if isinstance(tool, dict)]
    if TOOL in named and not caller().may("images"):
        raise Forbidden("This key does not have the scope 'images'.", param="tools")


def sequence_number(last_event_id: str | None) -> int:
    """The `sequence_number` that an event's id names; -1 for none."""
    text = last_event_id or ""
    return int(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else -1


def _numbered(event: Body) -> bytes:
    return streams.event(event["type"], event, id=event.get("sequence_number"))


def _streamed(
    open_stream: Callable[[], AnswerStream],
    encode: Callable[[Body], tuple[str | None, Body] | bytes],
    end: bytes = b"",
    *,
    bound: float | None = None,
) -> EventStream:
    opened = _Opened(open_stream, encode, end)
    return EventStream(opened.events(), heartbeat=HEARTBEAT, cancel=opened.cancel, bound=bound)


class _Opened:
    """A stream that is opened in the thread that reads it, and can be ended from another one."""

    def __init__(
        self,
        open_stream: Callable[[], AnswerStream],
        encode: Callable[[Body], tuple[str | None, Body] | bytes],
        end: bytes,
    ) -> None:
        self._open = open_stream
        self._encode = encode
        self._end = end
        self._request = contextvars.copy_context()
        self._lock = threading.Lock()
        self._stream: AnswerStream | None = None
        self._cancelled = False
        self._interrupt = Interrupt()

    def events(self) -> Iterator[tuple[str | None, Body] | bytes]:
        asked = time.monotonic()
        silent = True
        with self._interrupt.armed():
            stream = self._open()
        with self._lock:
            self._stream = stream
            cancelled = self._cancelled
        try:
            if cancelled:
                return
            for event in stream:
                if silent and _says_something(event):
                    silent = False
                    self._request.run(record_first_token, time.monotonic() - asked)
                yield self._encode(event)
            if self._end:
                yield self._end
        finally:
            stream.close()

    def cancel(self) -> None:
        """The client has gone: end the upstream's work, also while it is being waited for."""
        with self._lock:
            self._cancelled = True
            stream = self._stream
        self._interrupt.set()
        if stream is not None:
            stream.close()


def _says_something(event: Body) -> bool:
    """Whether an event brings words, or a call of a tool, and not only the frame for them."""
    if str(event.get("type", "")).endswith(".delta"):
        return True
    deltas = ({**choice, **(choice.get("delta") or {})} for choice in event.get("choices") or ())
    return any(
        delta.get(name)
        for delta in deltas
        for name in ("text", "content", "reasoning_content", "tool_calls", "refusal")
    )
