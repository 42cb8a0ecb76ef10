"""What follows from a job's state: the next turn of its conversation, or its next attempt.

Everything here may be done again whenever nobody can know whether it was done.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from robotchat.clock import Clock
from robotchat.errors import JobNotFinal
from robotchat.images import Images
from robotchat.jobs.job import Job, JobStatus
from robotchat.jobs.states import discard, released
from robotchat.jobs.store import Jobs


class JobQueue(Protocol):
    """Carries job ids to whoever runs them, at least once."""

    def send(self, job: Job, *, delay: float = 0.0) -> Job | None:
        """Have the job run, not before ``delay`` seconds from now.

        Gives the job as it is then, if it was run within this call.
        """
        ...

    def backlog(self) -> int:
        """About how many jobs wait in the queue although their time has come."""
        ...


class Settlement:
    """Sends jobs to whoever runs them, in the order of their conversations."""

    def __init__(self, jobs: Jobs, images: Images, queue: JobQueue, clock: Clock) -> None:
        self._jobs = jobs
        self._images = images
        self.queue = queue
        self._clock = clock

    def send(self, job: Job) -> Job:
        """Queue a job that nothing holds back; sending it twice does no harm."""
        if job.status is JobStatus.QUEUED and job.reason != "waiting_for_turn":
            return self.queue.send(job) or job
        return job

    def first_open(self, job: Job) -> Job:
        """The turn that must be run first for an open job to go on: itself, or one before it."""
        while job.predecessor is not None:
            before = self.still_open(self._jobs.find(job.predecessor))
            if before is None:
                break
            job = before
        return job

    def settle(self, job: Job) -> Job:
        """What follows from a job's state: the next turn goes, or the next attempt is queued.

        Idempotent: it is done again whenever nobody can know whether it was done.
        """
        if not job.status.final:
            if job.status is JobStatus.QUEUED and job.predecessor is None and not job.inline:
                now = self._clock.now()
                wait = (job.not_before - now).total_seconds() if job.not_before else 0.0
                self.queue.send(job, delay=max(wait, 0.0))
            return job
        if job.deleted:
            self._images.delete(job.images_prefix)  # what was stored after the deletion
        if not self.must_wait(job):
            self._release_next(job)
        return job

    def discard(self, job: Job, *, even_open: bool = False) -> None:
        """Delete a job's pictures and words; an open one is canceled, if that is meant.

        That it was, and how it ended, is kept for a while. Raises JobNotFinal.
        """

        def transition(job: Job, now: datetime) -> Job:
            if not (job.status.final or even_open):
                raise JobNotFinal(f"The job is {job.status}; cancel it first.")
            return discard(job, now)

        job = self._jobs.change(job.id, transition, known=job)
        self._images.delete(job.images_prefix)

    def must_wait(self, job: Job) -> bool:
        """Whether a turn before this one is still open."""
        before = self._jobs.find(job.predecessor) if job.predecessor is not None else None
        return self.still_open(before) is not None

    def still_open(self, job: Job | None) -> Job | None:
        """The turn that is waited for by whoever comes after this one, if there is any.

        A turn that ended before its turn came (canceled, expired) still knows whom it waited for,
        and whoever comes after it waits for that one.
        """
        while job is not None and job.status.final:
            job = self._jobs.find(job.predecessor) if job.predecessor is not None else None
        return job

    def _release_next(self, job: Job) -> None:
        """Let the turn after a final one go; turns that have ended before their turn are passed
        over, since nobody else can do this for the turns that wait for them."""
        after = job
        while after.successor is not None:
            after = self._jobs.change(after.successor, released)
            if after.status is JobStatus.QUEUED:
                self.queue.send(after)
            if not after.status.final or after.predecessor is None:
                return
