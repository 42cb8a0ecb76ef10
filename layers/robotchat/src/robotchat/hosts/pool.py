"""The pool of SD hosts: who may draw on which host, and when.

A Stable Diffusion host draws one picture at a time, keeps one checkpoint loaded, and knows of
neither callers nor queues. So there is one lease per host in the document store. Whoever wants to
draw takes the lease of the best free host, renews it while it lives, and gives it back; a lease
that is no longer renewed runs out by itself, and its host is cleared of the dead holder's work
before it is used again.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from robotchat.art.answers import Model
from robotchat.art.bot import ArtBot
from robotchat.art.matching import find_checkpoint
from robotchat.art.requests import CHECKPOINT, DrawRequest, Request
from robotchat.clock import Clock
from robotchat.errors import (
    InvalidRequest,
    Misconfigured,
    NotSupported,
    RecordTooLarge,
    RobotchatError,
    UnknownCheckpoint,
    UpstreamBusy,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
    WrongResult,
)
from robotchat.hosts.choice import Choice, Pace
from robotchat.hosts.known import Home, KnownHosts
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

ASK_PATIENCE = 3.0
"""Seconds that the other hosts have to answer a question that one host has answered."""

CLEARING_TIMEOUT = 30.0
"""Longest wait, in seconds, for a dead holder's work to stop after the interrupt."""

SPEED_BELIEVED = timedelta(seconds=5)

AHEAD_BELIEVED = timedelta(seconds=1)

ASKED_AT_ONCE = 128
"""Hosts that are asked side by side; of more, the others are asked as these answer."""

TAKEN_AT_ONCE = 3
"""Hosts that one look tries to take, one after the other, before it looks again."""

T = TypeVar("T")


@dataclass(frozen=True)
class Speed:
    """What hosts do, in pixel-steps per second, as far as it was measured."""

    each: float
    """One host, on average."""
    together: float


