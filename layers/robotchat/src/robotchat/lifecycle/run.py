"""Running a job: one attempt, from the claim to the final state.

Claim, prepare the prompt and the pictures, lease a host, draw, store, finish; then let the next
turn of the conversation go.
"""

from __future__ import annotations

import hashlib
import logging
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from robotchat.art.bot import ArtBot
from robotchat.art.requests import Image2ImageRequest, Text2ImageRequest
from robotchat.art.results import Drawing, DrawnImage
from robotchat.clock import Clock
from robotchat.errors import (
    InvalidRequest,
    JobCanceled,
    JobIsFinal,
    RecordTooLarge,
    RobotchatError,
    UnknownCheckpoint,
    UpstreamBusy,
    UpstreamError,
    UpstreamRejected,
    UpstreamUnavailable,
    WrongResult,
)
from robotchat.hosts.asking import MOST_MISTAKEN, Mistaken
from robotchat.hosts.lease import Lease
from robotchat.hosts.pool import HostPool
from robotchat.images import Images
from robotchat.jobs.charge import Charge
from robotchat.jobs.job import Job, JobError, JobImage, JobStatus, MissingImage, Timings
from robotchat.jobs.limits import Ledger
from robotchat.jobs.states import (
    StillRunning,
    Superseded,
    TooLate,
    canceled,
    claim,
    expired,
    fail,
    give_back,
    succeed,
    within_bounds,
)
from robotchat.jobs.store import Jobs
from robotchat.lifecycle.finish import finished
from robotchat.lifecycle.heartbeat import Heartbeat
from robotchat.lifecycle.prepare import Preparation
from robotchat.lifecycle.run_context import Leaving, RunContext
from robotchat.lifecycle.settle import Settlement
from robotchat.settings import Settings

logger = logging.getLogger(__name__)

DRAWING_RESERVE = 240.0
"""Seconds of a runner's time that are kept for drawing, however long it has waited for a host."""

Transition = Callable[[Job, datetime], Job]


Asked = Text2ImageRequest | Image2ImageRequest


@dataclass(frozen=True)
class _Drawn:
    """What was drawn, on which host; times in seconds."""

    drawing: Drawing
    request: Asked
    lease: Lease
    waited: float
    seconds: float
    left_out: Sequence[str] = ()
    """Options that the tenant has set and none of the hosts takes."""


class _Elsewhere(Exception):
    """None of the hosts that can draw the job is ours; those that can are of a pool."""

    def __init__(self, pool: str | None) -> None:
        super().__init__(pool)
        self.pool = pool


