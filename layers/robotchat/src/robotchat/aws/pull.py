"""The pull worker: draws on the SD hosts beside it, and needs nothing but a way out to AWS.

It takes jobs from their queue and runs them as the worker function does, announces its hosts, and
does what it is asked to do on them by whoever cannot reach them.
"""

from __future__ import annotations

import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from robotchat.art.address import split_kind
from robotchat.art.driver import ArtDriver
from robotchat.art.workflows import Workflow
from robotchat.aws.operator import outputs
from robotchat.aws.queues import SqsJobs
from robotchat.aws.wiring import Deployment
from robotchat.aws.worker import Worker
from robotchat.clock import SystemClock
from robotchat.errors import Misconfigured, RobotchatError, UpstreamBusy, UpstreamTimeout
from robotchat.hosts import calls, pulled
from robotchat.hosts.calls import Call
from robotchat.hosts.lease import host_name
from robotchat.hosts.pulled import PulledHost, ask_for_lists
from robotchat.ids import new_id
from robotchat.periodic import Periodic

logger = logging.getLogger(__name__)

LONG_POLL = 5
"""Seconds for which the queue is asked for a message at a time; a stop waits for the end of it."""

LISTS_EVERY = 60.0
"""Seconds after which hosts are asked for their lists again, although nobody had them refreshed."""

FIRST_LOOK = 10.0
"""Longest wait, in seconds, for the hosts' first answers before the work begins."""

AFTER_AN_ERROR = 2.0
"""Seconds of rest when AWS cannot be reached."""

GRACE = 15.0
"""Seconds, at the end of the time for leaving, for what is interrupted to be given back; a third
of that time, if it is short."""

AT_THE_END = 2.0
"""Seconds that are given to questions and announcements which are under way when all is done."""

_SKEW = timedelta(seconds=2)
"""By how much AWS's clock and this machine's may seem to differ: one tells whole seconds only."""


class AwsClock(SystemClock):
    """The time as AWS has it. Leases and signs of life are judged by many machines' clocks; the
    clock of this one, which nobody may look after, must not decide who holds a host."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)
        """By how much AWS's clock is ahead of this machine's."""

    def now(self) -> datetime:
        return super().now() + self.ahead

    def watch(self, client: Any) -> None:
        """Learn from the dates of the answers that a boto3 client gets."""
        client.meta.events.register("after-call", self._compare)

    def _compare(self, http_response: Any, **_: Any) -> None:
        try:
            date = parsedate_to_datetime(http_response.headers.get("date") or "")
        except ValueError:
            return  # none, or one that a proxy has spoilt: no reason to fail the call
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)  # which is what HTTP has, whatever else is said
        ahead = date - super().now()
        if abs(ahead - self.ahead) > _SKEW:
            self.ahead = ahead if abs(ahead) > _SKEW else timedelta(0)
            logger.warning("this machine's clock is wrong by %.0f s", -self.ahead.total_seconds())


@dataclass
class _Own:
    """A host of this worker."""

    name: str
    driver: ArtDriver
    answers: bool = False
    """Whether it did when it was last asked."""
    told: Mapping[str, Any] | None = None
    """What it told of itself when it was last asked for all of it."""
    asked_at: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Whoever looks at it has this."""


