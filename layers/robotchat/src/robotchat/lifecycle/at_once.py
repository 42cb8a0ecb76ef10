"""The queue of a program without workers: a job is run, attempt after attempt, when it is sent."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from robotchat.clock import Clock
from robotchat.jobs.job import Job
from robotchat.jobs.states import NotYet, StillRunning
from robotchat.jobs.store import Jobs
from robotchat.lifecycle.settle import Settlement

logger = logging.getLogger(__name__)

_LOOK_AGAIN = 0.05
"""Seconds between two looks at a job that another thread is on."""


class AtOnce:
    """A `JobQueue` that runs what it is sent, in the thread that sends it."""

    def __init__(self, run: Callable[[str], Job], clock: Clock) -> None:
        self._run = run
        self._clock = clock
        self._here = threading.local()

    def send(self, job: Job, *, delay: float = 0.0) -> Job | None:
        sent: deque[tuple[str, float]] | None = getattr(self._here, "sent", None)
        if sent is not None:
            # The end of a job sends the next one: it is run after that one, not within it.
            sent.append((job.id, delay))
            return None
        now: Job | None = None
        self._here.sent = sent = deque([(job.id, delay)])
        try:
            while sent:
                job_id, pause = sent.popleft()
                self._clock.sleep(pause)
                try:
                    found = self._run(job_id)
                    now = found if job_id == job.id else now
                except NotYet as wait:
                    sent.append((job_id, wait.seconds))
                except StillRunning:
                    logger.info("another thread is on it", extra={"job_id": job_id})
        finally:
            self._here.sent = None
        return now

    def finish(self, job: Job, jobs: Jobs, settlement: Settlement) -> Job:
        """Bring a job to its end; other threads may be on it, or on the turns before it."""
        while not job.status.final:
            first = settlement.first_open(job)
            try:
                self._run(first.id)
            except (NotYet, StillRunning):
                self._clock.sleep(_LOOK_AGAIN)
            except Exception:
                if first.id == job.id:
                    raise
                logger.exception("another's turn failed", extra={"job_id": first.id})
            job = jobs.get(job.id, job.tenant)
        return job

    def backlog(self) -> int:
        return 0
