"""Pull workers in the running service: one dies, one is told to leave, and no job is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from dev import sd_host
from dev.checks import privileges
from dev.sd_host import RunningHost
from dev.template import PULL_WORKER
from robotchat.drivers.fake import FakeArt
from robotchat.hosts.pulled import CONTROLNET_LISTS, LISTS
from tests.local_stack import ROOT, RunningStack, wait_until

SMALL = {"steps": 2, "width": 64, "height": 64, "prompt": "a beach"}
IMAGE: str = FakeArt().drawn({"prompt": "x", "width": 64, "height": 64})["images"][0]
SECONDS = 1.0
"""How long a picture takes."""


class Site:
    """A service without hosts, and workers that are started beside one."""

    def __init__(self, stack: RunningStack, host: RunningHost, folder: Path) -> None:
        self.stack = stack
        self.host = host
        self.api = httpx.Client(base_url=stack.api_url, headers=stack.headers, timeout=60)
        self._folder = folder
        self._number = 0

    def worker(self, *options: str, host: str | None = None) -> subprocess.Popen[bytes]:
        """Another worker, on the same host or another, as soon as it is at work."""
        self._number += 1
        log = self._folder / f"worker-{self._number}.log"
        passed = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        command = [
            *(sys.executable, "-m", "robotchat.cli", "worker", "--local", str(self.stack.state)),
            *("--host", host or self.host.url, *options),
        ]
        environment = {
            **passed,
            "ALIVE_SECONDS": "2",
            "LEASE_TTL_SECONDS": "2",
            "PYTHONPATH": str(ROOT / "dev" / "stack" / "recorder"),
            "ROBOTCHAT_RECORD": str(self.stack.recording),
            "ROBOTCHAT_RECORD_AS": PULL_WORKER,
        }
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, env=environment, cwd=ROOT, stdout=output, stderr=output
            )
        wait_until(
            lambda: b"is ready" in log.read_bytes() or process.poll() is not None, "worker", 60
        )
        assert process.poll() is None, log.read_text()
        return process

    def submit(self, count: int) -> list[str]:
        """Queue pictures; gives their jobs' ids."""
        wait = {"Prefer": "respond-async"}
        answers = [
            self.api.post("/sdapi/v1/txt2img", json=SMALL, headers=wait) for _ in range(count)
        ]
        assert [answer.status_code for answer in answers] == [202] * count
        return [answer.json()["id"] for answer in answers]

    def finished(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        def jobs() -> list[dict[str, Any]]:
            return [self.api.get(f"/v1/jobs/{one}").json() for one in ids]

        wait_until(lambda: all(job["status"] == "succeeded" for job in jobs()), "jobs", 90)
        return jobs()

    def drawing(self) -> bool:
        seen = self.host.stats()
        ended = seen["generations_finished"] + seen["generations_failed"]
        return int(seen["generations_started"]) > int(ended)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with sd_host.running(fixed_seconds=SECONDS) as host:
        state = tmp_path_factory.mktemp("pull")
        stack = RunningStack(
            state,
            {
                "WORKERS": "pull",
                "SD_HOSTS": host.url,
                "ROBOTCHAT_PARAMETERS": "RetryBaseSeconds=0.1",
                "ROBOTCHAT_FUNCTION_ENV": "ALIVE_SECONDS=2 LEASE_TTL_SECONDS=2",
            },
        ).start()
        site = Site(stack, host, state)
        yield site
        site.api.close()
        stack.stop()


def test_no_function_knows_the_host_and_text2image_works_all_the_same(site: Site) -> None:
    answer = site.api.post("/sdapi/v1/txt2img", json=SMALL)
    assert answer.status_code == 200, answer.text
    assert answer.json()["images"]
    titles = [model["title"] for model in site.api.get("/sdapi/v1/sd-models").json()]
    assert titles == [m["title"] for m in httpx.get(f"{site.host.url}/sdapi/v1/sd-models").json()]
    for log in (site.stack.state / "logs").glob("Text2Image*.log"):
        assert site.host.url not in log.read_text()


def test_what_a_killed_worker_had_in_hand_is_drawn_by_another(site: Site) -> None:
    second = site.worker()
    ids = site.submit(6)
    wait_until(site.drawing, "a drawing", 30)
    second.send_signal(signal.SIGKILL)
    second.wait()
    assert len(site.finished(ids)) == 6
    assert site.host.stats()["max_waiting"] == 0, "no picture was asked for while another was drawn"


def test_a_worker_that_is_told_to_leave_is_gone_in_time_and_loses_nothing(site: Site) -> None:
    second = site.worker("--drain", "6")
    ids = site.submit(6)
    wait_until(site.drawing, "a drawing", 30)
    second.send_signal(signal.SIGTERM)
    assert second.wait(30) == 0
    jobs = site.finished(ids)
    assert [job["attempt"] for job in jobs] == [1] * 6, "no attempt was lost"


TOOLS: list[tuple[str, str, dict[str, Any] | None]] = [
    *(("GET", f"/sdapi/v1/{name}", None) for name in ("memory", *LISTS)),
    *(("GET", f"/controlnet/{name}", None) for name in CONTROLNET_LISTS if "?" not in name),
    ("POST", "/sdapi/v1/refresh-checkpoints", {}),
    ("POST", "/sdapi/v1/refresh-loras", {}),
    ("POST", "/sdapi/v1/refresh-vae", {}),
    ("POST", "/sdapi/v1/refresh-embeddings", {}),
    ("POST", "/sdapi/v1/png-info", {"image": IMAGE}),
    ("POST", "/sdapi/v1/interrogate", {"image": IMAGE, "model": "clip"}),
    ("POST", "/sdapi/v1/extra-single-image", {"image": IMAGE, "upscaler_1": "Lanczos"}),
    (
        "POST",
        "/sdapi/v1/extra-batch-images",
        {"imageList": [{"data": IMAGE, "name": "a.png"}], "upscaler_1": "Lanczos"},
    ),
    (
        "POST",
        "/controlnet/detect",
        {"controlnet_module": "canny", "controlnet_input_images": [IMAGE]},
    ),
]


@pytest.mark.parametrize(("method", "path", "body"), TOOLS, ids=[path for _, path, _ in TOOLS])
def test_what_its_worker_told_of_a_host_is_listed_and_all_else_it_is_asked(
    site: Site, method: str, path: str, body: dict[str, Any] | None
) -> None:
    answer = site.api.request(method, path, json=body)
    assert answer.status_code == 200, answer.text


def test_a_job_that_waits_is_canceled_and_one_that_is_drawn_is_cut_short(site: Site) -> None:
    drawn, *others = site.submit(7)
    wait_until(site.drawing, "a drawing", 30)
    last = site.api.post(f"/v1/jobs/{others[-1]}/cancel")
    assert (last.status_code, last.json()["status"]) == (200, "canceled")
    assert site.api.post("/sdapi/v1/skip").status_code == 200
    site.finished([drawn, *others[:-1]])


def test_what_only_a_pools_host_can_draw_goes_to_the_pools_queue(site: Site) -> None:
    sqs = boto3.Session("test", "test", region_name=site.stack.region).client(
        "sqs", endpoint_url=site.stack.aws_endpoint_url
    )
    queue = sqs.create_queue(QueueName="robotchat-pool-large")["QueueUrl"]
    with sd_host.running(checkpoints=("large",)) as large:
        worker = site.worker("--pool", "large", host=large.url)
        try:
            model = {"override_settings": {"sd_model_checkpoint": "large"}}
            answer = site.api.post("/sdapi/v1/txt2img", json={**SMALL, **model})
            assert answer.status_code == 200, answer.text
            settings = {"steps": 2, "width": 64, "height": 64, **model}
            ids = []
            for path, request in (
                ("/sdapi/v1/img2img", {**SMALL, **model, "init_images": [IMAGE]}),
                ("/v1/chat/text2image", {"message": "a beach", "settings": settings}),
                (
                    "/v1/chat/image2image",
                    {"message": "blue", "image": IMAGE, "settings": settings},
                ),
            ):
                answer = site.api.post(path, json=request, headers={"Prefer": "respond-async"})
                assert answer.status_code == 202, answer.text
                ids.append(answer.json()["id"])
            site.finished(ids)
            assert large.stats()["generations_finished"] == 4
        finally:
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(30) == 0
    name = queue.rpartition("/")[2]
    done = privileges.recorded(site.stack.recording)
    assert ("sqs:SendMessage", name) in done["Text2Image"]
    assert ("sqs:ReceiveMessage", name) in done[PULL_WORKER]
