"""Events: what the outside world learns when a job has ended.

The write that ends a job is the only source of events. On AWS the table's stream carries it to
the ``Publish`` function, so that an event exists if and only if its state does. An event is made
from the job alone, in such a way that telling it twice gives the same event with the same id:
receivers may get one more than once, and drop what they know by its id.

An event carries no words of the conversation and no links to pictures, which would have run out
by the time that a delayed event is read: it says what happened to which job, and the job is read
from the API.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from robotchat.clock import rfc3339
from robotchat.ids import id_for_key
from robotchat.jobs.job import EventType, Job, JobError, JobKind, JobStatus, Timings, WebhookTarget
from robotchat.net.addresses import check_url
from robotchat.views import JobLinks

_TYPES: dict[JobStatus, EventType] = {
    JobStatus.SUCCEEDED: "job.succeeded",
    JobStatus.FAILED: "job.failed",
    JobStatus.CANCELED: "job.canceled",
    JobStatus.EXPIRED: "job.expired",
}


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True)


class EventImage(_Told):
    """A picture of the job; its link comes with the job."""

    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    seed: int | None = Field(description="The seed it was drawn from.")
    sha256: str = Field(description="Of the file, in hexadecimal.")
    content_type: str


class EventJob(_Told):
    """The job as of the event. Read the job itself (``links.self``) for prompts and pictures."""

    id: str = Field(examples=["job_mfzwcylcmfrgg43bmzsw4y3ejm"])
    object: Literal["job"] = "job"
    kind: JobKind
    status: JobStatus
    conversation_id: str | None
    turn: int | None
    images: list[EventImage]
    error: JobError | None
    attempt: int = Field(description="How often it has been tried.")
    timings: Timings
    checkpoint: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime
    expires_at: datetime = Field(description="When the pictures are deleted.")
    request_id: str | None = Field(
        default=None, description="`x-request-id` of the request that asked for it."
    )
    metadata: dict[str, Any] = Field(description="The caller's own data.")
    links: JobLinks


class Event(_Told):
    """Something that happened, once. The shape is that of Standard Webhooks."""

    id: str = Field(
        description="The same however often the event is sent.",
        examples=["evt_mfzwcylcmfrgg43bmzsw4y3ejm"],
    )
    type: EventType
    timestamp: datetime = Field(description="When it happened.")
    data: EventJob

    @classmethod
    def of(cls, job: Job) -> Event:
        """The event of a job's end. Raises ValueError for a job that has not ended."""
        if not job.status.final or job.finished_at is None:
            raise ValueError(f"{job.id} is {job.status}: there is nothing to tell")
        ended = f"{job.id} {job.status} {rfc3339(job.finished_at)}"
        conversation = f"/v1/conversations/{job.conversation_id}" if job.conversation_id else None
        return cls(
            id=id_for_key("evt", job.tenant, ended),
            type=_TYPES[job.status],
            timestamp=job.finished_at,
            data=EventJob(
                id=job.id,
                kind=job.kind,
                status=job.status,
                conversation_id=job.conversation_id,
                turn=job.turn,
                images=[
                    EventImage.model_validate(image, from_attributes=True) for image in job.images
                ],
                error=job.error,
                attempt=job.attempt,
                timings=job.timings,
                checkpoint=job.checkpoint,
                created_at=job.created_at,
                started_at=job.started_at,
                finished_at=job.finished_at,
                expires_at=job.expires_at,
                request_id=job.request_id,
                metadata=job.metadata,
                links=JobLinks(self=f"/v1/jobs/{job.id}", conversation=conversation),
            ),
        )

    def json_text(self) -> str:
        """The event as it is sent and signed."""
        return json.dumps(self.model_dump(mode="json"), separators=(",", ":"), ensure_ascii=False)


def accept_target(
    webhook: WebhookTarget | str | None, *, local: bool, param: str = "webhook"
) -> WebhookTarget | None:
    """Where a caller wants to be notified; the form of the URL is checked.

    The address is checked again when it is called. ``local`` lets it be this machine. Raises
    ForbiddenUrl.
    """
    if webhook is None:
        return None
    target = WebhookTarget(url=webhook) if isinstance(webhook, str) else webhook
    check_url(target.url, allow_http_loopback=local, param=param)
    return target
