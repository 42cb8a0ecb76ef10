"""What is used up first, and at how many jobs a second, with 10, 100 and 1,000 SD hosts.

The service's own code runs over a store that counts what DynamoDB would count, with hosts that draw
at once and a clock that is only set forward: no time is measured, and each run gives the same
figures. What a job and a waiter use is held against what AWS publishes as limits (November 2026):
DynamoDB https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html and
.../bp-partition-key-design.html, Lambda
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html, S3
https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html.

All jobs are those of one tenant without limits, which is the worst case; its callers read each of
them four times while it waits. What follows from a job's end (events, webhooks) is read by one
function for all tenants from the table's stream, and is not in it. ``python -m
benchmarks.scale --hosts 100 --waiters 50 --jobs 20`` tells how far so much work is from each limit.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from benchmarks.targets import AtMost
from robotchat.art.bot import ArtBot
from robotchat.art.requests import Text2ImageRequest
from robotchat.drivers.fake import FakeArt
from robotchat.errors import UpstreamBusy
from robotchat.hosts.lease import Host
from robotchat.hosts.pool import HostPool
from robotchat.records import Add, Entry, Index, MemoryRecords, Operation, Page, Record
from robotchat.robot import Robot
from tests.cases.clock import FakeClock
from tests.cases.counted import CountedRecords
from tests.cases.limits import HeldQueue

SIZES = (10, 100, 1000)
JOBS = 160
DRAW_SECONDS = 5.0
"""Of a picture on a real host: 512 x 512, 20 steps, on a middling GPU."""
WORKER_SECONDS = DRAW_SECONDS + 0.3
READS_OF_A_JOB = 4
"""How often a caller asks for its job until it has ended."""
JOB_BYTES = 3000
"""Of a job's record with all that a real host says of a picture."""
ENTRY_BYTES = 150
"""Of an index entry: keys and labels."""
WAIT = 60.0

PARTITION_WRITES, PARTITION_READS = 1000.0, 3000.0
TABLE_WRITES, TABLE_READS = 40_000.0, 40_000.0
CONCURRENCY = 1000.0
PUTS_OF_A_PREFIX = 3500.0

TARGETS = {
    f"{size} hosts: requests of {what}": AtMost(most)
    for size in SIZES
    for what, most in (
        ("a Text2Image", 10),
        ("a queued job", 12),
        ("each reading of it", 3),
        ("a waiter in a second", 4),
    )
}


