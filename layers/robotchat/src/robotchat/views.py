"""What callers see of jobs and conversations: the records without what is internal, with links."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from robotchat.clock import Clock, SystemClock
from robotchat.conversation import Conversation
from robotchat.errors import NotFound
from robotchat.gpt.requests import ITEM
from robotchat.images import MAX_IMAGE_BYTES, Images
from robotchat.jobs.job import (
    Estimate,
    Job,
    JobError,
    JobImage,
    JobKind,
    JobStatus,
    MissingImage,
    Reason,
    Timings,
)
from robotchat.jobs.limits import cost_of
from robotchat.records import PAGE_BYTES


class _View(BaseModel):
    model_config = ConfigDict(frozen=True)


class ImageView(_View):
    """A picture, with a link that works for a while."""

    url: str | None = Field(description="Presigned link, made anew at each read of the job.")
    expires_at: datetime | None = Field(
        default=None, description="Until when the link works; null without one."
    )
    width: int = Field(description="Pixels.", examples=[512])
    height: int = Field(description="Pixels.", examples=[512])
    seed: int | None = Field(description="The seed it was drawn from.", examples=[42])
    sha256: str = Field(description="Of the file, in hexadecimal.")
    content_type: str = Field(examples=["image/png"])


class JobLinks(_View):
    """Where to go on from here; paths on this API."""

    self: str = Field(examples=["/v1/jobs/job_ab12"])
    conversation: str | None = Field(default=None, examples=["/v1/conversations/conv_ab12"])


class JobViewLinks(JobLinks):
    """Where to go on from a job that was read."""

    cancel: str | None = Field(
        default=None, description="POST here to stop it.", examples=["/v1/jobs/job_ab12/cancel"]
    )
    retry: str | None = Field(default=None, description="POST here to run it again.")
    events: str = Field(
        description="Follow it here, as server-sent events.", examples=["/v1/jobs/job_ab12/events"]
    )


class JobView(_View):
    """A job as its caller sees it."""

    id: str = Field(examples=["job_mfzwcylcmfrgg43bmzsw4y3ejm"])
    object: Literal["job"] = "job"
    kind: JobKind
    status: JobStatus
    reason: Reason | None = Field(default=None, description="Why it is not being drawn now.")
    progress: float = Field(description="0 to 1.")
    eta: float | None = Field(
        default=None,
        description="Seconds until the drawing is expected: while it is drawn, by the host's "
        "account or its measured speed; while it is queued, if the jobs before it are like it.",
    )
    eta_estimated: bool = Field(
        default=False, description="The host reports no progress: this is what its speed suggests."
    )
    queue_position: int | None = Field(
        default=None,
        description="About which place it has among the caller's waiting jobs; 1 is next, null is "
        "more than 100. Only when one job is read.",
    )
    preview: str | None = Field(
        default=None,
        description="Link to a picture of how far the drawing is, while somebody follows its "
        "events and if the host makes previews.",
    )
    conversation_id: str | None = None
    turn: int | None = None
    message: str | None = Field(default=None, description="What the user said.")
    seen: str | None = Field(
        default=None,
        description="What the picture that came with the message was found to show; the prompt "
        "goes on from it.",
    )
    prompt: str | None = Field(default=None, description="The prompt that is drawn.")
    negative_prompt: str | None = None
    prompt_source: Literal["llm", "fallback", "caller", "instruction"] | None = Field(
        default=None,
        description="Who wrote the prompt: the language model, the rules that stand in for it, or "
        "the caller. `instruction`: the checkpoint was sent the message itself "
        "(`effective.prompt`), and `prompt` says what the picture shows since.",
    )
    reply: str | None = Field(
        default=None,
        description="The answer to a message that asked for no picture, or what of the message "
        "was not understood and left out of the picture.",
    )
    images: list[ImageView]
    extra_images: list[ImageView] = Field(
        default=[], description="Maps that ControlNet made on the way."
    )
    missing: list[MissingImage] = Field(
        default=[],
        description="Pictures of a batch that could not be drawn, while those in `images` were.",
    )
    request: dict[str, Any] = Field(
        description="The A1111 fields that were drawn, seed included: send them again for the "
        "same picture. In lists, those of a large job (64 KB) are left out: read the job itself."
    )
    unverified: list[str] = Field(
        default=[], description="What the host does not tell, so that it could not be checked."
    )
    cost: float | None = Field(
        default=None,
        description="In units: 1 is one picture of 512x512 pixels in 20 steps. An estimate until "
        "it is drawn; 0 for a job that came to nothing.",
        examples=[1.0],
    )
    interrupted: bool = Field(
        default=False, description="It was stopped early: the pictures are as far as they got."
    )
    attempt: int = Field(description="How often it has been tried.")
    max_attempts: int
    error: JobError | None = None
    timings: Timings
    host: str | None = Field(default=None, description="A name for the SD host, not its address.")
    checkpoint: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime = Field(
        description="When the pictures are deleted; while it is open, until when it must be done."
    )
    metadata: dict[str, Any]
    links: JobViewLinks


class JobList(_View):
    """A page of jobs, newest first."""

    object: Literal["list"] = "list"
    data: list[JobView]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page.")


class TurnView(_View):
    """A turn: what was said, what was drawn."""

    turn: int
    job_id: str
    kind: JobKind
    status: JobStatus
    message: str | None
    prompt: str | None
    negative_prompt: str | None
    prompt_source: Literal["llm", "fallback", "caller", "instruction"] | None
    reply: str | None
    images: list[ImageView]
    error: JobError | None
    created_at: datetime


class ConversationView(_View):
    """A conversation. The first four fields are those of OpenAI's conversation object."""

    id: str = Field(examples=["conv_mfzwcylcmfrgg43bmzsw4y3ejm"])
    object: Literal["conversation"] = "conversation"
    created_at: int = Field(description="Seconds since 1970, as OpenAI gives it.")
    metadata: dict[str, Any]
    title: str | None = Field(description="The beginning of the first message.")
    updated_at: int = Field(description="Seconds since 1970.")
    turn_count: int = Field(description="How many turns of words and pictures it has had.")
    turns: list[TurnView] | None = Field(
        default=None,
        description="The picture turns, in order, the last ones if they are more than 2 MB; only "
        "when one conversation is read. What was said besides is in its items.",
    )


Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(
        max_length=16,
        description="The caller's own data: up to 16 pairs of strings.",
        examples=[{"user": "42"}],
    ),
]


