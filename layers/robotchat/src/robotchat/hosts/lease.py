"""The right to draw on one host, and what is known of that host."""

from __future__ import annotations

import hashlib
import logging
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from robotchat.art.bot import ArtBot
from robotchat.art.matching import checkpoint_key
from robotchat.clock import Clock
from robotchat.periodic import InThread, Periodic
from robotchat.records import Stale

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Host:
    """An SD host: a name that may be shown, and who draws on it."""

    name: str
    bot: ArtBot
    here: bool = True
    """Whether this process can draw on it; else only the worker beside it can."""
    pool: str | None = None
    """Where only a worker can: the pool whose queue it takes jobs from; None: that of all jobs."""


def host_name(url: str) -> str:
    """A stable name for the host at a URL, that does not give the address away."""
    parts = urlsplit(url)
    scheme = parts.scheme.rpartition("+")[2]  # whether or not its kind is named
    address = f"{scheme}://{parts.hostname}:{parts.port}{parts.path.rstrip('/')}"
    return f"sd-{hashlib.sha256(address.encode()).hexdigest()[:8]}"


class HostState(BaseModel):
    """What is known of a host, as of now."""

    model_config = ConfigDict(frozen=True)

    name: str
    holder: str | None = None
    holder_until: datetime | None = None
    checkpoint: str | None = None
    """The checkpoint that it had loaded when it was last used."""
    free_since: datetime | None = None
    ends_at: datetime | None = None
    """When the present holder expects to be done."""
    speed: float | None = None
    """Pixel-steps per second, as measured."""
    failures: int = 0
    """Failures in a row that any request would have met."""
    cool_down_until: datetime | None = None
    failed_at: datetime | None = None
    """When something last went wrong on it, whoever was to blame."""
    failure: str | None = None
    """The code of that error."""
    doubtful: bool = False
    """Whether it may still draw, or have options set, for its last holder."""
    version: int = 0

    def changed(self, **changes: Any) -> Self:
        """The same with these changes."""
        return self.model_copy(update=changes)

    def state(self, now: datetime) -> Literal["free", "busy", "cooling_down"]:
        """``busy``, ``cooling_down`` or ``free``."""
        if self.held(now):
            return "busy"
        return "cooling_down" if self.cooling(now) else "free"

    def held(self, now: datetime) -> bool:
        return self.holder is not None and self.holder_until is not None and now < self.holder_until

    def cooling(self, now: datetime) -> bool:
        return self.cool_down_until is not None and now < self.cool_down_until


class LeaseLost(Exception):
    """The lease ran out, and the host may be another's by now: do not touch the host any more."""


class Leases(Protocol):
    """Where leases are written down: the pool."""

    clock: Clock
    ttl: timedelta
    """How long a lease outlives its holder's last sign of life."""

    def write(self, state: HostState) -> HostState:
        """Store a host's state, and give it in its new version. Raises Stale when another wrote
        it meanwhile."""
        ...

    def cool_down(self, failures: int) -> timedelta:
        """How long a host is left alone after so many failures one after the other."""
        ...


class Lease:
    """The right to draw on a host. Made by ``HostPool.lease``; not to be kept beyond it."""

    def __init__(
        self, pool: Leases, host: Host, state: HostState, *, before: str | None = None
    ) -> None:
        self.host = host
        self._before = before
        self._pool = pool
        self._state = state
        self._lock = threading.Lock()
        self._failure: str | None = None
        self._failed = False
        self._releasing: InThread[None] | None = None
        self._lost = False
        self.switched = False
        """Whether the host had to load another checkpoint for what was drawn."""

    @property
    def checkpoint(self) -> str | None:
        """The checkpoint that the host has loaded, or is to load for this lease."""
        return self._state.checkpoint

    def renew(self, *, remaining: float | None = None) -> None:
        """Show that the holder lives, and say in how many seconds it expects to be done.

        Raises LeaseLost when the lease has run out and was taken by another.
        """
        now = self._pool.clock.now()
        ends_at = now + timedelta(seconds=remaining) if remaining is not None else None
        with self._lock:
            self._write(self._state.changed(holder_until=now + self._pool.ttl, ends_at=ends_at))

    def drew(self, *, checkpoint: str | None, work: float, seconds: float) -> None:
        """Note what was drawn, to be written with the release: which checkpoint is loaded now
        (None: the host does not tell, so it is the one that was asked for), and how fast the host
        did ``work`` pixel-steps."""
        measured = work / seconds if seconds > 0 else None
        with self._lock:
            checkpoint = checkpoint or self._state.checkpoint
            self.switched = checkpoint != self._before and not same_checkpoint(
                checkpoint, self._before
            )
            known = self._state.speed
            if measured and not self.switched:
                known = measured if known is None else 0.7 * known + 0.3 * measured
            self._state = self._state.changed(checkpoint=checkpoint, speed=known)

    def estimate(self, work: float) -> float | None:
        """How many seconds ``work`` pixel-steps will take on this host, if that is known."""
        return work / self._state.speed if self._state.speed else None

    def kept(self) -> Periodic:
        """Renews the lease while its context is entered, for work that has no heartbeat."""

        def renew() -> None:
            try:
                self.renew()
            except LeaseLost:
                logger.warning("the lease of %s ran out while it was used", self.host.name)
                raise

        interval = self._pool.ttl.total_seconds() / 3
        return Periodic(f"lease-{self.host.name}", (interval, renew), until=LeaseLost)

    def failed(self, code: str, *, pause: bool) -> None:
        """Note what went wrong; ``pause``: that any request would have met it, so that the host is
        left alone for a while after the release."""
        self._failure = code
        self._failed = pause

    def release(self) -> None:
        """Give the host back. Releasing twice, or after the lease was lost, does nothing."""
        if self._releasing is None:
            self._release()

    def release_aside(self) -> None:
        """Begin to give the host back, beside what is done next. To be followed by ``released``."""
        self._releasing = InThread(f"release-{self.host.name}", self._release)

    def released(self) -> bool:
        """See the release done. False if the lease had run out before, and another has the host:
        what was drawn under it may be half another's."""
        if self._releasing is not None:
            self._releasing.result()
        return not self._lost

    def _release(self) -> None:
        now = self._pool.clock.now()
        with self._lock:
            if self._state.holder is None:
                return
            failures = self._state.failures + 1 if self._failed else 0
            pause = self._pool.cool_down(failures)
            told: dict[str, Any] = {}
            if self._failure is not None:
                told = {"failed_at": now, "failure": self._failure}
            free = self._state.changed(
                **told,
                doubtful=self.host.bot.baseline.doubtful,
                holder=None,
                holder_until=None,
                ends_at=None,
                free_since=now,
                failures=failures,
                cool_down_until=now + pause if failures else None,
                checkpoint=None if self._failed else self._state.checkpoint,
            )
            try:
                self._write(free)
            except LeaseLost:
                logger.warning("the lease of %s ran out before its release", self.host.name)
                self._state = self._state.changed(holder=None)

    def _write(self, state: HostState) -> None:
        try:
            self._state = self._pool.write(state)
        except Stale as error:
            self._lost = True
            raise LeaseLost(self.host.name) from error


def same_checkpoint(one: str | None, other: str | None) -> bool:
    """Whether two names of a checkpoint, as hosts give them in lists and in infos, are for one."""
    return one is not None and other is not None and checkpoint_key(one) == checkpoint_key(other)
