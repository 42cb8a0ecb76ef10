"""Event source mappings and schedules, as Lambda and EventBridge apply them.

Per queue: batches up to the batch size (waiting for the batching window), at most so many at once,
acknowledgement of what succeeded, partial batch failures; what failed is left to the visibility
timeout. Schedules run by ``rate(...)`` or ``cron(...)``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from dev.stack.lambda_host import ACCOUNT, Functions
from dev.stack.runtime_api import FunctionError
from dev.stack.sqs import Sqs, SqsError
from dev.template import QueueSource, Schedule, TemplateError

# The emulator looks every 100 ms during a long poll. While messages flow we ask more often.
BUSY_PAUSE = 0.01
BUSY_FOR = 2.0
LONG_POLL = 1  # seconds; the emulator's shutdown waits for long polls
RETRY_PAUSE = 0.5

logger = logging.getLogger("dev.stack.poller")


class Poller:
    """Feeds queues and schedules to the functions until it is closed."""

    def __init__(self, host: Functions, *, endpoint: str, region: str) -> None:
        self._host = host
        self._endpoint = endpoint
        self._region = region
        self._session: aiohttp.ClientSession | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(
        self,
        sources: Sequence[QueueSource],
        queue_urls: Mapping[str, str],
        schedules: Sequence[Schedule] = (),
    ) -> list[asyncio.Task[None]]:
        """Begin; ``queue_urls`` are by logical ID. The returned tasks do not end by themselves.

        Raises TemplateError for a schedule that it does not understand.
        """
        timetables = [(schedule, Timetable(schedule.expression)) for schedule in schedules]
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=LONG_POLL + 20),
        )
        sqs = Sqs(self._session, self._endpoint, self._region)
        self._tasks = [
            asyncio.create_task(
                _QueuePoller(self._host, sqs, source, queue_urls[source.queue], self._region).run(),
                name=f"the poller of {source.queue}",
            )
            for source in sources
        ]
        self._tasks += [
            asyncio.create_task(
                self._run_schedule(schedule, timetable), name=f"the schedule of {schedule.function}"
            )
            for schedule, timetable in timetables
        ]
        return self._tasks

    async def close(self) -> None:
        """Stop asking for messages. What is in hand goes back by its visibility timeout."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _run_schedule(self, schedule: Schedule, timetable: Timetable) -> None:
        while True:
            due = timetable.after(datetime.now(UTC))
            await asyncio.sleep(max(0.0, (due - datetime.now(UTC)).total_seconds()))
            event = schedule.input or json.dumps(_scheduled_event(schedule, due, self._region))
            try:
                await self._host.invoke(schedule.function, event.encode()).payload_or_error()
            except FunctionError as error:
                logger.error("%s, run by its schedule, failed: %s", schedule.function, error)


