"""Text2Image and Image2Image while their caller waits: accepted and run in one call."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from robotchat.art.requests import Image2ImageRequest, Text2ImageRequest
from robotchat.clock import Clock
from robotchat.errors import (
    UpstreamBusy,
)
from robotchat.hosts.pool import HostPool
from robotchat.jobs.job import Job, JobStatus
from robotchat.jobs.states import (
    NotYet,
    StillRunning,
    claim,
    give_up,
    succeeded,
)
from robotchat.jobs.states import retry as retry_job
from robotchat.jobs.store import Jobs
from robotchat.lifecycle.accept import Intake
from robotchat.lifecycle.run import Runner
from robotchat.lifecycle.run_context import RunContext
from robotchat.lifecycle.settle import Settlement

_SHORTEST, _LONGEST = 0.03, 0.25
"""Seconds between two looks at a job that somebody waits for."""


class Inline:
    """Runs a job for a caller who waits, or watches the one that runs already."""

    def __init__(
        self,
        jobs: Jobs,
        intake: Intake,
        hosts: HostPool,
        runner: Runner,
        settlement: Settlement,
        clock: Clock,
    ) -> None:
        self._jobs = jobs
        self._hosts = hosts
        self._intake = intake
        self._runner = runner
        self._settlement = settlement
        self._clock = clock

    def draw(
        self,
        request: Text2ImageRequest | Image2ImageRequest,
        tenant: str,
        idempotency_key: str | None,
        context: RunContext,
        **job_fields: Any,
    ) -> Job:
        """``job_fields`` are those of `Intake.image_job`. What only the workers beside some hosts
        can draw goes to them by the queue, and is watched."""
        job = self._intake.image_job(request, tenant, idempotency_key, **job_fields)
        is_new = False
        if not job.version and not job.inline:
            job, _ = self._jobs.add(job)
            job = self._settlement.send(job)
        elif not job.version:
            # Stored as claimed already: one write less, and if this process dies the sweeper sees
            # it as it sees a dead worker's job.
            job = claim(job, self._clock.now(), alive=self._intake.settings.alive)
            with self._hosts.looking_ahead():
                job, is_new = self._jobs.add(job)
        elif job.inline and job.error is not None and job.error.retryable and not job.deleted:
            # The caller was told to try again, and does.
            job = self._jobs.change(job.id, _again)
        job = self._persist_until_final(job, context, claimed=is_new)
        return succeeded(job)

    def wait(self, job: Job, *, seconds: float) -> Job:
        """Watch a queued job, for so long at most. Gives the job as it is then.

        It is looked at the more often the younger it is, so that its end is seen late by a tenth of
        the time that it took, or a quarter of a second.
        """
        deadline = self._clock.now() + timedelta(seconds=seconds)
        while not job.status.final and (now := self._clock.now()) < deadline:
            age = (now - job.created_at).total_seconds()
            self._clock.sleep(min(max(age / 10, _SHORTEST), _LONGEST))
            job = self._jobs.get(job.id, job.tenant)
        return job

    def _persist_until_final(self, job: Job, context: RunContext, *, claimed: bool) -> Job:
        """Bring a job whose caller waits to its end, as long as there is time.

        It may be an earlier caller's job (the same idempotency key): then that caller's process
        is left to finish it, and only if it has died, its job is taken over. ``claimed`` says
        that the first attempt is ours already.
        """
        while not job.status.final:
            pause = 0.0
            try:
                if claimed:
                    claimed = False
                    job = self._runner.attempt(job, context)
                else:
                    job = (
                        self._runner.run(job.id, context)
                        if job.inline
                        else self.wait(job, seconds=1.0)
                    )
            except StillRunning:
                pause = 0.25
            except NotYet as early:
                pause = early.seconds
            if not job.status.final and context.time_left() < pause + 10:
                return self._out_of_time(job)
            if pause:
                self._clock.sleep(pause)
                job = self._jobs.get(job.id, job.tenant)
        return job

    def _out_of_time(self, job: Job) -> Job:
        if job.inline:
            job = self._jobs.change(job.id, give_up)
        if not job.status.final:
            raise UpstreamBusy(
                "The job goes on; ask again with the same idempotency key.",
                retry_after=5,
                details={"job_id": job.id},
            )
        return job


def _again(job: Job, now: datetime) -> Job:
    """A job whose caller waits again, after it failed."""
    if job.status is not JobStatus.FAILED:
        return job
    return retry_job(job, now).model_copy(update={"inline": True})
