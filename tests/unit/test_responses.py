"""The Responses API over chat completions, with a scripted language model."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from openai.types.conversations import ConversationItem
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from robotchat.conversation import Conversations
from robotchat.drivers.fake import FakeChat, FakeStream
from robotchat.errors import (
    Conflict,
    ContextLengthExceeded,
    ConversationBusy,
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamUnavailable,
)
from robotchat.gpt.driver import Body
from robotchat.gpt.responses.engine import Options, Responses
from robotchat.gpt.responses.items import chat_messages, picture_turn
from robotchat.gpt.responses.store import ResponseStore
from robotchat.ids import id_for_key
from robotchat.images import MemoryImages
from robotchat.jobs.job import Job
from robotchat.jobs.states import StillRunning
from robotchat.jobs.store import Jobs
from robotchat.records import MemoryRecords
from tests.cases.clock import FakeClock

EVENT = TypeAdapter(ResponseStreamEvent)


class World:
    """An engine with everything around it."""

    def __init__(self, *scripts: Any, **options: Any) -> None:
        self.clock = FakeClock()
        self.chat = FakeChat(scripts)
        self.records = MemoryRecords()
        self.files = MemoryImages()
        self.conversations = Conversations(self.records, Jobs(self.records, self.clock), self.clock)
        self.store = ResponseStore(self.records, self.conversations, self.files, clock=self.clock)
        self.queue: list[str] = []
        self.responses = Responses(
            options.pop("driver", self.chat),
            model="default-model",
            store=self.store,
            enqueue=options.pop(
                "enqueue", lambda response_id, tenant: self.queue.append(response_id)
            ),
            clock=self.clock,
            options=Options(**options),
        )

    def conversation(self, tenant: str = "local") -> str:
        return self.conversations.create(tenant).id

    def sent(self, index: int = -1) -> list[Body]:
        return self.chat.requests[index]["messages"]


def text(response: Body) -> str:
    return "".join(p["text"] for i in response["output"] for p in i.get("content", ()))


def checked(events: Iterable[Body]) -> list[Body]:
    """Events that the official SDK's types accept, in unbroken order."""
    found = []
    for event in events:
        EVENT.validate_python(event)
        found.append(event)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def kinds(events: Iterable[Body]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def deltas(events: Iterable[Body]) -> str:
    return "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")


# --- one response ---------------------------------------------------------------------------------


def test_a_text_becomes_a_response_of_the_official_shape() -> None:
    world = World("Hello there.")
    response = world.responses.create({"input": "Hi", "instructions": "Be kind."})
    Response.model_validate(response)
    assert response["id"].startswith("resp_")
    assert response["status"] == "completed"
    assert text(response) == "Hello there."
    assert response["output"][0]["id"].startswith("msg_")
    assert response["usage"]["input_tokens"] == 3
    assert world.sent() == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
    ]
    assert world.chat.requests[0]["model"] == "default-model"


def test_a_stored_response_is_read_back_as_it_was_given() -> None:
    world = World("Hello.")
    response = world.responses.create({"input": "Hi", "metadata": {"a": "b"}})
    assert world.responses.get(response["id"]) == response


def test_a_response_that_is_not_stored_cannot_be_read_or_continued() -> None:
    world = World("Hello.", "Hello.")
    response = world.responses.create({"input": "Hi", "store": False})
    events = list(world.responses.stream({"input": "Hi", "store": False}))
    for response_id in (response["id"], events[-1]["response"]["id"]):
        with pytest.raises(NotFound):
            world.responses.get(response_id)
        with pytest.raises(NotFound) as caught:
            world.responses.create({"input": "x", "previous_response_id": response_id})
        assert caught.value.param == "previous_response_id"


def test_another_tenants_response_does_not_exist() -> None:
    world = World("Hello.")
    response = world.responses.create({"input": "Hi"}, "mine")
    look = [
        lambda: world.responses.get(response["id"], "theirs"),
        lambda: world.responses.delete(response["id"], "theirs"),
        lambda: world.responses.cancel(response["id"], "theirs"),
        lambda: world.responses.input_items(response["id"], "theirs"),
        lambda: world.responses.events(response["id"], "theirs"),
        lambda: world.responses.create(
            {"input": "x", "previous_response_id": response["id"]}, "theirs"
        ),
    ]
    for attempt in look:
        with pytest.raises(NotFound):
            attempt()
    assert world.responses.get(response["id"], "mine") == response


