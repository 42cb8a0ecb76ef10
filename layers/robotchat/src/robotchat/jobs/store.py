"""Where jobs are stored.

Every change is one conditional write: whoever loses a race reads again and decides anew, so that a
final state is never overwritten and no attempt is counted twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from robotchat.clock import Clock, rfc3339
from robotchat.errors import (
    IdempotencyKeyReused,
    LimitExceeded,
    NotFound,
)
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
from robotchat.records import LimitReached, Operation, Put, Record, Records, Retries, Stale


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
        retries = Retries()
        while True:
            try:
                self._commit(None, job, also)
            except (Stale, LimitExceeded) as error:
                earlier = self.find(job.id)
                if earlier is not None:
                    return self.same(earlier, job), False
                if also or isinstance(error, LimitExceeded):
                    raise
                retries.spend()  # it was the tenant's counters, which many write at once
                continue
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
                self._commit(job, changed, also(changed))
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
