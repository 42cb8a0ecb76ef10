"""The progress of a job as a stream of events.

Every event is complete in itself, and the first one is the whole job. The id of an event says what
has been told by then, so that a client which comes back with it (``Last-Event-ID``) is told what
has changed since, and nothing twice. Where in doubt, ``GET /v1/jobs/{job_id}`` has the
truth.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from robotchat.aws.streams import RECONNECT_AFTER, event
from robotchat.aws.wiring import robot, viewer
from robotchat.jobs.job import Estimate, Job
from robotchat.jobs.states import watched

LOOK_EVERY = 0.5
"""Seconds between two looks at the job."""

_COUNT_EVERY = 5.0
"""Seconds between two looks at the queue."""

_STATUS = ("status", "reason", "attempt", "prompt", "prompt_source", "queue_position", "eta")
_PROGRESS = ("progress", "eta", "eta_estimated")
_PREVIEW = ("preview",)
_MARK = re.compile(r"([0-9a-f]{8})-([0-9a-f]{8})-([0-9a-f]{8})")


def has_seen_the_end(job: Job, last_event_id: str | None) -> bool:
    """Whether a client that comes back was told the end of the job already."""
    return job.status.final and last_event_id == _end(job)


def job_events(
    job: Job,
    *,
    seconds: float,
    last_event_id: str | None = None,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> Iterator[bytes]:
    """``snapshot`` first; then ``status``, ``progress`` and ``preview`` as they change; ``done``
    with the whole job at the end. After so many ``seconds`` it ends with ``timeout``, and the
    client connects again. ``last_event_id`` is of the last event that it was told before: then
    there is no snapshot, but what has changed since."""
    until = monotonic() + seconds
    estimate, counted = robot().estimate(job), monotonic()
    now = _whole(job, estimate)
    told = _told_by(last_event_id)
    if told is None:
        told = _marks(now, {})
        yield event("snapshot", now, id=_id(told), retry=RECONNECT_AFTER)
    while not job.status.final:
        marks = _marks(now, told)
        for name, fields in (("status", _STATUS), ("progress", _PROGRESS), ("preview", _PREVIEW)):
            if told[name] != marks[name]:
                told[name] = marks[name]
                news = {"id": job.id, **{field: now[field] for field in fields}}
                yield event(name, news, id=_id(told))
        if monotonic() >= until:
            yield event("timeout", {"id": job.id}, id=_id(told), retry=RECONNECT_AFTER)
            return
        sleep(LOOK_EVERY)
        # Somebody is watching, so the host is to make previews.
        status, job = job.status, robot().jobs.change(job.id, watched)
        if monotonic() - counted >= _COUNT_EVERY or job.status != status:
            estimate, counted = robot().estimate(job), monotonic()
        now = _whole(job, estimate)
    yield event("done", _whole(job, None), id=_end(job))


def _marks(now: Mapping[str, Any], told: Mapping[str, str]) -> dict[str, str]:
    """What identifies each kind of news as it is now."""
    # A link to a preview is another one each time; the preview is that of a progress.
    preview = now["progress"] if now["preview"] is not None else None
    return {
        "status": _mark([now[name] for name in _STATUS if name != "eta"]),
        "progress": _mark([now[name] for name in _PROGRESS]),
        "preview": told.get("preview", _mark(None)) if preview is None else _mark(preview),
    }


def _mark(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=4).hexdigest()


def _id(told: Mapping[str, str]) -> str:
    return f"{told['status']}-{told['progress']}-{told['preview']}"


def _told_by(last_event_id: str | None) -> dict[str, str] | None:
    """What a client was told up to the event of this id; None when it is of none of ours."""
    match = _MARK.fullmatch(last_event_id or "")
    return (
        dict(zip(("status", "progress", "preview"), match.groups(), strict=True)) if match else None
    )


def _end(job: Job) -> str:
    # A job that failed can be tried again, and then has another end.
    return f"done-{_mark([job.status, job.attempt, str(job.finished_at)])}"


def _whole(job: Job, estimate: Estimate | None) -> dict[str, Any]:
    return viewer().job(job, estimate).model_dump(mode="json")
