"""Watching and stopping one's own work on hosts that others draw on too."""

from __future__ import annotations

import json
import queue
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from robotchat.art.answers import Progress, ProgressState
from robotchat.art.capabilities import Capabilities
from robotchat.art.requests import Text2ImageRequest
from robotchat.drivers.fake import FakeArt, plain_png
from robotchat.errors import JobExpired, NotFound
from robotchat.hosts.webui_api import OwnProgress
from robotchat.images import decode_base64, encode_base64
from robotchat.jobs.job import Job, JobKind, JobStatus
from robotchat.lifecycle import heartbeat
from robotchat.robot import Robot

PREVIEW = encode_base64(plain_png(64, 64, "preview"))
RUNNING = Progress(
    progress=0.5,
    eta_relative=3.0,
    state=ProgressState(job_count=4, sampling_step=10, sampling_steps=20),
    current_image=PREVIEW,
)


class SlowHost(FakeArt):
    """A host on which the test does something while it draws."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.now = RUNNING
        self.looks: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.skips = 0

    def progress(self, attempt_id: str | None = None, *, preview: bool = False) -> Progress | None:
        self.looks.put(not preview)
        return super().progress(attempt_id, preview=preview)

    def post(self, path: str, *args: Any, **options: Any) -> Any:
        self.skips += path == "sdapi/v1/skip"
        return super().post(path, *args, **options)

    def until(self, happened: Callable[[], bool]) -> None:
        """Wait until something has happened; it is looked for after each of the job's looks."""
        while not happened():
            self.looks.get(timeout=10)

    def meanwhile(self, act: Callable[[], None], images: int | None = None) -> None:
        """Do this during the next drawing, which then gives only so many pictures."""

        def script(body: dict[str, Any]) -> dict[str, Any]:
            act()
            answer = self.drawn(body)
            if images is not None:
                info = json.loads(answer["info"])
                info["infotexts"] = info["infotexts"][:images]
                answer["images"] = answer["images"][:images]
                answer["info"] = json.dumps(info)
            return answer

        self.enqueue([script])


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> SlowHost:
    """A slow host, watched closely."""
    monkeypatch.setattr(heartbeat, "INTERVAL", 0.01)
    monkeypatch.setattr(heartbeat, "PREVIEW_INTERVAL", 0.0)
    return SlowHost()


@pytest.fixture
def robot(host: SlowHost) -> Robot:
    """A robot over the slow host."""
    return Robot(art=host)


def own(robot: Robot, job_id: str) -> OwnProgress:
    """The progress of a job that is named."""
    shown = robot.webui_api.progress("me", job_id=job_id)
    assert isinstance(shown, OwnProgress)
    return shown


def request(**fields: Any) -> Text2ImageRequest:
    return Text2ImageRequest(prompt="a", width=64, height=64, steps=20, **fields)


def test_progress_is_the_callers_own(robot: Robot, host: SlowHost) -> None:
    seen: list[Any] = []

    def look() -> None:
        host.until(lambda: robot.webui_api.progress("me").state.job_count == 4)
        seen.append(robot.webui_api.progress("me", preview=False))
        seen.append(robot.webui_api.progress("other"))
        (job,) = robot.jobs.running("me")
        with pytest.raises(NotFound):
            robot.webui_api.progress("other", job_id=job.id)

    host.meanwhile(look)
    job = robot.text2image(request(n_iter=4), tenant="me")
    mine, others = seen
    assert type(mine) is Progress, "nothing but the web UI's fields"
    assert (mine.progress, mine.eta_relative) == (0.5, 3.0)
    assert (mine.state.job, mine.state.sampling_steps) == ("scripts_txt2img", 20)
    assert (mine.state.job_no, mine.state.sampling_step) == (2, 0)
    assert mine.current_image is None
    assert (others.progress, others.state.job_count) == (0.0, 0)
    after = own(robot, job.id)
    assert (after.progress, after.state.job_count, after.status) == (0.0, 0, JobStatus.SUCCEEDED)


def test_a_job_that_has_just_begun_shows_as_the_web_ui_shows_it(
    robot: Robot, host: SlowHost
) -> None:
    host.now = None
    seen: list[Any] = []
    host.meanwhile(lambda: seen.append(robot.webui_api.progress("me")))
    robot.text2image(request(), tenant="me")
    assert (seen[0].progress, seen[0].state.job_count) == (0.01, -1)


def test_previews_are_made_only_while_somebody_looks(robot: Robot, host: SlowHost) -> None:
    def twice() -> None:
        host.looks.get(timeout=10)
        host.looks.get(timeout=10)

    host.meanwhile(twice)
    robot.text2image(request(), tenant="me")
    while not host.looks.empty():
        assert host.looks.get() is True, "no preview was asked of the host"

    images: list[str | None] = []

    def look() -> None:
        host.until(lambda: robot.webui_api.progress("me").current_image is not None)
        images.append(robot.webui_api.progress("me").current_image)

    host.meanwhile(look)
    job = robot.text2image(request(), tenant="me")
    assert images == [PREVIEW]
    assert robot.images.get(f"{job.images_prefix}preview") == decode_base64(PREVIEW)
    assert robot.webui_api.progress("me", job_id=job.id).current_image is None


