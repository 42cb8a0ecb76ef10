"""The driver for OpenAI-compatible APIs, over a transport that needs no network."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import httpx2
import pytest

from robotchat.drivers.openai import OpenAIChat, Upstream
from robotchat.errors import (
    NotSupported,
    UpstreamError,
    UpstreamGarbage,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnauthorized,
    UpstreamUnavailable,
)
from tests.cases.clock import FakeClock

URL = "http://upstream.internal:8000/v1"
KEY = "sk-very-secret-key"
CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
ANSWER = {
    "id": "c1",
    "object": "chat.completion",
    "model": "m",
    "choices": [{"index": 0, "message": {"content": "hello"}, "finish_reason": "stop"}],
    "vendor_field": {"kept": True},
}

Answer = httpx2.Response | Exception


class Server:
    """Answers requests one after the other, the last answer for ever."""

    def __init__(self, *answers: Answer | Callable[[httpx2.Request], Answer]) -> None:
        self.answers = list(answers)
        self.requests: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not isinstance(answer, httpx2.Response | Exception):
            answer = answer(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.content) for request in self.requests]


def driver(server: Server, clock: FakeClock | None = None, **options: Any) -> OpenAIChat:
    client = httpx2.Client(transport=httpx2.MockTransport(server))
    return OpenAIChat(URL, KEY, http_client=client, clock=clock or FakeClock(), **options)


def error(status: int, body: object = None, **headers: str) -> httpx2.Response:
    return httpx2.Response(status, json=body or {}, headers=headers)


class Bytes(httpx2.SyncByteStream):
    """A body that comes in pieces, and knows whether it was closed."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.pieces = pieces
        self.given = 0
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            self.given += 1
            if isinstance(piece, Exception):
                raise piece
            yield piece

    def close(self) -> None:
        self.closed = True


def sse(event: object) -> bytes:
    return f"data: {json.dumps(event)}\n\n".encode()


def chunk(text: str | None = None, finish: str | None = None) -> dict[str, Any]:
    delta = {} if text is None else {"content": text}
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


DONE = b"data: [DONE]\n\n"


def stream_of(*pieces: bytes | Exception) -> tuple[httpx2.Response, Bytes]:
    body = Bytes(*pieces)
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=body), body


def test_the_package_does_not_import_the_sdk_before_it_is_used() -> None:
    code = "import sys; import robotchat.drivers.openai; print('openai' in sys.modules)"
    import subprocess

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_bodies_pass_unchanged_in_both_directions() -> None:
    server = Server(httpx2.Response(200, json=ANSWER))
    body = {**CHAT, "min_p": 0.1, "chat_template_kwargs": {"enable_thinking": False}}
    assert driver(server).chat_completion(body) == ANSWER
    assert server.bodies == [body]
    request = server.requests[0]
    assert str(request.url) == f"{URL}/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"


