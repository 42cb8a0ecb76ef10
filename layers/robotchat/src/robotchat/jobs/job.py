"""A job: one picture request, from being accepted to a final state.

    queued --> running --> succeeded | failed | canceled | expired
       ^          |
       +----------+   a transient failure, with attempts left

``states`` has the transitions, ``store`` writes them down.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from robotchat.errors import RobotchatError
from robotchat.jobs.charge import Charge
from robotchat.text import readable

ALIVE = timedelta(seconds=60)
"""A running job that shows no sign of life for this long has lost its worker."""

WATCHED = timedelta(seconds=20)
"""For how long one look at a running job has previews made for the next ones."""


class JobKind(StrEnum):
    """What is asked for. The chat kinds are turns of a conversation."""

    TEXT2IMAGE = "text2image"
    IMAGE2IMAGE = "image2image"
    CHAT_TEXT2IMAGE = "chat_text2image"
    CHAT_IMAGE2IMAGE = "chat_image2image"


class JobStatus(StrEnum):
    """Where a job stands. The last four are final: they never change by themselves."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING)


Reason = Literal["waiting_for_turn", "waiting_for_host", "backing_off", "no_host_has_model"]
"""Why a job is not being drawn at the moment."""


_LONGEST_MESSAGE = 2000


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class JobError(_Model):
    """Why a job failed."""

    code: str = Field(description="Stable machine-readable code.", examples=["upstream_timeout"])
    message: str = Field(description="One sentence for people.")
    retryable: bool = Field(description="Whether the same request may succeed later.")

    @classmethod
    def of(cls, error: RobotchatError) -> JobError:
        message = readable(error.message[:_LONGEST_MESSAGE])
        return cls(code=error.code, message=message, retryable=error.retryable)


class Timings(_Model):
    """Where the time went, in seconds; null for what has not happened."""

    queued: float | None = Field(default=None, description="From being accepted to the start.")
    prompt: float | None = Field(default=None, description="Writing the prompt.")
    host_wait: float | None = Field(default=None, description="Waiting for a free SD host.")
    run: float | None = Field(default=None, description="Drawing, on the SD host.")
    store: float | None = Field(default=None, description="Storing the pictures.")


class JobImage(_Model):
    """A stored picture."""

    key: str = Field(description="Where it is in the image store.")
    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    content_type: str = Field(examples=["image/png"])
    size: int = Field(default=0, description="Of the file, in bytes.")
    sha256: str = Field(description="Of the file, in hexadecimal.")
    seed: int | None = Field(default=None, description="The seed it was drawn from, if known.")
    infotext: str | None = Field(default=None, description="The host's own account of it.")


class MissingImage(_Model):
    """A picture of a batch that could not be drawn, while others of it were."""

    index: int = Field(description="Its place among the pictures that were asked for, from 0.")
    seed: int | None = Field(description="Send the request with this seed to have it alone.")
    error: JobError


EventType = Literal["job.succeeded", "job.failed", "job.canceled", "job.expired"]
"""What a job's end is called when it is told."""


