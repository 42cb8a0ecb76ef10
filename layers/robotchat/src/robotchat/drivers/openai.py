"""Any OpenAI-compatible API, over the ``openai`` SDK's client.

The SDK's transport is used with plain dictionaries (its documented way to call what it has no
method for), so that fields which this version of the SDK does not know pass through. Retries are
this driver's own: only before the first byte of an answer, and over several upstreams.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote, unquote

from robotchat.clock import Clock, SystemClock
from robotchat.drivers.openai_errors import error_in, in_band, of_status
from robotchat.drivers.openai_events import (
    ChunkDialect,
    Dialect,
    Events,
    ResponseDialect,
    is_prose,
    parsed,
    shut_down,
)
from robotchat.drivers.upstreams import Upstream
from robotchat.errors import (
    NotSupported,
    UpstreamError,
    UpstreamGarbage,
    UpstreamQuotaExceeded,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from robotchat.gpt.driver import AnswerStream, Body, Interrupt
from robotchat.gpt.normalize import clean, completion, garbage

if TYPE_CHECKING:
    import httpx2
    from openai import OpenAI

__all__ = ["OpenAIChat", "Upstream"]

T = TypeVar("T")

FIRST_BACKOFF = 0.5
"""Seconds before the first repetition; it doubles with each."""

LONGEST_BACKOFF = 8.0
"""An upstream that wants a longer pause (``Retry-After``) is not waited for: the caller is told."""

_REPEATABLE = (UpstreamUnavailable, UpstreamRateLimited)
"""What may be over at the next attempt."""

_ELSEWHERE = (UpstreamTimeout, UpstreamGarbage, UpstreamQuotaExceeded)
"""What another upstream may do better, but not the same one."""

_COMPLETIONS = ("/chat/completions", "/completions")


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
        self._http = shared = http_client or openai.DefaultHttpxClient(
            event_hooks={"request": [_make_interruptible]}
        )
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

    def count_input_tokens(self, body: Mapping[str, Any], *, timeout: float | None = None) -> Body:
        """``POST /responses/input_tokens``, for upstreams that know it."""
        return self._post_where_known("/responses/input_tokens", body, timeout)

    def embeddings(self, body: Mapping[str, Any], *, timeout: float | None = None) -> Body:
        """``POST /embeddings``."""
        return self._post_where_known("/embeddings", body, timeout)

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
        """``GET /models/{id}``. An id that comes from a URL may still be percent-encoded.

        Of an upstream that only has the list, such as llama.cpp, the list is searched.
        """
        name = unquote(model_id)
        try:
            return self._get(f"/models/{quote(name, safe='')}")
        except UpstreamRejected as error:
            if error.details.get("status") not in (404, 405):
                raise
            listed = self.models().get("data")
            for one in listed if isinstance(listed, list) else ():
                if isinstance(one, dict) and one.get("id") == name:
                    return one
            raise

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
            answer = client.get(path, cast_to=self._httpx.Response, options=options)
            return self._whole(answer, upstream)

        return self._first_that_answers(get)

    def _post(self, path: str, body: Mapping[str, Any], timeout: float | None) -> Body:
        def post(client: OpenAI, upstream: Upstream) -> Body:
            options: Any = {"timeout": self._limits(timeout)}
            asked = _for(upstream, body, stream=False)
            answer = client.post(path, cast_to=self._httpx.Response, body=asked, options=options)
            found = self._whole(answer, upstream)
            return completion(found) if path in _COMPLETIONS else clean(found)

        return self._first_that_answers(post)

    def _post_where_known(self, path: str, body: Mapping[str, Any], timeout: float | None) -> Body:
        """``_post`` to a path that not every upstream has. Raises NotSupported where it has not."""
        try:
            return self._post(path, body, timeout)
        except UpstreamRejected as error:
            unknown_path = error.details.get("status") in (404, 405)
            if not unknown_path or error.details.get("code") == "model_not_found":
                raise
            raise NotSupported(f"The language model's API has no {path}.") from None

    def _whole(self, answer: httpx2.Response, upstream: Upstream) -> Body:
        text = answer.text.strip()
        try:
            found = parsed(text)
        except UpstreamGarbage:
            if not is_prose(text):
                raise
            raise in_band({"message": text}, upstream) from None
        # A response that failed has an error in it, and is an answer all the same.
        failed = isinstance(found, dict) and found.get("object") == "response"
        if not failed and (error := error_in(found)):
            raise in_band(error, upstream)
        return _object(found)

    def _stream(self, path: str, body: Mapping[str, Any], timeout: float | None) -> AnswerStream:
        def dialect() -> Dialect:
            return ResponseDialect() if path == "/responses" else ChunkDialect(_expected(body))

        def open_stream(client: OpenAI, upstream: Upstream) -> AnswerStream:
            options: Any = {"timeout": self._limits(timeout)}
            answer = client.post(
                path,
                cast_to=object,
                body=_for(upstream, body, stream=True),
                options=options,
                stream=True,
                stream_cls=self._openai.Stream[object],
            )

            def error_of(event: Body, name: str | None) -> UpstreamError | None:
                if event.get("type") == "error" and "message" in event:
                    return in_band(event, upstream)
                error = None if event.get("object") == "response" else error_in(event)
                if error is None and name == "error":
                    error = event
                return None if error is None else in_band(error, upstream)

            stream = Events(
                answer.response,
                dialect(),
                failures=self._failures,
                translate=lambda error: self._translate(error, upstream),
                error_of=error_of,
            )
            interrupt = Interrupt.current()
            if interrupt is not None:
                interrupt.ends(stream.close)
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
                    with self._interruptible():
                        return call(client, upstream)
                except self._failures as error:
                    failure = self._translate(error, upstream)
                if not isinstance(failure, (*_REPEATABLE, *_ELSEWHERE)):
                    raise failure
                failures.append(failure)
            pause = max(
                FIRST_BACKOFF * 2 ** (attempt - 1) * random.uniform(0.75, 1.0),  # noqa: S311
                min(failure.retry_after or 0.0 for failure in failures),
            )
            # Not for timeouts alone, since the caller has waited long enough, nor for what was
            # answered already, though not well.
            hopeful = any(isinstance(failure, _REPEATABLE) for failure in failures)
            if attempt == self._rounds or pause > LONGEST_BACKOFF or not hopeful:
                raise failures[0]
            self._clock.sleep(pause)
        raise UpstreamUnavailable("No language model was asked.")

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Stop at once when whoever asked has gone, and do not ask anybody else."""
        interrupt = Interrupt.current()
        if interrupt is None:
            yield
            return
        gone = UpstreamError("Nobody waits for the language model's answer any more.")
        if interrupt.is_set:
            raise gone
        try:
            yield
        except self._failures:
            if interrupt.is_set:
                raise gone from None
            raise
        finally:
            interrupt.ends(None)

    def _translate(self, error: Exception, upstream: Upstream) -> UpstreamError:
        """What the upstream's failure means for our caller, without its address and key."""
        openai = self._openai
        if isinstance(error, UpstreamError):
            return error
        if isinstance(error, (openai.APITimeoutError, self._httpx.TimeoutException)):
            return UpstreamTimeout("The language model did not answer in time.")
        if isinstance(error, openai.APIStatusError):
            return of_status(
                error.status_code,
                # The SDK has taken an outer 'error' off.
                error_in(error.body) or error_in({"error": error.body}) or {},
                upstream,
                retry_after=_retry_after(error.response.headers, self._clock),
            )
        if isinstance(error, (openai.APIConnectionError, self._httpx.HTTPError, OSError)):
            return UpstreamUnavailable("The connection to the language model failed.")
        return garbage()


