"""Following a job: each change is told once, over however many connections."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from robotchat.aws import wiring
from robotchat.aws.job_events import has_seen_the_end, job_events
from robotchat.clock import SystemClock
from robotchat.drivers.fake import FakeArt
from robotchat.jobs.job import Job, JobStatus
from tests.cases.service import Service


@dataclass
class Told:
    """An event as a client of server-sent events reads it."""

    name: str
    data: Any
    id: str
    retry: str | None


def read(chunk: bytes) -> Told:
    fields = dict(line.split(": ", 1) for line in chunk.decode().strip().splitlines())
    return Told(fields["event"], json.loads(fields["data"]), fields["id"], fields.get("retry"))


@pytest.fixture
def service() -> Iterator[Service]:
    with Service.over([FakeArt()]) as service:
        yield service


def queued(service: Service) -> str:
    answer = service.call("chat/chat_text2image", {"message": "a beach"})
    return str(answer.body["id"])


def change(job_id: str, **fields: Any) -> None:
    wiring.robot().jobs.change(job_id, lambda job, now: job.model_copy(update=fields))


class Following:
    """A client that follows a job; ``steps`` happen one by one while it is silent.

    After the last of them its connection reaches its time.
    """

    def __init__(self, job_id: str, *steps: Callable[[], None]) -> None:
        self.job_id = job_id
        self.steps = list(steps)
        self.now = 0.0
        self.last_id: str | None = None

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.steps:
            self.steps.pop(0)()
        else:
            self.now += 1000

    def connect(self, last_event_id: str | None = None) -> Iterator[Told]:
        job = wiring.robot().jobs.get(self.job_id, "dev")
        for chunk in job_events(
            job,
            seconds=150,
            last_event_id=last_event_id,
            sleep=self.sleep,
            monotonic=lambda: self.now,
        ):
            told = read(chunk)
            self.last_id = told.id
            yield told


def running(**fields: Any) -> dict[str, Any]:
    return {"status": JobStatus.RUNNING, "started_at": SystemClock().now(), **fields}


def test_a_connection_ends_in_time_and_says_where_to_go_on(service: Service) -> None:
    job_id = queued(service)
    client = Following(job_id, lambda: change(job_id, **running(progress=0.25)))
    told = list(client.connect())
    assert [one.name for one in told] == ["snapshot", "status", "progress", "timeout"]
    assert told[-1].data == {"id": job_id}
    assert told[-1].retry == "1000"
    assert len({one.id for one in told[:3]}) == 3


def test_who_comes_back_is_told_what_has_changed_and_nothing_else(service: Service) -> None:
    job_id = queued(service)
    first = Following(job_id, lambda: change(job_id, **running(progress=0.25)))
    list(first.connect())
    again = Following(job_id)
    assert [one.name for one in again.connect(first.last_id)] == ["timeout"]
    change(job_id, progress=0.5)
    third = Following(job_id)
    told = list(third.connect(again.last_id))
    assert [(one.name, one.data.get("progress")) for one in told] == [
        ("progress", 0.5),
        ("timeout", None),
    ]


@pytest.mark.parametrize("cut_after", range(1, 6))
def test_nothing_is_lost_or_repeated_wherever_a_connection_breaks(
    service: Service, cut_after: int
) -> None:
    job_id = queued(service)
    wiring.deployment().images.put("tenants/dev/preview.png", b"png", "image/png")
    steps = [
        lambda: change(job_id, **running(progress=0.1)),
        lambda: change(job_id, progress=0.5, preview="tenants/dev/preview.png"),
        lambda: change(job_id, progress=0.6, reason="waiting_for_host"),
        lambda: change(job_id, **ended()),
    ]
    client = Following(job_id, *steps)
    told = []
    connection = client.connect()
    for _ in range(cut_after):
        told.append(next(connection))
    connection.close()  # type: ignore[attr-defined]
    told += client.connect(client.last_id)
    # An id says what has been told up to its event: one that comes twice told nothing new.
    assert len({one.id for one in told}) == len(told)
    assert [one.name for one in told].count("snapshot") == 1
    assert [one.name for one in told].count("preview") >= 1
    assert (told[-1].name, told[-1].data["status"]) == ("done", "succeeded")


def ended() -> dict[str, Any]:
    return {"status": JobStatus.SUCCEEDED, "progress": 1.0, "finished_at": SystemClock().now()}


def test_who_has_seen_the_end_is_not_told_again(service: Service) -> None:
    job_id = queued(service)
    change(job_id, **running())
    change(job_id, **ended())
    client = Following(job_id)
    assert [one.name for one in client.connect()] == ["snapshot", "done"]
    job: Job = wiring.robot().jobs.get(job_id, "dev")
    assert has_seen_the_end(job, client.last_id)
    again = Following(job_id)
    assert [one.name for one in again.connect("of-another-server")] == ["snapshot", "done"]
