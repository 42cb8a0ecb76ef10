"""What SD hosts are asked for a picture does not grow with their number, and what a few of them
say for all is made sure of by the host that draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from robotchat.art.bot import ArtBot
from robotchat.art.requests import Text2ImageRequest
from robotchat.drivers.fake import FakeArt
from robotchat.errors import (
    RobotchatError,
    UnknownCheckpoint,
    UnknownSampler,
    UpstreamUnavailable,
)
from robotchat.hosts.asking import ALL_ASKED_AGAIN, SILENT, SPOKESMEN
from robotchat.hosts.lease import Host
from robotchat.hosts.pool import HostPool
from robotchat.jobs.job import JobStatus
from robotchat.records import MemoryRecords
from robotchat.robot import Robot
from tests.cases.clock import FakeClock
from tests.cases.limits import HeldQueue

MODELS = "sdapi/v1/sd-models"
SAMPLERS = "sdapi/v1/samplers"
BEACH = Text2ImageRequest(prompt="a beach")


class Farm:
    """Many hosts, of which the store knows what they had when all of them were asked."""

    def __init__(self, size: int, *checkpoints: str) -> None:
        self.clock = FakeClock()
        self.records = MemoryRecords()
        names = checkpoints or ("alpha.safetensors", "beta.safetensors")
        self.arts = {f"sd-{number:04d}": FakeArt(checkpoints=names) for number in range(size)}
        self.pool().able(BEACH)
        self.reset()

    def reset(self) -> None:
        for art in self.arts.values():
            art.calls.clear()

    def asked(self) -> set[str]:
        return {name for name, art in self.arts.items() if art.calls}

    def pool(self) -> HostPool:
        """The pool of another process."""
        hosts = [Host(name, ArtBot(art)) for name, art in self.arts.items()]
        return HostPool(hosts, self.records, self.clock)

    def robot(self, **parts: Any) -> Robot:
        return Robot(art=self.arts, records=self.records, clock=self.clock, **parts)

    def all_but(self, *names: str) -> list[FakeArt]:
        return [art for name, art in self.arts.items() if name not in names]

    def drew(self) -> list[str]:
        return [name for name, art in self.arts.items() if art.requests]


def with_checkpoint(name: str) -> Text2ImageRequest:
    return BEACH.with_checkpoint(name)


def away(art: FakeArt) -> None:
    for path in (MODELS, SAMPLERS, "sdapi/v1/options"):
        art.answers[path] = UpstreamUnavailable("The SD host cannot be reached.")


@pytest.mark.parametrize("request_", [BEACH, with_checkpoint("beta")], ids=["home", "named"])
@pytest.mark.parametrize("size", [20, 1000])
def test_a_few_hosts_are_asked_and_all_are_able(size: int, request_: Text2ImageRequest) -> None:
    farm = Farm(size)
    pool = farm.pool()
    able = pool.able(request_)
    assert able.keys() == farm.arts.keys()
    expected = "beta.safetensors" if request_.checkpoint else "alpha.safetensors"
    assert set(able.values()) == {expected}
    assert len(farm.asked()) == SPOKESMEN
    before = farm.asked()
    pool.able(request_)
    assert farm.asked() == before, "who has told already is asked again"
    assert len(pool.homes()) == size
    assert farm.asked() == before


def test_few_hosts_are_all_asked() -> None:
    farm = Farm(16)
    farm.pool().able(BEACH)
    assert len(farm.asked()) == 16


def test_the_host_that_draws_is_asked_itself_and_only_it() -> None:
    farm = Farm(100)
    robot = farm.robot()
    for _ in range(3):
        robot.text2image(BEACH)
    assert len(farm.asked()) <= SPOKESMEN + len(farm.drew())


def test_hosts_of_several_kinds_each_have_somebody_who_speaks() -> None:
    farm = Farm(60)
    rare = FakeArt(checkpoints=("gamma.safetensors",))
    farm.arts["sd-0042"] = rare
    farm.pool().able(BEACH)  # its list is asked for with those of the others that are not known
    farm.clock.advance(ALL_ASKED_AGAIN.total_seconds())
    assert farm.pool().able(with_checkpoint("gamma")) == {"sd-0042": "gamma.safetensors"}
    farm.reset()
    assert farm.pool().able(with_checkpoint("gamma")) == {"sd-0042": "gamma.safetensors"}
    assert len(farm.asked()) == SPOKESMEN + 1


def test_a_checkpoint_that_has_come_to_one_host_of_many_is_found() -> None:
    farm = Farm(100)
    new = FakeArt(checkpoints=("alpha.safetensors", "beta.safetensors", "new.safetensors"))
    farm.arts["sd-0077"].answers = new.answers
    robot = farm.robot()
    robot.hosts.able(BEACH)  # by what was known before
    robot.text2image(with_checkpoint("new"))
    assert farm.drew() == ["sd-0077"]
    farm.reset()
    farm.pool().able(with_checkpoint("new"))
    assert len(farm.asked()) <= SPOKESMEN + 1, "everybody knows now"


def test_nothing_but_mistakes_does_not_have_all_asked_each_time() -> None:
    farm = Farm(100)
    pool = farm.pool()
    for _ in range(3):
        with pytest.raises(UnknownCheckpoint):
            pool.able(with_checkpoint("nothing"))
        farm.clock.advance(1)
    assert len(farm.asked()) == 100
    farm.reset()
    with pytest.raises(UnknownCheckpoint):
        pool.able(with_checkpoint("nothing"))
    assert len(farm.asked()) <= SPOKESMEN
    farm.clock.advance(ALL_ASKED_AGAIN.total_seconds())
    with pytest.raises(UnknownCheckpoint):
        pool.able(with_checkpoint("nothing"))
    assert len(farm.asked()) == 100


def lost(art: FakeArt) -> None:
    art.answers = FakeArt(checkpoints=("alpha.safetensors",)).answers


def without_sampler(art: FakeArt) -> None:
    art.answers[SAMPLERS] = [one for one in art.answers[SAMPLERS] if one["name"] != "Euler"]


@pytest.mark.parametrize("fault", [lost, away, without_sampler])
def test_a_host_that_cannot_is_passed_over_and_no_attempt_is_spent(
    fault: Callable[[FakeArt], None],
) -> None:
    farm = Farm(40)
    queue = HeldQueue()
    robot = farm.robot(queue=queue)
    asked = Text2ImageRequest.model_validate(
        {"prompt": "a beach", "sampler_name": "Euler"}
    ).with_checkpoint("beta")
    job = robot.submit_image(asked)
    sound = farm.asked()
    for art in farm.all_but(*sound):
        fault(art)
    done = robot.run(job.id)
    assert (done.status, done.attempt) == (JobStatus.SUCCEEDED, 1)
    assert set(farm.drew()) <= sound
    assert farm.drew() == [done.host]


@pytest.mark.parametrize(
    ("fault", "error"),
    [(lost, UnknownCheckpoint), (without_sampler, UnknownSampler)],
)
def test_when_none_can_draw_any_more_it_is_said_and_all_hosts_are_given_back(
    fault: Callable[[FakeArt], None], error: type[RobotchatError]
) -> None:
    farm = Farm(40)
    pool = farm.pool()
    asked = Text2ImageRequest.model_validate(
        {"prompt": "a beach", "sampler_name": "Euler"}
    ).with_checkpoint("beta")
    able = pool.able(asked)
    for art in farm.arts.values():
        fault(art)
    other = farm.pool()
    with pytest.raises(error), other.lease(among=able, patience=60, request=asked):
        raise AssertionError("it cannot be drawn")
    assert {state.state(farm.clock.now()) for state in other.states()} == {"free"}


def test_a_job_ends_when_none_of_many_can_draw_it_any_more() -> None:
    farm = Farm(40)
    robot = farm.robot(queue=HeldQueue())
    job = robot.submit_image(
        Text2ImageRequest.model_validate({"prompt": "a beach", "sampler_name": "Euler"})
    )
    for art in farm.arts.values():
        without_sampler(art)
    done = farm.robot(queue=HeldQueue()).run(job.id)
    assert done.status is JobStatus.FAILED
    assert done.error
    assert done.error.code == "unknown_sampler"


def test_where_most_hosts_are_away_those_that_are_there_are_found() -> None:
    farm = Farm(100)
    there = {"sd-0011", "sd-0055"}
    for art in farm.all_but(*there):
        away(art)
    pool = farm.pool()
    able = pool.able(BEACH)
    assert there <= able.keys()
    with pool.lease(among=able, patience=60, request=BEACH) as lease:
        assert lease.host.name in there
    assert set(pool.sure(BEACH, farm.arts)) == there
    farm.reset()
    assert pool.able(with_checkpoint("beta")).keys() == there, "nobody speaks for the silent"
    assert len(farm.asked()) <= SPOKESMEN
    farm.clock.advance(SILENT.total_seconds())
    assert there <= pool.able(BEACH).keys()
