"""The sweeper finds what is due in many partitions, in batches, and goes on where it stopped."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from robotchat.art.requests import Text2ImageRequest
from robotchat.drivers.fake import FakeArt
from robotchat.jobs.job import Job
from robotchat.jobs.states import claim, update
from robotchat.jobs.store import DUE_SHARDS
from robotchat.lifecycle.sweep import LOST_FOR_CERTAIN
from robotchat.records import Put, every
from robotchat.robot import Robot
from tests.cases.clock import FakeClock
from tests.cases.counted import CountedRecords
from tests.cases.limits import HeldQueue


class Office:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.records = CountedRecords()
        self.queue = HeldQueue()
        self.robot = Robot(art=FakeArt(), records=self.records, queue=self.queue, clock=self.clock)

    def submit(self, count: int) -> list[str]:
        request = Text2ImageRequest(prompt="a beach")
        return [self.robot.submit_image(request).id for _ in range(count)]

    def places(self) -> dict[str, str]:
        """In which partition of the index of what is due each job is."""
        return {
            record.pk.removeprefix("job#"): f"job#{shard}"
            for shard in range(DUE_SHARDS)
            for record in every(self.records, "due", f"job#{shard}")
        }


def test_jobs_are_spread_over_the_index_of_what_is_due() -> None:
    office = Office()
    jobs = office.submit(200)
    places = office.places()
    assert set(places) == set(jobs)
    counts = Counter(places.values())
    assert len(counts) == DUE_SHARDS
    assert max(counts.values()) < 60


def test_signs_of_life_do_not_move_a_job_in_the_index() -> None:
    office = Office()
    (job_id,) = office.submit(1)
    office.robot.jobs.change(job_id, lambda j, now: claim(j, now))
    before = office.records.get(f"job#{job_id}", "job")
    for _ in range(3):
        office.clock.advance(20)
        office.robot.jobs.change(job_id, lambda j, now: update(j, 1, now, progress=0.5))
        after = office.records.get(f"job#{job_id}", "job")
        assert before
        assert after
        assert after.due == before.due
        assert after.version > before.version
    assert office.robot.sweeper.sweep() == [], "it is alive"
    office.clock.advance(300)
    assert [found.id for found in office.robot.sweeper.sweep()] == [job_id]


def test_a_sweep_costs_little_when_nothing_is_due() -> None:
    office = Office()
    office.records.reset()
    office.robot.sweeper.sweep()
    assert office.records.total <= DUE_SHARDS + 1


@pytest.mark.parametrize("limit", [7, 100])
def test_what_one_sweep_leaves_the_next_ones_do(limit: int) -> None:
    office = Office()
    jobs = office.submit(250)
    office.queue.sent.clear()
    office.clock.advance((LOST_FOR_CERTAIN + timedelta(minutes=3)).total_seconds())
    repaired: list[Job] = []
    sweeps = 0
    while len(repaired) < len(jobs):
        found = office.robot.sweeper.sweep(limit=limit)
        assert 0 < len(found) <= limit
        repaired += found
        sweeps += 1
    assert sorted(job.id for job in repaired) == sorted(jobs), "each once"
    assert sorted(office.queue.sent) == sorted(jobs)
    assert office.robot.sweeper.sweep() == []
    assert sweeps <= 250 // limit + 2


def test_a_sweep_whose_time_is_up_goes_on_in_the_next_one() -> None:
    """A backlog that needs no repair hides nothing behind it, however long it is."""
    office = Office()
    office.queue.backlog = lambda: 1000  # type: ignore[method-assign]
    office.submit(400)
    office.clock.advance(600)
    seen: Counter[str] = Counter()
    for _ in range(DUE_SHARDS):
        office.records.reset()
        assert office.robot.sweeper.sweep(seconds=0.0) == []
        progress = office.records.get("sweeper", "due#job")
        assert progress
        seen[str(progress.data["shard"])] += 1
        assert office.records.requests["query"] <= 2, "a batch, and how far its tenant is"
    assert len(seen) == DUE_SHARDS


def test_a_job_that_cannot_be_read_keeps_no_other_from_being_repaired() -> None:
    office = Office()
    jobs = office.submit(20)
    spoilt = office.records.get(f"job#{jobs[0]}", "job")
    assert spoilt
    office.records.commit(Put(replace(spoilt, data={"nonsense": True})))
    office.clock.advance((LOST_FOR_CERTAIN + timedelta(minutes=3)).total_seconds())
    assert sorted(job.id for job in office.robot.sweeper.sweep()) == sorted(jobs[1:])


def test_a_job_that_later_ones_have_overtaken_gets_a_new_message_though_others_wait() -> None:
    """Its worker died right after it had received the message, which is now hidden for long."""
    office = Office()
    office.queue.backlog = lambda: 1000  # type: ignore[method-assign]
    (overtaken,) = office.submit(1)
    office.clock.advance(30)
    (soon_after,) = office.submit(1)
    office.clock.advance(45)
    (later,) = office.submit(1)
    office.clock.advance(10)
    (waiting,) = office.submit(1)
    office.clock.advance(60)
    assert office.robot.sweeper.sweep() == [], "nothing tells that any of them is lost"
    office.robot.jobs.change(later, lambda j, now: claim(j, now))
    office.queue.sent.clear()
    assert [job.id for job in office.robot.sweeper.sweep()] == [overtaken]
    assert office.queue.sent == [overtaken]
    assert office.robot.sweeper.sweep() == [], "it is given time"
    assert {soon_after, waiting} & set(office.queue.sent) == set()
