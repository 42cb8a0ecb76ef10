"""Responses of an upstream that keeps the state itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from openai.types.responses import Response

from robotchat.drivers.fake import FakeChat
from robotchat.errors import (
    UpstreamUnavailable,
)
from robotchat.gpt.driver import Body
from robotchat.gpt.responses.engine import Responses
from tests.cases.responses import World, checked, deltas, kinds, text


class FakeUpstream(FakeChat):
    """An upstream with ``/v1/responses``: another engine, under its own ids."""

    def __init__(self, *scripts: Any) -> None:
        super().__init__(scripts)
        self.engine = Responses(FakeChat(scripts))
        self.deleted: list[str] = []

    def create_response(self, body: Any, *, timeout: float | None = None) -> Body:
        self.requests.append(dict(body))
        return self.engine.create(body)

    def stream_response(self, body: Any, *, timeout: float | None = None) -> Any:
        self.requests.append(dict(body))
        return self.engine.stream(body)

    def delete_response(self, response_id: str) -> None:
        self.deleted.append(response_id)


def relay(*scripts: Any) -> tuple[World, FakeUpstream]:
    upstream = FakeUpstream(*scripts)
    return World(driver=upstream, mode="responses"), upstream


def test_with_a_stateful_upstream_only_what_is_new_is_sent() -> None:
    world, upstream = relay("a1", ["a", "2"])
    first = world.responses.create({"input": "q1", "custom": 1})
    Response.model_validate(first)
    events = checked(world.responses.stream({"input": "q2", "previous_response_id": first["id"]}))
    second = events[-1]["response"]
    assert kinds(events)[-1] == "completed"
    assert deltas(events) == text(second) == "a2"
    assert second["previous_response_id"] == first["id"]
    assert {event["response"]["id"] for event in events if "response" in event} == {second["id"]}
    sent = upstream.requests[1]
    assert sent["input"] == "q2"
    assert sent["previous_response_id"] not in (None, first["id"])
    assert upstream.requests[0] == {"input": "q1", "custom": 1, "model": "default-model"}
    world.responses.delete(first["id"])
    assert upstream.deleted == [sent["previous_response_id"]]


def test_with_a_stateful_upstream_a_conversation_is_sent_as_items() -> None:
    world, upstream = relay("a1", "a2")
    conversation = world.conversation()
    world.responses.create({"input": "q1", "conversation": conversation})
    world.responses.create({"input": "q2", "conversation": conversation})
    sent = upstream.requests[1]["input"]
    assert [item["role"] for item in sent] == ["user", "assistant", "user"]
    assert all("id" not in item for item in sent)
    assert [request["store"] for request in upstream.requests] == [False, False]


def test_a_branch_of_a_conversation_does_not_ask_the_upstream_for_what_it_does_not_keep() -> None:
    world, upstream = relay("a1", "b1")
    first = world.responses.create({"input": "q1", "conversation": world.conversation()})
    world.responses.create({"input": "r1", "previous_response_id": first["id"]})
    assert "previous_response_id" not in upstream.requests[1]
    assert len(upstream.requests[1]["input"]) == 3


def test_a_relayed_stream_that_is_left_is_stored_as_far_as_it_came() -> None:
    world, _ = relay(["One ", "two"])
    stream = world.responses.stream({"input": "Count"})
    seen = [next(stream) for _ in range(5)]
    stream.close()
    stored = world.responses.get(seen[0]["response"]["id"])
    assert (stored["status"], text(stored)) == ("incomplete", "One ")


def test_a_relayed_failure_is_a_failed_response() -> None:
    world, _ = relay(["One ", UpstreamUnavailable("Away.")])
    events = checked(world.responses.stream({"input": "Count"}))
    assert kinds(events)[-1] == "failed"
    assert world.responses.get(events[-1]["response"]["id"])["status"] == "failed"


def test_records_of_responses_expire_and_those_of_conversations_do_not() -> None:
    world = World("a", "b")
    world.responses.create({"input": "x"})
    world.responses.create({"input": "x", "conversation": world.conversation()})
    responses = [r for r in world.records.all() if r.sk == "response"]
    alone, spoken = sorted(responses, key=lambda r: r.expires_at is None)
    assert alone.expires_at == (world.clock.now() + timedelta(days=30)).timestamp()
    assert spoken.expires_at is None
