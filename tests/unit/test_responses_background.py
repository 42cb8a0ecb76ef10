"""Responses that a worker makes."""

from __future__ import annotations

import threading

import pytest
from openai.types.responses import Response

from robotchat.drivers.fake import FakeChat, FakeStream
from robotchat.errors import (
    ConversationBusy,
    InvalidRequest,
    NotFound,
    UpstreamRateLimited,
    UpstreamUnavailable,
)
from robotchat.gpt.responses.engine import Responses
from robotchat.jobs.states import StillRunning
from tests.cases.responses import EVENT, World, checked, deltas, kinds, text


def test_a_response_in_the_background_is_queued_then_made_by_a_worker() -> None:
    world = World("Hello.")
    queued = world.responses.create({"input": "Hi", "background": True})
    Response.model_validate(queued)
    assert queued["status"] == "queued"
    assert world.chat.requests == []
    assert world.responses.get(queued["id"]) == queued
    (response_id,) = world.queue
    world.responses.background.run(response_id)
    done = world.responses.get(queued["id"])
    assert done["status"] == "completed"
    assert done["background"] is True
    assert text(done) == "Hello."
    world.responses.background.run(response_id)
    assert len(world.chat.requests) == 1, "a second delivery does nothing"


def test_the_events_of_a_response_in_the_background_can_be_read_again_from_any_point() -> None:
    world = World(["One ", "two ", "three"])
    queued = world.responses.create({"input": "Count", "background": True})
    world.responses.background.run(queued["id"])
    events = checked(world.responses.background.events(queued["id"]))
    assert kinds(events)[0] == "created"
    assert kinds(events)[-1] == "completed"
    assert deltas(events) == "One two three"
    for after in (0, 4, 7):
        assert (
            list(world.responses.background.events(queued["id"], starting_after=after))
            == events[after + 1 :]
        )


def test_a_background_stream_follows_its_worker() -> None:
    world = World("Hello.")
    worked = threading.Event()

    def work(response_id: str) -> None:
        world.responses.background.run(response_id)
        worked.set()

    def enqueue(response_id: str, tenant: str) -> None:
        threading.Thread(target=work, args=(response_id,)).start()

    world.responses.background.enqueue = enqueue
    events = checked(world.responses.stream({"input": "Hi", "background": True}))
    assert deltas(events) == "Hello."
    assert worked.wait(10)


def test_without_a_queue_a_thread_of_this_process_does_the_work() -> None:
    responses = Responses(FakeChat(["Hello."]))
    events = checked(responses.stream({"input": "Hi", "background": True}))
    assert deltas(events) == "Hello."


def test_only_background_responses_can_be_streamed_again_or_cancelled() -> None:
    world = World("Hello.")
    response = world.responses.create({"input": "Hi"})
    with pytest.raises(InvalidRequest):
        world.responses.background.events(response["id"])
    with pytest.raises(InvalidRequest):
        world.responses.background.cancel(response["id"])


def test_a_queued_response_can_be_cancelled() -> None:
    world = World("Hello.", "again")
    conversation = world.conversation()
    queued = world.responses.create(
        {"input": "Hi", "background": True, "conversation": conversation}
    )
    cancelled = world.responses.background.cancel(queued["id"])
    assert cancelled["status"] == "cancelled"
    assert world.responses.background.cancel(queued["id"]) == cancelled
    world.responses.background.run(queued["id"])
    assert world.chat.requests == []
    (event,) = world.responses.background.events(queued["id"])
    EVENT.validate_python(event)
    assert event["response"]["status"] == "cancelled"
    world.responses.create({"input": "x", "conversation": conversation})


def test_cancelling_a_final_response_gives_it_back() -> None:
    world = World("Hello.")
    queued = world.responses.create({"input": "Hi", "background": True})
    world.responses.background.run(queued["id"])
    assert world.responses.background.cancel(queued["id"])["status"] == "completed"


def test_cancelling_stops_a_worker_that_waits_for_its_upstream() -> None:
    stalled = threading.Event()

    def stall(stream: FakeStream) -> None:
        stalled.set()
        stream.hang()

    world = World(["One ", stall, "two"])
    queued = world.responses.create({"input": "Count", "background": True})
    worker = threading.Thread(target=world.responses.background.run, args=(queued["id"],))
    worker.start()
    assert stalled.wait(10)
    assert world.responses.background.cancel(queued["id"])["status"] == "cancelled"
    worker.join(10)
    assert not worker.is_alive()
    assert world.chat.streams[0].closed
    assert world.responses.get(queued["id"])["status"] == "cancelled"


def test_a_second_worker_waits_for_the_first() -> None:
    world = World()
    queued = world.responses.create({"input": "Hi", "background": True})
    world.responses.background._take_up(queued["id"])
    with pytest.raises(StillRunning):
        world.responses.background.run(queued["id"])


def test_a_worker_that_died_before_the_first_word_is_replaced() -> None:
    world = World("Hello.")
    queued = world.responses.create({"input": "Hi", "background": True})
    world.responses.background._take_up(queued["id"])
    world.clock.advance(61)
    world.responses.background.run(queued["id"])
    assert world.responses.get(queued["id"])["status"] == "completed"


def test_a_worker_that_died_later_leaves_a_failed_response() -> None:
    world = World()
    queued = world.responses.create({"input": "Hi", "background": True})
    stored = world.responses.background._take_up(queued["id"])
    assert stored is not None
    started = {"type": "response.created", "sequence_number": 0, "response": stored.response}
    world.store.write_events(stored, 0, [started])
    world.clock.advance(61)
    world.responses.background.run(queued["id"])
    assert world.responses.get(queued["id"])["status"] == "failed"
    events = checked(world.responses.background.events(queued["id"]))
    assert kinds(events) == ["created", "failed"]


def test_a_worker_whose_upstream_fails_leaves_a_failed_response() -> None:
    world = World(UpstreamRateLimited("Slow down."))
    queued = world.responses.create({"input": "Hi", "background": True})
    world.responses.background.run(queued["id"])
    failed = world.responses.get(queued["id"])
    assert failed["error"]["code"] == "rate_limit_exceeded"
    assert kinds(checked(world.responses.background.events(queued["id"]))) == [
        "created",
        "in_progress",
        "failed",
    ]


def test_a_deleted_response_is_not_made() -> None:
    world = World()
    queued = world.responses.create({"input": "Hi", "background": True})
    world.responses.delete(queued["id"])
    world.responses.background.run(queued["id"])
    assert world.chat.requests == []


def test_what_cannot_be_queued_is_not_remembered() -> None:
    def refuse(response_id: str, tenant: str) -> None:
        raise UpstreamUnavailable(response_id)

    world = World("x", enqueue=refuse)
    with pytest.raises(UpstreamUnavailable) as caught:
        world.responses.create({"input": "Hi", "background": True})
    with pytest.raises(NotFound):
        world.responses.get(str(caught.value))


def test_a_background_turn_of_a_conversation_takes_its_place() -> None:
    world = World("a1", "a2")
    conversation = world.conversation()
    body = {"input": "q1", "background": True, "conversation": conversation}
    queued = world.responses.create(body)
    world.clock.advance(600)
    with pytest.raises(ConversationBusy):
        world.responses.create({"input": "q2", "conversation": conversation})
    world.responses.background.run(queued["id"])
    world.responses.create({"input": "q2", "conversation": conversation})
    assert [message["content"] for message in world.sent()] == ["q1", "a1", "q2"]