def test_parameters_are_translated_and_unknown_ones_pass_through() -> None:
    world = World("{}")
    world.responses.create(
        {
            "input": "Hi",
            "model": "m",
            "temperature": 0.5,
            "top_p": 0.9,
            "max_output_tokens": 50,
            "reasoning": {"effort": "low"},
            "top_logprobs": 2,
            "min_p": 0.1,
            "user": "u1",
            "text": {"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": True}},
            "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
            "tool_choice": {"type": "function", "name": "f"},
            "parallel_tool_calls": False,
            "metadata": {"k": "v"},
        }
    )
    assert world.chat.requests[0] == {
        "messages": [{"role": "user", "content": "Hi"}],
        "model": "m",
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 50,
        "reasoning_effort": "low",
        "logprobs": True,
        "top_logprobs": 2,
        "min_p": 0.1,
        "user": "u1",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {}, "strict": True},
        },
        "tools": [
            {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
        ],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
    }


def test_the_prompt_cache_is_asked_for_only_when_configured() -> None:
    world = World("a", cache_prompt=True, max_tokens_field="max_completion_tokens")
    world.responses.create({"input": "Hi", "max_output_tokens": 5})
    assert world.chat.requests[0]["cache_prompt"] is True
    assert world.chat.requests[0]["max_completion_tokens"] == 5


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": 7}, "input"),
        ({"input": ["x"]}, "input[0]"),
        ({"input": [{"type": "computer_call"}]}, "input[0].type"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "x"}]}]}, "input[0].content[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0]"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "input[0].content[0]",
        ),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        ({"input": [{"role": "user", "content": 7}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": ["x"]}]}, "input[0].content[0]"),
        ({"input": "x", "tools": ["weather"]}, "tools[0]"),
        ({"input": "x", "temperature": "hot"}, "temperature"),
        ({"input": "x", "store": 1}, "store"),
        ({"input": "x", "max_output_tokens": True}, "max_output_tokens"),
        ({"input": "x", "max_output_tokens": 0}, "max_output_tokens"),
        ({"input": "x", "metadata": {"k": 1}}, "metadata"),
        ({"input": "x", "metadata": {str(i): "" for i in range(17)}}, "metadata"),
        ({"input": "x", "truncation": "some"}, "truncation"),
        ({"input": "x", "prompt": {"id": "p"}}, "prompt"),
        ({"input": "x", "background": True, "store": False}, "store"),
        ({"input": "x", "conversation": "c", "previous_response_id": "r"}, "previous_response_id"),
        ({"input": "x", "conversation": {}}, "conversation"),
        ({"input": "x", "tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"input": "x", "tools": [{"type": "function"}]}, "tools[0].name"),
        ({"input": "x", "tool_choice": {"type": "mcp"}}, "tool_choice"),
        ({"input": "x", "text": {"format": {"type": "grammar"}}}, "text.format.type"),
    ],
)
def test_a_wrong_field_is_named(body: Body, param: str) -> None:
    world = World()
    if "tool_choice" in body:
        body = {**body, "tools": [{"type": "function", "name": "f"}]}
    with pytest.raises(InvalidRequest) as caught:
        world.responses.create(body)
    assert caught.value.param == param
    assert world.chat.requests == []


def test_null_counts_as_not_given() -> None:
    world = World("ok")
    world.responses.create({"input": "x", "temperature": None, "previous_response_id": None})
    assert "temperature" not in world.chat.requests[0]


def test_items_of_all_supported_kinds_become_messages() -> None:
    world = World("ok")
    world.responses.create(
        {
            "input": [
                {"role": "developer", "content": "Rules."},
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "Look"},
                        {"type": "input_image", "image_url": "data:image/png;base64,AA"},
                        {"type": "input_file", "filename": "a.pdf", "file_data": "data:;base64,A"},
                    ],
                },
                {"type": "reasoning", "summary": []},
                {"role": "assistant", "content": "Calling."},
                {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
                {"type": "function_call", "call_id": "2", "name": "g", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "1", "output": "one"},
                {
                    "type": "function_call_output",
                    "call_id": "2",
                    "output": [{"type": "input_text", "text": "two"}],
                },
                {"type": "image_generation_call", "result": "x", "revised_prompt": "a beach"},
            ]
        }
    )
    assert world.sent() == [
        {"role": "system", "content": "Rules."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
                {"type": "file", "file": {"file_data": "data:;base64,A", "filename": "a.pdf"}},
            ],
        },
        {
            "role": "assistant",
            "content": "Calling.",
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": "2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "1", "content": "one"},
        {"role": "tool", "tool_call_id": "2", "content": "two"},
        {"role": "assistant", "content": "[I drew a picture: a beach]"},
    ]


