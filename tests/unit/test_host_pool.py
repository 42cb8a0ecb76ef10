"""Leases over SD hosts: one holder at a time, the right checkpoint, nobody waits for the dead."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from robotchat.art.bot import ArtBot
from robotchat.art.requests import Text2ImageRequest
from robotchat.drivers.fake import FakeArt
from robotchat.errors import (
    InvalidRequest,
    Misconfigured,
    NotSupported,
    RobotchatError,
    UnknownCheckpoint,
    UnknownSampler,
    UpstreamBusy,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
    WrongResult,
)
from robotchat.hosts.lease import Host, LeaseLost, host_name
from robotchat.hosts.pool import HostPool
from robotchat.records import MemoryRecords
from tests.cases.clock import FakeClock
from tests.cases.counted import CountedRecords


class Machine:
    """As much of a driver as leases use: something that runs, and can be interrupted."""

    def __init__(self) -> None:
        self.running = False
        self.interrupted = 0
        self.broken = False

    def busy(self) -> bool | None:
        if self.broken:
            raise UpstreamUnavailable("away")
        return self.running

    def cancel(self, attempt_id: str | None = None) -> None:
        self.interrupted += 1
        self.running = False

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"a lease does not use {name}")


class Pools:
    """Pools of several processes over the same store and hosts."""

    def __init__(self, *names: str) -> None:
        self.clock = FakeClock()
        self.records: MemoryRecords = MemoryRecords()
        self.machines = {name: Machine() for name in names}
        self._dead: list[Any] = []

    def pool(self) -> HostPool:
        hosts = [Host(name, ArtBot(machine)) for name, machine in self.machines.items()]
        return HostPool(hosts, self.records, self.clock, ttl=30)

    def die_with_a_lease(self) -> None:
        """A holder that takes a host and is never heard of again."""
        holder = self.pool().lease(patience=0)
        holder.__enter__()
        self._dead.append(holder)  # kept, since its end would give the host back


def wanting(pool: HostPool, checkpoint: str | None) -> dict[str, str | None]:
    """Any host will do, for a checkpoint that goes by the same name on all of them."""
    return dict.fromkeys((host.name for host in pool.hosts), checkpoint)


def used(pool: HostPool, checkpoint: str | None, *, patience: float = 60) -> str:
    """Draw once with a checkpoint; gives the host that did it."""
    with pool.lease(among=wanting(pool, checkpoint), patience=patience) as lease:
        lease.drew(checkpoint=checkpoint, work=1.0, seconds=1.0)
        return lease.host.name


def test_a_host_has_one_holder_at_a_time() -> None:
    pools = Pools("a")
    with (
        pools.pool().lease(patience=60),
        pytest.raises(UpstreamBusy),
        pools.pool().lease(patience=20),
    ):
        raise AssertionError("two holders")


def test_a_released_host_is_taken_at_the_next_look() -> None:
    pools = Pools("a")
    first = pools.pool()
    with first.lease(patience=1):
        assert first.states()[0].state(pools.clock.now()) == "busy"
    assert first.states()[0].state(pools.clock.now()) == "free"
    with pools.pool().lease(patience=0) as lease:
        assert lease.host.name == "a"
    assert pools.clock.slept == []


def test_what_was_seen_ahead_is_not_read_again() -> None:
    pools = Pools("a", "b")
    pools.records = counted = CountedRecords()
    pool = pools.pool()
    with pool.looking_ahead():
        pass
    assert counted.requests == {"get_all": 1}
    with pool.lease(patience=0):
        assert counted.requests == {"get_all": 1, "commit": 1}


def test_a_host_that_was_free_when_it_was_seen_ahead_is_not_taken_from_its_holder() -> None:
    pools = Pools("a")
    pool = pools.pool()
    with pool.looking_ahead():
        pass
    with pools.pool().lease(patience=1), pytest.raises(UpstreamBusy), pool.lease(patience=0):
        raise AssertionError("two holders")


def test_what_was_seen_long_ago_is_read_again() -> None:
    pools = Pools("a")
    pool = pools.pool()
    with pool.looking_ahead():
        pass
    used(pools.pool(), "x")
    pools.clock.sleep(2)
    with pool.lease(patience=0) as lease:
        assert lease.checkpoint == "x"
    assert pools.clock.slept == [2]


def test_a_host_is_given_back_beside_what_is_done_next() -> None:
    pools = Pools("a")
    with pools.pool().lease(patience=1) as lease:
        lease.release_aside()
    assert lease.released()
    with pools.pool().lease(patience=0) as after:
        assert after.host.name == "a"


def test_a_release_aside_tells_that_the_lease_had_run_out() -> None:
    pools = Pools("a")
    with pools.pool().lease(patience=1) as lease:
        pools.clock.sleep(60)
        used(pools.pool(), None)
        lease.release_aside()
    assert not lease.released()


def test_waiting_closes_in_on_the_expected_end() -> None:
    pools = Pools("a")
    pool = pools.pool()
    with pool.lease(patience=1) as lease:
        lease.drew(checkpoint=None, work=100, seconds=1)
    with pool.lease(work=1000, patience=1):  # expected to take ten seconds
        pools.clock.slept.clear()
        with pytest.raises(UpstreamBusy), pools.pool().lease(patience=9.98):
            raise AssertionError("two holders")
    assert pools.clock.slept[0] > 0.3
    assert pools.clock.slept[-1] < 0.03


def test_a_dead_holders_host_is_free_again_when_its_lease_runs_out() -> None:
    pools = Pools("a")
    pools.die_with_a_lease()
    pools.clock.advance(29)
    with pytest.raises(UpstreamBusy), pools.pool().lease(patience=0):
        raise AssertionError("two holders")
    pools.clock.advance(1)
    with pools.pool().lease(patience=0) as lease:
        assert lease.host.name == "a"


def test_a_dead_holders_work_is_stopped_before_the_host_is_used() -> None:
    pools = Pools("a")
    machine = pools.machines["a"]
    pools.die_with_a_lease()
    machine.running = True
    pools.clock.advance(31)
    with pools.pool().lease(patience=0):
        assert machine.interrupted == 1
        assert not machine.running


def test_a_host_that_was_given_back_is_not_interrupted() -> None:
    pools = Pools("a")
    with pools.pool().lease(patience=0):
        pools.machines["a"].running = True
    with pools.pool().lease(patience=0):
        assert pools.machines["a"].interrupted == 0


def test_a_renewed_lease_does_not_run_out() -> None:
    pools = Pools("a")
    with pools.pool().lease(patience=1) as lease:
        for _ in range(5):
            pools.clock.advance(20)
            lease.renew(remaining=20)
        with pytest.raises(UpstreamBusy), pools.pool().lease(patience=0):
            raise AssertionError("two holders")


def test_who_lost_the_lease_learns_it_and_cannot_release_the_next_holders() -> None:
    pools = Pools("a")
    slow = pools.pool().lease(patience=1)
    lost = slow.__enter__()
    pools.clock.advance(31)
    with pools.pool().lease(patience=0):
        with pytest.raises(LeaseLost):
            lost.renew()
        lost.release()
        with pytest.raises(UpstreamBusy), pools.pool().lease(patience=0):
            raise AssertionError("two holders")


def test_the_host_with_the_checkpoint_loaded_is_preferred() -> None:
    pools = Pools("a", "b", "c")
    pool = pools.pool()
    loaded = used(pool, "x")
    assert {used(pool, "x") for _ in range(10)} == {loaded}


def test_another_checkpoint_goes_to_a_host_that_has_none_loaded() -> None:
    pools = Pools("a", "b")
    pool = pools.pool()
    assert used(pool, "x") != used(pool, "y")


def test_two_checkpoints_over_two_hosts_are_not_loaded_to_and_fro() -> None:
    pools = Pools("a", "b")
    pool = pools.pool()
    home = {"x": used(pool, "x"), "y": used(pool, "y")}
    busy_home = pool.lease(among={home["x"]: "x"}, patience=0)
    busy_home.__enter__()
    with pytest.raises(UpstreamBusy), pool.lease(among=wanting(pool, "x"), patience=1.5):
        raise AssertionError("switched a host that was free for a moment only")
    with pool.lease(among=wanting(pool, "x"), patience=2) as lease:
        assert lease.host.name == home["y"], "idle for long enough to be worth a switch"


def test_a_host_that_failed_is_left_alone_for_longer_each_time() -> None:
    pools = Pools("a")
    pool = pools.pool()
    pauses = []
    for _ in range(3):
        with pytest.raises(UpstreamUnavailable), pool.lease(patience=100):
            raise UpstreamUnavailable("refused")
        state = pool.states()[0]
        assert state.cool_down_until
        pauses.append((state.cool_down_until - pools.clock.now()).total_seconds())
    assert pauses == [2, 4, 8]
    used(pool, None)
    assert pool.states()[0].failures == 0


def test_a_failed_host_is_used_again_after_its_pause() -> None:
    pools = Pools("a")
    pool = pools.pool()
    with pytest.raises(UpstreamUnavailable), pool.lease(patience=0):
        raise UpstreamUnavailable("x")
    with pytest.raises(UpstreamBusy), pool.lease(patience=1):
        raise AssertionError("used too early")
    assert used(pool, None, patience=2) == "a"


@pytest.mark.parametrize(
    "error", [InvalidRequest("no"), UpstreamRejected("no"), NotSupported("no"), WrongResult("no")]
)
def test_what_is_wrong_with_one_request_is_not_the_hosts_failure(error: RobotchatError) -> None:
    pools = Pools("a")
    pool = pools.pool()
    with pytest.raises(type(error)), pool.lease(patience=0):
        raise error
    assert pool.states()[0].failures == 0
    assert used(pool, None, patience=0) == "a"


def test_what_last_went_wrong_is_told_apart_from_the_state() -> None:
    pools = Pools("a")
    pool = pools.pool()
    with pytest.raises(UpstreamRejected), pool.lease(patience=0):
        raise UpstreamRejected("no")
    used(pool, None, patience=0)
    (state,) = pool.states()
    assert (state.failure, state.failed_at) == ("upstream_rejected", pools.clock.now())
    assert state.state(pools.clock.now()) == "free"


def test_a_host_to_be_avoided_is_used_only_when_there_is_no_other() -> None:
    pools = Pools("a", "b")
    pool = pools.pool()
    for _ in range(5):
        with pool.lease(avoid=["a"], patience=0) as lease:
            assert lease.host.name == "b"
    with pool.lease(avoid=["a", "b"], patience=0) as lease:
        assert lease.host.name in ("a", "b")


def test_a_host_that_cannot_be_cleared_is_passed_over() -> None:
    pools = Pools("a", "b")
    for _ in range(2):
        pools.die_with_a_lease()
    pools.clock.advance(31)
    pools.machines["a"].broken = True
    with pools.pool().lease(patience=5) as lease:
        assert lease.host.name == "b"


def test_the_wait_ends_when_the_check_says_so() -> None:
    pools = Pools("a")

    def canceled() -> None:
        raise KeyError("canceled")

    with (
        pools.pool().lease(patience=0),
        pytest.raises(KeyError),
        pools.pool().lease(patience=100, check=canceled),
    ):
        raise AssertionError("two holders")


# --- asking all hosts -----------------------------------------------------------------------------


def answering(*hosts: FakeArt) -> HostPool:
    """A pool over hosts that are only asked."""
    named = [Host(f"sd-{number}", ArtBot(host)) for number, host in enumerate(hosts)]
    return HostPool(named, MemoryRecords(), FakeClock())


def test_a_host_that_hangs_does_not_hold_up_who_asks() -> None:
    hanging, end = FakeArt(), threading.Event()
    pool = answering(hanging, FakeArt())

    def question(bot: ArtBot) -> str:
        if bot.driver is hanging:
            end.wait(30)
        return "here"

    try:
        answers = pool.ask(question, patience=0.01)
    finally:
        end.set()
    assert isinstance(answers["sd-0"], UpstreamTimeout)
    assert answers["sd-1"] == "here"


def test_a_bug_in_a_question_is_not_taken_for_an_answer() -> None:
    def question(bot: ArtBot) -> str:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        answering(FakeArt(), FakeArt()).ask(question)


def test_each_host_is_given_with_its_own_name_of_the_checkpoint() -> None:
    pool = answering(
        FakeArt(checkpoints=("a.safetensors",)),
        FakeArt(checkpoints=("b.safetensors", "sub/a.safetensors")),
    )
    request = Text2ImageRequest(override_settings={"sd_model_checkpoint": "a.safetensors"})
    assert pool.able(request) == {"sd-0": "a.safetensors", "sd-1": "sub/a.safetensors"}
    assert pool.able(Text2ImageRequest()) == {"sd-0": "a.safetensors", "sd-1": "b.safetensors"}


def test_the_home_checkpoint_is_that_of_the_first_sight() -> None:
    host = FakeArt(checkpoints=("a.safetensors", "b.safetensors"))
    pool = answering(host)
    assert pool.homes() == {"sd-0": "a.safetensors"}
    host.answers["sdapi/v1/options"] = {"sd_model_checkpoint": "b.safetensors"}
    again = HostPool([Host("sd-0", ArtBot(host))], pool._records, pool.clock)
    assert again.homes() == {"sd-0": "a.safetensors"}
    del host.answers["sdapi/v1/sd-models"][0]
    later = HostPool([Host("sd-0", ArtBot(host))], pool._records, pool.clock)
    assert later.homes() == {"sd-0": "b.safetensors"}, "the first one has gone"


def test_a_refusal_is_that_of_a_host_which_has_the_checkpoint() -> None:
    pool = answering(
        FakeArt(checkpoints=("a.safetensors",)),
        FakeArt(checkpoints=("b.safetensors",)),
    )
    options = {"sd_model_checkpoint": "b"}
    with pytest.raises(UnknownSampler):
        pool.able(Text2ImageRequest(override_settings=options, sampler_name="nonesuch"))
    with pytest.raises(UnknownCheckpoint) as refusal:
        pool.able(Text2ImageRequest(override_settings={"sd_model_checkpoint": "safetensors"}))
    assert sorted(refusal.value.details["near_matches"]) == ["a.safetensors", "b.safetensors"]


def test_when_no_host_answers_all_of_them_are_candidates() -> None:
    hosts = [FakeArt(), FakeArt()]
    for host in hosts:
        host.answers["sdapi/v1/options"] = UpstreamUnavailable("away")
    assert answering(*hosts).able(Text2ImageRequest()) == {"sd-0": None, "sd-1": None}


def test_a_job_that_needs_a_switch_lets_the_others_go_first_but_not_for_ever() -> None:
    pools = Pools("a")
    pool = pools.pool()
    used(pool, "x")
    with pytest.raises(UpstreamBusy), pool.lease(among={"a": "y"}, patience=0.2):
        raise AssertionError("switched at once")
    with pool.lease(among={"a": "x"}, patience=0):
        pass  # who needs no switch does not wait
    with pool.lease(among={"a": "y"}, patience=1) as lease:
        assert lease.checkpoint == "y"


def test_no_host_is_said_plainly() -> None:
    with pytest.raises(Misconfigured, match="SD_HOSTS"), Pools().pool().lease(patience=0):
        raise AssertionError("no host")


@pytest.mark.parametrize(
    "same", [lambda u: u, lambda u: u + "/", lambda u: u.replace("://", "://user:secret@")]
)
def test_a_hosts_name_is_stable_and_gives_nothing_away(same: Callable[[str], str]) -> None:
    url = "http://gpu-7.internal:7860"
    assert host_name(same(url)) == host_name(url)
    assert "gpu" not in host_name(url)
    assert host_name("http://gpu-8.internal:7860") != host_name(url)
