"""What a driver of a language model does: the protocols."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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

    def models(self) -> Body: ...

    def model(self, model_id: str) -> Body: ...


class ResponsesDriver(ChatDriver, Protocol):
    """A driver whose upstream also knows ``/v1/responses`` and keeps the state itself."""

    def create_response(self, body: Mapping[str, Any], *, timeout: float | None = None) -> Body: ...

    def stream_response(
        self, body: Mapping[str, Any], *, timeout: float | None = None
    ) -> AnswerStream: ...

    def delete_response(self, response_id: str) -> None: ...
