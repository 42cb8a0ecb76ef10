"""What the store is asked for a picture does not grow with the number of hosts."""

from __future__ import annotations

import json
import random
import statistics
from datetime import timedelta
from functools import partial

import pytest

from robotchat.art.bot import ArtBot
from robotchat.art.requests import Text2ImageRequest
from robotchat.conversation import ChatImageRequest
from robotchat.drivers.fake import FakeArt
from robotchat.errors import UpstreamBusy, UpstreamUnavailable
from robotchat.hosts.lease import Host
from robotchat.hosts.pool import HostPool
from robotchat.lifecycle.heartbeat import Heartbeat
from robotchat.lifecycle.queue_messages import accept
from robotchat.robot import Robot
from tests.cases.clock import FakeClock
from tests.cases.counted import CountedRecords
from tests.cases.limits import HeldQueue

SIZES = [1, 10, 100, 1000]
CHECKPOINTS = ("alpha.safetensors", "beta.safetensors", "gamma.safetensors")

many_sizes = pytest.mark.parametrize("size", SIZES)


@pytest.fixture(autouse=True)
def no_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """They go by the clock on the wall, of which a thousand hosts in one process take their time:
    what they cost is not a matter of the number of hosts."""
    monkeypatch.setattr(Heartbeat, "look", lambda heart: None)


class Fleet:
    """Pools of several processes over as many hosts, and what they ask of the store."""

    def __init__(self, size: int) -> None:
        self.clock = FakeClock()
        self.records = CountedRecords()
        self.arts = {f"sd-{number:04d}": FakeArt(checkpoints=CHECKPOINTS) for number in range(size)}

    def pool(self) -> HostPool:
        hosts = [Host(name, ArtBot(art)) for name, art in self.arts.items()]
        return HostPool(hosts, self.records, self.clock)

    def robot(self) -> Robot:
        return Robot(art=self.arts, records=self.records, clock=self.clock)

    def wanting(self, checkpoint: str | None) -> dict[str, str | None]:
        return dict.fromkeys(self.arts, checkpoint)

    def use(self, pool: HostPool, checkpoint: str | None = None, *, seconds: float = 1.0) -> str:
        with pool.lease(among=self.wanting(checkpoint), work=100, patience=60) as lease:
            self.clock.advance(seconds)
            lease.drew(checkpoint=checkpoint, work=100, seconds=seconds)
            return lease.host.name


@many_sizes
def test_text2image_takes_at_most_ten_requests(size: int) -> None:
    fleet = Fleet(size)
    robot = fleet.robot()
    robot.text2image(Text2ImageRequest(prompt="a beach"))  # and notes what the hosts have
    for _ in range(3):
        fleet.records.reset()
        robot.text2image(Text2ImageRequest(prompt="a beach"))
        assert fleet.records.total <= 10, fleet.records.requests
    other_process = fleet.robot()
    for checkpoint in CHECKPOINTS:
        fleet.records.reset()
        options = {"sd_model_checkpoint": checkpoint}
        other_process.text2image(Text2ImageRequest(prompt="a beach", override_settings=options))
        assert fleet.records.total <= 11, "one more, once: what is known of the hosts"


@many_sizes
def test_a_first_chat_turn_takes_at_most_twelve_requests(size: int) -> None:
    fleet = Fleet(size)
    robot = fleet.robot()
    robot.submit_chat_image(ChatImageRequest(message="a beach"))
    fleet.records.reset()
    robot.submit_chat_image(ChatImageRequest(message="a beach"))
    assert fleet.records.total <= 12, fleet.records.requests


@many_sizes
def test_a_first_turn_by_the_queue_takes_at_most_twelve_requests(size: int) -> None:
    """From a producer's message to the stored picture: taken in by one process, run by another."""
    fleet = Fleet(size)
    queue = HeldQueue()
    intake, worker = (
        Robot(
            art=fleet.arts,
            records=fleet.records,
            clock=fleet.clock,
            queue=queue,
        )
        for _ in range(2)
    )

    def turn(number: int) -> None:
        conversation = worker.conversations.create("acme")
        message = {
            "kind": "chat_text2image",
            "tenant": "acme",
            "job_id": f"job_{number:020d}",
            "conversation_id": conversation.id,
            "message": "a beach",
        }
        fleet.records.reset()
        accept(intake.intake, json.dumps(message), message_id="")
        assert worker.run(queue.sent.pop()).status == "succeeded"

    turn(0)
    for number in range(1, 4):
        turn(number)
        assert fleet.records.total <= 12, fleet.records.requests


def all_busy(fleet: Fleet, *, ends_in: float | None = None) -> HostPool:
    """Every host is held by somebody, each for so many seconds, if that is known."""
    pool, now = fleet.pool(), fleet.clock.now()
    ends_at = now + timedelta(seconds=ends_in) if ends_in is not None else None
    for state in pool.states():
        until = now + timedelta(seconds=30)
        pool.write(state.changed(holder="somebody", holder_until=until, ends_at=ends_at))
    return pool


