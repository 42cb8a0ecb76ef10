"""The Lambda Runtime API (2018-06-01) for one function process, on its own loopback port.

The process asks for its next invocation, posts the response (whole, or streamed in chunks with
errors in the trailers) or an error. This module speaks HTTP and knows nothing of processes: it
calls a :class:`Runtime`.

When the consumer of a streamed response gives it up (``Body.close``), the process's POST is broken
off, so that it notices at its next write. AWS does not tell the function; it lets it write into
the void.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import h11

RESPONSE_LIMIT = 6_291_556  # bytes of a buffered response, and of any event
ERROR_LIMIT = 1 << 20
PREFIX = "/2018-06-01/runtime/"


class FunctionError(Exception):
    """The function failed; ``payload`` is the error document Lambda would answer."""

    def __init__(self, error_type: str, message: str, payload: bytes | None = None) -> None:
        super().__init__(f"{error_type}: {message}")
        self.error_type = error_type
        self.message = message
        self.payload = (
            payload or json.dumps({"errorType": error_type, "errorMessage": message}).encode()
        )

    @classmethod
    def from_payload(cls, payload: bytes, error_type: str = "Unhandled") -> FunctionError:
        """The error that a runtime reported, in the runtime's own words."""
        try:
            document = json.loads(payload)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            return cls(error_type, payload.decode(errors="replace"))
        return cls(
            str(document.get("errorType") or error_type),
            str(document.get("errorMessage") or ""),
            payload,
        )


class Body:
    """A streamed response on its way from the function to the caller, one chunk at a time.

    Iterate over it for the chunks; :class:`FunctionError` is raised if the function fails midway.
    The function's next chunk is read only after the last one was taken. Who iterates again goes
    on where the last one stopped. ``close`` gives up.
    """

    def __init__(self) -> None:
        self._items: asyncio.Queue[bytes | FunctionError | None] = asyncio.Queue()
        self._taken = asyncio.Semaphore(1)
        self._closed = asyncio.Event()
        self.ended = False

    async def put(self, chunk: bytes) -> None:
        """Hand one chunk over; returns when the one before it was taken."""
        await self._taken.acquire()
        self._items.put_nowait(chunk)

    def end(self, error: FunctionError | None = None) -> None:
        """No more chunks: complete, or broken off by an error."""
        self.ended = True
        self._items.put_nowait(error)

    def close(self) -> None:
        """The caller wants no more: the function's connection is broken off."""
        self._closed.set()

    async def wait_closed(self) -> None:
        await self._closed.wait()

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        while True:
            item = await self._items.get()
            if item is None or isinstance(item, FunctionError):
                self._items.put_nowait(item)  # also for whoever iterates again
            if item is None:
                return
            if isinstance(item, FunctionError):
                raise item
            try:
                yield item
            finally:
                self._taken.release()


@dataclass(frozen=True)
class Work:
    """One invocation as the function process gets it."""

    request_id: str
    payload: bytes
    deadline_ms: int
    function_arn: str
    trace_id: str


class Runtime(Protocol):
    """What the Runtime API does for the process; the Lambda host implements it."""

    async def next(self) -> Work:
        """Wait for the next invocation."""

    def respond(self, request_id: str, response: bytes | Body) -> bool:
        """The function's result. False if the request id is not the current one."""

    def fail(self, request_id: str, error: FunctionError) -> bool:
        """The function's error. False if the request id is not the current one."""

    def init_failed(self, error: FunctionError) -> None:
        """The function could not be initialised."""