class _QueuePoller:
    """One event source mapping."""

    def __init__(
        self, host: Functions, sqs: Sqs, source: QueueSource, queue_url: str, region: str
    ) -> None:
        self._host = host
        self._sqs = sqs
        self._source = source
        self._queue_url = queue_url
        self._arn = f"arn:aws:sqs:{region}:{ACCOUNT}:{queue_url.rsplit('/', 1)[-1]}"
        self._region = region
        self._free = asyncio.Semaphore(source.concurrency)
        self._active_until = 0.0
        self._batches: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Poll until cancelled; the batches in hand are then cancelled too."""
        try:
            while True:
                try:
                    await self._once()
                except SqsError as error:
                    logger.error("polling %s failed: %s", self._source.queue, error)
                    await asyncio.sleep(RETRY_PAUSE)
        finally:
            for batch in self._batches:
                batch.cancel()
            await asyncio.gather(*self._batches, return_exceptions=True)

    async def _once(self) -> None:
        size = self._source.batch_size
        await self._free.acquire()
        slots = 1
        while slots * size < 10 and not self._free.locked():
            await self._free.acquire()  # a free one: this does not wait
            slots += 1
        try:
            messages = await self._collect(slots * size)
            for start in range(0, len(messages), size):
                batch = asyncio.create_task(self._deliver(messages[start : start + size]))
                slots -= 1
                self._batches.add(batch)
                batch.add_done_callback(self._batch_done)
        finally:
            for _ in range(slots):
                self._free.release()

    def _batch_done(self, batch: asyncio.Task[None]) -> None:
        self._batches.discard(batch)
        self._free.release()
        self._active_until = asyncio.get_running_loop().time() + BUSY_FOR
        if not batch.cancelled() and (error := batch.exception()) is not None:
            logger.error("a batch of %s was lost: %r", self._source.queue, error)

    async def _collect(self, limit: int) -> list[dict[str, Any]]:
        """The next messages, none after a while; a part of a batch waits for the window."""
        loop = asyncio.get_running_loop()
        size = self._source.batch_size
        busy = loop.time() < self._active_until
        messages = await self._receive(limit, 0 if busy else LONG_POLL)
        if not messages and busy:
            await asyncio.sleep(BUSY_PAUSE)
        if messages:
            self._active_until = loop.time() + BUSY_FOR
        until = loop.time() + self._source.window
        while messages and len(messages) < size and (left := until - loop.time()) > 0:
            await asyncio.sleep(min(left, 0.05))
            messages += await self._receive(size - len(messages), 0)
        return messages

    async def _receive(self, limit: int, wait: int) -> list[dict[str, Any]]:
        return await self._sqs.receive(self._queue_url, min(10, limit), wait)

    async def _deliver(self, messages: list[dict[str, Any]]) -> None:
        event = {"Records": [self._record(message) for message in messages]}
        function = self._source.function
        try:
            invocation = self._host.invoke(function, json.dumps(event).encode())
            answer = await invocation.payload_or_error()
        except FunctionError as error:
            logger.error("%s failed on a batch of %d: %s", function, len(messages), error)
            return
        done = succeeded(messages, answer) if self._source.partial else messages
        if len(done) < len(messages):
            logger.warning("%s: %d of a batch failed", function, len(messages) - len(done))
        if done:
            try:
                await self._sqs.delete(self._queue_url, done)
            except SqsError as error:
                logger.error("%s: its messages will come again: %s", function, error)

    def _record(self, message: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message.get("Attributes") or {},
            "messageAttributes": {
                name: {
                    key[0].lower() + key[1:]: value
                    for key, value in {
                        "StringListValues": [],
                        "BinaryListValues": [],
                        **attribute,
                    }.items()
                }
                for name, attribute in (message.get("MessageAttributes") or {}).items()
            },
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": self._arn,
            "awsRegion": self._region,
        }


def succeeded(messages: Sequence[dict[str, Any]], answer: bytes) -> list[dict[str, Any]]:
    """The messages that a ReportBatchItemFailures answer does not name.

    As in Lambda: nothing named is full success, and an answer that names an unknown message or
    makes no sense is full failure.
    """
    try:
        document = json.loads(answer)
        failures = (document or {}).get("batchItemFailures") or []
        failed = {failure["itemIdentifier"] for failure in failures}
    except (AttributeError, KeyError, TypeError, ValueError):
        return []
    if not failed <= {message["MessageId"] for message in messages}:
        return []
    return [message for message in messages if message["MessageId"] not in failed]


def _scheduled_event(schedule: Schedule, due: datetime, region: str) -> dict[str, Any]:
    rule = f"arn:aws:events:{region}:{ACCOUNT}:rule/{schedule.function}{schedule.name}"
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": ACCOUNT,
        "time": due.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": region,
        "resources": [rule],
        "detail": {},
    }


class Timetable:
    """When a ``rate(...)`` or ``cron(...)`` expression is due, in UTC.

    Cron fields may hold ``*``, ``?``, numbers, lists, ranges and steps. Raises TemplateError for
    anything else.
    """

    def __init__(self, expression: str) -> None:
        self._fields: list[set[int] | None] = []
        self._every = timedelta()
        rate = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", expression)
        cron = re.fullmatch(r"cron\((\S+) (\S+) (\S+) (\S+) (\S+) (\S+)\)", expression)
        if rate and int(rate[1]) > 0:
            self._every = timedelta(**{f"{rate[2]}s": int(rate[1])})
        elif cron:
            bounds = ((0, 59), (0, 23), (1, 31), (1, 12), (1, 7), (1970, 2199))
            self._fields = [
                _cron_field(text, *bound, expression)
                for text, bound in zip(cron.groups(), bounds, strict=True)
            ]
        else:
            raise TemplateError(f"The local stack does not understand the schedule {expression!r}.")

    def after(self, moment: datetime) -> datetime:
        """The first time due after a moment."""
        if not self._fields:
            return moment + self._every
        due = moment.replace(second=0, microsecond=0)
        for _ in range(366 * 24 * 60):
            due += timedelta(minutes=1)
            weekday = due.isoweekday() % 7 + 1  # Sunday is 1
            values = (due.minute, due.hour, due.day, due.month, weekday, due.year)
            pairs = zip(self._fields, values, strict=True)
            if all(allowed is None or value in allowed for allowed, value in pairs):
                return due
        raise TemplateError("A cron schedule is not due within a year.")


def _cron_field(text: str, low: int, high: int, expression: str) -> set[int] | None:
    """The values that a cron field allows; None for all."""
    if text in ("*", "?"):
        return None
    allowed: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\*|\d+)(?:-(\d+))?(?:/(\d+))?", part)
        if match is None:
            raise TemplateError(f"The local stack does not understand the schedule {expression!r}.")
        first = low if match[1] == "*" else int(match[1])
        last = int(match[2] or (high if match[1] == "*" or match[3] else first))
        allowed.update(range(first, last + 1, int(match[3] or 1)))
    return allowed
