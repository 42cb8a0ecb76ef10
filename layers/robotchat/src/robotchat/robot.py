"""The use cases: what happens from a request to its picture, top to bottom.

A chat image flows through this module in the order in which it is written:
``submit_chat_image`` accepts a turn and queues it; ``run`` takes it up, folds the conversation into
a prompt, leases a host, draws, stores the pictures, writes the final state, and lets the next turn
of the conversation go. Text2Image and Image2Image run the same way, while their caller waits.
"""

from __future__ import annotations

import hashlib
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from robotchat.art.bot import ArtBot, ArtConfig
from robotchat.art.driver import ArtDriver
from robotchat.art.requests import Image2ImageRequest, Text2ImageRequest
from robotchat.art.results import Drawing, Picture
from robotchat.clock import Clock, SystemClock
from robotchat.conversation import (
    ChatEditRequest,
    ChatImageRequest,
    Conversation,
    Conversations,
)
from robotchat.correlation import correlation_id
from robotchat.errors import (
    InvalidRequest,
    JobCanceled,
    JobIsFinal,
    JobNotFinal,
    RobotchatError,
    UnknownCheckpoint,
    UpstreamBusy,
    UpstreamUnavailable,
)
from robotchat.events.event import accept_target
from robotchat.hosts.catalog import Catalog
from robotchat.hosts.lease import Host, host_name
from robotchat.hosts.options import TenantOptions, with_defaults
from robotchat.hosts.pool import HostPool
from robotchat.hosts.webui_api import Surface
from robotchat.ids import checked_key, fingerprint, id_for_key, new_id
from robotchat.images import Images, MemoryImages
from robotchat.jobs.charge import Charge
from robotchat.jobs.job import Job, JobError, JobImage, JobKind, JobStatus, Timings, WebhookTarget
from robotchat.jobs.limits import Ledger
from robotchat.jobs.states import (
    NotYet,
    StillRunning,
    Superseded,
    canceled,
    claim,
    discard,
    fail,
    give_back,
    give_up,
    released,
    succeed,
    succeeded,
    within_bounds,
)
from robotchat.jobs.states import cancel as cancel_job
from robotchat.jobs.states import retry as retry_job
from robotchat.jobs.store import Jobs
from robotchat.lifecycle import inputs
from robotchat.lifecycle.heartbeat import Heartbeat
from robotchat.lifecycle.prepare import Preparation
from robotchat.prompt.writer import PromptWriter
from robotchat.records import MemoryRecords, Operation, Records, Stale
from robotchat.settings import Settings

if TYPE_CHECKING:
    from robotchat.gpt.responses.store import ResponseStore

logger = logging.getLogger(__name__)

DRAWING_RESERVE = 240.0
"""Seconds of a runner's time that are kept for drawing, however long it has waited for a host."""

Transition = Callable[[Job, datetime], Job]

LOCAL_TENANT = "local"
"""The tenant of a program that uses the library in process."""


class JobQueue(Protocol):
    """Carries job ids to whoever runs them, at least once."""

    def send(self, job: Job, *, delay: float = 0.0) -> None:
        """Have the job run, not before ``delay`` seconds from now."""
        ...

    def backlog(self) -> int:
        """About how many jobs wait in the queue although their time has come."""
        ...


@dataclass(frozen=True)
class Shift:
    """The circumstances of whoever runs a job.

    ``time_left`` tells the seconds until the runner is stopped from outside (a Lambda's timeout);
    ``beat`` is called every few seconds to tell that the runner lives (an SQS message's
    visibility).
    """

    time_left: Callable[[], float] = lambda: float("inf")
    beat: Callable[[], None] = lambda: None