class RuntimeApi:
    """Serves the Runtime API to one process. ``address`` is its AWS_LAMBDA_RUNTIME_API."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self.address = ""

    async def start(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{listener.getsockname()[1]}"
        self._server = await asyncio.start_server(self._accept, sock=listener)

    def close(self) -> None:
        """Stop listening and break off what is open."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(reader, writer)
        try:
            while (request := await connection.next_request()) is not None:
                await self._answer(connection, request)
        except (ConnectionError, h11.RemoteProtocolError, asyncio.CancelledError):
            writer.transport.abort()  # the process is gone, or its answer is no longer wanted
        finally:
            writer.close()

    async def _answer(self, connection: _Connection, request: h11.Request) -> None:
        path = request.target.decode("ascii").removeprefix(PREFIX)
        match path.split("/"):
            case ["invocation", "next"]:
                await connection.drain_request(0)
                work = await self._runtime.next()
                await connection.reply(
                    200,
                    work.payload,
                    [
                        ("Content-Type", "application/json"),
                        ("Lambda-Runtime-Aws-Request-Id", work.request_id),
                        ("Lambda-Runtime-Deadline-Ms", str(work.deadline_ms)),
                        ("Lambda-Runtime-Invoked-Function-Arn", work.function_arn),
                        ("Lambda-Runtime-Trace-Id", work.trace_id),
                    ],
                )
            case ["invocation", request_id, "response"]:
                await self._response(connection, request, request_id)
            case ["invocation", request_id, "error"]:
                payload = await connection.drain_request(ERROR_LIMIT) or b""
                error = FunctionError.from_payload(payload, _error_type(request))
                await connection.accepted(self._runtime.fail(request_id, error))
            case ["init", "error"]:
                payload = await connection.drain_request(ERROR_LIMIT) or b""
                self._runtime.init_failed(FunctionError.from_payload(payload, _error_type(request)))
                await connection.accepted(True)
            case _:
                await connection.drain_request(ERROR_LIMIT)
                await connection.reply(404, b'{"errorType":"NotFound"}')

    async def _response(
        self, connection: _Connection, request: h11.Request, request_id: str
    ) -> None:
        if _header(request, b"lambda-runtime-function-response-mode") == "streaming":
            body = Body()
            known = self._runtime.respond(request_id, body)
            if known:
                await self._stream(connection, body)
            else:
                await connection.drain_request(ERROR_LIMIT)
            await connection.accepted(known)
            return
        payload = await connection.drain_request(RESPONSE_LIMIT)
        if payload is None:
            error = FunctionError(
                "Function.ResponseSizeTooLarge",
                "Response payload size exceeded maximum allowed payload size "
                f"({RESPONSE_LIMIT} bytes).",
            )
            self._runtime.fail(request_id, error)
            await connection.reply(413, error.payload)
        else:
            await connection.accepted(self._runtime.respond(request_id, payload))

    async def _stream(self, connection: _Connection, body: Body) -> None:
        """Pass the chunks on until the end, an error in the trailers, or nobody listens."""
        passing = asyncio.ensure_future(self._pass_chunks(connection, body))
        closed = asyncio.ensure_future(body.wait_closed())
        try:
            await asyncio.wait({passing, closed}, return_when=asyncio.FIRST_COMPLETED)
            if not passing.done():
                raise ConnectionAbortedError("the caller of the streaming function went away")
            await passing
        finally:
            closed.cancel()
            if not passing.done():
                passing.cancel()
                with suppress(asyncio.CancelledError):
                    await passing

    async def _pass_chunks(self, connection: _Connection, body: Body) -> None:
        try:
            async for event in connection.body():
                if isinstance(event, h11.Data):
                    await body.put(bytes(event.data))
                else:
                    body.end(_trailer_error(event))
        except (ConnectionError, h11.RemoteProtocolError):
            body.end(FunctionError("Runtime.TruncatedResponse", "The streamed response broke off."))
            raise


class _Connection:
    """One HTTP/1.1 connection, server side: a request is read, then answered."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)

    async def next_request(self) -> h11.Request | None:
        """The next request's head; None when the peer has closed the connection."""
        if self._http.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
            self._http.start_next_cycle()
        if self._http.our_state is h11.MUST_CLOSE:
            return None
        event = await self._event()
        return event if isinstance(event, h11.Request) else None

    async def body(self) -> AsyncIterator[h11.Data | h11.EndOfMessage]:
        """The rest of the request, as it arrives."""
        while True:
            event = await self._event()
            if isinstance(event, h11.Data):
                yield event
            elif isinstance(event, h11.EndOfMessage):
                yield event
                return
            else:
                raise ConnectionResetError("the request broke off")

    async def drain_request(self, limit: int) -> bytes | None:
        """The whole request body, or None if it is larger than ``limit`` bytes."""
        chunks: list[bytes] = []
        size = 0
        async for event in self.body():
            if isinstance(event, h11.Data):
                size += len(event.data)
                if size <= limit:
                    chunks.append(bytes(event.data))
        return b"".join(chunks) if size <= limit else None

    async def accepted(self, known: bool) -> None:
        """The answer to a posted response or error."""
        if known:
            await self.reply(202, b'{"status":"OK"}\n')
        else:
            await self.reply(400, b'{"errorType":"InvalidRequestID","errorMessage":"Invalid id"}')

    async def reply(
        self, status: int, body: bytes, headers: list[tuple[str, str]] | None = None
    ) -> None:
        head = [*(headers or [("Content-Type", "application/json")])]
        head.append(("Content-Length", str(len(body))))
        parts = (
            self._http.send(h11.Response(status_code=status, headers=head)),
            self._http.send(h11.Data(data=body)),
            self._http.send(h11.EndOfMessage()),
        )
        self._writer.write(b"".join(part for part in parts if part))
        await self._writer.drain()

    async def _event(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                proceed = h11.InformationalResponse(status_code=100, headers=[])
                self._writer.write(self._http.send(proceed) or b"")
            self._http.receive_data(await self._reader.read(1 << 16))
        return event


def _header(message: h11.Request | h11.EndOfMessage, name: bytes) -> str:
    return next((v.decode("latin-1") for k, v in message.headers if k == name), "")


def _error_type(request: h11.Request) -> str:
    return _header(request, b"lambda-runtime-function-error-type") or "Unhandled"


def _trailer_error(end: h11.EndOfMessage) -> FunctionError | None:
    error_type = _header(end, b"lambda-runtime-function-error-type")
    if not error_type:
        return None
    encoded = _header(end, b"lambda-runtime-function-error-body")
    try:
        payload = base64.b64decode(encoded, validate=True)
    except ValueError:
        payload = encoded.encode()
    return FunctionError.from_payload(payload, error_type)
