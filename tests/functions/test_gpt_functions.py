"""The GPT endpoints, each with its event, over a scripted language model and memory."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from functions.workers.respond.app import handler as respond
from robotchat.aws import gpt as gpt_module
from robotchat.aws import wiring
from robotchat.aws.wiring import Deployment, serving
from robotchat.drivers.fake import FakeArt, FakeChat
from robotchat.errors import (
    UpstreamQuotaExceeded,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamUnavailable,
)
from robotchat.gpt.bot import ChatBot
from robotchat.gpt.driver import ChatDriver
from robotchat.gpt.responses.engine import Responses
from robotchat.records import MemoryRecords
from robotchat.robot import Robot
from robotchat.settings import Settings

EVENTS = Path(__file__).parents[2] / "events"
CONTEXT = SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000)


class Gpt:
    """The endpoints' world: what the wiring would have made."""

    def __init__(self) -> None:
        self.chat = FakeChat(model="gpt-4o-mini")
        self.queue: list[str] = []
        self.hidden: list[int] = []
        self.responses = Responses(
            self.chat, model="default-model", enqueue=lambda id, tenant: self.queue.append(id)
        )
        self.parts: dict[str, Any] = {
            "records": MemoryRecords(),
            "client": lambda service: self,
            "chat": self.chat,
            "chatbot": ChatBot(self.chat, model="default-model"),
            "responses": self.responses,
        }

    def deployment(self, *without: str) -> Deployment:
        """What the functions find, but for some parts."""
        given = {name: value for name, value in self.parts.items() if name not in without}
        return Deployment(Settings(responses_queue_url="https://sqs/r"), **given)

    def change_message_visibility(self, *, VisibilityTimeout: int, **rest: Any) -> None:
        self.hidden.append(VisibilityTimeout)

    def event(self, name: str, body: Any = None, **path: str) -> dict[str, Any]:
        event: dict[str, Any] = json.loads((EVENTS / f"gpt/{name}.json").read_text("utf-8"))
        if body is not None:
            event["body"] = json.dumps(body)
        for parameter, value in path.items():
            old = event["pathParameters"][parameter]
            event["pathParameters"][parameter] = value
            event["path"] = event["path"].replace(old, value)
        return event

    def call(self, name: str, body: Any = None, **path: str) -> tuple[int, Any]:
        return self.send(name, self.event(name, body, **path))

    def send(self, name: str, event: dict[str, Any]) -> tuple[int, Any]:
        module = importlib.import_module(f"functions.gpt.{name}.app")
        answer = module.handler(event, CONTEXT)
        text = answer["body"]
        return answer["statusCode"], json.loads(text) if text.startswith("{") else text

    def stream(self, name: str, body: Any) -> Any:
        module = importlib.import_module(f"functions.gpt.{name}.app")
        return module.handler.stream(self.event(name, body), CONTEXT)


@pytest.fixture
def gpt() -> Iterator[Gpt]:
    made = Gpt()
    with serving(made.deployment()):
        yield made


def test_chat_completions_answers_its_event(gpt: Gpt) -> None:
    status, answer = gpt.call("chat_completions")
    assert status == 200
    assert answer["choices"][0]["message"]["content"] == "Say hello."
    assert gpt.chat.requests == [
        {"messages": [{"role": "user", "content": "Say hello."}], "model": "default-model"}
    ]


def test_completions_answers_its_event(gpt: Gpt) -> None:
    status, answer = gpt.call("completions")
    assert (status, answer["choices"][0]["text"]) == (200, "Once upon a time")
    assert gpt.chat.requests[0]["max_tokens"] == 32


def test_models_and_model_answer_their_events(gpt: Gpt) -> None:
    assert gpt.call("models")[1]["data"][0]["id"] == "gpt-4o-mini"
    assert gpt.call("model")[1]["id"] == "gpt-4o-mini"
    status, answer = gpt.call("model", model="other")
    assert (status, answer["error"]["code"]) == (404, "model_not_found")