class Robot:
    """Conversations, jobs and pictures over any records, images and queue.

    In a program: ``Robot(art=[WebUI("http://127.0.0.1:7861")])`` keeps all in memory and runs a job
    as soon as it is submitted. In Lambda, ``robotchat.aws.wiring`` builds it over AWS.
    """

    def __init__(
        self,
        *,
        art: ArtDriver | Sequence[ArtDriver] | Mapping[str, ArtDriver] = (),
        writer: PromptWriter | None = None,
        records: Records | None = None,
        images: Images | None = None,
        queue: JobQueue | None = None,
        settings: Settings | None = None,
        art_config: ArtConfig | None = None,
        clock: Clock | None = None,
        on_attempt: Callable[[Job], None] = lambda job: None,
    ) -> None:
        self._on_attempt = on_attempt
        """Told of every attempt that has ended, with the job as it left it."""
        self._fresh: tuple[str, Drawing] | None = None
        """What was drawn last, so that the caller who waited for it need not load it again."""
        self.settings = settings or Settings()
        self.clock = clock or SystemClock()
        self.records = records or MemoryRecords()
        self.images = images or MemoryImages()
        self.ledger = Ledger(self.records, self.clock, lambda: self.settings.limits)
        self.jobs = Jobs(self.records, self.clock, self.ledger)
        self.conversations = Conversations(self.records, self.jobs, self.clock)
        self.queue = queue or _RunAtOnce(self)
        if not isinstance(art, Mapping):
            drivers = art if isinstance(art, Sequence) else [art]
            art = {
                host_name(getattr(driver, "base_url", f"host-{number}")): driver
                for number, driver in enumerate(drivers)
            }
        art_config = art_config or ArtConfig(
            max_image_bytes=self.settings.max_image_bytes,
            max_image_pixels=self.settings.max_image_pixels,
        )
        self.hosts = HostPool(
            [Host(name, ArtBot(driver, art_config)) for name, driver in art.items()],
            self.records,
            self.clock,
            ttl=self.settings.lease_ttl,
        )
        self.options = TenantOptions(self.records)
        self._preparation = Preparation(
            self.jobs,
            self.images,
            writer or PromptWriter(None, model=""),
            self.options,
            self.ledger,
            self.settings,
        )
        self.catalog = Catalog(self.hosts, scripts=art_config.allowed_scripts)
        self.surface = Surface(
            self.hosts,
            self.catalog,
            self.jobs,
            self.images,
            self.options,
            self.clock,
            self.settings,
            art_config,
        )

    # --- accepting --------------------------------------------------------------------------------

    def chat_text2image(
        self, message: str, conversation_id: str | None = None, **settings: Any
    ) -> Job:
        """ChatText2Image for programs: say something, get the job, finished in process."""
        request = ChatImageRequest(
            message=message, conversation_id=conversation_id, settings=settings
        )
        return self.submit_chat_image(request)

    def chat_image2image(
        self,
        message: str,
        image: str | None = None,
        conversation_id: str | None = None,
        **settings: Any,
    ) -> Job:
        """ChatImage2Image for programs: as ``chat_text2image``, with a picture to change."""
        request = ChatEditRequest(
            message=message, image=image, conversation_id=conversation_id, settings=settings
        )
        return self.submit_chat_image(request)

    def submit_chat_image(
        self,
        request: ChatImageRequest,
        *,
        tenant: str = LOCAL_TENANT,
        idempotency_key: str | None = None,
        job_id: str | None = None,
    ) -> Job:
        """Accept a turn of a conversation and queue it.

        The turn is stored, in its place in the conversation, before it is queued. A turn whose
        predecessor is not final is not queued now: finishing the predecessor will do that. The
        same ``idempotency_key`` (or ``job_id``) with the same request gives the same job.
        Raises InvalidRequest and its kin for what the caller must change, NotFound for a
        conversation that is not the tenant's, and IdempotencyKeyReused.
        """
        editing = isinstance(request, ChatEditRequest)
        kind = JobKind.CHAT_IMAGE2IMAGE if editing else JobKind.CHAT_TEXT2IMAGE
        settings = inputs.check_settings(request.settings, editing=editing)
        job = self._new_job(
            kind,
            tenant,
            idempotency_key=idempotency_key,
            job_id=job_id,
            expires_in=request.expires_in,
            fingerprint=fingerprint({"kind": kind, **_said(request)}),
            message=request.message,
            metadata=request.metadata,
            webhook=accept_target(request.webhook, local=self.settings.local),
        )
        if idempotency_key is not None or job_id is not None:
            # Before anything that may be refused today and was not when the job was accepted.
            earlier = self.jobs.find(job.id)
            if earlier is not None:
                return self._send(self.jobs.same(earlier, job))
        self.hosts.able(Text2ImageRequest.model_validate({**settings, "prompt": ""}))
        if isinstance(request, ChatEditRequest) and request.image is not None:
            settings["init_images"] = [request.image]
        body, size = inputs.store_images(settings, job, self.images, self.settings)
        job = job.model_copy(update={"request": body, "input_bytes": size})
        while True:
            try:
                stored = self._add_turn(job, request)
            except Stale:
                continue
            return self._send(stored)

    def _add_turn(self, job: Job, request: ChatImageRequest) -> Job:
        """Store a job as the next turn of its conversation, linked to the turn before."""
        also: list[Operation] = []
        if request.conversation_id is None:
            conversation = self.conversations.new(
                job.tenant, id="conv_" + job.id.removeprefix("job_")
            )
        else:
            conversation = self.conversations.get(request.conversation_id, job.tenant)
        parent = self.jobs.find(conversation.tail) if conversation.tail else None
        predecessor = self._still_open(parent)
        if request.after_turn is not None:
            parent = self._turn(conversation, request.after_turn)
        if job.kind is JobKind.CHAT_IMAGE2IMAGE and not job.request.get("init_images"):
            _check_has_picture(parent)
        if predecessor is not None:
            # Whoever followed it before has ended already, and is not waiting for it.
            link = predecessor.model_copy(update={"successor": job.id})
            also.append(self.jobs.put(link))
        request_fields = dict(job.request)
        if parent is not None and parent.request.get("negative_prompt"):
            request_fields.setdefault("negative_prompt", parent.request["negative_prompt"])
        foreseen = _foreseen(parent)
        asked = self.ledger.permit(_as_asked(job.kind, {**foreseen, **job.request}), job.tenant)
        job = job.model_copy(
            update={
                "request": request_fields,
                "charge": self.ledger.charge(images=asked.count, work=asked.work),
                "foreseen": foreseen if parent is not None and parent.effective is None else {},
                "conversation_id": conversation.id,
                "turn": conversation.turns + 1,
                "parent": parent.id if parent else None,
                "predecessor": predecessor.id if predecessor else None,
                "reason": "waiting_for_turn" if predecessor else None,
            }
        )
        also.append(
            self.conversations.put(
                conversation.model_copy(
                    update={
                        "tail": job.id,
                        "turns": conversation.turns + 1,
                        "title": conversation.title or (job.message or "")[:80],
                        "updated_at": self.clock.now(),
                    }
                )
            )
        )
        return self.jobs.add(job, *also)[0]

    def _turn(self, conversation: Conversation, number: int) -> Job:
        for job in self.conversations.turns(conversation.id):
            if job.turn == number:
                return job
        raise InvalidRequest("The conversation has no such turn.", param="after_turn")

    def text2image(
        self,
        request: Text2ImageRequest,
        *,
        tenant: str = LOCAL_TENANT,
        idempotency_key: str | None = None,
        shift: Shift | None = None,
    ) -> Job:
        """Text2Image: draw while the caller waits. Gives the final job.

        Raises what made the job fail: InvalidRequest and its kin, UpstreamError and its kin.
        """
        return self._draw_now(request, tenant, idempotency_key, shift or Shift())

    def image2image(
        self,
        request: Image2ImageRequest,
        *,
        tenant: str = LOCAL_TENANT,
        idempotency_key: str | None = None,
        shift: Shift | None = None,
    ) -> Job:
        """Image2Image: as ``text2image``, from the picture in ``init_images``."""
        return self._draw_now(request, tenant, idempotency_key, shift or Shift())

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
    ) -> Job:
        """Accept a Text2Image or Image2Image and queue it; its caller does not wait.

        ``expires_in`` (seconds) shortens the time for which its pictures are kept.
        """
        job = self._image_job(
            request,
            tenant,
            idempotency_key,
            job_id=job_id,
            metadata=metadata,
            webhook=accept_target(webhook, local=self.settings.local),
            expires_in=expires_in,
        )
        if not job.version:
            job, _ = self.jobs.add(job)
        return self._send(job)

    def reject(
        self,
        kind: JobKind,
        tenant: str,
        error: RobotchatError,
        *,
        job_id: str,
        webhook: WebhookTarget | None = None,
    ) -> Job:
        """Record a request that was refused after its caller had gone, as a failed job."""
        now = self.clock.now()
        job = self._new_job(kind, tenant, job_id=job_id, webhook=webhook).model_copy(
            update={
                "status": JobStatus.FAILED,
                "refused": True,
                "error": JobError.of(error),
                "finished_at": now,
            }
        )
        if (earlier := self.jobs.find(job_id)) is not None:
            return earlier
        return self.jobs.add(job)[0]

    def wait(self, job: Job, *, seconds: float) -> Job:
        """Watch a queued job, for so long at most. Gives the job as it is then."""
        deadline = self.clock.now() + timedelta(seconds=seconds)
        while not job.status.final and self.clock.now() < deadline:
            self.clock.sleep(0.25)
            job = self.jobs.get(job.id, job.tenant)
        return job

    def _draw_now(
        self,
        request: Text2ImageRequest | Image2ImageRequest,
        tenant: str,
        idempotency_key: str | None,
        shift: Shift,
    ) -> Job:
        job = self._image_job(request, tenant, idempotency_key)
        is_new = False
        if not job.version:
            # Stored as claimed already: one write less, and if this process dies the sweeper sees
            # it as it sees a dead worker's job.
            job = claim(
                job.model_copy(update={"inline": True}), self.clock.now(), alive=self.settings.alive
            )
            job, is_new = self.jobs.add(job)
        elif job.inline and job.error is not None and job.error.retryable and not job.deleted:
            # The caller was told to try again, and does.
            job = self.jobs.change(job.id, _again)
        job = self._persist_until_final(job, shift, claimed=is_new)
        return succeeded(job)

    def _image_job(
        self,
        request: Text2ImageRequest | Image2ImageRequest,
        tenant: str,
        idempotency_key: str | None,
        *,
        job_id: str | None = None,
        metadata: dict[str, Any] | None = None,
        webhook: WebhookTarget | None = None,
        expires_in: float | None = None,
    ) -> Job:
        """The job of an earlier, same request; else a new one, which is not stored yet (version
        0), for a request whose every part can be drawn, with its pictures stored."""
        asked = request.body()
        editing = isinstance(request, Image2ImageRequest)
        kind = JobKind.IMAGE2IMAGE if editing else JobKind.TEXT2IMAGE
        job = self._new_job(
            kind,
            tenant,
            idempotency_key=idempotency_key,
            job_id=job_id,
            expires_in=expires_in,
            fingerprint=fingerprint({"kind": kind, "request": asked, "metadata": metadata}),
            metadata=metadata or {},
            webhook=webhook,
        )
        if idempotency_key is not None or job_id is not None:
            earlier = self.jobs.find(job.id)
            if earlier is not None:
                return self.jobs.same(earlier, job)
        request = with_defaults(request, self.options.get(tenant))
        request = self.ledger.permit(request, tenant)
        self.hosts.able(request)
        fields, size = inputs.store_images(request.body(), job, self.images, self.settings)
        charge = self.ledger.charge(images=request.count, work=request.work)
        return job.model_copy(update={"request": fields, "input_bytes": size, "charge": charge})

    def _persist_until_final(self, job: Job, shift: Shift, *, claimed: bool) -> Job:
        """Bring a job whose caller waits to its end, as long as there is time.

        It may be an earlier caller's job (the same idempotency key): then that caller's process
        is left to finish it, and only if it has died, its job is taken over. ``claimed`` says
        that the first attempt is ours already.
        """
        while not job.status.final:
            pause = 0.0
            try:
                if claimed:
                    claimed = False
                    job = self._attempt(job, shift)
                else:
                    job = self.run(job.id, shift) if job.inline else self.wait(job, seconds=1.0)
            except StillRunning:
                pause = 0.25
            except NotYet as early:
                pause = early.seconds
            if not job.status.final and shift.time_left() < pause + 10:
                return self._out_of_time(job)
            if pause:
                self.clock.sleep(pause)
                job = self.jobs.get(job.id, job.tenant)
        return job

    def _out_of_time(self, job: Job) -> Job:
        if job.inline:
            job = self.jobs.change(job.id, give_up)
        if not job.status.final:
            raise UpstreamBusy(
                "The job goes on; ask again with the same idempotency key.",
                retry_after=5,
                details={"job_id": job.id},
            )
        return job

    def _new_job(
        self,
        kind: JobKind,
        tenant: str,
        *,
        idempotency_key: str | None = None,
        job_id: str | None = None,
        expires_in: float | None = None,
        **fields: Any,
    ) -> Job:
        if job_id is None:
            job_id = (
                id_for_key("job", tenant, checked_key(idempotency_key))
                if idempotency_key is not None
                else None
            )
        now = self.clock.now()
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
            expires_at=now + timedelta(seconds=retention),
            **fields,
        )

    def _send(self, job: Job) -> Job:
        """Queue a job that nothing holds back; sending it twice does no harm."""
        if job.status is JobStatus.QUEUED and job.reason != "waiting_for_turn":
            self.queue.send(job)
            return self.jobs.get(job.id, job.tenant)
        return job

    # --- running ----------------------------------------------------------------------------------

    def run(self, job_id: str, shift: Shift | None = None) -> Job:
        """Take a queued job up and bring it as far as it goes in one attempt.

        Gives the job as it is then: final, or queued again (backing off, or for want of a host),
        or still waiting for the turn before it, whose end will have it run. A job that is final
        already is given back as it is, after its successor was released, so that a repeated
        delivery repairs what a crash left undone. Raises StillRunning and NotYet when it is not
        to be run now.
        """
        alive = self.settings.alive
        job = self.jobs.find(job_id)
        if job is not None and not job.status.final:
            if self.must_wait(job):
                return job
            if within_bounds(job, self.clock.now(), alive=alive) != job:
                self.jobs.change(job_id, lambda j, now: within_bounds(j, now, alive=alive))
        try:
            job = self.jobs.change(job_id, lambda j, now: claim(j, now, alive=alive))
        except JobIsFinal:
            final = self.jobs.find(job_id)
            if final is None:
                raise
            return self.settle(final)
        if job.status.final:
            return self.settle(job)
        return self._attempt(job, shift or Shift())

    def must_wait(self, job: Job) -> bool:
        """Whether a turn before this one is still open."""
        before = self.jobs.find(job.predecessor) if job.predecessor is not None else None
        return self._still_open(before) is not None

    def _still_open(self, job: Job | None) -> Job | None:
        """The turn that is waited for by whoever comes after this one, if there is any.

        A turn that ended before its turn came (canceled, expired) still knows whom it waited for,
        and whoever comes after it waits for that one.
        """
        while job is not None and job.status.final:
            job = self.jobs.find(job.predecessor) if job.predecessor is not None else None
        return job

    def _attempt(self, job: Job, shift: Shift) -> Job:
        """One attempt at a claimed job: prepare, draw, store, finish.

        Raises StillRunning when another has taken the job over meanwhile.
        """
        attempt = job.attempt
        heart = Heartbeat(
            self.jobs,
            self.images,
            job,
            shift.beat,
            alive=self.settings.alive,
            lease_ttl=self.settings.lease_ttl,
        )
        bug: Exception | None = None
        try:
            with heart:
                result = self._work(job, shift, heart)
            end = _at(attempt, succeed, **result)
        except Superseded:
            return self._superseded(job)
        except JobCanceled:
            end = _at(attempt, canceled)
        except RobotchatError as error:
            end = self._failure(job, error, heart.facts)
        except Exception as error:  # noqa: BLE001 - raised again, below
            # A bug, or a store that is away: another attempt may still go well, and if none does,
            # the job must end where its caller can read it.
            bug = error
            internal = RobotchatError("An internal error occurred.")
            end = self._failure(job, internal, heart.facts, again=not job.inline)
        try:
            job = self.jobs.change(job.id, end)
        except Superseded:
            return self._superseded(job)
        self.settle(job)
        self._on_attempt(job)
        if bug is not None:
            raise bug
        return job

    def _superseded(self, job: Job) -> Job:
        """This attempt is over, by somebody else's hand, and nothing of it counts."""
        logger.info("attempt superseded", extra={"job_id": job.id, "attempt": job.attempt})
        job = self.jobs.get(job.id, job.tenant)
        if job.status is JobStatus.RUNNING:
            until = job.alive_until or self.clock.now()
            raise StillRunning(max((until - self.clock.now()).total_seconds(), 0.0))
        return self.settle(job)

    def _failure(
        self,
        job: Job,
        error: RobotchatError,
        facts: Mapping[str, Any],
        *,
        again: bool | None = None,
    ) -> Transition:
        """What a failed attempt makes of the job."""
        attempt = job.attempt
        logger.warning(
            "attempt failed", extra={"job_id": job.id, "attempt": attempt, "code": error.code}
        )
        if isinstance(error, UpstreamBusy):
            pause = timedelta(seconds=1)
            return _at(attempt, give_back, reason="waiting_for_host", pause=pause, **facts)
        if isinstance(error, UnknownCheckpoint) and not job.inline:
            # A host had it when the job was accepted: it may come back, or another may get it.
            tried = self.clock.now() - (job.started_at or self.clock.now())
            if tried < timedelta(seconds=self.settings.host_patience):
                pause = timedelta(seconds=5 * self.settings.retry_base)
                return _at(attempt, give_back, reason="no_host_has_model", pause=pause, **facts)
        backoff = self.settings.retry_base * 2 ** (attempt - 1) * random.uniform(0.75, 1.25)  # noqa: S311
        pause = timedelta(seconds=min(backoff, 300.0))
        return _at(attempt, fail, error=error, backoff=pause, again=again, **facts)

    def settle(self, job: Job) -> Job:
        """What follows from a job's state: the next turn goes, or the next attempt is queued.

        Idempotent: it is done again whenever nobody can know whether it was done.
        """
        if not job.status.final:
            if job.status is JobStatus.QUEUED and job.predecessor is None and not job.inline:
                now = self.clock.now()
                wait = (job.not_before - now).total_seconds() if job.not_before else 0.0
                self.queue.send(job, delay=max(wait, 0.0))
            return job
        if job.deleted:
            self.images.delete(job.images_prefix)  # what was stored after the deletion
        if not self.must_wait(job):
            self._release_next(job)
        return job

    def _release_next(self, job: Job) -> None:
        """Let the turn after a final one go; turns that have ended before their turn are passed
        over, since nobody else can do this for the turns that wait for them."""
        after = job
        while after.successor is not None:
            after = self.jobs.change(after.successor, released)
            if after.status is JobStatus.QUEUED:
                self.queue.send(after)
            if not after.status.final or after.predecessor is None:
                return

    def _work(self, job: Job, shift: Shift, heart: Heartbeat) -> dict[str, Any]:
        """What the job is about. Gives the fields of the finished job."""
        started = time.monotonic()
        plan = self._preparation.prepare(job)
        prompt_seconds = time.monotonic() - started if job.message is not None else None
        if plan.request is None:
            return {
                **plan.notes,
                "charge": self._charge(job, images=0, work=0.0),
                "timings": _add(job.timings, prompt=prompt_seconds),
            }
        heart.note(**plan.notes, effective=plan.reference)
        heart.raise_if_canceled()

        waiting = time.monotonic()
        reserve = min(DRAWING_RESERVE, shift.time_left() / 2)
        patience = min(self.settings.host_patience, shift.time_left() - reserve)
        able = self.hosts.able(plan.request)
        with self.hosts.lease(
            among=able,
            avoid=job.avoid_hosts,
            work=plan.request.work,
            patience=patience,
            check=heart.waiting,
        ) as lease:
            host_wait = time.monotonic() - waiting
            heart.holds(lease, work=plan.request.work)
            checkpoint = able[lease.host.name]
            request = plan.request.with_checkpoint(checkpoint) if checkpoint else plan.request
            drawing_started = time.monotonic()
            try:
                drawing = self._draw(lease.host.bot, request, shift, heart)
            finally:
                heart.lets_go()
            heart.raise_if_canceled()
            run = time.monotonic() - drawing_started
            # What was stopped early tells nothing of the host's speed.
            work = 0.0 if heart.interrupted else plan.request.work
            lease.drew(checkpoint=drawing.checkpoint, work=work, seconds=run)
        if lease.lost:
            # Whoever took the host over has interrupted what it found there: this picture.
            raise UpstreamUnavailable("The SD host was given to another job while it drew.")

        storing = time.monotonic()
        images = self._store(job, drawing.pictures, "")
        extra = self._store(job, drawing.extra_pictures, "extra-")
        self._fresh = (job.id, drawing)
        return {
            **plan.notes,
            "effective": {**(plan.reference or {}), **_options_of(request)},
            "host": lease.host.name,
            "checkpoint": drawing.checkpoint,
            "model_switch": lease.switched,
            "images": images,
            "extra_images": extra,
            "charge": self._charge(job, images=len(images), work=plan.request.work),
            "unverified": list(drawing.unverified),
            "interrupted": heart.interrupted,
            "info": drawing.info,
            "picture": images[0].key if images else plan.notes.get("picture"),
            "timings": _add(
                job.timings,
                prompt=prompt_seconds,
                host_wait=host_wait,
                run=run,
                store=time.monotonic() - storing,
            ),
        }

    def _draw(
        self,
        bot: ArtBot,
        request: Text2ImageRequest | Image2ImageRequest,
        shift: Shift,
        heart: Heartbeat,
    ) -> Drawing:
        timeout = max(min(self.settings.run_timeout, shift.time_left() - 20.0), 1.0)
        draw: Any = bot.image2image if isinstance(request, Image2ImageRequest) else bot.text2image
        drawing: Drawing = draw(request, timeout=timeout, interrupted=lambda: heart.interrupted)
        return drawing

    def _charge(self, job: Job, *, images: int, work: float) -> Charge:
        """What the job really counts for, on the day on which it was accepted."""
        charge = self.ledger.charge(images=images, work=work)
        return charge.model_copy(update={"day": job.charge.day}) if job.charge else charge

    def drawing(self, job: Job) -> Drawing:
        """The pictures of a finished job, with all that the host said of them."""
        if self._fresh is not None and self._fresh[0] == job.id:
            return self._fresh[1]
        return Drawing(
            pictures=[self._load(image) for image in job.images],
            extra_pictures=[self._load(image) for image in job.extra_images],
            parameters={},
            info=job.info or {},
            checkpoint=job.checkpoint,
            unverified=job.unverified,
        )

    def _load(self, image: JobImage) -> Picture:
        return Picture(
            data=self.images.get(image.key),
            content_type=image.content_type,
            width=image.width,
            height=image.height,
            seed=image.seed,
            infotext=image.infotext or "",
        )

    def _store(self, job: Job, pictures: Sequence[Picture], prefix: str) -> list[JobImage]:
        """Store pictures, under names that follow from what is in them.

        So no other attempt can put another picture under the name that the finished job holds.
        """
        stored: list[JobImage] = []
        for number, picture in enumerate(pictures):
            suffix = picture.content_type.removeprefix("image/").replace("jpeg", "jpg")
            digest = hashlib.sha256(picture.data).hexdigest()
            key = f"{job.images_prefix}{prefix}{number}-{digest[:16]}.{suffix}"
            self.images.put(key, picture.data, picture.content_type)
            stored.append(
                JobImage(
                    key=key,
                    width=picture.width,
                    height=picture.height,
                    content_type=picture.content_type,
                    size=len(picture.data),
                    sha256=digest,
                    seed=picture.seed,
                    infotext=picture.infotext,
                )
            )
        return stored

    # --- what callers do with jobs and conversations ----------------------------------------------

    def cancel(self, job_id: str, *, tenant: str = LOCAL_TENANT) -> Job:
        """Cancel a job: at once when it is queued, else as soon as its worker sees it."""
        self.jobs.get(job_id, tenant)
        return self.settle(self.jobs.change(job_id, cancel_job))

    def retry(self, job_id: str, *, tenant: str = LOCAL_TENANT) -> Job:
        """Run a failed or expired job again, under the same id."""
        self.jobs.get(job_id, tenant)
        job = self.jobs.change(job_id, retry_job)
        if job.predecessor is not None and not self.must_wait(job):
            job = self.jobs.change(job_id, released)
        return self.settle(job)

    def delete_job(self, job_id: str, *, tenant: str = LOCAL_TENANT) -> None:
        """Delete a final job's pictures and words; that it was, and how it ended, is kept for a
        while. Raises JobNotFinal."""

        def delete(job: Job, now: datetime) -> Job:
            if not job.status.final:
                raise JobNotFinal(f"The job is {job.status}; cancel it first.")
            return discard(job, now)

        self.jobs.get(job_id, tenant)
        job = self.jobs.change(job_id, delete)
        self.images.delete(job.images_prefix)

    @cached_property
    def said(self) -> ResponseStore:
        """What was said in the conversations; ``Responses(..., store=robot.said)`` talks there."""
        from robotchat.gpt.responses.store import ResponseStore

        return ResponseStore(
            self.records,
            self.conversations,
            self.images,
            clock=self.clock,
            retention=self.settings.response_retention,
        )

    def delete_conversation(self, conversation_id: str, *, tenant: str = LOCAL_TENANT) -> None:
        """Delete a conversation, all that was said and drawn in it; what still runs is canceled.

        From the beginning on nobody finds the conversation or adds to it. If this ends halfway,
        it can be done again.
        """
        conversation = self.conversations.close(conversation_id, tenant)
        turns = {job.id for job in self.conversations.turns(conversation.id)}
        if conversation.tail is not None:
            turns.add(conversation.tail)  # which the index may not have yet
        for job_id in turns:
            job = self.jobs.change(job_id, discard)
            self.images.delete(job.images_prefix)
        self.said.forget_conversation(conversation_id, tenant)
        self.conversations.forget(conversation)


