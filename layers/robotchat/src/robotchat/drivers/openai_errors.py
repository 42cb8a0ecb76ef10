"""What an upstream's failure means for our caller, in whatever shape it is told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from robotchat.drivers.upstreams import Upstream
from robotchat.errors import (
    NotSupported,
    UpstreamError,
    UpstreamQuotaExceeded,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnauthorized,
    UpstreamUnavailable,
)
from robotchat.gpt.driver import Body
from robotchat.gpt.normalize import whole_characters

_CONTEXT_CODES = {"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"}
_TOO_LONG = re.compile(
    r"context[ _-]?(length|size|window|limit)|maximum context|max_model_len"
    r"|(prompt|input|request) (is|was) too long|too many (input |prompt )?tokens"
    r"|longer than the (maximum )?(model|context)|exceeds? the (maximum|model'?s?) (input|context)"
    r"|reduce the length of (the|your) (messages|prompt|input)"
    r"|input tokens? (count )?(\(\d+\) )?exceeds|must have less than \d+ tokens",
    re.IGNORECASE,
)
_QUOTA_CODES = {"insufficient_quota", "billing_hard_limit_reached", "quota_exceeded"}
_NO_QUOTA = re.compile(
    r"exceeded your (current|monthly) quota|insufficient (quota|balance|credits?|funds)",
    re.IGNORECASE,
)


def error_in(answer: object) -> Body | None:
    """The error that an answer is, with a ``message`` where it has one; None when it is none.

    Errors come as OpenAI's object, as a text, in FastAPI's ``detail``, or bare.
    """
    if not isinstance(answer, dict):
        return None
    error = answer.get("error")
    if error:
        if isinstance(error, list):
            error = error[0]
        return dict(error) if isinstance(error, dict) else {"message": str(error)}
    if answer.get("object") == "error":
        return answer
    if any(name in answer for name in ("choices", "output", "data", "type", "input_tokens", "id")):
        return None
    detail = answer.get("detail") or answer.get("errors")
    if isinstance(detail, list):
        return {"message": "; ".join(map(_complaint, detail))}
    if isinstance(detail, dict):
        return error_in({"error": detail})
    if isinstance(detail, str):
        return {"message": detail}
    return answer if isinstance(answer.get("message"), str) else None


def _complaint(one: object) -> str:
    """One entry of the list in which FastAPI says what is wrong with a request."""
    if not isinstance(one, dict):
        return str(one)
    where = one.get("loc")
    path = ".".join(map(str, where)) if isinstance(where, (list, tuple)) else ""
    what = str(one.get("msg") or one.get("message") or "invalid")
    return f"{path}: {what}" if path else what


def of_status(
    status: int, error: Mapping[str, Any], upstream: Upstream, *, retry_after: float | None = None
) -> UpstreamError:
    """The error for an answer with this status, or with one that an error in it names."""
    message = error.get("message")
    text = scrub(message, upstream) if isinstance(message, str) and message else ""
    codes = {error.get("code"), error.get("type")} if _hashable(error) else set()
    if status in (401, 403):
        return UpstreamUnauthorized(
            "The language model refused this service's own credentials. "
            "The operator must check the API key that is configured for it."
        )
    if status in (402, 429) and (status == 402 or codes & _QUOTA_CODES or _NO_QUOTA.search(text)):
        return UpstreamQuotaExceeded(
            "The language model's quota for this service is used up; asking again will not help "
            "until the operator has raised it."
        )
    if status == 429:
        return UpstreamRateLimited(
            "The language model's rate limit is reached.", retry_after=retry_after
        )
    if status == 408:
        return UpstreamTimeout("The language model did not answer in time.")
    too_long = bool(codes & _CONTEXT_CODES) or (
        status in (400, 413, 422, 500) and _TOO_LONG.search(text)
    )
    if too_long:
        return UpstreamRejected(
            text or "The input is longer than the language model takes.",
            param=_param(error, upstream),
            details={"status": 400, "code": "context_length_exceeded", "type": _INVALID},
        )
    if status == 501:
        return NotSupported(text or "The language model's API does not have this.")
    if status >= 500:
        return UpstreamUnavailable("The language model failed to answer.", retry_after=retry_after)
    details: Body = {"status": status}
    for name in ("code", "type"):
        if isinstance(error.get(name), str):
            details[name] = scrub(error[name], upstream)
    return UpstreamRejected(
        text or f"The language model refused the request ({status}).",
        param=_param(error, upstream),
        details=details,
    )


_INVALID = "invalid_request_error"
_NAMED = {
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "rate_limit": 429,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "permission_error": 403,
    "timeout": 408,
    _INVALID: 400,
    "bad_request": 400,
    "BadRequestError": 400,
    "NotFoundError": 404,
    "model_not_found": 404,
    "not_found_error": 404,
}


def in_band(error: Mapping[str, Any], upstream: Upstream) -> UpstreamError:
    """An error that came with status 200, or in a stream: a code or type may say which it is."""
    given = [error.get(name) for name in ("code", "status", "status_code", "type")]
    for one in given:
        if str(one).isdigit() and 400 <= int(str(one)) < 600:
            named = {**error, "code": error.get("type")} if one == error.get("code") else error
            return of_status(int(str(one)), named, upstream)
    names = [one for one in given if isinstance(one, str)]
    if _CONTEXT_CODES.intersection(names):
        return of_status(400, error, upstream)
    if _QUOTA_CODES.intersection(names):
        return of_status(429, error, upstream)
    for one in names:
        if one in _NAMED:
            return of_status(_NAMED[one], error, upstream)
    message = error.get("message")
    if isinstance(message, str) and message:
        if _TOO_LONG.search(message):
            return of_status(400, error, upstream)
        return UpstreamUnavailable(
            f"The language model failed while it answered: {scrub(message, upstream)}"
        )
    return UpstreamUnavailable("The language model failed while it answered.")


def _param(error: Mapping[str, Any], upstream: Upstream) -> str | None:
    param = error.get("param")
    return scrub(param, upstream) if isinstance(param, str) else None


def _hashable(error: Mapping[str, Any]) -> bool:
    return not any(isinstance(error.get(name), (dict, list)) for name in ("code", "type"))


_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>)\]]+", re.IGNORECASE)
_ADDRESS = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b")
_KEY = re.compile(r"\b(?:sk|pk|rk|key|Bearer)[-_ ][\w*.-]{6,}")


def scrub(text: str, upstream: Upstream) -> str:
    """The upstream's own words, without addresses and keys."""
    text = whole_characters(text)
    host = urlsplit(upstream.base_url).netloc.rpartition("@")[2]
    for secret in (upstream.api_key, host, host.partition(":")[0]):
        if secret and len(secret) > 3:
            text = text.replace(secret, "[...]")
    for pattern in (_URL, _ADDRESS, _KEY):
        text = pattern.sub("[...]", text)
    return text if len(text) <= 2000 else f"{text[:2000]}..."