class WebhookTarget(_Model):
    """Whom to tell how a job ended: a signed POST to a URL."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(description="An https URL.", examples=["https://example.com/hooks/robotchat"])
    events: list[EventType] | None = Field(
        default=None, min_length=1, description="Only these; all of them when left out."
    )

    def wants(self, event: EventType) -> bool:
        """Whether this event is to be told here."""
        return self.events is None or event in self.events


class Job(_Model):
    """The record of a job. ``version`` counts its writes and is the optimistic lock."""

    id: str
    kind: JobKind
    tenant: str
    status: JobStatus = JobStatus.QUEUED
    reason: Reason | None = None

    inline: bool = False
    """Its caller waits for it, and no message in a queue stands for it."""
    pool: str | None = None
    """The pool of SD hosts whose queue it goes by; None: the queue of all jobs."""
    message: str | None = None
    """What the user said (chat kinds)."""
    request: dict[str, Any] = Field(default_factory=dict)
    """A1111 fields as asked; large images in it are references into the image store."""
    effective: dict[str, Any] | None = None
    """What was really sent to the SD host, seed included, so that it can be drawn again."""
    defaults: list[str] = Field(default_factory=list)
    """Names of the options in ``request`` that the tenant has set for all its requests."""
    fingerprint: str | None = None
    """Hash of the request, to tell a repetition from another request under the same key."""
    refused: bool = False
    """It was never accepted: there is no request to run, only the reason why not."""
    charge: Charge | None = None
    """What it counts for against the tenant's limits."""
    account: int = 0
    """In which of the tenant's counters (see ``Ledger``)."""
    foreseen: dict[str, Any] = Field(default_factory=dict)
    """Settings that it will take over from turns that have not been drawn yet."""
    input_bytes: int = 0
    """Size of the pictures that came with the request."""

    conversation_id: str | None = None
    turn: int | None = None
    parent: str | None = None
    """The job of the turn that this one builds on."""
    predecessor: str | None = None
    """The job that must be final before this one starts."""
    successor: str | None = None
    """The job that waits for this one."""
    picture: str | None = None
    """Key of the conversation's last picture as of this turn."""

    seen: str | None = None
    """What the picture that came with the message was found to show."""
    prompt: str | None = None
    negative_prompt: str | None = None
    prompt_source: Literal["llm", "fallback", "caller", "instruction"] | None = None
    reply: str | None = None
    """What the robot says: instead of drawing, when the message asked for no picture, or of what
    it left out of the picture."""

    progress: float = 0.0
    eta: float | None = None
    eta_estimated: bool = False
    attempt: int = 0
    max_attempts: int = 5
    alive_until: datetime | None = None
    """While running: the worker is taken for dead after this moment."""
    not_before: datetime | None = None
    """While queued: the earliest moment of the next attempt."""
    due_at: datetime | None = None
    """While open: when it was last seen to be where it should be."""
    cancel_requested: bool = False
    stop: Literal["interrupt", "skip"] | None = None
    """While running: what the host is to be told (see ``stop_early``)."""
    interrupted: bool = False
    """The host was told to stop early: the pictures are as far as they got."""
    preview: str | None = None
    """While running: where the latest preview is in the image store."""
    watched_until: datetime | None = None
    """Somebody looks at previews; until then they are worth the host's time."""
    model_switch: bool = False
    """The host had to load the checkpoint first."""
    avoid_hosts: list[str] = Field(default_factory=list)
    """Hosts on which an attempt failed; others are preferred."""
    error: JobError | None = None
    timings: Timings = Timings()
    host: str | None = None
    checkpoint: str | None = None
    images: list[JobImage] = Field(default_factory=list)
    extra_images: list[JobImage] = Field(default_factory=list)
    missing: list[MissingImage] = Field(default_factory=list)
    unverified: list[str] = Field(default_factory=list)
    info: dict[str, Any] | None = None
    """The SD host's own account, for answers in A1111's shape."""

    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime
    """While open: when it is too late to do it. When final: when its pictures are deleted."""
    retention: float = 7 * 86400.0
    """For how many seconds its pictures are kept after its end."""
    short_lived: bool = False
    """The caller asked for less than is usual, so that the sweeper deletes the pictures."""
    deleted: bool = False
    """Its caller wants nothing of it kept; what a worker still makes of it is thrown away."""
    metadata: dict[str, Any] = Field(default_factory=dict)
    request_id: str | None = None
    """The request that asked for it, as its caller and our logs know it."""
    webhook: WebhookTarget | None = None
    """Whom to tell when the job has ended; the tenant's own webhook when there is none."""
    file: str | None = None
    """Where its large parts are in the image store, if they are not in the record."""
    partial: bool = False
    """Its large parts were not read with it, or are not stored any more."""
    version: int = 0

    @property
    def draws(self) -> bool:
        """Whether it is known to draw something: not before its prompt is written, and never
        when its message asked for no picture."""
        return "prompt" in (self.effective or {})

    @property
    def images_prefix(self) -> str:
        """Where everything that belongs to this job is in the image store."""
        return f"tenants/{self.tenant}/jobs/{self.id}/"


@dataclass(frozen=True)
class Estimate:
    """What a queued job can expect, if the jobs before it are like it."""

    position: int | None
    """Its place in the queue; 1 is next, None is too far back to be counted."""
    eta: float | None
    """Seconds until it is drawn."""
