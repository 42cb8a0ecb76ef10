"""Answers that several endpoints give."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar, cast
from urllib.parse import quote as encoded

from robotchat.art.requests import DrawRequest, Image2ImageRequest
from robotchat.art.results import to_a1111
from robotchat.aws.api import Endpoint, Response
from robotchat.aws.wiring import deployment, robot, settings, viewer
from robotchat.clock import SystemClock, rfc3339
from robotchat.config import ConfigView
from robotchat.conversation import ChatEditRequest, ChatImageRequest
from robotchat.errors import StaleVersion
from robotchat.ids import new_id
from robotchat.jobs.asking import Image2ImageBody, Text2ImageBody
from robotchat.jobs.job import Job
from robotchat.jobs.limits import Quote
from robotchat.jobs.states import succeeded
from robotchat.lifecycle.inputs import unheeded, upload_key
from robotchat.lifecycle.run_context import RunContext
from robotchat.views import JobList, JobView, Upload, UploadRequest

IGNORED_FIELDS: Final = "x-ignored-fields"
"""Header that names what of a request was not understood, and not stored either."""

_MOST_NAMES = 50
_LONGEST_NAME = 100

STOPPED_BEFORE = 10.0
"""Seconds that are kept at the end of this function's time limit, for sending its answer."""

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


def draw(
    body: Text2ImageBody | Image2ImageBody,
    endpoint: Endpoint,
    *,
    prefer: str | None,
    idempotency_key: str | None,
) -> Response[dict[str, Any] | JobView | Quote]:
    """Draw while the caller waits, or, if it prefers so, by the queue and as long as it waits.

    A caller that prefers to wait for some time only (``Prefer: wait=10``), or not at all
    (``respond-async``), gets 202 and the job if that is not enough, and the work goes on.
    """
    wait = preferred_wait(prefer)
    context = run_context(endpoint.lambda_context)
    request = body.drawing
    headers = ignored_fields(request.ignored)
    said = {"tenant": endpoint.tenant, "idempotency_key": idempotency_key, **body.job_fields()}
    if body.dry_run:
        quote = robot().intake.quote(request, endpoint.tenant)
        return Response(200, "application/json", quote, headers)
    if wait is None or wait > 0:
        endpoint.occupy()
    if wait is None:
        make = (
            robot().image2image if isinstance(request, Image2ImageRequest) else robot().text2image
        )
        job = cast(Any, make)(request, context=context, **said)
    else:
        # Until it answers it is silent; who is silent for too long can no longer say 202.
        limit = min(context.time_left(), settings().longest_silence) - STOPPED_BEFORE
        seconds = max(min(wait, limit), 0.0)
        applied = f"wait={seconds:.0f}" if wait else "respond-async"
        headers |= {"Preference-Applied": applied, "Vary": "Prefer"}
        job = robot().wait(robot().submit_image(request, **said), seconds=seconds)
        if not job.status.final:
            answer = accepted(job)
            answer.headers |= headers
            return cast(Response[dict[str, Any] | JobView | Quote], answer)
    return Response(200, "application/json", drawn(succeeded(job), request), headers)


def take_turn(
    request: ChatImageRequest, endpoint: Endpoint, idempotency_key: str | None
) -> Response[JobView | Quote]:
    """Accept a turn of a conversation: 202 with the job, or what it would cost."""
    editing = isinstance(request, ChatEditRequest)
    headers = ignored_fields(unheeded(request.settings, editing=editing))
    if request.dry_run:
        quote = robot().intake.quote_chat(request, endpoint.tenant)
        return Response(200, "application/json", quote, headers)
    answer = accepted(
        robot().submit_chat_image(request, tenant=endpoint.tenant, idempotency_key=idempotency_key)
    )
    answer.headers |= headers
    return cast(Response[JobView | Quote], answer)


def ignored_fields(names: Sequence[str]) -> dict[str, Any]:
    """The header that names what of a request nobody heeds."""
    told = [encoded(name[:_LONGEST_NAME], safe=" +/()[]") for name in names[:_MOST_NAMES]]
    return {IGNORED_FIELDS: ", ".join(told)} if told else {}


V = TypeVar("V", JobView, JobList)


def unless_known(body: V, tag: str, if_none_match: str | None) -> Response[V]:
    """What is asked for with its ETag; 304 without it for whoever has it already."""
    headers: dict[str, Any] = {
        "ETag": tag,
        "Cache-Control": "private, no-cache",
        "Vary": "Authorization",
    }
    known = [one.strip().removeprefix("W/") for one in (if_none_match or "").split(",")]
    if "*" in known or tag.removeprefix("W/") in known:
        return Response(304, "application/json", cast(V, ""), headers)
    return Response(200, "application/json", body, headers)


def preferred_wait(prefer: str | None) -> float | None:
    """For how many seconds the caller prefers to wait (RFC 7240); None: as long as it takes.

    Preferences that are not understood are ignored, as the RFC demands.
    """
    wait: float | None = None
    asynchronous = False
    for preference in (prefer or "").split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        name, value = name.strip().lower(), value.strip().strip('"')
        if name == "respond-async":
            asynchronous = True
        elif name == "wait" and wait is None and re.fullmatch(r"\d{1,6}", value):
            wait = float(value)
    return 0.0 if asynchronous and wait is None else wait


def nothing(headers: dict[str, str]) -> Response[None]:
    """``null``: how the web UI says that something was done."""
    return Response(200, "application/json", cast(None, "null"), headers)


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


def run_context(context: Any) -> RunContext:
    """The context of a request whose caller waits: this function's time limit."""
    return RunContext(time_left=time_left(context))


def new_upload(request: UploadRequest, tenant: str) -> Upload:
    """A fresh place for one file of the announced type and size. Raises LimitExceeded."""
    deployment().present.ledger.uploading(
        tenant, request.size, until=SystemClock().now() + settings().retention
    )
    upload_id = new_id("upload")
    images = deployment().images
    lifetime = images.link_term(settings().link_ttl)
    url = images.upload_url(
        upload_key(tenant, upload_id),
        content_type=request.content_type,
        size=request.size,
        expires_in=lifetime,
    )
    now = SystemClock().now()
    return Upload.of(upload_id, url, request, now=now, lifetime=lifetime)
