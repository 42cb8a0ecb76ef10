"""An upstream's stream as events: server-sent ones, or the plain JSON that some send instead."""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from robotchat.errors import UpstreamError, UpstreamGarbage, UpstreamUnavailable
from robotchat.gpt import normalize
from robotchat.gpt.driver import Body
from robotchat.text import mended_json

if TYPE_CHECKING:
    import httpx2


@dataclass(frozen=True)
class Message:
    """One server-sent event, or (``whole``) a body that holds none."""

    name: str | None
    data: str
    whole: bool = False


def messages(pieces: Iterator[bytes]) -> Iterator[Message]:
    """The events of a body; what is no event stream is given as one whole."""
    before = bytearray()
    seen = False
    name: str | None = None
    data: list[str] = []
    lines = _lines(pieces)
    for line in lines:
        if not seen:
            before += line + b"\n"
        field, colon, value = line.partition(b":")
        if not line:
            if data:
                seen = True
                yield Message(name, "\n".join(data))
            name, data = None, []
        elif field == b"data":
            seen = True
            data.append(_text(value))
        elif field == b"event":
            name = _text(value).strip()
        elif not seen and not (colon and field in (b"", b"id", b"retry")):
            # Not a line of an event stream: so all of it is something else.
            rest = bytes(before) + b"\n".join(lines)
            yield Message(None, rest.decode("utf-8", "replace").strip(), whole=True)
            return
    if data:  # the last empty line is missing
        yield Message(name, "\n".join(data))


