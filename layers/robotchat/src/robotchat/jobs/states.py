"""The state machine of a job.

Each function takes a job and the time, and gives the job that follows, or refuses. They write
nothing: ``robotchat.jobs.store`` does that.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

from robotchat.errors import (
    JobCanceled,
    JobIsFinal,
    JobNotRetryable,
    RobotchatError,
    UpstreamBusy,
)
from robotchat.jobs.job import (
    ALIVE,
    WATCHED,
    Job,
    JobError,
    JobStatus,
    Reason,
    Timings,
)

LONGEST_BACKOFF = timedelta(minutes=15)
"""No job waits longer than this for its next attempt, whatever an SD host asks for."""

RUNNING_SINCE = timedelta(hours=6)
"""How far back in a tenant's jobs those that are running now are looked for."""

TOMBSTONE = timedelta(days=30)
"""How long the record of a job outlives its pictures."""


_WORKER_LOST = JobError(
    code="worker_lost",
    message="What ran this job ended without a trace.",
    retryable=True,
)


class Superseded(Exception):
    """This attempt is no longer the job's present one: stop, and write nothing more."""


class TooLate(Exception):
    """The job has not been done in time, and is of no use any more."""


class StillRunning(Exception):
    """Another worker is on this job and alive; look again after ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"alive for another {seconds:.0f} s")
        self.seconds = seconds


class NotYet(Exception):
    """The job backs off, or waits for its turn; look again after ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"not before {seconds:.1f} s")
        self.seconds = seconds


def claim(job: Job, now: datetime, *, alive: timedelta = ALIVE) -> Job:
    """Take the job up: a queued one, or a running one whose worker is dead.

    ``alive`` is for how long this attempt may then be silent.

    Raises JobIsFinal, StillRunning or NotYet when there is nothing to take. A job whose every
    attempt died is failed here, since nobody was left to do it.
    """
    if job.status.final:
        raise JobIsFinal("The job is final.", details={"status": job.status})
    if job.status is JobStatus.RUNNING and job.alive_until and now < job.alive_until:
        raise StillRunning((job.alive_until - now).total_seconds())
    if job.not_before and now < job.not_before:
        raise NotYet((job.not_before - now).total_seconds())
    if job.cancel_requested:
        return _finish(job, JobStatus.CANCELED, now)
    if now >= job.expires_at:
        return expire(job, now)
    if job.attempt >= job.max_attempts:
        return _finish(job, JobStatus.FAILED, now, error=_WORKER_LOST)
    queued = (now - job.created_at).total_seconds()
    return job.model_copy(
        update={
            "status": JobStatus.RUNNING,
            "attempt": job.attempt + 1,
            "started_at": job.started_at or now,
            "alive_until": now + alive,
            "not_before": None,
            "reason": None,
            "predecessor": None,
            "progress": 0.0,
            "eta": None,
            "stop": None,
            "preview": None,
            "timings": job.timings if job.started_at else Timings(queued=queued),
        }
    )


def within_bounds(job: Job, now: datetime, *, alive: timedelta = ALIVE) -> Job:
    """The job without moments that nobody can have meant, because a clock was turned back since.

    Whoever works on it shows life within ``alive``, so that nothing is taken from the living.
    """
    changes: dict[str, Any] = {}
    if job.alive_until is not None and job.alive_until > now + 2 * alive:
        changes["alive_until"] = now + alive
    if job.not_before is not None and job.not_before > now + 2 * LONGEST_BACKOFF:
        changes["not_before"] = now
    return job.model_copy(update=changes)


def update(
    job: Job, attempt: int, now: datetime, *, alive: timedelta = ALIVE, **changes: Any
) -> Job:
    """Note something about the running attempt, and that its worker is alive."""
    _own(job, attempt)
    return job.model_copy(update={**changes, "alive_until": now + alive})


def succeed(job: Job, attempt: int, now: datetime, **changes: Any) -> Job:
    """The attempt has its result. A cancel that came too late does not take it away."""
    _own(job, attempt)
    return _finish(job, JobStatus.SUCCEEDED, now, progress=1.0, error=None, **changes)


