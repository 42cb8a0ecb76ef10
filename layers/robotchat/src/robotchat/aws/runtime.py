"""The Lambda runtime of functions that stream: ``python -m robotchat.aws.runtime``.

AWS's Python runtime sends an answer when it is complete. This one is a loop over the same Runtime
API that sends it as it is made. The exec wrapper ``bin/stream`` of the layer starts it in place
of AWS's; nothing but the standard library is needed before the function's own module.

If a handler has a ``stream`` method, that is called, and its chunks are sent as they come.
They begin with the metadata that API Gateway expects (see `robotchat.aws.api.Endpoint.stream`).
Any other handler is called, and its answer sent, as AWS's runtime does it.
"""

from __future__ import annotations

import base64
import http.client
import importlib
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

log = logging.getLogger("robotchat.aws.runtime")  # not "__main__"

_API = "/2018-06-01/runtime"
_ERROR_TYPE = "Lambda-Runtime-Function-Error-Type"
_ERROR_BODY = "Lambda-Runtime-Function-Error-Body"


@dataclass(frozen=True)
class Context:
    """What a handler is told about its invocation, with the names of AWS's context object."""

    aws_request_id: str
    invoked_function_arn: str
    deadline_ms: int
    function_name: str = ""
    function_version: str = ""
    memory_limit_in_mb: str = ""
    log_group_name: str = ""
    log_stream_name: str = ""
    client_context: None = None
    identity: None = None
    tenant_id: str | None = None

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends this invocation by force."""
        return max(0, self.deadline_ms - int(time.time() * 1000))


@dataclass(frozen=True)
class Invocation:
    """One piece of work from the Runtime API."""

    event: Any
    context: Context
    trace_id: str | None = None


@dataclass
class RuntimeApi:
    """The Runtime API at ``address`` (``host:port``), as one environment of a function sees it."""

    address: str
    env: Mapping[str, str] = field(default_factory=dict)

    def next(self) -> Invocation:
        """Wait for the next invocation, however long that takes."""
        headers, body = self._request("GET", "/invocation/next")
        env = self.env
        context = Context(
            aws_request_id=headers["Lambda-Runtime-Aws-Request-Id"],
            invoked_function_arn=headers.get("Lambda-Runtime-Invoked-Function-Arn", ""),
            deadline_ms=int(headers.get("Lambda-Runtime-Deadline-Ms", "0")),
            function_name=env.get("AWS_LAMBDA_FUNCTION_NAME", ""),
            function_version=env.get("AWS_LAMBDA_FUNCTION_VERSION", ""),
            memory_limit_in_mb=env.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", ""),
            log_group_name=env.get("AWS_LAMBDA_LOG_GROUP_NAME", ""),
            log_stream_name=env.get("AWS_LAMBDA_LOG_STREAM_NAME", ""),
            tenant_id=headers.get("Lambda-Runtime-Aws-Tenant-Id"),
        )
        return Invocation(json.loads(body), context, headers.get("Lambda-Runtime-Trace-Id"))

    def restored(self) -> None:
        """Say that initialisation is done, and come back when a snapshot of it is resumed."""
        self._request("GET", "/restore/next")

    def respond(self, request_id: str, answer: bytes) -> None:
        """Send a complete answer (JSON)."""
        self._request("POST", f"/invocation/{request_id}/response", answer)

    def fail(self, request_id: str, error: BaseException) -> None:
        """Report that the invocation failed before it had answered anything."""
        self._report(f"/invocation/{request_id}/error", error, request_id)

    def fail_init(self, error: BaseException) -> None:
        """Report that the function could not be loaded."""
        self._report("/init/error", error, "")

    def stream(self, request_id: str, first: bytes, chunks: Iterator[bytes]) -> None:
        """Send an answer as it is made; an error of ``chunks`` is reported behind what was sent.

        Raises `OSError` or `http.client.HTTPException` when whoever was listening has gone.
        """
        connection = self._connect()
        try:
            connection.putrequest("POST", f"{_API}/invocation/{request_id}/response")
            connection.putheader("Lambda-Runtime-Function-Response-Mode", "streaming")
            connection.putheader(
                "Content-Type", "application/vnd.awslambda.http-integration-response"
            )
            connection.putheader("Transfer-Encoding", "chunked")
            connection.putheader("Trailer", f"{_ERROR_TYPE}, {_ERROR_BODY}")
            connection.endheaders()
            _send_chunk(connection, first)
            trailers = b""
            while True:
                try:
                    chunk = next(chunks, None)
                except Exception as error:
                    log.exception("the stream broke off")
                    described = json.dumps(_describe(error, request_id)).encode()
                    trailers = (
                        f"{_ERROR_TYPE}: {type(error).__name__}\r\n"
                        f"{_ERROR_BODY}: {base64.b64encode(described).decode()}\r\n"
                    ).encode()
                    break
                if chunk is None:
                    break
                _send_chunk(connection, chunk)
            connection.send(b"0\r\n" + trailers + b"\r\n")
            _check(connection.getresponse())
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        # No timeout: between invocations the whole environment may be frozen for hours.
        return http.client.HTTPConnection(self.address)

    def _report(self, path: str, error: BaseException, request_id: str) -> None:
        body = json.dumps(_describe(error, request_id)).encode()
        self._request("POST", path, body, {_ERROR_TYPE: type(error).__name__})

    def _request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[http.client.HTTPMessage, bytes]:
        connection = self._connect()
        try:
            sent = {"Content-Type": "application/json", **(headers or {})} if body else {}
            connection.request(method, _API + path, body, sent)
            response = connection.getresponse()
            return response.headers, _check(response)
        finally:
            connection.close()


class RuntimeApiError(Exception):
    """The Runtime API refused something that this runtime sent."""


def _check(response: http.client.HTTPResponse) -> bytes:
    body = response.read()
    if response.status >= 500:
        # By the API's contract the environment is beyond repair, and the runtime must leave.
        raise SystemExit(f"the Runtime API answered {response.status}")
    if response.status >= 400:
        raise RuntimeApiError(f"the Runtime API answered {response.status}: {body[:500]!r}")
    return body


def _send_chunk(connection: http.client.HTTPConnection, chunk: bytes) -> None:
    if chunk:  # an empty chunk would end the body
        connection.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))


def _describe(error: BaseException, request_id: str) -> dict[str, Any]:
    return {
        "errorMessage": str(error),
        "errorType": type(error).__name__,
        "requestId": request_id,
        "stackTrace": traceback.format_tb(error.__traceback__),
    }


def load(handler: str, task_root: str) -> Callable[..., Any]:
    """The function's handler, named as in its configuration (``app.handler``)."""
    if task_root not in sys.path:
        sys.path.insert(0, task_root)
    module, _, name = handler.rpartition(".")
    loaded: Callable[..., Any] = getattr(importlib.import_module(module.replace("/", ".")), name)
    return loaded