class HostPool:
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
        self.hosts = tuple(hosts)
        self.clock = clock
        self.ttl = timedelta(seconds=ttl)
        self._records = records
        self._pulled = pulled
        self._by_name = {host.name: host for host in self.hosts}
        self._known = KnownHosts(records, clock)
        self._found: dict[str, Home] = {}
        self._speed: tuple[datetime, Speed | None] = (clock.now(), None)
        self._noted: dict[str, Sequence[Model]] = {}
        self._ahead = threading.local()
        for host in hosts:
            host.bot.baseline.on_change = partial(self._note_options, host.name)

    def _none(self) -> RobotchatError:
        """What to say when there is no host."""
        if self._pulled:
            said = "No SD host is there at the moment: no worker beside one was seen lately."
            return UpstreamUnavailable(said, retry_after=10)
        return Misconfigured("No SD host is configured: set SD_HOSTS.")

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

    def ask(
        self, question: Callable[[ArtBot], T], *, patience: float | None = ASK_PATIENCE
    ) -> dict[str, T | RobotchatError]:
        """What each host answers to a question, or its error; see ``_ask``."""
        return self._ask(lambda host: question(host.bot), patience)

    def _ask(
        self, question: Callable[[Host], T], patience: float | None
    ) -> dict[str, T | RobotchatError]:
        """What each host answers, or its error, by name and in the hosts' order.

        They are asked side by side. Once one has answered, the others have ``patience`` seconds
        more (None: as long as it takes); who is silent then counts as UpstreamTimeout. Raises
        Misconfigured when there is no host, UpstreamUnavailable when one may come.
        """
        if not self.hosts:
            raise self._none()

        def one(host: Host) -> T | RobotchatError:
            try:
                return question(host)
            except RobotchatError as error:
                return error

        if len(self.hosts) == 1:
            return {host.name: one(host) for host in self.hosts}
        answers: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

        def put(host: Host) -> None:
            try:
                answers.put((host.name, one(host)))
            except Exception as bug:  # noqa: BLE001 - raised where the answers are read
                answers.put((host.name, bug))

        waiting: queue.SimpleQueue[Host] = queue.SimpleQueue()
        for host in self.hosts:
            waiting.put(host)

        def ask() -> None:
            with suppress(queue.Empty):
                while True:
                    put(waiting.get_nowait())

        for _ in range(min(len(self.hosts), ASKED_AT_ONCE)):
            # Threads that nobody waits for: a host that hangs must not hang whoever asked.
            threading.Thread(target=ask, daemon=True).start()
        given: dict[str, T | RobotchatError] = {}
        deadline: float | None = None
        while len(given) < len(self.hosts):
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            try:
                name, answer = answers.get(timeout=left)
            except queue.Empty:
                break
            if isinstance(answer, Exception) and not isinstance(answer, RobotchatError):
                raise answer
            given[name] = answer
            if deadline is None and patience is not None and not isinstance(answer, Exception):
                deadline = time.monotonic() + patience
        silent = UpstreamTimeout("The SD host did not answer in time.")
        return {host.name: given.get(host.name, silent) for host in self.hosts}

    def fitting(
        self, request: Request, soft: Collection[str]
    ) -> tuple[Request, dict[str, str | None], list[str]]:
        """The request, the hosts that can draw it (see ``able``), and what was left out of it.

        Left out are those of its options in ``soft``, by name, that none of the hosts takes: what
        a tenant has once set must not be the end of its every request when hosts change. Raises
        as ``able`` does for everything else.
        """
        left_out: list[str] = []
        while True:
            try:
                return request, self.able(request), left_out
            except (InvalidRequest, NotSupported) as error:
                options = dict(request.override_settings or {})
                spare = {name for name in soft if name in options and name != CHECKPOINT}
                named = (error.param or "").removeprefix("override_settings.")
                gone = spare if error.param == "override_settings" else spare & {named}
                if not gone:
                    raise
                left_out += sorted(gone)
                kept = {name: value for name, value in options.items() if name not in gone}
                request = request.model_copy(update={"override_settings": kept})

    def able(self, request: DrawRequest) -> dict[str, str | None]:
        """The hosts that can draw a request, each with its own name of the checkpoint.

        A host that does not answer counts only when none of the others is able, and only if it
        may have the checkpoint by what it had when it last answered. Raises what is wrong with
        the request when no host is left: UnknownCheckpoint, UnknownSampler and the like, and
        NotSupported; Misconfigured when there is no host at all.
        """

        def checked(host: Host) -> str | None:
            self._find_home(host)
            return host.bot.check(request).checkpoint

        self._look_up_homes()
        answers = self._ask(checked, ASK_PATIENCE)
        self._note_what_was_found()
        able = {
            name: answer for name, answer in answers.items() if not isinstance(answer, Exception)
        }
        if able:
            # A host that cannot tell what it has takes any name for one of its own.
            listing = {name for name in able if self._by_name[name].bot.known_models()}
            sure = listing if request.checkpoint else ()
            return {name: able[name] for name in sure or able}
        refusals = {
            name: error
            for name, error in answers.items()
            if isinstance(error, InvalidRequest | NotSupported)
        }
        possible: dict[str, str | None] = {}
        for host in self.hosts:
            if host.name not in refusals and self._may_have(host, request):
                possible[host.name] = None
        if possible or not refusals:
            return possible or dict.fromkeys(answers)
        raise self._refusal(list(refusals.values()), request)

    def _refusal(self, refusals: Sequence[RobotchatError], request: DrawRequest) -> RobotchatError:
        """One of the hosts' refusals, that of a host which has the checkpoint if there is one."""
        for error in refusals:
            if not isinstance(error, UnknownCheckpoint):
                return error
        models = [model for host in self.hosts for model in self._models(host) or ()]
        try:
            find_checkpoint(models, self._wanted(self.hosts[0], request) or "")
        except UnknownCheckpoint as error:
            return error
        return refusals[0]

    @staticmethod
    def _wanted(host: Host, request: DrawRequest) -> str | None:
        """The checkpoint that the host would draw with, by the name that was given for it."""
        return request.checkpoint or host.bot.get_config().checkpoint or host.bot.home

    def drawn_here(self, able: Collection[str]) -> list[str]:
        """Those of these hosts that this process can draw on."""
        return [name for name in able if self._by_name[name].here]

    def pool_for(self, able: Collection[str]) -> str | None:
        """The pool whose workers are to have a job that these hosts can draw; None: the queue of
        all jobs. A pool that has more of the hosts gets more of the jobs."""
        pools = [host.pool for host in map(self._by_name.__getitem__, able) if not host.here]
        if not pools or None in pools or self.drawn_here(able):
            return None
        return random.choice(pools)  # noqa: S311 - to spread the load

    def clear_up(self, names: Collection[str]) -> None:
        """Stop what dead holders left running on these hosts, before anybody needs them."""
        now = self.clock.now()
        for state in read_hosts(self._records, list(names)):
            if not state.held(now) and (state.holder is not None or state.doubtful):
                with suppress(UpstreamBusy), self.lease(among={state.name: None}, patience=0.0):
                    logger.info("cleared %s of a dead holder's work", state.name)

    def homes(self) -> dict[str, str | None]:
        """The checkpoint that each host draws with when none is named, as far as it is known."""

        def found(host: Host) -> str | None:
            self._find_home(host)
            return host.bot.home

        self._look_up_homes()
        answers = self._ask(found, ASK_PATIENCE)
        self._note_what_was_found()
        return {name: a if isinstance(a, str) else None for name, a in answers.items()}

    def _find_home(self, host: Host) -> None:
        """See to it that the host's home checkpoint is known: the one it had chosen when it was
        first seen. What is drawn on it later leaves other checkpoints chosen, and what one tenant
        drew with last must not decide about another's pictures."""
        if host.bot.home is not None:
            return
        before = self._known.home(host.name)
        if before is not None:
            models = host.bot.get_models()
            try:
                host.bot.home = find_checkpoint(models, before).alias
                return
            except UnknownCheckpoint:
                logger.warning("the home checkpoint of %s has gone", host.name)
        try:
            chosen = host.bot.driver.checkpoint() or ""
            home = find_checkpoint(host.bot.get_models(), chosen).alias
        except (NotSupported, UnknownCheckpoint):
            return  # a host that does not tell draws with what it has
        host.bot.home = home
        self._found[host.name] = Home(home, instead_of=before)

    def _look_up_homes(self) -> None:
        lacking = [host.name for host in self.hosts if host.bot.home is None]
        if lacking:
            self._known.look_up(lacking)

    def _note_what_was_found(self) -> None:
        """Write down the homes and the checkpoints that are news."""
        homes = {name: self._found.pop(name) for name in list(self._found)}
        models = {}
        for host in self.hosts:
            listed = host.bot.known_models()
            if listed is not None and listed is not self._noted.get(host.name):
                models[host.name] = self._noted[host.name] = listed
        if homes or models:
            try:
                self._known.note(homes, models)
            except (RecordTooLarge, InvalidRequest) as error:
                # Each process then asks the hosts itself; nobody's picture waits for that.
                logger.warning("what the hosts list cannot be noted: %s", error.message)
        for name, home in homes.items():
            if self._known.home(name) != home.checkpoint:
                self._by_name[name].bot.home = None  # another process was first: its word counts

    def _may_have(self, host: Host, request: DrawRequest) -> bool:
        """Whether a host that does not answer may have the checkpoint."""
        wanted = self._wanted(host, request)
        models = self._models(host)
        if wanted is None or models is None:
            return True
        try:
            find_checkpoint(models, wanted)
        except UnknownCheckpoint:
            return False
        return True

    def _models(self, host: Host) -> Sequence[Model] | None:
        """The checkpoints that a host had when somebody last asked it; None if nobody has."""
        known = host.bot.known_models()
        if known is not None:
            return known
        return self._known.models(host.name)

    @contextmanager
    def looking_ahead(self) -> Iterator[None]:
        """Read what is known of the hosts beside what is done meanwhile, for the lease that this
        thread takes next. A pool that is too large to be read whole is not."""
        if len(self.hosts) > LOOKED_AT:
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
    ) -> Iterator[Lease]:
        """Wait for a host, hold it, and give it back at the end.

        ``among`` restricts the choice, and tells the checkpoint that is wanted of each host (see
        ``able``; None: any host, any checkpoint); a free host that has it loaded is preferred.
        Hosts in ``avoid`` are used only when there is no other. ``work`` is what will be asked of
        the host, in pixel-steps. ``check`` is called about once a second while waiting, and ends
        the wait by what it raises. Raises UpstreamBusy when no host came free within ``patience``
        seconds, and Misconfigured when there is no host at all.
        """
        lease = self._wait(among, avoid, work, patience, check)
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
        indexed = len(self.hosts) > LOOKED_AT
        self._records.commit(Put(host_record(state, indexed=indexed)))
        return state.changed(version=state.version + 1)
