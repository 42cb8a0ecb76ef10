"""The streaming runtime against a Runtime API: what is on the wire, and when."""

from __future__ import annotations

import base64
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from robotchat.aws.runtime import RuntimeApi, serve_one

ROOT = Path(__file__).parents[2]
PATIENCE = 20  # seconds before a test gives up; nothing here takes long


@dataclass
class Exchange:
    """What the runtime sent for one invocation; ``body`` grows while it is sent."""

    path: str
    headers: dict[str, str]
    body: queue.Queue[bytes | None] = field(default_factory=queue.Queue)
    trailers: dict[str, str] = field(default_factory=dict)

    def chunk(self) -> bytes | None:
        """The next chunk, as soon as it is there; None at the end."""
        return self.body.get(timeout=PATIENCE)

    def whole(self) -> bytes:
        return b"".join(iter(self.chunk, None))


class FakeRuntimeApi:
    """Lambda's side of the Runtime API, for one function."""

    def __init__(self) -> None:
        self.invocations: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.exchanges: queue.Queue[Exchange] = queue.Queue()
        self.hang_up_after: int | None = None
        self.status = 202
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:
                """Keep the test's output clean."""

            def do_GET(self) -> None:
                request_id, event = fake.invocations.get()
                body = json.dumps(event).encode()
                self.send_response(200)
                self.send_header("Lambda-Runtime-Aws-Request-Id", request_id)
                deadline = int((time.time() + 60) * 1000)
                self.send_header("Lambda-Runtime-Deadline-Ms", str(deadline))
                self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:x")
                self.send_header("Lambda-Runtime-Trace-Id", "Root=1-5bef4de7")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                exchange = Exchange(self.path, headers)
                fake.exchanges.put(exchange)
                if headers.get("transfer-encoding") == "chunked":
                    if not self._read_chunks(exchange):
                        return
                else:
                    exchange.body.put(self.rfile.read(int(headers["content-length"])))
                exchange.body.put(None)
                self.send_response(fake.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def _read_chunks(self, exchange: Exchange) -> bool:
                read = 0
                while size := int(self.rfile.readline(), 16):
                    exchange.body.put(self.rfile.read(size))
                    assert self.rfile.readline() == b"\r\n"
                    read += 1
                    if read == fake.hang_up_after:
                        # An abortive close, as when the one who was listening has died.
                        self.connection.setsockopt(
                            socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
                        )
                        self.connection.close()
                        self.close_connection = True
                        return False
                while (line := self.rfile.readline().decode().strip()) != "":
                    name, _, value = line.partition(": ")
                    exchange.trailers[name] = value
                return True

            def finish(self) -> None:
                if fake.hang_up_after is None:
                    super().finish()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def next_exchange(self) -> Exchange:
        return self.exchanges.get(timeout=PATIENCE)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def lambda_api() -> Iterator[FakeRuntimeApi]:
    fake = FakeRuntimeApi()
    yield fake
    fake.close()


class Streaming:
    """A handler of two faces, made of a generator."""

    def __init__(self, chunks: Callable[[Any, Any], Iterator[bytes]]) -> None:
        self.stream = chunks

    def __call__(self, event: Any, context: Any) -> Any:
        raise AssertionError("the streaming face was wanted")


@pytest.fixture
def serve(lambda_api: FakeRuntimeApi) -> Iterator[Callable[..., threading.Thread]]:
    """Serve one invocation with a handler, in a thread that has ended when the test has."""
    threads = []

    def serve(handler: Any, event: Any = None, request_id: str = "id-1") -> threading.Thread:
        lambda_api.invocations.put((request_id, event))
        api = RuntimeApi(lambda_api.address, {"AWS_LAMBDA_FUNCTION_NAME": "Streaming"})
        thread = threading.Thread(target=serve_one, args=(api, handler))
        thread.start()
        threads.append(thread)
        return thread

    yield serve
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_chunks_arrive_while_the_handler_is_still_at_work(
    lambda_api: FakeRuntimeApi, serve: Callable[..., threading.Thread]
) -> None:
    go_on = threading.Event()

    def chunks(event: Any, context: Any) -> Iterator[bytes]:
        yield b"one"
        assert go_on.wait(PATIENCE)
        yield b""
        yield b"two"

    serve(Streaming(chunks))
    exchange = lambda_api.next_exchange()
    assert exchange.path == "/2018-06-01/runtime/invocation/id-1/response"
    assert exchange.headers["lambda-runtime-function-response-mode"] == "streaming"
    assert exchange.headers["transfer-encoding"] == "chunked"
    assert exchange.headers["content-type"] == "application/vnd.awslambda.http-integration-response"
    assert exchange.chunk() == b"one"
    go_on.set()
    assert exchange.chunk() == b"two"
    assert exchange.chunk() is None
    assert exchange.trailers == {}


def test_a_handler_is_told_what_awss_runtime_would_tell_it(
    lambda_api: FakeRuntimeApi, serve: Callable[..., threading.Thread]
) -> None:
    def chunks(event: Any, context: Any) -> Iterator[bytes]:
        yield json.dumps(
            [
                event,
                context.aws_request_id,
                context.function_name,
                context.invoked_function_arn,
                0 < context.get_remaining_time_in_millis() <= 60_000,
                os.environ["_X_AMZN_TRACE_ID"],
            ]
        ).encode()

    serve(Streaming(chunks), {"path": "/海"})
    assert json.loads(lambda_api.next_exchange().whole()) == [
        {"path": "/海"},
        "id-1",
        "Streaming",
        "arn:aws:lambda:x",
        True,
        "Root=1-5bef4de7",
    ]


def test_what_fails_before_the_first_chunk_is_an_error_and_no_answer(
    lambda_api: FakeRuntimeApi, serve: Callable[..., threading.Thread]
) -> None:
    def chunks(event: Any, context: Any) -> Iterator[bytes]:
        raise ValueError("too early")
        yield b""

    serve(Streaming(chunks))
    exchange = lambda_api.next_exchange()
    assert exchange.path == "/2018-06-01/runtime/invocation/id-1/error"
    assert exchange.headers["lambda-runtime-function-error-type"] == "ValueError"
    body = json.loads(exchange.whole())
    assert (body["errorType"], body["errorMessage"], body["requestId"]) == (
        "ValueError",
        "too early",
        "id-1",
    )
    assert "chunks" in body["stackTrace"][-1]


def test_what_fails_later_is_told_behind_what_was_sent(
    lambda_api: FakeRuntimeApi, serve: Callable[..., threading.Thread]
) -> None:
    def chunks(event: Any, context: Any) -> Iterator[bytes]:
        yield b"half"
        raise OSError("the upstream broke")

    serve(Streaming(chunks))
    exchange = lambda_api.next_exchange()
    assert exchange.headers["trailer"] == (
        "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body"
    )
    assert exchange.whole() == b"half"
    assert exchange.trailers["Lambda-Runtime-Function-Error-Type"] == "OSError"
    told = base64.b64decode(exchange.trailers["Lambda-Runtime-Function-Error-Body"])
    assert json.loads(told)["errorMessage"] == "the upstream broke"


def test_when_nobody_listens_any_more_the_handlers_stream_is_closed_and_the_next_call_served(
    lambda_api: FakeRuntimeApi, serve: Callable[..., threading.Thread]
) -> None:
    closed = threading.Event()

    def endless(event: Any, context: Any) -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 65536
        finally:
            closed.set()

    lambda_api.hang_up_after = 2
    served = serve(Streaming(endless))
    assert closed.wait(PATIENCE)
    served.join(PATIENCE)
    assert lambda_api.next_exchange().path.endswith("/id-1/response")

    lambda_api.hang_up_after = None
    serve(Streaming(lambda event, context: iter([b"fine"])), request_id="id-2")
    exchange = lambda_api.next_exchange()
    assert exchange.path.endswith("/id-2/response")
    assert exchange.whole() == b"fine"


def test_a_handler_without_a_streaming_face_answers_as_ever(
    lambda_api: FakeRuntimeApi, serve: Callable[..., threading.Thread]
) -> None:
    serve(lambda event, context: {"got": event}, "海")
    exchange = lambda_api.next_exchange()
    assert "transfer-encoding" not in exchange.headers
    assert json.loads(exchange.whole()) == {"got": "海"}

    serve(lambda event, context: object(), request_id="id-2")
    assert lambda_api.next_exchange().path.endswith("/id-2/error")


def test_an_answer_that_lambda_refuses_does_not_end_the_runtime(
    lambda_api: FakeRuntimeApi, serve: Callable[..., threading.Thread]
) -> None:
    lambda_api.status = 413
    serve(lambda event, context: "too large").join(PATIENCE)
    serve(Streaming(lambda event, context: iter([b"too large"]))).join(PATIENCE)


def test_an_environment_that_lambda_gave_up_is_left(lambda_api: FakeRuntimeApi) -> None:
    lambda_api.status = 500
    lambda_api.invocations.put(("id-1", None))
    with pytest.raises(SystemExit):
        serve_one(RuntimeApi(lambda_api.address), lambda event, context: "fine")


# --- As Lambda starts it ----------------------------------------------------------------------


@pytest.fixture
def function(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(
        "from robotchat.aws.api import Endpoint, EventStream\n"
        "handler = Endpoint(public=True)\n"
        "@handler.get('/x')\n"
        "def x() -> EventStream:\n"
        "    return EventStream(iter([('a', 1), ('b', 2)]))\n"
    )
    return tmp_path


def start(
    lambda_api: FakeRuntimeApi, function: Path, handler: str = "app.handler"
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [ROOT / "layers/robotchat/bin/stream", sys.executable, "-m", "awslambdaric", handler],
        cwd=function,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "layers/robotchat/src"),
            "AWS_LAMBDA_RUNTIME_API": lambda_api.address,
            "LAMBDA_TASK_ROOT": str(function),
            "_HANDLER": handler,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_the_exec_wrapper_serves_the_function_call_after_call(
    lambda_api: FakeRuntimeApi, function: Path
) -> None:
    event = {
        "httpMethod": "GET",
        "path": "/x",
        "resource": "/x",
        "headers": {},
        "requestContext": {"requestId": "gateway-1", "stage": "prod", "path": "/x"},
        "body": None,
        "isBase64Encoded": False,
    }
    process = start(lambda_api, function)
    try:
        for request_id in ("id-1", "id-2"):
            lambda_api.invocations.put((request_id, event))
            exchange = lambda_api.next_exchange()
            assert exchange.path.endswith(f"/{request_id}/response")
            metadata, _, body = exchange.whole().partition(b"\0" * 8)
            assert json.loads(metadata)["statusCode"] == 200
            assert body == b"event: a\ndata: 1\n\nevent: b\ndata: 2\n\n"
    finally:
        process.terminate()
        out, _ = process.communicate(timeout=PATIENCE)
    assert [json.loads(line)["message"] for line in out.splitlines()] == ["answered", "answered"]


def test_a_function_that_cannot_be_loaded_is_reported_and_the_runtime_ends(
    lambda_api: FakeRuntimeApi, function: Path
) -> None:
    process = start(lambda_api, function, "app.nothing")
    exchange = lambda_api.next_exchange()
    assert exchange.path == "/2018-06-01/runtime/init/error"
    assert json.loads(exchange.whole())["errorType"] == "AttributeError"
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