def test_completions_models_and_responses_have_their_own_paths() -> None:
    text = {"object": "text_completion", "choices": [{"index": 0, "text": "y"}]}
    server = Server(
        httpx2.Response(200, json=text), httpx2.Response(200, json={"object": "list", "data": []})
    )
    chat = driver(server)
    chat.completion({"prompt": "x"})
    chat.embeddings({"input": "x"})
    chat.count_input_tokens({"input": "x"})
    chat.models()
    chat.model("org/name")
    chat.create_response({"input": "x"})
    chat.delete_response("resp_1")
    assert [(r.method, r.url.raw_path.decode()) for r in server.requests] == [
        ("POST", "/v1/completions"),
        ("POST", "/v1/embeddings"),
        ("POST", "/v1/responses/input_tokens"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/org%2Fname"),
        ("POST", "/v1/responses"),
        ("DELETE", "/v1/responses/resp_1"),
    ]


def test_a_model_is_found_in_the_list_of_an_upstream_that_has_no_more() -> None:
    known = {"id": "org/name", "object": "model"}
    listed = httpx2.Response(200, json={"object": "list", "data": [known]})
    refusal = error(404, {"error": {"message": "File Not Found", "code": 404}})
    assert driver(Server(refusal, listed)).model("org%2Fname") == known
    with pytest.raises(UpstreamRejected) as caught:
        driver(Server(refusal, listed)).model("other")
    assert caught.value.message == "File Not Found"


@pytest.mark.parametrize("status", [404, 405, 501])
def test_what_an_upstream_does_not_have_is_told_as_such_and_asked_for_once(status: int) -> None:
    server = Server(error(status, {"error": {"message": "File Not Found", "code": status}}))
    for ask in (driver(server).embeddings, driver(server).count_input_tokens):
        with pytest.raises(NotSupported):
            ask({"input": "x"})
    assert len(server.requests) == 2
    unknown = error(404, {"error": {"message": "no such model", "code": "model_not_found"}})
    with pytest.raises(UpstreamRejected):
        driver(Server(unknown)).embeddings({"input": "x", "model": "m"})


def test_deleting_what_is_gone_already_is_no_error() -> None:
    driver(Server(error(404))).delete_response("resp_1")
    with pytest.raises(UpstreamRejected):
        driver(Server(error(400))).delete_response("resp_1")


def test_a_stream_yields_raw_chunks_as_they_come() -> None:
    response, body = stream_of(sse(chunk("a")), sse(chunk("b")), sse(chunk(finish="stop")), DONE)
    server = Server(response)
    events = driver(server).stream_chat_completion(CHAT)
    assert body.given == 1, "nothing is read ahead but the first event"
    assert next(events) == chunk("a")
    assert list(events) == [chunk("b"), chunk(finish="stop")]
    assert body.closed
    assert server.bodies[0]["stream"] is True


def test_closing_a_stream_closes_the_upstream_connection() -> None:
    response, body = stream_of(*[sse(chunk("a"))] * 100)
    events = driver(Server(response)).stream_chat_completion(CHAT)
    next(events)
    events.close()
    assert body.closed
    assert body.given < 100
    assert list(events) == []


def test_closing_waits_for_a_reader_in_another_thread_and_ends_it_without_an_error() -> None:
    reading, closed = threading.Event(), threading.Event()

    class Stalling(Bytes):
        def __iter__(self) -> Iterator[bytes]:
            yield sse(chunk("a"))
            reading.set()
            closed.wait(10)
            raise httpx2.ReadError("closed")

    response = httpx2.Response(
        200, headers={"content-type": "text/event-stream"}, stream=Stalling()
    )
    response.extensions["network_stream"] = Shutdown(closed)
    events = driver(Server(response)).stream_chat_completion(CHAT)
    got: list[object] = []
    reader = threading.Thread(target=lambda: got.extend(events))
    reader.start()
    assert reading.wait(10)
    events.close()
    reader.join(10)
    assert got == [chunk("a")]


class Shutdown:
    """A network stream whose socket's shutdown is seen."""

    def __init__(self, event: threading.Event) -> None:
        import socket

        class Socket(socket.socket):
            def shutdown(self, how: int) -> None:
                event.set()

        self.socket = Socket()
        self.socket.close()

    def get_extra_info(self, name: str) -> Any:
        return self.socket if name == "socket" else None


def test_a_stream_that_ends_in_the_middle_is_an_error() -> None:
    for pieces in (
        (sse(chunk("a")),),
        (sse(chunk("a")), httpx2.RemoteProtocolError("incomplete chunked read")),
    ):
        events = driver(Server(stream_of(*pieces)[0])).stream_chat_completion(CHAT)
        assert next(events) == chunk("a")
        with pytest.raises(UpstreamUnavailable):
            next(events)


def test_a_stream_may_end_without_its_done_mark() -> None:
    response, _ = stream_of(sse(chunk("a", "stop")))
    assert list(driver(Server(response)).stream_chat_completion(CHAT)) == [chunk("a", "stop")]


def test_garbage_in_a_stream_is_an_error() -> None:
    response, body = stream_of(sse(chunk("a")), b"data: {not json\n\n")
    events = driver(Server(response)).stream_chat_completion(CHAT)
    next(events)
    with pytest.raises(UpstreamGarbage):
        next(events)
    assert body.closed


def test_an_error_event_in_a_stream_is_translated() -> None:
    failure = {"error": {"message": "out of memory at 10.0.0.7", "code": 500}}
    response, _ = stream_of(sse(chunk("a")), sse(failure))
    events = driver(Server(response)).stream_chat_completion(CHAT)
    next(events)
    with pytest.raises(UpstreamUnavailable) as caught:
        next(events)
    assert "10.0.0.7" not in caught.value.message


def test_a_refusal_as_the_first_event_is_one_of_the_call() -> None:
    failure = {"error": {"message": "too long", "code": 400, "type": "exceed_context_size_error"}}
    response, _ = stream_of(sse(failure))
    with pytest.raises(UpstreamRejected) as caught:
        driver(Server(response)).stream_chat_completion(CHAT)
    assert caught.value.details == {
        "status": 400,
        "code": "context_length_exceeded",
        "type": "invalid_request_error",
    }


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, UpstreamUnauthorized),
        (403, UpstreamUnauthorized),
        (408, UpstreamTimeout),
        (429, UpstreamRateLimited),
        (500, UpstreamUnavailable),
        (503, UpstreamUnavailable),
        (529, UpstreamUnavailable),
        (400, UpstreamRejected),
        (404, UpstreamRejected),
        (422, UpstreamRejected),
    ],
)
def test_statuses_are_translated(status: int, expected: type[UpstreamError]) -> None:
    server = Server(error(status, {"error": {"message": f"said by {URL} to {KEY}"}}))
    with pytest.raises(UpstreamError) as caught:
        driver(server).chat_completion(CHAT)
    assert type(caught.value) is expected
    assert "upstream.internal" not in caught.value.message
    assert KEY not in caught.value.message