def test_a_preview_that_is_no_image_does_no_harm(robot: Robot, host: SlowHost) -> None:
    host.now = RUNNING.model_copy(update={"current_image": "rubbish"})

    def look() -> None:
        robot.webui_api.progress("me")
        host.until(lambda: not host.looks.get(timeout=10))
        host.looks.get(timeout=10)

    host.meanwhile(look)
    assert robot.text2image(request(), tenant="me").status is JobStatus.SUCCEEDED


def test_an_interrupt_gives_the_waiting_caller_what_there_is(robot: Robot, host: SlowHost) -> None:
    def stop() -> None:
        robot.webui_api.interrupt("other")
        robot.webui_api.interrupt("me")
        assert host.interrupted.wait(10)

    host.meanwhile(stop, images=1)
    job = robot.text2image(request(n_iter=4), tenant="me")
    assert (job.status, job.interrupted, len(job.images)) == (JobStatus.SUCCEEDED, True, 1)


def test_an_interrupt_of_another_tenant_stops_nothing(robot: Robot, host: SlowHost) -> None:
    def stop() -> None:
        robot.webui_api.interrupt("other")
        (mine,) = robot.jobs.running("me")
        with pytest.raises(NotFound):
            robot.webui_api.interrupt("other", job_id=mine.id)
        host.looks.get(timeout=10)
        host.looks.get(timeout=10)

    host.meanwhile(stop)
    job = robot.text2image(request(), tenant="me")
    assert not job.interrupted
    assert not host.interrupted.is_set()


def test_a_skip_ends_one_batch_once(robot: Robot, host: SlowHost) -> None:
    def stop() -> None:
        robot.webui_api.skip("me")
        assert host.interrupted.wait(10)
        (mine,) = robot.jobs.running("me")
        host.until(lambda: robot.jobs.get(mine.id, "me").stop is None)

    host.meanwhile(stop)
    job = robot.text2image(request(n_iter=2), tenant="me")
    assert (job.interrupted, len(job.images), host.skips) == (False, 2, 1)


def test_a_host_that_cannot_be_interrupted_draws_on(
    monkeypatch: pytest.MonkeyPatch, robot: Robot, host: SlowHost
) -> None:
    host.able = Capabilities(interrupt=False)

    def stop() -> None:
        robot.webui_api.interrupt("me")
        host.looks.get(timeout=10)
        host.looks.get(timeout=10)

    host.meanwhile(stop)
    job = robot.text2image(request(), tenant="me")
    assert (job.status, job.interrupted) == (JobStatus.SUCCEEDED, False)


def test_what_waits_is_neither_shown_as_running_nor_interrupted(robot: Robot) -> None:
    now = robot.clock.now()
    queued = Job(
        id="job_1",
        kind=JobKind.TEXT2IMAGE,
        tenant="me",
        created_at=now,
        expires_at=now + robot.settings.retention,
    )
    robot.jobs.add(queued)
    shown = own(robot, "job_1")
    assert (shown.textinfo, shown.state.job_count, shown.status) == (
        "In queue",
        0,
        JobStatus.QUEUED,
    )
    robot.webui_api.interrupt("me", job_id="job_1")
    assert robot.jobs.get("job_1", "me").stop is None
    assert robot.webui_api.progress("me") == Progress()


def test_a_job_past_its_deadline_is_stopped_while_it_is_drawn(robot: Robot, host: SlowHost) -> None:
    def grow_late() -> None:
        (job,) = robot.jobs.running("me")
        assert job.expires_at - job.created_at == timedelta(seconds=600)
        robot.jobs.change(job.id, lambda j, now: j.model_copy(update={"expires_at": now}))
        assert host.interrupted.wait(timeout=10)

    host.meanwhile(grow_late)
    with pytest.raises(JobExpired):
        robot.text2image(request(), tenant="me", deadline=600)
    (job,), _ = robot.jobs.of_tenant("me")
    assert (job.status, job.images, job.attempt) == (JobStatus.EXPIRED, [], 1)
    assert [state.failures for state in robot.hosts.states()] == [0]


def test_a_host_without_progress_is_estimated_by_its_speed(
    robot: Robot, host: SlowHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.now = None
    robot.text2image(request(), tenant="me")
    monkeypatch.setattr("robotchat.hosts.lease.Lease.estimate", lambda lease, work: 1000.0)
    seen: list[Any] = []

    def look() -> None:
        (job,) = robot.jobs.running("me")
        host.until(lambda: own(robot, job.id).eta_estimated)
        seen.append(robot.webui_api.progress("me"))

    host.meanwhile(look)
    robot.text2image(request(), tenant="me")
    assert 990 < seen[0].eta_relative <= 1000