CALL = {
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city":"Rome"}'},
                    }
                ],
            },
            "finish_reason": "tool_calls",
        }
    ]
}
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}}


def test_functions_are_called_and_answered() -> None:
    world = World(CALL, "Sunny in Rome.")
    first = world.responses.create({"input": "Weather?", "tools": [WEATHER]})
    Response.model_validate(first)
    (call,) = first["output"]
    assert (call["type"], call["name"], call["call_id"]) == ("function_call", "weather", "call_1")
    second = world.responses.create(
        {
            "previous_response_id": first["id"],
            "tools": [WEATHER],
            "input": [{"type": "function_call_output", "call_id": "call_1", "output": "sunny"}],
        }
    )
    assert text(second) == "Sunny in Rome."
    assert [message["role"] for message in world.sent()] == ["user", "assistant", "tool"]


def test_an_answer_that_was_too_long_is_incomplete() -> None:
    choice = {"index": 0, "message": {"content": "Once upon"}, "finish_reason": "length"}
    world = World({"choices": [choice]})
    response = world.responses.create({"input": "Tell"})
    Response.model_validate(response)
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["output"][0]["status"] == "incomplete"


def test_usage_is_the_upstreams() -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 8},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    choice = {"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}
    world = World({"choices": [choice], "usage": usage}, {"choices": [choice]})
    assert world.responses.create({"input": "x"})["usage"] == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 15,
    }
    assert world.responses.create({"input": "x"})["usage"] is None


def test_an_upstream_error_is_raised_and_nothing_stored() -> None:
    world = World(UpstreamRateLimited("Slow down.", retry_after=7))
    with pytest.raises(UpstreamRateLimited):
        world.responses.create({"input": "x"})


# --- streaming ------------------------------------------------------------------------------------


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


# --- chains ---------------------------------------------------------------------------------------


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
    picture = "data:image/png;base64," + "A" * 600_000
    image = {"type": "input_image", "image_url": picture}
    first = world.responses.create({"input": [{"role": "user", "content": [image]}]})
    assert max(len(str(r.data)) for r in world.records._records.values()) < 100_000
    world.responses.create({"input": "And?", "previous_response_id": first["id"]})
    assert world.sent()[0]["content"][0]["image_url"]["url"] == picture
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


# --- the token budget -----------------------------------------------------------------------------


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


# --- conversations --------------------------------------------------------------------------------


def test_a_conversation_remembers_what_was_said_in_it() -> None:
    world = World("a1", ["a", "2"], "a3")
    conversation = world.conversation()
    first = world.responses.create({"input": "q1", "conversation": conversation})
    Response.model_validate(first)
    assert first["conversation"] == {"id": conversation}
    checked(world.responses.stream({"input": "q2", "conversation": {"id": conversation}}))
    world.responses.create({"input": "q3", "conversation": conversation})
    assert [message["content"] for message in world.sent()] == ["q1", "a1", "q2", "a2", "q3"]
    items = world.responses.conversation_items(conversation)
    assert [item["role"] for item in items] == ["user", "assistant"] * 3
    assert world.conversations.get(conversation, "local").title == "q1"


def test_an_unknown_or_foreign_conversation_does_not_exist() -> None:
    world = World()
    for conversation in ("conv_nope", world.conversation("theirs")):
        with pytest.raises(NotFound):
            world.responses.create({"input": "x", "conversation": conversation})
        with pytest.raises(NotFound):
            world.responses.conversation_items(conversation)


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
    assert len(world.responses.conversation_items(conversation)) == 2


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
    assert len(world.responses.conversation_items(conversation)) == 4


