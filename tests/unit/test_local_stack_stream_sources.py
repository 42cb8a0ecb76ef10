"""The local stack's stream sources: filters, order, partial failures, and what a stop leaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dev.stack import streams
from dev.stack.runtime_api import FunctionError
from dev.stack.streams import check_pattern, matches, taken_of
from dev.template import StreamSource, Template, TemplateError

FILTER = {
    "eventName": ["INSERT", "MODIFY"],
    "dynamodb": {
        "Keys": {"pk": {"S": [{"prefix": "job#"}]}},
        "NewImage": {"labels": {"M": {"status": {"S": ["failed"]}}}},
    },
}


def record(number: int, *, pk: str = "job#1", status: str = "failed") -> dict[str, Any]:
    return {
        "eventName": "MODIFY",
        "dynamodb": {
            "Keys": {"pk": {"S": pk}},
            "NewImage": {"labels": {"M": {"status": {"S": status}}}},
            "SequenceNumber": str(number),
        },
    }


def test_a_filter_matches_by_every_field_that_it_names() -> None:
    assert matches(FILTER, record(1))
    assert not matches(FILTER, record(1, pk="host#1"))
    assert not matches(FILTER, record(1, status="running"))
    assert not matches(FILTER, {**record(1), "eventName": "REMOVE"})
    assert not matches(FILTER, {"eventName": "MODIFY", "dynamodb": {}})
    assert not matches({"a": {"b": ["c"]}}, {"a": None})
    assert matches({"a": [{"exists": False}]}, {})
    assert not matches({"a": [{"exists": True}]}, {})
    assert matches({"a": [{"anything-but": ["x"]}]}, {"a": "y"})
    assert not matches({"a": [{"anything-but": "x"}]}, {"a": "x"})


@pytest.mark.parametrize(
    "pattern", [{"a": "b"}, {"a": [{"numeric": [">", 1]}]}, {"a": [["b"]]}, {"a": [{"prefix": 1}]}]
)
def test_a_filter_that_is_not_understood_is_refused(pattern: dict[str, Any]) -> None:
    with pytest.raises(TemplateError):
        check_pattern(pattern)


def test_the_templates_own_filter_is_understood() -> None:
    (source,) = Template(Path(__file__).parents[2] / "template.yaml").stream_sources()
    assert source.function == "Publish"
    for pattern in source.patterns:
        check_pattern(pattern)
    event = json.loads(
        (Path(__file__).parents[2] / "events/workers/publish.json").read_text("utf-8")
    )
    assert matches(source.patterns[0], event["Records"][0])


@pytest.mark.parametrize(
    ("answer", "taken"),
    [
        ("null", 3),
        ('{"batchItemFailures": []}', 3),
        ('{"batchItemFailures": [{"itemIdentifier": "3"}, {"itemIdentifier": "2"}]}', 1),
        ('{"batchItemFailures": [{"itemIdentifier": "unknown"}]}', 0),
        ('{"batchItemFailures": [{}]}', 0),
        ("nonsense", 0),
    ],
)
def test_a_partial_failure_stops_at_the_first_record_that_it_names(answer: str, taken: int) -> None:
    assert taken_of([record(n) for n in (1, 2, 3)], answer.encode()) == taken


class Function:
    """A Lambda host with one function, which answers as it is told; then it takes everything."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.answers: list[bytes | FunctionError] = []

    def invoke(self, name: str, payload: bytes) -> Function:
        numbers = [int(r["dynamodb"]["SequenceNumber"]) for r in json.loads(payload)["Records"]]
        self.batches.append(numbers)
        return self

    async def payload_or_error(self) -> bytes:
        answer = self.answers.pop(0) if self.answers else b"null"
        if isinstance(answer, FunctionError):
            raise answer
        return answer


class Stream:
    """DynamoDB Streams with one stream of one shard."""

    def __init__(self, *numbers: int) -> None:
        self.records = [record(number) for number in numbers]

    async def call(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        if operation == "ListStreams":
            return {"Streams": [{"StreamArn": "arn"}]}
        if operation == "DescribeStream":
            return {"StreamDescription": {"Shards": [{"ShardId": "shard"}]}}
        if operation == "GetShardIterator":
            return {"ShardIterator": "0"}
        start = int(parameters["ShardIterator"])
        return {"Records": self.records[start:], "NextShardIterator": str(len(self.records))}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "RETRY_PAUSE", 0.0)
    monkeypatch.setattr(streams, "IDLE_PAUSE", 0.0)


def poll(
    monkeypatch: pytest.MonkeyPatch,
    saved: Path,
    function: Function,
    stream: Stream,
    until: Callable[[], bool],
    **settings: Any,
) -> None:
    """Run a stream source until something is so, and stop it as the local stack does."""
    source = StreamSource(
        **{
            "function": "Publish",
            "table": "Table",
            "batch_size": 3,
            "patterns": (),
            "partial": True,
            "bisect": False,
            "retries": None,
            **settings,
        }
    )

    async def run() -> None:
        monkeypatch.setattr(streams, "JsonService", lambda *args, **options: stream)
        host: Any = function
        running = streams.Streams(host, endpoint="http://aws", region="r", saved=saved)
        running.start([source], {"Table": "table"})
        try:
            async with asyncio.timeout(10):
                while not until():
                    await asyncio.sleep(0)
        finally:
            await running.stop()
            await running.save()

    asyncio.run(run())


def test_records_go_to_the_function_in_order_and_in_batches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    function = Function()
    poll(
        monkeypatch,
        tmp_path / "streams.json",
        function,
        Stream(1, 2, 3, 4),
        lambda: len(function.batches) == 2,
    )
    assert function.batches == [[1, 2, 3], [4]]


def test_what_was_not_taken_comes_again_before_anything_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    function = Function()
    function.answers = [
        b'{"batchItemFailures": [{"itemIdentifier": "2"}]}',
        FunctionError("Crashed", "no answer"),
    ]
    poll(
        monkeypatch,
        tmp_path / "streams.json",
        function,
        Stream(1, 2, 3, 4),
        lambda: len(function.batches) == 4,
    )
    assert function.batches == [[1, 2, 3], [2, 3], [2, 3], [4]]


def test_a_failing_batch_is_bisected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    function = Function()
    function.answers = [FunctionError("Crashed", "no answer")]
    poll(
        monkeypatch,
        tmp_path / "streams.json",
        function,
        Stream(1, 2, 3),
        lambda: len(function.batches) == 3,
        bisect=True,
    )
    assert function.batches == [[1, 2, 3], [1], [2, 3]]


def test_a_record_is_given_up_after_its_retries(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    function = Function()
    function.answers = [FunctionError("Crashed", "no answer")] * 2
    poll(
        monkeypatch,
        tmp_path / "streams.json",
        function,
        Stream(1, 2),
        lambda: len(function.batches) == 3,
        batch_size=1,
        retries=1,
    )
    assert function.batches == [[1], [1], [2]]


def test_what_no_function_took_survives_a_restart_of_the_stack(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    saved = tmp_path / "streams.json"
    dead = Function()
    dead.answers = [FunctionError("Crashed", "no answer")] * 100
    stream = Stream(1, 2)

    def written_last() -> bool:
        if dead.batches and len(stream.records) == 2:
            stream.records.append(record(3))  # written while the stack stops
        return bool(dead.batches)

    poll(monkeypatch, saved, dead, stream, written_last)
    function = Function()
    poll(monkeypatch, saved, function, Stream(), lambda: bool(function.batches))
    assert function.batches == [[1, 2, 3]]
    assert json.loads(saved.read_text()) == {}
