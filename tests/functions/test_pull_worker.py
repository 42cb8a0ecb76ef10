"""The pull worker: jobs come by the queue, hosts are announced, and no function reaches one."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from robotchat.art.answers import Progress, ProgressState
from robotchat.art.requests import Text2ImageRequest
from robotchat.aws import pull, wiring
from robotchat.aws.health import health
from robotchat.aws.pull import AwsClock, PullWorker
from robotchat.aws.wiring import Deployment
from robotchat.clock import SystemClock
from robotchat.drivers.fake import FakeArt
from robotchat.errors import Misconfigured, UnknownCheckpoint, UpstreamUnavailable
from robotchat.hosts import calls
from robotchat.hosts.pulled import PulledHost, ask_for_lists
from robotchat.images import MemoryImages
from robotchat.jobs.job import Job, JobStatus
from robotchat.records import MemoryRecords
from robotchat.robot import Robot
from robotchat.settings import Settings

SMALL = {"prompt": "a beach", "steps": 2, "width": 64, "height": 64}
PATIENCE = 30.0

T = TypeVar("T")


class Queue:
    """A queue of jobs, and those of pools. What is received is hidden until it is let go."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self.waiting: list[dict[str, Any]] = []
        self.hidden: dict[str, dict[str, Any]] = {}
        self.pools: dict[str, Queue] = {}

    def of_pool(self, pool: str | None) -> Queue:
        return self if pool is None else self.pools.setdefault(pool, Queue())

    def backlog(self) -> int:
        return len(self.waiting)

    def counts(self) -> SimpleNamespace:
        return SimpleNamespace(waiting=len(self.waiting), delayed=0, in_work=len(self.hidden))

    def send(self, job: Job, *, delay: float = 0.0) -> None:
        self.of_pool(job.pool).send_again(json.dumps({"job_id": job.id}), group=job.tenant)

    def send_again(
        self, body: str, *, group: str | None, request_id: str | None = None, delay: float = 0.0
    ) -> None:
        number = str(next(self._numbers))
        record = {
            "messageId": number,
            "receiptHandle": number,
            "body": body,
            "attributes": {"MessageGroupId": group, "ApproximateReceiveCount": "1"},
            "messageAttributes": {},
        }
        with self._changed:
            self.waiting.append(record)
            self._changed.notify_all()

    def receive(self, *, wait: int, hidden: float) -> list[dict[str, Any]]:
        with self._changed:
            self._changed.wait_for(lambda: self.waiting, 0.05)
            if not self.waiting:
                return []
            record = self.waiting.pop(0)
            self.hidden[record["receiptHandle"]] = record
            return [record]

    def hide(self, record: Mapping[str, Any], seconds: float) -> None:
        if seconds == 0:
            with self._changed:
                self.waiting.append(self.hidden.pop(record["receiptHandle"]))

    def done(self, record: Mapping[str, Any]) -> None:
        del self.hidden[record["receiptHandle"]]


class Company:
    """A service in the cloud, and workers beside hosts, over the same stores."""

    def __init__(self) -> None:
        self.stores: dict[str, Any] = {
            "records": MemoryRecords(),
            "images": MemoryImages(),
            "job_queue": Queue(),
        }
        self._time = itertools.count(0.0, 100.0)
        self.cloud = Deployment(
            Settings(max_attempts=2, pull=True),
            hosts={},
            monotonic=lambda: next(self._time),
            **self.stores,
        )

    @property
    def queue(self) -> Queue:
        queue: Queue = self.stores["job_queue"]
        return queue

    @property
    def robot(self) -> Robot:
        """That of a function, which looks anew what hosts there are."""
        self.cloud.pulled.look()
        return self.cloud.present.robot

    def deployment(self, **hosts: FakeArt) -> Deployment:
        settings = Settings(retry_base=0.01)
        return Deployment(settings, own_hosts=hosts, **self.stores)

    @contextmanager
    def working(self, deployment: Deployment, **options: Any) -> Iterator[PullWorker]:
        """A worker until the end, at which it is told to leave at once."""
        ready, ended = threading.Event(), threading.Event()
        with wiring.serving(deployment):
            worker = PullWorker(deployment, **options)

            def run() -> None:
                worker.run(lambda names: ready.set())
                ended.set()

            thread = threading.Thread(target=run, daemon=True)
            thread.start()
            assert ready.wait(PATIENCE)
            try:
                yield worker
            finally:
                if not ended.is_set():
                    worker.leave(at_once=True)
                thread.join(PATIENCE)
                assert ended.is_set()

    def finished(self, job: Job) -> Job:
        return until(
            lambda: self.robot.jobs.get(job.id, job.tenant), lambda found: found.status.final
        )


