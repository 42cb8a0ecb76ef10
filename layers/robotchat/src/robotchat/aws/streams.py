"""Answers that are sent while they are made: streamed bodies, server-sent events, heartbeats."""

from __future__ import annotations

import json
import queue
import re
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, ClassVar

from aws_lambda_powertools.event_handler.api_gateway import Response
from pydantic_core import core_schema

HEARTBEAT = b": heartbeat\n"
"""A comment. No empty line comes behind it: once an id was sent, OpenAI's SDKs take each one for
the end of an event, and fail over an event without data. So they do over a ``retry`` alone."""

RECONNECT_AFTER = 1000
"""Milliseconds after which whoever follows something connects again."""

_LINE_END = re.compile(r"\r\n|\r|\n")


class Streamed(Response[Any]):
    """A body of bytes that is sent piece by piece as ``chunks`` yields it.

    A route returns one instead of a model. Whatever raises before the first chunk becomes an
    ordinary error answer; afterwards the status is gone, and the stream is cut. If ``chunks``
    has a ``close`` method, it is called when the answer is complete or the client has gone.
    """

    media_type: ClassVar[str] = "application/octet-stream"
    """What the OpenAPI document calls the body."""

    def __init__(
        self,
        content_type: str,
        chunks: Iterable[bytes],
        *,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status_code, content_type, chunks, headers)
        self.chunks = chunks

    def is_json(self) -> bool:
        """The body is never serialised for the route: it is bytes already."""
        return False

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        # Lets a route be annotated `-> EventStream`, or with a union of it and a model.
        return core_schema.is_instance_schema(cls)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return {"type": "string", "contentMediaType": cls.media_type}


class EventStream(Streamed):
    """Server-sent events.

    ``events`` yields ``(name, data)`` pairs (``None`` for an event without a name; ``data`` is
    sent as JSON unless it is a string already) or ready-made bytes, for instance from `event`.
    With ``heartbeat``, a comment is sent whenever nothing came for so many seconds, so that no
    proxy takes the silence for death; ``cancel`` is then called to unblock ``events`` when the
    client has gone, or when the ``bound`` is reached (see `with_heartbeat`).

    An error after the first event reaches the client as an ``error`` event in the shape of the
    endpoint's family.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: Iterable[tuple[str | None, Any] | bytes],
        *,
        heartbeat: float | None = None,
        cancel: Callable[[], None] | None = None,
        bound: float | None = None,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        chunks: Iterable[bytes] = _encoded(events)
        if heartbeat is not None:
            chunks = with_heartbeat(chunks, heartbeat, cancel=cancel, bound=bound)
        super().__init__(
            f"{self.media_type}; charset=utf-8",
            chunks,
            status_code=status_code,
            headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **(headers or {})},
        )


def event(
    name: str | None, data: Any, *, id: str | int | None = None, retry: int | None = None
) -> bytes:
    """One server-sent event; ``data`` is sent as JSON unless it is a string already.

    ``id`` is what a client sends as ``Last-Event-ID`` when it connects again, after ``retry``
    milliseconds.
    """
    text = data if isinstance(data, str) else _json(data)
    lines = [] if name is None else [f"event: {name}"]
    # Every line of the data needs its own field, or the rest would be lost to the client.
    lines += [f"data: {line}" for line in _LINE_END.split(text)]
    if id is not None:
        lines.append(f"id: {id}")
    if retry is not None:
        lines.append(f"retry: {retry}")
    return ("\n".join(lines) + "\n\n").encode()


def _json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _encoded(events: Iterable[tuple[str | None, Any] | bytes]) -> Iterator[bytes]:
    try:
        for item in events:
            yield item if isinstance(item, bytes) else event(*item)
    finally:
        close(events)


def close(iterable: Iterable[Any]) -> None:
    """Close a generator, or anything else that holds something open; plain iterables need not."""
    closer = getattr(iterable, "close", None)
    if closer is not None:
        closer()


def with_heartbeat(
    chunks: Iterable[bytes],
    seconds: float,
    *,
    beat: bytes = HEARTBEAT,
    cancel: Callable[[], None] | None = None,
    bound: float | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> Generator[bytes, None, None]:
    """Yield from ``chunks``, and ``beat`` whenever they were silent for so many seconds.

    ``chunks`` is iterated in a thread of its own, and closed there. When this generator is closed
    early, ``cancel`` (if given) is called from the outside to end a read that the thread is
    blocked in, for instance by closing the upstream's connection. After ``bound`` seconds it ends
    in the same way by itself, with the time after which the client is to connect again.
    """
    end = None if bound is None else monotonic() + bound
    # One slot: a slow client slows the upstream down instead of filling the memory.
    slot: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=1)
    stop = threading.Event()

    def put(kind: str, value: Any) -> bool:
        if stop.is_set():
            return False
        slot.put((kind, value))
        return not stop.is_set()

    def read() -> None:
        try:
            try:
                for chunk in chunks:
                    if not put("chunk", chunk):
                        break
            finally:
                close(chunks)
        except BaseException as error:  # noqa: BLE001 - the consumer raises it
            put("error", error)
        else:
            put("end", None)

    reader = threading.Thread(target=read, name="heartbeat-reader", daemon=True)
    reader.start()
    ended = False
    try:
        while not ended:
            left = seconds if end is None else end - monotonic()
            if left <= 0:
                yield f"retry: {RECONNECT_AFTER}\n".encode()
                return
            try:
                kind, value = slot.get(timeout=min(seconds, left))
            except queue.Empty:
                yield beat
                continue
            ended = kind != "chunk"
            if kind == "error":
                raise value
            if kind == "chunk":
                yield value
    finally:
        stop.set()
        if not ended:
            while not slot.empty():  # let a reader that waits for the slot see the stop
                slot.get_nowait()
            if cancel is not None:
                cancel()
                reader.join(timeout=5)


def cut(body: bytes, size: int = 256 * 1024) -> Iterator[bytes]:
    """Pieces of a finished body, none larger than ``size``, without copying the whole."""
    view = memoryview(body)
    for start in range(0, len(body), size):
        yield bytes(view[start : start + size])


def joined(chunks: Iterable[bytes]) -> bytes:
    """A streamed body as one, for callers that cannot stream."""
    try:
        return b"".join(chunks)
    finally:
        close(chunks)
