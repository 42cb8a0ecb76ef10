"""Many SD hosts asked side by side: what they have, and which of them can draw a request.

A few hosts are all asked. Of many, those that were seen to have the same checkpoints speak for one
another: some of each kind are asked, and as long as they agree their word is good for all of it.
The host that a job then takes is asked itself before. So the questions do not grow with the number
of hosts, and where hosts of a kind turn out to differ each is asked as before.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Collection, Hashable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
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
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from robotchat.hosts.known import Home, KnownHosts
from robotchat.hosts.lease import Host
from robotchat.hosts.view import LOOKED_AT
from robotchat.periodic import InThread
from robotchat.records import Records

logger = logging.getLogger(__name__)

ASK_PATIENCE = 3.0
"""Seconds that the other hosts have to answer a question that one host has answered."""

ASKED_AT_ONCE = 128
"""Hosts that are asked side by side; of more, the others are asked as these answer."""

SPOKESMEN = 4
"""Hosts of a kind that are asked what it can draw, where there are many."""

ASKED_ITSELF = timedelta(minutes=1)
"""How long nobody speaks for a host of which others said what was not so."""

MOST_MISTAKEN = 3
"""So many such hosts, and each host of the pool is asked itself."""

ASKED_WHO_HAVE_NOT = timedelta(minutes=5)
"""How often, in a process, those are asked of which others say that they lack a checkpoint."""

_DISAGREED = UpstreamUnavailable("Hosts of one kind do not say the same.")

T = TypeVar("T")
_Answer = str | RobotchatError | None
"""What a host says to a request: its name of the checkpoint, or what is wrong."""


class Mistaken(Exception):
    """A host cannot draw what others of its kind said that it could. Ask again who can."""


class AskedHosts:
    """SD hosts, and what they say. ``pulled``: that they come and go with the workers beside
    them."""

    def __init__(
        self, hosts: Sequence[Host], records: Records, clock: Clock, *, pulled: bool = False
    ) -> None:
        self.hosts = tuple(hosts)
        self.clock = clock
        self._pulled = pulled
        self._by_name = {host.name: host for host in self.hosts}
        self._known = KnownHosts(records, clock)
        self._found: dict[str, Home] = {}
        self._noted: dict[str, Sequence[Model]] = {}
        self._mistaken: dict[str, datetime] = {}
        self._asked_those = clock.now()

    @property
    def many(self) -> bool:
        """Whether these are too many to read, or to ask, every one of them for each request."""
        return len(self.hosts) > LOOKED_AT

    def _none(self) -> RobotchatError:
        """What to say when there is no host."""
        if self._pulled:
            said = "No SD host is there at the moment: no worker beside one was seen lately."
            return UpstreamUnavailable(said, retry_after=10)
        return Misconfigured("No SD host is configured: set SD_HOSTS.")

    def ask(
        self, question: Callable[[ArtBot], T], *, patience: float | None = ASK_PATIENCE
    ) -> dict[str, T | RobotchatError]:
        """What each host answers to a question, or its error; see ``_ask``."""
        return self._ask(lambda host: question(host.bot), patience, self.hosts)

    def _ask(
        self, question: Callable[[Host], T], patience: float | None, hosts: Sequence[Host]
    ) -> dict[str, T | RobotchatError]:
        """What each of these hosts answers, or its error, by name and in the same order.

        They are asked side by side. Once one has answered, the others have ``patience`` seconds
        more (None: as long as it takes), and all of them no more if they are only some of the pool;
        who is silent then counts as UpstreamTimeout. Raises
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
            return {host.name: one(host) for host in hosts}
        answers: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

        def put(host: Host) -> None:
            try:
                answers.put((host.name, one(host)))
            except Exception as bug:  # noqa: BLE001 - raised where the answers are read
                answers.put((host.name, bug))

        waiting: queue.SimpleQueue[Host] = queue.SimpleQueue()
        for host in hosts:
            waiting.put(host)

        def ask() -> None:
            with suppress(queue.Empty):
                while True:
                    put(waiting.get_nowait())

        for _ in range(min(len(hosts), ASKED_AT_ONCE)):
            # Threads that nobody waits for: a host that hangs must not hang whoever asked.
            threading.Thread(target=ask, daemon=True).start()
        given: dict[str, T | RobotchatError] = {}
        deadline: float | None = None
        if patience is not None and len(hosts) < len(self.hosts):
            deadline = time.monotonic() + patience  # others may have an answer
        while len(given) < len(hosts):
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
        return {host.name: given.get(host.name, silent) for host in hosts}

    def fitting(
        self, request: Request, soft: Collection[str], *, each: bool = False
    ) -> tuple[Request, dict[str, str | None], list[str]]:
        """The request, the hosts that can draw it (see ``able``), and what was left out of it.

        Left out are those of its options in ``soft``, by name, that none of the hosts takes: what
        a tenant has once set must not be the end of its every request when hosts change. Raises
        as ``able`` does for everything else.
        """
        left_out: list[str] = []
        while True:
            try:
                return request, self.able(request, each=each), left_out
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

    def able(self, request: DrawRequest, *, each: bool = False) -> dict[str, str | None]:
        """The hosts that can draw a request, each with its own name of the checkpoint.

        Where there are many, some of them are there by the word of others of their kind: have the
        one that is to draw ``make_sure``, or ask ``each``. A host that does not answer counts only
        when none of the others is able, and only if it may have the checkpoint by what it had when
        it last answered. Raises what is wrong with the request when no host is left:
        UnknownCheckpoint, UnknownSampler and the like, and NotSupported; Misconfigured when there
        is no host at all.
        """
        self._look_up_homes()
        answers, spoken_for = self._answers(request, each=each)
        able = {
            name: answer for name, answer in answers.items() if not isinstance(answer, Exception)
        }
        if able:
            # A host that cannot tell what it has takes any name for one of its own.
            listing = {n for n in able if n in spoken_for or self._by_name[n].bot.known_models()}
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
            return possible or dict.fromkeys(host.name for host in self.hosts)
        raise self._refusal(list(refusals.values()), request)

    def make_sure(self, name: str, request: DrawRequest, checkpoint: str | None) -> None:
        """Have a host say for itself that it can draw a request, with the checkpoint by the name
        that others gave for it. Raises Mistaken if it cannot, has another, or does not answer; then
        nobody speaks for it for a while."""
        host = self._by_name[name]
        asked = InThread(f"sure of {name}", lambda: self._checkpoint_of(host, request))
        try:
            if asked.done_within(ASK_PATIENCE):
                own = asked.result()
                if checkpoint is None or own == checkpoint:
                    return
        except RobotchatError as error:
            logger.info("%s cannot draw what others said: %s", name, error.code)
        self._mistaken[name] = self.clock.now() + ASKED_ITSELF
        raise Mistaken(name)

    def _checkpoint_of(self, host: Host, request: DrawRequest) -> str | None:
        """A host's name of the checkpoint for a request. Raises what is wrong with that there."""
        self._find_home(host)
        return host.bot.check(request).checkpoint

    def _checked(self, request: DrawRequest, hosts: Sequence[Host]) -> dict[str, _Answer]:
        answers = self._ask(lambda host: self._checkpoint_of(host, request), ASK_PATIENCE, hosts)
        self._note_what_was_found()
        return answers

    def _answers(
        self, request: DrawRequest, *, each: bool
    ) -> tuple[dict[str, _Answer], Collection[str]]:
        """What each host says to a request, and for which of them others of their kind said it.

        All that spoke for a kind must have said the same: how they would call the checkpoint, or
        that they do not have it; and somebody must have it. For any doubt all are asked, and now
        and then those of which others say that they do not have it: it may have come to them.
        """
        kinds = [[host] for host in self.hosts] if each else self._kinds(request)
        asked = [host for kind in kinds for host in self._some_of(kind)]
        answers = self._checked(request, asked)
        by_word: dict[str, _Answer] = {}
        doubtful = not any(self._has(request, host, answers[host.name]) for host in asked)
        for kind in kinds:
            word = _agreed([answers[host.name] for host in kind if host.name in answers])
            doubtful |= len(kind) > SPOKESMEN and _doubtful(word)
            by_word |= {host.name: word for host in kind if host.name not in answers}
        doubted = [host for host in self.hosts if host.name in by_word]
        if not doubtful:
            against = [host for host in doubted if not _good(by_word[host.name])]
            doubted = against if against and self._time_to_ask_those() else []
        elif by_word and not any(map(_told, answers.values())):
            doubted = list(self.hosts)  # with the time that it takes until one of them answers
        answers |= self._checked(request, doubted) if doubted else {}
        return by_word | answers, by_word.keys() - answers.keys()

    def _has(self, request: DrawRequest, host: Host, answer: _Answer) -> bool:
        """Whether a host can draw a request, and does not only take any name for one of its own."""
        listed = host.bot.known_models() or ()
        return _good(answer) and (
            not request.checkpoint or any(model.alias == answer for model in listed)
        )

    def _time_to_ask_those(self) -> bool:
        now = self.clock.now()
        due = now - self._asked_those >= ASKED_WHO_HAVE_NOT
        if due:
            self._asked_those = now
        return due

    def _kinds(self, request: DrawRequest) -> Sequence[Sequence[Host]]:
        """The hosts by what they had when somebody last asked them, and by the checkpoint that
        they would draw with; each by itself where there are few, if nobody has asked it, or if
        others were mistaken about it. So are those that this process draws on, where these are
        few among those of others."""
        now = self.clock.now()
        mistaken = {name for name, until in list(self._mistaken.items()) if now < until}
        if not self.many or len(mistaken) >= MOST_MISTAKEN:
            return [[host] for host in self.hosts]
        here = [host for host in self.hosts if host.here]
        alone = mistaken | {host.name for host in here if len(here) <= LOOKED_AT}
        kinds: dict[Hashable, list[Host]] = {}
        for host in self.hosts:
            kind = None if host.name in alone else self._known.kind(host.name)
            key = host.name if kind is None else (kind, self._wanted(host, request))
            kinds.setdefault(key, []).append(host)
        return list(kinds.values())

    @staticmethod
    def _some_of(kind: Sequence[Host]) -> Sequence[Host]:
        """Those of a kind that are asked: of many a few, first who has told what it has already."""
        if len(kind) <= SPOKESMEN:
            return kind
        told = [host for host in kind if host.bot.known_models() is not None]
        some = random.sample(told, min(SPOKESMEN, len(told)))
        others = [host for host in kind if host not in some]
        return [*some, *random.sample(others, SPOKESMEN - len(some))]

    def _refusal(self, refusals: Sequence[RobotchatError], request: DrawRequest) -> RobotchatError:
        """One of the hosts' refusals, that of a host which has the checkpoint if there is one."""
        for error in refusals:
            if not isinstance(error, UnknownCheckpoint):
                return error
        models = {model.title: model for host in self.hosts for model in self._models(host) or ()}
        try:
            find_checkpoint(list(models.values()), self._wanted(self.hosts[0], request) or "")
        except UnknownCheckpoint as error:
            return error
        return refusals[0]

    def _wanted(self, host: Host, request: DrawRequest) -> str | None:
        """The checkpoint that the host would draw with, by the name that was given for it."""
        named = request.checkpoint or host.bot.get_config().checkpoint
        return named or host.bot.home or self._known.home(host.name)

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

    def homes(self) -> dict[str, str | None]:
        """The checkpoint that each host draws with when none is named, as far as it is known."""

        def found(host: Host) -> str | None:
            self._find_home(host)
            return host.bot.home

        self._look_up_homes()
        known = {host.name: self._known.home(host.name) for host in self.hosts if self.many}
        answers: dict[str, Any] = dict(known)
        lacking = [host for host in self.hosts if known.get(host.name) is None]
        if lacking or not self.hosts:
            answers |= self._ask(found, ASK_PATIENCE, lacking)
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
        popped = {name: self._found.pop(name, None) for name in list(self._found)}
        homes = {name: home for name, home in popped.items() if home is not None}
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


def _good(answer: object) -> bool:
    return not isinstance(answer, Exception)


def _told(answer: _Answer) -> bool:
    """Whether the host has answered, be it that it does not have a function."""
    return not isinstance(answer, UpstreamError) or isinstance(answer, NotSupported)


def _doubtful(word: _Answer) -> bool:
    return isinstance(word, Exception) and not isinstance(word, UnknownCheckpoint)


def _agreed(said: Sequence[_Answer]) -> _Answer:
    """What all that answered say, or an error other than UnknownCheckpoint if they differ."""
    told = [one for one in said if _told(one)]
    words = {type(one) if isinstance(one, Exception) else one for one in told}
    return told[0] if len(words) == 1 else _DISAGREED