_ITEMS: JsonDict = {"type": "array", "items": ITEM, "minItems": 1, "maxItems": 20}


class ConversationRequest(_View):
    """A conversation to begin."""

    metadata: Metadata | None = None
    items: list[Any] | None = Field(
        default=None,
        json_schema_extra={"anyOf": [{**_ITEMS, "minItems": 0}, {"type": "null"}]},
        description="Up to 20 items that it begins with: messages, function calls and their "
        "outputs, in OpenAI's shape.",
        examples=[[{"type": "message", "role": "user", "content": "My name is Bob."}]],
    )


class ConversationUpdate(_View):
    """What to change of a conversation."""

    metadata: Metadata | None = Field(description="It takes the place of what was there.")


class ItemsRequest(_View):
    """Items to put into a conversation."""

    items: list[Any] = Field(
        json_schema_extra=_ITEMS,
        description="Up to 20: messages, function calls and their outputs, in OpenAI's shape.",
        examples=[[{"type": "message", "role": "user", "content": "My name is Bob."}]],
    )


class ConversationList(_View):
    """A page of conversations, the last used first."""

    object: Literal["list"] = "list"
    data: list[ConversationView]
    first_id: str | None
    last_id: str | None
    has_more: bool
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page.")


class Deleted(_View):
    """Says that something is gone, in the shape that OpenAI uses."""

    id: str
    object: str = Field(examples=["conversation.deleted"])
    deleted: Literal[True] = True


class UploadRequest(_View):
    """What is going to be uploaded."""

    content_type: Literal["image/png", "image/jpeg", "image/webp"]
    size: int = Field(ge=1, le=MAX_IMAGE_BYTES, description="Bytes, exactly.")


class Upload(_View):
    """Where to upload to: PUT the file to ``url`` with exactly these headers."""

    id: str = Field(
        description="Give it as `image`, or in `init_images`.", examples=["upload_mfzwcylcmfrg"]
    )
    object: Literal["upload"] = "upload"
    method: Literal["PUT"] = "PUT"
    url: str = Field(description="Presigned.")
    headers: dict[str, str]
    expires_at: datetime = Field(description="Until when the link works.")

    @classmethod
    def of(
        cls, upload_id: str, url: str, request: UploadRequest, *, now: datetime, lifetime: float
    ) -> Upload:
        """An upload whose link works for ``lifetime`` seconds from ``now``."""
        return cls(
            id=upload_id,
            url=url,
            headers={
                "Content-Type": request.content_type,
                "Content-Length": str(request.size),
            },
            expires_at=now + timedelta(seconds=lifetime),
        )


