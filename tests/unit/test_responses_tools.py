"""Tools that the client runs, references to items, and history that strict upstreams accept."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from robotchat.drivers.fake import FakeStream
from robotchat.errors import InvalidRequest, NotFound, UpstreamUnavailable
from robotchat.gpt.driver import Body
from tests.cases.responses import CALL, WEATHER, World, checked, kinds, text

TOOLS: dict[str, Body] = {
    "custom": {"type": "custom", "name": "patch", "description": "Patches."},
    "namespace": {
        "type": "namespace",
        "name": "crm",
        "description": "Customers.",
        "tools": [
            {"type": "function", "name": "find", "parameters": {"type": "object"}},
            {"type": "custom", "name": "note"},
        ],
    },
    "local_shell": {"type": "local_shell"},
    "shell": {"type": "shell", "environment": {"type": "local"}},
    "apply_patch": {"type": "apply_patch"},
}


def calling(name: str, arguments: Any, call_id: str = "call_1") -> list[Any]:
    """The chunks of an answer that calls a function."""
    told = arguments if isinstance(arguments, str) else json.dumps(arguments)
    function = {"name": name, "arguments": ""}
    pieces = [
        {"index": 0, "id": call_id, "type": "function", "function": function},
        *({"index": 0, "function": {"arguments": part}} for part in (told[:3], told[3:])),
    ]
    chunks: list[Any] = [{"choices": [{"index": 0, "delta": {"tool_calls": [p]}}]} for p in pieces]
    return [*chunks, {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}]


@pytest.mark.parametrize(
    ("tool", "function", "arguments", "item", "output", "told"),
    [
        (
            "custom",
            "patch",
            {"input": "*** Begin"},
            {"type": "custom_tool_call", "name": "patch", "input": "*** Begin"},
            {"type": "custom_tool_call_output", "output": "done"},
            "done",
        ),
        (
            "custom",
            "patch",
            "not wrapped",
            {"type": "custom_tool_call", "name": "patch", "input": "not wrapped"},
            {"type": "custom_tool_call_output", "output": [{"type": "input_text", "text": "x"}]},
            "x",
        ),
        (
            "namespace",
            "crm__find",
            {"id": 1},
            {"type": "function_call", "name": "find", "namespace": "crm", "arguments": '{"id": 1}'},
            {"type": "function_call_output", "output": "Bob"},
            "Bob",
        ),
        (
            "namespace",
            "crm__note",
            {"input": "hi"},
            {"type": "custom_tool_call", "name": "note", "namespace": "crm", "input": "hi"},
            {"type": "custom_tool_call_output", "output": "ok"},
            "ok",
        ),
        (
            "local_shell",
            "local_shell",
            {"command": ["ls", "-l"], "timeout_ms": 5},
            {
                "type": "local_shell_call",
                "action": {"type": "exec", "command": ["ls", "-l"], "env": {}, "timeout_ms": 5},
            },
            {"type": "local_shell_call_output", "output": "a.txt"},
            "a.txt",
        ),
        (
            "shell",
            "shell",
            {"commands": ["ls"]},
            {
                "type": "shell_call",
                "action": {"commands": ["ls"], "timeout_ms": None, "max_output_length": None},
            },
            {"type": "shell_call_output", "output": [{"stdout": "a"}], "max_output_length": 9},
            '[{"stdout":"a"}]',
        ),
        (
            "apply_patch",
            "apply_patch",
            {"operation": {"type": "create_file", "path": "a", "diff": "+x"}},
            {
                "type": "apply_patch_call",
                "operation": {"type": "create_file", "path": "a", "diff": "+x"},
            },
            {"type": "apply_patch_call_output", "status": "failed", "output": "exists"},
            "failed: exists",
        ),
    ],
)
def test_a_tool_that_the_client_runs_is_a_function_upstream_and_itself_for_the_client(
    tool: str, function: str, arguments: Any, item: Body, output: Body, told: str
) -> None:
    world = World(calling(function, arguments), "Good.")
    events = checked(world.responses.stream({"input": "go", "tools": [TOOLS[tool]]}))
    response = events[-1]["response"]
    (made,) = response["output"]
    assert {name: made[name] for name in item} == item
    assert made["status"] == "completed"
    assert kinds(events)[-2] == "output_item.done"
    assert function in [tool["function"]["name"] for tool in world.chat.requests[0]["tools"]]

    answer = {**output, "call_id": made["call_id"]}
    for sent in (
        {"input": [answer], "previous_response_id": response["id"]},
        {"input": [{"role": "user", "content": "go"}, made, answer]},
        {
            "input": [
                {"role": "user", "content": "go"},
                {"type": "item_reference", "id": made["id"]},
                answer,
            ]
        },
    ):
        world.responses.create({**sent, "tools": [TOOLS[tool]]})
        _, called, result = world.sent()
        assert called["tool_calls"][0]["function"]["name"] == function
        assert called["tool_calls"][0]["id"] == result["tool_call_id"] == made["call_id"]
        assert result == {"role": "tool", "tool_call_id": "call_1", "content": told}


@pytest.mark.parametrize(
    "arguments", ["", "{", "[]", '{"operation": 7, "commands": 7, "command": {}}']
)
@pytest.mark.parametrize("tool", ["custom", "local_shell", "shell", "apply_patch"])
def test_a_call_that_does_not_fit_its_tool_is_given_as_far_as_it_goes(
    tool: str, arguments: str
) -> None:
    name = TOOLS[tool].get("name", tool)
    world = World(calling(name, arguments))
    events = checked(world.responses.stream({"input": "go", "tools": [TOOLS[tool]]}))
    assert events[-1]["response"]["status"] == "completed"
    assert len(events[-1]["response"]["output"]) == 1


def test_tools_are_chosen_by_their_own_types() -> None:
    world = World("a", "b")
    tools = [TOOLS["apply_patch"], TOOLS["namespace"]]
    world.responses.create({"input": "x", "tools": tools, "tool_choice": {"type": "apply_patch"}})
    chosen = {"type": "function", "function": {"name": "apply_patch"}}
    assert world.chat.requests[0]["tool_choice"] == chosen
    allowed = {"type": "allowed_tools", "tools": [{"type": "custom", "name": "patch"}]}
    world.responses.create({"input": "x", "tools": [TOOLS["custom"]], "tool_choice": allowed})
    told = world.chat.requests[1]["tool_choice"]["allowed_tools"]["tools"]
    assert told == [{"type": "function", "function": {"name": "patch"}}]


@pytest.mark.parametrize(
    ("tool", "word"),
    [
        ({"type": "web_search"}, "web search"),
        ({"type": "file_search", "vector_store_ids": ["v"]}, "file search"),
        ({"type": "code_interpreter"}, "code interpreter"),
        ({"type": "mcp", "server_label": "x"}, "MCP"),
        ({"type": "shell", "environment": {"type": "container_auto"}}, "container"),
        ({"type": "quantum"}, "quantum"),
    ],
)
def test_a_tool_of_openais_servers_is_refused_by_its_name(tool: Body, word: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        World().responses.create({"input": "x", "tools": [WEATHER, tool]})
    assert (caught.value.param or "").startswith("tools[1]")
    assert word in caught.value.message


def test_a_search_that_may_not_search_the_web_is_left_out() -> None:
    world = World("a")
    search = {"type": "web_search", "external_web_access": False}
    world.responses.create({"input": "x", "tools": [search], "parallel_tool_calls": True})
    assert {"tools", "parallel_tool_calls"}.isdisjoint(world.chat.requests[0])


def test_two_tools_of_one_name_are_refused_and_long_names_kept_apart() -> None:
    with pytest.raises(InvalidRequest):
        World().responses.create({"input": "x", "tools": [WEATHER, WEATHER]})
    world = World("a")
    inner = [{"type": "function", "name": "f" * 60 + end} for end in ("a", "b")]
    space = {"type": "namespace", "name": "space", "description": "", "tools": inner}
    world.responses.create({"input": "x", "tools": [space]})
    names = [tool["function"]["name"] for tool in world.chat.requests[0]["tools"]]
    assert len(set(names)) == 2
    assert all(len(name) <= 64 for name in names)


# --- references -----------------------------------------------------------------------------------


def test_items_can_be_referred_to_by_their_ids_and_by_those_that_their_sender_chose() -> None:
    world = World("apples", "b", "c", "d")
    question = {"role": "user", "content": "what grows?", "id": "msg-of-mine.1"}
    first = world.responses.create({"input": [question, {"role": "user", "content": "tell"}]})
    own, ours = world.responses.input_items(first["id"], order="asc")["data"]
    assert own["id"] == "msg-of-mine.1"
    answer = first["output"][0]["id"]
    references = [{"type": "item_reference", "id": id} for id in (own["id"], ours["id"], answer)]
    more = {"role": "user", "content": "and?"}
    second = world.responses.create({"input": [*references, more]})
    assert [m["content"] for m in world.sent()] == ["what grows?", "tell", "apples", "and?"]
    # The type may be left out, and what is stored are the items themselves.
    stored = world.responses.input_items(second["id"], order="asc")["data"]
    assert [item["type"] for item in stored] == ["message"] * 4
    world.responses.create({"input": [{"id": answer}, more]})
    assert [m["content"] for m in world.sent()] == ["apples", "and?"]


def test_a_reference_to_what_is_continued_says_nothing_twice() -> None:
    world = World("apples", "b")
    first = world.responses.create({"input": "what grows?"})
    reference = {"type": "item_reference", "id": first["output"][0]["id"]}
    body = {"input": [reference, {"role": "user", "content": "and?"}]}
    world.responses.create({**body, "previous_response_id": first["id"]})
    assert [m["content"] for m in world.sent()] == ["what grows?", "apples", "and?"]
    with pytest.raises(InvalidRequest):
        world.responses.create({"input": [reference], "previous_response_id": first["id"]})


def test_a_reference_to_what_is_unknown_foreign_or_forgotten_is_not_found() -> None:
    world = World("a", "b", "c")
    mine = world.responses.create(
        {"input": [{"role": "user", "content": "x", "id": "own"}]}, "mine"
    )
    unstored = world.responses.create({"input": "x", "store": False}, "mine")
    gone = world.responses.create({"input": "x"}, "mine")
    world.responses.delete(gone["id"], "mine")
    for tenant, item_id in (
        ("theirs", mine["output"][0]["id"]),
        ("theirs", "own"),
        ("mine", unstored["output"][0]["id"]),
        ("mine", gone["output"][0]["id"]),
        ("mine", "msg_nothing"),
    ):
        reference = {"type": "item_reference", "id": item_id}
        with pytest.raises(NotFound) as caught:
            world.responses.create({"input": [{"role": "user", "content": "x"}, reference]}, tenant)
        assert caught.value.param == "input[1].id"


def test_a_reference_works_in_a_conversation_and_in_the_background() -> None:
    world = World("apples", "b", "c")
    first = world.responses.create({"input": "what grows?"})
    reference = {"type": "item_reference", "id": first["output"][0]["id"]}
    body = {"input": [reference, {"role": "user", "content": "and?"}]}
    world.responses.create({**body, "conversation": world.conversation()})
    assert [m["content"] for m in world.sent()] == ["apples", "and?"]
    world.responses.create({**body, "background": True})
    world.responses.background.run(world.queue[0])
    assert [m["content"] for m in world.sent()] == ["apples", "and?"]


def test_no_two_items_of_a_request_have_the_same_id() -> None:
    world = World("a")
    twice = [{"role": "user", "content": "x", "id": "same"}] * 2
    made = world.responses.create({"input": twice})
    ids = [item["id"] for item in world.responses.input_items(made["id"])["data"]]
    assert len(set(ids)) == 2
    assert "same" in ids


def test_tokens_are_counted_with_what_is_continued() -> None:
    world = World("apples", {"object": "response.input_tokens", "input_tokens": 7})
    first = world.responses.create({"input": "what grows?"})
    body = {"input": "and?", "previous_response_id": first["id"], "instructions": "Be short."}
    assert world.responses.count_input_tokens(body)["input_tokens"] == 7
    asked = world.chat.requests[-1]
    assert [item["content"][0]["text"] for item in asked["input"]] == [
        "what grows?",
        "apples",
        "and?",
    ]
    assert (asked["model"], asked["instructions"]) == ("default-model", "Be short.")
    with pytest.raises(NotFound):
        world.responses.count_input_tokens(body, "theirs")


# --- history --------------------------------------------------------------------------------------


def test_all_that_the_system_says_leads_in_one_message() -> None:
    world = World("a", "b")
    first = world.responses.create(
        {
            "instructions": "One.",
            "input": [
                {"role": "user", "content": "x"},
                {
                    "role": "developer",
                    "content": [{"type": "input_text", "text": word} for word in ("Two.", "2.")],
                },
                {"role": "system", "content": "Three."},
            ],
        }
    )
    assert world.sent() == [
        {"role": "system", "content": "One.\n\nTwo.\n\n2.\n\nThree."},
        {"role": "user", "content": "x"},
    ]
    world.responses.create({"input": "y", "previous_response_id": first["id"]})
    assert [message["role"] for message in world.sent()] == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize("words", ["\n", "", "Let me see."])
def test_nothing_stands_between_a_call_and_its_result(words: str) -> None:
    world = World("a")
    spoken = {"role": "assistant", "content": words}
    called = {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "c", "output": "42"}
    user = {"role": "user", "content": "x"}
    world.responses.create({"input": [user, called, spoken, user, result]})
    assert [message["role"] for message in world.sent()] == ["user", "assistant", "tool", "user"]
    assert world.sent()[1]["content"] == (words if words.strip() else None)


def test_an_assistant_that_said_nothing_is_left_out() -> None:
    world = World("a")
    silent = {"role": "assistant", "content": " "}
    world.responses.create(
        {"input": [{"role": "user", "content": "x"}, silent, {"role": "user", "content": "y"}]}
    )
    assert [message["content"] for message in world.sent()] == ["x", "y"]


def test_reasoning_goes_back_while_its_calls_are_answered_and_no_longer() -> None:
    thinking = {"choices": [{"index": 0, "delta": {"reasoning_content": "I look it up."}}]}
    world = World([thinking, *calling("weather", {})], "a", "b")
    *_, done = world.responses.stream({"input": "q", "tools": [WEATHER]})
    result = {"type": "function_call_output", "call_id": "call_1", "output": "42"}
    second = world.responses.create(
        {"input": [result], "previous_response_id": done["response"]["id"]}
    )
    assert world.sent()[1]["reasoning_content"] == "I look it up."
    world.responses.create({"input": "thanks", "previous_response_id": second["id"]})
    assert all("reasoning_content" not in message for message in world.sent())


def test_defaults_that_clients_send_along_do_not_reach_the_upstream() -> None:
    world = World("a")
    defaults = {"parallel_tool_calls": True, "top_logprobs": 0, "client_metadata": {"a": "b"}}
    world.responses.create({"input": "x", **defaults})
    assert {*defaults, "logprobs"}.isdisjoint(world.chat.requests[0])


# --- how it ends ----------------------------------------------------------------------------------


def bug(stream: FakeStream) -> None:
    raise ZeroDivisionError


def test_a_bug_of_ours_ends_a_stream_and_the_background_as_a_failure_does() -> None:
    world = World(["One ", bug], ["One ", bug])
    events = checked(world.responses.stream({"input": "x"}))
    assert events[-1]["type"] == "response.failed"
    assert "ZeroDivision" not in json.dumps(events)
    assert world.responses.get(events[-1]["response"]["id"])["status"] == "failed"
    queued = world.responses.create({"input": "x", "background": True})
    world.responses.background.run(queued["id"])
    world.responses.background.run(queued["id"])
    assert world.responses.get(queued["id"])["status"] == "failed"
    assert len(world.chat.requests) == 2


def test_the_end_of_a_response_in_the_background_is_stored_although_the_store_was_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World("Hello.")
    queued = world.responses.create({"input": "x", "background": True})
    commit, failures = world.records.commit, [OSError("away"), OSError("away")]

    def away(*operations: Any) -> None:
        if failures and any("response.completed" in str(one) for one in operations):
            raise failures.pop()
        commit(*operations)

    monkeypatch.setattr(world.records, "commit", away)
    world.responses.background.run(queued["id"])
    assert failures == []
    assert text(world.responses.get(queued["id"])) == "Hello."
    assert len(world.chat.requests) == 1


def test_events_that_are_too_large_for_a_record_are_kept_as_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World("x" * 300_000)
    commit = world.records.commit

    def small(*operations: Any) -> None:
        assert all(len(str(one)) < 250_000 for one in operations)
        commit(*operations)

    monkeypatch.setattr(world.records, "commit", small)
    queued = world.responses.create({"input": "x", "background": True})
    world.responses.background.run(queued["id"])
    events = checked(world.responses.background.events(queued["id"]))
    assert len(text(events[-1]["response"])) == 300_000


def test_a_stream_whose_upstream_fails_late_has_begun_and_fails_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("robotchat.gpt.responses.engine.FIRST_EVENT_PATIENCE", 0.0)
    world = World(UpstreamUnavailable("away"), CALL)
    let_go = threading.Event()
    ask = world.chat.stream_chat_completion

    def late(*given: Any, **named: Any) -> Any:
        let_go.wait(10)
        return ask(*given, **named)

    monkeypatch.setattr(world.chat, "stream_chat_completion", late)
    conversation = world.conversation()
    stream = world.responses.stream({"input": "x", "conversation": conversation})
    assert kinds([next(stream), next(stream)]) == ["created", "in_progress"]
    let_go.set()
    (last,) = stream
    assert last["type"] == "response.failed"
    assert world.responses.get(last["response"]["id"])["status"] == "failed"


def test_a_client_that_leaves_before_the_first_word_frees_the_conversation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("robotchat.gpt.responses.engine.FIRST_EVENT_PATIENCE", 0.0)
    stalled: list[FakeStream] = []

    def stall(stream: FakeStream) -> None:
        stalled.append(stream)
        stream.hang()

    world = World([stall, "late"], "two")
    conversation = world.conversation()
    stream = world.responses.stream({"input": "one", "conversation": conversation})
    next(stream)
    stream.close()
    world.responses.create({"input": "two", "conversation": conversation})
    assert [message["content"] for message in world.sent()] == ["two"]
