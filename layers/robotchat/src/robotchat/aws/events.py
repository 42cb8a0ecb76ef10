"""A job as it goes on, told in events.

Every event is complete in itself, and the first one is the whole job, so that a client which was
cut off just connects again. The truth stays with ``GET /v1/jobs/{job_id}``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from robotchat.aws.wiring import robot, viewer
from robotchat.jobs import Job

LOOK_EVERY = 0.5
"""Seconds between two looks at the job."""

_LEAVE_BEFORE = 15.0
"""Seconds before this function's time limit at which the stream ends by itself."""


def job_events(job: Job, context: Any) -> Iterator[tuple[str, Any]]:
    """``snapshot`` first; then ``status``, ``progress`` and ``preview`` as they change; ``done``
    with the whole job at the end. A stream that must end earlier ends with ``timeout``."""
    yield "snapshot", _whole(job)
    while not job.status.final:
        if context.get_remaining_time_in_millis() / 1000 < _LEAVE_BEFORE:
            yield "timeout", {"id": job.id}
            return
        time.sleep(LOOK_EVERY)
        before, job = job, robot().jobs.get(job.id, job.tenant)
        if job.status.final:
            break
        if (before.status, before.reason, before.attempt) != (job.status, job.reason, job.attempt):
            yield "status", _part(job, "status", "reason", "attempt", "prompt", "prompt_source")
        if (before.progress, before.eta) != (job.progress, job.eta):
            yield "progress", _part(job, "progress", "eta", "eta_estimated")
    yield "done", _whole(job)


def _whole(job: Job) -> dict[str, Any]:
    return viewer().job(job).model_dump(mode="json")


def _part(job: Job, *fields: str) -> dict[str, Any]:
    return {"id": job.id, **job.model_dump(mode="json", include=set(fields))}
