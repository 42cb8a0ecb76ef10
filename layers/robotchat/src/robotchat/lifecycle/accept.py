"""Accepting requests: from what a caller asks for to a stored job.

From the moment that a job is stored it cannot be lost: it is on the queue, or waits for the turn
before it, or the sweeper finds it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any

from robotchat.art.requests import DrawRequest, Image2ImageRequest, Request, Text2ImageRequest
from robotchat.clock import Clock
from robotchat.conversation import (
    ChatEditRequest,
    ChatImageRequest,
    Conversation,
    Conversations,
)
from robotchat.correlation import correlation_id
from robotchat.errors import (
    InvalidRequest,
    RobotchatError,
)
from robotchat.events.event import accept_target
from robotchat.hosts.options import TenantOptions, with_defaults
from robotchat.hosts.pool import HostPool
from robotchat.ids import checked_key, fingerprint, id_for_key, new_id
from robotchat.images import Images, MemoryImages
from robotchat.jobs.job import Job, JobError, JobKind, JobStatus, WebhookTarget
from robotchat.jobs.limits import Ledger, Quote
from robotchat.jobs.store import Jobs
from robotchat.lifecycle import inputs
from robotchat.lifecycle.settle import Settlement
from robotchat.prompt.models import Fold
from robotchat.records import Operation, Retries, Stale
from robotchat.settings import Settings

LOCAL_TENANT = "local"
"""The tenant of a program that uses the library in process."""


class Intake:
    """Makes jobs of requests, and stores and queues them."""

    def __init__(
        self,
        jobs: Jobs,
        conversations: Conversations,
        images: Images,
        hosts: HostPool,
        ledger: Ledger,
        options: TenantOptions,
        settlement: Settlement,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self._jobs = jobs
        self._conversations = conversations
        self._images = images
        self._hosts = hosts
        self._ledger = ledger
        self._options = options
        self._settlement = settlement
        self.settings = settings
        self._clock = clock

    def submit_chat_image(
        self,
        request: ChatImageRequest,
        *,
        tenant: str = LOCAL_TENANT,
        idempotency_key: str | None = None,
        job_id: str | None = None,
        written: Fold | None = None,
        parent: Job | None = None,
    ) -> Job:
        """Accept a turn of a conversation and queue it.

        The turn is stored, in its place in the conversation, before it is queued. A turn whose
        predecessor is not final is not queued now: finishing the predecessor will do that. The
        same ``idempotency_key`` (or ``job_id``) with the same request gives the same job.
        ``written`` is the prompt, where a language model has written it already; ``parent`` is
        the turn to build on, of this conversation or another one of the tenant's.
        Raises InvalidRequest and its kin for what the caller must change, NotFound for a
        conversation that is not the tenant's, and IdempotencyKeyReused.
        """
        editing = isinstance(request, ChatEditRequest)
        kind = JobKind.CHAT_IMAGE2IMAGE if editing else JobKind.CHAT_TEXT2IMAGE
        settings = inputs.check_settings(request.settings, editing=editing)
        job = self.new_job(
            kind,
            tenant,
            idempotency_key=idempotency_key,
            job_id=job_id,
            expires_in=request.expires_in,
            deadline=request.deadline,
            fingerprint=fingerprint({"kind": kind, **_identity(request)}),
            message=request.message,
            metadata=request.metadata,
            webhook=accept_target(request.webhook, local=self.settings.local),
            **_written(written),
        )
        if idempotency_key is not None or job_id is not None:
            # Before anything that may be refused today and was not when the job was accepted.
            earlier = self._jobs.find(job.id)
            if earlier is not None:
                return self._settlement.send(self._jobs.same(earlier, job))
        able = self._hosts.able(Text2ImageRequest.model_validate({**settings, "prompt": ""}))
        if isinstance(request, ChatEditRequest) and request.image is not None:
            settings["init_images"] = [request.image]
        body, size = inputs.store_images(settings, job, self._images, self.settings)
        pool = self._hosts.pool_for(able)
        job = job.model_copy(update={"request": body, "input_bytes": size, "pool": pool})
        retries = Retries()
        while True:
            try:
                stored = self._add_turn(job, request, parent)
            except Stale:
                retries.spend()
                continue
            return self._settlement.send(stored)

    def _add_turn(self, job: Job, request: ChatImageRequest, named: Job | None) -> Job:
        """Store a job as the next turn of its conversation, linked to the turn before."""
        also: list[Operation] = []
        if request.conversation_id is None:
            conversation = self._conversations.new(
                job.tenant, id="conv_" + job.id.removeprefix("job_")
            )
        else:
            conversation = self._conversations.get(request.conversation_id, job.tenant)
        parent = self._jobs.find(conversation.tail) if conversation.tail else None
        predecessor = self._settlement.still_open(parent)
        if named is not None:
            parent = self._jobs.get(named.id, job.tenant)
        elif request.after_turn is not None:
            parent = self._turn(conversation, request.after_turn)
        if job.kind is JobKind.CHAT_IMAGE2IMAGE and not job.request.get("init_images"):
            _check_has_image(parent)
        if predecessor is not None:
            # Whoever followed it before has ended already, and is not waiting for it.
            link = predecessor.model_copy(update={"successor": job.id})
            also.append(self._jobs.put(link))
        request_fields = dict(job.request)
        if parent is not None and parent.request.get("negative_prompt"):
            request_fields.setdefault("negative_prompt", parent.request["negative_prompt"])
        foreseen = _foreseen(parent)
        asked = self._ledger.permit(_as_asked(job.kind, {**foreseen, **job.request}), job.tenant)
        job = job.model_copy(
            update={
                "request": request_fields,
                "charge": self._ledger.charge(images=asked.count, work=asked.work),
                "foreseen": foreseen if parent is not None and parent.effective is None else {},
                "conversation_id": conversation.id,
                "turn": conversation.turns + 1,
                "parent": parent.id if parent else None,
                "predecessor": predecessor.id if predecessor else None,
                "reason": "waiting_for_turn" if predecessor else None,
            }
        )
        also.append(
            self._conversations.put(
                conversation.model_copy(
                    update={
                        "tail": job.id,
                        "turns": conversation.turns + 1,
                        "title": conversation.title or (job.message or "")[:80],
                        "updated_at": self._clock.now(),
                    }
                )
            )
        )
        return self._jobs.add(job, *also)[0]

    def _turn(self, conversation: Conversation, number: int) -> Job:
        for job in self._conversations.turns(conversation.id):
            if job.turn == number:
                return self._jobs.get(job.id, job.tenant)
        raise InvalidRequest("The conversation has no such turn.", param="after_turn")

    def submit_image(
        self,
        request: Text2ImageRequest | Image2ImageRequest,
        *,
        tenant: str = LOCAL_TENANT,
        idempotency_key: str | None = None,
        job_id: str | None = None,
        metadata: dict[str, Any] | None = None,
        webhook: WebhookTarget | str | None = None,
        expires_in: float | None = None,
        deadline: float | None = None,
    ) -> Job:
        """Accept a Text2Image or Image2Image and queue it; its caller does not wait.

        ``expires_in`` (seconds) shortens the time for which its pictures are kept; the job
        expires when it is not done within ``deadline`` seconds, even while it is drawn.
        """
        job = self.image_job(
            request,
            tenant,
            idempotency_key,
            job_id=job_id,
            metadata=metadata,
            webhook=webhook,
            expires_in=expires_in,
            deadline=deadline,
        )
        if not job.version:
            job, _ = self._jobs.add(job.model_copy(update={"inline": False}))
        return self._settlement.send(job)

    def reject(
        self,
        kind: JobKind,
        tenant: str,
        error: RobotchatError,
        *,
        job_id: str,
        said: str,
        webhook: WebhookTarget | None = None,
    ) -> Job:
        """Record a request that was refused after its caller had gone, as a failed job.

        ``said`` is the fingerprint of all that was asked: what was refused before stays as it is.
        Raises IdempotencyKeyReused if the id is that of a job for something else.
        """
        now = self._clock.now()
        job = self.new_job(
            kind, tenant, job_id=job_id, webhook=webhook, fingerprint=said
        ).model_copy(
            update={
                "status": JobStatus.FAILED,
                "refused": True,
                "error": JobError.of(error),
                "finished_at": now,
            }
        )
        if (earlier := self._jobs.find(job_id)) is not None:
            return self._jobs.same(earlier, job)
        return self._jobs.add(job)[0]

    def image_job(
        self,
        request: Text2ImageRequest | Image2ImageRequest,
        tenant: str,
        idempotency_key: str | None,
        *,
        job_id: str | None = None,
        metadata: dict[str, Any] | None = None,
        webhook: WebhookTarget | str | None = None,
        expires_in: float | None = None,
        deadline: float | None = None,
    ) -> Job:
        """The job of an earlier, same request; else a new one, which is not stored yet (version
        0), for a request whose every part can be drawn, with its pictures stored. A new one is
        ``inline`` if this process can draw it."""
        asked = request.body()
        job = self.new_job(
            _kind(request),
            tenant,
            idempotency_key=idempotency_key,
            job_id=job_id,
            expires_in=expires_in,
            deadline=deadline,
            fingerprint=fingerprint(
                {"kind": _kind(request), "request": asked, "metadata": metadata or None}
            ),
            metadata=metadata or {},
            webhook=accept_target(webhook, local=self.settings.local),
        )
        if idempotency_key is not None or job_id is not None:
            earlier = self._jobs.find(job.id)
            if earlier is not None:
                return self._jobs.same(earlier, job)
        request, defaults, able = self._with_defaults(request, tenant)
        fields, size = inputs.store_images(request.body(), job, self._images, self.settings)
        charge = self._ledger.charge(images=request.count, work=request.work)
        return job.model_copy(
            update={
                "request": fields,
                "defaults": defaults,
                "input_bytes": size,
                "charge": charge,
                "inline": bool(self._hosts.drawn_here(able)),
                "pool": self._hosts.pool_for(able),
            }
        )

    def _with_defaults(
        self, request: Request, tenant: str
    ) -> tuple[Request, list[str], Collection[str]]:
        """The request as it may be drawn, with those of the tenant's options that some host
        takes, their names, and the hosts that can draw it. Raises what is wrong with it."""
        own = self._options.get(tenant)
        asked = set(request.override_settings or ())
        request = self._ledger.permit(with_defaults(request, own), tenant)
        request, able, dropped = self._hosts.fitting(request, own.keys() - asked)
        return request, sorted(own.keys() - asked - set(dropped)), able

    def quote(self, request: Text2ImageRequest | Image2ImageRequest, tenant: str) -> Quote:
        """What a request would cost, if it can be drawn; nothing is stored. Raises what is wrong
        with it."""
        request, _, _ = self._with_defaults(request, tenant)
        return self._quote(request.body(), request, tenant)

    def quote_chat(self, request: ChatImageRequest, tenant: str) -> Quote:
        """The same for a turn of a conversation, as far as it is known before its prompt is."""
        editing = isinstance(request, ChatEditRequest)
        kind = JobKind.CHAT_IMAGE2IMAGE if editing else JobKind.CHAT_TEXT2IMAGE
        settings = inputs.check_settings(request.settings, editing=editing)
        parent = None
        if request.conversation_id is not None:
            conversation = self._conversations.get(request.conversation_id, tenant)
            parent = self._jobs.find(conversation.tail) if conversation.tail else None
            if request.after_turn is not None:
                parent = self._turn(conversation, request.after_turn)
        if isinstance(request, ChatEditRequest) and request.image is not None:
            settings["init_images"] = [request.image]
        elif editing:
            _check_has_image(parent)
        asked = self._ledger.permit(_as_asked(kind, {**_foreseen(parent), **settings}), tenant)
        self._hosts.able(Text2ImageRequest.model_validate({**settings, "prompt": ""}))
        return self._quote(settings, asked, tenant)

    def _quote(self, body: Mapping[str, Any], request: DrawRequest, tenant: str) -> Quote:
        unstored = self.new_job(_kind(request), tenant)
        fields, size = inputs.store_images(body, unstored, MemoryImages(), self.settings)
        self._ledger.check_storage(tenant, more=size)
        charge = self._ledger.charge(images=request.count, work=request.work)
        return Quote(images=charge.images, cost=charge.cost, request=fields)

    def new_job(
        self,
        kind: JobKind,
        tenant: str,
        *,
        idempotency_key: str | None = None,
        job_id: str | None = None,
        expires_in: float | None = None,
        deadline: float | None = None,
        **fields: Any,
    ) -> Job:
        if job_id is None:
            job_id = (
                id_for_key("job", tenant, checked_key(idempotency_key))
                if idempotency_key is not None
                else None
            )
        inputs.check_metadata(fields.get("metadata") or {})
        now = self._clock.now()
        usual = self.settings.retention.total_seconds()
        retention = usual if expires_in is None else min(expires_in, usual)
        return Job(
            id=job_id or new_id("job"),
            kind=kind,
            tenant=tenant,
            max_attempts=self.settings.max_attempts,
            created_at=now,
            request_id=correlation_id(),
            retention=retention,
            short_lived=retention < usual,
            expires_at=now + timedelta(seconds=min(retention, deadline or retention)),
            **fields,
        )


def _kind(request: DrawRequest) -> JobKind:
    return JobKind.IMAGE2IMAGE if isinstance(request, Image2ImageRequest) else JobKind.TEXT2IMAGE


def _written(fold: Fold | None) -> dict[str, Any]:
    """The fields of a job whose prompt is there already."""
    if fold is None:
        return {}
    return {
        "prompt": fold.prompt,
        "negative_prompt": fold.negative_prompt,
        "prompt_source": "llm",
    }


def _identity(request: ChatImageRequest) -> dict[str, Any]:
    """What makes two requests the same, whichever way they came in."""
    kind = ChatEditRequest if isinstance(request, ChatEditRequest) else ChatImageRequest
    return request.model_dump(mode="json", include=set(kind.model_fields))


def _foreseen(parent: Job | None) -> dict[str, Any]:
    """The settings that a turn takes over from the one before, as far as they are known yet."""
    if parent is None:
        return {}
    if parent.effective is not None:
        return inputs.inherited(parent.effective)
    return inputs.inherited({**parent.foreseen, **parent.request})


def _as_asked(kind: JobKind, settings: Mapping[str, Any]) -> Text2ImageRequest | Image2ImageRequest:
    """The request that settings stand for, before its prompt and pictures are known."""
    if kind is JobKind.CHAT_IMAGE2IMAGE:
        return Image2ImageRequest.parse({**settings, "init_images": ["-"]})
    return Text2ImageRequest.parse(settings)


def _check_has_image(parent: Job | None) -> None:
    """Refuse an edit that can have no picture; a turn that is still to come may bring one."""
    if parent is None or (parent.status.final and parent.picture is None):
        raise InvalidRequest(
            "There is no picture to change: send one, or name a conversation that has one.",
            param="image",
        )
