"""A world in which everything that can go wrong with a job goes wrong where a test says so.

The real worker, robot, queue client and stores run in it, over a clock that tests turn. Every call
that leaves a process (a read or write of the store, a picture put, a message sent, a drawing) is a
step of that process. At any step the process can die, before or after the call has had its effect,
and at any step others can act: deliver another message, cancel, retry, delete, let time pass.

``World.watch`` sees every write of a job and collects what must never happen in ``violations``.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

import pytest

from robotchat.art.answers import Progress
from robotchat.art.capabilities import Capabilities
from robotchat.art.driver import WebuiDriver
from robotchat.art.requests import Text2ImageRequest
from robotchat.aws import worker as worker_module
from robotchat.aws.queues import SqsJobs, SqsQueue
from robotchat.aws.wiring import Deployment, serving
from robotchat.clock import Clock
from robotchat.conversation import ChatEditRequest, ChatImageRequest
from robotchat.drivers.fake import FakeArt
from robotchat.errors import RobotchatError
from robotchat.images import MemoryImages
from robotchat.jobs.job import Job, JobStatus
from robotchat.jobs.store import Jobs
from robotchat.lifecycle import run as run_module
from robotchat.lifecycle.heartbeat import Heartbeat
from robotchat.lifecycle.run_context import RunContext
from robotchat.prompt.models import Fold, PromptState
from robotchat.records import Entry, MemoryRecords, Operation, Page, Put, Record, Records
from robotchat.robot import Robot
from robotchat.settings import Settings
from tests.cases.clock import FakeClock

TENANT = "acme"
QUEUE, DEAD = "https://sqs/jobs", "https://sqs/dead"
MAX_RECEIVES = 10
SMALL = {"width": 64, "height": 64, "steps": 1}

Death = Literal["die before", "die after"]
Act = Death | Callable[[], None]
Script = Mapping[int, Act]
"""What happens at which step of a process, counted from 1."""


class Crash(BaseException):
    """The process is dead: nothing catches this, and nothing it still tries has an effect."""


class Process:
    """One run of one function."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.steps = 0
        self.dead = False
        self.heart: SteppedHeart | None = None
        self._thread = threading.current_thread()

    @contextmanager
    def step(self) -> Iterator[None]:
        if threading.current_thread() is not self._thread:
            yield  # of the threads beside the work nothing is told, lest every run is another
            return
        if self.dead:
            raise Crash
        self.steps += 1
        act = self.script.get(self.steps)
        if callable(act):
            act()
        if act == "die before":
            self.dead = True
            raise Crash
        yield
        if act == "die after":
            self.dead = True
            raise Crash


class SteppedHeart(Heartbeat):
    """A heartbeat that beats when it is told to, instead of in a thread."""

    process: Process

    def __enter__(self) -> SteppedHeart:
        self.process.heart = self
        self._renew_after = 0.0
        return self

    def __exit__(self, *_: object) -> None:
        self.process.heart = None

    def beat(self) -> None:
        """Beat now, unless the process is in the middle of something that a beat waits for."""
        lease = self._lease
        if not self._lock.locked() and (lease is None or not lease._lock.locked()):
            with suppress(Exception):  # as in its thread, the next beat tries again
                self.look()


class SteppedRecords:
    def __init__(self, process: Process, records: Records) -> None:
        self._process, self._records = process, records

    def get(self, pk: str, sk: str) -> Record | None:
        with self._process.step():
            return self._records.get(pk, sk)

    def commit(self, *operations: Operation) -> None:
        with self._process.step():
            self._records.commit(*operations)

    def query(self, *args: Any, **options: Any) -> Page:
        with self._process.step():
            return self._records.query(*args, **options)

    def get_all(self, keys: Sequence[tuple[str, str]]) -> list[Record | None]:
        with self._process.step():
            return self._records.get_all(keys)

    def entries(self, *args: Any, **options: Any) -> list[Entry]:
        with self._process.step():
            return self._records.entries(*args, **options)

    def count(self, *args: Any, **options: Any) -> int:
        with self._process.step():
            return self._records.count(*args, **options)


class SteppedImages:
    def __init__(self, process: Process, images: MemoryImages) -> None:
        self._process, self._images = process, images

    def put(self, key: str, data: bytes, content_type: str) -> None:
        with self._process.step():
            self._images.put(key, data, content_type)

    def get(self, key: str) -> bytes:
        return self._images.get(key)

    def url(self, key: str, *, expires_in: float) -> str:
        return self._images.url(key, expires_in=expires_in)

    def link_term(self, wanted: float, /) -> float:
        return self._images.link_term(wanted)

    def delete(self, prefix: str) -> None:
        with self._process.step():
            self._images.delete(prefix)