def fail(
    job: Job,
    attempt: int,
    now: datetime,
    *,
    error: RobotchatError,
    backoff: timedelta,
    again: bool | None = None,
    **changes: Any,
) -> Job:
    """The attempt failed: queued again when that may help and attempts are left, else failed.

    ``again`` says whether it may help; the error says it otherwise.
    """
    _own(job, attempt)
    job = job.model_copy(update=changes)
    if job.cancel_requested:
        return _finish(job, JobStatus.CANCELED, now)
    if (error.retryable if again is None else again) and job.attempt < job.max_attempts:
        wait = max(backoff, timedelta(seconds=error.retry_after or 0))
        return job.model_copy(
            update={
                "status": JobStatus.QUEUED,
                "reason": "backing_off",
                "not_before": now + min(wait, LONGEST_BACKOFF),
                "alive_until": None,
                "progress": 0.0,
                "eta": None,
                "error": JobError.of(error),
                "avoid_hosts": sorted({*job.avoid_hosts, *([job.host] if job.host else [])}),
            }
        )
    return _finish(job, JobStatus.FAILED, now, error=JobError.of(error))


def give_back(
    job: Job, attempt: int, now: datetime, *, reason: Reason, pause: timedelta, **changes: Any
) -> Job:
    """The job could not start for want of a host: queued again, the attempt not counted."""
    _own(job, attempt)
    job = job.model_copy(update={**changes, "reason": reason})
    if job.cancel_requested:
        return _finish(job, JobStatus.CANCELED, now)
    return job.model_copy(
        update={
            "status": JobStatus.QUEUED,
            "attempt": job.attempt - 1,
            "not_before": now + pause,
            "alive_until": None,
            "progress": 0.0,
            "eta": None,
        }
    )


def cancel(job: Job, now: datetime) -> Job:
    """Stop the job: at once when queued, else as soon as its worker sees it."""
    if job.status.final:
        raise JobIsFinal(f"The job has already {job.status}.", details={"status": job.status})
    if job.status is JobStatus.QUEUED:
        return _finish(job, JobStatus.CANCELED, now, cancel_requested=True)
    return job.model_copy(update={"cancel_requested": True})


def stop_early(job: Job, now: datetime, how: Literal["interrupt", "skip"]) -> Job:
    """Have the host end the drawing, or its present batch, and keep what it has drawn so far.

    Does nothing to a job that is not being drawn: what waits is not stopped, it is canceled.
    """
    if job.status is not JobStatus.RUNNING or job.reason is not None:
        return job
    return job.model_copy(update={"stop": how})


def watched(job: Job, now: datetime) -> Job:
    """Somebody looks at the job's previews. Written only as often as it must."""
    if job.status is not JobStatus.RUNNING:
        return job
    if job.watched_until is not None and now + WATCHED / 2 < job.watched_until:
        return job
    return job.model_copy(update={"watched_until": now + WATCHED})


def canceled(job: Job, attempt: int, now: datetime) -> Job:
    """The worker has stopped because of a cancel."""
    _own(job, attempt)
    return _finish(job, JobStatus.CANCELED, now)


def expired(job: Job, attempt: int, now: datetime) -> Job:
    """The worker has stopped because it was too late."""
    _own(job, attempt)
    return expire(job, now)


def expire(job: Job, now: datetime) -> Job:
    """The job was not done within its lifetime."""
    if job.status.final:
        raise JobIsFinal(f"The job has already {job.status}.", details={"status": job.status})
    error = JobError(
        code="job_expired", message="The job was not done before it expired.", retryable=True
    )
    return _finish(job, JobStatus.EXPIRED, now, error=error)


def lapse(job: Job, now: datetime) -> Job:
    """Expire a job that is past its lifetime, unless somebody is working on it."""
    if job.status.final or now < job.expires_at:
        return job
    if job.alive_until is not None and now < job.alive_until:
        return job
    return expire(job, now)


