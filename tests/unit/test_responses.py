"""The Responses API over chat completions, with a scripted language model."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from openai.types.responses import Response

from robotchat.errors import (
    Conflict,
    ConversationBusy,
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
    UpstreamRateLimited,
    UpstreamUnavailable,
)
from robotchat.gpt.driver import Body
from robotchat.ids import id_for_key
from robotchat.jobs.states import StillRunning
from tests.cases.responses import CALL, WEATHER, World, text


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
    look: list[Callable[[], object]] = [
        lambda: world.responses.get(response["id"], "theirs"),
        lambda: world.responses.delete(response["id"], "theirs"),
        lambda: world.responses.background.cancel(response["id"], "theirs"),
        lambda: world.responses.input_items(response["id"], "theirs"),
        lambda: world.responses.background.events(response["id"], "theirs"),
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
            "input[0].content[0].file_id",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
            "input[0].content[0].file_id",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
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
    assert len(world.responses.conversations.items(conversation)) == 2


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
    made = world.store.keys.reserve

    def alive(response_id: str, fingerprint: str) -> str | None:
        raise StillRunning(60)

    world.store.keys.reserve = alive  # type: ignore[method-assign]
    with pytest.raises(Conflict):
        world.responses.create(body, idempotency_key="k")
    world.store.keys.reserve = made  # type: ignore[method-assign]
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
        world.responses.background.run(response_id)
    assert len(world.chat.requests) == 1
    stream = {**body, "stream": True}
    with pytest.raises(IdempotencyKeyReused):
        world.responses.stream(stream, idempotency_key="k")
    events = world.responses.stream(stream, idempotency_key="s")
    world.responses.background.run(world.queue[-1])
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