class PullWorker:
    """Runs jobs on its own hosts until it is told to leave.

    ``deployment`` has ``own_hosts``. ``ahead`` is how many jobs are taken up beside those that are
    drawn, so that a host need not wait for the next one. Once it is to leave, nothing is begun any
    more, and what is being drawn has ``drain`` seconds to end before it is given back.
    """

    def __init__(
        self,
        deployment: Deployment,
        *,
        pool: str | None = None,
        ahead: int = 1,
        drain: float = 60.0,
    ) -> None:
        self.id = new_id("worker")
        self._deployment = deployment
        self._pool = pool
        self._queue: SqsJobs = deployment.job_queue.of_pool(pool)
        self._own = [_Own(name, driver) for name, driver in (deployment.own_hosts or {}).items()]
        self._ahead = ahead
        self._drain, self._grace = drain, min(GRACE, drain / 3)
        self._leaving = threading.Event()
        self._leave_by: float | None = None
        self._changed = threading.Condition()
        self._in_hand: set[threading.Thread] = set()
        self._serving: set[str] = set()
        self._announcing = threading.Lock()
        self._gone = False
        self._handle = Worker(self._queue, leaving=self._leaving.is_set, left=self._left)

    # --- the beginning and the end ----------------------------------------------------------------

    def run(self, ready: Callable[[Sequence[str]], None] = lambda names: None) -> bool:
        """Work until `leave` is called; ``ready`` is told once with the hosts that answer.

        Gives whether everything in hand was finished or given back.
        """
        with ExitStack() as stack:
            # A host that hangs must not keep the others from being announced.
            for own in self._own:
                look = (pulled.ANNOUNCED_EVERY, partial(self._look_at, own))
                stack.enter_context(Periodic(f"looking-{own.name}", look, patience=AT_THE_END))
            for name, task in (
                ("announcing", (pulled.ANNOUNCED_EVERY, self.announce)),
                ("answering", (calls.LOOKED_FOR_EVERY, self._answer)),
            ):
                stack.enter_context(Periodic(name, task, patience=AT_THE_END))
            self._begin()
            ready([own.name for own in self._own if self._is_live(own)])
            while not self._leaving.is_set():
                self._take()
            done = self._settle_up()
        try:
            with self._announcing:
                self._gone = True
                self._deployment.pulled.announce(self.id, [])
        except (RobotchatError, ClientError, BotoCoreError) as error:
            logger.warning("could not say goodbye: %s", error)  # nobody sees it, and it is gone
        return done

    def _begin(self) -> None:
        """Look at the hosts for the first time, all at once, and announce them."""
        looks = [
            threading.Thread(target=self._look_at, args=(own,), daemon=True) for own in self._own
        ]
        for look in looks:
            look.start()
        until = time.monotonic() + FIRST_LOOK
        for look in looks:
            look.join(max(until - time.monotonic(), 0.0))
        try:
            self.announce()
        except Exception:
            # AWS may be away for a moment; a machine must be able to start before its network.
            logger.exception("the hosts could not be announced")

    def leave(self, *, at_once: bool = False) -> None:
        """Begin nothing more, and end soon; ``at_once``: give back also what is being drawn."""
        left = 0.0 if at_once else self._drain - self._grace
        self._leave_by = time.monotonic() + left
        self._leaving.set()

    def _left(self) -> bool:
        return self._leave_by is not None and time.monotonic() >= self._leave_by

    def _settle_up(self) -> bool:
        """Wait for what is in hand, as long as there is time."""
        with self._changed:
            while self._in_hand:
                until = (self._leave_by or 0.0) + self._grace
                left = until - time.monotonic()
                if left <= 0:
                    logger.warning("%d jobs go back by themselves", len(self._in_hand))
                    return False
                self._changed.wait(min(left, 1.0))
        return True

    # --- jobs -------------------------------------------------------------------------------------

    def _take(self) -> None:
        """Take a message up, if there is one and a host for it."""
        with self._changed:
            if len(self._in_hand) >= self._capacity():
                self._changed.wait(1.0)
                return
        try:
            # Hidden no longer than a dead worker's job may wait.
            hidden = self._deployment.present.settings.alive.total_seconds()
            records = self._queue.receive(wait=LONG_POLL, hidden=hidden)
            if not records:
                return
            [record] = records
            if self._leaving.is_set():
                self._queue.hide(record, 0)
                return
        except (ClientError, BotoCoreError, RobotchatError) as error:
            logger.warning("the queue cannot be asked: %s", error)
            self._leaving.wait(AFTER_AN_ERROR)
            return
        thread = threading.Thread(target=self._work, args=(record,), daemon=True)
        with self._changed:
            self._in_hand.add(thread)
        thread.start()

    def _capacity(self) -> int:
        """How many jobs may be in hand. Without a host that answers: one, if nobody else has such
        a host either, so that jobs end and say why instead of waiting in vain."""
        live = sum(map(self._is_live, self._own))
        if live:
            return live + self._ahead
        others = [
            host
            for host in self._deployment.pulled.hosts()
            if host.worker != self.id and host.pool == self._pool and host.lists
        ]
        return 0 if others else 1

    def _work(self, record: Mapping[str, Any]) -> None:
        try:
            if not self._handle({"Records": [record]}, _Endless())["batchItemFailures"]:
                self._queue.done(record)
        except Exception:
            # Its message comes back, as that of a function which failed.
            logger.exception("a job was not run", extra={"message_id": record["messageId"]})
        finally:
            with self._changed:
                self._in_hand.discard(threading.current_thread())
                self._changed.notify_all()

    # --- hosts ------------------------------------------------------------------------------------

    def announce(self) -> None:
        """Let others know of the hosts, and whether they answer; see to what dead holders left."""
        with self._announcing:
            if self._gone:
                return
            self._deployment.pulled.announce(self.id, [self._announced(own) for own in self._own])
            self._deployment.pulled.look()
        live = [own.name for own in self._own if self._is_live(own)]
        self._deployment.present.robot.hosts.clear_up(live)

    def _look_at(self, own: _Own) -> None:
        """Ask a host for its lists if it is time, else whether it is there."""
        with own.lock:
            before = own.answers, own.told
            self._ask(own)
            changed = before != (own.answers, own.told)
        if changed and before[1] is not None:
            self.announce()

    def _ask(self, own: _Own) -> None:
        due = own.told is None or time.monotonic() - own.asked_at >= LISTS_EVERY
        try:
            if not due and own.told is not None:
                models = [model.model_dump() for model in own.driver.models()]
                due = models != own.told["answers"]["sdapi/v1/sd-models"]
            if due:
                own.driver.forget()
                own.told, own.asked_at = ask_for_lists(own.driver), time.monotonic()
            own.answers = True
        except RobotchatError as error:
            # Some hosts answer nothing while they draw.
            busy = isinstance(error, UpstreamTimeout | UpstreamBusy) and bool(self._in_hand)
            if own.answers and not busy:
                logger.warning("%s does not answer", own.name, extra={"code": error.code})
            own.answers = own.answers and busy

    @staticmethod
    def _is_live(own: _Own) -> bool:
        return own.told is not None and own.answers

    def _announced(self, own: _Own) -> PulledHost:
        lists, parts = "", 0
        if self._is_live(own):
            lists, parts = self._deployment.pulled.publish(own.told or {})
        now = self._deployment.clock.now()
        return PulledHost(own.name, self.id, self._pool, lists, parts, now)

    # --- what others ask for ----------------------------------------------------------------------

    def _answer(self) -> None:
        """Begin what is asked, each in a thread of its own: it may take long."""
        for call in self._deployment.calls.waiting(self.id):
            if call.id not in self._serving:
                self._serving.add(call.id)
                threading.Thread(target=self._serve, args=(call,), daemon=True).start()

    def _serve(self, call: Call) -> None:
        try:
            own = next((own for own in self._own if own.name == call.host), None)
            if own is None:
                return
            after = None
            if (call.method == "POST" and "refresh" in call.path) or call.query.get("update"):
                after = lambda: self._refreshed(own)  # noqa: E731
            self._deployment.calls.serve(call, own.driver, after=after)
        except Exception:
            logger.exception("a call was not answered", extra={"path": call.path})
        finally:
            self._serving.discard(call.id)

    def _refreshed(self, own: _Own) -> None:
        """Have everybody know the new lists before it is said that they are there."""
        with own.lock:
            own.asked_at = -LISTS_EVERY
            self._ask(own)
        self.announce()