class MeteredRecords(CountedRecords):
    """Counts the units that DynamoDB would count, by where they are used: in the table or one of
    its indexes, and under which partition key."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: Counter[tuple[str, str]] = Counter()
        self.reads: Counter[tuple[str, str]] = Counter()

    def reset(self) -> None:
        super().reset()
        self.writes.clear()
        self.reads.clear()

    def get(self, pk: str, sk: str) -> Record | None:
        found = super().get(pk, sk)
        self._read(pk, found)
        return found

    def get_all(self, keys: Sequence[tuple[str, str]]) -> list[Record | None]:
        found = super().get_all(keys)
        for (pk, _), record in zip(keys, found, strict=True):
            self._read(pk, record)
        return found

    def commit(self, *operations: Operation) -> None:
        before = [_key(operation) for operation in operations]
        earlier = [MemoryRecords.get(self, *key) for key in before]
        try:
            super().commit(*operations)
        finally:
            # A write that is refused costs as much.
            transaction = len(operations) > 1 or isinstance(operations[0], Add)
            for (pk, sk), old in zip(before, earlier, strict=True):
                new = MemoryRecords.get(self, pk, sk)
                units = math.ceil(max(_size(old), _size(new), 1) / 1024)
                self.writes["table", pk] += 2 * units if transaction else units
                self._moved(old, new)

    def query(self, index: Index, partition: str, **options: Any) -> Page:
        page = super().query(index, partition, **options)
        self._scanned(index, partition, len(page.records))
        for record in page.records:
            self._read(record.pk, record)
        return page

    def count(
        self, index: Index, partition: str, *, up_to: str, labels: Mapping[str, str], limit: int
    ) -> int:
        self._scanned(index, partition, limit)
        return super().count(index, partition, up_to=up_to, labels=labels, limit=limit)

    def entries(
        self, index: Index, partition: str, *, after: str | None = None, limit: int
    ) -> list[Entry]:
        found = super().entries(index, partition, after=after, limit=limit)
        self._scanned(index, partition, len(found))
        return found

    def _read(self, pk: str, record: Record | None) -> None:
        self.reads["table", pk] += math.ceil(max(_size(record), 1) / 4096)

    def _scanned(self, index: str, partition: str, entries: int) -> None:
        # Half a unit for 4 KB, since an index is read as it may have been a moment ago.
        self.reads[index, partition] += max(math.ceil(entries * ENTRY_BYTES / 4096), 1) * 0.5  # type: ignore[assignment]

    def _moved(self, old: Record | None, new: Record | None) -> None:
        for index in ("owner", "group", "due"):
            was = getattr(old, index) if old else None
            now = getattr(new, index) if new else None
            if was == now:
                relabelled = old and new and old.labels != new.labels
                if now is not None and index == "owner" and relabelled:
                    self.writes[index, now[0]] += 1
                continue
            for place in (was, now):
                if place is not None:
                    self.writes[index, place[0]] += 1


def _key(operation: Operation) -> tuple[str, str]:
    if isinstance(operation, Add):
        return operation.pk, operation.sk
    return operation.record.pk, operation.record.sk


def _size(record: Record | None) -> int:
    if record is None:
        return 0
    size = len(json.dumps(record.data)) + 200
    return max(size, JOB_BYTES) if record.pk.startswith("job#") else size


@dataclass(frozen=True)
class Limit:
    """Something of which there is so much a second, what of it a job uses, and what all who wait
    for a host use of it in a second."""

    name: str
    most: float
    per_job: float
    per_waiter: float = 0.0

    def rate(self) -> float:
        """At how many jobs a second it is used up; infinite if a job uses nothing of it."""
        return self.most / self.per_job if self.per_job else math.inf

    def used(self, jobs: float, waiters: float) -> float:
        """The share that is used by so many jobs a second and so many waiters."""
        return (jobs * self.per_job + waiters * self.per_waiter) / self.most


@dataclass(frozen=True)
class Figures:
    """What was counted for one number of hosts."""

    hosts: int
    text2image: int
    """Requests of a Text2Image whose caller waits, when a host is free."""
    taken_in: float
    """Requests of a queued job until it is stored and its id is in the queue."""
    run: float
    """The same of whoever runs it, from its id to its stored picture."""
    reading: float
    """The same of its caller each time that he reads it while it waits."""
    waiter: float
    """Requests of one who waits for a host, in a second."""
    limits: Sequence[Limit]

    def first(self) -> Limit:
        """What is used up first, besides the hosts themselves."""
        return min(self.limits, key=Limit.rate)


def examine(size: int) -> Figures:
    """Count what jobs and waiters use with so many hosts."""
    random.seed(size)
    clock, records, queue = FakeClock(), MeteredRecords(), HeldQueue()
    names = [f"sd-{number:04d}" for number in range(size)]
    arts = {name: FakeArt() for name in names}
    robot = Robot(art=arts, records=records, clock=clock, queue=queue)
    request = Text2ImageRequest(prompt="a beach", width=512, height=512, steps=20)
    for _ in range(3):
        robot.text2image(request)
    records.reset()
    robot.text2image(request)
    text2image = records.total

    records.reset()
    taken_in = reading = 0
    for number in range(JOBS):
        before = records.total
        job = robot.submit_image(request, tenant="acme", job_id=f"job_{number:020d}")
        taken_in += records.total - before
        clock.advance(0.5)
        before = records.total
        for _ in range(READS_OF_A_JOB):
            robot.estimate(robot.jobs.get(job.id, "acme"))
        reading += records.total - before
        robot.run(job.id)
    run = (records.total - taken_in - reading) / JOBS
    writes, reads = Counter(records.writes), Counter(records.reads)

    pool = HostPool([Host(name, ArtBot(art)) for name, art in arts.items()], records, clock)
    for state in pool.states():
        until = clock.now() + timedelta(seconds=2 * WAIT)
        pool.write(state.changed(holder="somebody", holder_until=until, ends_at=None))
    records.reset()
    with suppress(UpstreamBusy), pool.lease(patience=WAIT):
        raise AssertionError("no host is free")
    waiter = records.total / WAIT
    waiting = records.reads["owner", "hosts"] / WAIT

    lookups = Counter({key: units / JOBS for key, units in reads.items()})
    limits = [
        Limit("the SD hosts", size / DRAW_SECONDS, 1.0),
        Limit("Lambda's concurrent executions (account)", CONCURRENCY, WORKER_SECONDS, 1.0),
        Limit("S3 PUTs of a tenant's prefix", PUTS_OF_A_PREFIX, 1.0),
        # A sign of life each second writes the job, and nothing else.
        Limit(
            "writes of the table",
            TABLE_WRITES,
            _of(writes, "table") / JOBS + DRAW_SECONDS * math.ceil(JOB_BYTES / 1024),
        ),
        Limit("reads of the table", TABLE_READS, _of(lookups, "table") + DRAW_SECONDS),
    ]
    for index in ("owner", "due", "group"):
        limits.append(
            Limit(f"writes of the index {index}", TABLE_WRITES, _of(writes, index) / JOBS)
        )
    limits += [
        Limit(f"writes of one key: {name}", PARTITION_WRITES, units / JOBS)
        for name, units in _by_kind(writes).items()
    ]
    limits += [
        Limit(
            f"reads of one key: {name}",
            PARTITION_READS,
            units,
            waiting if name == "the hosts in the index owner" else 0.0,
        )
        for name, units in _by_kind(lookups).items()
    ]
    return Figures(
        size,
        text2image,
        taken_in / JOBS,
        run,
        reading / JOBS / READS_OF_A_JOB,
        waiter,
        limits,
    )


def _of(units: Mapping[tuple[str, str], float], where: str) -> float:
    return sum(number for (place, _), number in units.items() if place == where)


def _by_kind(units: Mapping[tuple[str, str], float]) -> dict[str, float]:
    """The units under one key of each kind of key that many jobs share, on average."""
    kinds: dict[str, list[float]] = {}
    for (where, key), number in units.items():
        kind = _kind(where, key)
        if kind is not None:
            kinds.setdefault(kind, []).append(number)
    return {kind: sum(numbers) / len(numbers) for kind, numbers in kinds.items()}


def _kind(where: str, key: str) -> str | None:
    """What a partition key is for; None for those of single jobs and hosts."""
    if where == "table":
        return "a tenant's counters, options and limits" if key.startswith("tenant#") else None
    name = {
        "hosts": "the hosts",
        "acme#jobs": "a tenant's jobs",
        "local#jobs": None,
    }.get(key, key.partition("#")[0])
    names = {"loaded": "the hosts with a checkpoint", "job": "open jobs", "files": "files"}
    return f"{names.get(name, name)} in the index {where}" if name else None


def measure() -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for size in SIZES:
        found = examine(size)
        others = [limit for limit in found.limits if limit.name != "the SD hosts"]
        first = min(others, key=Limit.rate)
        figures |= {
            f"{size} hosts: requests of a Text2Image": found.text2image,
            f"{size} hosts: requests of a queued job": round(found.taken_in + found.run, 1),
            f"{size} hosts: requests of each reading of it": round(found.reading, 1),
            f"{size} hosts: requests of a waiter in a second": round(found.waiter, 1),
            f"{size} hosts: jobs a second that they draw": size / DRAW_SECONDS,
            f"{size} hosts: jobs a second before a limit of AWS": round(first.rate()),
            f"{size} hosts: which is": first.name,
        }
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--hosts", type=int, nargs="+", default=SIZES)
    parser.add_argument("--waiters", type=float, default=10.0, help="who wait for a host")
    parser.add_argument("--jobs", type=float, default=1.0, help="a second")
    asked = parser.parse_args()
    for size in asked.hosts:
        found = examine(size)
        print(
            f"\n{size} hosts: {found.taken_in:.1f} requests to take a job in, {found.run:.1f} to "
            f"run it, {found.reading:.1f} for each time that its caller reads it while it waits\n"
            f"first: {found.first().name}"
        )
        for limit in sorted(found.limits, key=Limit.rate):
            share = limit.used(asked.jobs, asked.waiters)
            print(f"  {limit.name:<58}{limit.rate():>10.0f} jobs/s{share:>10.1%} used")
    return 0


if __name__ == "__main__":
    sys.exit(main())
