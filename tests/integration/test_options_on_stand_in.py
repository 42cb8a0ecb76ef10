"""No request's options outlast it on a host, however the host was set up and whatever happens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from dev import sd_host
from robotchat.art.bot import ArtBot
from robotchat.clock import SystemClock
from robotchat.drivers.webui import WebUI
from robotchat.errors import InvalidRequest, NotSupported, UpstreamRejected, UpstreamTimeout
from robotchat.hosts.lease import Host
from robotchat.hosts.pool import HostPool
from robotchat.records import MemoryRecords

SMALL: dict[str, Any] = {"prompt": "a cat", "width": 64, "height": 64, "steps": 1, "seed": 1}
OVERRIDES: dict[str, Any] = {
    "CLIP_stop_at_last_layers": 2,
    "sd_vae": "None",
    "eta_noise_seed_delta": 31337,
    "s_churn": 1.5,
    "face_restoration": True,
    "upscaler_for_img2img": "Lanczos",
}


@pytest.fixture
def host() -> Iterator[sd_host.RunningHost]:
    with sd_host.running() as running:
        yield running


@pytest.fixture
def bot(host: sd_host.RunningHost) -> Iterator[ArtBot]:
    with WebUI(host.url) as driver:
        yield ArtBot(driver)


def options(host: sd_host.RunningHost) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{host.url}/sdapi/v1/options").json()
    return {name: found[name] for name in OVERRIDES}


def calls(host: sd_host.RunningHost) -> list[str]:
    return [f"{r['method']} {r['path'].rpartition('/')[2]}" for r in host.requests("/options")]


def override(host: sd_host.RunningHost, **values: Any) -> None:
    """Leave options set on the host, as another program would that knows nothing of this."""
    body = {**SMALL, "override_settings": values}
    httpx.post(f"{host.url}/sdapi/v1/txt2img", json=body)


@pytest.mark.parametrize("name", OVERRIDES)
def test_nothing_of_a_request_is_left_on_a_new_installation(
    host: sd_host.RunningHost, bot: ArtBot, name: str
) -> None:
    before = options(host)
    for _ in range(2):
        bot.text2image(**SMALL, override_settings={name: OVERRIDES[name]})
        assert options(host) == before
    assert bot.text2image(**SMALL).info["clip_skip"] == 1


def test_a_request_gets_its_options(host: sd_host.RunningHost, bot: ArtBot) -> None:
    drawing = bot.text2image(**SMALL, override_settings=OVERRIDES)
    assert drawing.info["clip_skip"] == 2
    assert drawing.unverified == []


def test_a_host_is_made_safe_once_and_looked_at_after_each_override(
    host: sd_host.RunningHost, bot: ArtBot
) -> None:
    bot.text2image(**SMALL)
    assert calls(host) == [], "a plain drawing costs nothing"
    bot.text2image(**SMALL, override_settings={"CLIP_stop_at_last_layers": 2})
    first = len(calls(host))
    bot.text2image(**SMALL, override_settings={"CLIP_stop_at_last_layers": 3})
    assert calls(host)[first:] == ["GET options"]
    bot.text2image(**SMALL)
    assert len(calls(host)) == first + 1


@pytest.mark.parametrize("new_disk", [True, False])
def test_a_restart_is_noticed_by_what_it_leaves(
    host: sd_host.RunningHost, bot: ArtBot, new_disk: bool
) -> None:
    before = options(host)
    bot.text2image(**SMALL, override_settings=OVERRIDES)
    host.restart(new_disk=new_disk)
    for _ in range(2):
        bot.text2image(**SMALL, override_settings=OVERRIDES)
        assert options(host) == before


def test_what_the_host_refuses_does_not_stay(host: sd_host.RunningHost) -> None:
    with sd_host.running(encoder_layers=4) as shallow, WebUI(shallow.url) as driver:
        bot = ArtBot(driver)
        with pytest.raises(UpstreamRejected, match="IndexError"):
            bot.text2image(**SMALL, override_settings={"CLIP_stop_at_last_layers": 12})
        assert bot.text2image(**SMALL).info["clip_skip"] == 1
        shallow.restart(new_disk=True)
        with pytest.raises(UpstreamRejected, match="IndexError"):
            bot.text2image(**SMALL, override_settings={"CLIP_stop_at_last_layers": 12})
        assert bot.text2image(**SMALL).info["clip_skip"] == 1


@pytest.mark.parametrize(
    "bad",
    [
        {"CLIP_stop_at_last_layers": 99},
        {"CLIP_stop_at_last_layers": "2"},
        {"s_churn": "x"},
        {"sd_vae": "nope.pt"},
        {"face_restoration_model": "nope"},
        {"upscaler_for_img2img": "nope"},
        {"sd_hypernetwork": "nope"},
        {"k_sched_type": "karras"},
    ],
)
def test_a_bad_value_never_reaches_the_host(
    host: sd_host.RunningHost, bot: ArtBot, bad: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        bot.text2image(**SMALL, override_settings=bad)
    assert caught.value.param == f"override_settings.{next(iter(bad))}"
    assert host.requests("2img") == []


def test_what_the_operator_changes_on_the_host_holds(
    host: sd_host.RunningHost, bot: ArtBot
) -> None:
    bot.text2image(**SMALL, override_settings={"CLIP_stop_at_last_layers": 2})
    changes = {"CLIP_stop_at_last_layers": 3, "s_churn": 2}
    httpx.post(f"{host.url}/sdapi/v1/options", json=changes)
    for _ in range(2):
        bot.text2image(**SMALL, override_settings={"CLIP_stop_at_last_layers": 2})
        assert bot.text2image(**SMALL).info["clip_skip"] == 3
    assert options(host)["s_churn"] == 2


def test_a_value_that_nobody_can_have_meant_is_not_kept(
    host: sd_host.RunningHost, bot: ArtBot
) -> None:
    override(host, CLIP_stop_at_last_layers=99)
    bot.text2image(**SMALL, override_settings={"s_churn": 1})
    assert bot.text2image(**SMALL).info["clip_skip"] == 1


def test_a_plain_request_that_meets_anothers_options_is_drawn_all_the_same(
    host: sd_host.RunningHost, bot: ArtBot
) -> None:
    bot.text2image(**SMALL, override_settings={"CLIP_stop_at_last_layers": 2})
    host.restart(new_disk=True)
    override(host, CLIP_stop_at_last_layers="abc")
    assert bot.text2image(**SMALL).info["clip_skip"] == 1


def test_what_the_operator_changed_outlasts_a_request_that_fails(
    host: sd_host.RunningHost, bot: ArtBot
) -> None:
    bot.text2image(**SMALL, override_settings={"CLIP_stop_at_last_layers": 2})
    httpx.post(f"{host.url}/sdapi/v1/options", json={"CLIP_stop_at_last_layers": 3})
    host.set_faults({"kind": "error", "error": "IndexError", "errors": "no"})
    with pytest.raises(UpstreamRejected):
        bot.text2image(**SMALL)
    assert bot.text2image(**SMALL).info["clip_skip"] == 3


def test_options_that_the_host_cannot_even_show_are_put_right(
    host: sd_host.RunningHost, bot: ArtBot
) -> None:
    bot.text2image(**SMALL, override_settings={"CLIP_stop_at_last_layers": 2})
    httpx.post(f"{host.url}/sdapi/v1/options", json={"CLIP_stop_at_last_layers": "abc"})
    bot.text2image(**SMALL, override_settings={"s_churn": 1})
    assert bot.text2image(**SMALL).info["clip_skip"] == 1


def test_options_that_cannot_be_set_are_not_overridden(
    host: sd_host.RunningHost, bot: ArtBot
) -> None:
    frozen = {"kind": "error", "error": "AssertionError", "errors": "changing settings is disabled"}
    host.set_faults({**frozen, "path": "*/options", "after": 2, "times": None})
    with pytest.raises(NotSupported):
        bot.text2image(**SMALL, override_settings={"CLIP_stop_at_last_layers": 2})
    assert bot.text2image(**SMALL).info["clip_skip"] == 1


# --- when a holder dies, or never learns how it went ----------------------------------------------


@pytest.fixture
def pool(host: sd_host.RunningHost) -> Iterator[Callable[..., HostPool]]:
    """Makes pools of several processes, over the same host and store."""
    records, drivers = MemoryRecords(), []

    def make(ttl: float = 30.0) -> HostPool:
        drivers.append(WebUI(host.url))
        return HostPool([Host("sd-0", ArtBot(drivers[-1]))], records, SystemClock(), ttl=ttl)

    yield make
    for driver in drivers:
        driver.close()


def test_who_comes_after_a_dead_holder_takes_its_options_back(
    host: sd_host.RunningHost, pool: Callable[..., HostPool]
) -> None:
    dead = pool(ttl=0.01).lease(patience=0)
    lease = dead.__enter__()
    lease.host.bot.text2image(**SMALL, override_settings={"CLIP_stop_at_last_layers": 2})
    host.restart(new_disk=True)
    override(host, CLIP_stop_at_last_layers=2)  # what a drawing leaves of which nobody hears
    with pool().lease(patience=5) as after:
        assert after.host.bot.text2image(**SMALL).info["clip_skip"] == 1


def test_a_drawing_that_was_given_up_leaves_nothing_to_the_next(
    host: sd_host.RunningHost, pool: Callable[..., HostPool]
) -> None:
    one = pool()
    overrides = {"CLIP_stop_at_last_layers": 2}
    with one.lease(patience=0) as lease:
        lease.host.bot.text2image(**SMALL, override_settings=overrides)
    host.restart(new_disk=True)
    host.hold()
    with pytest.raises(UpstreamTimeout), one.lease(patience=5) as lease:
        lease.host.bot.text2image(**SMALL, override_settings=overrides, timeout=0.3)
    assert one.states()[0].doubtful
    with pool().lease(patience=10) as lease:
        assert lease.host.bot.text2image(**SMALL).info["clip_skip"] == 1
    assert not one.states()[0].doubtful
    with one.lease(patience=5) as lease:
        lease.host.bot.text2image(**SMALL)
    assert not one.states()[0].doubtful, "another has seen to it"


def test_nobody_sees_the_options_of_a_drawing_that_goes_on(
    host: sd_host.RunningHost, pool: Callable[..., HostPool]
) -> None:
    host.hold()
    drawing = pool()

    def draw() -> None:
        with drawing.lease(patience=5) as lease:
            lease.host.bot.text2image(**SMALL, override_settings={"CLIP_stop_at_last_layers": 2})

    thread = threading.Thread(target=draw)
    thread.start()
    host.wait_for(paused=1)
    assert options(host)["CLIP_stop_at_last_layers"] == 2, "as the host itself shows it"
    shown = pool().options()["sd-0"]
    assert isinstance(shown, dict)
    assert shown["CLIP_stop_at_last_layers"] == 1
    host.release()
    thread.join(30)
