"""What must hold of tenants' limits: the same cases over memory and over DynamoDB."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from robotchat.art.requests import Text2ImageRequest
from robotchat.conversation import ChatImageRequest
from robotchat.drivers.fake import FakeArt
from robotchat.errors import LimitExceeded, RobotchatError, UpstreamRejected
from robotchat.jobs.job import Job, JobStatus
from robotchat.jobs.limits import Limits, Usage
from robotchat.jobs.waiting import Place
from robotchat.records import Add, Records
from robotchat.robot import Robot
from robotchat.settings import Settings
from tests.cases.clock import FakeClock


class HeldQueue:
    """Keeps what is sent: jobs are run by the test."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def backlog(self) -> int:
        return 0

    def send(self, job: Job, *, delay: float = 0.0) -> None:
        self.sent.append(job.id)


class Office:
    """A robot with limits, whose jobs wait to be run."""

    def __init__(self, records: Records, **limits: Any) -> None:
        self.art = FakeArt()
        self.clock = FakeClock()
        self.queue = HeldQueue()
        self.robot = Robot(
            art=self.art,
            records=records,
            queue=self.queue,
            settings=Settings(limits=Limits(**limits), max_attempts=1),
            clock=self.clock,
        )

    def submit(self, tenant: str = "acme", key: str | None = None, **settings: Any) -> Job:
        request = ChatImageRequest(message="a beach", settings=settings)
        return self.robot.submit_chat_image(request, tenant=tenant, idempotency_key=key)

    def usage(self, tenant: str = "acme") -> Usage:
        return self.robot.ledger.usage(tenant)

    def counted(self) -> tuple[int, int, float]:
        """Active jobs, pictures and cost of the day."""
        usage = self.usage()
        return usage.now.active_jobs, usage.today.images, usage.today.cost


def together(count: int, work: Callable[[int], object]) -> list[object]:
    """What ``count`` threads that start at once get, or are refused with."""
    results: list[object] = [None] * count
    gate = threading.Barrier(count)

    def run(number: int) -> None:
        gate.wait()
        try:
            results[number] = work(number)
        except RobotchatError as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


