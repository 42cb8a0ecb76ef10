"""Hosts that only the workers beside them reach: announced, gone, asked by records."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from typing import Any

import pytest

from robotchat.drivers.fake import FakeArt
from robotchat.errors import (
    NotSupported,
    UnknownCheckpoint,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from robotchat.hosts import parcels
from robotchat.hosts.calls import Calls
from robotchat.hosts.pulled import (
    GONE_AFTER,
    PulledHost,
    PulledHosts,
    ask_for_lists,
    is_pool,
    own_host_name,
)
from robotchat.hosts.remote import RemoteHost
from robotchat.records import MemoryRecords
from robotchat.robot import Robot
from tests.cases.clock import FakeClock

LATER = 4e9


class Site:
    """A worker's announcements, and how others see them."""

    def __init__(self) -> None:
        self.records = MemoryRecords()
        self.clock = FakeClock()
        self.hosts = PulledHosts(self.records, self.clock)
        self.calls = Calls(self.records, self.clock)

    def announce(
        self, name: str, art: FakeArt, worker: str = "w1", pool: str | None = None
    ) -> None:
        digest, parts = self.hosts.publish(ask_for_lists(art))
        now = self.clock.now()
        self.hosts.announce(worker, [PulledHost(name, worker, pool, digest, parts, now)])

    def seen(self) -> PulledHosts:
        """The hosts as another process finds them."""
        found = PulledHosts(self.records, self.clock)
        found.look()
        return found

    def remote(self, name: str) -> RemoteHost:
        return RemoteHost(name, self.seen(), self.calls)

    def serving(self, worker: str, art: FakeArt) -> None:
        """Have a worker see its calls as soon as somebody waits for one."""

        def serve() -> None:
            for call in self.calls.waiting(worker):
                self.calls.serve(call, art)

        self.clock.on(self.clock.now() + timedelta(seconds=0.1), serve)


@pytest.fixture
def site() -> Site:
    return Site()


def test_a_host_is_known_as_long_as_it_is_announced(site: Site) -> None:
    art = FakeArt()
    site.announce("sd-1", art)
    assert [host.name for host in site.seen().hosts()] == ["sd-1"]
    site.clock.advance(GONE_AFTER.total_seconds() - 1)
    assert site.seen().hosts()
    site.clock.advance(1)
    assert site.seen().hosts() == []
    with pytest.raises(UpstreamUnavailable):
        site.remote("sd-1").get("sdapi/v1/sd-models")
    site.announce("sd-1", art)
    assert site.seen().hosts(), "it is back"


def test_a_worker_that_leaves_takes_its_own_hosts_with_it(site: Site) -> None:
    site.announce("sd-1", FakeArt(), worker="w1")
    site.announce("sd-2", FakeArt(), worker="w2", pool="big")
    site.hosts.announce("w1", [])
    assert [(host.name, host.pool) for host in site.seen().hosts()] == [("sd-2", "big")]


def test_a_host_of_two_workers_is_one_host(site: Site) -> None:
    site.announce("sd-1", FakeArt(), worker="w1")
    site.clock.advance(1)
    site.announce("sd-1", FakeArt(), worker="w2")
    assert [(host.name, host.worker) for host in site.seen().hosts()] == [("sd-1", "w2")]
    site.hosts.announce("w2", [])
    assert [(host.name, host.worker) for host in site.seen().hosts()] == [("sd-1", "w1")]


def test_equal_lists_are_kept_once_and_renewed(site: Site) -> None:
    first = site.hosts.publish(ask_for_lists(FakeArt()))
    assert site.hosts.publish(ask_for_lists(FakeArt())) == first
    assert site.hosts.publish(ask_for_lists(FakeArt(checkpoints=["b.safetensors"]))) != first
    before = site.records.get("parcel", first[0])
    site.clock.advance(30 * 3600)
    site.hosts.publish(ask_for_lists(FakeArt()))
    after = site.records.get("parcel", first[0])
    assert before
    assert after
    assert (after.expires_at or 0) > (before.expires_at or 0)


def test_what_a_host_told_is_answered_without_asking_it(site: Site) -> None:
    art = FakeArt()
    site.announce("sd-1", art)
    asked = list(art.calls)
    remote = site.remote("sd-1")
    assert remote.get("sdapi/v1/sd-models") == art.answers["sdapi/v1/sd-models"]
    assert remote.capabilities() == art.able
    with pytest.raises(NotSupported):
        remote.get("sdapi/v1/hypernetworks")
    assert art.calls == asked


def test_a_list_that_failed_fails_as_it_did(site: Site) -> None:
    art = FakeArt()
    art.answers["sdapi/v1/loras"] = UpstreamRejected("no")
    site.announce("sd-1", art)
    with pytest.raises(UpstreamRejected, match="no"):
        site.remote("sd-1").get("sdapi/v1/loras")


def test_what_is_private_to_a_machine_does_not_leave_it(site: Site) -> None:
    art = FakeArt()
    art.answers["sdapi/v1/options"] |= {"outdir_samples": "/home/me", "api_auth": "me:secret"}
    art.answers["sdapi/v1/cmd-flags"] = {"api": True, "api_auth": "me:secret", "data_dir": "/x"}
    art.answers["sdapi/v1/extensions"] = [
        {"name": "a", "remote": "https://token@git.example/a"},
        {"name": "b", "remote": "https://github.com/b/b"},
    ]
    told = json.dumps(ask_for_lists(art))
    assert "secret" not in told
    assert "/home/me" not in told
    assert "token@" not in told
    assert "https://github.com/b/b" in told


