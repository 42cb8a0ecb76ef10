"""`sam local` as a user calls it, beside `make sam-local`: every way in, up to a picture."""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from dev.sam_local import docker_address
from dev.stack.ports import free_port, is_free
from tests.local_stack import RunningStack, wait_until
from tests.sam_project import Project

FIRST_ANSWER = 120.0
"""Seconds: a function's container is made when it is first called."""

SMALL = {"steps": 4, "width": 128, "height": 128}


class Beside(RunningStack):
    """`make sam-local` in the clone."""

    module = "dev.sam_local"

    def __init__(self, project: Project, **env: str) -> None:
        super().__init__(project.folder / ".robotchat" / "sam-local", env)
        self.folder = project.folder
        self.env["PYTHONPATH"] = os.pathsep.join(
            [str(project.folder), str(project.folder / "layers" / "robotchat" / "src")]
        )


@contextmanager
def sam_local(project: Project, command: str, port: int, logs: Path) -> Iterator[str]:
    """`sam local start-...`, with no more flags than a test needs: its port, and no download."""
    words = ("sam", "local", command, "--port", str(port), "--skip-pull-image")
    log = logs / f"{command}.log"
    with project.running(*words, log=log, env={}):
        wait_until(lambda: not is_free(port), f"{command}: {log.read_text()}", FIRST_ANSWER)
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def llm(built: Project, docker: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A stand-in for a language model, where containers reach it."""
    address = docker_address()
    port = free_port(address.listen)
    words = ("-m", "dev.llm", "--host", address.listen, "--port", str(port))
    log = tmp_path_factory.mktemp("llm") / "llm.log"
    with built.running(sys.executable, *words, log=log, env={}):
        wait_until(lambda: not is_free(port, address.listen), "the stand-in for a language model")
        yield f"http://{address.name}:{port}/v1"


@pytest.fixture(scope="module")
def lambda_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def beside(built: Project, llm: str, lambda_port: int) -> Iterator[Beside]:
    stack = Beside(built, SAM_LAMBDA_PORT=str(lambda_port), OPENAI_BASE_URL=llm)
    stack.start()
    yield stack
    assert stack.end(signal.SIGINT) == 0, stack.errors
    assert not (stack.state / "env.json").exists()


@pytest.fixture(scope="module")
def api(
    built: Project, beside: Beside, lambda_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """The API as `sam local start-api` serves it, with start-lambda beside it."""
    logs = tmp_path_factory.mktemp("sam")
    with (
        sam_local(built, "start-lambda", lambda_port, logs),
        sam_local(built, "start-api", free_port(), logs) as url,
        httpx.Client(base_url=url, headers=beside.headers, timeout=FIRST_ANSWER) as client,
    ):
        yield client


def finished(api: httpx.Client, accepted: httpx.Response) -> dict[str, Any]:
    """The job that was accepted, once it has ended."""
    assert accepted.status_code == 202, accepted.text
    job: dict[str, Any] = accepted.json()

    def ended() -> bool:
        answer = api.get(accepted.headers["location"])
        assert answer.status_code == 200, answer.text
        job.update(answer.json())
        return job["status"] not in ("queued", "running")

    wait_until(ended, "the job to end", FIRST_ANSWER)
    assert job["status"] == "succeeded", job["error"]
    return job


def image(job: dict[str, Any]) -> bytes:
    """A job's picture, by its link."""
    answer = httpx.get(job["images"][0]["url"])
    assert answer.status_code == 200, answer.text
    assert answer.content.startswith(b"\x89PNG")
    return answer.content


def test_it_is_well_and_lets_nobody_in_without_a_key(api: httpx.Client) -> None:
    health = api.get("/health", headers={"x-api-key": ""})
    assert (health.status_code, health.json()["status"]) == (200, "ok")
    # SAM takes the authorizer's "Unauthorized", by which API Gateway answers 401, for a failure.
    assert api.get("/v1/jobs", headers={"x-api-key": "rk_wrong"}).status_code in (401, 502)


def test_text2image_and_image2image_answer_with_images(api: httpx.Client) -> None:
    drawn = api.post("/sdapi/v1/txt2img", json={"prompt": "a photo of a cat", **SMALL})
    assert drawn.status_code == 200, drawn.text
    cat = drawn.json()["images"][0]
    assert base64.b64decode(cat).startswith(b"\x89PNG")
    assert httpx.get(drawn.json()["image_urls"][0]).content == base64.b64decode(cat)

    changed = api.post(
        "/sdapi/v1/img2img", json={"prompt": "a blue cat", "init_images": [cat], **SMALL}
    )
    assert changed.status_code == 200, changed.text
    assert changed.json()["images"][0] != cat


def test_a_conversation_draws_and_redraws_through_the_queue(api: httpx.Client) -> None:
    said = {"message": "I want to see a photo of a beach", "settings": SMALL}
    beach = finished(api, api.post("/v1/chat/text2image", json=said))
    said = {"message": "at sunset", "conversation_id": beach["conversation_id"]}
    sunset = finished(api, api.post("/v1/chat/text2image", json=said))
    assert "beach" in sunset["prompt"]
    assert "sunset" in sunset["prompt"]
    assert image(sunset) != image(beach)

    said = {"message": "make it blue", "conversation_id": beach["conversation_id"]}
    blue = finished(api, api.post("/v1/chat/image2image", json=said))
    assert image(blue) != image(sunset)

    events = api.get(f"/v1/jobs/{blue['id']}/events")
    assert events.headers["content-type"].startswith("text/event-stream")
    assert "event: done" in events.text


def test_chat_completions_answer_whole_or_as_events(api: httpx.Client) -> None:
    asked = {"model": "any", "messages": [{"role": "user", "content": "Say hello."}]}
    answer = api.post("/v1/chat/completions", json=asked)
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"]
    events = api.post("/v1/chat/completions", json={**asked, "stream": True})
    assert events.status_code == 200, events.text
    assert events.text.rstrip().endswith("data: [DONE]")


@pytest.mark.parametrize(
    ("function", "event", "status"),
    [
        ("Openapi", "admin/openapi", 200),
        ("Text2Image", "sd/text2image", 200),
        ("GetControlnetVersion", "controlnet/get_controlnet_version", 200),
        ("ChatText2Image", "chat/chat_text2image", 202),
        ("GetJob", "jobs/get_job", 404),
        ("Models", "gpt/models", 200),
    ],
)
def test_any_function_can_be_invoked_with_its_event(
    function: str, event: str, status: int, built: Project, beside: Beside
) -> None:
    words = ("local", "invoke", function, "-e", f"events/{event}.json", "--skip-pull-image")
    answer = json.loads(built.sam(*words).splitlines()[-1])
    assert answer["statusCode"] == status, answer


def test_a_function_of_the_schedule_can_be_invoked(built: Project, beside: Beside) -> None:
    words = ("local", "invoke", "Sweeper", "-e", "events/workers/sweeper.json")
    answer = json.loads(built.sam(*words, "--skip-pull-image").splitlines()[-1])
    assert answer["repaired"] == 0