class SteppedArt(WebuiDriver):
    """An SD host, on which the steps of a drawing are those of whoever draws."""

    def __init__(self, process: Process, art: FakeArt) -> None:
        self._process, self._art = process, art
        self.base_url = None

    def txt2img(self, body: Mapping[str, Any], *, timeout: float | None = None) -> dict[str, Any]:
        with self._process.step():
            answer = self._art.txt2img(body, timeout=timeout)
        return self._drawn(answer)

    def img2img(self, body: Mapping[str, Any], *, timeout: float | None = None) -> dict[str, Any]:
        with self._process.step():
            answer = self._art.img2img(body, timeout=timeout)
        return self._drawn(answer)

    def _drawn(self, answer: dict[str, Any]) -> dict[str, Any]:
        if self._process.heart is not None:
            self._process.heart.beat()
        return answer

    def progress(self, attempt_id: str | None = None, *, preview: bool = False) -> Progress | None:
        return self._art.progress(attempt_id, preview=preview)

    def cancel(self, attempt_id: str | None = None) -> None:
        self._art.cancel(attempt_id)

    def get(self, path: str, **query: str) -> Any:
        return self._art.get(path, **query)

    def post(
        self, path: str, body: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> Any:
        return self._art.post(path, body, timeout=timeout)

    def capabilities(self, checkpoint: str | None = None) -> Capabilities:
        return self._art.capabilities(checkpoint)

    def forget(self) -> None:
        self._art.forget()


@dataclass
class Message:
    """A message in the queue; ``handle`` is that of its last delivery."""

    id: str
    body: str
    group: str | None
    visible_at: Any
    receives: int = 0
    handle: str = ""


class FakeSqs:
    """SQS as the service uses it: at least once, in any order, delays, a dead letter queue."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._numbers = itertools.count(1)
        self.messages: list[Message] = []
        self.dead: list[str] = []
        self.process: Process | None = None

    def client(self, process: Process) -> Any:
        return _SqsClient(self, process)

    def put(self, body: str, group: str | None = None, delay: float = 0) -> Message:
        message = Message(f"m{next(self._numbers)}", body, group, self._clock.now())
        message.visible_at = _later(self._clock, delay)
        self.messages.append(message)
        return message

    def visible(self) -> list[Message]:
        return [m for m in self.messages if m.visible_at <= self._clock.now()]

    def receive(self, message: Message) -> dict[str, Any] | None:
        """A delivery of the message as Lambda gets it; None when it went to the dead ones."""
        message.receives += 1
        if message.receives > MAX_RECEIVES:
            self.messages.remove(message)
            self.dead.append(message.body)
            return None
        message.handle = f"h{next(self._numbers)}"
        message.visible_at = _later(self._clock, 900)
        attributes = {"ApproximateReceiveCount": str(message.receives)}
        if message.group is not None:
            attributes["MessageGroupId"] = message.group
        return {
            "messageId": message.id,
            "receiptHandle": message.handle,
            "body": message.body,
            "attributes": attributes,
        }

    def delete(self, handle: str) -> None:
        self.messages = [m for m in self.messages if m.handle != handle]

    def hide(self, handle: str, seconds: float) -> None:
        for message in self.messages:
            if message.handle == handle:
                message.visible_at = _later(self._clock, seconds)


class _SqsClient:
    """The part of boto3's client that is used, as steps of a process."""

    def __init__(self, sqs: FakeSqs, process: Process) -> None:
        self._sqs, self._process = sqs, process

    def send_message(
        self,
        QueueUrl: str,
        MessageBody: str,
        DelaySeconds: int = 0,
        MessageGroupId: str | None = None,
        MessageAttributes: Any = None,
    ) -> None:
        with self._process.step():
            if QueueUrl == DEAD:
                self._sqs.dead.append(MessageBody)
            else:
                assert 0 <= DelaySeconds <= 900
                self._sqs.put(MessageBody, MessageGroupId, DelaySeconds)

    def change_message_visibility(
        self, QueueUrl: str, ReceiptHandle: str, VisibilityTimeout: int
    ) -> None:
        with self._process.step():
            self._sqs.hide(ReceiptHandle, VisibilityTimeout)

    def get_queue_attributes(self, QueueUrl: str, AttributeNames: Any) -> dict[str, Any]:
        return {"Attributes": dict.fromkeys(AttributeNames, str(len(self._sqs.visible())))}


def _later(clock: Clock, seconds: float) -> Any:
    return clock.now() + timedelta(seconds=seconds)


class Words:
    """Strings together what was said."""

    def write(
        self, current: PromptState | None, message: str, *, editing: bool, earlier: object = None
    ) -> tuple[Fold, Literal["llm", "fallback"]]:
        so_far = current.prompt if current else ""
        prompt = f"{so_far} {message}".strip()
        return Fold(mode="edit" if editing else "generate", prompt=prompt), "fallback"

    def describe(self, image: str) -> None:
        """It sees nothing."""


class _Context:
    def get_remaining_time_in_millis(self) -> int:
        return 900_000


class _Silent:
    """The worker's log."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **more: None


@dataclass
class World:
    """All of it. ``records`` is the store below; ``close`` undoes what was patched."""

    records: Records
    hosts: int = 2
    clock: FakeClock = field(default_factory=FakeClock)
    violations: list[str] = field(default_factory=list)
    retried: set[str] = field(default_factory=set)
    jobs_seen: dict[str, Job] = field(default_factory=dict)
    orphaned: bool = False
    """A process died that has no message: only the sweeper can go on with what it began."""

    def __post_init__(self) -> None:
        self.sqs = FakeSqs(self.clock)
        self.images = MemoryImages()
        self.arts = [FakeArt() for _ in range(self.hosts)]
        self.settings = Settings(
            max_attempts=3, retry_base=1.0, jobs_queue_url=QUEUE, dead_letter_queue_url=DEAD
        )
        self.processes: list[Process] = []
        self.robots: list[Robot] = []
        self._first: dict[str, list[str]] = {}
        self._patch = pytest.MonkeyPatch()
        patch = self._patch.setattr
        patch(worker_module, "logger", _Silent)
        patch(run_module, "Heartbeat", self._heart)
        self.watched = _Watched(self)
        # The same client without steps: for looking at things, and for what cannot fail here.
        self.calm = self._robot(Process({}))

    def close(self) -> None:
        self._patch.undo()

    # --- processes --------------------------------------------------------------------------------

    def _robot(self, process: Process) -> Robot:
        return Robot(
            art={f"host-{n}": SteppedArt(process, art) for n, art in enumerate(self.arts)},
            writer=Words(),  # type: ignore[arg-type]
            records=SteppedRecords(process, self.watched),
            images=SteppedImages(process, self.images),
            queue=SqsJobs(self.sqs.client(process), QUEUE),
            settings=self.settings,
            clock=self.clock,
        )

    def _heart(self, *args: Any, **options: Any) -> Heartbeat:
        heart = SteppedHeart(*args, **options)
        heart.process = self.processes[-1]
        return heart

    @contextmanager
    def process(self, script: Script) -> Iterator[Robot]:
        """A robot in a process of its own; while it is there, it is the present one."""
        process = Process(script)
        robot = self._robot(process)
        client = self.sqs.client(process)
        deployment = Deployment(
            self.settings,
            records=MemoryRecords(),  # only the configuration is in it
            robot=robot,
            job_queue=robot.queue,
            dead_letters=SqsQueue(client, DEAD),
        )
        self.processes.append(process)
        self.robots.append(robot)
        try:
            with serving(deployment):
                yield robot
        finally:
            self.processes.pop()
            self.robots.pop()

    def call(self, script: Script, what: Callable[[Robot], Any]) -> Any:
        """A request to the API: its answer, its error, or None when its process died."""
        with self.process(script) as robot:
            try:
                return what(robot)
            except Crash:
                self.orphaned = True
                return None
            except RobotchatError as error:
                return error

    # --- what happens -----------------------------------------------------------------------------

    def submit(
        self, message: str, conversation_id: str | None, *, key: str | None, script: Script
    ) -> Any:
        request = ChatImageRequest(
            message=message, conversation_id=conversation_id, settings=dict(SMALL)
        )
        return self.call(
            script, lambda r: r.submit_chat_image(request, tenant=TENANT, idempotency_key=key)
        )

    def edit(self, message: str, conversation_id: str, *, script: Script) -> Any:
        request = ChatEditRequest(message=message, conversation_id=conversation_id)
        return self.call(script, lambda r: r.submit_chat_image(request, tenant=TENANT))

    def produce(self, message: str, conversation_id: str | None) -> None:
        """A producer puts a message on the queue."""
        body = {"kind": "chat_text2image", "tenant": TENANT, "message": message, "settings": SMALL}
        if conversation_id is not None:
            body["conversation_id"] = conversation_id
        self.sqs.put(json.dumps(body))

    def draw_now(self, key: str, script: Script) -> Any:
        """Text2Image, whose caller waits. The same key must never give two pictures."""
        request = Text2ImageRequest(prompt=key, **SMALL)
        ends = self.clock.now() + timedelta(seconds=900)
        context = RunContext(time_left=lambda: (ends - self.clock.now()).total_seconds())
        answer = self.call(
            script,
            lambda r: r.text2image(request, tenant=TENANT, idempotency_key=key, context=context),
        )
        if isinstance(answer, Job):
            seen = [image.sha256 for image in answer.images]
            if answer.images and self._first.setdefault(key, seen) != seen:
                self.violations.append(f"{key} was drawn twice, to its caller's eye")
        return answer

    def deliver(self, message: Message, script: Script, *, acknowledge: bool = True) -> None:
        """Lambda gets a message, and acknowledges it unless that is lost."""
        record = self.sqs.receive(message)
        if record is None:
            return
        with self.process(script):
            try:
                answer = worker_module.Worker()({"Records": [record]}, _Context())
            except Crash:
                return
            except RobotchatError:
                return
        if not answer["batchItemFailures"] and acknowledge:
            self.sqs.delete(record["receiptHandle"])

    def cancel(self, job_id: str, script: Script) -> Any:
        return self.call(script, lambda r: r.cancel(job_id, tenant=TENANT))

    def retry(self, job_id: str, script: Script) -> Any:
        self.retried.add(job_id)
        return self.call(script, lambda r: r.retry(job_id, tenant=TENANT))

    def delete(self, job_id: str, script: Script) -> Any:
        return self.call(script, lambda r: r.delete_job(job_id, tenant=TENANT))

    def delete_conversation(self, conversation_id: str, script: Script) -> Any:
        return self.call(script, lambda r: r.delete_conversation(conversation_id, tenant=TENANT))

    def sweep(self, script: Script) -> None:
        with self.process(script) as robot:
            try:
                robot.sweeper.sweep()
                robot.sweeper.delete_expired()
            except Crash:
                self.orphaned = True

    # --- what must be so --------------------------------------------------------------------------

    def jobs(self) -> list[Job]:
        """Every job, as it is."""
        found = (self.calm.jobs.find(job_id) for job_id in list(self.jobs_seen))
        return [job for job in found if job is not None]

    def watch(self, before: Job | None, after: Job) -> None:
        """A job was written."""
        self.jobs_seen[after.id] = after
        if before is not None and before.status.final:
            self._check_final(before, after)
        if after.status is JobStatus.RUNNING and (
            before is None or before.attempt != after.attempt or before.status != after.status
        ):
            self._check_order(after)
        if after.attempt > after.max_attempts:
            self.violations.append(f"{after.id} had {after.attempt} attempts")

    def _check_final(self, before: Job, after: Job) -> None:
        if after.status is not before.status:
            allowed = before.status in (JobStatus.FAILED, JobStatus.EXPIRED)
            again = after.status is JobStatus.QUEUED and (after.id in self.retried or after.inline)
            if not (allowed and again):
                self.violations.append(f"{after.id}: {before.status} became {after.status}")
        elif (before.images, before.prompt) != (after.images, after.prompt) and not after.deleted:
            self.violations.append(f"{after.id}: the result changed after the end")

    def _check_order(self, job: Job) -> None:
        if job.id in self.retried:
            return
        for other in self.jobs_seen.values():
            if (
                other.conversation_id == job.conversation_id is not None
                and (other.turn or 0) < (job.turn or 0)
                and not other.status.final
                and other.id not in self.retried
            ):
                self.violations.append(f"turn {job.turn} started before turn {other.turn} ended")

    def check(self) -> None:
        """What holds at any moment."""
        assert self.violations == [], self.violations
        for job in self.jobs():
            for image in job.images:
                data = self.images.get(image.key)
                assert hashlib.sha256(data).hexdigest() == image.sha256, "a file was overwritten"

    def drain(self, *, at_most: int = 400) -> None:
        """Deliver whatever is in the queue, as its time comes, until there is nothing."""
        for _ in range(at_most):
            if not self.sqs.messages:
                return
            visible = self.sqs.visible()
            if visible:
                self.deliver(visible[0], {})
            else:
                soonest = min(m.visible_at for m in self.sqs.messages)
                self.clock.advance((soonest - self.clock.now()).total_seconds())
        raise AssertionError(f"the queue does not empty: {self.sqs.messages}")

    def check_end(self) -> None:
        """Once everything works again, every job ends, by its messages alone or by the sweeper."""
        self.drain()
        sweeps = 15 if self.orphaned else 0
        for _ in range(sweeps):
            if all(job.status.final for job in self.jobs()):
                break
            self.clock.advance(600)
            self.sweep({})
            self.drain()
        unfinished = [job for job in self.jobs() if not job.status.final]
        assert unfinished == [], [(j.id, j.status, j.reason, j.inline) for j in unfinished]
        self.check()


class _Watched:
    """The store below, with an eye on what is written of jobs."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.get = world.records.get
        self.query = world.records.query
        self.get_all = world.records.get_all
        self.entries = world.records.entries
        self.count = world.records.count

    def commit(self, *operations: Operation) -> None:
        puts = [op.record for op in operations if isinstance(op, Put) and op.record.sk == "job"]
        before = {r.pk: self._world.records.get(r.pk, r.sk) for r in puts}
        self._world.records.commit(*operations)
        for record in puts:
            earlier = before[record.pk]
            job = Jobs.read(record)
            self._world.watch(Jobs.read(earlier) if earlier else None, job)
