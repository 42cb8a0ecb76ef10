"""A job: one picture request, from being accepted to a final state.

    queued --> running --> succeeded | failed | canceled | expired
       ^          |
       +----------+   a transient failure, with attempts left

The functions below are the state machine: each takes a job and the time, and gives the job that
follows, or refuses. They write nothing. ``Jobs`` stores jobs through ``Records``, where every
change is one conditional write: whoever loses a race reads again and decides anew, so that a
final state is never overwritten and no attempt is counted twice.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from base64 import b32encode
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from robotchat.clock import Clock, rfc3339
from robotchat.errors import (
    IdempotencyKeyReused,
    InvalidRequest,
    JobCanceled,
    JobIsFinal,
    JobNotRetryable,
    LimitExceeded,
    NotFound,
    RobotchatError,
    UpstreamBusy,
)
from robotchat.limits import Charge, Ledger
from robotchat.records import LimitReached, Operation, Put, Record, Records, Stale

ALIVE = timedelta(seconds=60)
"""A running job that shows no sign of life for this long has lost its worker."""

LONGEST_BACKOFF = timedelta(minutes=15)
"""No job waits longer than this for its next attempt, whatever an SD host asks for."""

WATCHED = timedelta(seconds=20)
"""For how long one look at a running job has previews made for the next ones."""

RUNNING_SINCE = timedelta(hours=6)
"""How far back in a tenant's jobs those that are running now are looked for."""

TOMBSTONE = timedelta(days=30)
"""How long the record of a job outlives its pictures."""


class JobKind(StrEnum):
    """What is asked for. The chat kinds are turns of a conversation."""

    TEXT2IMAGE = "text2image"
    IMAGE2IMAGE = "image2image"
    CHAT_TEXT2IMAGE = "chat_text2image"
    CHAT_IMAGE2IMAGE = "chat_image2image"


class JobStatus(StrEnum):
    """Where a job stands. The last four are final: they never change by themselves."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING)


Reason = Literal["waiting_for_turn", "waiting_for_host", "backing_off", "no_host_has_model"]
"""Why a job is not being drawn at the moment."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class JobError(_Model):
    """Why a job failed."""

    code: str = Field(description="Stable machine-readable code.", examples=["upstream_timeout"])
    message: str = Field(description="One sentence for people.")
    retryable: bool = Field(description="Whether the same request may succeed later.")

    @classmethod
    def of(cls, error: RobotchatError) -> JobError:
        return cls(code=error.code, message=error.message, retryable=error.retryable)


_WORKER_LOST = JobError(
    code="worker_lost",
    message="What ran this job ended without a trace.",
    retryable=True,
)


class Timings(_Model):
    """Where the time went, in seconds; null for what has not happened."""

    queued: float | None = Field(default=None, description="From being accepted to the start.")
    prompt: float | None = Field(default=None, description="Writing the prompt.")
    host_wait: float | None = Field(default=None, description="Waiting for a free SD host.")
    run: float | None = Field(default=None, description="Drawing, on the SD host.")
    store: float | None = Field(default=None, description="Storing the pictures.")


class JobImage(_Model):
    """A stored picture."""

    key: str = Field(description="Where it is in the image store.")
    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    content_type: str = Field(examples=["image/png"])
    size: int = Field(default=0, description="Of the file, in bytes.")
    sha256: str = Field(description="Of the file, in hexadecimal.")
    seed: int | None = Field(default=None, description="The seed it was drawn from, if known.")
    infotext: str | None = Field(default=None, description="The host's own account of it.")


EventType = Literal["job.succeeded", "job.failed", "job.canceled", "job.expired"]
"""What a job's end is called when it is told."""