def test_a_models_id_may_have_slashes_encoded_or_not(gpt: Gpt) -> None:
    for given in ("meta-llama/Llama-3-8B", "meta-llama%2FLlama-3-8B"):
        status, answer = gpt.call("model", model=given)
        assert (status, answer["error"]["code"]) == (404, "model_not_found")
        assert "Llama-3-8B" in answer["error"]["message"]


def test_embeddings_and_counts_answer_their_events(gpt: Gpt) -> None:
    status, answer = gpt.call("embeddings")
    assert (status, len(answer["data"])) == (200, 2)
    assert gpt.chat.requests[-1]["model"] == "default-model"
    assert gpt.call("embeddings", {"input": []})[0] == 400
    status, answer = gpt.call("count_input_tokens")
    assert (status, answer["object"]) == (200, "response.input_tokens")


def test_what_is_used_up_is_told_as_such(gpt: Gpt) -> None:
    gpt.chat.enqueue([UpstreamQuotaExceeded("The quota is used up.")])
    module = importlib.import_module("functions.gpt.chat_completions.app")
    answer = module.handler(gpt.event("chat_completions"), CONTEXT)
    error = json.loads(answer["body"])["error"]
    assert (answer["statusCode"], error["type"], error["code"]) == (
        429,
        "insufficient_quota",
        "insufficient_quota",
    )
    assert answer["multiValueHeaders"]["x-should-retry"] == ["false"]


def test_responses_are_made_read_listed_and_deleted(gpt: Gpt) -> None:
    status, made = gpt.call("responses")
    assert (status, made["status"]) == (200, "completed")
    assert gpt.call("get_response", response_id=made["id"]) == (200, made)
    status, items = gpt.call("response_input_items", response_id=made["id"])
    assert (status, items["data"][0]["role"]) == (200, "user")
    status, deleted = gpt.call("delete_response", response_id=made["id"])
    assert (status, deleted["deleted"]) == (200, True)
    for name in ("get_response", "delete_response", "cancel_response", "response_input_items"):
        status, answer = gpt.call(name, response_id=made["id"])
        assert (status, answer["error"]["type"]) == (404, "invalid_request_error")


def test_responses_belong_to_the_tenant(gpt: Gpt) -> None:
    _, made = gpt.call("responses")
    event = gpt.event("get_response", response_id=made["id"])
    event["requestContext"]["authorizer"]["tenant"] = "other"
    assert gpt.send("get_response", event)[0] == 404


def test_a_key_without_the_scope_is_refused(gpt: Gpt) -> None:
    event = gpt.event("responses")
    event["requestContext"]["authorizer"]["scopes"] = "images jobs:read"
    status, answer = gpt.send("responses", event)
    assert (status, answer["error"]["code"]) == (403, "forbidden")


def test_a_streamed_chat_ends_with_done(gpt: Gpt) -> None:
    gpt.chat.enqueue([["Hel", "lo."]])
    body = {"messages": [{"role": "user", "content": "x"}], "stream": True}
    head, *chunks = gpt.stream("chat_completions", body)
    prelude, _, _ = head.partition(b"\0" * 8)
    assert json.loads(prelude)["statusCode"] == 200
    assert "event-stream" in json.dumps(json.loads(prelude))
    texts = [json.loads(chunk[6:])["choices"][0]["delta"].get("content") for chunk in chunks[:2]]
    assert texts == ["Hel", "lo."]
    assert chunks[-1] == b"data: [DONE]\n\n"


def test_a_buffered_stream_is_the_same_in_one_piece(gpt: Gpt) -> None:
    gpt.chat.enqueue([["Hel", "lo."]])
    status, text = gpt.call("completions", {"prompt": "x", "stream": True})
    assert status == 200
    assert text.startswith("data: {")
    assert text.endswith("data: [DONE]\n\n")


def test_a_streamed_response_names_its_events(gpt: Gpt) -> None:
    _, text = gpt.call("responses", {"input": "x", "stream": True})
    names = [line[7:] for line in text.splitlines() if line.startswith("event: ")]
    assert names[0] == "response.created"
    assert names[-1] == "response.completed"
    assert "[DONE]" not in text