def until(look: Callable[[], T], good: Callable[[T], bool]) -> T:
    """What is seen as soon as it is good. Fails when it does not become so."""
    clock = SystemClock()
    deadline = clock.now() + timedelta(seconds=PATIENCE)
    while True:
        seen = look()
        if good(seen):
            return seen
        assert clock.now() < deadline, f"it stayed {seen}"
        clock.sleep(0.02)


class Slow:
    """A host's drawing that lasts until it is let go or interrupted."""

    def __init__(self, art: FakeArt) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self._art = art
        art.now = Progress(progress=0.5, eta_relative=1.0)
        art.interrupted.clear()
        art.enqueue([self._draw])

    def _draw(self, body: dict[str, Any]) -> dict[str, Any]:
        self.begun.set()
        until(lambda: self.go_on.is_set() or self._art.interrupted.is_set(), bool)
        self._art.now = Progress()
        return self._art.drawn(body)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "LOOKED_FOR_EVERY", 0.02)


@pytest.fixture
def company() -> Company:
    return Company()


def test_text2image_is_queued_drawn_by_the_worker_and_answered(company: Company) -> None:
    art = FakeArt()
    with company.working(company.deployment(gpu=art)):
        job = company.robot.text2image(Text2ImageRequest(**SMALL))
        assert job.host == "gpu"
        assert not job.inline
        image = company.robot.drawing(job).images[0]
        assert (image.width, image.height) == (64, 64)
    assert company.queue.counts().waiting == company.queue.counts().in_work == 0


def test_without_a_worker_there_is_no_host_and_with_one_there_is(company: Company) -> None:
    with pytest.raises(UpstreamUnavailable, match="No SD host is there"):
        company.robot.submit_image(Text2ImageRequest(**SMALL))
    with company.working(company.deployment(gpu=FakeArt())):
        assert [state.name for state in company.robot.hosts.states()] == ["gpu"]
        with pytest.raises(UnknownCheckpoint):
            company.robot.submit_image(Text2ImageRequest(**SMALL).with_checkpoint("other"))
    assert company.robot.hosts.states() == [], "it said goodbye"


def test_a_host_that_does_not_answer_its_worker_is_away_like_any_other(company: Company) -> None:
    away = FakeArt()
    away.answers["sdapi/v1/sd-models"] = UpstreamUnavailable("away")
    with company.working(company.deployment(away=away, gpu=FakeArt())) as worker:
        request = Text2ImageRequest(**SMALL)
        assert list(company.robot.hosts.able(request)) == ["gpu"]
        away.answers["sdapi/v1/sd-models"] = FakeArt().answers["sdapi/v1/sd-models"]
        worker._look_at(worker._own[0])
        worker.announce()
        assert list(company.robot.hosts.able(request)) == ["away", "gpu"]


def test_when_no_host_answers_jobs_end_and_say_why(company: Company) -> None:
    away = FakeArt()
    away.answers["sdapi/v1/sd-models"] = UpstreamUnavailable("away")
    away.enqueue([UpstreamUnavailable("away")] * 5)
    with company.working(company.deployment(away=away)):
        job = company.robot.submit_image(Text2ImageRequest(**SMALL))
        done = company.finished(job)
    assert done.error is not None
    assert (done.status, done.error.code) == (JobStatus.FAILED, "upstream_unavailable")


def test_a_worker_without_a_host_leaves_jobs_to_one_that_has(company: Company) -> None:
    away = FakeArt()
    away.answers["sdapi/v1/sd-models"] = UpstreamUnavailable("away")
    good = company.deployment(gpu=FakeArt())
    good.pulled.announce("far", [_announced(good, "gpu", FakeArt(), pool=None)])
    with company.working(company.deployment(away=away)) as worker:
        assert worker._capacity() == 0
    good.pulled.announce("far", [])
    good.pulled.look()
    with company.working(company.deployment(away=away)) as worker:
        assert worker._capacity() == 1


def test_a_refresh_reaches_the_host_and_its_news_are_known_at_once(company: Company) -> None:
    art = FakeArt()
    art.answers["sdapi/v1/refresh-checkpoints"] = None
    with company.working(company.deployment(gpu=art)):
        assert len(company.robot.catalog.get_models()) == 1
        more = FakeArt(checkpoints=["fake.safetensors", "new.safetensors"])
        art.answers["sdapi/v1/sd-models"] = more.answers["sdapi/v1/sd-models"]
        robot = company.robot
        robot.catalog.refresh_models()
        assert "sdapi/v1/refresh-checkpoints" in art.calls
        assert [m.title for m in robot.catalog.get_models()] == [
            "fake.safetensors",
            "new.safetensors",
        ]


