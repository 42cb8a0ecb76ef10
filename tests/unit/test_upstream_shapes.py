"""What upstreams really send: every shape of it is mended, or refused as what it is."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robotchat.drivers.openai import OpenAIChat, Upstream
from robotchat.errors import (
    RobotchatError,
    UpstreamError,
    UpstreamGarbage,
    UpstreamQuotaExceeded,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamUnavailable,
)
from robotchat.gpt.driver import Body
from robotchat.gpt.responses.engine import Responses
from robotchat.gpt.responses.image_tool import ImageCall
from robotchat.gpt.responses.inference import Options
from robotchat.text import MAX_DEPTH
from tests.cases.clock import FakeClock

CHAT: Body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
CHUNKED = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
HALF = "\ud83d"
OTHER_HALF = "\ude00"

TOOL = {"type": "function", "name": "f", "parameters": {"type": "object"}}


class Server:
    """Gives one answer for ever, and counts how often it was asked."""

    def __init__(
        self, body: bytes, *, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        self.body, self.status = body, status
        self.headers = {"content-type": "application/json", **(headers or {})}
        self.asked = 0

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked += 1
        return httpx2.Response(self.status, content=self.body, headers=self.headers)

    def driver(self, **options: Any) -> OpenAIChat:
        client = httpx2.Client(transport=httpx2.MockTransport(self))
        return OpenAIChat(
            "http://up.internal/v1", "sk-k", http_client=client, clock=FakeClock(), **options
        )


def sse(*events: object, done: bool = True) -> Server:
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    body = "".join([*lines, "data: [DONE]\n\n" if done else ""]).encode()
    return Server(body, headers={"content-type": "text/event-stream"})


def delta(finish: str | None = None, index: Any = 0, **fields: Any) -> Body:
    return {"choices": [{"index": index, "delta": fields, "finish_reason": finish}]}


def call(**fields: Any) -> Body:
    return delta(tool_calls=[fields])


def streamed(server: Server, **body: Any) -> list[Body]:
    return list(server.driver().stream_chat_completion({**CHAT, **body}))


def text_of(events: list[Body], field: str = "content") -> str:
    return "".join(
        choice["delta"].get(field) or "" for event in events for choice in event["choices"]
    )


def response_of(server: Server, mode: str = "chat", **body: Any) -> Body:
    """The final response of a stream, which is also what is stored."""
    options = Options(mode="responses" if mode == "responses" else "chat")
    responses = Responses(server.driver(max_retries=0), options=options, clock=FakeClock())
    *_, last = responses.stream({"input": "hi", "tools": [TOOL], **body})
    assert last["type"] in ("response.completed", "response.incomplete", "response.failed")
    response: Body = last["response"]
    assert responses.get(response["id"])["status"] == response["status"]
    return response


# --- calls of tools -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chunks",
    [
        # Under index 0 all, told apart by their ids (Gemini).
        [
            call(index=0, id="a", function={"name": "f", "arguments": '{"n":1}'}),
            call(index=0, id="b", function={"name": "f", "arguments": '{"n":2}'}),
        ],
        # Without an index, or with null.
        [
            call(id="a", function={"name": "f", "arguments": '{"n":1}'}),
            call(id="b", function={"name": "f", "arguments": '{"n":2}'}),
        ],
        [
            call(index=None, id="a", function={"name": "f", "arguments": '{"n"'}),
            call(index=None, function={"arguments": ":1}"}),
            call(index=None, id="b", function={"name": "f", "arguments": '{"n"'}),
            call(index=None, id="b", function={"arguments": ":2}"}),
        ],
        # Interleaved, as the API has it.
        [
            call(index=0, id="a", function={"name": "f", "arguments": ""}),
            call(index=1, id="b", function={"name": "f", "arguments": ""}),
            call(index=0, function={"arguments": '{"n":1}'}),
            call(index=1, function={"arguments": '{"n":2}'}),
        ],
        # Arguments as an object.
        [
            call(index=0, id="a", function={"name": "f", "arguments": {"n": 1}}),
            call(index=1, id="b", function={"name": "f", "arguments": {"n": 2}}),
        ],
        # The name again in each piece, and the id.
        [
            call(index=0, id="a", function={"name": "f", "arguments": '{"n"'}),
            call(index=0, id="a", function={"name": "f", "arguments": ":1}"}),
            call(index=1, id="b", function={"name": "f", "arguments": '{"n":2}'}),
        ],
        # Indexes that begin at 1, and several calls in one chunk.
        [
            delta(
                tool_calls=[
                    {"index": 1, "id": "a", "function": {"name": "f", "arguments": '{"n":1}'}},
                    {"index": 2, "id": "b", "function": {"name": "f", "arguments": '{"n":2}'}},
                ]
            )
        ],
    ],
)
def test_two_calls_stay_two_however_they_are_sent(chunks: list[Body]) -> None:
    server = sse(*chunks, delta("tool_calls"))
    response = response_of(server)
    assert response["status"] == "completed"
    assert [(item["call_id"], json.loads(item["arguments"])) for item in response["output"]] == [
        ("a", {"n": 1}),
        ("b", {"n": 2}),
    ]
    merged: dict[int, Body] = {}
    for event in streamed(server):
        for piece in event["choices"][0]["delta"].get("tool_calls", ()):
            one = merged.setdefault(piece["index"], {"id": piece.get("id"), "arguments": ""})
            one["arguments"] += piece["function"]["arguments"]
    assert [one["id"] for one in merged.values()] == ["a", "b"]
    assert [json.loads(one["arguments"])["n"] for one in merged.values()] == [1, 2]


def test_calls_without_ids_get_some_and_are_told_apart_by_their_names() -> None:
    chunks = [
        call(index=0, function={"name": "f", "arguments": '{"n":1}'}),
        call(index=0, function={"name": "g", "arguments": '{"n":2}'}),
        call(index=0, function={"name": "g", "arguments": '{"n":3}'}),
    ]
    output = response_of(sse(*chunks, delta("tool_calls")))["output"]
    assert [(item["name"], item["arguments"]) for item in output] == [
        ("f", '{"n":1}'),
        ("g", '{"n":2}'),
        ("g", '{"n":3}'),
    ]
    assert len({item["call_id"] for item in output}) == 3


@pytest.mark.parametrize("arguments", [{"n": 1}, '{"n": 1}', None, ""])
def test_the_arguments_of_a_whole_answer_are_json_text(arguments: Any) -> None:
    tool_call = {"id": None, "function": {"name": "f", "arguments": arguments}}
    message = {"role": "assistant", "content": None, "tool_calls": [tool_call]}
    server = Server(json.dumps({"choices": [{"index": 0, "message": message}]}).encode())
    (made,) = server.driver().chat_completion(CHAT)["choices"][0]["message"]["tool_calls"]
    assert json.loads(made["function"]["arguments"]) == ({"n": 1} if arguments else {})
    assert made["id"].startswith("call_")
    response = Responses(server.driver()).create({"input": "hi", "tools": [TOOL]})
    assert json.loads(response["output"][0]["arguments"]) == ({"n": 1} if arguments else {})


# --- content --------------------------------------------------------------------------------------


def test_content_as_parts_is_text_and_reasoning() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]
    server = sse(
        delta(content=parts),
        delta(content=[{"type": "text", "text": "fine"}]),
        delta(content=" day"),
        delta("stop"),
    )
    events = streamed(server)
    assert (text_of(events), text_of(events, "reasoning_content")) == ("fine day", "hm")
    assert [item["type"] for item in response_of(server)["output"]] == ["reasoning", "message"]
    message = {"content": [*parts, {"type": "text", "text": "fine"}]}
    whole = Server(json.dumps({"choices": [{"message": message}]}).encode())
    made = whole.driver().chat_completion(CHAT)["choices"][0]["message"]
    assert (made["content"], made["reasoning_content"]) == ("fine", "hm")


@pytest.mark.parametrize(
    ("pieces", "wanted"),
    [
        ((f"hi {HALF}", f"{OTHER_HALF}!"), "hi \N{GRINNING FACE}!"),
        ((f"hi {HALF}", "!"), "hi \N{REPLACEMENT CHARACTER}!"),
        ((f"hi {HALF}",), "hi \N{REPLACEMENT CHARACTER}"),
        ((f"{OTHER_HALF}hi",), "\N{REPLACEMENT CHARACTER}hi"),
        ((HALF, HALF, OTHER_HALF), "\N{REPLACEMENT CHARACTER}\N{GRINNING FACE}"),
    ],
)
def test_half_characters_are_joined_or_replaced(pieces: tuple[str, ...], wanted: str) -> None:
    for field in ("content", "reasoning_content"):
        chunks = [delta(None, 0, **{field: piece}) for piece in pieces]
        for end in ([delta("stop")], []):
            events = streamed(sse(*chunks, *end))
            assert text_of(events, field) == wanted
            json.dumps(events, ensure_ascii=False).encode()
    (item,) = response_of(sse(*[delta(content=piece) for piece in pieces]))["output"]
    assert item["content"][0]["text"] == wanted
    quoted = [call(index=0, function={"arguments": piece}) for piece in pieces]
    begun = call(index=0, id="a", function={"name": "f", "arguments": '"'})
    ended = call(index=0, function={"arguments": '"'})
    (item,) = response_of(sse(begun, *quoted, ended, delta("tool_calls")))["output"]
    assert json.loads(item["arguments"]) == wanted


# --- the end --------------------------------------------------------------------------------------


def test_a_done_mark_without_a_reason_is_an_end() -> None:
    server = sse(delta(role="assistant", content="all "), delta(content="said"))
    events = streamed(server)
    assert text_of(events) == "all said"
    assert events[-1]["choices"][0]["finish_reason"] == "stop"
    assert response_of(server)["status"] == "completed"
    called = sse(call(index=0, id="a", function={"name": "f", "arguments": "{}"}))
    assert streamed(called)[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_an_end_that_the_connection_vouches_for_is_one() -> None:
    server = sse(delta(content="all said"), done=False)
    server.headers |= CHUNKED
    assert streamed(server)[-1]["choices"][0]["finish_reason"] == "stop"
    for cut in (
        # Arguments that are no JSON yet; one choice that ended and another that did not.
        [call(index=0, id="a", function={"name": "f", "arguments": '{"n'})],
        [delta("stop", content="a"), delta(index=1, content="b")],
    ):
        server = sse(*cut, done=False)
        server.headers |= CHUNKED
        with pytest.raises(UpstreamUnavailable):
            streamed(server, n=len(cut))


def test_a_choice_that_never_came_is_a_cut() -> None:
    with pytest.raises(UpstreamUnavailable):
        streamed(sse(delta("stop", content="a"), done=False), n=2)
    assert len(streamed(sse(delta("stop", content="a")), n=2)) == 1


def test_an_empty_reason_is_none() -> None:
    events = streamed(sse(delta("", content="x"), delta("stop")))
    assert events[0]["choices"][0]["finish_reason"] is None


# --- errors ---------------------------------------------------------------------------------------

FASTAPI = {"detail": [{"loc": ["body", "messages"], "msg": "Field required", "type": "missing"}]}


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (400, {"error": "does not support tools"}, UpstreamRejected, "does not support tools"),
        (422, FASTAPI, UpstreamRejected, "body.messages: Field required"),
        (400, {"detail": "too hot"}, UpstreamRejected, "too hot"),
        (400, {"object": "error", "message": "bad", "code": 400}, UpstreamRejected, "bad"),
        (200, {"error": {"message": "no", "code": 400}}, UpstreamRejected, "no"),
        (
            200,
            {"error": {"message": "no", "type": "invalid_request_error"}},
            UpstreamRejected,
            "no",
        ),
        (200, {"object": "error", "message": "bad", "code": 400}, UpstreamRejected, "bad"),
        (200, {"error": "engine died"}, UpstreamUnavailable, "engine died"),
        (200, FASTAPI, UpstreamUnavailable, "Field required"),
        (200, {"error": {"message": "x", "code": "rate_limit_exceeded"}}, UpstreamRateLimited, ""),
        (402, {"error": {"message": "Insufficient Balance"}}, UpstreamQuotaExceeded, "quota"),
        (429, {"error": {"code": "insufficient_quota"}}, UpstreamQuotaExceeded, "quota"),
        (429, {"error": {"message": "exceeded your current quota"}}, UpstreamQuotaExceeded, ""),
        (200, {"error": {"type": "insufficient_quota"}}, UpstreamQuotaExceeded, ""),
        (400, {"error": [{"message": "in a list"}]}, UpstreamRejected, "in a list"),
    ],
)
def test_errors_of_every_shape_are_told(
    status: int, body: Body, kind: type[UpstreamError], words: str
) -> None:
    def is_right(call: Any) -> None:
        with pytest.raises(UpstreamError) as caught:
            call()
        assert type(caught.value) is kind
        assert words in caught.value.message

    server = Server(json.dumps(body).encode(), status=status)
    driver = server.driver(max_retries=0)
    is_right(lambda: driver.chat_completion(CHAT))
    is_right(lambda: driver.completion({"prompt": "x"}))
    is_right(lambda: driver.create_response({"input": "x"}))
    is_right(lambda: driver.stream_chat_completion(CHAT))
    if status == 200:
        is_right(lambda: streamed(sse(delta(content="a"), body)))
        assert response_of(sse(delta(content="a"), body))["status"] == "failed"


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": 400, "message": "x", "type": "exceed_context_size_error"}},
        {"error": {"code": "context_length_exceeded", "message": "x"}},
        {"error": {"message": "This model's maximum context length is 4096 tokens."}},
        {"error": "the request exceeds the available context size. try increasing it"},
        {"object": "error", "message": "Input is too long for requested model", "code": 400},
        {"error": {"message": "prompt is too long: 9 tokens > 8 maximum"}},
    ],
)
def test_too_long_is_always_told_in_the_same_words(body: Body) -> None:
    server = Server(json.dumps(body).encode(), status=400)
    for ask in (
        lambda: server.driver().chat_completion(CHAT),
        lambda: server.driver().stream_completion({"prompt": "x"}),
        lambda: Responses(server.driver()).create({"input": "x"}),
    ):
        with pytest.raises(RobotchatError) as caught:
            ask()
        codes = {caught.value.code, caught.value.details.get("code")}
        assert "context_length_exceeded" in codes
    assert server.asked == 3


def test_what_is_used_up_is_not_asked_for_again_but_elsewhere() -> None:
    body = json.dumps({"error": {"code": "insufficient_quota", "message": "none"}}).encode()
    server = Server(body, status=429)
    with pytest.raises(UpstreamQuotaExceeded) as caught:
        server.driver().chat_completion(CHAT)
    assert (server.asked, caught.value.retryable) == (1, False)
    with pytest.raises(UpstreamQuotaExceeded):
        server.driver(fallbacks=[Upstream("http://b.internal/v1")]).chat_completion(CHAT)
    assert server.asked == 3


@pytest.mark.parametrize("body", [b"<html>sign in</html>", b"{cut", b"[1]", b"null", b"[" * 9999])
def test_what_was_answered_once_is_not_asked_again(body: bytes) -> None:
    for ask in ("chat_completion", "stream_chat_completion"):
        server = Server(body)
        with pytest.raises(UpstreamGarbage):
            getattr(server.driver(), ask)(CHAT)
        assert server.asked == 1


def test_numbers_that_json_does_not_have_are_null() -> None:
    body = b'{"choices": [{"message": {"content": "a"}, "logprobs": NaN}], "usage": Infinity}'
    answer = Server(body).driver().chat_completion(CHAT)
    assert answer["usage"] is None
    json.dumps(answer, allow_nan=False)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "9" * 5000, "NaN"])
def test_a_number_that_nobody_can_write_is_null(number: str) -> None:
    body = f'{{"choices": [{{"message": {{"content": "a"}}}}], "usage": {{"n": {number}}}}}'
    answer = Server(body.encode()).driver().chat_completion(CHAT)
    assert answer["usage"] == {"n": None}


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 100, 900])
def test_what_is_nested_deeper_than_anything_that_is_kept_is_garbage(depth: int) -> None:
    deep = "[" * depth + "]" * depth
    body = f'{{"choices": [{{"message": {{"content": "a"}}}}], "usage": {deep}}}'
    with pytest.raises(UpstreamGarbage):
        Server(body.encode()).driver().chat_completion(CHAT)


def test_what_a_model_writes_as_arguments_is_text_that_can_be_stored() -> None:
    call = ImageCall.parse('{"prompt": "a \\ud800 cat", "negative_prompt": "\\ud83d\\ude00"}')
    assert (call.prompt, call.negative_prompt) == ("a \ufffd cat", "\U0001f600")
    for odd in ("[" * 70 + "]" * 70, "[" * 100_000, "NaN", '{"prompt": 1e999}', "{}"):
        ImageCall.parse(odd).prompt.encode()


# --- anything at all ------------------------------------------------------------------------------

# Characters of every kind, halves of characters among them.
TEXT = st.text(st.characters(), max_size=6) | st.sampled_from([HALF, OTHER_HALF, "", "stop"])
NAMES = st.sampled_from(
    [
        "choices",
        "delta",
        "message",
        "content",
        "tool_calls",
        "function",
        "arguments",
        "name",
        "index",
        "id",
        "finish_reason",
        "type",
        "usage",
        "error",
        "text",
        "logprobs",
        "reasoning_content",
        "refusal",
        "model",
        "object",
        "code",
        "output",
        "item",
        "response",
        "output_index",
        "content_index",
        "part",
        "status",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
TYPED = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            [
                "response.created",
                "response.completed",
                "response.failed",
                "response.output_item.added",
                "response.content_part.added",
                "response.output_text.delta",
                "response.function_call_arguments.delta",
                "error",
            ]
        )
    },
    optional=dict.fromkeys(
        ("response", "item", "part", "delta", "output_index", "content_index"), JSON
    ),
)


def near(value: st.SearchStrategy[Any], right: Any) -> st.SearchStrategy[Any]:
    return st.just(right) | value


CALL = st.fixed_dictionaries(
    {},
    optional={
        "index": JSON,
        "id": near(JSON, "a"),
        "function": JSON
        | st.fixed_dictionaries({}, optional={"name": near(JSON, "f"), "arguments": JSON}),
    },
)
DELTA = JSON | st.fixed_dictionaries(
    {},
    optional={
        "content": JSON,
        "reasoning_content": JSON,
        "refusal": JSON,
        "tool_calls": JSON | st.lists(JSON | CALL, max_size=3),
    },
)
CHOICE = JSON | st.fixed_dictionaries(
    {},
    optional={"index": JSON, "delta": DELTA, "message": DELTA, "finish_reason": JSON, "text": JSON},
)
EVENT = (
    JSON
    | TYPED
    | st.fixed_dictionaries(
        {"choices": JSON | st.lists(CHOICE, max_size=2)}, optional={"usage": JSON, "model": JSON}
    )
)


def body_of(events: list[Any], *, whole: bool) -> bytes:
    if whole:
        return json.dumps(events[0] if events else {}).encode()
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode()


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENT, max_size=5), st.booleans(), st.booleans())
def test_whatever_is_sent_a_stream_ends_or_says_why_not(
    events: list[Any], done: bool, whole: bool
) -> None:
    body = body_of(events, whole=whole) + (b"data: [DONE]\n\n" if done and not whole else b"")
    server = Server(body, headers=CHUNKED)
    for ask in (
        lambda: list(server.driver(max_retries=0).stream_chat_completion(CHAT)),
        lambda: list(server.driver(max_retries=0).stream_completion({"prompt": "x"})),
        lambda: server.driver(max_retries=0).chat_completion(CHAT),
        lambda: list(server.driver(max_retries=0).stream_response({"input": "x"})),
    ):
        server.asked = 0
        try:
            answer = ask()
        except UpstreamError as error:
            json.dumps([error.message, error.details], ensure_ascii=False).encode()
        else:
            json.dumps(answer, ensure_ascii=False, allow_nan=False).encode()
        assert server.asked == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(EVENT, max_size=5),
    st.booleans(),
    st.sampled_from(["chat", "responses"]),
    st.sampled_from(["whole", "stream", "background"]),
)
def test_whatever_is_sent_a_response_is_final(
    events: list[Any], whole: bool, mode: Any, how: str
) -> None:
    server = Server(body_of(events, whole=whole), headers=CHUNKED)
    queue: list[str] = []
    responses = Responses(
        server.driver(max_retries=0),
        options=Options(mode=mode),
        enqueue=lambda response_id, tenant: queue.append(response_id),
        clock=FakeClock(),
    )
    body: Body = {"input": "hi", "tools": [TOOL]}
    if how == "background":
        responses.create({**body, "background": True})
        responses.background.run(queue[0])
        responses.background.run(queue[0])
        made = list(responses.background.events(queue[0]))
    else:
        try:
            if how == "whole":
                responses.create(body)
                return
            made = list(responses.stream(body))
        except UpstreamError:
            assert server.asked == 1
            return
    assert server.asked == 1
    json.dumps(made, ensure_ascii=False, allow_nan=False).encode()
    assert [event["sequence_number"] for event in made] == list(range(len(made)))
    last = made[-1]
    assert last["type"] in ("response.completed", "response.incomplete", "response.failed")
    stored = responses.get(last["response"]["id"])
    assert stored["status"] == last["response"]["status"] != "in_progress"