class _RunAtOnce:
    """The queue of a program: a job is run, attempt after attempt, when it is sent."""

    def __init__(self, robot: Robot) -> None:
        self._robot = robot

    def send(self, job: Job, *, delay: float = 0.0) -> None:
        self._robot.clock.sleep(delay)
        try:
            self._robot.run(job.id)
        except NotYet as wait:
            self.send(job, delay=wait.seconds)
        except StillRunning:
            logger.info("another thread is on it", extra={"job_id": job.id})

    def backlog(self) -> int:
        return 0


def _options_of(request: Text2ImageRequest | Image2ImageRequest) -> dict[str, Any]:
    """What is sent of a request's options, the checkpoint among them."""
    return {name: v for name, v in request.body().items() if name.startswith("override_settings")}


def _said(request: ChatImageRequest) -> dict[str, Any]:
    """What makes two requests the same, whichever way they came in."""
    kind = ChatEditRequest if isinstance(request, ChatEditRequest) else ChatImageRequest
    return request.model_dump(mode="json", include=set(kind.model_fields))


def _at(attempt: int, transition: Callable[..., Job], **facts: Any) -> Transition:
    """A transition of one attempt at a job."""
    return lambda job, now: transition(job, attempt, now, **facts)


def _again(job: Job, now: datetime) -> Job:
    """A job whose caller waits again, after it failed."""
    if job.status is not JobStatus.FAILED:
        return job
    return retry_job(job, now).model_copy(update={"inline": True})


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


def _check_has_picture(parent: Job | None) -> None:
    """Refuse an edit that can have no picture; a turn that is still to come may bring one."""
    if parent is None or (parent.status.final and parent.picture is None):
        raise InvalidRequest(
            "There is no picture to change: send one, or name a conversation that has one.",
            param="image",
        )


def _add(timings: Timings, **seconds: float | None) -> Timings:
    return timings.model_copy(update={k: round(v, 4) for k, v in seconds.items() if v is not None})
