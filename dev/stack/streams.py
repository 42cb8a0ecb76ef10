"""DynamoDB stream event source mappings, as Lambda applies them.

Records that match the filter go to the function in order, in batches; what it fails, or names in
a partial batch failure, it gets again, and nothing after it before that. The embedded AWS keeps
streams in memory, and so what was not yet taken when the stack stops is saved beside its state.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from dev.stack.aws_json import JsonService
from dev.stack.lambda_host import Functions
from dev.stack.runtime_api import FunctionError
from dev.template import StreamSource, TemplateError

IDLE_PAUSE = 0.2  # Lambda asks four times a second
RETRY_PAUSE = 0.25
LONGEST_PAUSE = 10.0
READ_LIMIT = 1000

logger = logging.getLogger("dev.stack.streams")

Change = dict[str, Any]
"""A record of a stream, as GetRecords gives it."""


class StreamError(Exception):
    """DynamoDB Streams refused a call, or could not be reached."""


class Streams:
    """Feeds the table's stream to the functions until it is stopped."""

    def __init__(self, host: Functions, *, endpoint: str, region: str, saved: Path) -> None:
        self._host = host
        self._endpoint = endpoint
        self._region = region
        self._saved = saved
        self._session: aiohttp.ClientSession | None = None
        self._pollers: list[_StreamPoller] = []
        self._tasks: list[asyncio.Task[None]] = []

    def start(
        self, sources: Sequence[StreamSource], tables: Mapping[str, str]
    ) -> list[asyncio.Task[None]]:
        """Begin; ``tables`` are table names by logical ID. Returns tasks that do not end.

        Raises TemplateError for a filter that it does not understand.
        """
        for source in sources:
            for pattern in source.patterns:
                check_pattern(pattern)
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        service = JsonService(
            self._session,
            self._endpoint,
            self._region,
            service="dynamodb",
            target="DynamoDBStreams_20120810",
            version="1.0",
            error=StreamError,
        )
        saved: dict[str, list[Change]] = {}
        with contextlib.suppress(FileNotFoundError):
            saved = json.loads(self._saved.read_text())
        self._pollers = [
            _StreamPoller(
                self._host, service, source, tables[source.table], saved.get(source.function, [])
            )
            for source in sources
        ]
        self._tasks = [asyncio.create_task(poller.run()) for poller in self._pollers]
        return self._tasks

    async def stop(self) -> None:
        """Give the functions nothing more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def save(self) -> None:
        """Keep what no function has taken; to be called when nobody writes any more."""
        if self._session is None:
            return
        left: dict[str, list[Change]] = {}
        for poller in self._pollers:
            try:
                await poller.read_to_the_end()
            except StreamError as error:
                logger.error("the end of the stream is lost: %s", error)
            if poller.waiting:
                left[poller.function] = list(poller.waiting)
        await self._session.close()
        draft = self._saved.with_suffix(".tmp")
        draft.write_text(json.dumps(left))
        draft.replace(self._saved)


class _StreamPoller:
    """One event source mapping. ``waiting`` are the records that the function has not taken."""

    def __init__(
        self,
        host: Functions,
        service: JsonService,
        source: StreamSource,
        table: str,
        saved: Sequence[Change],
    ) -> None:
        self.function = source.function
        self.waiting: deque[Change] = deque(saved)
        self._host = host
        self._service = service
        self._source = source
        self._table = table
        self._arn = ""
        self._iterator: str | None = None
        self._last_read: str | None = None

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            try:
                if not self.waiting and not await self._read():
                    await asyncio.sleep(IDLE_PAUSE)
            except StreamError as error:
                logger.error("reading the stream of %s failed: %s", self._table, error)
                self._iterator = None
                await asyncio.sleep(RETRY_PAUSE)
            while self.waiting:
                await self._hand_over(min(self._source.batch_size, len(self.waiting)))

    async def read_to_the_end(self) -> None:
        """Read all that is in the stream now. Raises StreamError."""
        while await self._read():
            pass

    async def _read(self) -> int:
        """Read once; gives how many records there were, of which the matching ones now wait."""
        if self._iterator is None:
            self._iterator = await self._position()
        answer = await self._service.call(
            "GetRecords", {"ShardIterator": self._iterator, "Limit": READ_LIMIT}
        )
        records: list[Change] = answer["Records"]
        self._iterator = answer["NextShardIterator"]
        if records:
            self._last_read = records[-1]["dynamodb"]["SequenceNumber"]
        patterns = self._source.patterns
        self.waiting.extend(
            {**record, "eventSourceARN": self._arn}
            for record in records
            if not patterns or any(matches(pattern, record) for pattern in patterns)
        )
        return len(records)

    async def _position(self) -> str:
        """An iterator behind what was read. The embedded AWS has one shard for each stream."""
        found = await self._service.call("ListStreams", {"TableName": self._table})
        if not found["Streams"]:
            raise StreamError(f"{self._table} has no stream")
        self._arn = found["Streams"][0]["StreamArn"]
        stream = await self._service.call("DescribeStream", {"StreamArn": self._arn})
        shards = stream["StreamDescription"]["Shards"]
        start: dict[str, Any] = {"ShardIteratorType": "TRIM_HORIZON"}
        if self._last_read is not None:
            start = {
                "ShardIteratorType": "AFTER_SEQUENCE_NUMBER",
                "SequenceNumber": self._last_read,
            }
        answer = await self._service.call(
            "GetShardIterator",
            {"StreamArn": self._arn, "ShardId": shards[0]["ShardId"], **start},
        )
        return str(answer["ShardIterator"])

    async def _hand_over(self, size: int) -> None:
        """Give the function the first ``size`` records until it has taken them all."""
        attempts = 0
        while size:
            taken = await self._invoke(size)
            for _ in range(taken):
                self.waiting.popleft()
            size -= taken
            if not size:
                return
            attempts = 0 if taken else attempts + 1
            if self._source.retries is not None and attempts > self._source.retries:
                logger.error("%s: %d records are given up", self.function, size)
                for _ in range(size):
                    self.waiting.popleft()
                return
            await asyncio.sleep(min(RETRY_PAUSE * 2.0 ** min(attempts, 10), LONGEST_PAUSE))
            if self._source.bisect and not taken and size > 1:
                half = size // 2
                await self._hand_over(half)
                size -= half
                attempts = 0

    async def _invoke(self, size: int) -> int:
        """Give the function the first records once; gives how many of them it has taken."""
        batch = [self.waiting[index] for index in range(size)]
        try:
            invocation = self._host.invoke(self.function, json.dumps({"Records": batch}).encode())
            answer = await invocation.payload_or_error()
        except FunctionError as error:
            logger.error("%s failed on a batch of %d: %s", self.function, size, error)
            return 0
        taken = taken_of(batch, answer) if self._source.partial else size
        if taken < size:
            logger.warning("%s: it took %d of a batch of %d", self.function, taken, size)
        return taken


def taken_of(batch: Sequence[Change], answer: bytes) -> int:
    """How many records, from the first, a ReportBatchItemFailures answer lets pass.

    As in Lambda: the first that is named stops all that follow, nothing named is full success,
    and an answer that makes no sense is full failure.
    """
    numbers = [record["dynamodb"]["SequenceNumber"] for record in batch]
    try:
        failures = (json.loads(answer) or {}).get("batchItemFailures") or []
        return min((numbers.index(one["itemIdentifier"]) for one in failures), default=len(batch))
    except (AttributeError, KeyError, TypeError, ValueError):
        return 0


def check_pattern(pattern: Any) -> None:
    """Raise TemplateError for a filter pattern that ``matches`` does not understand."""
    if isinstance(pattern, Mapping):
        for inner in pattern.values():
            check_pattern(inner)
        return
    if not isinstance(pattern, list) or not all(_is_known(rule) for rule in pattern):
        raise TemplateError(f"The local stack does not understand the filter {pattern!r}.")


def _is_known(rule: Any) -> bool:
    if not isinstance(rule, Mapping):
        return not isinstance(rule, list)
    if len(rule) != 1:
        return False
    ((kind, operand),) = rule.items()
    kinds: dict[str, tuple[type, ...]] = {
        "prefix": (str,),
        "exists": (bool,),
        "anything-but": (str, list),
    }
    return isinstance(operand, kinds.get(str(kind), ()))


def matches(pattern: Mapping[str, Any], value: Any) -> bool:
    """Whether a record matches a filter pattern: every field that it names, by any of its rules."""
    for name, rules in pattern.items():
        present = isinstance(value, Mapping) and name in value
        inner = value[name] if present else None
        if isinstance(rules, Mapping):
            if not matches(rules, inner):
                return False
        elif not any(_follows(rule, inner, present) for rule in rules):
            return False
    return True


def _follows(rule: Any, value: Any, present: bool) -> bool:
    if not isinstance(rule, Mapping):
        return present and bool(value == rule)
    ((kind, operand),) = rule.items()
    if kind == "exists":
        return present is operand
    if not present:
        return False
    if kind == "prefix":
        return isinstance(value, str) and value.startswith(operand)
    unwanted = operand if isinstance(operand, list) else [operand]
    return value not in unwanted
