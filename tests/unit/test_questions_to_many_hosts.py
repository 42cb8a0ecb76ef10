"""What SD hosts are asked for a picture does not grow with their number, and what a few of them
say for all is made sure of by the host that draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from robotchat.art.bot import ArtBot
from robotchat.art.capabilities import Capabilities
from robotchat.art.requests import Text2ImageRequest
from robotchat.drivers.fake import FakeArt
from robotchat.errors import (
    UnknownCheckpoint,
    UnknownSampler,
    UpstreamUnavailable,
)
from robotchat.hosts.asking import ASKED_WHO_HAVE_NOT, SPOKESMEN
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
    farm.arts["sd-0042"] = FakeArt(checkpoints=("gamma.safetensors",))
    farm.pool().able(with_checkpoint("gamma"))  # all are asked, since nobody was known to have it
    farm.reset()
    assert farm.pool().able(with_checkpoint("gamma")) == {"sd-0042": "gamma.safetensors"}
    assert len(farm.asked()) == SPOKESMEN + 1


def test_the_same_files_make_a_kind_wherever_they_lie_and_hashed_or_not() -> None:
    farm = Farm(40)
    for number, art in enumerate(farm.arts.values()):
        listed = [
            {**one, "filename": f"/mnt/{number}/{one['title']}", "sha256": None, "hash": None}
            for one in art.answers[MODELS]
        ]
        art.answers[MODELS] = listed if number % 2 else listed[::-1]
    pool = farm.pool()
    for host in pool.hosts:
        host.bot.get_models()
    pool.able(BEACH)  # which notes what they have
    farm.reset()
    assert len(farm.pool().able(BEACH)) == 40
    assert len(farm.asked()) == SPOKESMEN


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


@pytest.mark.parametrize("chosen", range(3))
def test_what_few_hosts_of_a_kind_have_is_drawn_on_them(chosen: int) -> None:
    farm = Farm(60)
    with_it = {"sd-0005", "sd-0025", f"sd-004{chosen}"}
    for name in with_it:
        farm.arts[name].answers[SAMPLERS] = [*farm.arts[name].answers[SAMPLERS], {"name": "Rare"}]
    robot = farm.robot()
    rare = Text2ImageRequest.model_validate({"prompt": "a beach", "sampler_name": "Rare"})
    for _ in range(5):
        robot.text2image(rare)
        robot.text2image(BEACH)
    assert len(robot.hosts.able(BEACH)) == 60, "who wants the one does not keep the others away"
    assert robot.hosts.able(rare).keys() == with_it


def test_what_none_supports_is_refused_each_time_and_harms_nobody() -> None:
    farm = Farm(60)
    pool = farm.pool()
    strange = Text2ImageRequest.model_validate({"prompt": "a beach", "sampler_name": "Unheard"})
    for _ in range(3):
        with pytest.raises(UnknownSampler):
            pool.able(strange)
        with pytest.raises(UnknownCheckpoint):
            pool.able(with_checkpoint("nothing"))
        assert len(pool.able(BEACH)) == 60


def test_who_draws_on_a_few_hosts_of_many_asks_these_themselves() -> None:
    farm = Farm(40)
    without_sampler(farm.arts["sd-0007"])
    euler = Text2ImageRequest.model_validate({"prompt": "a beach", "sampler_name": "Euler"})
    for _ in range(10):
        hosts = [Host(n, ArtBot(art), here=n == "sd-0007") for n, art in farm.arts.items()]
        pool = HostPool(hosts, farm.records, farm.clock)
        able = pool.able(euler)
        assert able
        assert not pool.drawn_here(able)


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


def test_where_most_hosts_are_away_those_that_are_there_draw() -> None:
    farm = Farm(40)
    robot = farm.robot(queue=HeldQueue())
    job = robot.submit_image(BEACH)
    there = {"sd-0011", "sd-0033"}
    for art in farm.all_but(*there):
        away(art)
    for _ in range(3):
        done = farm.robot(queue=HeldQueue()).run(job.id)
        assert (done.status, done.attempt) == (JobStatus.SUCCEEDED, 1)
        assert done.host in there
        job = robot.submit_image(BEACH)
    assert not [state for state in robot.hosts.states() if state.failure]


def test_hosts_of_one_kind_may_have_other_files_under_the_same_names() -> None:
    """A newer file was put in place of the old one on half of them."""
    farm = Farm(40, "latest.safetensors", "previous.safetensors")
    hashes = {"old": ("2" * 64, "1" * 64), "new": ("3" * 64, "2" * 64)}
    for number, art in enumerate(farm.arts.values()):
        listed = []
        for one, sha256 in zip(
            art.answers[MODELS], hashes["new" if number % 2 else "old"], strict=True
        ):
            listed.append({**one, "sha256": sha256, "hash": sha256[:10]})
        art.answers[MODELS] = listed
    robot = farm.robot(queue=HeldQueue())
    for _ in range(10):
        done = robot.run(robot.submit_image(with_checkpoint("2" * 10)).id)
        assert done.host is not None
        new = int(done.host.removeprefix("sd-")) % 2
        asked = farm.arts[done.host].requests[-1]["override_settings"]["sd_model_checkpoint"]
        assert asked == ("previous.safetensors" if new else "latest.safetensors")


def test_a_checkpoint_that_comes_to_further_hosts_is_seen_there() -> None:
    farm = Farm(60)
    both = FakeArt(checkpoints=("alpha.safetensors", "beta.safetensors", "new.safetensors"))
    farm.arts["sd-0001"].answers = both.answers
    pool = farm.pool()
    assert pool.able(with_checkpoint("new")).keys() == {"sd-0001"}
    farm.arts["sd-0050"].answers = both.answers
    for host in pool.hosts:
        host.bot._forget()  # a minute goes by
    assert "sd-0001" in pool.able(with_checkpoint("new"))
    farm.clock.advance(ASKED_WHO_HAVE_NOT.total_seconds())
    assert pool.able(with_checkpoint("new")).keys() == {"sd-0001", "sd-0050"}


def test_a_host_that_takes_any_name_is_no_sign_that_somebody_has_it() -> None:
    farm = Farm(40)
    plain = FakeArt(capabilities=Capabilities(lists=False))
    farm.arts["sd-0020"] = plain
    farm.pool().able(BEACH, each=True)  # so that everybody knows of it
    farm.arts["sd-0030"].answers = FakeArt(
        checkpoints=("alpha.safetensors", "new.safetensors")
    ).answers
    assert "sd-0030" in farm.pool().able(with_checkpoint("new"))
