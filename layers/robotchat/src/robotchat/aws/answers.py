"""Answers that several endpoints give."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from robotchat.art import DrawRequest, to_a1111
from robotchat.aws.api import Response
from robotchat.aws.wiring import images, robot, settings, viewer
from robotchat.clock import SystemClock, rfc3339
from robotchat.config import ConfigView
from robotchat.errors import StaleVersion
from robotchat.inputs import upload_key
from robotchat.jobs import Job, new_id
from robotchat.robot import Shift
from robotchat.views import JobView, Upload, UploadRequest

POLL_AFTER = 1
"""Seconds after which a job that was just accepted is worth a look."""


def accepted(job: Job) -> Response[JobView]:
    """202 with the job, and where and when to look for it."""
    return Response(
        status_code=202,
        content_type="application/json",
        body=viewer().job(job),
        headers={"Location": f"/v1/jobs/{job.id}", "Retry-After": str(POLL_AFTER)},
    )


def asked_to_stop(job: Job) -> Response[JobView]:
    """The job after a cancel: 200 when it has ended, 202 while its worker has yet to see it."""
    status = 200 if job.status.final else 202
    return Response(status_code=status, content_type="application/json", body=viewer().job(job))


def drawn(job: Job, request: DrawRequest) -> dict[str, Any]:
    """A finished job as the web UI's API answers it, with our fields beside."""
    view = viewer().job(job)
    return {
        **to_a1111(request, robot().drawing(job)),
        "job_id": job.id,
        "image_urls": [image.url for image in [*view.images, *view.extra_images]],
        "expires_at": rfc3339(job.expires_at),
    }


def configured(view: ConfigView) -> Response[ConfigView]:
    """The configuration, with its version as the ETag."""
    return Response(
        status_code=200,
        content_type="application/json",
        body=view,
        headers={"ETag": f'"{view.version}"'},
    )


def version_in(if_match: str | None) -> int | None:
    """The version that an ``If-Match`` header names; None for any. Raises StaleVersion."""
    if if_match is None or if_match.strip() in ("", "*"):
        return None
    tag = re.fullmatch(r'(?:W/)?"?(\d{1,18})"?', if_match.strip())
    if tag is None:
        raise StaleVersion("If-Match is not an ETag of this service.")
    return int(tag[1])


def time_left(context: Any) -> Callable[[], float]:
    """Tells the seconds until this function is stopped."""
    return lambda: context.get_remaining_time_in_millis() / 1000


def shift(context: Any) -> Shift:
    """The circumstances of a request whose caller waits: this function's time limit."""
    return Shift(time_left=time_left(context))


def new_upload(request: UploadRequest, tenant: str) -> Upload:
    """A fresh place for one file of the announced type and size. Raises LimitExceeded."""
    from robotchat.aws.accounts import ledger

    ledger().uploading(tenant, request.size, until=SystemClock().now() + settings().retention)
    upload_id = new_id("upload")
    lifetime = settings().link_ttl
    url = images().upload_url(
        upload_key(tenant, upload_id),
        content_type=request.content_type,
        size=request.size,
        expires_in=lifetime,
    )
    now = SystemClock().now()
    return Upload.of(upload_id, url, request, now=now, lifetime=lifetime)