def serve_one(api: RuntimeApi, handler: Callable[..., Any]) -> None:
    """Wait for one invocation and answer it."""
    invocation = api.next()
    event, context = invocation.event, invocation.context
    request_id = context.aws_request_id
    if invocation.trace_id is None:
        os.environ.pop("_X_AMZN_TRACE_ID", None)
    else:
        os.environ["_X_AMZN_TRACE_ID"] = invocation.trace_id

    stream = getattr(handler, "stream", None)
    chunks: Iterator[bytes] = iter(())
    first = b""
    try:
        if stream is None:
            first = json.dumps(handler(event, context), ensure_ascii=False).encode()
        else:
            chunks = iter(stream(event, context))
            first = next(chunks, b"")
    except Exception as error:
        log.exception("the invocation failed")
        _tolerating(api.fail, request_id, error)
    else:
        if stream is None:
            _tolerating(api.respond, request_id, first)
        else:
            _tolerating(api.stream, request_id, first, chunks)
    finally:
        # However it ended: what the handler holds open (an upstream's answer) is released now.
        close = getattr(chunks, "close", None)
        if close is not None:
            _tolerating(close)


def _tolerating(call: Callable[..., None], *args: Any) -> None:
    """Do something whose failure must not cost the next invocation its environment."""
    try:
        call(*args)
    except (OSError, http.client.HTTPException) as error:
        log.warning("whoever was listening has gone: %s", type(error).__name__)
    except Exception:
        log.exception("the end of an invocation failed")


def main(env: Mapping[str, str]) -> NoReturn:
    """Load the handler that the environment names, and serve it until the process is ended."""
    api = RuntimeApi(env["AWS_LAMBDA_RUNTIME_API"], env)
    try:
        handler = load(env["_HANDLER"], env.get("LAMBDA_TASK_ROOT") or os.getcwd())
    except Exception as error:
        log.exception("the function could not be loaded")
        api.fail_init(error)
        raise SystemExit(1) from None
    if env.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
        api.restored()
    while True:
        serve_one(api, handler)


if __name__ == "__main__":
    # A pipe would hold lines back until it is full; a log line must leave with its request.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    main(os.environ)
