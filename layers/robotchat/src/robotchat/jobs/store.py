"""Where jobs are stored.

Every change is one conditional write: whoever loses a race reads again and decides anew, so that a
final state is never overwritten and no attempt is counted twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from zlib import crc32

from robotchat.clock import Clock, rfc3339
from robotchat.errors import (
    IdempotencyKeyReused,
    InvalidRequest,
    LimitExceeded,
    NotFound,
)
from robotchat.images import Images
from robotchat.jobs.job import (
    Job,
    JobKind,
    JobStatus,
)
from robotchat.jobs.limits import Ledger
from robotchat.jobs.states import (
    RUNNING_SINCE,
    TOMBSTONE,
)
from robotchat.records import (
    PAGE_SIZE,
    LimitReached,
    Operation,
    Put,
    Record,
    Records,
    Retries,
    Stale,
)

INLINE_BYTES = 64_000
"""Large parts of a job up to this size together, as JSON, are in its record."""

DUE_SHARDS = 8
"""Over how many partitions of the index ``due`` jobs are spread."""

_LARGE = ("request", "effective", "foreseen", "info")
_IMAGES = ("images", "extra_images")
"""Lists of pictures, whose infotexts are large parts."""


class Jobs:
    """Jobs in a document store. ``ledger`` counts them, within their tenants' limits.

    What grows by drawing (the request, what was sent to the host, the host's own account) is kept
    as a file in ``images`` where it is large, so that a record always fits. A reader without
    ``images`` gets such jobs as ``partial``.
    """

    def __init__(
        self,
        records: Records,
        clock: Clock,
        ledger: Ledger | None = None,
        images: Images | None = None,
    ) -> None:
        self._records = records
        self._clock = clock
        self._ledger = ledger or Ledger(records, clock)
        self._images = images

    def now(self) -> datetime:
        """The time by which jobs are judged."""
        return self._clock.now()

    def find(self, job_id: str) -> Job | None:
        """The job as it is now, whoever it belongs to."""
        record = self._records.get(f"job#{job_id}", "job")
        return self._whole(_job(record)) if record else None

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
        retries = Retries()
        while True:
            try:
                job = self._commit(None, job, also)
            except (Stale, LimitExceeded) as error:
                earlier = self.find(job.id)
                if earlier is not None:
                    return self.same(earlier, job), False
                if also or isinstance(error, LimitExceeded):
                    raise
                retries.spend()  # it was the tenant's counters, which many write at once
                continue
            return job.model_copy(update={"version": 1}), True

    def _commit(self, before: Job | None, after: Job, also: Sequence[Operation]) -> Job:
        """Write a job and what this does to its tenant's counters. Gives the job as it was written,
        with the file of its large parts, if there is one. Raises LimitExceeded, Stale."""
        begun = not after.status.final and (before is None or before.status.final)
        accounts = self._ledger.accounts(after) if begun else iter((after.account,))
        refused: LimitReached | None = None
        for account in accounts:
            after = after.model_copy(update={"account": account})
            entries = self._ledger.entries(before, after)
            put = self.put(after)
            try:
                self._records.commit(put, *also, *entries)
            except LimitReached as reached:
                refused = reached
                continue
            return after.model_copy(update={"file": put.record.data.get("file")})
        if refused is None:
            raise AssertionError("a tenant has an account at least")
        raise self._ledger.refusal(after.tenant, refused)

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
        """The job in a record; ``partial``, if large parts of it are in a file."""
        return _job(record)

    def put(self, job: Job) -> Put:
        """The operation that writes a job, for a commit with other records. Raises RecordTooLarge,
        and InvalidRequest for what is no text or number."""
        return Put(_record(job, self._written(job)))

    def _written(self, job: Job) -> dict[str, Any]:
        """A job's document, its large parts put into a file if they are large together.

        The file is named after what is in it, so that no write that loses a race can change what
        another one has stored, and a write that leaves them as they were writes no file.
        """
        try:
            data = job.model_dump(
                mode="json", exclude={"version", "partial"}, exclude_defaults=True
            )
        except ValueError as error:  # nested too deep
            raise InvalidRequest("There is something in it that cannot be stored.") from error
        if job.partial:
            return data
        data.pop("file", None)
        parts, rest = _apart(data)
        text = _json(parts)
        if self._images is None or len(text) <= INLINE_BYTES:
            return data
        key = f"{job.images_prefix}record-{hashlib.sha256(text).hexdigest()[:32]}.json"
        if key != job.file:
            self._images.put(key, text, "application/json")
        return {**rest, "file": key}

    def _whole(self, job: Job) -> Job:
        """A job with its large parts, as far as they are still stored."""
        if not job.partial or self._images is None or job.file is None:
            return job
        try:
            parts = json.loads(self._images.get(job.file))
        except NotFound:
            return job
        changes: dict[str, Any] = {name: parts[name] for name in _LARGE if name in parts}
        for name in _IMAGES:
            texts = parts.get(name, [])
            changes[name] = (
                [
                    image.model_copy(update={"infotext": text})
                    for image, text in zip(getattr(job, name), texts, strict=True)
                ]
                if texts
                else getattr(job, name)
            )
        return job.model_copy(update={**changes, "partial": False})

    def change(
        self,
        job_id: str,
        transition: Callable[[Job, datetime], Job],
        also: Callable[[Job], Sequence[Operation]] = lambda job: (),
        *,
        known: Job | None = None,
    ) -> Job:
        """Apply a transition of the state machine, as one conditional write.

        ``transition`` may be called several times, each with the job as it is then; what it
        raises ends the change. ``also`` gives what to write in the same transaction. ``known`` is
        the job as it was just read or written: if it still is so, it need not be read again.
        Raises LimitExceeded when the tenant may not have the job run again now.
        """
        retries = Retries()
        while True:
            job, known = known or self.find(job_id), None
            if job is None:
                raise NotFound("There is no such job.", param="job_id")
            changed = transition(job, self._clock.now())
            if changed == job:
                return job
            try:
                changed = self._commit(job, changed, also(changed))
            except Stale:
                retries.spend()
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

    def oldest_open(self) -> datetime | None:
        """When the first of all open jobs was due: accepted, or planned to be tried again."""
        first = (
            self._records.entries("due", f"job#{shard}", limit=1) for shard in range(DUE_SHARDS)
        )
        moments = [datetime.fromisoformat(found[0].position) for found in first if found]
        return min(moments, default=None)

    def of_tenant(
        self,
        tenant: str,
        *,
        status: JobStatus | None = None,
        kind: JobKind | None = None,
        conversation_id: str | None = None,
        limit: int = PAGE_SIZE,
        cursor: str | None = None,
    ) -> tuple[list[Job], str | None]:
        """A tenant's jobs, newest first, and the cursor of the next page. Large ones are
        ``partial``: a list must not become too large to be answered."""
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


def _json(value: object) -> bytes:
    """JSON as it is stored. Raises InvalidRequest for what is no text or number."""
    try:
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode()
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("There is text or a number in it that cannot be stored.") from error


def _apart(data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A job's document in two: what may be large, and the rest."""
    parts = {name: data[name] for name in _LARGE if name in data}
    rest = {name: value for name, value in data.items() if name not in _LARGE}
    for name in _IMAGES:
        if name in data:
            parts[name] = [image.get("infotext") for image in data[name]]
            rest[name] = [
                {n: v for n, v in image.items() if n != "infotext"} for image in data[name]
            ]
    return parts, rest


def _record(job: Job, data: dict[str, Any]) -> Record:
    labels = {"status": str(job.status), "kind": str(job.kind)}
    group = None
    if job.conversation_id is not None:
        labels["conversation"] = job.conversation_id
        group = (f"conversation#{job.conversation_id}", f"{job.turn or 0:08d}")
    return Record(
        pk=f"job#{job.id}",
        sk="job",
        data=data,
        version=job.version,
        owner=in_order_of_tenant(job),
        group=group,
        due=_in_due(job),
        labels=labels,
        expires_at=(job.expires_at + TOMBSTONE).timestamp(),
    )


def in_order_of_tenant(job: Job) -> tuple[str, str]:
    """Where the job is among those of its tenant, in the index ``owner``."""
    return f"{job.tenant}#jobs", f"{rfc3339(job.created_at)}#{job.id}"


def _in_due(job: Job) -> tuple[str, str] | None:
    """Where the sweeper looks for the job: open ones by their time, pictures by theirs.

    Signs of life do not move it. Jobs are spread over partitions, since each of these takes only so
    many writes a second.
    """
    shard = crc32(job.id.encode()) % DUE_SHARDS
    if not job.status.final:
        planned = (job.not_before, job.due_at, job.created_at)
        return f"job#{shard}", rfc3339(max(m for m in planned if m is not None))
    if job.short_lived and not job.deleted:
        return f"files#{shard}", rfc3339(job.expires_at)
    return None


def due(job: Job) -> datetime:
    """The moment by which an open job should have gone on."""
    known = (job.alive_until, job.not_before, job.due_at, job.created_at)
    return max(moment for moment in known if moment is not None)


def _job(record: Record) -> Job:
    partial = "file" in record.data
    return Job.model_validate({**record.data, "partial": partial, "version": record.version})