def retry(job: Job, now: datetime) -> Job:
    """Run a failed or expired job again, under the same id and with fresh attempts."""
    if job.status not in (JobStatus.FAILED, JobStatus.EXPIRED):
        raise JobNotRetryable(
            f"Only a failed or expired job can be retried; this one is {job.status}.",
            details={"status": job.status},
        )
    if job.deleted:
        raise JobNotRetryable("The job was deleted: there is nothing left to run.")
    if job.refused:
        raise JobNotRetryable("The request was never accepted: send it again as a new one.")
    return job.model_copy(
        update={
            "status": JobStatus.QUEUED,
            # A turn that expired before its turn came may have to wait for it still.
            "reason": "waiting_for_turn" if job.predecessor else None,
            "inline": False,  # whoever waited for it does so no more: it goes by the queue
            "attempt": 0,
            "error": None,
            "started_at": None,
            "finished_at": None,
            "progress": 0.0,
            "eta": None,
            "not_before": None,
            "due_at": now,
            "cancel_requested": False,
            "interrupted": False,
            "avoid_hosts": [],
            "timings": Timings(),
            "charge": job.charge and job.charge.on(now),
            "expires_at": now + timedelta(seconds=job.retention),
        }
    )


def released(job: Job, now: datetime) -> Job:
    """The turn before is final: this one may go."""
    if job.status is not JobStatus.QUEUED or job.predecessor is None:
        return job
    return job.model_copy(update={"reason": None, "predecessor": None, "due_at": now})


def give_up(job: Job, now: datetime) -> Job:
    """The caller's time is up: the last error stands."""
    if job.status is not JobStatus.QUEUED:
        return job
    busy = JobError.of(UpstreamBusy("No SD host became free in time."))
    return _finish(job, JobStatus.FAILED, now, error=job.error or busy)


def look_later(job: Job, now: datetime) -> Job:
    """The job was queued anew: if it goes nowhere, it is due again after a while from now."""
    if job.status.final:
        return job
    return job.model_copy(update={"due_at": now})


def lose(job: Job, now: datetime) -> Job:
    """A job whose caller waited for it, and whose process died."""
    if job.status.final or (job.alive_until is not None and now < job.alive_until):
        return job
    return _finish(job, JobStatus.FAILED, now, error=job.error or _WORKER_LOST)


def discard(job: Job, now: datetime) -> Job:
    """Keep of the job only that it was, and how it ended. An open one is canceled."""
    job = job.model_copy(update={"deleted": True})
    if not job.status.final:
        job = cancel(job, now)
    return _emptied(job)


def files_gone(job: Job, now: datetime) -> Job:
    """The job's pictures were deleted, as its caller had asked for."""
    return job.model_copy(update={"short_lived": False}) if job.status.final else job


def _emptied(job: Job) -> Job:
    """The job without anything that its caller said or got. Whom to tell of its end is kept."""
    return job.model_copy(
        update={
            "message": None,
            "request": {},
            "effective": None,
            "prompt": None,
            "negative_prompt": None,
            "reply": None,
            "picture": None,
            "preview": None,
            "info": None,
            "images": [],
            "extra_images": [],
            "input_bytes": 0,
            "foreseen": {},
            "metadata": {},
        }
    )


def _own(job: Job, attempt: int) -> None:
    if job.status is not JobStatus.RUNNING or job.attempt != attempt:
        raise Superseded(f"{job.id}: attempt {attempt} is over")


def _finish(job: Job, status: JobStatus, now: datetime, **changes: Any) -> Job:
    # The clock of retention starts with the end of the work: a job that waited for long must
    # not lose its pictures sooner than one that did not.
    final = {
        "status": status,
        "finished_at": now,
        "expires_at": now + timedelta(seconds=job.retention),
        "reason": None,
        "eta": None,
        "alive_until": None,
        "not_before": None,
        "stop": None,
        "preview": None,
        "watched_until": None,
    }
    job = job.model_copy(update={**final, **changes})
    return _emptied(job) if job.deleted else job


def succeeded(job: Job) -> Job:
    """A final job, if it succeeded. Raises what made it fail, or JobCanceled."""
    facts = {"job_id": job.id}
    if job.status is JobStatus.SUCCEEDED:
        return job
    if job.error is not None:
        raise RobotchatError.of_code(job.error.code, job.error.message, details=facts)
    raise JobCanceled("The job was canceled.", details=facts)