def test_closing_the_streaming_face_closes_the_upstream_and_stores_what_was_said(gpt: Gpt) -> None:
    gpt.chat.enqueue([["One ", "two ", "three ", "four ", "five ", "six ", "seven ", "eight"]])
    stream = gpt.stream("responses", {"input": "x", "stream": True})
    chunks = [next(stream) for _ in range(6)]
    stream.close()
    assert gpt.chat.streams[0].closed
    first = next(chunk for chunk in chunks if chunk.startswith(b"event: response.created"))
    response_id = json.loads(first.split(b"data: ")[1])["response"]["id"]
    _, stored = gpt.call("get_response", response_id=response_id)
    assert stored["status"] == "incomplete"
    assert stored["output"][0]["content"][0]["text"].startswith("One ")


def test_an_error_before_the_first_event_keeps_its_status(gpt: Gpt) -> None:
    for name, body in (
        ("chat_completions", {"messages": [{"role": "user", "content": "x"}], "stream": True}),
        ("responses", {"input": "x", "stream": True}),
    ):
        gpt.chat.enqueue([UpstreamRateLimited("Slow down.", retry_after=7)])
        status, answer = gpt.call(name, body)
        assert (status, answer["error"]["code"]) == (429, "upstream_rate_limited")


def test_an_error_in_mid_stream_is_an_event(gpt: Gpt) -> None:
    gpt.chat.enqueue([["Hel", UpstreamUnavailable("It broke.")]])
    body = {"messages": [{"role": "user", "content": "x"}], "stream": True}
    _, text = gpt.call("chat_completions", body)
    last = text.strip().split("\n\n")[-1]
    assert last.startswith("event: error\n")
    assert json.loads(last.partition("data: ")[2])["error"]["code"] == "upstream_unavailable"
    assert "[DONE]" not in text


def test_a_refusal_is_handed_on_as_the_model_said_it(gpt: Gpt) -> None:
    details = {"status": 404, "code": "model_not_found", "type": "invalid_request_error"}
    gpt.chat.enqueue([UpstreamRejected("No such model.", param="model", details=details)])
    status, answer = gpt.call("chat_completions")
    assert status == 404
    error = answer["error"]
    assert (error["code"], error["param"], error["message"]) == (
        "model_not_found",
        "model",
        "No such model.",
    )
    assert "details" not in error
    gpt.chat.enqueue([UpstreamRejected("No.", details={"status": 418})])
    status, answer = gpt.call("chat_completions")
    assert (status, answer["error"]["code"]) == (400, "upstream_rejected")


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("chat_completions", {"messages": "x"}),
        ("chat_completions", {}),
        ("completions", {"max_tokens": 3}),
        ("responses", {}),
        ("responses", {"input": "x", "temperature": "hot"}),
        ("responses", {"input": "x", "stream": True, "tools": [{"type": "mcp"}]}),
    ],
)
def test_wrong_requests_are_400_in_openais_shape(gpt: Gpt, name: str, body: Any) -> None:
    status, answer = gpt.call(name, body)
    assert status == 400
    assert answer["error"]["type"] == "invalid_request_error"
    assert answer["error"]["message"]
    assert gpt.chat.requests == []


def test_without_a_language_model_it_says_what_to_set(gpt: Gpt) -> None:
    with serving(gpt.deployment("chat", "chatbot")):
        for function, body in (
            ("responses", {"input": "x"}),
            ("responses", {"input": "x", "stream": True}),
            ("responses", {"input": "x", "background": True}),
            ("chat_completions", {"messages": [{"role": "user", "content": "x"}]}),
        ):
            status, answer = gpt.call(function, body)
            assert (status, answer["error"]["code"]) == (503, "not_configured")
            assert "OPENAI_BASE_URL" in answer["error"]["message"]