def test_tools_run_on_the_host_while_it_draws_nothing(company: Company) -> None:
    art = FakeArt()
    art.answers["sdapi/v1/interrogate"] = {"caption": "a beach"}
    with company.working(company.deployment(gpu=art)):
        robot = company.robot
        with robot.hosts.lease(patience=5) as lease:
            assert lease.host.bot.interrogate("aGVsbG8=") == "a beach"


def test_a_cancel_reaches_the_worker(company: Company) -> None:
    art = FakeArt()
    slow = Slow(art)
    with company.working(company.deployment(gpu=art)):
        job = company.robot.submit_image(Text2ImageRequest(**SMALL))
        assert slow.begun.wait(PATIENCE)
        company.robot.cancel(job.id)
        assert company.finished(job).status is JobStatus.CANCELED
        assert art.interrupted.is_set()


def test_an_interrupt_reaches_the_worker(company: Company) -> None:
    art = FakeArt()
    slow = Slow(art)
    with company.working(company.deployment(gpu=art)):
        job = company.robot.submit_image(Text2ImageRequest(**SMALL))
        assert slow.begun.wait(PATIENCE)
        until(
            lambda: company.robot.jobs.get(job.id, job.tenant),
            lambda seen: seen.reason is None and seen.status is JobStatus.RUNNING,
        )
        company.robot.webui_api.interrupt(job.tenant, job_id=job.id)
        done = company.finished(job)
        assert done.status is JobStatus.SUCCEEDED
        assert done.interrupted


def test_what_is_drawn_when_it_must_leave_is_finished(company: Company) -> None:
    art = FakeArt()
    slow = Slow(art)
    with company.working(company.deployment(gpu=art), drain=60.0) as worker:
        drawing = company.robot.submit_image(Text2ImageRequest(**SMALL))
        assert slow.begun.wait(PATIENCE)
        worker.leave()
        waiting = company.robot.submit_image(Text2ImageRequest(**SMALL))
        slow.go_on.set()
        assert company.finished(drawing).status is JobStatus.SUCCEEDED
    assert not art.interrupted.is_set()
    left = company.robot.jobs.get(waiting.id, waiting.tenant)
    assert left.status is JobStatus.QUEUED
    assert company.queue.counts().waiting == 1, "it is for another worker"


def test_what_is_not_drawn_in_time_is_given_back_and_not_counted(company: Company) -> None:
    art = FakeArt()
    slow = Slow(art)
    with company.working(company.deployment(gpu=art)) as worker:
        job = company.robot.submit_image(Text2ImageRequest(**SMALL))
        assert slow.begun.wait(PATIENCE)
        worker.leave(at_once=True)
    assert art.interrupted.is_set()
    left = company.robot.jobs.get(job.id, job.tenant)
    assert (left.status, left.attempt) == (JobStatus.QUEUED, 0)
    assert company.queue.counts().waiting == 1
    assert company.queue.counts().in_work == 0
    with company.working(company.deployment(gpu=FakeArt())):
        assert company.finished(job).status is JobStatus.SUCCEEDED


def test_a_host_of_two_workers_has_one_image_at_a_time(company: Company) -> None:
    art = FakeArt()
    lock = threading.Lock()
    together: list[bool] = []

    def alone(body: dict[str, Any]) -> dict[str, Any]:
        free = lock.acquire(blocking=False)
        together.append(not free)
        SystemClock().sleep(0.01)
        if free:
            lock.release()
        return art.drawn(body)

    art.enqueue([alone] * 12)
    one, other = company.deployment(gpu=art), company.deployment(gpu=art)
    with company.working(one), company.working(other):
        jobs = [company.robot.submit_image(Text2ImageRequest(**SMALL)) for _ in range(12)]
        for job in jobs:
            assert company.finished(job).status is JobStatus.SUCCEEDED
    assert together == [False] * 12


def test_a_job_goes_to_the_pool_whose_hosts_can_draw_it(company: Company) -> None:
    big = company.deployment(big=FakeArt(checkpoints=["big.safetensors"]))
    with company.working(big, pool="large"):
        job = company.robot.submit_image(Text2ImageRequest(**SMALL).with_checkpoint("big"))
        assert job.pool == "large"
        assert company.finished(job).host == "big"