def test_calls_are_done_by_the_worker_and_answered_once(site: Site) -> None:
    art = FakeArt()
    site.announce("sd-1", art)
    site.serving("w1", art)
    big = "x" * 900_000
    art.answers["sdapi/v1/interrogate"] = {"caption": big}
    answer = site.remote("sd-1").post("sdapi/v1/interrogate", {"image": big}, timeout=30)
    assert answer == {"caption": big}
    assert art.posts == [{"image": big}]
    assert site.calls.waiting("w1") == []


def test_what_goes_wrong_there_is_raised_here(site: Site) -> None:
    art = FakeArt()
    site.announce("sd-1", art)
    site.serving("w1", art)
    art.answers["sdapi/v1/refresh-loras"] = UpstreamRejected(
        "no", param="x", details={"upstream_status": 422}
    )
    with pytest.raises(UpstreamRejected, match="no") as raised:
        site.remote("sd-1").post("sdapi/v1/refresh-loras")
    assert raised.value.details == {"upstream_status": 422}
    assert raised.value.param == "x"


def test_a_call_that_nobody_answers_ends(site: Site) -> None:
    site.announce("sd-1", FakeArt())
    with pytest.raises(UpstreamTimeout):
        site.remote("sd-1").post("sdapi/v1/refresh-loras", timeout=5)


def test_a_call_that_nobody_waits_for_any_more_is_not_done(site: Site) -> None:
    art = FakeArt()
    site.announce("sd-1", art)
    with pytest.raises(UpstreamTimeout):
        site.remote("sd-1").post("sdapi/v1/refresh-loras", timeout=5)
    asked = list(art.calls)
    for call in site.calls.waiting("w1"):
        site.calls.serve(call, art)
    assert art.calls == asked
    assert site.calls.waiting("w1") == []


def test_a_worker_opens_nothing_but_the_web_uis_api(site: Site) -> None:
    art = FakeArt()
    art.answers["internal/shutdown"] = None
    site.serving("w1", art)
    with pytest.raises(NotSupported):
        site.calls.ask("w1", "sd-1", "POST", "internal/shutdown", timeout=5)
    assert art.calls == []


def test_many_workers_announce_at_once(site: Site) -> None:
    def announce(number: int) -> None:
        host = PulledHost(f"sd-{number}", f"w{number}", None, "lists", 1, site.clock.now())
        site.hosts.announce(f"w{number}", [host])

    threads = [threading.Thread(target=announce, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(site.seen().hosts()) == 64


def test_large_parcels_come_out_as_they_went_in() -> None:
    records = MemoryRecords()
    value: Any = {"text": [f"{number * 7919 % 10007:x}" for number in range(400_000)]}
    parts = parcels.send(records, "p", value, until=LATER)
    assert parts > 1
    assert parcels.receive(records, "p", parts) == value
    with pytest.raises(LookupError):
        parcels.receive(records, "other", 1)


def test_the_catalog_and_the_checks_know_hosts_that_are_elsewhere(site: Site) -> None:
    site.announce("sd-1", FakeArt(checkpoints=["far.safetensors"]), pool="big")
    near = FakeArt(checkpoints=["near.safetensors"])
    robot = Robot(
        art={"sd-0": near, "sd-1": site.remote("sd-1")},
        elsewhere={"sd-1": "big"},
        records=site.records,
        clock=site.clock,
    )
    assert [model.title for model in robot.catalog.get_models()] == [
        "near.safetensors",
        "far.safetensors",
    ]
    able = robot.hosts.able(_request("far.safetensors"))
    assert list(able) == ["sd-1"]
    assert robot.hosts.drawn_here(able) == []
    assert robot.hosts.pool_for(able) == "big"
    assert robot.hosts.pool_for(robot.hosts.able(_request("near.safetensors"))) is None
    with pytest.raises(UnknownCheckpoint):
        robot.hosts.able(_request("nowhere.safetensors"))


def _request(checkpoint: str) -> Any:
    from robotchat.art.requests import Text2ImageRequest

    return Text2ImageRequest(prompt="a beach").with_checkpoint(checkpoint)


def test_hosts_that_must_not_be_taken_for_one_another_have_other_names() -> None:
    here = own_host_name("http://127.0.0.1:7860", "machine-1")
    assert here == own_host_name("http://localhost:7860", "machine-1")
    assert here == own_host_name("http://user:password@127.0.0.1:7860/", "machine-1")
    assert here != own_host_name("http://127.0.0.1:7861", "machine-1")
    assert here != own_host_name("http://127.0.0.1:7860", "machine-2")
    assert own_host_name("http://sd:7860", "m1") != own_host_name("http://sd:7860", "m2")
    lan = own_host_name("http://10.0.0.5:7860", "machine-1")
    assert lan == own_host_name("http://10.0.0.5:7860", "machine-2"), "two workers, one host"


@pytest.mark.parametrize("name", ["", "Big", "big_one", "1", "-a", "a" * 31, "a/b", "*"])
def test_pools_have_names_that_queues_can_have(name: str) -> None:
    assert not is_pool(name)
    assert is_pool("big-one2")


def test_a_list_without_end_is_told_as_an_error_of_its_host() -> None:
    art = FakeArt()
    long = [{"model_name": f"{number}" * 1000, "filename": ""} for number in range(1000, 2500)]
    art.answers["sdapi/v1/sd-vae"] = long
    art.answers["sdapi/v1/loras"] = [{"name": "a", "metadata": {"tags": "x" * 5_000_000}}]
    told = ask_for_lists(art)["answers"]
    assert told["sdapi/v1/sd-vae"]["error"]["code"] == "upstream_garbage"
    assert told["sdapi/v1/loras"][0]["metadata"] == {}
