"""The poller applies SQS event source mappings as Lambda does, against the emulator."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest

from dev.stack import poller as poller_module
from dev.stack.aws import REGION, Emulator
from dev.stack.lambda_host import LambdaHost
from dev.stack.poller import Poller
from dev.stack.processes import Children
from dev.stack.runtime_api import FunctionError
from dev.stack.sqs import Sqs, SqsError
from dev.template import QueueSource, Schedule

SOURCE = QueueSource("Worker", "Jobs", batch_size=1, window=0, concurrency=5, partial=True)


class FakeHost:
    """Invocations wait in ``calls`` for the test to answer them."""

    def __init__(self) -> None:
        self.calls: asyncio.Queue[tuple[str, dict[str, Any], asyncio.Future[bytes]]]
        self.calls = asyncio.Queue()
        self.running = 0
        self.most = 0

    def invoke(self, name: str, payload: bytes) -> FakeHost._Invocation:
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.calls.put_nowait((name, json.loads(payload), answer))
        return self._Invocation(self, answer)

    class _Invocation:
        def __init__(self, host: FakeHost, answer: asyncio.Future[bytes]) -> None:
            self._host = host
            self._answer = answer

        async def payload_or_error(self) -> bytes:
            self._host.running += 1
            self._host.most = max(self._host.most, self._host.running)
            try:
                return await self._answer
            finally:
                self._host.running -= 1

    async def bodies(self) -> tuple[list[str], asyncio.Future[bytes], list[dict[str, Any]]]:
        """The next invocation: its messages' bodies, where to answer, the records."""
        _, event, answer = await asyncio.wait_for(self.calls.get(), 20)
        return [record["body"] for record in event["Records"]], answer, event["Records"]


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state folder of the emulator, shared so that it is set up once."""
    return tmp_path_factory.mktemp("emulator")


class World:
    def __init__(self, emulator: Emulator, host: FakeHost, sqs: Sqs) -> None:
        self.emulator = emulator
        self.host = host
        self.sqs = sqs
        self.client = emulator.client("sqs")
        self.url = ""
        self.poller = Poller(cast(LambdaHost, host), endpoint=emulator.url, region=REGION)

    def queue(self, **attributes: str) -> None:
        made = self.client.create_queue(QueueName="jobs", Attributes=attributes)
        self.url = made["QueueUrl"]

    def send(self, *bodies: str) -> None:
        entries = [{"Id": str(i), "MessageBody": body} for i, body in enumerate(bodies)]
        self.client.send_message_batch(QueueUrl=self.url, Entries=entries)

    def start(self, **changes: Any) -> None:
        self.poller.start([replace(SOURCE, **changes)], {"Jobs": self.url})

    async def is_empty(self) -> None:
        """Returns when the queue has no message left, hidden ones included."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        while True:
            found = self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)
            if set(found["Attributes"].values()) == {"0"}:
                return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    async with Children() as children, aiohttp.ClientSession() as session:
        emulator = Emulator(folder, folder / "aws.log")
        await emulator.start(children)
        it = World(emulator, FakeHost(), Sqs(session, emulator.url, REGION))
        try:
            yield it
        finally:
            await it.poller.close()
            it.client.delete_queue(QueueUrl=it.url)


@pytest.fixture
def play(emulated: Path) -> Callable[[Callable[[World], Awaitable[None]]], None]:
    def play(scenario: Callable[[World], Awaitable[None]]) -> None:
        async def whole() -> None:
            async with world(emulated) as it:
                await scenario(it)

        asyncio.run(asyncio.wait_for(whole(), 60))

    return play


