"""The ChatBot: what a Python program sees of a language model."""

from __future__ import annotations

import pytest

from robotchat.drivers.fake import FakeChat
from robotchat.errors import UpstreamError, UpstreamGarbage, UpstreamUnavailable
from robotchat.gpt.bot import ChatBot


def test_it_completes_a_prompt() -> None:
    chat = FakeChat(["blue."])
    completion = ChatBot(chat, model="m").complete("The sky is", max_tokens=5)
    assert (completion.text, str(completion)) == ("blue.", "blue.")
    assert completion.finish_reason == "stop"
    assert completion.usage == {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    assert chat.requests == [{"prompt": "The sky is", "max_tokens": 5, "model": "m"}]


def test_it_answers_a_message_and_a_list_of_messages() -> None:
    chat = FakeChat(["Hello.", "Again."])
    bot = ChatBot(chat)
    assert str(bot.chat("Hi")) == "Hello."
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    assert bot.chat(messages, temperature=0).text == "Again."
    assert chat.requests == [
        {"messages": [{"role": "user", "content": "Hi"}]},
        {"messages": messages, "temperature": 0},
    ]


def test_a_model_that_is_named_wins_over_the_default() -> None:
    chat = FakeChat()
    ChatBot(chat, model="small").chat("Hi", model="large")
    assert chat.requests[0]["model"] == "large"


def test_tool_calls_are_at_hand() -> None:
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    choice = {"message": {"content": None, "tool_calls": calls}, "finish_reason": "tool_calls"}
    answer = ChatBot(FakeChat([{"choices": [choice]}])).chat("Hi")
    assert answer.tool_calls == calls
    assert answer.text == ""


@pytest.mark.parametrize("raw", [{}, {"choices": []}, {"choices": "x"}])
def test_an_answer_without_choices_is_garbage(raw: dict[str, object]) -> None:
    with pytest.raises(UpstreamGarbage):
        ChatBot(FakeChat([raw])).chat("Hi")


def test_a_stream_gives_pieces_of_text_and_in_the_end_the_usage() -> None:
    chat = FakeChat([["Hel", "lo."]])
    with ChatBot(chat).stream("Hi") as stream:
        assert list(stream) == ["Hel", "lo."]
    assert stream.text == "Hello."
    assert stream.finish_reason == "stop"
    assert stream.usage is not None
    assert not chat.streams[0].closed, "it had ended by itself"


def test_leaving_a_stream_stops_the_model() -> None:
    chat = FakeChat([["One ", "two ", "three"]])
    with ChatBot(chat).stream("Count") as stream:
        assert next(stream) == "One "
    assert chat.streams[0].closed
    assert list(stream) == []


def test_a_stream_that_breaks_says_so() -> None:
    stream = ChatBot(FakeChat([["One ", UpstreamUnavailable("Away.")]])).stream("Count")
    assert next(stream) == "One "
    with pytest.raises(UpstreamUnavailable):
        next(stream)


def test_a_session_remembers_and_branches() -> None:
    chat = FakeChat(["a1", "a2", "b2"])
    session = ChatBot(chat, model="m").session(instructions="Be kind.", temperature=0)
    assert session.say("q1").text == "a1"
    other = session.branch()
    assert str(session.say("q2")) == "a2"
    assert str(other.say("r2")) == "b2"
    contents = [[m["content"] for m in request["messages"]] for request in chat.requests]
    assert contents == [
        ["Be kind.", "q1"],
        ["Be kind.", "q1", "a1", "q2"],
        ["Be kind.", "q1", "a1", "r2"],
    ]
    assert {request["temperature"] for request in chat.requests} == {0}
    assert {request["model"] for request in chat.requests} == {"m"}


def test_a_session_streams_and_continues_from_what_was_heard() -> None:
    chat = FakeChat([["One ", "two"], ["three ", "four"], "five"])
    session = ChatBot(chat).session()
    with session.stream("q1") as pieces:
        assert list(pieces) == ["One ", "two"]
    assert pieces.reply is not None
    assert pieces.reply.text == "One two"
    with session.stream("q2") as pieces:
        assert next(pieces) == "three "
    session.say("q3")
    contents = [message["content"] for message in chat.requests[-1]["messages"]]
    assert contents == ["q1", "One two", "q2", "three ", "q3"]


def test_a_session_goes_back_to_before_a_failure() -> None:
    chat = FakeChat(["a1", ["half", UpstreamUnavailable("Away.")], "a2"])
    session = ChatBot(chat).session()
    session.say("q1")
    with pytest.raises(UpstreamError), session.stream("q2") as pieces:
        list(pieces)
    session.say("q2")
    contents = [message["content"] for message in chat.requests[-1]["messages"]]
    assert contents == ["q1", "a1", "q2"]


def test_a_session_calls_functions() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    choice = {"message": {"content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"}
    session = ChatBot(FakeChat([{"choices": [choice]}, "done"])).session(
        tools=[{"type": "function", "name": "f"}]
    )
    (wanted,) = session.say("do it").tool_calls
    answer = {"type": "function_call_output", "call_id": wanted["call_id"], "output": "ok"}
    assert session.say([answer]).text == "done"


def test_models_are_the_upstreams() -> None:
    bot = ChatBot(FakeChat(model="small"))
    assert [model["id"] for model in bot.models()["data"]] == ["small"]
    assert bot.model("small")["object"] == "model"
    with pytest.raises(UpstreamError):
        bot.model("large")
