"""Streamed responses: their events, and what is stored of those that are left."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from openai.types.responses import Response

from robotchat.drivers.fake import FakeStream
from robotchat.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    UpstreamUnavailable,
)
from robotchat.gpt.driver import Body
from tests.cases.responses import WEATHER, World, checked, deltas, kinds, text


def test_a_stream_is_the_official_sequence_of_events() -> None:
    world = World(["Hel", "lo."])
    events = checked(world.responses.stream({"input": "Hi"}))
    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    final = events[-1]["response"]
    assert text(final) == deltas(events) == "Hello."
    assert final["usage"]["output_tokens"] > 0
    assert world.responses.get(final["id"]) == final
    assert world.chat.requests[0]["stream_options"] == {"include_usage": True}


def test_streamed_function_calls_keep_their_pieces_apart() -> None:
    def piece(index: int, **call: Any) -> Body:
        return {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": index, **call}]}}]}

    world = World(
        [
            "Let me see.",
            piece(0, id="a", function={"name": "f", "arguments": ""}),
            piece(0, function={"arguments": '{"x":'}),
            piece(1, id="b", function={"name": "g", "arguments": "{}"}),
            piece(0, function={"arguments": "1}"}),
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
        ]
    )
    events = checked(world.responses.stream({"input": "Hi", "tools": [WEATHER]}))
    output = events[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["message", "function_call", "function_call"]
    assert [item.get("arguments") for item in output[1:]] == ['{"x":1}', "{}"]
    assert {item["status"] for item in output} == {"completed"}
    done = [e for e in events if e["type"] == "response.function_call_arguments.done"]
    assert [e["arguments"] for e in done] == ['{"x":1}', "{}"]


def test_reasoning_and_refusals_are_items_of_their_own() -> None:
    world = World(
        [
            {"choices": [{"index": 0, "delta": {"reasoning_content": "Hm"}}]},
            {"choices": [{"index": 0, "delta": {"reasoning_content": "m."}}]},
            {"choices": [{"index": 0, "delta": {"refusal": "No."}, "finish_reason": "stop"}]},
        ]
    )
    events = checked(world.responses.stream({"input": "Hi"}))
    reasoning, message = events[-1]["response"]["output"]
    assert reasoning["content"] == [{"type": "reasoning_text", "text": "Hmm."}]
    assert message["content"] == [{"type": "refusal", "refusal": "No."}]


def test_logprobs_are_passed_on() -> None:
    entry = {"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}
    chunk = {
        "choices": [
            {
                "index": 0,
                "delta": {"content": "a"},
                "logprobs": {"content": [entry]},
                "finish_reason": "stop",
            }
        ]
    }
    world = World([chunk])
    events = checked(
        world.responses.stream({"input": "x", "include": ["message.output_text.logprobs"]})
    )
    assert world.chat.requests[0]["logprobs"] is True
    assert events[-1]["response"]["output"][0]["content"][0]["logprobs"] == [entry]


def test_an_error_before_the_first_event_is_raised() -> None:
    world = World(UpstreamUnavailable("Away."))
    with pytest.raises(UpstreamUnavailable):
        world.responses.stream({"input": "x"})


def test_a_failure_in_mid_stream_is_an_event_and_stored() -> None:
    world = World(["Hel", UpstreamUnavailable("It broke.")])
    events = checked(world.responses.stream({"input": "Hi"}))
    assert kinds(events)[-2:] == ["output_text.delta", "failed"]
    failed = events[-1]["response"]
    assert failed["error"] == {"code": "server_error", "message": "It broke."}
    assert failed["output"][0]["status"] == "incomplete"
    assert text(failed) == "Hel"
    assert world.responses.get(failed["id"]) == failed
    with pytest.raises(InvalidRequest):
        world.responses.create({"input": "x", "previous_response_id": failed["id"]})


def test_a_stream_that_the_client_leaves_is_stored_as_far_as_it_came() -> None:
    world = World(["One ", "two ", "three"])
    stream = world.responses.stream({"input": "Count"})
    seen = [next(stream) for _ in range(6)]
    stream.close()
    assert world.chat.streams[0].closed
    stored = world.responses.get(seen[0]["response"]["id"])
    Response.model_validate(stored)
    assert stored["status"] == "incomplete"
    assert text(stored) == deltas(seen) == "One two "


def test_leaving_before_the_first_event_still_closes_the_upstream() -> None:
    world = World("Hello.")
    stream = world.responses.stream({"input": "Hi"})
    stream.close()
    assert world.chat.streams[0].closed
    assert list(stream) == []


def test_leaving_while_another_thread_waits_for_a_word() -> None:
    world = World(["One ", FakeStream.hang, "two"])
    stream = world.responses.stream({"input": "Count"})
    seen: list[Body] = []
    some = threading.Event()

    def read() -> None:
        for event in stream:
            seen.append(event)
            if event["type"] == "response.output_text.delta":
                some.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert some.wait(10)
    stream.close()
    reader.join(10)
    stored = world.responses.get(seen[0]["response"]["id"])
    assert stored["status"] == "incomplete"
    assert text(stored) == deltas(seen) == "One "


def test_a_response_that_is_left_can_be_continued() -> None:
    world = World(["One ", "two ", "three"], "four")
    stream = world.responses.stream({"input": "Count"})
    first = next(stream)["response"]
    for _ in range(5):
        next(stream)
    stream.close()
    world.responses.create({"input": "Go on", "previous_response_id": first["id"]})
    assert world.sent()[1] == {"role": "assistant", "content": "One two "}


def test_a_response_in_progress_can_be_seen() -> None:
    world = World(["One ", "two"])
    stream = world.responses.stream({"input": "Count"})
    created, *_ = (next(stream)["response"] if n == 0 else next(stream) for n in range(6))
    assert world.responses.get(created["id"])["status"] == "in_progress"
    with pytest.raises(Conflict):
        world.responses.create({"input": "x", "previous_response_id": created["id"]})


def test_a_response_whose_maker_vanished_is_failed_in_the_end() -> None:
    world = World(["One ", "two"])
    stream = world.responses.stream({"input": "Count"})
    created, *_ = (next(stream)["response"] if n == 0 else next(stream) for n in range(6))
    world.clock.advance(3600)
    assert world.responses.get(created["id"])["status"] == "failed"


def test_a_response_that_is_deleted_while_it_is_made_stays_deleted() -> None:
    world = World(["One ", "two"])
    stream = world.responses.stream({"input": "Count"})
    created, *_ = (next(stream)["response"] if n == 0 else next(stream) for n in range(6))
    world.responses.delete(created["id"])
    assert kinds(stream)[-1] == "completed"
    with pytest.raises(NotFound):
        world.responses.get(created["id"])