@many_sizes
@pytest.mark.parametrize("known", [True, False], ids=["ends known", "ends unknown"])
def test_who_waits_long_asks_at_most_four_times_a_second(size: int, known: bool) -> None:
    fleet = Fleet(size)
    all_busy(fleet, ends_in=5.0 if known else None)
    fleet.records.reset()
    patience = 29.0
    with pytest.raises(UpstreamBusy), fleet.pool().lease(patience=patience):
        raise AssertionError("two holders")
    assert fleet.records.total <= 4 * patience


@many_sizes
def test_a_released_host_is_taken_within_thirty_milliseconds(size: int) -> None:
    """One waits while a host that ends about when it is expected to is given back."""
    delays = []
    dice = random.Random(size)  # noqa: S311
    for _ in range(11):
        fleet = Fleet(size)
        first = all_busy(fleet)
        chosen = dice.choice(list(fleet.arts))
        state = next(s for s in first.states() if s.name == chosen)
        end = fleet.clock.now() + timedelta(seconds=dice.uniform(2.0, 12.0))
        expected = end + timedelta(seconds=dice.uniform(-0.1, 0.1))
        state = first.write(state.changed(ends_at=expected))
        free = state.changed(holder=None, holder_until=None, ends_at=None, free_since=end)
        fleet.clock.on(end, partial(first.write, free))
        with fleet.pool().lease(patience=60) as lease:
            assert lease.host.name == chosen
            delays.append((fleet.clock.now() - end).total_seconds())
    assert statistics.median(delays) <= 0.03


@pytest.mark.parametrize("size", [10, 100, 1000])
def test_the_loaded_checkpoint_is_found_among_many_free_hosts(size: int) -> None:
    fleet = Fleet(size)
    homes = {name: fleet.use(fleet.pool(), name) for name in CHECKPOINTS}
    assert len(set(homes.values())) == 3
    for _ in range(min(size, 30)):
        fleet.use(fleet.pool(), "another")
    for _ in range(3):
        assert {name: fleet.use(fleet.pool(), name) for name in CHECKPOINTS} == homes


@pytest.mark.parametrize("size", [10, 100])
def test_a_large_pool_gives_all_its_hosts_and_each_once(size: int) -> None:
    fleet = Fleet(size)
    pool = fleet.pool()
    holders = [pool.lease(patience=60) for _ in range(size)]
    names = {holder.__enter__().host.name for holder in holders}
    assert names == set(fleet.arts)
    for holder in holders:
        holder.__exit__(None, None, None)
    again = [fleet.pool().lease(patience=60) for _ in range(size)]
    assert {holder.__enter__().host.name for holder in again} == names


def test_in_a_large_pool_a_dead_holders_host_is_taken_over() -> None:
    fleet = Fleet(40)
    pool = all_busy(fleet)
    dead = pool.states()[7].name
    for step in range(5):
        fleet.clock.advance(9)
        for state in pool.states():
            if state.name != dead:
                pool.write(state.changed(holder_until=fleet.clock.now() + timedelta(seconds=30)))
        if step < 2:
            with pytest.raises(UpstreamBusy), fleet.pool().lease(patience=0):
                raise AssertionError("two holders")
    with fleet.pool().lease(patience=1) as lease:
        assert lease.host.name == dead


def test_in_a_large_pool_a_failed_host_is_left_alone_and_then_tried() -> None:
    fleet = Fleet(20)
    pool = fleet.pool()
    keepers = []
    for _ in range(19):
        keepers.append(pool.lease(patience=0))
        keepers[-1].__enter__()
    used = []

    def fail() -> None:
        with pool.lease(patience=5) as last:
            used.append(last.host.name)
            raise UpstreamUnavailable("refused")

    with pytest.raises(UpstreamUnavailable):
        fail()
    with pytest.raises(UpstreamBusy), pool.lease(patience=0.5):
        raise AssertionError("used too early")
    with pool.lease(patience=10) as lease:
        assert [lease.host.name] == used


def test_in_a_large_pool_hosts_to_be_avoided_are_avoided() -> None:
    fleet = Fleet(40)
    pool = fleet.pool()
    for _ in range(40):
        fleet.use(pool)
    avoid = list(fleet.arts)[:39]
    for _ in range(5):
        with pool.lease(avoid=avoid, patience=5) as lease:
            assert lease.host.name not in avoid


def test_a_free_host_behind_a_page_of_others_is_found() -> None:
    """The host that is wanted has been free the shortest; sixty others come before it."""
    fleet = Fleet(100)
    pool = fleet.pool()
    names = list(fleet.arts)
    for name in names[:80]:
        with pool.lease(among={name: None}, patience=0):
            fleet.clock.advance(1)
    wanted = dict.fromkeys(names[60:80])
    with pool.lease(among=wanted, patience=10) as lease:
        assert lease.host.name in wanted


@many_sizes
def test_a_queued_job_is_read_with_three_requests(size: int) -> None:
    fleet = Fleet(size)
    robot = Robot(art=fleet.arts, records=fleet.records, clock=fleet.clock, queue=HeldQueue())
    for _ in range(3):
        fleet.use(robot.hosts)
    jobs = [robot.submit_image(Text2ImageRequest(prompt="a beach")) for _ in range(3)]
    fleet.records.reset()
    job = robot.jobs.get(jobs[-1].id, jobs[-1].tenant)
    foreseen = robot.estimate(job)
    assert fleet.records.total <= 3
    assert foreseen
    assert foreseen.position == 3
