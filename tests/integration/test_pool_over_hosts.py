"""Several SD hosts behind one robot: right checkpoints, few switches, no job lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dev import sd_host
from robotchat.art.bot import ArtConfig
from robotchat.art.requests import Text2ImageRequest
from robotchat.drivers.fake import plain_png
from robotchat.drivers.webui import WebUI
from robotchat.errors import (
    JobCanceled,
    NotSupported,
    UnknownCheckpoint,
    UpstreamError,
    UpstreamRejected,
    UpstreamUnavailable,
    WrongResult,
)
from robotchat.hosts.lease import host_name
from robotchat.images import encode_base64
from robotchat.jobs.job import Job, JobStatus
from robotchat.robot import Robot
from robotchat.settings import Settings

A, B = "alpha.safetensors", "beta.safetensors"
SMALL = {"width": 64, "height": 64, "steps": 2}
CAT = encode_base64(plain_png(64, 64, "cat"))


class Pool:
    """A robot over hosts of these options."""

    def __init__(self, *options: dict[str, Any], **settings: Any) -> None:
        self._running = [sd_host.running(**one) for one in options]
        self.hosts = [one.__enter__() for one in self._running]
        self._drivers = [WebUI(host.url) for host in self.hosts]
        self._art: ArtConfig | None = settings.pop("art_config", None)
        self._settings = Settings(**{"retry_base": 0.05, **settings})
        self.robot = self.another()

    def another(self, like: Robot | None = None) -> Robot:
        """A robot as in another process: over the same hosts, and the store of the other one."""
        drivers = {host_name(driver.base_url): driver for driver in self._drivers}
        return Robot(
            art=drivers,
            art_config=self._art,
            settings=self._settings,
            records=like.records if like else None,
            images=like.images if like else None,
        )

    def name(self, number: int) -> str:
        return host_name(self.hosts[number].url)

    def close(self) -> None:
        for driver in self._drivers:
            driver.close()
        for one in self._running:
            one.__exit__(None, None, None)


@pytest.fixture
def pool() -> Iterator[Callable[..., Pool]]:
    """Makes pools, and ends their hosts after the test."""
    made: list[Pool] = []

    def make(*options: dict[str, Any], **settings: Any) -> Pool:
        made.append(Pool(*options, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


def drawing(checkpoint: str | None = None, **fields: Any) -> Text2ImageRequest:
    """A small request."""
    options = {"sd_model_checkpoint": checkpoint} if checkpoint else None
    given = {"override_settings": options} if options else {}
    return Text2ImageRequest(prompt="a beach", **{**SMALL, **given, **fields})


def sent(host: sd_host.RunningHost) -> list[str]:
    """The checkpoints that were asked of a host."""
    return [
        request["body"]["override_settings"]["sd_model_checkpoint"]
        for request in host.requests("txt2img")
    ]


def drawn_with(job: Job) -> str:
    """The checkpoint that the picture itself says it was drawn with."""
    assert job.images[0].infotext is not None
    return job.images[0].infotext.partition("Model: ")[2].partition(",")[0]


def test_sixty_interleaved_jobs_get_their_checkpoints_with_few_switches(
    pool: Callable[..., Pool],
) -> None:
    both = {"checkpoints": ("alpha", "beta"), "fixed_seconds": 0.02, "load_seconds": 0.2}
    pool_ = pool(both, both)
    workers = [pool_.another(pool_.robot) for _ in range(6)]
    spellings = {A: ["alpha", A, "ALPHA"], B: ["beta", B, "Beta.safetensors"]}

    def draw(number: int) -> tuple[str, Job]:
        wanted = (A, B)[number % 2]
        name = spellings[wanted][number % 3]
        return wanted, workers[number % 6].text2image(drawing(name, seed=number))

    with ThreadPoolExecutor(6) as threads:
        results = list(threads.map(draw, range(60)))
    assert all(job.status is JobStatus.SUCCEEDED for _, job in results)
    wrong = [job.id for wanted, job in results if drawn_with(job) != wanted.partition(".")[0]]
    assert wrong == []
    assert sum(host.stats()["model_switches"] for host in pool_.hosts) < 10
    assert min(len(sent(host)) for host in pool_.hosts) > 0, "both hosts were used"


def test_each_host_draws_only_what_it_has(pool: Callable[..., Pool]) -> None:
    pool_ = pool({"checkpoints": ("alpha",)}, {"checkpoints": ("beta",)})
    for number in range(8):
        wanted = (A, B)[number % 2]
        job = pool_.robot.text2image(drawing(wanted))
        assert job.host == pool_.name(number % 2)
    assert [set(sent(host)) for host in pool_.hosts] == [{A}, {B}]


def test_an_unknown_checkpoint_fails_before_anything_is_queued_or_drawn(
    pool: Callable[..., Pool],
) -> None:
    pool_ = pool({"checkpoints": ("alpha",)}, {"checkpoints": ("beta",)})
    with pytest.raises(UnknownCheckpoint) as refusal:
        pool_.robot.text2image(drawing("betta"))
    (near,) = refusal.value.details["near_matches"]
    assert near.startswith(B)
    assert pool_.robot.jobs.of_tenant("local")[0] == []
    assert [host.requests("txt2img") for host in pool_.hosts] == [[], []]


def test_a_host_that_dies_in_mid_job_costs_no_job(pool: Callable[..., Pool]) -> None:
    pool_ = pool({"checkpoints": ("alpha", "beta")}, {"checkpoints": ("alpha", "beta")})
    for host in pool_.hosts:
        host.hold(times=None)
    finished: list[Job] = []

    def draw() -> None:
        finished.append(pool_.robot.text2image(drawing(A)))

    thread = threading.Thread(target=draw)
    thread.start()
    victim = _first_paused(pool_.hosts)
    for host in pool_.hosts:
        host.clear_faults()
    pool_.hosts[victim].stop()
    thread.join(60)
    (job,) = finished
    assert job.status is JobStatus.SUCCEEDED
    assert job.attempt == 2
    assert job.host == pool_.name(1 - victim)
    assert job.avoid_hosts == [pool_.name(victim)]
    assert drawn_with(job) == "alpha"


def _first_paused(hosts: list[sd_host.RunningHost]) -> int:
    """The host that has begun to draw."""
    with ThreadPoolExecutor(len(hosts)) as threads:
        waits = [threads.submit(_paused, host) for host in hosts]
        for number, wait in enumerate(waits):
            if wait.result():
                return number
    raise AssertionError("no host draws")


def _paused(host: sd_host.RunningHost) -> bool:
    try:
        return host.wait_for(timeout=3, paused=1)["paused"] == 1
    except TimeoutError:
        return False


def test_a_host_that_draws_with_another_checkpoint_is_found_out_and_another_is_asked(
    pool: Callable[..., Pool],
) -> None:
    pool_ = pool({"checkpoints": ("alpha", "beta")}, {"checkpoints": ("alpha", "beta")})
    liar = pool_.hosts[0]
    liar.set_faults({"kind": "wrong_model", "checkpoint": "beta", "times": None})
    jobs = [pool_.robot.text2image(drawing(A, seed=seed)) for seed in range(4)]
    assert {drawn_with(job) for job in jobs} == {"alpha"}
    assert {job.host for job in jobs} == {pool_.name(1)}
    assert any(job.attempt > 1 for job in jobs) == bool(liar.requests("txt2img"))


def test_a_single_host_that_draws_with_another_checkpoint_fails_the_job_clearly(
    pool: Callable[..., Pool],
) -> None:
    pool_ = pool({"checkpoints": ("alpha", "beta")}, max_attempts=2)
    pool_.hosts[0].set_faults({"kind": "wrong_model", "checkpoint": "beta", "times": None})
    with pytest.raises(WrongResult):
        pool_.robot.text2image(drawing(A))
    (job,), _ = pool_.robot.jobs.of_tenant("local")
    assert (job.status, job.images) == (JobStatus.FAILED, [])


def test_a_checkpoint_of_a_host_that_is_away_is_not_taken_for_unknown(
    pool: Callable[..., Pool],
) -> None:
    pool_ = pool({"checkpoints": ("alpha",)}, {"checkpoints": ("beta",)}, max_attempts=1)
    pool_.robot.text2image(drawing(B))
    pool_.hosts[1].stop()
    elsewhere = pool_.another(pool_.robot)  # which has never seen the host
    with pytest.raises(UpstreamError) as failure:
        elsewhere.text2image(drawing(B))
    assert failure.value.retryable
    with pytest.raises(UnknownCheckpoint):
        elsewhere.text2image(drawing("gamma"))
    assert elsewhere.text2image(drawing(A)).status is JobStatus.SUCCEEDED


def test_without_a_checkpoint_the_configured_one_is_drawn_with(
    pool: Callable[..., Pool],
) -> None:
    both = {"checkpoints": ("alpha", "beta")}
    pool_ = pool(both, {"checkpoints": ("alpha",)}, art_config=ArtConfig(checkpoint="beta"))
    jobs = [pool_.robot.text2image(drawing()) for _ in range(3)]
    assert {drawn_with(job) for job in jobs} == {"beta"}
    assert {job.host for job in jobs} == {pool_.name(0)}
    assert drawn_with(pool_.robot.text2image(drawing(A))) == "alpha"


def test_what_others_drew_with_does_not_decide_about_a_request_that_names_nothing(
    pool: Callable[..., Pool],
) -> None:
    pool_ = pool({"checkpoints": ("alpha", "beta")})
    assert drawn_with(pool_.robot.text2image(drawing(B))) == "beta"
    assert drawn_with(pool_.robot.text2image(drawing())) == "alpha"
    pool_.robot.text2image(drawing(B))
    elsewhere = pool_.another(pool_.robot)
    assert elsewhere.webui_api.get_options("local")["sd_model_checkpoint"].startswith(A)
    job = elsewhere.text2image(drawing())
    assert drawn_with(job) == "alpha"
    assert job.effective is not None
    assert job.effective["override_settings"] == {"sd_model_checkpoint": A}


def test_a_request_goes_to_a_host_that_can_do_it(pool: Callable[..., Pool]) -> None:
    pool_ = pool({"personality": "sdcpp", "checkpoints": ("alpha",)}, {"checkpoints": ("alpha",)})
    hires: dict[str, Any] = {"enable_hr": True, "hr_scale": 2.0, "denoising_strength": 0.5}
    jobs = [pool_.robot.text2image(drawing(**hires)) for _ in range(3)]
    assert {job.host for job in jobs} == {pool_.name(1)}


# --- whose fault it was ---------------------------------------------------------------------------


def raising(kind: str, text: str = "", **more: Any) -> dict[str, Any]:
    return {"kind": "error", "error": kind, "errors": text, **more}


def failures(robot: Robot) -> list[int]:
    return [state.failures for state in robot.hosts.states()]


@pytest.mark.parametrize(
    "kind",
    [
        *("KeyError", "AssertionError", "IndexError", "ValidationError", "TypeError"),
        *("ValueError", "NansException", "URLError"),
    ],
)
def test_what_a_host_refuses_is_the_callers_with_the_hosts_reason(
    pool: Callable[..., Pool], kind: str
) -> None:
    pool_ = pool({})
    pool_.hosts[0].set_faults(raising(kind, "it is so"))
    with pytest.raises(UpstreamRejected, match=f"{kind}: it is so"):
        pool_.robot.text2image(drawing())
    (job,), _ = pool_.robot.jobs.of_tenant("local")
    assert (job.status, job.attempt) == (JobStatus.FAILED, 1)
    assert failures(pool_.robot) == [0]
    assert pool_.robot.text2image(drawing()).attempt == 1


def test_what_one_host_refuses_is_tried_on_one_other(pool: Callable[..., Pool]) -> None:
    pool_ = pool({}, {}, {})
    pool_.hosts[0].set_faults(raising("IndexError"))
    for _ in range(3):
        assert pool_.robot.text2image(drawing()).status is JobStatus.SUCCEEDED
    for host in pool_.hosts:
        host.clear_faults()
        host.set_faults(raising("IndexError"))
    before = [host.stats()["generations_started"] for host in pool_.hosts]
    with pytest.raises(UpstreamRejected):
        pool_.robot.text2image(drawing())
    after = [host.stats()["generations_started"] for host in pool_.hosts]
    asked = [now - then for now, then in zip(after, before, strict=True)]
    assert sorted(asked) == [0, 2, 2], "the request, and what every sound host draws"
    assert failures(pool_.robot) == [0, 0, 0]


def test_a_host_that_draws_nothing_at_all_is_left_alone(pool: Callable[..., Pool]) -> None:
    pool_ = pool({}, max_attempts=1)
    pool_.hosts[0].set_faults(raising("IndexError", times=None))
    with pytest.raises(UpstreamUnavailable):
        pool_.robot.text2image(drawing())
    assert failures(pool_.robot) == [1]


@pytest.mark.parametrize("end", ["cancel", "interrupt"])
def test_stopping_a_drawing_of_several_images_is_no_failure(
    pool: Callable[..., Pool], end: str
) -> None:
    pool_ = pool({})
    host, robot = pool_.hosts[0], pool_.robot
    host.hold()

    def stop() -> None:
        host.wait_for(paused=1)
        (job,) = robot.jobs.running("local")
        if end == "cancel":
            robot.cancel(job.id)
        else:
            robot.webui_api.interrupt("local")

    thread = threading.Thread(target=stop)
    thread.start()
    if end == "cancel":
        with pytest.raises(JobCanceled):
            robot.text2image(drawing(n_iter=4))
    else:
        job = robot.text2image(drawing(n_iter=4))
        assert (job.interrupted, len(job.images)) == (True, 1)
    thread.join(30)
    assert failures(robot) == [0]
    (state,) = robot.hosts.states()
    assert state.state(robot.clock.now()) == "free"
    assert host.stats()["generations_started"] == 1


def test_controlnet_that_failed_on_the_host_is_told(pool: Callable[..., Pool]) -> None:
    pool_ = pool({}, max_attempts=5)
    unit = {"enabled": True, "module": "reference_only", "image": CAT}
    args = [{**unit, "model": "None", "save_detected_map": True}]
    request = drawing(alwayson_scripts={"controlnet": {"args": args}})
    assert len(pool_.robot.text2image(request).extra_images) == 1
    missing = {**unit, "module": "depth_anything", "model": "control_v11f1p_sd15_depth"}
    request = drawing(alwayson_scripts={"controlnet": {"args": [missing]}})
    with pytest.raises(UpstreamRejected, match="URLError"):
        pool_.robot.text2image(request)
    assert failures(pool_.robot) == [0]


@pytest.mark.parametrize("first", [True, False])
def test_a_host_that_comes_back_with_other_extensions_is_known_at_once(
    pool: Callable[..., Pool], monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    monkeypatch.setattr("robotchat.art.bot.FRESH", 0.0)
    pool_ = pool({"controlnet": first})
    unit = {"enabled": True, "module": "canny", "model": "control_v11p_sd15_canny", "image": CAT}
    request = drawing(alwayson_scripts={"controlnet": {"args": [unit]}})

    def works() -> bool:
        try:
            return len(pool_.robot.text2image(request).extra_images) == 1
        except (NotSupported, UpstreamRejected):
            return False

    pool_.robot.text2image(drawing())
    assert works() == first
    pool_.hosts[0].restart(controlnet=not first)
    assert works() != first
