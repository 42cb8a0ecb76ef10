"""The thread beside a running job: it shows life, reports progress, and watches for a cancel."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from robotchat.art.answers import Progress
from robotchat.art.bot import ArtBot
from robotchat.errors import InvalidRequest, JobCanceled, NotSupported, UpstreamError
from robotchat.hosts.lease import Lease, LeaseLost
from robotchat.images import Images, decode_base64, inspect
from robotchat.jobs.job import ALIVE, Job
from robotchat.jobs.states import Superseded, TooLate, update
from robotchat.jobs.store import Jobs
from robotchat.lifecycle.run_context import Leaving, RunContext
from robotchat.periodic import Periodic
from robotchat.settings import Settings

logger = logging.getLogger(__name__)

INTERVAL = 1.0
"""Seconds between two looks at the host and the job: progress is written at most that often."""

PREVIEW_INTERVAL = 3.0
"""Seconds between two previews, while somebody looks at them; each costs the host a decoding."""

RENEW_AFTER = 10.0
"""Longest time, in seconds, between two signs of life, to the job, the lease and whoever delivered
the job; a third of what any of them allows, where that is less."""


class Heartbeat:
    """Runs beside one attempt at a job, from entering to leaving the context.

    ``note`` collects facts for the job's record. They are written with the next sign of life, so
    that a quick job needs no write for them; ``facts`` has them for its last one. A cancel, or an
    attempt that was superseded, is raised by ``raise_if_canceled`` in the thread that does the
    work; a host that is held is interrupted. Previews are put into ``images``. ``alive`` and
    ``lease_ttl`` (seconds) tell how long a silence makes the job and the host be taken for lost.
    """

    def __init__(
        self,
        jobs: Jobs,
        images: Images,
        job: Job,
        context: RunContext,
        *,
        alive: timedelta = ALIVE,
        lease_ttl: float = Settings.lease_ttl,
    ) -> None:
        self._alive = alive
        self._renew_after = min(RENEW_AFTER, alive.total_seconds() / 3, lease_ttl / 3)
        self._interval = min(INTERVAL, self._renew_after)
        self._jobs = jobs
        self._images = images
        self._job = job
        self.attempt_id = str(uuid.uuid4())
        """What the attempt is called on its host: an attempt that is given back and taken up again
        has another one."""
        self._context = context
        self._lock = threading.Lock()
        self._notes: dict[str, Any] = {}
        self.facts: dict[str, Any] = {}
        """All that was noted during this attempt."""
        self._lease: Lease | None = None
        self._drawing_since = 0.0
        self._expected: float | None = None
        self._left: float | None = None
        self._watched = False
        self._preview_at = 0.0
        self._preview_hash = ""
        self.interrupted = False
        """Whether the host was told to end the drawing early, and to give what it has."""
        self.stopped = False
        """Whether the host was told to stop, for whatever reason: what comes back may be less than
        was asked for, and that is no failure."""
        self._canceled = False
        self._too_late = False
        self._given_up = False
        self._superseded = False
        self.job = job
        """The job as this attempt last read or wrote it."""
        self._renewed = time.monotonic()
        self._periodic = Periodic(
            f"heartbeat-{job.id}",
            (self._interval, self.look),
            until=Superseded,
            extra={"job_id": job.id},
        )

    def __enter__(self) -> Self:
        self._periodic.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._periodic.__exit__(kind, error, trace)

    def note(self, **facts: Any) -> None:
        """Have these fields of the job written with the next sign of life."""
        with self._lock:
            self._notes.update(facts)
            self.facts.update(facts)

    def _show(self, **state: Any) -> None:
        """Have what is so at the moment written: it says nothing of the attempt once that ends."""
        with self._lock:
            self._notes.update(state)

    def waiting(self) -> None:
        """Called while no host is free. Raises as ``raise_if_canceled`` does, and Leaving as soon
        as the runner is being stopped."""
        self.raise_if_canceled()
        if self._context.leaving():
            raise Leaving(self._job.id)
        self._show(reason="waiting_for_host")

    @contextmanager
    def holding(self, lease: Lease, *, work: float) -> Iterator[None]:
        """While this lasts the attempt draws on a host, ``work`` pixel-steps; only then is the
        host interrupted when the job is to stop."""
        with self._lock:
            self._lease = lease
            self._drawing_since = time.monotonic()
            self._expected = lease.estimate(work)
        self.note(host=lease.host.name)
        self._show(reason=None)
        try:
            yield
        finally:
            self._leave_host()

    def _leave_host(self) -> None:
        with self._lock:
            self._lease = None

    def raise_if_canceled(self) -> None:
        """Raises JobCanceled after a cancel, TooLate after the job's deadline, Superseded when the
        attempt is not ours now, and Leaving when the runner must give it back."""
        if self._superseded:
            raise Superseded(self._job.id)
        if self._canceled:
            raise JobCanceled("The job was canceled.")
        if self._too_late:
            raise TooLate(self._job.id)
        if self._given_up:
            raise Leaving(self._job.id)

    def look(self) -> None:
        """One tick. Raises Superseded when there is nothing left to look at.

        Whatever else it raises is left to the next tick: the store or the queue may be away for a
        moment, and if it stays away, the lease and the message run out as they should.
        """
        try:
            self.tick()
        except Superseded:
            self._superseded = True
            self._interrupt()
            raise

    def tick(self) -> None:
        """One look at the host and the job. Raises Superseded."""
        self._read_progress()
        due = time.monotonic() - self._renewed >= self._renew_after
        with self._lock:
            notes, self._notes = self._notes, {}
        job = self._write(notes) if notes or due else self._jobs.find(self._job.id) or self._job
        if job.attempt != self._job.attempt or job.status.final:
            raise Superseded(job.id)
        self.job = job
        self._watched = job.watched_until is not None and self._jobs.now() < job.watched_until
        if job.cancel_requested:
            self._canceled = True
            self._interrupt()
        elif self._jobs.now() >= job.expires_at:
            self._too_late = True
            self._interrupt()
        elif self._context.left():
            self._given_up = True
            self._interrupt()
        elif job.stop == "interrupt":
            # Before the host is told: its answer may be back before this call is.
            before, self.interrupted = self.interrupted, True
            self.interrupted = self._interrupt() or before
        elif job.stop == "skip":
            self._skip()
            self._show(stop=None)
        if due:
            self._renewed = time.monotonic()
            self._context.beat()
            self._renew()

    def _write(self, notes: dict[str, Any]) -> Job:
        attempt, alive = self._job.attempt, self._alive
        try:
            return self._jobs.change(
                self._job.id,
                lambda j, now: update(j, attempt, now, alive=alive, **notes),
                known=self.job,
            )
        except Exception:
            with self._lock:
                self._notes = {**notes, **self._notes}  # with the next sign of life, then
            raise

    def _read_progress(self) -> None:
        with self._lock:
            lease, since, expected = self._lease, self._drawing_since, self._expected
        if lease is None:
            return
        elapsed = time.monotonic() - since
        estimated = False
        seen = self._look(lease)
        if seen is not None and not seen.idle:
            progress = seen.progress
            left = seen.eta_relative if progress > 0.05 else None
        elif expected:
            # The host tells nothing: what the measured speed of the host lets expect.
            progress, left = min(elapsed / expected, 0.95), max(expected - elapsed, 0.0)
            estimated = True
        else:
            return
        with self._lock:
            if self._lease is lease:
                self._notes["progress"] = round(min(max(progress, 0.0), 0.99), 3)
                self._notes["eta"] = round(left, 1) if left is not None else None
                self._notes["eta_estimated"] = estimated
                self._left = left

    def _look(self, lease: Lease) -> Progress | None:
        """What the host says of its progress; with a preview, if it is time for one."""
        now = time.monotonic()
        preview = self._watched and now - self._preview_at >= PREVIEW_INTERVAL
        try:
            seen = lease.host.bot.progress(self.attempt_id, preview=preview)
        except UpstreamError:
            return None
        if preview and seen is not None and seen.current_image:
            self._preview_at = now
            self._store_preview(seen.current_image)
        return seen

    def _store_preview(self, text: str) -> None:
        try:
            data = decode_base64(text)
            kind = inspect(data).content_type
        except InvalidRequest as error:
            logger.info("the host's preview is no picture: %s", error.code)
            return
        digest = hashlib.sha256(data).hexdigest()
        if digest != self._preview_hash:
            key = f"{self._job.images_prefix}preview"
            self._images.put(key, data, kind)
            self._preview_hash = digest
            self._show(preview=key)

    def _renew(self) -> None:
        with self._lock:
            lease, left = self._lease, self._left
        if lease is None:
            return
        try:
            lease.renew(remaining=left)
        except LeaseLost:
            logger.warning("lease lost while drawing", extra={"job_id": self._job.id})
            self._leave_host()

    def _interrupt(self) -> bool:
        """Stop the host, while it is certain that it draws for this attempt. Whether it was."""
        return self._tell(lambda bot: bot.interrupt(self.attempt_id))

    def _skip(self) -> bool:
        """Have the host end its present batch, in the same way."""
        return self._tell(lambda bot: bot.skip())

    def _tell(self, what: Callable[[ArtBot], None]) -> bool:
        with self._lock:
            if self._lease is None:
                return False
            try:
                # Certain it is only right after a sign of life that was taken.
                self._lease.renew(remaining=self._left)
                before, self.stopped = self.stopped, True
                what(self._lease.host.bot)
            except LeaseLost:
                self._lease = None
                return False
            except NotSupported:
                self.stopped = before
                return False
            except UpstreamError as error:
                logger.info("the host could not be stopped: %s", error.code)
                return False
            return True