def test_a_background_response_is_made_by_the_worker_and_its_events_read(gpt: Gpt) -> None:
    _, queued = gpt.call("responses", {"input": "x", "background": True})
    assert queued["status"] == "queued"
    event = json.loads((EVENTS / "workers/respond.json").read_text("utf-8"))
    event["Records"][0]["body"] = json.dumps({"response_id": gpt.queue[0]})
    assert respond(event, CONTEXT) == {"batchItemFailures": []}
    assert gpt.hidden == [60]
    assert gpt.call("get_response", response_id=queued["id"])[1]["status"] == "completed"
    again = gpt.event("get_response", response_id=queued["id"])
    again["queryStringParameters"] = {"stream": "true", "starting_after": "3"}
    again["multiValueQueryStringParameters"] = {"stream": ["true"], "starting_after": ["3"]}
    _, text = gpt.send("get_response", again)
    numbers = [
        json.loads(line[6:])["sequence_number"]
        for line in text.splitlines()
        if line.startswith("data: ")
    ]
    assert numbers[0] == 4
    status, same = gpt.call("cancel_response", response_id=queued["id"])
    assert (status, same["status"]) == (200, "completed")


def test_the_worker_answers_its_event_and_leaves_to_others_what_is_theirs(gpt: Gpt) -> None:
    event = json.loads((EVENTS / "workers/respond.json").read_text("utf-8"))
    assert respond(event, CONTEXT) == {"batchItemFailures": []}, "deleted meanwhile"
    _, queued = gpt.call("responses", {"input": "x", "background": True})
    gpt.responses.background._take_up(queued["id"])
    event["Records"][0]["body"] = json.dumps({"response_id": queued["id"]})
    failed = {"batchItemFailures": [{"itemIdentifier": event["Records"][0]["messageId"]}]}
    assert respond(event, CONTEXT) == failed
    assert gpt.hidden[-1] > 0
    for unreadable in ("no json", "[]", "{}", '{"response_id": 7}'):
        event["Records"][0]["body"] = unreadable
        assert respond(event, CONTEXT) == failed


def test_a_client_that_leaves_before_the_upstream_answers_ends_it_when_it_does() -> None:
    chat = FakeChat(["Hello."])
    opened = gpt_module._Opened(
        lambda: chat.stream_chat_completion({"messages": []}), lambda event: (None, event), b"end"
    )
    opened.cancel()
    assert list(opened.events()) == []
    assert chat.streams[0].closed


def test_fallbacks_never_get_the_key_of_another_upstream() -> None:
    given = (
        "small",
        "https://b.example/v1",
        "large@https://c.example/v1",
        "tiny@https://a.example/v1",
    )
    found = wiring._fallbacks(given, "https://a.example/v1", ["main", None, "key-b"])
    assert [(one.model, one.base_url, one.api_key) for one in found] == [
        ("small", "https://a.example/v1", "main"),
        (None, "https://b.example/v1", "key-b"),
        ("large", "https://c.example/v1", None),
        ("tiny", "https://a.example/v1", "main"),
    ]


def test_images_need_a_key_with_the_scope_for_them(gpt: Gpt) -> None:
    body = {"input": "a cat", "tools": [{"type": "image_generation"}]}
    event = gpt.event("responses", body)
    event["requestContext"]["authorizer"]["scopes"] = "chat"
    status, answer = gpt.send("responses", event)
    assert status == 403
    assert "images" in answer["error"]["message"]
    event["requestContext"]["authorizer"]["scopes"] = "chat images"
    # This one's engine has nobody who draws.
    status, answer = gpt.send("responses", event)
    assert (status, answer["error"]["param"]) == (400, "tools[0]")
    event = gpt.event("responses", {**body, "tools": "all"})
    assert gpt.send("responses", event)[0] == 400


def test_a_forced_image_needs_no_language_model(gpt: Gpt) -> None:
    robot = Robot(art=FakeArt())
    drawing = Responses(
        cast(ChatDriver, wiring._LazyChat(gpt.deployment("chat").present)),
        store=robot.response_store,
        draws=robot.draws,
    )
    body = {
        "input": "a cat",
        "tools": [{"type": "image_generation", "size": "64x64"}],
        "tool_choice": {"type": "image_generation"},
    }
    gpt.parts["responses"] = drawing
    with serving(gpt.deployment("chat", "chatbot")):
        status, answer = gpt.call("responses", body)
        assert status == 200, answer
        assert [item["type"] for item in answer["output"]] == ["image_generation_call", "message"]
        status, answer = gpt.call("responses", {**body, "tool_choice": "auto"})
        assert (status, answer["error"]["code"]) == (503, "not_configured")
