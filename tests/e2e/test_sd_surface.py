"""The SD surface over HTTP: large answers, preferences by the real queue, configuration."""

from __future__ import annotations

import base64
import io
import json
import random
from collections.abc import Iterator

import httpx
import pytest
from PIL import Image

from dev.sd_host import Control
from tests.local_stack import RunningStack, wait_until

SMALL = {"prompt": "a beach", "steps": 2, "width": 64, "height": 64}


@pytest.fixture(scope="module")
def api(stack: RunningStack) -> Iterator[httpx.Client]:
    """A client with the dev key."""
    with httpx.Client(base_url=stack.api_url, headers=stack.headers, timeout=90) as client:
        yield client


@pytest.fixture
def host(stack: RunningStack) -> Iterator[Control]:
    """The stand-in SD host behind the service."""
    with Control(stack.sd_hosts[0]) as control:
        yield control
        control.clear_faults()
        control.release()


def test_an_answer_may_be_larger_than_lambda_gives_in_one_piece(api: httpx.Client) -> None:
    noise = Image.frombytes("RGB", (1024, 1024), random.Random(1).randbytes(3 * 1024 * 1024))  # noqa: S311
    file = io.BytesIO()
    noise.save(file, "PNG")
    request = {
        "prompt": "sand",
        "init_images": [base64.b64encode(file.getvalue()).decode()],
        "denoising_strength": 0.01,
        "width": 1024,
        "height": 1024,
        "steps": 1,
        "n_iter": 4,
    }
    answer = api.post("/sdapi/v1/img2img", json=request)
    assert answer.status_code == 200
    assert len(answer.content) > 12 * 1024 * 1024
    assert len(answer.json()["images"]) == 4


def test_the_queue_draws_for_those_who_do_not_wait(api: httpx.Client) -> None:
    answer = api.post("/sdapi/v1/txt2img", json=SMALL, headers={"Prefer": "respond-async"})
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "respond-async")
    link = answer.headers["location"]
    wait_until(lambda: api.get(link).json()["status"] == "succeeded", "the job to be drawn")
    job = api.get(link).json()
    assert httpx.get(job["images"][0]["url"]).content.startswith(b"\x89PNG")


def test_the_queue_draws_in_time_for_those_who_wait(api: httpx.Client) -> None:
    answer = api.post("/sdapi/v1/txt2img", json=SMALL, headers={"Prefer": "wait=60"})
    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "wait=60")
    body = answer.json()
    assert json.loads(body["info"])["prompt"] == "a beach"
    assert base64.b64decode(body["images"][0]) == httpx.get(body["image_urls"][0]).content


def test_who_waits_too_short_gets_the_job_and_it_goes_on(api: httpx.Client, host: Control) -> None:
    host.hold()
    answer = api.post("/sdapi/v1/txt2img", json=SMALL, headers={"Prefer": "wait=1"})
    assert answer.status_code == 202
    host.wait_for(paused=1)
    host.release()
    link = answer.headers["location"]
    wait_until(lambda: api.get(link).json()["status"] == "succeeded", "the job to be drawn")


def test_the_configuration_is_read_and_written(api: httpx.Client) -> None:
    before = api.get("/v1/config")
    tag = before.headers["etag"]
    config = before.json()["config"]
    written = api.put("/v1/config", json=config, headers={"If-Match": tag})
    assert (written.status_code, written.json()["config"]) == (200, config)
    assert api.put("/v1/config", json=config, headers={"If-Match": tag}).status_code == 412


def test_secrets_of_the_configuration_stay_inside(api: httpx.Client, stack: RunningStack) -> None:
    before = api.get("/v1/config").json()["config"]
    hosts = [{"url": stack.sd_hosts[0], "username": "me", "password": "hunter2-hunter2"}]
    try:
        written = api.put("/v1/config", json={**before, "sd_hosts": hosts})
        assert written.status_code == 200
        shown = api.get("/v1/config")
        assert shown.json()["config"]["sd_hosts"][0]["password_set"] is True
        assert "hunter2" not in written.text + shown.text
    finally:
        api.put("/v1/config", json=before).raise_for_status()
    logs = "".join(path.read_text() for path in (stack.state / "logs").glob("*.log"))
    assert "hunter2" not in logs
