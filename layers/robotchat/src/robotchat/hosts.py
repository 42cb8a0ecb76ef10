"""The pool of SD hosts: who may draw on which host, and when.

A Stable Diffusion host draws one picture at a time, keeps one checkpoint loaded, and knows of
neither callers nor queues. So there is one lease per host in the document store. Whoever wants to
draw takes the lease of the best free host, renews it while it lives, and gives it back; a lease
that is no longer renewed runs out by itself, and its host is cleared of the dead holder's work
before it is used again.
"""

from __future__ import annotations

import hashlib
import logging
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from robotchat.art import ArtBot, DrawRequest
from robotchat.clock import Clock
from robotchat.errors import (
    InvalidRequest,
    Misconfigured,
    RobotchatError,
    UpstreamBusy,
    UpstreamError,
)
from robotchat.jobs import new_id
from robotchat.records import Put, Record, Records, Stale

logger = logging.getLogger(__name__)

SWITCH_PATIENCE = timedelta(seconds=2)
"""How long a host stays free before a job that needs another checkpoint may take it.

Loading a checkpoint costs seconds. While jobs for the loaded one keep coming, the host is never
free for that long, so that two checkpoints over two hosts are not loaded to and fro.
"""

CLEARING_TIMEOUT = 30.0
"""Longest wait, in seconds, for a dead holder's work to stop after the interrupt."""


@dataclass(frozen=True)
class Host:
    """An SD host: a name that may be shown, and who draws on it."""

    name: str
    bot: ArtBot


def host_name(url: str) -> str:
    """A stable name for the host at a URL, that does not give the address away."""
    parts = urlsplit(url)
    address = f"{parts.scheme}://{parts.hostname}:{parts.port}{parts.path.rstrip('/')}"
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
    cool_down_until: datetime | None = None
    version: int = 0

    def but(self, **changes: Any) -> Self:
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


