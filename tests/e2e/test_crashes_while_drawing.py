"""Processes that are killed while a response draws: whoever made the response, whoever draws for it
or whoever reads it to a client. Each picture is drawn into the conversation once, and the official
SDK reads the response to its end, without loss or repetition. A client that cancels it stops it."""

from __future__ import annotations

import base64
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import pytest

from dev import llm, sd_host
from dev.sd_host import RunningHost
from tests.local_stack import RunningStack, wait_until

ALIVE = 2
"""Seconds after which a silent process is taken for dead here; a minute in earnest."""
TOOLS: Any = [{"type": "image_generation", "size": "64x64", "quality": "low"}]
CALLED = "image_generation_call"


@dataclass
class Service:
    """The running service with one host, which holds its drawings, and a language model."""

    stack: RunningStack
    host: RunningHost
    upstream: llm.RunningModel
    client: openai.OpenAI

    def asks(self, *prompts: str) -> str:
        """The words of a request for which the model calls for these pictures, then speaks."""
        mark = f"mark-{uuid.uuid4().hex}"
        drawn = [
            {"name": "image_generation", "arguments": {"prompt": prompt, "action": "generate"}}
            for prompt in prompts
        ]
        self.upstream.script(match=mark, pieces=["One ", "moment."], tool_calls=drawn)
        self.upstream.script(match=mark, text="Here.")
        return mark

    def kill(self, function: str) -> None:
        """Kill what runs as this function, as the platform may at any time."""
        answer = httpx.post(f"{self.stack.api_url}/_dev/kill?function={function}", timeout=30)
        assert answer.json()["killed"], f"no {function} was running"

    def drawing(self) -> None:
        """Wait until the host draws, and holds."""
        wait_until(lambda: self.host.stats()["paused"], "the drawing to begin", timeout=60)

    def final(self, response_id: str) -> Any:
        """The response at its end."""

        def ended() -> bool:
            response = self.client.responses.retrieve(response_id)
            return response.status not in ("queued", "in_progress")

        wait_until(ended, "the response to end", timeout=60)
        return self.client.responses.retrieve(response_id)

    def turns(self, response: Any) -> list[Any]:
        """What was drawn in the conversation of a response's pictures."""
        (first, *_) = images(response)
        job = self.get(f"/v1/jobs/{first.job_id}")
        turns: list[Any] = self.get(f"/v1/conversations/{job['conversation_id']}")["turns"]
        return turns

    def get(self, path: str) -> Any:
        answer = httpx.get(f"{self.stack.api_url}{path}", headers=self.stack.headers, timeout=60)
        return answer.raise_for_status().json()


class Reader:
    """Reads a stream in a thread of its own."""

    def __init__(self, events: Iterator[Any]) -> None:
        self.seen: list[Any] = []
        self._events = events
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for event in self._events:
                self.seen.append(event)
        except openai.APIConnectionError:
            """The stream was cut."""

    def id(self) -> str:
        wait_until(lambda: self.seen, "the first event", timeout=60)
        found: str = self.seen[0].response.id
        return found

    def told(self, kind: str) -> None:
        wait_until(lambda: kind in [event.type for event in self.seen], kind, timeout=60)

    def all(self) -> list[Any]:
        self._thread.join(60)
        assert not self._thread.is_alive(), "the stream does not end"
        return self.seen


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with llm.running() as upstream, sd_host.running() as host:
        stack = RunningStack(
            tmp_path_factory.mktemp("crashes"),
            {
                "OPENAI_BASE_URL": upstream.base_url,
                "OPENAI_MODEL": "stand-in",
                "SD_HOSTS": host.url,
                "ROBOTCHAT_PARAMETERS": "RetryBaseSeconds=0.1",
                "ROBOTCHAT_FUNCTION_ENV": f"ALIVE_SECONDS={ALIVE} LEASE_TTL_SECONDS={ALIVE}",
            },
        )
        stack.start()
        try:
            with openai.OpenAI(
                base_url=f"{stack.api_url}/v1", api_key=stack.api_key, max_retries=0, timeout=60
            ) as client:
                yield Service(stack, host, upstream, client)
        finally:
            stack.stop()


@pytest.fixture
def service(started: Service) -> Iterator[Service]:
    started.host.reset()
    started.host.hold()
    yield started
    started.host.reset()


def images(response: Any) -> list[Any]:
    return [item for item in response.output if item.type == CALLED]


def check_whole(events: list[Any], *prompts: str) -> Any:
    """The events of a response that was made to its end; gives the response."""
    assert [event.sequence_number for event in events] == list(range(len(events)))
    response = events[-1].response
    assert (events[-1].type, response.status) == ("response.completed", "completed")
    assert response.output_text == "One moment.Here."
    assert [item.revised_prompt for item in images(response)] == list(prompts)
    for item in images(response):
        assert item.status == "completed"
        assert base64.b64decode(item.result).startswith(b"\x89PNG")
        kinds = [e.type for e in events if getattr(e, "item_id", None) == item.id]
        steps = ("in_progress", "generating", "completed")
        assert kinds == [f"response.{CALLED}.{step}" for step in steps]
    done = [e.item.id for e in events if e.type == "response.output_item.done"]
    assert done == [item.id for item in response.output]
    return response


