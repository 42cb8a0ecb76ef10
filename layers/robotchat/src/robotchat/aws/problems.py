"""How an error looks to the caller: one exception tree, three shapes.

Each family of endpoints speaks the error language that its existing clients parse: A1111's keys,
OpenAI's ``error`` object, and RFC 9457 problem documents for robotchat's own endpoints. All three
carry the same machine code, ``retryable`` and the request's id.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from robotchat.errors import (
    InvalidRequest,
    LimitExceeded,
    PayloadTooLarge,
    RobotchatError,
    UnsupportedMediaType,
    UpstreamQuotaExceeded,
    UpstreamRejected,
)

MAX_BODY_BYTES = 6 * 1024 * 1024
"""What Lambda takes of one request, in which a binary body is written as base64."""

Family = Literal["a1111", "openai", "robotchat"]

_OPENAI_PATH = re.compile(
    r"/v1/(completions|chat/completions|responses|models|embeddings|images|conversations)(/|$)"
)
_A1111_PATH = re.compile(r"/(sdapi|controlnet)(/|$)")


def family_of(path: str) -> Family:
    """The family that a request path (or a route with placeholders) belongs to."""
    if _A1111_PATH.match(path):
        return "a1111"
    if _OPENAI_PATH.match(path):
        return "openai"
    return "robotchat"


@dataclass(frozen=True)
class FieldError:
    """One thing that is wrong with one field: where (``("body", "steps")``), what, and its kind."""

    loc: tuple[str | int, ...]
    msg: str
    type: str

    def __str__(self) -> str:
        place = ".".join(str(part) for part in self.loc[1:]) or str(self.loc[0])
        return f"{place}: {self.msg}"


class InvalidFields(InvalidRequest):
    """The request does not fit the endpoint's schema; ``errors`` names each field."""

    errors: tuple[FieldError, ...]

    def __init__(self, errors: Sequence[FieldError]) -> None:
        first = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        super().__init__(
            f"{first}{more}", param=".".join(str(part) for part in first.loc[1:]) or None
        )
        self.errors = tuple(errors)


class NotJson(InvalidFields):
    """The body is not JSON from character ``position`` on."""

    status = 400
    code = "malformed_request"

    def __init__(self, position: int, reason: str) -> None:
        super().__init__([FieldError(("body", position), reason, "value_error.jsondecode")])
        self.message = f"The body is not valid JSON: {reason} (at character {position})."
        self.param = None


@dataclass(frozen=True)
class Problem:
    """An error, ready to be sent."""

    status: int
    content_type: str
    body: dict[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> str:
        """The body as it goes over the wire."""
        return json.dumps(self.body, ensure_ascii=False, separators=(",", ":"), default=str)


def problem(error: RobotchatError, family: Family, request_id: str) -> Problem:
    """Say ``error`` in the language of ``family``."""
    headers = {}
    if error.retry_after is not None:
        # A header of whole seconds; rounding down would invite the caller too early.
        headers["Retry-After"] = str(max(0, math.ceil(error.retry_after)))
    if isinstance(error, LimitExceeded) and "maximum" in error.details:
        maximum = error.details["maximum"]
        headers["x-ratelimit-limit"] = str(maximum)
        headers["x-ratelimit-remaining"] = str(max(maximum - error.details.get("used", maximum), 0))
        headers["x-ratelimit-reset"] = headers.get("Retry-After", "0")
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="robotchat"'
    if family == "a1111":
        return _a1111(error, request_id, headers)
    if family == "openai":
        return _openai(error, request_id, headers)
    return _rfc9457(error, request_id, headers)


def body_too_large(maximum: int = MAX_BODY_BYTES) -> PayloadTooLarge:
    """The refusal of a body of more than ``maximum`` bytes, by the gateway or by an endpoint."""
    return PayloadTooLarge(
        f"The request is larger than {maximum / 1024 / 1024:g} MB, in which binary data counts as "
        "base64. Upload large pictures (POST /v1/uploads), and send their ids.",
        details={"max_bytes": maximum},
    )


def internal_error(family: Family, request_id: str) -> Problem:
    """What a caller learns of a bug: that it happened, and the id to ask about."""
    return problem(
        RobotchatError("Something went wrong on our side. The request id identifies it."),
        family,
        request_id,
    )


def _shared(error: RobotchatError, request_id: str) -> dict[str, Any]:
    shared: dict[str, Any] = {
        "code": error.code,
        "retryable": error.retryable,
        "request_id": request_id,
    }
    if error.details:
        shared["details"] = error.details
    return shared


def _a1111(error: RobotchatError, request_id: str, headers: dict[str, str]) -> Problem:
    detail: str | list[dict[str, Any]] = error.message
    if isinstance(error, InvalidFields):
        detail = [{"loc": list(e.loc), "msg": e.msg, "type": e.type} for e in error.errors]
    # The web UI has one status for every body that it cannot read.
    unreadable = isinstance(error, (InvalidFields, UnsupportedMediaType))
    status = 422 if unreadable else error.status
    body = {"error": error.code, "detail": detail, "body": "", "errors": error.message}
    return Problem(status, "application/json", body | _shared(error, request_id), headers)


_REFUSALS = frozenset({400, 404, 409, 413, 415, 422})
"""Statuses of a language model's refusal that are handed on."""


def _openai_type(status: int) -> str:
    named = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    return named.get(status, "server_error" if status >= 500 else "invalid_request_error")


def _openai(error: RobotchatError, request_id: str, headers: dict[str, str]) -> Problem:
    status = 400 if error.status == 422 else error.status
    shared = _shared(error, request_id)
    if isinstance(error, UpstreamRejected):
        # What the language model refused is told as if it had been asked directly.
        told = error.details
        status = told["status"] if told.get("status") in _REFUSALS else status
        more = _without(told, "status", "code", "type")
        shared = {"code": told.get("code") or error.code, **_without(shared, "code", "details")}
        shared |= {"details": more} if more else {}
    quota = isinstance(error, UpstreamQuotaExceeded)
    kind = error.code if quota else _openai_type(status)
    body = {"message": error.message, "type": kind, "param": error.param} | shared
    # OpenAI's clients repeat 409, 429 and 5xx by themselves unless this header says otherwise.
    headers["x-should-retry"] = "true" if error.retryable else "false"
    return Problem(status, "application/json", {"error": body}, headers)


def _without(fields: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


def _rfc9457(error: RobotchatError, request_id: str, headers: dict[str, str]) -> Problem:
    body: dict[str, Any] = {
        "type": f"urn:robotchat:error:{error.code}",
        "title": error.code.replace("_", " ").capitalize(),
        "status": error.status,
        "detail": error.message,
    } | _shared(error, request_id)
    if isinstance(error, InvalidFields) and not isinstance(error, NotJson):
        body["errors"] = [
            {
                "detail": e.msg,
                "location": str(e.loc[0]),
                "pointer": "".join(f"/{_escape(str(part))}" for part in e.loc[1:]),
                "code": e.type,
            }
            for e in error.errors
        ]
    elif error.param is not None:
        body["param"] = error.param
    return Problem(error.status, "application/problem+json", body, headers)


def _escape(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")
