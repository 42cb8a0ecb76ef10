"""AWS requests that follow each other until a caller has what was asked for, at 5 ms each.

The service's own code runs over a store, a bucket and a queue that only count: no time is measured.
A process has served before, so that it knows its tenants' limits, the hosts' lists and the
configuration; the authorizer's look at the key is not in it. What is asked beside something else,
which takes at least as long, is counted in ``all`` alone. ``before`` is until the SD host begins
to draw (nobody waits for the GPU yet, the caller does), ``after`` from its answer to the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.targets import AtMost
from robotchat.art.requests import Text2ImageRequest
from robotchat.conversation import ChatImageRequest
from robotchat.drivers.fake import FakeArt
from robotchat.images import MemoryImages
from robotchat.jobs.job import Job
from robotchat.robot import Robot
from tests.cases.clock import FakeClock
from tests.cases.counted import CountedRecords

MILLISECONDS_EACH = 5
HOSTS = (1, 100)

TARGETS = {
    f"{hosts} hosts: Text2Image, all (requests)": AtMost(most)
    for hosts, most in ((1, 9), (100, 11))
} | {f"{hosts} hosts: reading a queued job (requests)": AtMost(3) for hosts in HOSTS}


class Counters:
    """All that is asked of AWS, and what of it is asked one after the other."""

    def __init__(self) -> None:
        self.records = CountedRecords()
        self.others = 0

    @property
    def total(self) -> int:
        return self.records.total + self.others

    @property
    def in_a_row(self) -> int:
        return self.records.in_a_row + self.others


class CountedImages(MemoryImages):
    def __init__(self, counters: Counters) -> None:
        super().__init__()
        self._counters = counters

    def put(self, key: str, data: bytes, content_type: str) -> None:
        self._counters.others += 1
        super().put(key, data, content_type)

    def get(self, key: str) -> bytes:
        self._counters.others += 1
        return super().get(key)


class CountedQueue:
    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def send(self, job: Job, *, delay: float = 0.0) -> None:
        self._counters.others += 1

    def backlog(self) -> int:
        return 0


class Art(FakeArt):
    """A host that notes how much was asked of AWS when it begins to draw."""

    def __init__(self, counters: Counters) -> None:
        super().__init__()
        self._counters = counters
        self.began = 0

    def txt2img(self, body: Mapping[str, Any], *, timeout: float | None = None) -> dict[str, Any]:
        self.began = self._counters.in_a_row
        return super().txt2img(body, timeout=timeout)


def measure() -> dict[str, float]:
    figures: dict[str, float] = {}
    for hosts in HOSTS:
        for kind, requests in _of_each_kind(hosts).items():
            figures[f"{hosts} hosts: {kind} (requests)"] = requests
            if not kind.endswith(", all"):
                figures[f"{hosts} hosts: {kind} (ms)"] = requests * MILLISECONDS_EACH
    return figures


def _of_each_kind(hosts: int) -> dict[str, int]:
    counters = Counters()
    arts = {f"sd-{number:03d}": Art(counters) for number in range(hosts)}
    robot = Robot(
        art=arts,
        records=counters.records,
        images=CountedImages(counters),
        queue=CountedQueue(counters),
        clock=FakeClock(),
    )
    request = Text2ImageRequest(prompt="a beach")
    found: dict[str, int] = {}

    def counted(work: Callable[[], Job]) -> tuple[Job, int, int]:
        """What it gave, and the requests in a row before and after the drawing began."""
        for art in arts.values():
            art.began = 0
        start = counters.in_a_row
        job = work()
        began = max(art.began for art in arts.values()) or counters.in_a_row
        return job, began - start, counters.in_a_row - began

    for _ in range(3):
        robot.text2image(request)
    start = counters.total
    _, before, after = counted(lambda: robot.text2image(request))
    found |= {
        "Text2Image, before": before,
        "Text2Image, after": after,
        "Text2Image, all": counters.total - start,
    }
    first, accepted, _ = counted(
        lambda: robot.submit_chat_image(ChatImageRequest(message="a beach"))
    )
    found["chat image, first turn, until 202"] = accepted
    _, reading, _ = counted(lambda: _read(robot, first))
    found["reading a queued job"] = reading
    _, before, after = counted(lambda: robot.run(first.id))
    found |= {"chat image, the worker, before": before, "chat image, the worker, after": after}
    later = ChatImageRequest(message="at sunset", conversation_id=first.conversation_id)
    _, accepted, _ = counted(lambda: robot.submit_chat_image(later))
    found["chat image, later turn, until 202"] = accepted
    return found


def _read(robot: Robot, job: Job) -> Job:
    found = robot.jobs.get(job.id, job.tenant)
    robot.estimate(found)
    return found