def test_items_can_be_put_into_a_conversation_and_all_of_it_forgotten() -> None:
    world = World("a1")
    conversation = world.conversation()
    added = world.responses.add_items(
        conversation, [{"role": "user", "content": "My name is Bob."}]
    )
    (item,) = added["data"]
    assert item["id"].startswith("msg_")
    assert (added["first_id"], added["has_more"]) == (item["id"], False)
    response = world.responses.create({"input": "Who am I?", "conversation": conversation})
    assert [message["content"] for message in world.sent()] == ["My name is Bob.", "Who am I?"]
    world.store.forget_conversation(conversation, "local")
    assert world.responses.conversation_items(conversation) == []
    with pytest.raises(NotFound):
        world.responses.get(response["id"])


def test_a_single_item_can_be_forgotten() -> None:
    world = World("a1", "a2")
    conversation = world.conversation()
    response = world.responses.create({"input": "q1", "conversation": conversation})
    answer = response["output"][0]["id"]
    world.responses.delete_item(conversation, answer)
    with pytest.raises(NotFound):
        world.responses.delete_item(conversation, answer)
    world.responses.create({"input": "q2", "conversation": conversation})
    assert [message["content"] for message in world.sent()] == ["q1", "q2"]


@pytest.mark.parametrize("items", [None, [], ["x"], [{"role": "user", "content": "x"}] * 21])
def test_items_that_cannot_be_added_are_refused(items: Any) -> None:
    world = World()
    with pytest.raises(InvalidRequest):
        world.responses.add_items(world.conversation(), items)


def test_picture_jobs_become_items() -> None:
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
    turns = [picture_turn(job) for job in jobs]
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
    spoken = chat_messages(item for items in turns for item in items)
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
    assert picture_turn(jobs[0].model_copy(update={"deleted": True})) == []


# --- idempotency keys -----------------------------------------------------------------------------


def test_the_same_key_and_body_give_the_same_response() -> None:
    world = World("a1", "a2")
    body = {"input": "q", "metadata": {"a": "b"}}
    first = world.responses.create(body, idempotency_key="k")
    assert world.responses.create(body, idempotency_key="k") == first
    assert len(world.chat.requests) == 1
    assert world.responses.create(body, idempotency_key="other")["id"] != first["id"]
    assert world.responses.create(body, "theirs", idempotency_key="k")["id"] != first["id"]


def test_a_key_is_for_one_request() -> None:
    world = World("a1")
    first = world.responses.create({"input": "q"}, idempotency_key="k")
    with pytest.raises(IdempotencyKeyReused):
        world.responses.create({"input": "another"}, idempotency_key="k")
    world.responses.delete(first["id"])
    with pytest.raises(IdempotencyKeyReused):
        world.responses.create({"input": "q"}, idempotency_key="k")


def test_a_request_that_failed_does_not_use_its_key_up() -> None:
    world = World(UpstreamUnavailable("Away."), "a1")
    conversation = world.conversation()
    body = {"input": "q", "conversation": conversation}
    with pytest.raises(UpstreamUnavailable):
        world.responses.create(body, idempotency_key="k")
    made = world.responses.create(body, idempotency_key="k")
    assert world.responses.get(made["id"]) == made
    assert len(world.responses.conversation_items(conversation)) == 2


def test_while_a_request_is_answered_another_with_its_key_waits_for_the_answer() -> None:
    world = World("a1")
    reached, go_on = threading.Event(), threading.Event()
    whole = world.chat.chat_completion

    def slow(body: Any, *, timeout: float | None = None) -> Body:
        reached.set()
        assert go_on.wait(10)
        return whole(body)

    world.chat.chat_completion = slow  # type: ignore[method-assign]
    made: list[Body] = []
    body = {"input": "q", "conversation": world.conversation()}

    def ask() -> None:
        made.append(world.responses.create(body, idempotency_key="k"))

    first = threading.Thread(target=ask)
    first.start()
    assert reached.wait(10)
    with pytest.raises(IdempotencyKeyReused):
        world.responses.create({"input": "another"}, idempotency_key="k")
    nap = world.clock.sleep

    def sleep(seconds: float) -> None:
        nap(seconds)
        go_on.set()
        first.join(10)

    world.clock.sleep = sleep  # type: ignore[method-assign]
    ask()
    assert made[0] == made[1]
    assert len(world.chat.requests) == 1


