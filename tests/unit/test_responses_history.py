"""What a response remembers: chains, conversations, and how much of them fits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.conversations import ConversationItem
from openai.types.responses import Response
from pydantic import TypeAdapter

from robotchat.errors import (
    ContextLengthExceeded,
    ConversationBusy,
    InvalidRequest,
    NotFound,
    UpstreamRejected,
    UpstreamUnavailable,
)
from robotchat.gpt.driver import Body
from robotchat.gpt.responses.items import image_turn
from robotchat.gpt.responses.translation import chat_messages
from robotchat.jobs.job import Job
from robotchat.records import PAGE_BYTES
from tests.cases.clock import FakeClock
from tests.cases.responses import CALL, WEATHER, World, checked, kinds


def test_a_chain_sends_everything_that_was_said() -> None:
    world = World("a1", "a2", "a3")
    previous = None
    for question in ("q1", "q2", "q3"):
        body = {"input": question, "previous_response_id": previous}
        previous = world.responses.create(body)["id"]
    assert [message["content"] for message in world.sent()] == ["q1", "a1", "q2", "a2", "q3"]


def test_each_request_begins_with_all_of_the_one_before() -> None:
    world = World(CALL, "done", "more", "end")
    previous = None
    inputs: list[Any] = [
        "q1",
        [{"type": "function_call_output", "call_id": "call_1", "output": "sunny"}],
        [{"role": "user", "content": [{"type": "input_text", "text": "日落"}]}],
        "q4",
    ]
    for said in inputs:
        body = {
            "input": said,
            "previous_response_id": previous,
            "instructions": "Be kind.",
            "tools": [WEATHER],
        }
        previous = world.responses.create(body)["id"]
    for before, after in zip(world.chat.requests, world.chat.requests[1:], strict=False):
        assert after["messages"][: len(before["messages"])] == before["messages"]
        assert {k: v for k, v in after.items() if k != "messages"} == {
            k: v for k, v in before.items() if k != "messages"
        }


def test_an_older_response_can_be_continued_another_way() -> None:
    world = World("a1", "a2", "b2", "b3")
    first = world.responses.create({"input": "q1"})
    world.responses.create({"input": "q2", "previous_response_id": first["id"]})
    branch = world.responses.create({"input": "r2", "previous_response_id": first["id"]})
    world.responses.create({"input": "r3", "previous_response_id": branch["id"]})
    assert [message["content"] for message in world.sent()] == ["q1", "a1", "r2", "b2", "r3"]


def test_instructions_are_not_carried_over() -> None:
    world = World("a1", "a2")
    first = world.responses.create({"input": "q1", "instructions": "Rhyme."})
    world.responses.create({"input": "q2", "previous_response_id": first["id"]})
    assert [message["role"] for message in world.sent()] == ["user", "assistant", "user"]


def test_a_deleted_response_is_left_out_of_what_follows_it() -> None:
    world = World("a1", "a2", "a3", "a4")
    first = world.responses.create({"input": "q1"})
    second = world.responses.create({"input": "q2", "previous_response_id": first["id"]})
    third = world.responses.create({"input": "q3", "previous_response_id": second["id"]})
    assert world.responses.delete(second["id"]) == {
        "id": second["id"],
        "object": "response",
        "deleted": True,
    }
    world.responses.create({"input": "q4", "previous_response_id": third["id"]})
    assert [message["content"] for message in world.sent()] == ["q1", "a1", "q3", "a3", "q4"]
    with pytest.raises(NotFound):
        world.responses.get(second["id"])
    with pytest.raises(NotFound):
        world.responses.delete(second["id"])


def test_a_large_response_is_kept_as_a_file() -> None:
    world = World("short", "fine")
    url = "data:image/png;base64," + "A" * 600_000
    image = {"type": "input_image", "image_url": url}
    first = world.responses.create({"input": [{"role": "user", "content": [image]}]})
    assert max(len(str(r.data)) for r in world.records.all()) < 100_000
    world.responses.create({"input": "And?", "previous_response_id": first["id"]})
    assert world.sent()[0]["content"][0]["image_url"]["url"] == url
    assert world.files._files
    world.responses.delete(first["id"])
    assert not world.files._files


def test_the_history_does_not_trust_a_late_index() -> None:
    """An index that still shows the last response unfinished must not hide its words."""
    world = World("a1", "a2", "a3")
    first = world.responses.create({"input": "q1"})
    second = world.responses.create({"input": "q2", "previous_response_id": first["id"]})
    late = world.records.query("group", f"thread#{first['id']}").records
    world.records.query = lambda *a, **k: type("Page", (), {"records": late[:0], "cursor": None})()  # type: ignore[method-assign]
    world.responses.create({"input": "q3", "previous_response_id": second["id"]})
    assert [message["content"] for message in world.sent()] == ["q1", "a1", "q2", "a2", "q3"]


def test_a_page_of_items_ends_before_its_bytes_are_too_many_for_an_answer() -> None:
    world = World("ok")
    said = [{"role": "user", "content": f"{number}" + "x" * 900_000} for number in range(5)]
    response = world.responses.create({"input": said})
    seen: list[str] = []
    after: str | None = None
    while True:
        page = world.responses.input_items(response["id"], limit=100, order="asc", after=after)
        assert len(json.dumps(page)) <= PAGE_BYTES + 1000
        seen += [item["content"][0]["text"][0] for item in page["data"]]
        after = page["last_id"]
        if not page["has_more"]:
            break
    assert seen == list("01234")


def test_input_items_are_listed_page_by_page() -> None:
    world = World("ok")
    said = [{"role": "user", "content": str(number)} for number in range(5)]
    response = world.responses.create({"input": said})

    def numbers(page: Body) -> list[str]:
        return [item["content"][0]["text"] for item in page["data"]]

    page = world.responses.input_items(response["id"], limit=2)
    assert numbers(page) == ["4", "3"]
    assert page["has_more"] is True
    page = world.responses.input_items(response["id"], limit=2, after=page["last_id"])
    assert numbers(page) == ["2", "1"]
    page = world.responses.input_items(response["id"], limit=2, after=page["last_id"])
    assert (numbers(page), page["has_more"]) == (["0"], False)
    assert numbers(world.responses.input_items(response["id"], order="asc")) == list("01234")
    with pytest.raises(InvalidRequest):
        world.responses.input_items(response["id"], limit=0)
    with pytest.raises(InvalidRequest):
        world.responses.input_items(response["id"], after="msg_other")


def long_chain(world: World, turns: int, **body: Any) -> None:
    previous = None
    for number in range(turns):
        said = f"question {number} " + "word " * 30
        body = {**body, "input": said, "previous_response_id": previous}
        previous = world.responses.create(body)["id"]


def test_too_long_a_conversation_is_refused_by_default() -> None:
    world = World(*["answer " * 20] * 40, context_window=600)
    with pytest.raises(ContextLengthExceeded) as caught:
        long_chain(world, 40)
    assert caught.value.status == 400
    assert caught.value.code == "context_length_exceeded"
    assert 3 < len(world.chat.requests) < 12


def test_with_truncation_the_oldest_turns_are_left_out() -> None:
    world = World(*["answer " * 20] * 40, context_window=600)
    long_chain(world, 40, truncation="auto", instructions="Be kind.")
    messages = world.sent()
    assert messages[0] == {"role": "system", "content": "Be kind."}
    assert messages[1]["role"] == "user"
    assert messages[1]["content"] > "question 3"
    assert messages[-1]["content"].startswith("question 39")


def test_the_cut_stays_in_place_for_several_turns() -> None:
    world = World(*["answer " * 20] * 40, context_window=1200)
    long_chain(world, 40, truncation="auto")
    stable = sum(
        after["messages"][: len(before["messages"])] == before["messages"]
        for before, after in zip(world.chat.requests, world.chat.requests[1:], strict=False)
    )
    assert stable > 25


def test_an_input_that_can_never_fit_is_refused_even_with_truncation() -> None:
    world = World(context_window=100)
    with pytest.raises(ContextLengthExceeded):
        world.responses.create({"input": "word " * 500, "truncation": "auto"})


def test_a_function_call_is_not_parted_from_its_result() -> None:
    world = World("x " * 200, CALL, "done", context_window=400)
    first = world.responses.create({"input": "q1"})
    second = world.responses.create(
        {
            "input": "Weather?",
            "previous_response_id": first["id"],
            "truncation": "auto",
            "tools": [WEATHER],
        }
    )
    world.responses.create(
        {
            "input": [
                {"type": "function_call_output", "call_id": "call_1", "output": "hot " * 200}
            ],
            "previous_response_id": second["id"],
            "truncation": "auto",
        }
    )
    assert [message["role"] for message in world.sent()] == ["user", "assistant", "tool"]


TOO_LONG = UpstreamRejected("Too long.", details={"status": 400, "code": "context_length_exceeded"})


def test_an_upstream_that_says_too_long_is_asked_again_with_less() -> None:
    world = World(*["a"] * 8, TOO_LONG, TOO_LONG, "fine")
    long_chain(world, 9, truncation="auto")
    sizes = [len(request["messages"]) for request in world.chat.requests[-3:]]
    assert sizes == [17, 9, 5]


def test_an_upstream_that_says_too_long_is_believed_without_truncation() -> None:
    world = World("a", TOO_LONG)
    with pytest.raises(ContextLengthExceeded):
        long_chain(world, 2)


def test_a_conversation_remembers_what_was_said_in_it() -> None:
    world = World("a1", ["a", "2"], "a3")
    conversation = world.conversation()
    first = world.responses.create({"input": "q1", "conversation": conversation})
    Response.model_validate(first)
    assert first["conversation"] == {"id": conversation}
    checked(world.responses.stream({"input": "q2", "conversation": {"id": conversation}}))
    world.responses.create({"input": "q3", "conversation": conversation})
    assert [message["content"] for message in world.sent()] == ["q1", "a1", "q2", "a2", "q3"]
    items = world.responses.conversations.items(conversation)
    assert [item["role"] for item in items] == ["user", "assistant"] * 3
    assert world.conversations.get(conversation, "local").title == "q1"


def test_an_unknown_or_foreign_conversation_does_not_exist() -> None:
    world = World()
    for conversation in ("conv_nope", world.conversation("theirs")):
        with pytest.raises(NotFound):
            world.responses.create({"input": "x", "conversation": conversation})
        with pytest.raises(NotFound):
            world.responses.conversations.items(conversation)


def test_two_requests_on_one_conversation_do_not_mix() -> None:
    world = World(["a", "1"], "a2")
    conversation = world.conversation()
    stream = world.responses.stream({"input": "q1", "conversation": conversation})
    next(stream)
    with pytest.raises(ConversationBusy):
        world.responses.create({"input": "q2", "conversation": conversation})
    with pytest.raises(ConversationBusy):
        world.responses.stream({"input": "q2", "conversation": conversation})
    list(stream)
    world.responses.create({"input": "q3", "conversation": conversation})
    assert [message["content"] for message in world.sent()] == ["q1", "a1", "q3"]


def test_a_failed_turn_is_not_part_of_the_conversation_and_does_not_block_it() -> None:
    world = World(
        UpstreamUnavailable("Away."),
        UpstreamUnavailable("Away."),
        ["half", UpstreamUnavailable("Away.")],
        "a",
    )
    conversation = world.conversation()
    body = {"input": "q", "conversation": conversation}
    with pytest.raises(UpstreamUnavailable):
        world.responses.create(body)
    with pytest.raises(UpstreamUnavailable):
        world.responses.stream(body)
    assert kinds(world.responses.stream(body))[-1] == "failed"
    world.responses.create(body)
    assert world.sent() == [{"role": "user", "content": "q"}]
    assert len(world.responses.conversations.items(conversation)) == 2


def test_a_turn_that_the_client_left_is_part_of_the_conversation() -> None:
    world = World(["One ", "two"], "a2")
    conversation = world.conversation()
    stream = world.responses.stream({"input": "q1", "conversation": conversation})
    for _ in range(5):
        next(stream)
    stream.close()
    world.responses.create({"input": "q2", "conversation": conversation})
    assert [message["content"] for message in world.sent()] == ["q1", "One ", "q2"]


def test_a_claim_whose_holder_died_runs_out_and_the_late_holder_changes_nothing() -> None:
    world = World(["a", "1"], "b1", "b2")
    conversation = world.conversation()
    stream = world.responses.stream({"input": "q1", "conversation": conversation})
    first = next(stream)["response"]
    world.clock.advance(61)
    world.responses.create({"input": "r1", "conversation": conversation})
    events = list(stream)
    assert kinds(events)[-1] == "failed"
    assert world.responses.get(first["id"])["status"] == "failed"
    world.responses.create({"input": "r2", "conversation": conversation})
    assert [message["content"] for message in world.sent()] == ["r1", "b1", "r2"]


def test_what_is_not_stored_is_still_part_of_its_conversation() -> None:
    world = World("a1", "a2")
    conversation = world.conversation()
    first = world.responses.create({"input": "q1", "conversation": conversation, "store": False})
    with pytest.raises(NotFound):
        world.responses.get(first["id"])
    world.responses.create({"input": "q2", "conversation": conversation})
    assert [message["content"] for message in world.sent()] == ["q1", "a1", "q2"]


def test_a_branch_can_leave_a_conversation() -> None:
    world = World("a1", "a2", "b2", "b3")
    conversation = world.conversation()
    first = world.responses.create({"input": "q1", "conversation": conversation})
    world.responses.create({"input": "q2", "conversation": conversation})
    branch = world.responses.create({"input": "r2", "previous_response_id": first["id"]})
    world.responses.create({"input": "r3", "previous_response_id": branch["id"]})
    assert [message["content"] for message in world.sent()] == ["q1", "a1", "r2", "b2", "r3"]
    assert len(world.responses.conversations.items(conversation)) == 4


def test_items_can_be_put_into_a_conversation_and_all_of_it_forgotten() -> None:
    world = World("a1")
    conversation = world.conversation()
    added = world.responses.conversations.add_items(
        conversation, [{"role": "user", "content": "My name is Bob."}]
    )
    (item,) = added["data"]
    assert item["id"].startswith("msg_")
    assert (added["first_id"], added["has_more"]) == (item["id"], False)
    response = world.responses.create({"input": "Who am I?", "conversation": conversation})
    assert [message["content"] for message in world.sent()] == ["My name is Bob.", "Who am I?"]
    world.store.forget_conversation(conversation, "local")
    assert world.responses.conversations.items(conversation) == []
    with pytest.raises(NotFound):
        world.responses.get(response["id"])


def test_a_single_item_can_be_forgotten() -> None:
    world = World("a1", "a2")
    conversation = world.conversation()
    response = world.responses.create({"input": "q1", "conversation": conversation})
    answer = response["output"][0]["id"]
    world.responses.conversations.delete_item(conversation, answer)
    with pytest.raises(NotFound):
        world.responses.conversations.delete_item(conversation, answer)
    world.responses.create({"input": "q2", "conversation": conversation})
    assert [message["content"] for message in world.sent()] == ["q1", "q2"]


@pytest.mark.parametrize("items", [None, [], ["x"], [{"role": "user", "content": "x"}] * 21])
def test_items_that_cannot_be_added_are_refused(items: Any) -> None:
    world = World()
    with pytest.raises(InvalidRequest):
        world.responses.conversations.add_items(world.conversation(), items)


def test_image_jobs_become_items() -> None:
    made = {
        "kind": "chat_text2image",
        "tenant": "t",
        "conversation_id": "conv_1",
        "created_at": FakeClock().now(),
        "expires_at": FakeClock().now(),
        "message": "a beach",
    }
    jobs = [
        Job.model_validate(
            {**made, "id": "job_a", "turn": 1, "status": "succeeded", "prompt": "p"}
        ),
        Job.model_validate({**made, "id": "job_b", "turn": 2, "status": "running"}),
        Job.model_validate({**made, "id": "job_c", "turn": 3, "status": "failed"}),
        Job.model_validate(
            {**made, "id": "job_d", "turn": 4, "status": "succeeded", "reply": "Hi"}
        ),
    ]
    turns = [image_turn(job) for job in jobs]
    for items in turns:
        for item in items:
            TypeAdapter(ConversationItem).validate_python(item)
    assert turns[0][1]["revised_prompt"] == "p"
    assert [items[1].get("status") for items in turns] == [
        "completed",
        "generating",
        "failed",
        "completed",
    ]
    spoken = chat_messages([item for items in turns for item in items])
    assert [message["content"] for message in spoken] == [
        "a beach",
        "[I drew a picture: p]",
        "a beach",
        "[I am drawing a picture.]",
        "a beach",
        "[The picture was not drawn.]",
        "a beach",
        "Hi",
    ]
    assert image_turn(jobs[0].model_copy(update={"deleted": True})) == []
