"""What all else has missed: open jobs that stand still, and pictures past their time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from robotchat.clock import Clock, rfc3339
from robotchat.images import Images
from robotchat.jobs.job import Job, JobStatus
from robotchat.jobs.states import files_gone, lapse, look_later, lose, released
from robotchat.jobs.store import DUE_SHARDS, Jobs, due
from robotchat.lifecycle.settle import Settlement
from robotchat.records import Put, Record, Records, Stale

logger = logging.getLogger(__name__)

GRACE = timedelta(minutes=1)
"""How long after its time an open job is taken for forgotten."""

LOST_FOR_CERTAIN = timedelta(hours=1)
"""The same for a job whose message may just be waiting in a long queue."""


class Sweeper:
    """Repairs and clears up what all else has missed; run now and then."""

    def __init__(
        self,
        records: Records,
        jobs: Jobs,
        images: Images,
        settlement: Settlement,
        clock: Clock,
    ) -> None:
        self._records = records
        self._jobs = jobs
        self._images = images
        self._settlement = settlement
        self._clock = clock

    def sweep(self, *, limit: int = 100, seconds: float = 60.0) -> list[Job]:
        """Find open jobs that should have gone on by now, and make them. Gives those jobs, up to
        ``limit``.

        A queued job whose message was lost gets a new one; a job that waits for a turn which has
        ended is let go; a running job whose worker died gets a new attempt, or is failed when
        its caller, who waited for it, has gone; what is past its lifetime expires. One that
        cannot be repaired does not keep others from it. After ``seconds`` it stops, and the next
        sweep goes on where this one ended.
        """
        backlog = self._settlement.queue.backlog()
        reached: dict[str, datetime | None] = {}
        repaired: list[Job] = []

        def repair(record: Record) -> bool:
            try:
                after = self._repair(self._jobs.read(record), backlog, reached)
            except Exception:
                job_id = record.pk.removeprefix("job#")
                logger.exception("a job cannot be repaired", extra={"job_id": job_id})
                return True
            if after is not None:
                repaired.append(after)
            return len(repaired) < limit

        self._each_due("job", self._clock.now() - GRACE, seconds, repair)
        return repaired

    def delete_expired(self, *, limit: int = 1000, seconds: float = 30.0) -> int:
        """Delete the pictures of jobs whose callers asked for a short retention. Gives the
        number of those jobs. It ends and goes on as ``sweep`` does."""
        deleted: list[str] = []

        def delete(record: Record) -> bool:
            job = self._jobs.read(record)
            if job.status.final:
                self._images.delete(job.images_prefix)
                self._jobs.change(job.id, files_gone)
                deleted.append(job.id)
            return len(deleted) < limit

        self._each_due("files", self._clock.now(), seconds, delete)
        return len(deleted)

    def _each_due(
        self, what: str, moment: datetime, seconds: float, visit: Callable[[Record], bool]
    ) -> None:
        """Show ``visit`` the jobs in the index of what is due, up to a moment, until it says that
        it is enough or the time is up.

        They are read by the hundred, one partition after the other. How far this got is written
        down, and the next time begins there, so that a partition that is too full for once does
        not hide the others.
        """
        progress = self._records.get("sweeper", f"due#{what}")
        first, resumed = (
            (progress.data["shard"], progress.data["cursor"]) if progress else (0, None)
        )
        until = self._clock.now() + timedelta(seconds=seconds)
        shard, cursor, goes_on = first, resumed, True
        while goes_on:
            page = self._records.query(
                "due", f"{what}#{shard}", up_to=rfc3339(moment), cursor=cursor
            )
            if not all(visit(record) for record in page.records):
                break
            cursor = page.cursor
            if cursor is None:
                shard = (shard + 1) % DUE_SHARDS
                goes_on = shard != first
            goes_on = goes_on and self._clock.now() < until
        if (shard, cursor) != (first, resumed):
            version = progress.version if progress else 0
            reached = Record("sweeper", f"due#{what}", {"shard": shard, "cursor": cursor}, version)
            with suppress(Stale):  # another sweeper was there at the same time, and got that far
                self._records.commit(Put(reached))

    def _repair(self, job: Job, backlog: int, reached: dict[str, datetime | None]) -> Job | None:
        """The job, if it needed a repair."""
        now = self._clock.now()
        if job.status.final or now < due(job) + GRACE:
            return None
        if now >= job.expires_at:
            return self._settlement.settle(self._jobs.change(job.id, lapse))
        if job.predecessor is not None:
            if self._settlement.must_wait(job):
                return None
            job = self._jobs.change(job.id, released)
        elif job.inline:
            return self._settlement.settle(self._jobs.change(job.id, lose))
        elif (
            job.status is JobStatus.QUEUED
            # A pool's queue is not looked at: what is lost there is found when it is overtaken.
            and (backlog or job.pool is not None)
            and now < due(job) + LOST_FOR_CERTAIN
            and not self._overtaken(job, reached)
        ):
            return None  # its message is most likely one of those that wait
        job = self._jobs.change(job.id, look_later)
        if not job.status.final:
            self._settlement.queue.send(job)
        return job

    def _overtaken(self, job: Job, reached: dict[str, datetime | None]) -> bool:
        """Whether its tenant's jobs that were queued a good while later are being run already.

        Then its message does not wait with the others: who received it died before it could say
        so, and the queue hides it for as long as a worker may take. ``reached`` is how far the
        tenants' queues are, as far as it was looked up.
        """
        if job.tenant not in reached:
            running = self._jobs.running(job.tenant)
            reached[job.tenant] = max(map(_queued_at, running), default=None)
        latest = reached[job.tenant]
        return latest is not None and latest > due(job) + GRACE


def _queued_at(job: Job) -> datetime:
    return max(job.created_at, job.due_at or job.created_at)