def test_a_request_that_does_not_end_holds_its_key_and_one_that_died_does_not() -> None:
    world = World("a1")
    body = {"input": "q"}
    answer = world.responses.create(body, idempotency_key="k")
    world.store.remove(world.store.get(answer["id"], "local"))  # as if it had not been stored yet
    made = world.store.reserve

    def alive(response_id: str, said: str) -> str | None:
        raise StillRunning(60)

    world.store.reserve = alive  # type: ignore[method-assign]
    with pytest.raises(Conflict):
        world.responses.create(body, idempotency_key="k")
    world.store.reserve = made  # type: ignore[method-assign]
    world.clock.advance(61)
    assert world.responses.create(body, idempotency_key="k")["id"] == answer["id"]


def test_a_dead_requests_claim_on_its_conversation_does_not_stop_its_repetition() -> None:
    world = World("a1")
    conversation = world.conversation()
    response_id = id_for_key("resp", "local", "k")
    world.store.claim(conversation, "local", response_id, title="")
    body = {"input": "q", "conversation": conversation}
    with pytest.raises(ConversationBusy):
        world.responses.create(body)
    assert world.responses.create(body, idempotency_key="k")["id"] == response_id


def test_a_response_in_the_background_is_queued_once_for_a_key() -> None:
    world = World("a1")
    body = {"input": "q", "background": True}
    queued = world.responses.create(body, idempotency_key="k")
    assert world.responses.create(body, idempotency_key="k") == queued
    assert world.queue == [queued["id"]] * 2, "sent again, in case it was never sent"
    for response_id in world.queue:
        world.responses.run(response_id)
    assert len(world.chat.requests) == 1
    stream = {**body, "stream": True}
    with pytest.raises(IdempotencyKeyReused):
        world.responses.stream(stream, idempotency_key="k")
    events = world.responses.stream(stream, idempotency_key="s")
    world.responses.run(world.queue[-1])
    assert list(events)[-1]["response"]["id"] == id_for_key("resp", "local", "s")


def test_what_cannot_be_queued_does_not_use_its_key_up() -> None:
    world = World("a1", enqueue=lambda response_id, tenant: sent.pop())
    sent: list[int] = []
    body = {"input": "q", "background": True}
    with pytest.raises(IndexError):
        world.responses.create(body, idempotency_key="k")
    sent.append(1)
    assert world.responses.create(body, idempotency_key="k")["status"] == "queued"


@pytest.mark.parametrize(
    ("body", "key"),
    [({"store": False}, "k"), ({"stream": True}, "k"), ({}, "not visible: \n"), ({}, "k" * 256)],
)
def test_a_key_that_cannot_be_honoured_is_refused(body: Body, key: str) -> None:
    world = World()
    make = world.responses.stream if body.get("stream") else world.responses.create
    with pytest.raises(InvalidRequest) as caught:
        make({"input": "q", **body}, idempotency_key=key)
    assert caught.value.param == "Idempotency-Key"
    assert world.chat.requests == []


# --- in the background ----------------------------------------------------------------------------


def test_a_response_in_the_background_is_queued_then_made_by_a_worker() -> None:
    world = World("Hello.")
    queued = world.responses.create({"input": "Hi", "background": True})
    Response.model_validate(queued)
    assert queued["status"] == "queued"
    assert world.chat.requests == []
    assert world.responses.get(queued["id"]) == queued
    (response_id,) = world.queue
    world.responses.run(response_id)
    done = world.responses.get(queued["id"])
    assert done["status"] == "completed"
    assert done["background"] is True
    assert text(done) == "Hello."
    world.responses.run(response_id)
    assert len(world.chat.requests) == 1, "a second delivery does nothing"


def test_the_events_of_a_response_in_the_background_can_be_read_again_from_any_point() -> None:
    world = World(["One ", "two ", "three"])
    queued = world.responses.create({"input": "Count", "background": True})
    world.responses.run(queued["id"])
    events = checked(world.responses.events(queued["id"]))
    assert kinds(events)[0] == "created"
    assert kinds(events)[-1] == "completed"
    assert deltas(events) == "One two three"
    for after in (0, 4, 7):
        assert (
            list(world.responses.events(queued["id"], starting_after=after)) == events[after + 1 :]
        )