def _make_interruptible(request: httpx2.Request) -> None:
    """Have the connection of a request say what ends a wait for it, headers included."""

    def trace(event: str, info: Mapping[str, Any]) -> None:
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            _say_how_to_end(info["return_value"])

    request.extensions["trace"] = trace


def _say_how_to_end(connection: Any) -> None:
    read = connection.read

    def interruptible(max_bytes: int, timeout: float | None = None) -> bytes:
        interrupt = Interrupt.current()
        if interrupt is not None:
            interrupt.ends(lambda: shut_down(connection.get_extra_info("socket")))
        received: bytes = read(max_bytes, timeout)
        return received

    connection.read = interruptible


def _for(upstream: Upstream, body: Mapping[str, Any], *, stream: bool) -> Body:
    out = {**body, "stream": stream} if stream or "stream" in body else dict(body)
    if upstream.model is not None:
        out["model"] = upstream.model
    return out


def _expected(body: Mapping[str, Any]) -> int:
    """How many choices a request asks for."""
    wanted = body.get("n")
    count = wanted if isinstance(wanted, int) and not isinstance(wanted, bool) else 1
    prompt = body.get("prompt")
    if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        count *= len(prompt)
    return max(count, 1)


def _object(answer: object) -> Body:
    if not isinstance(answer, dict):
        raise garbage()
    return answer


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
