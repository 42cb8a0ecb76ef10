"""A job as it goes on, told in events.

Every event is complete in itself, and the first one is the whole job, so that a client which was
cut off just connects again. The truth stays with ``GET /v1/jobs/{job_id}``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from robotchat.aws.wiring import robot, viewer
from robotchat.jobs.job import Estimate, Job
from robotchat.jobs.states import watched

LOOK_EVERY = 0.5
"""Seconds between two looks at the job."""

_COUNT_EVERY = 5.0
"""Seconds between two looks at the queue."""

_LEAVE_BEFORE = 15.0
"""Seconds before this function's time limit at which the stream ends by itself."""

_STATUS = ("status", "reason", "attempt", "prompt", "prompt_source", "queue_position", "eta")
_PROGRESS = ("progress", "eta", "eta_estimated")


def job_events(job: Job, context: Any) -> Iterator[tuple[str, Any]]:
    """``snapshot`` first; then ``status``, ``progress`` and ``preview`` as they change; ``done``
    with the whole job at the end. A stream that must end earlier ends with ``timeout``."""
    estimate, counted = robot().estimate(job), time.monotonic()
    told = _whole(job, estimate)
    yield "snapshot", told
    while not job.status.final:
        if context.get_remaining_time_in_millis() / 1000 < _LEAVE_BEFORE:
            yield "timeout", {"id": job.id}
            return
        time.sleep(LOOK_EVERY)
        # Whoever follows a job is worth a preview to the host.
        job = robot().jobs.change(job.id, watched)
        if job.status.final:
            break
        if time.monotonic() - counted >= _COUNT_EVERY or job.status != told["status"]:
            estimate, counted = robot().estimate(job), time.monotonic()
        now = _whole(job, estimate)
        for event, fields in (("status", _STATUS[:-1]), ("progress", _PROGRESS)):
            if any(told[name] != now[name] for name in fields):
                sent = _STATUS if event == "status" else _PROGRESS
                yield event, {"id": job.id, **{name: now[name] for name in sent}}
        if now["preview"] is not None and told["progress"] != now["progress"]:
            yield "preview", {"id": job.id, "preview": now["preview"]}
        told = now
    yield "done", _whole(job, None)


def _whole(job: Job, estimate: Estimate | None) -> dict[str, Any]:
    return viewer().job(job, estimate).model_dump(mode="json")
