"""What a driver of a language model does: the protocols."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

Body = dict[str, Any]
"""A request, a response or an event of the OpenAI API."""


class AnswerStream(Protocol):
    """The events of one streamed answer, as they arrive.

    ``close`` ends the upstream's work at once. It may be called from another thread while an
    event is being waited for; that wait then ends with an error or with the end of the stream.
    """

    def __iter__(self) -> Iterator[Body]: ...

    def __next__(self) -> Body: ...

    def close(self) -> None: ...


class ChatDriver(Protocol):
    """Any OpenAI-compatible API, in OpenAI's own request and response bodies.

    Every method raises the ``Upstream*`` errors of ``robotchat.errors``, and nothing else. A
    stream is returned when its first event has arrived: an error before that is raised here, so
    that it can still be answered with the right status. ``timeout`` is the longest silence in
    seconds, None for the driver's own.
    """

    def chat_completion(self, body: Mapping[str, Any], *, timeout: float | None = None) -> Body: ...

    def stream_chat_completion(
        self, body: Mapping[str, Any], *, timeout: float | None = None
    ) -> AnswerStream: ...

    def completion(self, body: Mapping[str, Any], *, timeout: float | None = None) -> Body: ...

    def stream_completion(
        self, body: Mapping[str, Any], *, timeout: float | None = None
    ) -> AnswerStream: ...

    def count_input_tokens(
        self, body: Mapping[str, Any], *, timeout: float | None = None
    ) -> Body: ...

    def embeddings(self, body: Mapping[str, Any], *, timeout: float | None = None) -> Body: ...

    def models(self) -> Body: ...

    def model(self, model_id: str) -> Body: ...


class ResponsesDriver(ChatDriver, Protocol):
    """A driver whose upstream also knows ``/v1/responses`` and keeps the state itself."""

    def create_response(self, body: Mapping[str, Any], *, timeout: float | None = None) -> Body: ...

    def stream_response(
        self, body: Mapping[str, Any], *, timeout: float | None = None
    ) -> AnswerStream: ...

    def delete_response(self, response_id: str) -> None: ...


class Interrupt:
    """Ends the wait for an upstream from another thread, also before anything has come.

    While one is ``armed``, a driver that is called in the same context says by ``ends`` what ends
    its present wait. ``set`` does that, now and for every later wait.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._set = False
        self._end: Callable[[], None] | None = None

    @staticmethod
    def current() -> Interrupt | None:
        """The one that is armed in this context."""
        return _ARMED.get()

    @contextmanager
    def armed(self) -> Iterator[None]:
        """Let what is called here be interrupted."""
        token = _ARMED.set(self)
        try:
            yield
        finally:
            _ARMED.reset(token)

    @property
    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        """End the present wait, and all that would follow."""
        with self._lock:
            self._set = True
            end = self._end
        if end is not None:
            end()

    def ends(self, end: Callable[[], None] | None) -> None:
        """Say what ends the wait that begins now; None when it is over."""
        with self._lock:
            self._end = end
            at_once = self._set
        if at_once and end is not None:
            end()


_ARMED: ContextVar[Interrupt | None] = ContextVar("robotchat_interrupt", default=None)
