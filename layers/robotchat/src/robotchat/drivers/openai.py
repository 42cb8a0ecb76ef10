"""Any OpenAI-compatible API, over the ``openai`` SDK's client.

The SDK's transport is used with plain dictionaries (its documented way to call what it has no
method for), so that fields which this version of the SDK does not know pass through. Retries are
this driver's own: only before the first byte of an answer, and over several upstreams.
"""

from __future__ import annotations

import random
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote, unquote, urlsplit

from robotchat.clock import Clock, SystemClock
from robotchat.errors import (
    UpstreamError,
    UpstreamGarbage,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnauthorized,
    UpstreamUnavailable,
)
from robotchat.gpt.driver import AnswerStream, Body

if TYPE_CHECKING:
    import httpx2
    from openai import OpenAI

T = TypeVar("T")

FIRST_BACKOFF = 0.5
"""Seconds before the first repetition; it doubles with each."""

LONGEST_BACKOFF = 8.0
"""An upstream that wants a longer pause (``Retry-After``) is not waited for: the caller is told."""

_REPEATABLE = (UpstreamUnavailable, UpstreamRateLimited, UpstreamGarbage)


@dataclass(frozen=True)
class Upstream:
    """Where to turn to when those before fail. ``model`` replaces the one asked for."""

    base_url: str
    api_key: str | None = None
    model: str | None = None


