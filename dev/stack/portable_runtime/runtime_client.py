"""awslambdaric's native client, in Python, for platforms where that is not built (macOS).

awslambdaric imports a module of this name and calls these four functions.
"""

from __future__ import annotations

import http.client
import os
from urllib.parse import quote

_headers: dict[str, str] = {}


def initialize_client(user_agent: str) -> None:
    """Remember how to present ourselves."""
    _headers["User-Agent"] = user_agent


def next() -> tuple[bytes, dict[str, str | int]]:
    """Wait for the next invocation: its event and its headers, the deadline as a number."""
    event, headers = _call("GET", "invocation/next", 200)
    deadline = int(headers["Lambda-Runtime-Deadline-Ms"])
    return event, {**headers, "Lambda-Runtime-Deadline-Ms": deadline}


def post_invocation_result(
    invoke_id: str, data: bytes, content_type: str, invocation_id: str | None = None
) -> None:
    """Send the function's result."""
    path = f"invocation/{quote(invoke_id)}/response"
    _call("POST", path, 202, data, {"Content-Type": content_type})


def post_error(
    invoke_id: str, error: str, xray_fault: str, invocation_id: str | None = None
) -> None:
    """Send the error document of a failed invocation."""
    headers = {
        "Content-Type": "application/json",
        "Lambda-Runtime-Function-Error-Type": "Unhandled",
    }
    _call("POST", f"invocation/{quote(invoke_id)}/error", 202, error.encode(), headers)


def _call(
    method: str,
    path: str,
    expected: int,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[bytes, dict[str, str]]:
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    try:
        connection.request(
            method, f"/2018-06-01/runtime/{path}", body, {**_headers, **(headers or {})}
        )
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    if response.status != expected:
        raise RuntimeError(f"The Runtime API answered {response.status} to {method} {path}")
    return answer, dict(response.getheaders())