class Lease:
    """The right to draw on a host. Made by ``HostPool.lease``; not to be kept beyond it."""

    def __init__(self, pool: HostPool, host: Host, state: HostState) -> None:
        self.host = host
        self._pool = pool
        self._state = state
        self._lock = threading.Lock()
        self._failed = False

    @property
    def checkpoint(self) -> str | None:
        """The checkpoint that the host has loaded, as far as is known."""
        return self._state.checkpoint

    def renew(self, *, remaining: float | None = None) -> None:
        """Show that the holder lives, and say in how many seconds it expects to be done.

        Raises LeaseLost when the lease has run out and was taken by another.
        """
        now = self._pool.clock.now()
        ends_at = now + timedelta(seconds=remaining) if remaining is not None else None
        with self._lock:
            self._write(self._state.but(holder_until=now + self._pool.ttl, ends_at=ends_at))

    def drew(self, *, checkpoint: str | None, work: float, seconds: float) -> None:
        """Note what was drawn, to be written with the release: which checkpoint is loaded now,
        and how fast the host did ``work`` pixel-steps."""
        measured = work / seconds if seconds > 0 else None
        with self._lock:
            switched = checkpoint != self._state.checkpoint
            known = self._state.speed
            if measured is not None and not switched:
                known = measured if known is None else 0.7 * known + 0.3 * measured
            self._state = self._state.but(checkpoint=checkpoint, speed=known)

    def estimate(self, work: float) -> float | None:
        """How many seconds ``work`` pixel-steps will take on this host, if that is known."""
        return work / self._state.speed if self._state.speed else None

    def failed(self) -> None:
        """Note that the host failed, so that it is left alone for a while after the release."""
        self._failed = True

    def release(self) -> None:
        """Give the host back. Releasing twice, or after the lease was lost, does nothing."""
        now = self._pool.clock.now()
        with self._lock:
            if self._state.holder is None:
                return
            failures = self._state.failures + 1 if self._failed else 0
            pause = self._pool.cool_down(failures)
            free = self._state.but(
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
                self._state = self._state.but(holder=None)

    def _write(self, state: HostState) -> None:
        try:
            self._state = self._pool.write(state)
        except Stale as error:
            raise LeaseLost(self.host.name) from error


class HostPool:
    """Leases over SD hosts.

    ``ttl`` is how many seconds a lease outlives its holder's last sign of life.
    """

    def __init__(
        self, hosts: Sequence[Host], records: Records, clock: Clock, *, ttl: float = 30.0
    ) -> None:
        self.hosts = tuple(hosts)
        self.clock = clock
        self.ttl = timedelta(seconds=ttl)
        self._records = records

    def states(self) -> list[HostState]:
        """What is known of every host."""
        return [self._read(host.name) for host in self.hosts]

    def able(self, request: DrawRequest) -> list[str] | None:
        """The hosts that have what the request names; None when none of them can be asked.

        Raises what the hosts find wrong with the request when all that answer refuse it:
        UnknownCheckpoint, UnknownSampler and the like.
        """
        if not self.hosts:
            raise Misconfigured("No SD host is configured: set SD_HOSTS.")

        def ask(host: Host) -> RobotchatError | None:
            try:
                host.bot.check(request)
            except RobotchatError as error:
                return error
            return None

        with ThreadPoolExecutor(max_workers=min(len(self.hosts), 8)) as threads:
            answers = dict(zip(self.hosts, threads.map(ask, self.hosts), strict=True))
        able = [host.name for host, error in answers.items() if error is None]
        refusals = [error for error in answers.values() if isinstance(error, InvalidRequest)]
        if not able and refusals:
            raise refusals[0]
        return able or None

    @contextmanager
    def lease(
        self,
        *,
        checkpoint: str | None = None,
        among: Sequence[str] | None = None,
        avoid: Sequence[str] = (),
        work: float = 0.0,
        patience: float,
        check: Callable[[], None] = lambda: None,
    ) -> Iterator[Lease]:
        """Wait for a host, hold it, and give it back at the end.

        A free host that has ``checkpoint`` loaded is preferred. ``among`` restricts the choice
        (None: all hosts); hosts in ``avoid`` are used only when there is no other. ``work`` is
        what will be asked of the host, in pixel-steps. ``check`` is called about once a second
        while waiting, and ends the wait by what it raises. Raises
        UpstreamBusy when no host came free within ``patience`` seconds, and Misconfigured when
        there is no host at all.
        """
        lease = self._wait(checkpoint, among, avoid, work, patience, check)
        try:
            yield lease
        except UpstreamError as error:
            if error.retryable:
                lease.failed()
            raise
        finally:
            lease.release()

    def _wait(
        self,
        checkpoint: str | None,
        among: Sequence[str] | None,
        avoid: Sequence[str],
        work: float,
        patience: float,
        check: Callable[[], None],
    ) -> Lease:
        hosts = [host for host in self.hosts if among is None or host.name in among]
        if not hosts:
            raise Misconfigured("No SD host is configured: set SD_HOSTS.")
        if not all(host.name in avoid for host in hosts):
            hosts = [host for host in hosts if host.name not in avoid]
        holder = new_id("lease")
        started = self.clock.now()
        checked = started
        while True:
            now = self.clock.now()
            states = {host.name: self._read(host.name) for host in hosts}
            for name in _candidates(list(states.values()), checkpoint, now):
                lease = self._take(hosts, states[name], holder, work, now)
                if lease is not None:
                    return lease
            if now - started >= timedelta(seconds=patience):
                raise UpstreamBusy("No SD host became free in time.", retry_after=10)
            if now - checked >= timedelta(seconds=1):
                checked = now
                check()
            self.clock.sleep(_pause(list(states.values()), now))

    def _take(
        self, hosts: Sequence[Host], state: HostState, holder: str, work: float, now: datetime
    ) -> Lease | None:
        host = next(h for h in hosts if h.name == state.name)
        orphaned = state.holder is not None
        expected = timedelta(seconds=work / state.speed) if state.speed else None
        try:
            taken = self.write(
                state.but(
                    holder=holder,
                    holder_until=now + self.ttl,
                    ends_at=now + expected if expected is not None else None,
                    cool_down_until=None,
                )
            )
        except Stale:
            return None
        lease = Lease(self, host, taken)
        if orphaned:
            try:
                self._clear(lease)
            except LeaseLost:
                return None
            except UpstreamError:
                logger.warning("%s could not be cleared of a dead holder's work", host.name)
                lease.failed()
                lease.release()
                return None
        return lease

    def _clear(self, lease: Lease) -> None:
        """Stop what a dead holder left running, before the host is used for anything else."""
        driver = lease.host.bot.driver
        deadline = self.clock.now() + timedelta(seconds=CLEARING_TIMEOUT)
        while (progress := driver.progress()) is not None and not progress.idle:
            if self.clock.now() >= deadline:
                logger.warning("%s goes on with a dead holder's work", lease.host.name)
                return
            driver.interrupt()
            lease.renew()
            self.clock.sleep(0.2)

    def cool_down(self, failures: int) -> timedelta:
        """How long a host is left alone after so many failures in a row."""
        return timedelta(seconds=min(2.0**failures, 60.0) if failures else 0.0)

    def write(self, state: HostState) -> HostState:
        """Write what is known of a host. Raises Stale when another wrote it meanwhile."""
        data = state.model_dump(mode="json", exclude={"name", "version"}, exclude_none=True)
        self._records.commit(Put(Record(f"host#{state.name}", "host", data, state.version)))
        return state.but(version=state.version + 1)

    def _read(self, name: str) -> HostState:
        record = self._records.get(f"host#{name}", "host")
        if record is None:
            return HostState(name=name)
        return HostState.model_validate({**record.data, "name": name, "version": record.version})


def _candidates(states: Sequence[HostState], checkpoint: str | None, now: datetime) -> list[str]:
    """The hosts that may be taken right now, the best first."""
    loaded_somewhere = any(
        state.checkpoint == checkpoint and not state.cooling(now) for state in states
    )
    ranked: list[tuple[int, float, str]] = []
    for state in states:
        if state.held(now) or state.cooling(now):
            continue
        if checkpoint is None or state.checkpoint == checkpoint:
            rank = 0
        elif state.checkpoint is None:
            rank = 1
        else:
            patient = state.free_since is None or now - state.free_since >= SWITCH_PATIENCE
            if loaded_somewhere and not patient:
                continue
            rank = 2
        ranked.append((rank, random.random(), state.name))  # noqa: S311 - to spread the load
    return [name for _, _, name in sorted(ranked)]


def _pause(states: Sequence[HostState], now: datetime) -> float:
    """How long to wait before looking again: the shorter, the sooner a host is expected."""
    wait = min((_until_free(state, now) for state in states), default=0.25)
    return min(max(wait, 0.004), 0.5) * random.uniform(0.8, 1.2)  # noqa: S311


def _until_free(state: HostState, now: datetime) -> float:
    """A good moment, in seconds from now, to look at this host again."""
    if state.held(now):
        if state.ends_at is None:
            return 0.05
        left = (state.ends_at - now).total_seconds()
        # Close in on the expected end by thirds; when it is late, back off slowly.
        return left / 3 if left > 0 else -left / 10
    if state.cooling(now) and state.cool_down_until is not None:
        return (state.cool_down_until - now).total_seconds()
    return 0.02
