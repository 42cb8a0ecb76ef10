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
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from robotchat.art.answers import Model
from robotchat.art.bot import ArtBot
from robotchat.art.matching import find_checkpoint
from robotchat.art.requests import CHECKPOINT, DrawRequest
from robotchat.clock import Clock
from robotchat.errors import (
    InvalidRequest,
    Misconfigured,
    NotSupported,
    RobotchatError,
    UnknownCheckpoint,
    UpstreamBusy,
    UpstreamError,
    UpstreamTimeout,
    WrongResult,
)
from robotchat.hosts.choice import Choice
from robotchat.hosts.lease import (
    Host,
    HostState,
    Lease,
    LeaseLost,
)
from robotchat.ids import new_id
from robotchat.records import Put, Record, Records, Retries, Stale
from robotchat.settings import Settings

logger = logging.getLogger(__name__)

ASK_PATIENCE = 3.0
"""Seconds that the other hosts have to answer a question that one host has answered."""

CLEARING_TIMEOUT = 30.0
"""Longest wait, in seconds, for a dead holder's work to stop after the interrupt."""


T = TypeVar("T")


class HostPool:
    """Leases over SD hosts.

    ``ttl`` is how many seconds a lease outlives its holder's last sign of life.
    """

    def __init__(
        self,
        hosts: Sequence[Host],
        records: Records,
        clock: Clock,
        *,
        ttl: float = Settings.lease_ttl,
    ) -> None:
        self.hosts = tuple(hosts)
        self.clock = clock
        self.ttl = timedelta(seconds=ttl)
        self._records = records
        self._remembered: dict[str, Sequence[Model]] = {}
        for host in hosts:
            host.bot.baseline.on_change = partial(self._note_options, host.name)

    def states(self) -> list[HostState]:
        """What is known of every host."""
        return [self._read(host.name) for host in self.hosts]

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
        Misconfigured when there is no host.
        """
        if not self.hosts:
            raise Misconfigured("No SD host is configured: set SD_HOSTS.")

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

        for host in self.hosts:
            # Threads that nobody waits for: a host that hangs must not hang whoever asked.
            threading.Thread(target=put, args=(host,), daemon=True).start()
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

        answers = self._ask(checked, ASK_PATIENCE)
        for host in self.hosts:
            self._remember(host)
        able = {
            name: answer for name, answer in answers.items() if not isinstance(answer, Exception)
        }
        if able:
            return able
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

    def homes(self) -> dict[str, str | None]:
        """The checkpoint that each host draws with when none is named, as far as it is known."""

        def found(host: Host) -> str | None:
            self._find_home(host)
            return host.bot.home

        answers = self._ask(found, ASK_PATIENCE)
        return {name: a if isinstance(a, str) else None for name, a in answers.items()}

    def _find_home(self, host: Host) -> None:
        """See to it that the host's home checkpoint is known: the one it had chosen when it was
        first seen. What is drawn on it later leaves other checkpoints chosen, and what one tenant
        drew with last must not decide about another's pictures."""
        if host.bot.home is not None:
            return
        record = self._records.get(f"host#{host.name}", "home")
        if record is not None:
            models = host.bot.get_models()
            try:
                host.bot.home = find_checkpoint(models, record.data["checkpoint"]).alias
                return
            except UnknownCheckpoint:
                logger.warning("the home checkpoint of %s has gone", host.name)
        try:
            chosen = str(host.bot.get_options().get(CHECKPOINT) or "")
            home = find_checkpoint(host.bot.get_models(), chosen).alias
        except (NotSupported, UnknownCheckpoint):
            return  # a host that does not tell draws with what it has
        data, version = {"checkpoint": home}, record.version if record else 0
        try:
            self._records.commit(Put(Record(f"host#{host.name}", "home", data, version)))
        except Stale:
            return  # another process was first; it is read at the next request
        host.bot.home = home

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
        record = self._records.get(f"host#{host.name}", "models")
        return [Model.model_validate(model) for model in record.data["models"]] if record else None

    def _remember(self, host: Host) -> None:
        """Write down what checkpoints a host has, when that is news, for when it is away."""
        known = host.bot.known_models()
        if known is None or known is self._remembered.get(host.name):
            return
        data = {"models": [model.model_dump(include=_MATCHED) for model in known[:_MOST_MODELS]]}
        record = self._records.get(f"host#{host.name}", "models")
        version = record.version if record else 0
        if record is None or record.data != data:
            try:
                self._records.commit(Put(Record(f"host#{host.name}", "models", data, version)))
            except Stale:
                logger.info("another process noted the checkpoints of %s", host.name)
        self._remembered[host.name] = known

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
        hosts = [host for host in self.hosts if host.name in wanted]
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
            choice = Choice(list(states.values()), wanted, now, waited=now - started)
            for name in choice.candidates():
                lease = self._take(hosts, states[name], holder, work, now, wanted[name])
                if lease is not None:
                    return lease
            left = patience - (now - started).total_seconds()
            if left <= 0:
                raise UpstreamBusy("No SD host became free in time.", retry_after=10)
            if now - checked >= timedelta(seconds=1):
                checked = now
                check()
            self.clock.sleep(min(choice.pause(), left))

    def _take(
        self,
        hosts: Sequence[Host],
        state: HostState,
        holder: str,
        work: float,
        now: datetime,
        wanted: str | None,
    ) -> Lease | None:
        host = next(h for h in hosts if h.name == state.name)
        orphaned = state.holder is not None or state.doubtful
        expected = timedelta(seconds=work / state.speed) if state.speed else None
        try:
            taken = self.write(
                state.but(
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
        while (progress := driver.progress()) is not None and not progress.idle:
            if self.clock.now() >= deadline:
                logger.warning("%s goes on with a dead holder's work", lease.host.name)
                break
            driver.interrupt()
            lease.renew()
            self.clock.sleep(0.2)
        baseline = lease.host.bot.baseline
        record = self._records.get(f"host#{lease.host.name}", "options")
        if record is not None:
            baseline.values = record.data
        baseline.restore()

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
            return

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


_MATCHED = {"title", "model_name", "hash", "sha256", "filename"}
"""What tells a checkpoint by any of its names."""

_MOST_MODELS = 1000
