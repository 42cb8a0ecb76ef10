"""Conversations: ordered turns of words and pictures.

A conversation is a small record that knows its last turn. The turns themselves are the jobs and
the responses that belong to it, found by the ``group`` index ``conversation#<id>`` in the order
of their turn numbers, so that nothing is kept twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from robotchat.clock import Clock, rfc3339
from robotchat.errors import NotFound
from robotchat.ids import new_id
from robotchat.jobs.asking import JobFields
from robotchat.jobs.job import Job
from robotchat.jobs.store import Jobs
from robotchat.prompt.models import MAX_MESSAGE
from robotchat.records import PAGE_SIZE, Put, Record, Records, Remove, Retries, Stale, every
from robotchat.text import check_json, no_switch


class ChatImageRequest(JobFields):
    """A turn of a conversation that draws: ChatText2Image, and what ChatImage2Image shares."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    message: str = Field(
        min_length=1,
        max_length=MAX_MESSAGE,
        description="What the user says, in any language.",
        examples=["I want to see a photo of a beach"],
    )
    conversation_id: str | None = Field(
        default=None, description="The conversation to continue; a new one when left out."
    )
    after_turn: int | None = Field(
        default=None,
        ge=1,
        le=2**63 - 1,
        description="Build on this turn instead of the last one: a branch from an earlier picture.",
    )
    settings: dict[str, Any] = Field(
        default_factory=dict,
        description="A1111 fields for the drawing (steps, width, seed ...). Later turns keep them.",
        examples=[{"steps": 20, "width": 768, "height": 512}],
    )

    _number = field_validator("after_turn", mode="before")(no_switch)

    @field_validator("settings", "metadata")
    @classmethod
    def _is_json(cls, value: dict[str, Any]) -> dict[str, Any]:
        check_json(value)
        return value


class ChatEditRequest(ChatImageRequest):
    """A turn that changes a picture: ChatImage2Image."""

    message: str = Field(
        min_length=1,
        max_length=MAX_MESSAGE,
        description="What the user says, in any language.",
        examples=["can you make this cat blue?"],
    )
    image: str | None = Field(
        default=None,
        description="The picture to change: base64, a data URI, an https URL, or the id of an "
        "upload. Without one, the conversation's last picture.",
    )


class Conversation(BaseModel):
    """What is remembered of a conversation beside its turns."""

    model_config = ConfigDict(frozen=True)

    id: str
    tenant: str
    title: str | None = Field(default=None, description="The beginning of the first message.")
    turns: int = Field(default=0, description="How many turns it has had.")
    tail: str | None = Field(default=None, description="The job of the last picture turn.")
    created_at: datetime
    updated_at: datetime
    metadata: dict[str, Any] = Field(default_factory=dict)
    closed: bool = False
    """It is being deleted, and is found by nobody but the one who deletes it."""
    version: int = 0


class Conversations:
    """Conversations in a document store."""

    def __init__(self, records: Records, jobs: Jobs, clock: Clock) -> None:
        self._records = records
        self._jobs = jobs
        self._clock = clock

    def new(
        self, tenant: str, *, id: str | None = None, metadata: dict[str, Any] | None = None
    ) -> Conversation:
        """An empty conversation, not yet stored (see ``put``)."""
        now = self._clock.now()
        return Conversation(
            id=id or new_id("conv"),
            tenant=tenant,
            created_at=now,
            updated_at=now,
            metadata=metadata or {},
        )

    def create(self, tenant: str, *, metadata: dict[str, Any] | None = None) -> Conversation:
        """Store an empty conversation."""
        conversation = self.new(tenant, metadata=metadata)
        self._records.commit(self.put(conversation))
        return conversation.model_copy(update={"version": 1})

    def get(self, conversation_id: str, tenant: str) -> Conversation:
        """The tenant's conversation. Raises NotFound, also for another tenant's id."""
        conversation = self._find(conversation_id, tenant)
        if conversation.closed:
            raise NotFound("There is no such conversation.", param="conversation_id")
        return conversation

    def close(self, conversation_id: str, tenant: str) -> Conversation:
        """Begin to delete a conversation: nobody finds it, or adds to it, from now on. It can be
        closed again, to go on with a deletion that ended halfway. Raises NotFound."""
        retries = Retries()
        while True:
            conversation = self._find(conversation_id, tenant)
            if conversation.closed:
                return conversation
            closed = conversation.model_copy(update={"closed": True})
            try:
                self._records.commit(self.put(closed))
            except Stale:
                retries.spend()
                continue
            return closed.model_copy(update={"version": conversation.version + 1})

    def _find(self, conversation_id: str, tenant: str) -> Conversation:
        record = self._records.get(f"conversation#{conversation_id}", "conversation")
        if record is None or record.data["tenant"] != tenant:
            raise NotFound("There is no such conversation.", param="conversation_id")
        return _conversation(record)

    def put(self, conversation: Conversation) -> Put:
        """The operation that writes a conversation, for a commit with other records."""
        return Put(_record(conversation))

    def update(
        self, conversation_id: str, tenant: str, *, metadata: dict[str, Any]
    ) -> Conversation:
        """Replace the metadata."""
        retries = Retries()
        while True:
            conversation = self.get(conversation_id, tenant)
            changed = conversation.model_copy(
                update={"metadata": metadata, "updated_at": self._clock.now()}
            )
            try:
                self._records.commit(self.put(changed))
            except Stale:
                retries.spend()
                continue
            return changed.model_copy(update={"version": conversation.version + 1})

    def of_tenant(
        self, tenant: str, *, limit: int = PAGE_SIZE, cursor: str | None = None
    ) -> tuple[list[Conversation], str | None]:
        """A tenant's conversations, the last used first, and the cursor of the next page."""
        page = self._records.query(
            "owner", f"{tenant}#conversations", descending=True, limit=limit, cursor=cursor
        )
        return [_conversation(record) for record in page.records], page.cursor

    def turns(self, conversation_id: str) -> Iterator[Job]:
        """The picture turns, in order, each as it is now."""
        last = 0
        for record in every(self._records, "group", f"conversation#{conversation_id}"):
            if record.sk == "job":
                job = self._jobs.read(record)
                last = job.turn or 0
                yield job
        # The turn that was just accepted may not be in the index yet.
        found = self._records.get(f"conversation#{conversation_id}", "conversation")
        tail = self._jobs.find(found.data["tail"]) if found and found.data["tail"] else None
        if tail is not None and (tail.turn or 0) > last:
            yield tail

    def image_turn(self, job_id: str, tenant: str) -> Job | None:
        """A picture turn by its job, as it is now; None if the tenant has no such turn."""
        job = self._jobs.find(job_id)
        ours = job is not None and job.tenant == tenant and job.conversation_id is not None
        return job if ours else None

    def forget(self, conversation: Conversation) -> None:
        """Delete the record of a conversation; its turns are the caller's to delete."""
        current = self._records.get(f"conversation#{conversation.id}", "conversation")
        if current is not None:
            self._records.commit(Remove(current))


def _record(conversation: Conversation) -> Record:
    return Record(
        pk=f"conversation#{conversation.id}",
        sk="conversation",
        data=conversation.model_dump(mode="json", exclude={"version"}),
        version=conversation.version,
        owner=None
        if conversation.closed
        else (
            f"{conversation.tenant}#conversations",
            f"{rfc3339(conversation.updated_at)}#{conversation.id}",
        ),
    )


def _conversation(record: Record) -> Conversation:
    return Conversation.model_validate({**record.data, "version": record.version})