class OpenAIChat:
    """Chat, completions, models and responses of an OpenAI-compatible API.

    ``timeout`` is the longest silence of the upstream in seconds. ``fallbacks`` are tried in
    order when the first cannot be reached, is rate-limited or fails (5xx), as long as no byte of
    an answer has arrived; when all fail, the round is repeated up to ``max_retries`` times, after
    a pause that honours ``Retry-After``. ``http_client`` replaces the transport (an
    ``httpx2.Client``).
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        timeout: float = 300.0,
        connect_timeout: float = 5.0,
        fallbacks: Sequence[Upstream] = (),
        max_retries: int = 2,
        clock: Clock | None = None,
        http_client: httpx2.Client | None = None,
    ) -> None:
        import httpx2
        import openai

        self._openai = openai
        self._httpx = httpx2
        # ValueError: an answer or an event that is not JSON.
        self._failures = (
            UpstreamError,
            openai.OpenAIError,
            httpx2.HTTPError,
            OSError,
            ValueError,
        )
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._rounds = max_retries + 1
        self._clock = clock or SystemClock()
        self._http = shared = http_client or openai.DefaultHttpxClient()
        self._upstreams = [
            (
                openai.OpenAI(
                    base_url=upstream.base_url,
                    # The SDK insists on a key; servers that need none ignore it.
                    api_key=upstream.api_key or "none",
                    max_retries=0,
                    http_client=shared,
                ),
                upstream,
            )
            for upstream in (Upstream(base_url, api_key), *fallbacks)
        ]

    def chat_completion(self, body: Mapping[str, Any], *, timeout: float | None = None) -> Body:
        """``POST /chat/completions``."""
        return self._post("/chat/completions", body, timeout)

    def stream_chat_completion(
        self, body: Mapping[str, Any], *, timeout: float | None = None
    ) -> AnswerStream:
        """``POST /chat/completions`` with ``stream: true``."""
        return self._stream("/chat/completions", body, timeout)

    def completion(self, body: Mapping[str, Any], *, timeout: float | None = None) -> Body:
        """``POST /completions``."""
        return self._post("/completions", body, timeout)

    def stream_completion(
        self, body: Mapping[str, Any], *, timeout: float | None = None
    ) -> AnswerStream:
        """``POST /completions`` with ``stream: true``."""
        return self._stream("/completions", body, timeout)

    def create_response(self, body: Mapping[str, Any], *, timeout: float | None = None) -> Body:
        """``POST /responses``, for upstreams that know it."""
        return self._post("/responses", body, timeout)

    def stream_response(
        self, body: Mapping[str, Any], *, timeout: float | None = None
    ) -> AnswerStream:
        """``POST /responses`` with ``stream: true``."""
        return self._stream("/responses", body, timeout)

    def delete_response(self, response_id: str) -> None:
        """``DELETE /responses/{id}``; what is gone already is no error."""

        def delete(client: OpenAI, upstream: Upstream) -> None:
            client.delete(
                f"/responses/{quote(response_id, safe='')}",
                cast_to=object,
                options={"timeout": self._limits(None)},
            )

        try:
            self._first_that_answers(delete)
        except UpstreamRejected as error:
            if error.details.get("status") != 404:
                raise

    def models(self) -> Body:
        """``GET /models``."""
        return self._get("/models")

    def model(self, model_id: str) -> Body:
        """``GET /models/{id}``. An id that comes from a URL may still be percent-encoded."""
        return self._get(f"/models/{quote(unquote(model_id), safe='')}")

    def close(self) -> None:
        """Close the connections to the upstreams."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _get(self, path: str) -> Body:
        def get(client: OpenAI, upstream: Upstream) -> Body:
            options: Any = {"timeout": self._limits(None)}
            return _object(client.get(path, cast_to=object, options=options))

        return self._first_that_answers(get)

    def _post(self, path: str, body: Mapping[str, Any], timeout: float | None) -> Body:
        def post(client: OpenAI, upstream: Upstream) -> Body:
            options: Any = {"timeout": self._limits(timeout)}
            answer = client.post(
                path, cast_to=object, body=_for(upstream, body, stream=False), options=options
            )
            found = _object(answer)
            if (
                isinstance(found.get("error"), dict)
                and "choices" not in found
                and path != ("/responses")
            ):
                raise _in_band(found["error"], upstream)
            return found

        return self._first_that_answers(post)

    def _stream(self, path: str, body: Mapping[str, Any], timeout: float | None) -> AnswerStream:
        def open_stream(client: OpenAI, upstream: Upstream) -> AnswerStream:
            options: Any = {"timeout": self._limits(timeout)}
            events = client.post(
                path,
                cast_to=object,
                body=_for(upstream, body, stream=True),
                options=options,
                stream=True,
                stream_cls=self._openai.Stream[object],
            )
            stream = _Events(
                events,
                events.response,
                failures=self._failures,
                translate=lambda error: self._translate(error, upstream),
                is_end=_response_ended if path == "/responses" else _choices_ended,
            )
            stream.prefetch()
            return stream

        return self._first_that_answers(open_stream)

    def _limits(self, silence: float | None) -> httpx2.Timeout:
        return self._httpx.Timeout(silence or self._timeout, connect=self._connect_timeout)

    def _first_that_answers(self, call: Callable[[OpenAI, Upstream], T]) -> T:
        """Call one upstream after the other, and all of them again after a pause."""
        for attempt in count(1):
            failures: list[UpstreamError] = []
            for client, upstream in self._upstreams:
                try:
                    return call(client, upstream)
                except self._failures as error:
                    failure = self._translate(error, upstream)
                if not isinstance(failure, (*_REPEATABLE, UpstreamTimeout)):
                    raise failure
                failures.append(failure)
            pause = max(
                FIRST_BACKOFF * 2 ** (attempt - 1) * random.uniform(0.75, 1.0),  # noqa: S311
                min(failure.retry_after or 0.0 for failure in failures),
            )
            # A timeout alone is not repeated: the caller has waited long enough.
            hopeful = any(isinstance(failure, _REPEATABLE) for failure in failures)
            if attempt == self._rounds or pause > LONGEST_BACKOFF or not hopeful:
                raise failures[0]
            self._clock.sleep(pause)
        raise UpstreamUnavailable("No language model was asked.")

    def _translate(self, error: Exception, upstream: Upstream) -> UpstreamError:
        """What the upstream's failure means for our caller, without its address and key."""
        openai = self._openai
        if isinstance(error, UpstreamError):
            return error
        if isinstance(error, openai.APITimeoutError):
            return UpstreamTimeout("The language model did not answer in time.")
        if isinstance(error, openai.APIStatusError):
            return _of_status(
                error.status_code,
                error.body if isinstance(error.body, dict) else {},
                upstream,
                retry_after=_retry_after(error.response.headers, self._clock),
            )
        if isinstance(error, openai.APIError) and isinstance(error.body, dict):
            # An error event inside a stream.
            return _in_band(error.body, upstream)
        if isinstance(error, (openai.APIConnectionError, self._httpx.HTTPError, OSError)):
            return UpstreamUnavailable("The connection to the language model failed.")
        return UpstreamGarbage("The language model's answer is not what its API promises.")


