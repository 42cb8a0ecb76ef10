"""The official OpenAI Python SDK, unmodified, against the local stack.

The language model is the scriptable stand-in of ``dev/llm``. Order and incremental arrival are
shown by events: the stand-in waits at a given event, and what came before it must be here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types.responses import Response

from dev import llm
from tests.local_stack import RunningStack, wait_until

NODE = Path(__file__).parent / "openai_node"
DOCS = Path(__file__).parents[2] / "docs"


@dataclass
class Gpt:
    """A stack with its language model, and a client of it."""

    stack: RunningStack
    upstream: llm.RunningModel
    client: openai.OpenAI

    def text_of(self, response_id: str) -> str:
        return self.client.responses.retrieve(response_id).output_text


@pytest.fixture(scope="module")
def upstream() -> Iterator[llm.RunningModel]:
    with llm.running() as running:
        yield running


@pytest.fixture(scope="module")
def gpt(upstream: llm.RunningModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gpt]:
    # Two upstreams: the fallback is the same server under another name, as the script tells them
    # apart by the model.
    stack = RunningStack(
        tmp_path_factory.mktemp("gpt"),
        {
            "OPENAI_BASE_URL": upstream.base_url,
            "OPENAI_API_KEY": "sk-the-upstreams-own-key",
            "OPENAI_MODEL": "stand-in",
            "ROBOTCHAT_PARAMETERS": "OpenaiFallbacks=stand-in-mini OpenaiCachePrompt=true",
        },
    )
    stack.start()
    try:
        with openai.OpenAI(
            base_url=f"{stack.api_url}/v1", api_key=stack.api_key, max_retries=0, timeout=60
        ) as client:
            yield Gpt(stack, upstream, client)
    finally:
        stack.stop()


@pytest.fixture
def mark() -> str:
    """A word that is in no other request, so that scripts meet the right one."""
    return f"mark-{uuid.uuid4().hex}"


def say(text: str) -> Any:
    return [{"role": "user", "content": text}]


# --- completions ----------------------------------------------------------------------------------


def test_chat_completions(gpt: Gpt) -> None:
    answer = gpt.client.chat.completions.create(model="stand-in", messages=say("hello there"))
    assert answer.choices[0].message.content == "You said: hello there"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 2


def test_the_operators_model_answers_when_none_is_named(gpt: Gpt, mark: str) -> None:
    answer = httpx.post(
        f"{gpt.stack.api_url}/v1/chat/completions",
        headers=gpt.stack.headers,
        json={"messages": say(mark)},
        timeout=60,
    )
    assert answer.status_code == 200
    assert gpt.upstream.wait("finished", mark)["body"]["model"] == "stand-in"


def test_what_the_service_does_not_know_passes_through(gpt: Gpt, mark: str) -> None:
    answer = gpt.client.chat.completions.create(
        model="stand-in",
        messages=say(mark),
        n=2,
        logprobs=True,
        temperature=0.25,
        response_format={"type": "json_object"},
        extra_body={"min_p": 0.1, "vendor": {"nested": [1, 2.5, None]}},
    )
    assert len(answer.choices) == 2
    assert answer.choices[0].logprobs is not None
    body = gpt.upstream.wait("finished", mark)["body"]
    assert body["vendor"] == {"nested": [1, 2.5, None]}
    assert (body["min_p"], body["temperature"]) == (0.1, 0.25)
    request = gpt.upstream.wait("finished", mark)
    assert request["authorization"] == "Bearer sk-the-upstreams-own-key"


def test_completions(gpt: Gpt) -> None:
    completion = gpt.client.completions.create(model="stand-in", prompt="Once", logprobs=1)
    assert completion.choices[0].text == " ...and so on after 'Once'."
    pieces = gpt.client.completions.create(model="stand-in", prompt="Once", stream=True)
    assert "".join(piece.choices[0].text for piece in pieces) == completion.choices[0].text


def test_chunks_arrive_while_the_rest_is_not_made_yet(gpt: Gpt, mark: str) -> None:
    gpt.upstream.script(match=mark, text="One two three", stall_at=2)
    stream = gpt.client.chat.completions.create(
        model="stand-in",
        messages=say(mark),
        stream=True,
        stream_options={"include_usage": True},
    )
    assert [next(stream).choices[0].delta.content for _ in range(2)] == ["", "One"]
    assert gpt.upstream.wait("stalled", mark)["sent"] == 2
    gpt.upstream.release()
    rest = list(stream)
    assert [chunk.choices[0].delta.content for chunk in rest[:2]] == [" two", " three"]
    assert rest[-2].choices[0].finish_reason == "stop"
    assert rest[-1].usage is not None


def test_a_client_that_leaves_ends_the_upstreams_work_where_that_is_told(
    upstream: llm.RunningModel, tmp_path: Path, mark: str
) -> None:
    environment = {"OPENAI_BASE_URL": upstream.base_url, "ROBOTCHAT_LEAVING": "told"}
    stack = RunningStack(tmp_path / "told", {**environment, "OPENAI_MODEL": "stand-in"})
    stack.start()
    try:
        upstream.script(match=mark, text="One two three", stall_at=2)
        url = f"{stack.api_url}/v1"
        with (
            openai.OpenAI(base_url=url, api_key=stack.api_key, timeout=60) as client,
            client.chat.completions.create(
                model="stand-in", messages=say(mark), stream=True
            ) as stream,
        ):
            next(stream)
            next(stream)
        assert upstream.wait("closed", mark, timeout=30)["sent"] == 2
    finally:
        stack.stop()


def test_a_client_that_leaves_is_nobodys_news_on_aws(gpt: Gpt, mark: str) -> None:
    """The answer goes on into the void, and the function is free afterwards."""
    gpt.upstream.script(match=mark, text="One two three", stall_at=2)
    with gpt.client.chat.completions.create(
        model="stand-in", messages=say(mark), stream=True
    ) as stream:
        next(stream)
        next(stream)
    assert gpt.upstream.wait("stalled", mark, timeout=30)["sent"] == 2
    gpt.upstream.release()
    gpt.upstream.wait("finished", mark, timeout=30)


def test_a_failure_in_mid_stream_is_an_error_of_the_stream(gpt: Gpt, mark: str) -> None:
    gpt.upstream.script(match=mark, text="One two three", cut_at=2)
    stream = gpt.client.chat.completions.create(model="stand-in", messages=say(mark), stream=True)
    next(stream)
    next(stream)
    with pytest.raises(openai.APIError) as caught:
        next(stream)
    assert caught.value.code == "upstream_unavailable"


def test_functions_are_called(gpt: Gpt, mark: str) -> None:
    gpt.upstream.script(match=mark, tool_calls=[{"name": "weather", "arguments": {"city": "Rome"}}])
    tools: Any = [
        {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    ]
    answer = gpt.client.chat.completions.create(model="stand-in", messages=say(mark), tools=tools)
    calls: Any = answer.choices[0].message.tool_calls
    assert calls[0].function.arguments == '{"city": "Rome"}'


def test_models(gpt: Gpt) -> None:
    assert [model.id for model in gpt.client.models.list()] == ["stand-in", "stand-in-mini"]
    assert gpt.client.models.retrieve("stand-in").object == "model"
    with pytest.raises(openai.NotFoundError) as caught:
        gpt.client.models.retrieve("nope")
    assert caught.value.code == "model_not_found"


# --- errors ---------------------------------------------------------------------------------------


def test_the_upstreams_refusals_are_the_sdks_exceptions(gpt: Gpt, mark: str) -> None:
    refusal = {"message": "No such parameter", "param": "foo", "code": "unknown_parameter"}
    gpt.upstream.script(match=mark, status=400, error=refusal)
    with pytest.raises(openai.BadRequestError) as caught:
        gpt.client.chat.completions.create(model="stand-in", messages=say(mark))
    assert (caught.value.code, caught.value.param) == ("unknown_parameter", "foo")
    gpt.upstream.script(match=mark, status=404, error={"message": "No model"})
    with pytest.raises(openai.NotFoundError):
        gpt.client.responses.create(model="stand-in", input=mark)


def test_the_upstreams_troubles_are_told_without_its_secrets(gpt: Gpt, mark: str) -> None:
    leak = {"message": f"key sk-the-upstreams-own-key is bad for {gpt.upstream.base_url}"}
    for status, expected, code in (
        (401, openai.InternalServerError, "upstream_unauthorized"),
        (403, openai.InternalServerError, "upstream_unauthorized"),
        (400, openai.BadRequestError, "upstream_rejected"),
    ):
        gpt.upstream.script(match=mark, status=status, error=leak)
        with pytest.raises(expected) as caught:
            gpt.client.chat.completions.create(model="stand-in", messages=say(mark))
        assert caught.value.code == code
        assert "sk-the-upstreams" not in caught.value.response.text
        assert str(gpt.upstream.port) not in caught.value.response.text
        assert caught.value.response.headers["x-should-retry"] == "false"


def test_a_fallback_answers_when_the_first_model_is_limited(gpt: Gpt, mark: str) -> None:
    gpt.upstream.script(match=mark, status=429, headers={"retry-after": "60"})
    answer = gpt.client.chat.completions.create(model="stand-in", messages=say(mark))
    assert answer.model == "stand-in-mini"


def test_retry_after_of_the_upstream_is_kept(gpt: Gpt, mark: str) -> None:
    gpt.upstream.script(match=mark, times=2, status=429, headers={"retry-after": "60"})
    with pytest.raises(openai.RateLimitError) as caught:
        gpt.client.chat.completions.create(model="stand-in", messages=say(mark))
    assert caught.value.response.headers["retry-after"] == "60"
    gpt.upstream.script(match=mark, times=2, status=429, headers={"retry-after": "60"})
    with pytest.raises(openai.RateLimitError):
        gpt.client.responses.create(model="stand-in", input=mark, stream=True)


def test_a_wrong_key_is_an_authentication_error(gpt: Gpt) -> None:
    with (
        openai.OpenAI(base_url=gpt.client.base_url, api_key="rk_wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.models.list()


def test_wrong_requests_are_bad_requests(gpt: Gpt) -> None:
    with pytest.raises(openai.BadRequestError):
        gpt.client.chat.completions.create(model="stand-in", messages=[])
    with pytest.raises(openai.BadRequestError) as caught:
        gpt.client.responses.create(model="stand-in", input="x", tools=[{"type": "web_search"}])
    assert caught.value.param == "tools[0]"


# --- responses ------------------------------------------------------------------------------------


def test_responses_chain_and_branch(gpt: Gpt, mark: str) -> None:
    create = gpt.client.responses.create
    first = create(model="stand-in", input=f"{mark} one", instructions="Be kind.")
    assert first.output_text == f"You said: {mark} one"
    second = create(model="stand-in", input="two", previous_response_id=first.id)
    create(model="stand-in", input=f"{mark} branch", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    last = gpt.upstream.requests()[-1]["body"]["messages"]
    assert [message["content"] for message in last] == [
        f"{mark} one",
        f"You said: {mark} one",
        f"{mark} branch",
    ]
    assert gpt.upstream.requests()[-1]["body"]["cache_prompt"] is True


def test_streamed_events_have_the_official_order_and_arrive_as_they_are_made(
    gpt: Gpt, mark: str
) -> None:
    gpt.upstream.script(match=mark, text="One two three", stall_at=3)
    stream = gpt.client.responses.create(model="stand-in", input=mark, stream=True)
    early = [next(stream) for _ in range(6)]
    assert [event.type for event in early] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
    ]
    gpt.upstream.wait("stalled", mark)
    gpt.upstream.release()
    events = [*early, *stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    completed = events[-1]
    assert completed.type == "response.completed"
    assert completed.response.output_text == "One two three"
    assert gpt.text_of(completed.response.id) == "One two three"


def test_a_stream_that_the_client_leaves_is_stored_whole(gpt: Gpt, mark: str) -> None:
    gpt.upstream.script(match=mark, text="One two three", stall_at=3)
    with gpt.client.responses.create(model="stand-in", input=mark, stream=True) as stream:
        response_id = next(stream).response.id  # type: ignore[union-attr]
        for _, _event in zip(range(5), stream, strict=False):
            pass
    gpt.upstream.wait("stalled", mark, timeout=30)
    gpt.upstream.release()

    def done() -> bool:
        return gpt.client.responses.retrieve(response_id).status == "completed"

    wait_until(done, "the response to be stored")
    assert gpt.text_of(response_id) == "One two three"


def test_a_failure_in_mid_stream_is_an_event_and_stored(gpt: Gpt, mark: str) -> None:
    gpt.upstream.script(match=mark, text="One two three", fail_at=2)
    events = list(gpt.client.responses.create(model="stand-in", input=mark, stream=True))
    failed = events[-1]
    assert failed.type == "response.failed"
    stored = gpt.client.responses.retrieve(failed.response.id)
    assert stored.status == "failed"
    assert stored.output_text == "One"


def test_functions_are_called_over_responses(gpt: Gpt, mark: str) -> None:
    tool: Any = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
    gpt.upstream.script(match=mark, tool_calls=[{"name": "weather", "arguments": {"city": "Rome"}}])
    stream = gpt.client.responses.create(model="stand-in", input=mark, tools=[tool], stream=True)
    done = next(e for e in stream if e.type == "response.completed").response
    (call,) = done.output
    assert call.type == "function_call"
    assert call.arguments == '{"city": "Rome"}'
    answer = gpt.client.responses.create(
        model="stand-in",
        previous_response_id=done.id,
        tools=[tool],
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}],
    )
    assert answer.output_text == "You said: sunny"


def test_structured_output_is_parsed_by_the_sdk(gpt: Gpt) -> None:
    import pydantic

    class Person(pydantic.BaseModel):
        name: str
        age: int

    parsed = gpt.client.responses.parse(model="stand-in", input="x", text_format=Person)
    assert parsed.output_parsed == Person(name="text", age=1)


def test_input_items_are_paged_by_the_sdk(gpt: Gpt) -> None:
    said: Any = [{"role": "user", "content": str(number)} for number in range(5)]
    response = gpt.client.responses.create(model="stand-in", input=said)
    items = gpt.client.responses.input_items.list(response.id, limit=2, order="asc")
    texts = [item.content[0].text for item in items]  # type: ignore[union-attr,index]
    assert texts == ["0", "1", "2", "3", "4"]


def test_a_deleted_response_is_gone(gpt: Gpt) -> None:
    response = gpt.client.responses.create(model="stand-in", input="x")
    gpt.client.responses.delete(response.id)
    for attempt in (gpt.client.responses.retrieve, gpt.client.responses.delete):
        with pytest.raises(openai.NotFoundError):
            attempt(response.id)


def test_a_large_turn_is_remembered(gpt: Gpt, mark: str) -> None:
    long = f"{mark} " + "word " * 150_000
    first = gpt.client.responses.create(model="stand-in", input=long)
    gpt.upstream.script(match=mark, text="fine")
    gpt.client.responses.create(model="stand-in", input="And?", previous_response_id=first.id)
    sent = gpt.upstream.requests()[-1]["body"]["messages"]
    assert sent[0]["content"] == long


# --- conversations --------------------------------------------------------------------------------


def test_a_conversation_takes_one_turn_at_a_time(gpt: Gpt, mark: str) -> None:
    conversation = gpt.client.conversations.create().id
    gpt.upstream.script(match=mark, text="One two", stall_at=2)
    stream = gpt.client.responses.create(
        model="stand-in", input=mark, conversation=conversation, stream=True
    )
    next(stream)
    with pytest.raises(openai.ConflictError) as caught:
        gpt.client.responses.create(model="stand-in", input="x", conversation=conversation)
    assert caught.value.code == "conversation_busy"
    gpt.upstream.wait("stalled", mark)
    gpt.upstream.release()
    assert list(stream)[-1].type == "response.completed"
    gpt.client.responses.create(model="stand-in", input="then", conversation=conversation)
    sent = gpt.upstream.requests()[-1]["body"]["messages"]
    assert [message["content"] for message in sent] == [mark, "One two", "then"]


def test_of_requests_at_the_same_moment_one_wins(gpt: Gpt, mark: str) -> None:
    conversation = gpt.client.conversations.create().id
    gpt.upstream.script(match=mark, times=None, text="One two", stall_at=0)
    outcomes: list[str] = []
    start = threading.Barrier(4)

    def ask() -> None:
        start.wait()
        try:
            gpt.client.responses.create(model="stand-in", input=mark, conversation=conversation)
        except openai.ConflictError:
            outcomes.append("conflict")
        else:
            outcomes.append("won")

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    gpt.upstream.wait("stalled", mark)
    wait_until(lambda: len(outcomes) == 3, "three to be refused")
    gpt.upstream.release()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["conflict", "conflict", "conflict", "won"]


def test_conversations_and_their_items(gpt: Gpt, mark: str) -> None:
    conversations = gpt.client.conversations
    said: Any = [{"type": "message", "role": "user", "content": "My name is Bob."}]
    begun = conversations.create(metadata={"user": "42"}, items=said)
    assert (begun.object, begun.metadata) == ("conversation", {"user": "42"})
    gpt.client.responses.create(model="stand-in", input=mark, conversation=begun.id)
    sent = gpt.upstream.wait("finished", mark)["body"]["messages"]
    assert [message["content"] for message in sent] == ["My name is Bob.", mark]
    more: Any = [{"role": "user", "content": str(number)} for number in range(3)]
    added = conversations.items.create(begun.id, items=more)
    assert [item.type for item in added.data] == ["message"] * 3
    pages = conversations.items.list(begun.id, limit=2, order="asc")
    texts = [item.content[0].text for item in pages]  # type: ignore[union-attr,index]
    assert texts == ["My name is Bob.", mark, f"You said: {mark}", "0", "1", "2"]
    newest = conversations.items.list(begun.id, include=["message.input_image.image_url"]).data[0]
    assert newest == added.data[2]
    found = conversations.items.retrieve(added.data[0].id or "", conversation_id=begun.id)
    assert found == added.data[0]
    assert conversations.items.delete(found.id or "", conversation_id=begun.id).id == begun.id
    with pytest.raises(openai.NotFoundError):
        conversations.items.retrieve(found.id or "", conversation_id=begun.id)
    assert conversations.update(begun.id, metadata={"user": "43"}).metadata == {"user": "43"}
    assert conversations.retrieve(begun.id).metadata == {"user": "43"}
    assert conversations.delete(begun.id).deleted is True
    for gone in (conversations.retrieve, conversations.delete, conversations.items.list):
        with pytest.raises(openai.NotFoundError):
            gone(begun.id)


def draw(gpt: Gpt, message: str, prompt: str, conversation: str | None = None) -> Any:
    """Say something that is to be drawn; the language model writes ``prompt``."""
    fold = {"mode": "generate", "prompt": prompt, "negative_prompt": ""}
    gpt.upstream.script(match=message, text=json.dumps(fold))
    with httpx.Client(base_url=gpt.stack.api_url, headers=gpt.stack.headers, timeout=60) as api:
        body: dict[str, Any] = {"message": message, "settings": {"width": 64, "height": 64}}
        if conversation is not None:
            body["conversation_id"] = conversation
        job = api.post("/v1/chat/text2image", json=body).raise_for_status().json()

        def drawn() -> Any:
            return api.get(f"/v1/jobs/{job['id']}").json()["status"] == "succeeded"

        wait_until(drawn, "the picture")
        return api.get(f"/v1/jobs/{job['id']}").json()


def test_a_conversation_draws_talks_about_it_and_draws_again(gpt: Gpt, mark: str) -> None:
    first = draw(gpt, f"a beach, {mark}", f"a beach, {mark}")
    conversation = first["conversation_id"]
    talk = gpt.client.responses.create(
        model="stand-in", input=f"{mark} two", conversation=conversation
    )
    sent = gpt.upstream.wait("finished", f"{mark} two")["body"]["messages"]
    assert [message["content"] for message in sent] == [
        f"a beach, {mark}",
        f"[I drew a picture: a beach, {mark}]",
        f"{mark} two",
    ]
    at_sunset = f"a beach at sunset, {mark}, three"
    second = draw(gpt, f"at sunset, {mark}, three", at_sunset, conversation)
    assert (second["turn"], second["prompt"]) == (3, at_sunset)
    items = list(gpt.client.conversations.items.list(conversation, order="asc"))
    assert [item.type for item in items] == [
        "message",
        "image_generation_call",
        "message",
        "message",
        "message",
        "image_generation_call",
    ]
    item: Any = items[-1]
    assert (item.status, item.job_id) == ("completed", second["id"])
    assert item.revised_prompt == at_sunset
    image = httpx.get(item.images[0]["url"])
    assert (image.status_code, image.headers["content-type"]) == (200, "image/png")
    gpt.client.conversations.items.delete(item.id, conversation_id=conversation)
    left = gpt.client.conversations.items.list(conversation, order="asc").data
    assert [item.type for item in left] == [item.type for item in items[:4]]
    gpt.client.conversations.delete(conversation)
    with pytest.raises(openai.NotFoundError):
        gpt.client.responses.retrieve(talk.id)
    assert httpx.get(image.url).status_code == 404


def test_an_idempotency_key_gives_the_same_response(gpt: Gpt, mark: str) -> None:
    keyed: Any = {"extra_headers": {"Idempotency-Key": mark}}
    first = gpt.client.responses.create(model="stand-in", input=mark, **keyed)
    assert gpt.client.responses.create(model="stand-in", input=mark, **keyed) == first
    assert len([r for r in gpt.upstream.requests() if mark in json.dumps(r["body"])]) == 1
    with pytest.raises(openai.BadRequestError) as caught:
        gpt.client.responses.create(model="stand-in", input="another", **keyed)
    assert (caught.value.code, caught.value.param) == ("idempotency_key_reused", "Idempotency-Key")
    with pytest.raises(openai.BadRequestError):
        gpt.client.responses.create(model="stand-in", input=mark, stream=True, **keyed)
    keyed = {"extra_headers": {"Idempotency-Key": f"{mark}-background"}, "background": True}
    queued = gpt.client.responses.create(model="stand-in", input=mark, **keyed)
    assert gpt.client.responses.create(model="stand-in", input=mark, **keyed).id == queued.id
    assert finished(gpt, queued.id).output_text == f"You said: {mark}"


@pytest.mark.parametrize(
    ("document", "number"), [("conversations.md", 0), ("conversations.md", 1), ("gpt.md", 0)]
)
def test_the_examples_in_the_documents(gpt: Gpt, document: str, number: int) -> None:
    text = (DOCS / document).read_text("utf-8")
    code = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[number]
    for example, here in (
        ("http://127.0.0.1:8080", gpt.stack.api_url),
        ("http://127.0.0.1:7861", gpt.stack.sd_hosts[0]),
        ("http://127.0.0.1:8000/v1", gpt.upstream.base_url),
        ("API_KEY", repr(gpt.stack.api_key)),
    ):
        code = code.replace(example, here)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


# --- in the background ----------------------------------------------------------------------------


def finished(gpt: Gpt, response_id: str) -> Response:
    def final() -> bool:
        status = gpt.client.responses.retrieve(response_id).status
        return status not in ("queued", "in_progress")

    wait_until(final, "the response to be final")
    return gpt.client.responses.retrieve(response_id)


def test_background_polling(gpt: Gpt, mark: str) -> None:
    queued = gpt.client.responses.create(model="stand-in", input=mark, background=True)
    assert queued.status in ("queued", "in_progress")
    done = finished(gpt, queued.id)
    assert (done.status, done.output_text) == ("completed", f"You said: {mark}")


def test_a_broken_background_stream_is_resumed(gpt: Gpt, mark: str) -> None:
    gpt.upstream.script(match=mark, text="One two three", stall_at=2)
    with gpt.client.responses.create(
        model="stand-in", input=mark, background=True, stream=True
    ) as stream:
        early = [next(stream) for _ in range(5)]
    response_id = early[0].response.id  # type: ignore[union-attr]
    gpt.upstream.wait("stalled", mark)
    gpt.upstream.release()
    rest = gpt.client.responses.retrieve(response_id, stream=True, starting_after=4)
    events = [*early, *rest]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert text == gpt.text_of(response_id) == "One two three"


def test_a_background_response_is_cancelled(gpt: Gpt, mark: str) -> None:
    gpt.upstream.script(match=mark, text="One two three", stall_at=2)
    queued = gpt.client.responses.create(model="stand-in", input=mark, background=True)
    gpt.upstream.wait("stalled", mark)
    assert gpt.client.responses.cancel(queued.id).status == "cancelled"
    gpt.upstream.wait("closed", mark)
    assert gpt.client.responses.cancel(queued.id).status == "cancelled"
    assert gpt.client.responses.retrieve(queued.id).status == "cancelled"


# --- the SDK for Node -----------------------------------------------------------------------------


def test_the_official_sdk_for_node(gpt: Gpt, tmp_path: Path) -> None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("Node is not installed")
    folder = tmp_path / "node"
    shutil.copytree(NODE, folder, ignore=shutil.ignore_patterns("node_modules"))
    subprocess.run([npm, "ci", "--silent"], cwd=folder, check=True, timeout=300)
    done = subprocess.run(
        [node, "--test", "sdk.test.mjs"],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "API_URL": gpt.stack.api_url,
            "API_KEY": gpt.stack.api_key,
            "LLM_URL": gpt.upstream.url,
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# --- without a language model, and after a restart ------------------------------------------------


def test_without_a_language_model_it_says_what_to_set(stack: RunningStack) -> None:
    with openai.OpenAI(
        base_url=f"{stack.api_url}/v1", api_key=stack.api_key, max_retries=0
    ) as client:
        attempts: list[Any] = [
            lambda: client.chat.completions.create(model="x", messages=say("x")),
            lambda: client.chat.completions.create(model="x", messages=say("x"), stream=True),
            lambda: client.completions.create(model="x", prompt="x"),
            lambda: client.responses.create(model="x", input="x"),
            lambda: client.responses.create(model="x", input="x", stream=True),
            lambda: client.responses.create(model="x", input="x", background=True),
            lambda: client.models.list(),
        ]
        for attempt in attempts:
            with pytest.raises(openai.InternalServerError) as caught:
                attempt()
            assert caught.value.status_code == 503
            assert caught.value.code == "not_configured"
            assert "OPENAI_BASE_URL" in caught.value.message
    assert "OPENAI_BASE_URL" in stack.ready_line


def test_a_conversation_of_fifty_turns_survives_a_restart(gpt: Gpt) -> None:
    conversation = gpt.client.conversations.create().id
    chain = None
    for number in range(50):
        gpt.client.responses.create(
            model="stand-in", input=f"turn {number}", conversation=conversation
        )
        chain = gpt.client.responses.create(
            model="stand-in", input=f"link {number}", previous_response_id=chain
        ).id
    assert gpt.stack.end() == 0
    gpt.stack.start()
    gpt.client.responses.create(model="stand-in", input="last", conversation=conversation)
    said = [m["content"] for m in gpt.upstream.requests()[-1]["body"]["messages"]]
    assert len(said) == 101
    assert said[0] == "turn 0"
    assert said[99] == "You said: turn 49"
    gpt.client.responses.create(model="stand-in", input="last", previous_response_id=chain)
    said = [m["content"] for m in gpt.upstream.requests()[-1]["body"]["messages"]]
    assert [text for text in said if text.startswith("link")] == [f"link {n}" for n in range(50)]