class LimitsCases:
    """Inherit it and give the fixture ``records`` a store that is empty for each test."""

    @pytest.fixture
    def records(self) -> Records:
        raise NotImplementedError

    def test_of_fifty_submissions_at_once_as_many_are_accepted_as_may_be(
        self, records: Records
    ) -> None:
        office = Office(records, active_jobs=5)
        results = together(50, lambda number: office.submit())
        accepted = [result for result in results if isinstance(result, Job)]
        refused = [result for result in results if isinstance(result, LimitExceeded)]
        assert (len(accepted), len(refused)) == (5, 45)
        assert office.counted() == (5, 5, 12.5)
        for job in accepted:
            office.robot.run(job.id)
        assert office.counted() == (0, 5, 12.5)
        assert isinstance(office.submit(), Job)

    def test_jobs_that_end_at_once_give_everything_back_once(self, records: Records) -> None:
        office = Office(records, active_jobs=10)
        jobs = [office.submit() for _ in range(10)]

        def cancel_and_run(number: int) -> object:
            if number % 2:
                return office.robot.cancel(jobs[number // 2].id, tenant="acme")
            return office.robot.run(jobs[number // 2].id)

        together(20, cancel_and_run)
        for job in jobs:
            office.robot.run(job.id)
        final = [office.robot.jobs.get(job.id, "acme").status for job in jobs]
        assert all(status.final for status in final)
        drawn = final.count(JobStatus.SUCCEEDED)
        assert office.counted() == (0, drawn, 2.5 * drawn)

    def test_repetitions_reserve_nothing(self, records: Records) -> None:
        office = Office(records, active_jobs=1)
        results = together(8, lambda number: office.submit(key="same"))
        assert len({job.id for job in results if isinstance(job, Job)}) == 1
        assert [type(result) for result in results] == [Job] * 8
        assert office.counted() == (1, 1, 2.5)

    def test_a_day_ends_and_its_images_are_forgotten(self, records: Records) -> None:
        office = Office(records, images_per_day=4)
        office.submit(batch_size=3)
        with pytest.raises(LimitExceeded) as refused:
            office.submit(batch_size=2)
        details = {"limit": "images_per_day", "maximum": 4, "used": 3}
        assert refused.value.details == details | {"resets_at": "2026-01-03T00:00:00Z"}
        assert refused.value.retry_after == 20 * 3600 + 55 * 60 + 55
        assert office.submit().charge
        office.clock.advance(refused.value.retry_after)
        assert office.usage().today.images == 0
        office.submit(batch_size=4)
        for _ in range(9):
            office.clock.advance(24 * 3600)
            office.submit()
        found = records.get("tenant#acme", "usage")
        assert found
        assert len(found.data) < 8, "counters of past days do not pile up"

    def test_a_job_that_fails_gives_back_and_its_retry_counts_again(self, records: Records) -> None:
        office = Office(records, active_jobs=1)
        office.art.enqueue([UpstreamRejected("no")])
        job = office.submit(batch_size=2)
        assert office.counted() == (1, 2, 5.0)
        office.robot.run(job.id)
        assert office.counted() == (0, 0, 0.0)
        other = office.submit()
        with pytest.raises(LimitExceeded):
            office.robot.retry(job.id, tenant="acme")
        assert office.robot.jobs.get(job.id, "acme").status is JobStatus.FAILED
        office.robot.run(other.id)
        office.clock.advance(24 * 3600)
        office.robot.retry(job.id, tenant="acme")
        assert office.counted() == (1, 2, 5.0)
        office.robot.run(job.id)
        assert office.counted() == (0, 2, 5.0)
        for _ in range(3):
            office.robot.run(job.id)
        assert office.counted() == (0, 2, 5.0)

    def test_stored_files_count_until_they_are_deleted_or_expire(self, records: Records) -> None:
        office = Office(records, stored_bytes=100_000)
        job = office.robot.text2image(Text2ImageRequest(prompt="a cat"), tenant="acme")
        size = len(office.robot.images.get(job.images[0].key))
        assert office.usage().now.stored_bytes == size
        office.robot.ledger.uploading("acme", 99_999 - size, until=job.expires_at)
        office.clock.advance(60)
        with pytest.raises(LimitExceeded) as refused:
            office.robot.ledger.uploading("acme", 2, until=job.expires_at)
        assert refused.value.details["limit"] == "stored_bytes"
        office.robot.delete_job(job.id, tenant="acme")
        assert office.usage().now.stored_bytes == 99_999 - size
        office.clock.advance(8 * 24 * 3600)
        assert office.usage().now.stored_bytes == 0

    def test_of_a_large_limit_every_account_gives_its_share_and_no_more(
        self, records: Records
    ) -> None:
        office = Office(records, active_jobs=3000, images_per_day=3_000_000)
        for account in range(6):  # as if that many had been begun in each of the six
            key = "tenant#acme" if account == 0 else f"tenant#acme#{account}"
            records.commit(Add(key, "usage", {"active": 498}))
        results = together(20, lambda number: office.submit())
        accepted = [result for result in results if isinstance(result, Job)]
        refused = [result for result in results if isinstance(result, LimitExceeded)]
        assert (len(accepted), len(refused)) == (12, 8)
        details = refused[0].details
        assert (details["limit"], details["maximum"]) == ("active_jobs", 3000)
        assert office.usage().now.active_jobs == 3000
        for job in accepted:
            office.robot.run(job.id)
        assert office.usage().now.active_jobs == 2988

    def test_a_tenants_counters_are_not_all_in_one_record(self, records: Records) -> None:
        office = Office(records)
        jobs = [office.submit() for _ in range(40)]
        used = {job.account for job in jobs}
        assert len(used) > 10
        assert office.usage().now.active_jobs == 40
        for job in jobs:
            office.robot.run(job.id)
        assert office.counted() == (0, 40, 100.0)
        for account in used:
            key = "tenant#acme" if account == 0 else f"tenant#acme#{account}"
            record = records.get(key, "usage")
            assert record
            assert record.data["active"] == 0

    def test_a_limit_that_is_set_later_counts_what_was_begun_before(self, records: Records) -> None:
        office = Office(records)
        jobs = [office.submit() for _ in range(10)]
        office.robot.ledger.set_limits("acme", Limits(active_jobs=11))
        office.submit()
        with pytest.raises(LimitExceeded) as refused:
            office.submit()
        assert refused.value.details == {"limit": "active_jobs", "maximum": 11, "used": 11}
        for job in jobs[:3]:
            office.robot.run(job.id)
        office.clock.advance(11)
        assert [type(office.submit()) for _ in range(3)] == [Job] * 3
        with pytest.raises(LimitExceeded):
            office.submit()

    def test_of_a_hundred_who_wait_at_once_as_many_have_a_place_as_may(
        self, records: Records
    ) -> None:
        office = Office(records, waiting_requests=60)  # more than one record has
        waiting = office.robot.ledger.waiting
        results = together(100, lambda number: waiting.take("acme", seconds=60))
        places = [result for result in results if isinstance(result, Place)]
        refused = [result for result in results if isinstance(result, LimitExceeded)]
        assert (len(places), len(refused)) == (60, 40)
        assert refused[0].details == {"limit": "waiting_requests", "maximum": 60, "used": 60}
        together(60, lambda number: waiting.give_back(places[number]))
        assert office.usage().now.waiting_requests == 0
        assert waiting.take("acme", seconds=60)

    def test_a_place_whose_function_died_runs_out(self, records: Records) -> None:
        office = Office(records, waiting_requests=1)
        waiting = office.robot.ledger.waiting
        place = waiting.take("acme", seconds=60)
        assert place
        assert waiting.take("other", seconds=60), "each tenant has places of its own"
        office.clock.advance(59)
        with pytest.raises(LimitExceeded):
            waiting.take("acme", seconds=60)
        office.clock.advance(2)
        assert office.usage().now.waiting_requests == 0
        later = waiting.take("acme", seconds=60)
        assert later
        waiting.give_back(place)  # it was not dead, only late: the other's place is not given back
        assert office.usage().now.waiting_requests == 1
        waiting.give_back(later)
        waiting.give_back(later)
        assert office.usage().now.waiting_requests == 0