def test_a_job_that_came_to_the_wrong_worker_is_handed_over(company: Company) -> None:
    small, big = (
        FakeArt(checkpoints=["small.safetensors"]),
        FakeArt(checkpoints=["big.safetensors"]),
    )
    with company.working(company.deployment(big=big), pool="large"):
        job = company.robot.submit_image(Text2ImageRequest(**SMALL).with_checkpoint("big"))
        done = company.finished(job)
    assert done.pool == "large"
    # Its host is gone; a job that was accepted for it goes by the queue of all jobs.
    mine = company.deployment(small=small)
    mine.pulled.announce("far", [_announced(mine, "big", big)])
    queued = company.robot.submit_image(Text2ImageRequest(**SMALL).with_checkpoint("big"))
    stray = company.robot.jobs.change(queued.id, lambda j, now: j.model_copy(update={"pool": None}))
    company.queue.send(stray)
    with company.working(mine):
        moved = until(
            lambda: company.robot.jobs.get(stray.id, stray.tenant),
            lambda seen: seen.pool == "large",
        )
    assert (moved.status, moved.attempt) == (JobStatus.QUEUED, 0)
    assert small.requests == []


def _announced(
    deployment: Deployment, name: str, art: FakeArt, pool: str | None = "large"
) -> PulledHost:
    lists, parts = deployment.pulled.publish(ask_for_lists(art))
    now = deployment.clock.now()
    return PulledHost(name, "far", pool, lists, parts, now)


def test_a_dead_holders_work_is_cleared_by_the_worker_beside_the_host(company: Company) -> None:
    art = FakeArt()
    art.now = Progress(state=ProgressState(job_count=1))
    deployment = company.deployment(gpu=art)
    pool = deployment.present.robot.hosts
    state = pool.states()[0]
    past = deployment.clock.now() - timedelta(seconds=1)
    pool.write(state.changed(holder="dead", holder_until=past))

    def stop(attempt_id: str | None = None) -> None:
        art.interrupted.set()
        art.now = Progress()

    art.cancel = stop  # type: ignore[method-assign]
    with company.working(deployment):
        until(lambda: pool.states()[0], lambda seen: seen.holder is None)
    assert art.interrupted.is_set()


def test_the_clock_is_that_of_aws() -> None:
    clock, told = AwsClock(), SystemClock()

    def answered(ahead: float) -> None:
        date = format_datetime(told.now() + timedelta(seconds=ahead), usegmt=True)
        clock._compare(SimpleNamespace(headers={"date": date}))

    for ahead in (3600.0, -500.0, 0.0):
        answered(ahead)
        off = (clock.now() - told.now()).total_seconds() - ahead
        assert abs(off) <= 2.5
    assert clock.ahead == timedelta(0)


@pytest.mark.parametrize("date", [None, "", "soon", "{0}, {0}", "not GMT: {0}"])
def test_a_date_that_a_proxy_has_spoilt_does_not_fail_the_call(date: str | None) -> None:
    clock = AwsClock()
    now = format_datetime(SystemClock().now(), usegmt=True)
    clock._compare(SimpleNamespace(headers={"date": date and date.format(now)}))
    assert clock.ahead == timedelta(0)


def test_a_date_without_its_zone_is_utc() -> None:
    clock = AwsClock()
    later = SystemClock().now().replace(tzinfo=None) + timedelta(hours=1)
    clock._compare(SimpleNamespace(headers={"date": format_datetime(later)}))
    assert abs(clock.ahead - timedelta(hours=1)) < timedelta(seconds=3)


@pytest.mark.parametrize("given", [["http://a:1", "http://a:1"], ["Big_One=http://a:1"], ["a"]])
def test_hosts_that_cannot_be_are_refused(given: Sequence[str]) -> None:
    with pytest.raises(Misconfigured):
        pull.own_hosts(given, local=False)


def test_hosts_may_be_given_names() -> None:
    assert list(pull.own_hosts(["gpu-7=http://192.168.1.5:7860"], local=False)) == ["gpu-7"]


def test_health_tells_of_pulled_hosts_and_when_they_were_seen(company: Company) -> None:
    deployment = company.deployment(gpu=FakeArt())
    with company.working(deployment, pool="large"):
        company.cloud.pulled.look()
        with wiring.serving(company.cloud):
            (host,) = health().hosts
    assert (host.name, host.pool) == ("gpu", "large")
    assert host.seen_at is not None