class _Endless:
    """The context of a function that nobody stops."""

    def get_remaining_time_in_millis(self) -> float:
        return float("inf")


def own_hosts(
    given: Sequence[str], *, local: bool, workflows: Sequence[Workflow] = ()
) -> dict[str, ArtDriver]:
    """The hosts at these URLs, or ``name=URL``, by name; ``workflows`` are for those of ComfyUI.

    ``local``: as on the local stack, where a loopback address is the same host for all. Raises
    Misconfigured.
    """
    from robotchat.drivers.hosts import host_driver
    from robotchat.drivers.webui import Timeouts

    found: dict[str, ArtDriver] = {}
    for text in given:
        given_name = re.fullmatch(r"([a-z0-9-]+)=((?:[a-z-]+\+)?http.*)", text)
        named, address = given_name.groups() if given_name else ("", text)
        driver = host_driver(address, timeouts=Timeouts(answer=15.0), workflows=workflows)
        _, url = split_kind(address)
        name = named or (host_name(url) if local else pulled.own_host_name(url, _machine()))
        if not pulled.is_host(name) or name in found:
            raise Misconfigured(f"A host's name is 1 to 40 of a-z, 0-9 and -, once: {name}.")
        found[name] = driver
    return found


def _machine() -> str:
    """What tells this machine, or container, from others."""
    for path in (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id")):
        with suppress(OSError):
            if text := path.read_text().strip():
                return text
    return socket.gethostname()


# --- from the deployed stack ----------------------------------------------------------------------


def environment_of(stack: str) -> dict[str, str]:
    """The environment of a stack's worker function: what a worker elsewhere must know as well.

    Raises Unreachable.
    """
    import boto3

    name = outputs(boto3.client("cloudformation"), stack, "WorkerFunction")["WorkerFunction"]
    function = boto3.client("lambda").get_function_configuration(FunctionName=name)
    variables = (function.get("Environment") or {}).get("Variables") or {}
    return {name: value for name, value in variables.items() if value}