def _text(value: bytes) -> str:
    return value.removeprefix(b" ").decode("utf-8", "replace")


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Lines that end with LF, CR LF or CR, as an event stream has them."""
    rest = b""
    for piece in pieces:
        buffer = rest + piece
        # A CR at the end may be half of a line's end.
        held = b"\r" if buffer.endswith(b"\r") else b""
        buffer = buffer[: len(buffer) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = buffer.split(b"\n")
        rest += held
        yield from lines
    if rest:
        yield rest.removesuffix(b"\r")


def is_prose(text: str) -> bool:
    """Whether a body is no JSON cut short and no page, but words: an error, said plainly."""
    return bool(text) and not text.startswith(("<", "{", "["))


def parsed(text: str) -> Any:
    """JSON, with null for the numbers that JSON does not have. Raises UpstreamGarbage."""
    try:
        return mended_json(text)
    except ValueError:
        raise normalize.garbage() from None


class Dialect(Protocol):
    """How the events of one endpoint are mended, and when they are all there."""

    def feed(self, event: Body) -> Iterator[Body]:
        """The events for one of the upstream."""
        ...

    def whole(self, answer: Body) -> Iterator[Body]:
        """The events for an answer that came unstreamed."""
        ...

    def ended(self, *, done: bool, framed: bool) -> list[Body] | None:
        """What is left to say at the end; None when this can't be the end.

        ``done`` after ``[DONE]``; ``framed`` when the connection itself tells an end from a cut.
        """
        ...


class ChunkDialect:
    """Chunks of completions and chat completions."""

    def __init__(self, expected: int) -> None:
        self._chunks = normalize.Chunks(expected)

    def feed(self, event: Body) -> Iterator[Body]:
        yield self._chunks.feed(event)

    def whole(self, answer: Body) -> Iterator[Body]:
        for chunk in normalize.chunks_of(answer):
            yield self._chunks.feed(chunk)

    def ended(self, *, done: bool, framed: bool) -> list[Body] | None:
        if done or self._chunks.complete or (framed and self._chunks.may_end):
            return self._chunks.ending()
        return None


class ResponseDialect:
    """Events of the Responses API."""

    def __init__(self) -> None:
        self._pieces = normalize.Pieces()
        self._final = False

    def feed(self, event: Body) -> Iterator[Body]:
        kind = event.get("type")
        self._final = self._final or kind in (
            "response.completed",
            "response.incomplete",
            "response.failed",
            "response.cancelled",
        )
        delta = event.get("delta")
        if isinstance(kind, str) and isinstance(delta, str):
            key = (kind, str(event.get("item_id")), str(event.get("content_index")))
            event = {**event, "delta": self._pieces.join(key, delta)}
        yield normalize.clean(event)

    def whole(self, answer: Body) -> Iterator[Body]:
        for event in normalize.response_events(normalize.clean(answer)):
            yield from self.feed(event)

    def ended(self, *, done: bool, framed: bool) -> list[Body] | None:
        return [] if self._final else None


class Events:
    """A stream that translates errors, notices a cut, and can be closed from another thread."""

    def __init__(
        self,
        response: httpx2.Response,
        dialect: Dialect,
        *,
        failures: tuple[type[Exception], ...],
        translate: Callable[[Exception], UpstreamError],
        error_of: Callable[[Body, str | None], UpstreamError | None],
    ) -> None:
        self._response = response
        self._dialect = dialect
        self._messages = messages(response.iter_bytes())
        self._failures = failures
        self._translate = translate
        self._error_of = error_of
        self._ready: deque[Body] = deque()
        self._begun = False
        self._over = False
        self._closed = False
        self._reading = threading.Lock()

    def prefetch(self) -> None:
        """Wait for the first event, so that a failure before it is still one of the call."""
        with self._reading:
            self._fill()

    def __iter__(self) -> Iterator[Body]:
        return self

    def __next__(self) -> Body:
        with self._reading:
            if self._closed:
                raise StopIteration
            self._fill()
            if self._closed or not self._ready:
                raise StopIteration
            return self._ready.popleft()

    def _fill(self) -> None:
        """Read until there is an event, or nothing more to come."""
        while not self._ready and not self._over and not self._closed:
            try:
                message = next(self._messages)
                if message.data.startswith("[DONE]"):
                    self._end(done=True)
                elif message.data.strip():
                    self._take(message)
            except StopIteration:
                self._end(done=False)
            except self._failures as error:
                if self._closed:
                    return
                if isinstance(error, UpstreamError):
                    self._break(error)
                rest = self._dialect.ended(done=False, framed=False)
                if rest is None:
                    self._break(self._translate(error))
                self._finish(rest or [])

    def _take(self, message: Message) -> None:
        try:
            event = parsed(message.data)
        except UpstreamGarbage:
            if not message.whole or not is_prose(message.data):
                raise
            raise self._error_of({"error": message.data}, None) or normalize.garbage() from None
        if not isinstance(event, dict):
            raise normalize.garbage("stream")
        if error := self._error_of(event, message.name):
            raise error
        made = self._dialect.whole(event) if message.whole else self._dialect.feed(event)
        self._ready.extend(made)
        self._begun = self._begun or bool(self._ready)

    def _end(self, *, done: bool) -> None:
        if not self._begun and not self._closed:
            self._break(UpstreamUnavailable("The language model's stream holds no events."))
        headers = self._response.headers
        framed = "chunked" in headers.get("transfer-encoding", "") or "content-length" in headers
        framed = framed or self._response.http_version == "HTTP/2"
        rest = self._dialect.ended(done=done, framed=framed)
        if rest is None and not self._closed:
            self._break(UpstreamUnavailable("The language model's stream ended in the middle."))
        self._finish(rest or [])

    def _finish(self, rest: list[Body]) -> None:
        self._ready.extend(rest)
        self._over = True
        self._response.close()

    def _break(self, error: UpstreamError) -> None:
        self._over = True
        self._response.close()
        raise error from None

    def close(self) -> None:
        """End the upstream's work. May be called from another thread than the reader's."""
        self._closed = True
        if not self._reading.acquire(blocking=False):
            # Another thread waits for data. Closing a socket does not end that wait, shutting it
            # down does.
            network = self._response.extensions.get("network_stream")
            shut_down(network.get_extra_info("socket") if network is not None else None)
            self._reading.acquire()
        try:
            self._response.close()
        finally:
            self._reading.release()


def shut_down(connection: object) -> None:
    """End every wait for a socket, in whichever thread."""
    if isinstance(connection, socket.socket):
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            # The other side was faster: it is closed, which is what was wanted.
            return