def test_a_rejection_keeps_the_upstreams_words_without_its_secrets() -> None:
    body = {
        "error": {
            "message": f"Model x not found at {URL}/models (key {KEY}, peer 10.1.2.3:8000), "
            "see https://docs.example.com/errors",
            "param": "model",
            "code": "model_not_found",
            "type": "invalid_request_error",
        }
    }
    with pytest.raises(UpstreamRejected) as caught:
        driver(Server(error(404, body))).chat_completion(CHAT)
    message = caught.value.message
    assert message.startswith("Model x not found at [...]")
    for secret in ("upstream.internal", KEY, "10.1.2.3", "docs.example.com"):
        assert secret not in message
    assert caught.value.param == "model"
    assert caught.value.details == {
        "status": 404,
        "code": "model_not_found",
        "type": "invalid_request_error",
    }


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(
            200, text="<html>a login page</html>", headers={"content-type": "text/html"}
        ),
        httpx2.Response(200, json=["not", "an", "object"]),
        httpx2.Response(200, text="{cut", headers={"content-type": "application/json"}),
    ],
)
def test_an_answer_that_is_not_json_is_garbage(answer: httpx2.Response) -> None:
    with pytest.raises(UpstreamGarbage):
        driver(Server(answer), max_retries=0).chat_completion(CHAT)


def test_an_unstreamed_answer_to_a_stream_is_streamed_and_asked_for_once() -> None:
    server = Server(httpx2.Response(200, json={**ANSWER, "usage": {"total_tokens": 3}}))
    events = list(driver(server).stream_chat_completion(CHAT))
    deltas = [choice["delta"] for event in events for choice in event["choices"]]
    assert [delta.get("content") for delta in deltas] == ["hello", None]
    assert events[-2]["choices"][0]["finish_reason"] == "stop"
    assert events[-1]["usage"] == {"total_tokens": 3}
    assert all(event["vendor_field"] == {"kept": True} for event in events)
    assert len(server.requests) == 1


def test_transient_failures_before_the_first_byte_are_repeated_with_growing_pauses() -> None:
    clock = FakeClock()
    server = Server(httpx2.ConnectError("refused"), error(503), httpx2.Response(200, json=ANSWER))
    assert driver(server, clock).chat_completion(CHAT) == ANSWER
    first, second = clock.slept
    assert 0.25 < first <= 0.5 < second <= 1.0


def test_repetitions_end() -> None:
    server = Server(error(500))
    with pytest.raises(UpstreamUnavailable):
        driver(server, max_retries=2).chat_completion(CHAT)
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 404])
def test_what_cannot_get_better_is_not_repeated(status: int) -> None:
    server = Server(error(status))
    with pytest.raises(UpstreamError):
        driver(server).chat_completion(CHAT)
    assert len(server.requests) == 1


def test_a_failure_after_the_first_event_is_not_repeated() -> None:
    response, _ = stream_of(sse(chunk("a")), httpx2.ReadError("cut"))
    server = Server(response)
    events = driver(server).stream_chat_completion(CHAT)
    next(events)
    with pytest.raises(UpstreamUnavailable):
        next(events)
    assert len(server.requests) == 1


def test_a_stream_cut_before_its_first_event_is_repeated() -> None:
    cut, _ = stream_of(httpx2.ReadError("cut"))
    good, _ = stream_of(sse(chunk("a", "stop")), DONE)
    assert list(driver(Server(cut, good)).stream_chat_completion(CHAT)) == [chunk("a", "stop")]