class Viewer:
    """Makes views. ``link_ttl`` is how many seconds links to pictures work."""

    def __init__(self, images: Images, *, link_ttl: float, clock: Clock | None = None) -> None:
        self._images = images
        self._link_ttl = link_ttl
        self._clock = clock or SystemClock()

    def job(self, job: Job, estimate: Estimate | None = None) -> JobView:
        """A job, with fresh links, and what it can expect in the queue, if that was asked."""
        request = {**job.request, **(job.effective or {})}
        here = f"/v1/jobs/{job.id}"
        again = job.status in (JobStatus.FAILED, JobStatus.EXPIRED) and not job.deleted
        return JobView(
            id=job.id,
            kind=job.kind,
            status=job.status,
            reason=job.reason,
            progress=job.progress,
            eta=estimate.eta if estimate else job.eta,
            eta_estimated=estimate is not None or job.eta_estimated,
            queue_position=estimate.position if estimate else None,
            preview=self._link(job.preview) if job.preview else None,
            conversation_id=job.conversation_id,
            turn=job.turn,
            message=job.message,
            prompt=job.prompt,
            negative_prompt=job.negative_prompt,
            prompt_source=job.prompt_source,
            seen=job.seen,
            reply=job.reply,
            images=self.image_views(job.images, until=_kept_until(job)),
            extra_images=self.image_views(job.extra_images, until=_kept_until(job)),
            missing=job.missing,
            request=request,
            unverified=job.unverified,
            interrupted=job.interrupted,
            cost=cost_of(job),
            attempt=job.attempt,
            max_attempts=job.max_attempts,
            error=job.error if job.status.final else None,
            timings=job.timings,
            host=job.host,
            checkpoint=job.checkpoint,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            expires_at=job.expires_at,
            metadata=job.metadata,
            links=JobViewLinks(
                self=here,
                cancel=None if job.status.final else f"{here}/cancel",
                retry=f"{here}/retry" if again else None,
                events=f"{here}/events",
                conversation=f"/v1/conversations/{job.conversation_id}"
                if job.conversation_id
                else None,
            ),
        )

    def tag(self, jobs: Sequence[Job], *, beside: object = None) -> str:
        """The ETag of these jobs as they are shown now, with what is shown ``beside`` them.

        It changes with every write of a job, and twice in the life of a link, so that whoever is
        told that nothing has changed still holds links that work for a while.
        """
        now = self._clock.now()
        shown = [
            int(now.timestamp() / (self._link_ttl / 2)),
            beside,
            *((job.id, job.version, now >= job.expires_at) for job in jobs),
        ]
        return f'W/"{hashlib.sha256(repr(shown).encode()).hexdigest()[:32]}"'

    def turn(self, job: Job) -> TurnView:
        """A turn, with fresh links."""
        return TurnView(
            turn=job.turn or 0,
            job_id=job.id,
            kind=job.kind,
            status=job.status,
            message=job.message,
            prompt=job.prompt,
            negative_prompt=job.negative_prompt,
            prompt_source=job.prompt_source,
            reply=job.reply,
            images=self.image_views(job.images, until=_kept_until(job)),
            error=job.error if job.status.final else None,
            created_at=job.created_at,
        )

    def turns(self, jobs: Iterable[Job]) -> list[TurnView]:
        """The last of a conversation's turns, in order: as many as fit into an answer."""
        shown: deque[TurnView] = deque()
        size = 0
        for job in reversed(list(jobs)):
            turn = self.turn(job)
            size += len(turn.model_dump_json().encode())
            if shown and size > PAGE_BYTES:
                break
            shown.appendleft(turn)
        return list(shown)

    def conversation(
        self, conversation: Conversation, turns: list[TurnView] | None = None
    ) -> ConversationView:
        """A conversation, with its turns if they are given."""
        return ConversationView(
            id=conversation.id,
            created_at=int(conversation.created_at.timestamp()),
            metadata=conversation.metadata,
            title=conversation.title,
            updated_at=int(conversation.updated_at.timestamp()),
            turn_count=conversation.turns,
            turns=turns,
        )

    def conversations(self, found: list[Conversation], next_cursor: str | None) -> ConversationList:
        """A page of conversations."""
        return ConversationList(
            data=[self.conversation(conversation) for conversation in found],
            first_id=found[0].id if found else None,
            last_id=found[-1].id if found else None,
            has_more=next_cursor is not None,
            next_cursor=next_cursor,
        )

    def item(self, item: Mapping[str, Any], job: Job | None) -> dict[str, Any]:
        """An item of a conversation; what a job has drawn with its pictures, as fresh links."""
        if job is None or item["type"] != "image_generation_call":
            return dict(item)
        views = self.image_views(job.images)
        return {**item, "images": [view.model_dump(mode="json") for view in views]}

    def image_views(
        self, images: list[JobImage], *, until: datetime | None = None
    ) -> list[ImageView]:
        """Pictures with fresh links; a file that is gone has none, nor has any after
        ``until``."""
        now = self._clock.now()
        works_until = now + timedelta(seconds=self._images.link_term(self._link_ttl))
        if until is not None:
            works_until = min(works_until, until)
        return [self._image_view(image, now, works_until) for image in images]

    def _image_view(self, image: JobImage, now: datetime, works_until: datetime) -> ImageView:
        url = self._link(image.key) if works_until > now else None
        return ImageView(
            url=url,
            expires_at=works_until if url else None,
            width=image.width,
            height=image.height,
            seed=image.seed,
            sha256=image.sha256,
            content_type=image.content_type,
        )

    def _link(self, key: str) -> str | None:
        try:
            return self._images.url(key, expires_in=self._link_ttl)
        except NotFound:
            return None


def _kept_until(job: Job) -> datetime | None:
    """When the job's pictures are deleted."""
    return job.expires_at if job.status.final else None
