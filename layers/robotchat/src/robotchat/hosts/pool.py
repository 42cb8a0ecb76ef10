"""The pool of SD hosts: who may draw on which host, and when.

A Stable Diffusion host draws one picture at a time, keeps one checkpoint loaded, and knows of
neither callers nor queues. So there is one lease per host in the document store. Whoever wants to
draw takes the lease of the best free host, renews it while it lives, and gives it back; a lease
that is no longer renewed runs out by itself, and its host is cleared of the dead holder's work
before it is used again.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from robotchat.art.requests import DrawRequest
from robotchat.clock import Clock
from robotchat.errors import (
    InvalidRequest,
    RecordTooLarge,
    RobotchatError,
    UpstreamBusy,
    UpstreamError,
    WrongResult,
)
from robotchat.hosts.asking import AskedHosts
from robotchat.hosts.choice import Choice, Pace
from robotchat.hosts.lease import (
    Host,
    HostState,
    Lease,
    LeaseLost,
)
from robotchat.hosts.view import LOOKED_AT, View, host_record, read_hosts
from robotchat.ids import new_id
from robotchat.periodic import InThread
from robotchat.records import Put, Record, Records, Retries, Stale
from robotchat.settings import Settings

logger = logging.getLogger(__name__)

CLEARING_TIMEOUT = 30.0
"""Longest wait, in seconds, for a dead holder's work to stop after the interrupt."""

SPEED_BELIEVED = timedelta(seconds=5)

AHEAD_BELIEVED = timedelta(seconds=1)

TAKEN_AT_ONCE = 3
"""Hosts that one look tries to take, one after the other, before it looks again."""


@dataclass(frozen=True)
class Speed:
    """What hosts do, in pixel-steps per second, as far as it was measured."""

    each: float
    """One host, on average."""
    together: float