class _Events:
    """A stream that translates errors, notices a cut, and can be closed from another thread."""

    def __init__(
        self,
        events: Iterator[object],
        response: httpx2.Response,
        *,
        failures: tuple[type[Exception], ...],
        translate: Callable[[Exception], UpstreamError],
        is_end: Callable[[Body], bool],
    ) -> None:
        self._events = events
        self._response = response
        self._failures = failures
        self._translate = translate
        self._is_end = is_end
        self._begun = False
        self._ended = False
        self._closed = False
        self._first: Body | None = None
        self._reading = threading.Lock()

    def prefetch(self) -> None:
        """Wait for the first event, so that a failure before it is still one of the call."""
        self._first = self._read()

    def __iter__(self) -> Iterator[Body]:
        return self

    def __next__(self) -> Body:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return self._read()

    def _read(self) -> Body:
        with self._reading:
            if self._closed:
                raise StopIteration
            try:
                event = _object(next(self._events))
            except StopIteration:
                if self._ended or self._closed:
                    raise
                if not self._begun:
                    raise UpstreamGarbage("The language model's stream holds no events.") from None
                raise UpstreamUnavailable(
                    "The language model's stream ended in the middle."
                ) from None
            except self._failures as error:
                if self._closed:
                    raise StopIteration from None
                self._response.close()
                raise self._translate(error) from None
            self._begun = True
            self._ended = self._ended or self._is_end(event)
        return event

    def close(self) -> None:
        self._closed = True
        self._first = None
        if not self._reading.acquire(blocking=False):
            # Another thread waits for data. Closing a socket does not end that wait, shutting it
            # down does.
            self._shut_down()
            self._reading.acquire()
        try:
            self._response.close()
        finally:
            self._reading.release()

    def _shut_down(self) -> None:
        network = self._response.extensions.get("network_stream")
        connection = network.get_extra_info("socket") if network is not None else None
        if isinstance(connection, socket.socket):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                # The other side was faster: it is closed, which is what was wanted.
                return


def _for(upstream: Upstream, body: Mapping[str, Any], *, stream: bool) -> Body:
    out = {**body, "stream": stream} if stream or "stream" in body else dict(body)
    if upstream.model is not None:
        out["model"] = upstream.model
    return out


def _object(answer: object) -> Body:
    if not isinstance(answer, dict):
        raise UpstreamGarbage("The language model's answer is not what its API promises.")
    return answer


def _choices_ended(event: Body) -> bool:
    choices = event.get("choices")
    return isinstance(choices, list) and any(
        isinstance(choice, dict) and choice.get("finish_reason") for choice in choices
    )


def _response_ended(event: Body) -> bool:
    return event.get("type") in (
        "response.completed",
        "response.incomplete",
        "response.failed",
        "error",
    )


def _of_status(
    status: int, body: Mapping[str, Any], upstream: Upstream, *, retry_after: float | None = None
) -> UpstreamError:
    if status in (401, 403):
        return UpstreamUnauthorized(
            "The language model refused this service's own credentials. "
            "The operator must check the API key that is configured for it."
        )
    if status == 429:
        return UpstreamRateLimited(
            "The language model's rate limit is reached.", retry_after=retry_after
        )
    if status == 408:
        return UpstreamTimeout("The language model did not answer in time.")
    if status >= 500:
        return UpstreamUnavailable("The language model failed to answer.", retry_after=retry_after)
    message = body.get("message") or body.get("detail")
    if not isinstance(message, str) or not message:
        message = f"The language model refused the request ({status})."
    param = body.get("param")
    details: Body = {"status": status}
    for name in ("code", "type"):
        if isinstance(body.get(name), str):
            details[name] = _scrub(body[name], upstream)
    return UpstreamRejected(
        _scrub(message, upstream),
        param=_scrub(param, upstream) if isinstance(param, str) else None,
        details=details,
    )


def _in_band(body: Mapping[str, Any], upstream: Upstream) -> UpstreamError:
    """An error object that came with status 200: its code may be a status."""
    code = body.get("code")
    if str(code).isdigit() and 400 <= int(str(code)) < 600:
        return _of_status(int(str(code)), {**body, "code": body.get("type")}, upstream)
    if body.get("type") == "invalid_request_error":
        return _of_status(400, body, upstream)
    if code == "rate_limit_exceeded":
        return _of_status(429, body, upstream)
    return UpstreamUnavailable("The language model failed while it answered.")


_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>)\]]+", re.IGNORECASE)
_ADDRESS = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b")
_KEY = re.compile(r"\b(?:sk|pk|rk|key|Bearer)[-_ ][\w*.-]{6,}")


def _scrub(text: str, upstream: Upstream) -> str:
    """The upstream's own words, without addresses and keys."""
    host = urlsplit(upstream.base_url).netloc.rpartition("@")[2]
    for secret in (upstream.api_key, host, host.partition(":")[0]):
        if secret and len(secret) > 3:
            text = text.replace(secret, "[...]")
    for pattern in (_URL, _ADDRESS, _KEY):
        text = pattern.sub("[...]", text)
    return text if len(text) <= 2000 else f"{text[:2000]}..."


def _retry_after(headers: Mapping[str, str], clock: Clock) -> float | None:
    """The upstream's ``Retry-After`` in seconds, given as a number or as a date."""
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - clock.now()).total_seconds())
    except (ValueError, TypeError):
        # Not a date either, or one without a time zone: as good as none.
        return None