def test_retry_after_is_waited_for_when_it_is_short() -> None:
    clock = FakeClock()
    server = Server(error(429, None, **{"retry-after": "3"}), httpx2.Response(200, json=ANSWER))
    driver(server, clock).chat_completion(CHAT)
    assert clock.slept == [3.0]


def test_retry_after_is_handed_on_when_it_is_long() -> None:
    clock = FakeClock()
    server = Server(error(429, None, **{"retry-after": "120"}))
    with pytest.raises(UpstreamRateLimited) as caught:
        driver(server, clock).chat_completion(CHAT)
    assert caught.value.retry_after == 120.0
    assert clock.slept == []


def test_retry_after_may_be_a_date() -> None:
    clock = FakeClock()
    later = format_datetime(clock.now() + timedelta(seconds=60), usegmt=True)
    with pytest.raises(UpstreamRateLimited) as caught:
        driver(Server(error(429, None, **{"retry-after": later})), clock).chat_completion(CHAT)
    assert caught.value.retry_after == pytest.approx(60, abs=1)


@pytest.mark.parametrize("value", ["soon", "", "-1"])
def test_a_senseless_retry_after_counts_as_none(value: str) -> None:
    with pytest.raises(UpstreamRateLimited) as caught:
        driver(Server(error(429, None, **{"retry-after": value}))).chat_completion(CHAT)
    assert caught.value.retry_after is None


def test_a_timeout_is_not_repeated() -> None:
    server = Server(httpx2.ReadTimeout("slow"))
    with pytest.raises(UpstreamTimeout):
        driver(server).chat_completion(CHAT)
    assert len(server.requests) == 1


def test_a_timeout_of_a_call_reaches_the_transport() -> None:
    server = Server(httpx2.Response(200, json=ANSWER))
    driver(server, timeout=100, connect_timeout=2).chat_completion(CHAT, timeout=7)
    limits = server.requests[0].extensions["timeout"]
    assert limits["read"] == 7
    assert limits["connect"] == 2


FALLBACK = Upstream("https://second.example/v1", "sk-second", model="other")


@pytest.mark.parametrize(
    "failure",
    [
        httpx2.ConnectError("refused"),
        httpx2.ReadTimeout("slow"),
        error(429, None, **{"retry-after": "60"}),
        error(500),
        httpx2.Response(200, text="<html>", headers={"content-type": "text/html"}),
    ],
)
def test_a_fallback_answers_at_once_where_the_first_cannot(failure: Answer) -> None:
    clock = FakeClock()
    server = Server(failure, httpx2.Response(200, json=ANSWER))
    assert driver(server, clock, fallbacks=[FALLBACK]).chat_completion(CHAT) == ANSWER
    assert clock.slept == []
    second = server.requests[1]
    assert str(second.url) == "https://second.example/v1/chat/completions"
    assert second.headers["authorization"] == "Bearer sk-second"
    assert [body["model"] for body in server.bodies] == ["m", "other"]


def test_a_fallback_is_not_asked_when_the_request_itself_is_wrong() -> None:
    server = Server(error(400))
    with pytest.raises(UpstreamRejected):
        driver(server, fallbacks=[FALLBACK]).chat_completion(CHAT)
    assert len(server.requests) == 1


def test_a_fallback_may_be_another_model_of_the_same_upstream() -> None:
    good, _ = stream_of(sse(chunk("a", "stop")), DONE)
    server = Server(error(429), good)
    events = driver(server, fallbacks=[Upstream(URL, KEY, "small")]).stream_chat_completion(CHAT)
    assert list(events) == [chunk("a", "stop")]
    assert [body["model"] for body in server.bodies] == ["m", "small"]


def test_when_all_fail_the_first_ones_error_is_told() -> None:
    server = Server(error(429, None, **{"retry-after": "60"}), httpx2.ConnectError("refused"))
    with pytest.raises(UpstreamRateLimited) as caught:
        driver(server, max_retries=0, fallbacks=[FALLBACK]).chat_completion(CHAT)
    assert caught.value.retry_after == 60


def test_an_error_object_with_status_200_is_an_error() -> None:
    server = Server(httpx2.Response(200, json={"error": {"message": "no", "code": 429}}))
    with pytest.raises(UpstreamRateLimited):
        driver(server, max_retries=0).chat_completion(CHAT)
