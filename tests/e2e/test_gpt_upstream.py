"""The OpenAI driver and ChatBot against a real server: the scriptable stand-in of ``dev/llm``."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from dev import llm
from robotchat.drivers.openai import OpenAIChat, Upstream
from robotchat.errors import (
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from robotchat.gpt.bot import ChatBot
from robotchat.gpt.driver import Interrupt
from robotchat.gpt.responses.engine import Responses
from robotchat.gpt.responses.inference import Options


@pytest.fixture(scope="module")
def server() -> Iterator[llm.RunningModel]:
    with llm.running() as running:
        yield running


@pytest.fixture
def upstream(server: llm.RunningModel) -> llm.RunningModel:
    server.reset()
    return server


@pytest.fixture
def driver(upstream: llm.RunningModel) -> Iterator[OpenAIChat]:
    with OpenAIChat(upstream.base_url, "sk-test", timeout=20, max_retries=0) as driver:
        yield driver


def test_the_stand_in_echoes_with_usage(driver: OpenAIChat) -> None:
    answer = ChatBot(driver, model="stand-in").chat("hello there")
    assert answer.text == "You said: hello there"
    assert answer.usage is not None
    assert answer.usage["prompt_tokens"] == 2


def test_pieces_arrive_while_the_rest_is_not_made_yet(
    driver: OpenAIChat, upstream: llm.RunningModel
) -> None:
    # Events: the role, "One", and then " two", before which it stalls.
    upstream.script(text="One two three", stall_at=2)
    with ChatBot(driver).stream("Count") as stream:
        assert next(stream) == "One"
        assert upstream.wait("stalled")["sent"] == 2
        assert upstream.release() == 1
        assert list(stream) == [" two", " three"]
    assert upstream.wait("finished")["sent"] == 7


def test_closing_ends_the_upstreams_work(driver: OpenAIChat, upstream: llm.RunningModel) -> None:
    upstream.script(text="One two three", stall_at=2)
    with ChatBot(driver).stream("Count") as stream:
        next(stream)
    assert upstream.wait("closed")["sent"] == 2


def test_closing_from_another_thread_ends_a_wait_for_a_stalled_upstream(
    driver: OpenAIChat, upstream: llm.RunningModel
) -> None:
    upstream.script(text="One two three", stall_at=2)
    stream = ChatBot(driver).stream("Count")
    pieces: list[str] = []
    reader = threading.Thread(target=lambda: pieces.extend(stream))
    reader.start()
    upstream.wait("stalled")
    stream.close()
    reader.join(10)
    assert not reader.is_alive()
    assert pieces == ["One"]
    upstream.wait("closed")


def test_a_wait_ends_before_any_answer_came_and_on_a_connection_used_before(
    driver: OpenAIChat, upstream: llm.RunningModel
) -> None:
    driver.chat_completion({"messages": [{"role": "user", "content": "first"}]})
    upstream.script(match="prefill", text="One", stall_at=0)
    interrupt, errors = Interrupt(), list[Exception]()

    def ask() -> None:
        with interrupt.armed():
            try:
                driver.chat_completion({"messages": [{"role": "user", "content": "prefill"}]})
            except UpstreamError as error:
                errors.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    upstream.wait("stalled")
    interrupt.set()
    asking.join(10)
    assert len(errors) == 1
    upstream.wait("closed")
    assert len(upstream.requests()) == 2


def test_a_cut_is_an_error(driver: OpenAIChat, upstream: llm.RunningModel) -> None:
    upstream.script(text="One two three", cut_at=2)
    stream = ChatBot(driver).stream("Count")
    assert next(stream) == "One"
    with pytest.raises(UpstreamUnavailable):
        next(stream)


def test_an_error_event_is_an_error(driver: OpenAIChat, upstream: llm.RunningModel) -> None:
    upstream.script(text="One two", fail_at=2, error={"message": "boom", "code": 500})
    stream = ChatBot(driver).stream("Count")
    assert next(stream) == "One"
    with pytest.raises(UpstreamUnavailable):
        next(stream)


def test_silence_becomes_a_timeout(upstream: llm.RunningModel) -> None:
    upstream.script(text="One two", stall_at=2)
    with OpenAIChat(upstream.base_url, timeout=0.2, max_retries=0) as driver:
        stream = ChatBot(driver).stream("Count")
        assert next(stream) == "One"
        with pytest.raises(UpstreamTimeout):
            next(stream)
    upstream.wait("closed")


def test_errors_of_the_upstream_are_translated(
    driver: OpenAIChat, upstream: llm.RunningModel
) -> None:
    upstream.script({"status": 429, "headers": {"retry-after": "33"}})
    with pytest.raises(UpstreamRateLimited) as limited:
        ChatBot(driver).chat("x")
    assert limited.value.retry_after == 33
    with pytest.raises(UpstreamRejected) as rejected:
        driver.model("no-such-model")
    assert rejected.value.details["code"] == "model_not_found"


def test_an_upstream_that_is_not_there_is_passed_over(upstream: llm.RunningModel) -> None:
    with llm.running() as gone:
        url = gone.base_url
    with OpenAIChat(url, max_retries=0) as alone, pytest.raises(UpstreamUnavailable):
        ChatBot(alone).chat("x")
    with OpenAIChat(url, max_retries=0, fallbacks=[Upstream(upstream.base_url)]) as backed:
        assert ChatBot(backed).chat("x").text == "You said: x"


def test_a_chain_of_responses_hits_the_prompt_cache(
    driver: OpenAIChat, upstream: llm.RunningModel
) -> None:
    session = ChatBot(driver).session(instructions="Answer in one word.")
    session.say("one two three")
    second = session.say("four")
    details = second.raw["usage"]["input_tokens_details"]
    assert details["cached_tokens"] == 7, "the instructions and the first message"


def test_a_stateful_upstream_is_sent_only_what_is_new(
    driver: OpenAIChat, upstream: llm.RunningModel
) -> None:
    responses = Responses(driver, model="stand-in", options=Options(mode="responses"))
    first = responses.create({"input": "hello"})
    events = list(responses.stream({"input": "again", "previous_response_id": first["id"]}))
    assert events[-1]["type"] == "response.completed"
    assert upstream.requests()[1]["body"]["input"] == "again"
    responses.delete(first["id"])


def test_completions_choices_and_structure(driver: OpenAIChat) -> None:
    bot = ChatBot(driver)
    assert bot.complete("The sky", n=2, logprobs=1).raw["choices"][1]["logprobs"]["tokens"]
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    structured = bot.chat(
        "x", response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    )
    assert structured.text == '{"a": 1}'


def test_a_failure_of_the_stand_in_is_not_silent(driver: OpenAIChat) -> None:
    with pytest.raises(UpstreamError):
        driver.chat_completion({"messages": []})
