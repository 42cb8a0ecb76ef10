"""What all else has missed: open jobs that stand still, and pictures past their time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta

from robotchat.clock import Clock, rfc3339
from robotchat.images import Images
from robotchat.jobs.job import Job, JobStatus
from robotchat.jobs.states import files_gone, lapse, look_later, lose, released
from robotchat.jobs.store import Jobs, due
from robotchat.lifecycle.settle import Settlement
from robotchat.records import Records

logger = logging.getLogger(__name__)

GRACE = timedelta(minutes=2)
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

    def sweep(self, *, limit: int = 100) -> list[Job]:
        """Find open jobs that should have gone on by now, and make them. Gives those jobs, up to
        ``limit``.

        A queued job whose message was lost gets a new one; a job that waits for a turn which has
        ended is let go; a running job whose worker died gets a new attempt, or is failed when
        its caller, who waited for it, has gone; what is past its lifetime expires. One that
        cannot be repaired does not keep others from it.
        """
        backlog = self._settlement.queue.backlog()
        repaired: list[Job] = []
        for job_id in self._due("job", self._clock.now() - GRACE):
            try:
                job = self._repair(job_id, backlog)
            except Exception:
                logger.exception("a job cannot be repaired", extra={"job_id": job_id})
                continue
            if job is not None:
                repaired.append(job)
            if len(repaired) >= limit:
                break
        return repaired

    def delete_expired(self, *, limit: int = 1000) -> int:
        """Delete the pictures of jobs whose callers asked for a short retention. Gives the
        number of those jobs."""
        done = 0
        for job_id in self._due("files", self._clock.now()):
            job = self._jobs.find(job_id)
            if job is not None and job.status.final:
                self._images.delete(job.images_prefix)
                self._jobs.change(job_id, files_gone)
                done += 1
            if done >= limit:
                break
        return done

    def _due(self, what: str, moment: datetime) -> Iterator[str]:
        """Ids of jobs that are in the index of what is due, up to a moment."""
        cursor: str | None = None
        while True:
            page = self._records.query("due", what, up_to=rfc3339(moment), cursor=cursor)
            for record in page.records:
                yield record.pk.removeprefix("job#")
            cursor = page.cursor
            if cursor is None:
                return

    def _repair(self, job_id: str, backlog: int) -> Job | None:
        """The job, if it needed a repair."""
        now = self._clock.now()
        job = self._jobs.find(job_id)
        if job is None or job.status.final or now < due(job) + GRACE:
            return None
        if now >= job.expires_at:
            return self._settlement.settle(self._jobs.change(job_id, lapse))
        if job.predecessor is not None:
            if self._settlement.must_wait(job):
                return None
            job = self._jobs.change(job_id, released)
        elif job.inline:
            return self._settlement.settle(self._jobs.change(job_id, lose))
        elif job.status is JobStatus.QUEUED and backlog and now < due(job) + LOST_FOR_CERTAIN:
            return None  # its message is most likely one of those that wait
        job = self._jobs.change(job_id, look_later)
        if not job.status.final:
            self._settlement.queue.send(job)
        return job