@pytest.mark.parametrize("background", [False, True])
def test_the_worker_that_draws_is_killed(service: Service, background: bool) -> None:
    words = service.asks("a cat")
    create = service.client.responses.create
    reader = Reader(create(input=words, tools=TOOLS, stream=True, background=background))
    service.drawing()
    service.kill("Worker")
    service.host.release()
    response = check_whole(reader.all(), "a cat")
    assert service.get(f"/v1/jobs/{images(response)[0].job_id}")["attempt"] == 2
    assert [turn["prompt"] for turn in service.turns(response)] == ["a cat"]
    assert service.client.responses.retrieve(response.id) == response


def test_the_worker_that_makes_the_response_is_killed(service: Service) -> None:
    """Another one takes over the drawing; the upstream is not asked for it again."""
    words = service.asks("a cat", "a dog")
    create = service.client.responses.create
    reader = Reader(create(input=words, tools=TOOLS, stream=True, background=True))
    service.drawing()
    reader.told(f"response.{CALLED}.generating")
    service.kill("Respond")
    service.host.release()
    response = check_whole(reader.all(), "a cat", "a dog")
    assert service.host.stats()["generations_started"] == 2
    assert [turn["prompt"] for turn in service.turns(response)] == ["a cat", "a dog"]
    again = service.client.responses.retrieve(response.id, stream=True, starting_after=3)
    assert list(again) == reader.seen[4:]
    asked = [r for r in service.upstream.requests() if words in str(r["body"])]
    assert len(asked) == 2


def test_the_function_that_reads_a_response_is_killed(service: Service) -> None:
    """The client's stream is cut; it goes on from where it was."""
    words = service.asks("a cat", "a dog")
    queued = service.client.responses.create(input=words, tools=TOOLS, background=True)
    retrieve = service.client.responses.retrieve
    reader = Reader(retrieve(queued.id, stream=True))
    service.drawing()
    reader.told(f"response.{CALLED}.generating")
    service.kill("GetResponse")
    seen = reader.all()
    service.host.release()
    rest = retrieve(queued.id, stream=True, starting_after=seen[-1].sequence_number)
    response = check_whole([*seen, *rest], "a cat", "a dog")
    assert len(service.turns(response)) == 2


def test_the_function_that_streams_a_response_is_killed(service: Service) -> None:
    """The drawing goes on, and the response ends as failed, with what was drawn."""
    words = service.asks("a cat")
    reader = Reader(service.client.responses.create(input=words, tools=TOOLS, stream=True))
    service.drawing()
    reader.told(f"response.{CALLED}.generating")

    def noted() -> bool:
        (call,) = images(service.client.responses.retrieve(reader.id())) or [None]
        return call is not None and call.status == "generating"

    wait_until(noted, "the drawing to be noted")
    service.kill("Responses")
    reader.all()
    service.host.release()
    (call,) = images(service.client.responses.retrieve(reader.id()))
    wait_until(
        lambda: service.get(f"/v1/jobs/{call.job_id}")["status"] == "succeeded", "the picture"
    )
    response = service.final(reader.id())
    assert response.status == "failed"
    (call,) = images(response)
    assert call.status == "completed"
    assert base64.b64decode(call.result).startswith(b"\x89PNG")
    assert [turn["prompt"] for turn in service.turns(response)] == ["a cat"]


def test_a_response_that_is_canceled_draws_no_more(service: Service) -> None:
    """The host is stopped and free for others, and what was not begun is not drawn."""
    words = service.asks("a cat", "a dog")
    create = service.client.responses.create
    reader = Reader(create(input=words, tools=TOOLS, stream=True, background=True))
    service.drawing()
    reader.told(f"response.{CALLED}.generating")
    canceled = service.client.responses.cancel(reader.id())
    assert canceled.status == "cancelled"
    wait_until(lambda: service.host.stats()["interrupts"], "the host to be stopped", timeout=60)
    service.host.release()
    events = reader.all()
    assert [event.sequence_number for event in events] == list(range(len(events)))

    def jobs() -> list[Any]:
        found: list[Any] = service.get("/v1/jobs?limit=2")["data"]
        return found

    wait_until(lambda: jobs()[0]["status"] == "canceled", "the drawing to end", timeout=60)
    response = service.client.responses.retrieve(reader.id())
    assert response.status == "cancelled"
    assert [item.status for item in images(response)] != ["completed"]
    assert service.host.stats()["generations_started"] == 1
    words = service.asks("a bird")
    after = create(input=words, tools=TOOLS)
    assert [item.status for item in images(after)] == ["completed"]
