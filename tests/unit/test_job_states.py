"""The state machine of jobs: what follows from what, and what never does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from robotchat import ids
from robotchat.clock import rfc3339
from robotchat.errors import (
    IdempotencyKeyReused,
    JobIsFinal,
    JobNotRetryable,
    NotFound,
    UpstreamRejected,
    UpstreamUnavailable,
)
from robotchat.jobs import states
from robotchat.jobs.job import ALIVE, Job, JobKind, JobStatus
from robotchat.jobs.states import NotYet, StillRunning, Superseded
from robotchat.jobs.store import Jobs
from robotchat.records import MemoryRecords
from tests.cases.clock import FakeClock

CLOCK = FakeClock()
NOW = CLOCK.now()
SECOND = timedelta(seconds=1)


def new_job(**fields: object) -> Job:
    values = {
        "id": "job_a",
        "kind": JobKind.TEXT2IMAGE,
        "tenant": "t",
        "created_at": NOW,
        "expires_at": NOW + timedelta(days=7),
        "max_attempts": 3,
        **fields,
    }
    return Job.model_validate(values)


def running() -> Job:
    return states.claim(new_job(), NOW + SECOND)


def test_a_queued_job_is_claimed_with_the_first_attempt() -> None:
    job = running()
    assert (job.status, job.attempt, job.started_at) == (JobStatus.RUNNING, 1, NOW + SECOND)
    assert job.timings.queued == 1.0


def test_a_running_job_is_not_claimed_while_its_worker_lives() -> None:
    with pytest.raises(StillRunning) as refused:
        states.claim(running(), NOW + 11 * SECOND)
    assert refused.value.seconds == 50


def test_a_running_job_whose_worker_is_silent_is_claimed_again() -> None:
    again = states.claim(running(), NOW + 62 * SECOND)
    assert again.attempt == 2
    assert again.started_at == NOW + SECOND


def test_the_attempt_that_lost_its_job_can_write_nothing_more() -> None:
    again = states.claim(running(), NOW + 62 * SECOND)
    writes: tuple[Callable[[], Job], ...] = (
        lambda: states.update(again, 1, NOW),
        lambda: states.succeed(again, 1, NOW),
        lambda: states.fail(again, 1, NOW, error=UpstreamUnavailable("x"), backoff=SECOND),
        lambda: states.give_back(again, 1, NOW, reason="waiting_for_host", pause=SECOND),
        lambda: states.canceled(again, 1, NOW),
    )
    for write in writes:
        with pytest.raises(Superseded):
            write()


def test_a_job_all_of_whose_workers_died_fails_in_the_end() -> None:
    job = running()
    for number in (1, 2, 3):
        job = states.claim(job, NOW + number * 100 * SECOND)
    assert job.status is JobStatus.FAILED
    assert job.error
    assert (job.error.code, job.error.retryable) == ("worker_lost", True)


def test_a_transient_failure_queues_the_job_again_after_a_pause() -> None:
    job = states.fail(running(), 1, NOW, error=UpstreamUnavailable("away"), backoff=4 * SECOND)
    assert (job.status, job.reason, job.not_before) == (
        JobStatus.QUEUED,
        "backing_off",
        NOW + 4 * SECOND,
    )
    with pytest.raises(NotYet) as early:
        states.claim(job, NOW + SECOND)
    assert early.value.seconds == 3
    assert states.claim(job, NOW + 4 * SECOND).attempt == 2


def test_the_pause_is_no_shorter_than_the_upstream_asks_for() -> None:
    error = UpstreamUnavailable("away", retry_after=30)
    assert (
        states.fail(running(), 1, NOW, error=error, backoff=SECOND).not_before == NOW + 30 * SECOND
    )


def test_a_permanent_failure_is_final_at_once() -> None:
    job = states.fail(running(), 1, NOW, error=UpstreamRejected("no such thing"), backoff=SECOND)
    assert job.status is JobStatus.FAILED
    assert job.error
    assert job.error.code == "upstream_rejected"


def test_the_last_attempt_that_fails_is_final() -> None:
    job = running().model_copy(update={"attempt": 3})
    job = states.fail(job, 3, NOW, error=UpstreamUnavailable("away"), backoff=SECOND)
    assert job.status is JobStatus.FAILED


def test_giving_a_job_back_does_not_cost_an_attempt() -> None:
    job = states.give_back(running(), 1, NOW, reason="waiting_for_host", pause=SECOND)
    assert (job.status, job.attempt, job.reason) == (JobStatus.QUEUED, 0, "waiting_for_host")


def test_retention_counts_from_the_end_of_the_work() -> None:
    end = NOW + timedelta(days=1)
    assert states.succeed(running(), 1, end).expires_at == end + timedelta(days=7)


def test_a_queued_job_is_canceled_at_once_and_a_running_one_by_its_worker() -> None:
    assert states.cancel(new_job(), NOW).status is JobStatus.CANCELED
    asked = states.cancel(running(), NOW)
    assert (asked.status, asked.cancel_requested) == (JobStatus.RUNNING, True)
    assert states.canceled(asked, 1, NOW).status is JobStatus.CANCELED


def test_a_cancel_that_comes_too_late_does_not_take_the_images_away() -> None:
    asked = states.cancel(running(), NOW)
    assert states.succeed(asked, 1, NOW).status is JobStatus.SUCCEEDED


def test_a_failure_after_a_cancel_is_a_cancel() -> None:
    asked = states.cancel(running(), NOW)
    failed = states.fail(asked, 1, NOW, error=UpstreamUnavailable("x"), backoff=SECOND)
    assert failed.status is JobStatus.CANCELED


def test_a_job_that_was_not_begun_in_its_lifetime_expires() -> None:
    job = states.claim(new_job(), NOW + timedelta(days=8))
    assert job.status is JobStatus.EXPIRED
    assert job.error
    assert job.error.code == "job_expired"


@pytest.mark.parametrize("status", [s for s in JobStatus if s.final])
def test_a_final_state_never_changes(status: JobStatus) -> None:
    job = new_job(status=status)
    changes: tuple[Callable[[], Job], ...] = (
        lambda: states.claim(job, NOW),
        lambda: states.cancel(job, NOW),
        lambda: states.expire(job, NOW),
    )
    for refused in changes:
        with pytest.raises(JobIsFinal):
            refused()
    ends: tuple[Callable[[], Job], ...]
    ends = (lambda: states.succeed(job, 0, NOW), lambda: states.update(job, 0, NOW))
    for late in ends:
        with pytest.raises(Superseded):
            late()


def test_only_failed_and_expired_jobs_can_be_retried() -> None:
    failed = states.fail(running(), 1, NOW, error=UpstreamRejected("x"), backoff=SECOND)
    again = states.retry(failed, NOW)
    assert (again.status, again.attempt, again.error) == (JobStatus.QUEUED, 0, None)
    for job in (new_job(), running(), new_job(status=JobStatus.SUCCEEDED)):
        with pytest.raises(JobNotRetryable):
            states.retry(job, NOW)


def test_the_same_key_gives_the_same_job() -> None:
    store = Jobs(MemoryRecords(), FakeClock())
    job = new_job(id=ids.id_for_key("job", "t", "key"), fingerprint="f")
    first, is_new = store.add(job)
    assert is_new
    assert store.add(job) == (first, False)


def test_the_same_key_for_another_request_is_refused() -> None:
    store = Jobs(MemoryRecords(), FakeClock())
    store.add(new_job(fingerprint="f"))
    with pytest.raises(IdempotencyKeyReused):
        store.add(new_job(fingerprint="g"))


def test_the_same_key_of_another_tenant_is_another_job() -> None:
    assert ids.id_for_key("job", "t", "key") != ids.id_for_key("job", "u", "key")


def test_another_tenants_job_does_not_exist() -> None:
    store = Jobs(MemoryRecords(), FakeClock())
    store.add(new_job())
    assert store.get("job_a", "t").id == "job_a"
    with pytest.raises(NotFound):
        store.get("job_a", "u")


def test_a_job_survives_storing() -> None:
    store = Jobs(MemoryRecords(), FakeClock())
    stored, _ = store.add(new_job(message="海滩", metadata={"a": [1]}, request={"steps": 3}))
    assert store.get("job_a", "t") == stored


def test_a_lost_race_is_decided_anew_from_what_the_winner_wrote() -> None:
    records = MemoryRecords()
    store = Jobs(records, FakeClock())
    store.add(new_job())
    calls = []

    def cancel_after_a_rival_claimed(job: Job, now: object) -> Job:
        calls.append(job.status)
        if len(calls) == 1:
            store.change(job.id, states.claim)
        return states.cancel(job, NOW)

    changed = store.change("job_a", cancel_after_a_rival_claimed)
    assert calls == [JobStatus.QUEUED, JobStatus.RUNNING]
    assert (changed.status, changed.cancel_requested) == (JobStatus.RUNNING, True)


def test_jobs_are_listed_newest_first_and_filtered() -> None:
    clock = FakeClock()
    store = Jobs(MemoryRecords(), clock)
    for number in range(4):
        clock.advance(1)
        kind = JobKind.TEXT2IMAGE if number % 2 else JobKind.CHAT_TEXT2IMAGE
        store.add(new_job(id=f"job_{number}", created_at=clock.now(), kind=kind))
    found, cursor = store.of_tenant("t", limit=3)
    assert [job.id for job in found] == ["job_3", "job_2", "job_1"]
    rest, end = store.of_tenant("t", limit=3, cursor=cursor)
    assert ([job.id for job in rest], end) == (["job_0"], None)
    found, _ = store.of_tenant("t", kind=JobKind.TEXT2IMAGE)
    assert [job.id for job in found] == ["job_3", "job_1"]
    assert store.of_tenant("u") == ([], None)


def test_a_fingerprint_does_not_depend_on_the_order_of_fields() -> None:
    assert ids.fingerprint({"a": 1, "b": [1, 2]}) == ids.fingerprint({"b": [1, 2], "a": 1})
    assert ids.fingerprint({"a": [1, 2]}) != ids.fingerprint({"a": [2, 1]})


def test_moments_sort_as_text() -> None:
    assert rfc3339(NOW) < rfc3339(NOW + timedelta(microseconds=1)) < rfc3339(NOW + SECOND)


def test_a_clock_that_was_turned_back_does_not_hold_a_job_for_ever() -> None:
    job = running()
    hour_before = NOW - 3600 * SECOND
    mended = states.within_bounds(job, hour_before)
    assert mended.alive_until == hour_before + ALIVE, "its worker may be alive"
    assert states.within_bounds(job, NOW) == job
    waiting = states.fail(running(), 1, NOW, error=UpstreamUnavailable("x"), backoff=SECOND)
    assert states.within_bounds(waiting, NOW) == waiting
    assert states.within_bounds(waiting, hour_before).not_before == hour_before


def test_no_host_can_put_a_job_off_for_days() -> None:
    error = UpstreamUnavailable("away", retry_after=86400)
    job = states.fail(running(), 1, NOW, error=error, backoff=SECOND)
    assert job.not_before == NOW + states.LONGEST_BACKOFF


def test_a_job_past_its_lifetime_expires_unless_somebody_is_working_on_it() -> None:
    late = NOW + timedelta(days=8)
    assert states.lapse(new_job(), late).status is JobStatus.EXPIRED
    assert states.lapse(new_job(), NOW).status is JobStatus.QUEUED
    alive = running().model_copy(update={"alive_until": late + SECOND})
    assert states.lapse(alive, late) == alive
    assert states.lapse(running(), late).status is JobStatus.EXPIRED


def test_a_job_that_is_deleted_while_it_is_drawn_keeps_nothing_of_what_it_gets() -> None:
    job = running().model_copy(update={"message": "a secret", "request": {"prompt": "a secret"}})
    gone = states.discard(job, NOW)
    assert (gone.status, gone.cancel_requested, gone.message) == (JobStatus.RUNNING, True, None)
    after = states.succeed(gone, 1, NOW, prompt="a secret", reply="a secret")
    assert after.status is JobStatus.SUCCEEDED
    assert "a secret" not in after.model_dump_json()
    with pytest.raises(JobNotRetryable):
        states.retry(states.discard(new_job(status=JobStatus.FAILED), NOW), NOW)


def test_a_job_that_is_given_back_after_a_cancel_is_canceled() -> None:
    asked = states.cancel(running(), NOW)
    back = states.give_back(asked, 1, NOW, reason="waiting_for_host", pause=SECOND)
    assert (back.status, back.reason) == (JobStatus.CANCELED, None)


def test_retention_is_the_same_after_a_retry() -> None:
    job = new_job(retention=3600.0)
    failed = states.fail(
        states.claim(job, NOW), 1, NOW, error=UpstreamRejected("x"), backoff=SECOND
    )
    later = NOW + timedelta(days=3)
    again = states.succeed(states.claim(states.retry(failed, later), later), 1, later)
    assert again.expires_at == later + 3600 * SECOND