class WebhookTarget(_Model):
    """Whom to tell how a job ended: a signed POST to a URL."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(description="An https URL.", examples=["https://example.com/hooks/robotchat"])
    events: list[EventType] | None = Field(
        default=None, min_length=1, description="Only these; all of them when left out."
    )

    def wants(self, event: EventType) -> bool:
        """Whether this event is to be told here."""
        return self.events is None or event in self.events


class Job(_Model):
    """The record of a job. ``version`` counts its writes and is the optimistic lock."""

    id: str
    kind: JobKind
    tenant: str
    status: JobStatus = JobStatus.QUEUED
    reason: Reason | None = None

    inline: bool = False
    """Its caller waits for it, and no message in a queue stands for it."""
    message: str | None = None
    """What the user said (chat kinds)."""
    request: dict[str, Any] = Field(default_factory=dict)
    """A1111 fields as asked; large images in it are references into the image store."""
    effective: dict[str, Any] | None = None
    """What was really sent to the SD host, seed included, so that it can be drawn again."""
    fingerprint: str | None = None
    """Hash of the request, to tell a repetition from another request under the same key."""
    refused: bool = False
    """It was never accepted: there is no request to run, only the reason why not."""
    charge: Charge | None = None
    """What it counts for against the tenant's limits."""
    foreseen: dict[str, Any] = Field(default_factory=dict)
    """Settings that it will take over from turns that have not been drawn yet."""
    input_bytes: int = 0
    """Size of the pictures that came with the request."""

    conversation_id: str | None = None
    turn: int | None = None
    parent: str | None = None
    """The job of the turn that this one builds on."""
    predecessor: str | None = None
    """The job that must be final before this one starts."""
    successor: str | None = None
    """The job that waits for this one."""
    picture: str | None = None
    """Key of the conversation's last picture as of this turn."""

    prompt: str | None = None
    negative_prompt: str | None = None
    prompt_source: Literal["llm", "fallback", "caller"] | None = None
    reply: str | None = None
    """What the robot says instead of drawing, when the message asked for no picture."""

    progress: float = 0.0
    eta: float | None = None
    eta_estimated: bool = False
    attempt: int = 0
    max_attempts: int = 5
    alive_until: datetime | None = None
    """While running: the worker is taken for dead after this moment."""
    not_before: datetime | None = None
    """While queued: the earliest moment of the next attempt."""
    due_at: datetime | None = None
    """While open: when it was last seen to be where it should be."""
    cancel_requested: bool = False
    stop: Literal["interrupt", "skip"] | None = None
    """While running: what the host is to be told (see ``stop_early``)."""
    interrupted: bool = False
    """The host was told to stop early: the pictures are as far as they got."""
    preview: str | None = None
    """While running: where the latest preview is in the image store."""
    watched_until: datetime | None = None
    """Somebody looks at previews; until then they are worth the host's time."""
    model_switch: bool = False
    """The host had to load the checkpoint first."""
    avoid_hosts: list[str] = Field(default_factory=list)
    """Hosts on which an attempt failed; others are preferred."""
    error: JobError | None = None
    timings: Timings = Timings()
    host: str | None = None
    checkpoint: str | None = None
    images: list[JobImage] = Field(default_factory=list)
    extra_images: list[JobImage] = Field(default_factory=list)
    unverified: list[str] = Field(default_factory=list)
    info: dict[str, Any] | None = None
    """The SD host's own account, for answers in A1111's shape."""

    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime
    """While open: when it is too late to do it. When final: when its pictures are deleted."""
    retention: float = 7 * 86400.0
    """For how many seconds its pictures are kept after its end."""
    short_lived: bool = False
    """The caller asked for less than is usual, so that the sweeper deletes the pictures."""
    deleted: bool = False
    """Its caller wants nothing of it kept; what a worker still makes of it is thrown away."""
    metadata: dict[str, Any] = Field(default_factory=dict)
    request_id: str | None = None
    """The request that asked for it, as its caller and our logs know it."""
    webhook: WebhookTarget | None = None
    """Whom to tell when the job has ended; the tenant's own webhook when there is none."""
    version: int = 0

    @property
    def images_prefix(self) -> str:
        """Where everything that belongs to this job is in the image store."""
        return f"tenants/{self.tenant}/jobs/{self.id}/"


# --- identity -------------------------------------------------------------------------------------


def new_id(prefix: str) -> str:
    """An unguessable id: the prefix and 128 random bits."""
    return f"{prefix}_{_base32(secrets.token_bytes(16))}"


def id_for_key(prefix: str, tenant: str, key: str) -> str:
    """The id that an idempotency key stands for: the same for the same tenant and key."""
    digest = hashlib.sha256(f"{tenant}\n{key}".encode()).digest()
    return f"{prefix}_{_base32(digest[:16])}"


def checked_key(key: str) -> str:
    """An idempotency key as a caller may choose it. Raises InvalidRequest for another one."""
    if not re.fullmatch(r"[!-~]{1,255}", key):
        raise InvalidRequest(
            "An idempotency key is 1 to 255 visible ASCII characters.", param="Idempotency-Key"
        )
    return key