def test_a_message_is_delivered_as_a_record_and_acknowledged(play: Callable[..., None]) -> None:
    async def scenario(it: World) -> None:
        it.queue()
        attribute = {"kind": {"DataType": "String", "StringValue": "k"}}
        it.client.send_message(QueueUrl=it.url, MessageBody="a", MessageAttributes=attribute)
        it.start()
        bodies, answer, (record,) = await it.host.bodies()
        assert bodies == ["a"]
        assert record["eventSource"] == "aws:sqs"
        assert record["eventSourceARN"].endswith(":jobs")
        assert record["attributes"]["ApproximateReceiveCount"] == "1"
        assert record["messageAttributes"]["kind"]["stringValue"] == "k"
        assert record["messageAttributes"]["kind"]["dataType"] == "String"
        answer.set_result(b"null")
        await it.is_empty()

    play(scenario)


def test_only_the_failed_messages_of_a_batch_come_again(play: Callable[..., None]) -> None:
    async def scenario(it: World) -> None:
        it.queue(VisibilityTimeout="1")
        it.send("a", "b", "c")
        it.start(batch_size=3, window=0.2)
        bodies, answer, records = await it.host.bodies()
        assert sorted(bodies) == ["a", "b", "c"]
        failed = next(r["messageId"] for r in records if r["body"] == "b")
        answer.set_result(json.dumps({"batchItemFailures": [{"itemIdentifier": failed}]}).encode())
        bodies, answer, (record,) = await it.host.bodies()
        assert bodies == ["b"]
        assert record["attributes"]["ApproximateReceiveCount"] == "2"
        answer.set_result(b"{}")
        await it.is_empty()

    play(scenario)


def test_a_batch_whose_function_fails_comes_again(play: Callable[..., None]) -> None:
    async def scenario(it: World) -> None:
        it.queue(VisibilityTimeout="1")
        it.send("a")
        it.start()
        _, answer, _ = await it.host.bodies()
        answer.set_exception(FunctionError("Runtime.ExitError", "killed"))
        bodies, answer, _ = await it.host.bodies()
        assert bodies == ["a"]
        answer.set_result(b"{}")
        await it.is_empty()

    play(scenario)


def test_no_more_run_at_once_than_allowed_and_a_free_place_is_filled(
    play: Callable[..., None],
) -> None:
    async def scenario(it: World) -> None:
        it.queue()
        it.send(*"abcdef")
        it.start(concurrency=2)
        seen: list[str] = []
        waiting: list[asyncio.Future[bytes]] = []
        for _ in range(2):
            bodies, answer, _ = await it.host.bodies()
            seen += bodies
            waiting.append(answer)
        for _ in range(4):
            assert it.host.calls.empty()
            waiting.pop(0).set_result(b"{}")
            bodies, answer, _ = await it.host.bodies()
            seen += bodies
            waiting.append(answer)
        for answer in waiting:
            answer.set_result(b"{}")
        await it.is_empty()
        assert sorted(seen) == list("abcdef")
        assert it.host.most == 2

    play(scenario)


def test_the_poller_outlives_an_error_of_the_queue(
    play: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poller_module, "RETRY_PAUSE", 0.01)

    async def scenario(it: World) -> None:
        it.queue()
        it.client.delete_queue(QueueUrl=it.url)
        with pytest.raises(SqsError):
            await it.sqs.receive(it.url, 1, 0)
        it.start()
        it.queue()
        it.send("a")
        bodies, answer, _ = await it.host.bodies()
        assert bodies == ["a"]
        answer.set_result(b"{}")

    play(scenario)


def test_a_schedule_invokes_its_function(
    play: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Soon:
        def __init__(self, expression: str) -> None:
            assert expression == "rate(1 minute)"

        def after(self, moment: Any) -> Any:
            return moment

    monkeypatch.setattr(poller_module, "Timetable", Soon)

    async def scenario(it: World) -> None:
        it.queue()
        it.poller.start([], {}, [Schedule("Sweeper", "Clock", "rate(1 minute)", None)])
        name, event, answer = await asyncio.wait_for(it.host.calls.get(), 20)
        assert name == "Sweeper"
        assert event["detail-type"] == "Scheduled Event"
        answer.set_exception(FunctionError("ValueError", "the next run comes all the same"))
        name, _, _ = await asyncio.wait_for(it.host.calls.get(), 20)
        assert name == "Sweeper"

    play(scenario)