class HostPool(AskedHosts):
    """Leases over SD hosts.

    ``ttl`` is how many seconds a lease outlives its holder's last sign of life. ``pulled``: that
    hosts come and go with the workers beside them.
    """

    def __init__(
        self,
        hosts: Sequence[Host],
        records: Records,
        clock: Clock,
        *,
        ttl: float = Settings.lease_ttl,
        pulled: bool = False,
    ) -> None:
        super().__init__(hosts, records, clock, pulled=pulled)
        self.ttl = timedelta(seconds=ttl)
        self._records = records
        self._speed: tuple[datetime, Speed | None] = (clock.now(), None)
        self._ahead = threading.local()
        for host in hosts:
            host.bot.baseline.on_change = partial(self._note_options, host.name)

    def states(self) -> list[HostState]:
        """What is known of every host; for people: it reads them all."""
        return read_hosts(self._records, list(self._by_name))

    def speed(self) -> Speed | None:
        """How fast the hosts are; None if nothing was measured yet.

        Some of them stand for all, when there are many: it is one request, and its answer is
        believed for a while.
        """
        until, speed = self._speed
        if self.clock.now() >= until:
            speed = self._measured_speed()
            self._speed = (self.clock.now() + SPEED_BELIEVED, speed)
        return speed

    def _measured_speed(self) -> Speed | None:
        names = list(self._by_name)
        if len(names) > LOOKED_AT:
            names = random.sample(names, LOOKED_AT)
        measured = [state.speed for state in read_hosts(self._records, names) if state.speed]
        if not measured:
            return None
        all_of_them = sum(measured) * len(self.hosts) / len(names)
        return Speed(sum(measured) / len(measured), all_of_them)

    def clear_up(self, names: Collection[str]) -> None:
        """Stop what dead holders left running on these hosts, before anybody needs them."""
        now = self.clock.now()
        for state in read_hosts(self._records, list(names)):
            if not state.held(now) and (state.holder is not None or state.doubtful):
                with suppress(UpstreamBusy), self.lease(among={state.name: None}, patience=0.0):
                    logger.info("cleared %s of a dead holder's work", state.name)

    @contextmanager
    def looking_ahead(self) -> Iterator[None]:
        """Read what is known of the hosts beside what is done meanwhile, for the lease that this
        thread takes next. A pool that is too large to be read whole is not."""
        if self.many:
            yield
            return
        read = partial(read_hosts, self._records, list(self._by_name))
        ahead = InThread("hosts", read)
        self._ahead.found = (self.clock.now(), ahead)
        try:
            yield
        finally:
            ahead.done_within(None)

    def _seen_ahead(self, wanted: Collection[str]) -> list[HostState]:
        found: tuple[datetime, InThread[list[HostState]]] | None
        found = self._ahead.__dict__.pop("found", None)
        if found is None or self.clock.now() - found[0] > AHEAD_BELIEVED:
            return []
        return [state for state in found[1].result() if state.name in wanted]

    @contextmanager
    def lease(
        self,
        *,
        among: Mapping[str, str | None] | None = None,
        avoid: Sequence[str] = (),
        work: float = 0.0,
        patience: float,
        check: Callable[[], None] = lambda: None,
        request: DrawRequest | None = None,
    ) -> Iterator[Lease]:
        """Wait for a host, hold it, and give it back at the end.

        ``among`` restricts the choice, and tells the checkpoint that is wanted of each host (see
        ``able``; None: any host, any checkpoint); a free host that has it loaded is preferred.
        Hosts in ``avoid`` are used only when there is no other. ``work`` is what will be asked of
        the host, in pixel-steps. ``check`` is called about once a second while waiting, and ends
        the wait by what it raises. ``request`` is what is going to be drawn: where not every host
        was asked whether it can, the one that is to be taken is. Raises Mistaken if that cannot,
        UpstreamBusy when no host came free within ``patience`` seconds, and Misconfigured when
        there is no host at all.
        """
        lease = self._wait(among, avoid, work, patience, check, request if self.many else None)
        try:
            yield lease
        except UpstreamError as error:
            # A wrong result is of one request; a sound request of another would not meet it.
            lease.failed(error.code, pause=error.retryable and not isinstance(error, WrongResult))
            raise
        finally:
            lease.release()

    def _wait(
        self,
        among: Mapping[str, str | None] | None,
        avoid: Sequence[str],
        work: float,
        patience: float,
        check: Callable[[], None],
        request: DrawRequest | None,
    ) -> Lease:
        wanted = dict.fromkeys(host.name for host in self.hosts) if among is None else among
        wanted = {name: checkpoint for name, checkpoint in wanted.items() if name in self._by_name}
        if not wanted:
            raise self._none()
        if not all(name in avoid for name in wanted):
            wanted = {name: c for name, c in wanted.items() if name not in avoid}
        holder = new_id("lease")
        started = self.clock.now()
        checked = started
        view, pace, spent = View(self._records, wanted), Pace(started), 0

        def choose(seen: Sequence[HostState]) -> Choice:
            states.update({state.name: state for state in seen})
            return Choice(
                list(states.values()),
                wanted,
                now,
                waited=now - started,
                loaded=view.loaded,
                expected=view.expected,
            )

        now, states = started, dict[str, HostState]()
        # What was seen ahead may be old by now: it is good for a host that is still free.
        choice = choose(self._seen_ahead(wanted) or view.with_checkpoint())
        while True:
            if not choice.has_best():
                choice = choose(view.look(now))
            if not choice.has_best():
                choice = choose(view.unused())
            for name in choice.candidates()[:TAKEN_AT_ONCE]:
                if request is not None:
                    self.make_sure(name, request, wanted[name])
                    now = self.clock.now()
                spent += 1
                lease = self._take(states[name], holder, work, now, wanted[name])
                if lease is not None:
                    return lease
                view.forget(name)
            left = patience - (now - started).total_seconds()
            if left <= 0:
                raise UpstreamBusy("No SD host became free in time.", retry_after=10)
            if now - checked >= timedelta(seconds=1):
                checked = now
                check()
            pause = pace.pause(choice, now, spent=spent + view.spent())
            self.clock.sleep(min(pause, left))
            spent, now, states = 0, self.clock.now(), {}
            choice = choose(())

    def _take(
        self,
        state: HostState,
        holder: str,
        work: float,
        now: datetime,
        wanted: str | None,
    ) -> Lease | None:
        host = self._by_name[state.name]
        orphaned = state.holder is not None or state.doubtful
        if orphaned and not host.here:
            return None  # the worker beside it clears it
        expected = timedelta(seconds=work / state.speed) if state.speed else None
        try:
            taken = self.write(
                state.changed(
                    holder=holder,
                    holder_until=now + self.ttl,
                    ends_at=now + expected if expected is not None else None,
                    cool_down_until=None,
                    # Already now, so that others see where it is going to be.
                    checkpoint=wanted or state.checkpoint,
                )
            )
        except Stale:
            return None
        lease = Lease(self, host, taken, before=state.checkpoint)
        # Another process may have seen to what this one could not.
        host.bot.baseline.doubtful = orphaned
        if orphaned:
            try:
                self._clear(lease)
            except LeaseLost:
                return None
            except UpstreamError as error:
                logger.warning("%s could not be cleared of a dead holder's work", host.name)
                lease.failed(error.code, pause=True)
                lease.release()
                return None
        return lease

    def _clear(self, lease: Lease) -> None:
        """Stop what a dead holder left running, and take back the options that it left set, before
        the host is used for anything else."""
        driver = lease.host.bot.driver
        deadline = self.clock.now() + timedelta(seconds=CLEARING_TIMEOUT)
        while driver.busy():
            if self.clock.now() >= deadline:
                logger.warning("%s goes on with a dead holder's work", lease.host.name)
                break
            driver.cancel()
            lease.renew()
            self.clock.sleep(0.2)
        baseline = lease.host.bot.baseline
        record = self._records.get(f"host#{lease.host.name}", "options")
        if record is not None:
            baseline.values = record.data
        baseline.restore()

    def options(self) -> dict[str, dict[str, Any] | RobotchatError]:
        """Each host's options, or its error, without those that a request overrides right now:
        what one caller draws with is nobody else's business."""
        before = {state.name: state for state in self.states()}
        answers = self.ask(lambda bot: bot.get_options())
        now = self.clock.now()
        for state in self.states():
            shown = answers[state.name]
            quiet = not state.held(now) and state.version == before[state.name].version
            if quiet or isinstance(shown, RobotchatError):
                continue
            record = self._records.get(f"host#{state.name}", "options")
            own = record.data if record else {}
            answers[state.name] = {**shown, **{n: own[n] for n in shown.keys() & own.keys()}}
        return answers

    def _note_options(self, name: str, values: dict[str, Any]) -> None:
        """Write down a host's options, so that whoever finds it with others can put them back."""
        retries = Retries()
        while True:
            record = self._records.get(f"host#{name}", "options")
            if record is not None and record.data == values:
                return
            version = record.version if record else 0
            try:
                self._records.commit(Put(Record(f"host#{name}", "options", values, version)))
            except Stale:
                retries.spend()
                continue
            except (RecordTooLarge, InvalidRequest) as error:
                logger.warning("the options of %s cannot be noted: %s", name, error.message)
            return

    def cool_down(self, failures: int) -> timedelta:
        """How long a host is left alone after so many failures in a row."""
        return timedelta(seconds=min(2.0**failures, 60.0) if failures else 0.0)

    def write(self, state: HostState) -> HostState:
        """Write what is known of a host. Raises Stale when another wrote it meanwhile."""
        self._records.commit(Put(host_record(state, indexed=self.many)))
        return state.changed(version=state.version + 1)