def fingerprint(request: Mapping[str, Any]) -> str:
    """A hash of a JSON request that does not depend on the order of its fields."""
    text = json.dumps(request, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _base32(data: bytes) -> str:
    return b32encode(data).decode().rstrip("=").lower()


# --- the state machine ----------------------------------------------------------------------------


class Superseded(Exception):
    """This attempt is no longer the job's present one: stop, and write nothing more."""


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


# --- the store ------------------------------------------------------------------------------------


class Jobs:
    """Jobs in a document store. ``ledger`` counts them, within their tenants' limits."""

    def __init__(self, records: Records, clock: Clock, ledger: Ledger | None = None) -> None:
        self._records = records
        self._clock = clock
        self._ledger = ledger or Ledger(records, clock)

    def now(self) -> datetime:
        """The time by which jobs are judged."""
        return self._clock.now()

    def find(self, job_id: str) -> Job | None:
        """The job as it is now, whoever it belongs to."""
        record = self._records.get(f"job#{job_id}", "job")
        return _job(record) if record else None

    def get(self, job_id: str, tenant: str) -> Job:
        """The tenant's job. Raises NotFound, also for another tenant's id."""
        job = self.find(job_id)
        if job is None or job.tenant != tenant:
            raise NotFound("There is no such job.", param="job_id")
        return job

    def add(self, job: Job, *also: Operation) -> tuple[Job, bool]:
        """Store a new job, together with ``also``, in one transaction.

        Gives back the stored job and whether it is new: it is the earlier one when the id (that
        is, the idempotency key) was used before with the same request. Raises
        IdempotencyKeyReused when it was used with another, LimitExceeded when the tenant may have
        no more jobs now, and Stale when ``also`` was out of date.
        """
        while True:
            try:
                self._commit(None, job, also)
            except (Stale, LimitExceeded) as error:
                earlier = self.find(job.id)
                if earlier is not None:
                    return self.same(earlier, job), False
                if also or isinstance(error, LimitExceeded):
                    raise
                continue  # it was the tenant's counters, which many write at once
            return job.model_copy(update={"version": 1}), True

    def _commit(self, before: Job | None, after: Job, also: Sequence[Operation]) -> None:
        """Write a job and what this does to its tenant's counters. Raises LimitExceeded, Stale."""
        entries = self._ledger.entries(before, after)
        try:
            self._records.commit(self.put(after), *also, *entries)
        except LimitReached as reached:
            raise self._ledger.refusal(reached) from None

    @staticmethod
    def same(earlier: Job, job: Job) -> Job:
        """The earlier job under the same id, if it was for the same request."""
        if earlier.tenant != job.tenant or earlier.fingerprint != job.fingerprint:
            raise IdempotencyKeyReused(
                "This idempotency key or job id was used before with another request."
            )
        return earlier

    @staticmethod
    def read(record: Record) -> Job:
        """The job in a record."""
        return _job(record)

    def put(self, job: Job) -> Put:
        """The operation that writes a job, for a commit with other records."""
        return Put(_record(job))

    def change(
        self,
        job_id: str,
        transition: Callable[[Job, datetime], Job],
        also: Callable[[Job], Sequence[Operation]] = lambda job: (),
    ) -> Job:
        """Apply a transition of the state machine, as one conditional write.

        ``transition`` may be called several times, each with the job as it is then; what it
        raises ends the change. ``also`` gives what to write in the same transaction. Raises
        LimitExceeded when the tenant may not have the job run again now.
        """
        while True:
            job = self.find(job_id)
            if job is None:
                raise NotFound("There is no such job.", param="job_id")
            changed = transition(job, self._clock.now())
            if changed == job:
                return job
            try:
                self._commit(job, changed, also(changed))
            except Stale:
                continue
            return changed.model_copy(update={"version": job.version + 1})

    def running(self, tenant: str) -> list[Job]:
        """A tenant's jobs that are being worked on, those first that have been drawing longest.

        Jobs that were accepted very long ago are left out, so that asking costs little.
        """
        since = rfc3339(self._clock.now() - RUNNING_SINCE)
        page = self._records.query(
            "owner", f"{tenant}#jobs", after=since, labels={"status": JobStatus.RUNNING}, limit=50
        )
        jobs = [job for job in map(_job, page.records) if job.status is JobStatus.RUNNING]
        return sorted(jobs, key=lambda job: (job.reason is not None, job.started_at or since))

    def of_tenant(
        self,
        tenant: str,
        *,
        status: JobStatus | None = None,
        kind: JobKind | None = None,
        conversation_id: str | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> tuple[list[Job], str | None]:
        """A tenant's jobs, newest first, and the cursor of the next page."""
        labels = {
            name: str(value)
            for name, value in (
                ("status", status),
                ("kind", kind),
                ("conversation", conversation_id),
            )
            if value is not None
        }
        page = self._records.query(
            "owner", f"{tenant}#jobs", labels=labels, descending=True, limit=limit, cursor=cursor
        )
        return [_job(record) for record in page.records], page.cursor


def _record(job: Job) -> Record:
    labels = {"status": str(job.status), "kind": str(job.kind)}
    group = None
    if job.conversation_id is not None:
        labels["conversation"] = job.conversation_id
        group = (f"conversation#{job.conversation_id}", f"{job.turn or 0:08d}")
    return Record(
        pk=f"job#{job.id}",
        sk="job",
        data=job.model_dump(mode="json", exclude={"version"}, exclude_defaults=True),
        version=job.version,
        owner=(f"{job.tenant}#jobs", f"{rfc3339(job.created_at)}#{job.id}"),
        group=group,
        due=_in_due(job),
        labels=labels,
        expires_at=(job.expires_at + TOMBSTONE).timestamp(),
    )


def _in_due(job: Job) -> tuple[str, str] | None:
    """Where the sweeper looks for the job: open ones by their time, pictures by theirs."""
    if not job.status.final:
        return "job", rfc3339(due(job))
    if job.short_lived and not job.deleted:
        return "files", rfc3339(job.expires_at)
    return None


def due(job: Job) -> datetime:
    """The moment by which an open job should have gone on."""
    known = (job.alive_until, job.not_before, job.due_at, job.created_at)
    return max(moment for moment in known if moment is not None)


def _job(record: Record) -> Job:
    return Job.model_validate({**record.data, "version": record.version})