class Runner:
    """Brings jobs as far as they go."""

    def __init__(
        self,
        jobs: Jobs,
        images: Images,
        hosts: HostPool,
        preparation: Preparation,
        ledger: Ledger,
        settlement: Settlement,
        settings: Settings,
        clock: Clock,
        on_attempt: Callable[[Job], None],
    ) -> None:
        self._jobs = jobs
        self._images = images
        self._hosts = hosts
        self._preparation = preparation
        self._ledger = ledger
        self._settlement = settlement
        self._settings = settings
        self._clock = clock
        self._on_attempt = on_attempt
        self._fresh: tuple[str, Drawing] | None = None
        """What was drawn last, so that the caller who waited for it need not load it again."""

    def run(self, job_id: str, context: RunContext | None = None) -> Job:
        """Take a queued job up and bring it as far as it goes in one attempt.

        Gives the job as it is then: final, or queued again (backing off, or for want of a host),
        or still waiting for the turn before it, whose end will have it run. A job that is final
        already is given back as it is, after its successor was released, so that a repeated
        delivery repairs what a crash left undone. Raises StillRunning and NotYet when it is not
        to be run now.
        """
        alive = self._settings.alive
        job = self._jobs.find(job_id)
        if job is not None and not job.status.final:
            if self._settlement.must_wait(job):
                return job
            if within_bounds(job, self._clock.now(), alive=alive) != job:
                self._jobs.change(job_id, lambda j, now: within_bounds(j, now, alive=alive))
        try:
            job = self._jobs.change(job_id, lambda j, now: claim(j, now, alive=alive), known=job)
        except JobIsFinal:
            final = self._jobs.find(job_id)
            if final is None:
                raise
            return self._settlement.settle(final)
        if job.status.final:
            return self._settlement.settle(job)
        return self.attempt(job, context or RunContext())

    def attempt(self, job: Job, context: RunContext) -> Job:
        """One attempt at a claimed job: prepare, draw, store, finish.

        Raises StillRunning when another has taken the job over meanwhile.
        """
        attempt = job.attempt
        heart = Heartbeat(
            self._jobs,
            self._images,
            job,
            context,
            alive=self._settings.alive,
            lease_ttl=self._settings.lease_ttl,
        )
        bug: Exception | None = None
        try:
            with heart:
                result = self._work(job, context, heart)
            end = _at(attempt, succeed, **result)
        except Superseded:
            return self._superseded(job)
        except JobCanceled:
            end = _at(attempt, canceled)
        except TooLate:
            end = _at(attempt, expired)
        except Leaving:
            end = _at(attempt, give_back, reason="waiting_for_host", pause=timedelta(0))
        except _Elsewhere as other:
            end = self._handed_over(job, other.pool)
        except RobotchatError as error:
            end = self._failure(job, error, heart.facts)
        except Exception as error:  # noqa: BLE001 - raised again, below
            # A bug, or a store that is away: another attempt may still go well, and if none does,
            # the job must end where its caller can read it.
            bug = error
            internal = RobotchatError("An internal error occurred.")
            end = self._failure(job, internal, heart.facts, again=not job.inline)
        try:
            job = self._end(job, end, known=heart.job)
        except Superseded:
            return self._superseded(job)
        self._settlement.settle(job)
        self._on_attempt(job)
        if bug is not None:
            raise bug
        return job

    def _handed_over(self, job: Job, pool: str | None) -> Transition:
        """Give a job to the workers of a pool whose hosts can draw it, which ours cannot."""
        logger.info("for another's hosts", extra={"job_id": job.id, "pool": pool})
        # By the same queue, others must have time to take it.
        pause = timedelta(seconds=1.0 if pool == job.pool else 0.0)
        facts: dict[str, Any] = {"reason": "waiting_for_host", "pool": pool, "inline": False}
        return _at(job.attempt, give_back, pause=pause, **facts)

    def _end(self, job: Job, end: Transition, *, known: Job) -> Job:
        """Write how the attempt ended. What cannot be stored of it makes the job fail, without
        any of that: a job must end where its caller can read it. Raises Superseded."""
        try:
            return self._jobs.change(job.id, end, known=known)
        except (RecordTooLarge, InvalidRequest) as error:
            logger.warning("the end cannot be stored", extra={"job_id": job.id, "code": error.code})
            return self._jobs.change(job.id, self._failure(job, error, {}, again=False))

    def _superseded(self, job: Job) -> Job:
        """This attempt is over, by somebody else's hand, and nothing of it counts."""
        logger.info("attempt superseded", extra={"job_id": job.id, "attempt": job.attempt})
        job = self._jobs.get(job.id, job.tenant)
        if job.status is JobStatus.RUNNING:
            until = job.alive_until or self._clock.now()
            raise StillRunning(max((until - self._clock.now()).total_seconds(), 0.0))
        return self._settlement.settle(job)

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
            tried = self._clock.now() - (job.started_at or self._clock.now())
            if tried < timedelta(seconds=self._settings.host_patience):
                pause = timedelta(seconds=5 * self._settings.retry_base)
                return _at(attempt, give_back, reason="no_host_has_model", pause=pause, **facts)
        if isinstance(error, WrongResult) and attempt > len(self._hosts.hosts):
            again = False  # each host had its chance, and the same one does not learn
        backoff = self._settings.retry_base * 2 ** (attempt - 1) * random.uniform(0.75, 1.25)  # noqa: S311
        pause = timedelta(seconds=min(backoff, 300.0))
        return _at(attempt, fail, error=error, backoff=pause, again=again, **facts)

    def _work(self, job: Job, context: RunContext, heart: Heartbeat) -> dict[str, Any]:
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

        drawn = self._drawn(job, plan.request, context, heart)
        storing = time.monotonic()
        lease = drawn.lease
        try:
            drawing = finished(drawn.drawing, plan.request, mark=self._settings.label_pictures)
            images = self._store(job, drawing.images, "")
            extra = self._store(job, drawing.extra_images, "extra-")
        finally:
            kept = lease.released()
        if not kept:
            # Whoever took the host over has interrupted what it found there: this picture.
            raise UpstreamUnavailable("The SD host was given to another job while it drew.")
        self._fresh = (job.id, drawing)
        return {
            **plan.notes,
            "effective": {**(plan.reference or {}), **_options_of(drawn.request)},
            "host": lease.host.name,
            "checkpoint": drawing.checkpoint,
            "model_switch": lease.switched,
            "images": images,
            "extra_images": extra,
            "missing": [
                MissingImage(index=one.index, seed=one.seed, error=JobError.of(one.error))
                for one in drawing.missing
            ],
            "charge": self._charge(job, images=len(images), work=plan.request.work),
            "unverified": [
                *drawing.unverified,
                *(f"override_settings.{name}" for name in drawn.left_out),
            ],
            "interrupted": heart.interrupted,
            "info": drawing.info,
            "picture": images[0].key if images else plan.notes.get("picture"),
            "timings": _add(
                job.timings,
                prompt=prompt_seconds,
                host_wait=drawn.waited,
                run=drawn.seconds,
                store=time.monotonic() - storing,
            ),
        }

    def _drawn(self, job: Job, request: Asked, context: RunContext, heart: Heartbeat) -> _Drawn:
        """Draw on a host; what one refuses is tried on one other, which may know better."""
        asked = set(job.request.get("override_settings") or ()) - set(job.defaults)
        soft = set(request.override_settings or ()) - asked
        fitted, able, left_out = self._able_here(request, soft)
        refused_by: list[str] = []
        mistaken = 0
        while True:
            sure = mistaken < MOST_MISTAKEN
            try:
                drawn = self._drawn_among(able, refused_by, job, fitted, context, heart, sure=sure)
                return replace(drawn, left_out=left_out)
            except Mistaken:
                mistaken += 1  # so often, and each host of the pool is asked before the next try
                each = mistaken >= MOST_MISTAKEN
                fitted, able, left_out = self._able_here(request, soft, each=each)
                able = {n: alias for n, alias in able.items() if n not in refused_by} or able
            except (UpstreamRejected, UnknownCheckpoint):
                if len(refused_by) > 1 or not able.keys() - set(refused_by):
                    raise
                able = {name: alias for name, alias in able.items() if name not in refused_by}

    def _able_here(
        self, request: Asked, soft: Collection[str], *, each: bool = False
    ) -> tuple[Asked, Mapping[str, str | None], Sequence[str]]:
        """`HostPool.fitting` of those hosts that this process can draw on. Raises `_Elsewhere`
        when they are all others'."""
        fitted, able, left_out = self._hosts.fitting(request, soft, each=each)
        here = self._hosts.drawn_here(able)
        if not here:
            raise _Elsewhere(self._hosts.pool_for(able))
        return fitted, {name: able[name] for name in here}, left_out

    def _drawn_among(
        self,
        able: Mapping[str, str | None],
        refused_by: list[str],
        job: Job,
        request: Asked,
        context: RunContext,
        heart: Heartbeat,
        *,
        sure: bool,
    ) -> _Drawn:
        """``sure``: have the host say first that it can. Raises Mistaken if it cannot."""
        waiting = time.monotonic()
        reserve = min(DRAWING_RESERVE, context.time_left() / 2)
        patience = min(self._settings.host_patience, context.time_left() - reserve)
        work = request.work
        with self._hosts.lease(
            among=able,
            avoid=job.avoid_hosts,
            work=work,
            patience=patience,
            check=heart.waiting,
            request=request if sure else None,
        ) as lease:
            waited = time.monotonic() - waiting
            checkpoint = able[lease.host.name]
            request = request.with_checkpoint(checkpoint) if checkpoint else request
            with heart.holding(lease, work=work):
                started = time.monotonic()
                try:
                    drawing = self._draw(lease.host.bot, request, context, heart)
                except (UpstreamError, UnknownCheckpoint) as error:
                    # However a drawing ends that was stopped, the host is not to blame.
                    heart.raise_if_canceled()
                    if error.details.get("interrupted"):
                        said = "The drawing was stopped before there was a picture."
                        raise JobCanceled(said) from error
                    if isinstance(error, UpstreamRejected | UnknownCheckpoint):
                        refused_by.append(lease.host.name)
                    raise
            heart.raise_if_canceled()
            seconds = time.monotonic() - started
            # What was stopped early tells nothing of the host's speed.
            told = 0.0 if heart.stopped else work
            lease.drew(checkpoint=drawing.checkpoint, work=told, seconds=seconds)
            lease.release_aside()  # the next job has the host while these pictures are stored
        return _Drawn(drawing, request, lease, waited, seconds)

    def _draw(self, bot: ArtBot, request: Asked, context: RunContext, heart: Heartbeat) -> Drawing:
        timeout = self._settings.drawing_timeout(context.time_left())
        draw: Any = bot.image2image if isinstance(request, Image2ImageRequest) else bot.text2image
        drawing: Drawing = draw(
            request,
            timeout=timeout,
            attempt_id=heart.attempt_id,
            interrupted=lambda: heart.stopped,
        )
        return drawing

    def _charge(self, job: Job, *, images: int, work: float) -> Charge:
        """What the job really counts for, on the day on which it was accepted."""
        charge = self._ledger.charge(images=images, work=work)
        return charge.model_copy(update={"day": job.charge.day}) if job.charge else charge

    def drawing(self, job: Job) -> Drawing:
        """The pictures of a finished job, with all that the host said of them."""
        if self._fresh is not None and self._fresh[0] == job.id:
            return self._fresh[1]
        return Drawing(
            images=[self._load(image) for image in job.images],
            extra_images=[self._load(image) for image in job.extra_images],
            parameters={},
            info=job.info or {},
            checkpoint=job.checkpoint,
            unverified=job.unverified,
        )

    def _load(self, image: JobImage) -> DrawnImage:
        return DrawnImage(
            data=self._images.get(image.key),
            content_type=image.content_type,
            width=image.width,
            height=image.height,
            seed=image.seed,
            infotext=image.infotext or "",
        )

    def _store(self, job: Job, images: Sequence[DrawnImage], prefix: str) -> list[JobImage]:
        """Store pictures, under names that follow from what is in them.

        So no other attempt can put another picture under the name that the finished job holds.
        """
        stored: list[JobImage] = []
        for number, image in enumerate(images):
            suffix = image.content_type.removeprefix("image/").replace("jpeg", "jpg")
            digest = hashlib.sha256(image.data).hexdigest()
            key = f"{job.images_prefix}{prefix}{number}-{digest[:16]}.{suffix}"
            self._images.put(key, image.data, image.content_type)
            stored.append(
                JobImage(
                    key=key,
                    width=image.width,
                    height=image.height,
                    content_type=image.content_type,
                    size=len(image.data),
                    sha256=digest,
                    seed=image.seed,
                    infotext=image.infotext,
                )
            )
        return stored


def _options_of(request: Asked) -> dict[str, Any]:
    """What is sent of a request's options, the checkpoint among them."""
    return {name: v for name, v in request.body().items() if name.startswith("override_settings")}


def _at(attempt: int, transition: Callable[..., Job], **facts: Any) -> Transition:
    """A transition of one attempt at a job."""
    return lambda job, now: transition(job, attempt, now, **facts)


def _add(timings: Timings, **seconds: float | None) -> Timings:
    return timings.model_copy(update={k: round(v, 4) for k, v in seconds.items() if v is not None})