def test_a_background_stream_follows_its_worker() -> None:
    world = World("Hello.")
    worked = threading.Event()

    def enqueue(response_id: str, tenant: str) -> None:
        threading.Thread(target=lambda: (world.responses.run(response_id), worked.set())).start()

    world.responses._enqueue = enqueue
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
        world.responses.events(response["id"])
    with pytest.raises(InvalidRequest):
        world.responses.cancel(response["id"])


def test_a_queued_response_can_be_cancelled() -> None:
    world = World("Hello.", "again")
    conversation = world.conversation()
    queued = world.responses.create(
        {"input": "Hi", "background": True, "conversation": conversation}
    )
    cancelled = world.responses.cancel(queued["id"])
    assert cancelled["status"] == "cancelled"
    assert world.responses.cancel(queued["id"]) == cancelled
    world.responses.run(queued["id"])
    assert world.chat.requests == []
    (event,) = world.responses.events(queued["id"])
    EVENT.validate_python(event)
    assert event["response"]["status"] == "cancelled"
    world.responses.create({"input": "x", "conversation": conversation})


def test_cancelling_a_final_response_gives_it_back() -> None:
    world = World("Hello.")
    queued = world.responses.create({"input": "Hi", "background": True})
    world.responses.run(queued["id"])
    assert world.responses.cancel(queued["id"])["status"] == "completed"


def test_cancelling_stops_a_worker_that_waits_for_its_upstream() -> None:
    stalled = threading.Event()

    def stall(stream: FakeStream) -> None:
        stalled.set()
        stream.hang()

    world = World(["One ", stall, "two"])
    queued = world.responses.create({"input": "Count", "background": True})
    worker = threading.Thread(target=world.responses.run, args=(queued["id"],))
    worker.start()
    assert stalled.wait(10)
    assert world.responses.cancel(queued["id"])["status"] == "cancelled"
    worker.join(10)
    assert not worker.is_alive()
    assert world.chat.streams[0].closed
    assert world.responses.get(queued["id"])["status"] == "cancelled"


def test_a_second_worker_waits_for_the_first() -> None:
    world = World()
    queued = world.responses.create({"input": "Hi", "background": True})
    world.responses._take_up(queued["id"])
    with pytest.raises(StillRunning):
        world.responses.run(queued["id"])


def test_a_worker_that_died_before_the_first_word_is_replaced() -> None:
    world = World("Hello.")
    queued = world.responses.create({"input": "Hi", "background": True})
    world.responses._take_up(queued["id"])
    world.clock.advance(61)
    world.responses.run(queued["id"])
    assert world.responses.get(queued["id"])["status"] == "completed"


def test_a_worker_that_died_later_leaves_a_failed_response() -> None:
    world = World()
    queued = world.responses.create({"input": "Hi", "background": True})
    stored = world.responses._take_up(queued["id"])
    assert stored is not None
    started = {"type": "response.created", "sequence_number": 0, "response": stored.response}
    world.store.write_events(stored, 0, [started])
    world.clock.advance(61)
    world.responses.run(queued["id"])
    assert world.responses.get(queued["id"])["status"] == "failed"
    events = checked(world.responses.events(queued["id"]))
    assert kinds(events) == ["created", "failed"]


def test_a_worker_whose_upstream_fails_leaves_a_failed_response() -> None:
    world = World(UpstreamRateLimited("Slow down."))
    queued = world.responses.create({"input": "Hi", "background": True})
    world.responses.run(queued["id"])
    failed = world.responses.get(queued["id"])
    assert failed["error"]["code"] == "rate_limit_exceeded"
    assert kinds(checked(world.responses.events(queued["id"]))) == [
        "created",
        "in_progress",
        "failed",
    ]


def test_a_deleted_response_is_not_made() -> None:
    world = World()
    queued = world.responses.create({"input": "Hi", "background": True})
    world.responses.delete(queued["id"])
    world.responses.run(queued["id"])
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
    world.responses.run(queued["id"])
    world.responses.create({"input": "q2", "conversation": conversation})
    assert [message["content"] for message in world.sent()] == ["q1", "a1", "q2"]


# --- an upstream that keeps the state -------------------------------------------------------------


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
    responses = [r for r in world.records._records.values() if r.sk == "response"]
    alone, spoken = sorted(responses, key=lambda r: r.expires_at is None)
    assert alone.expires_at == (world.clock.now() + timedelta(days=30)).timestamp()
    assert spoken.expires_at is None
