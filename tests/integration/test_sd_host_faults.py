"""The stand-in SD host's faults, its control API, and its life as a process."""

from __future__ import annotations

import base64
import io
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from dev import sd_host
from dev.sd_host import Control, RunningHost

API = "/sdapi/v1"
SMALL = {"width": 64, "height": 64, "steps": 4}
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def shared_host() -> Iterator[RunningHost]:
    with sd_host.running(checkpoints=("first", "second")) as running:
        yield running


@pytest.fixture
def host(shared_host: RunningHost) -> RunningHost:
    shared_host.reset()
    return shared_host


@pytest.fixture
def web(host: RunningHost) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=host.url, timeout=20, trust_env=False) as client:
        yield client


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as threads:
        yield threads


def draw(web: httpx.Client, **body: Any) -> httpx.Response:
    return web.post(f"{API}/txt2img", json={**SMALL, **body})


# Faults


def test_a_fault_hits_as_many_requests_as_it_says(web: httpx.Client, host: RunningHost) -> None:
    host.set_faults({"kind": "error", "times": 2, "after": 1})
    assert [draw(web).status_code for _ in range(4)] == [200, 500, 500, 200]
    host.set_faults({"kind": "error", "times": None})
    assert [draw(web).status_code for _ in range(3)] == [500] * 3
    assert host.faults()[0]["kind"] == "error"
    host.clear_faults()
    assert draw(web).status_code == 200


def test_a_fault_hits_only_its_path(web: httpx.Client, host: RunningHost) -> None:
    host.set_faults({"kind": "error", "path": "*/samplers", "error": "KeyError", "errors": "'x'"})
    assert draw(web).status_code == 200
    failed = web.get(f"{API}/samplers")
    assert (failed.status_code, failed.json()["error"]) == (500, "KeyError")


def test_an_unknown_fault_is_refused(host: RunningHost) -> None:
    with pytest.raises(ValueError, match="one of refuse, error"):
        host.set_faults({"kind": "flood"})
    with pytest.raises(ValueError, match="garbage is one of"):
        host.set_faults({"kind": "garbage", "what": "confetti"})


def test_a_refusal_comes_before_anything(web: httpx.Client, host: RunningHost) -> None:
    host.set_faults({"kind": "refuse", "retry_after": 3})
    refused = draw(web, seed="not even valid")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "3")
    assert host.stats()["generations_started"] == 0


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "disconnect", "at_step": 2},
        {"kind": "disconnect", "partial": True},
        {"kind": "restart", "at_step": 2},
    ],
)
def test_a_dropped_connection_is_an_error_for_the_client(
    web: httpx.Client, host: RunningHost, fault: dict[str, Any]
) -> None:
    host.set_faults(fault)
    with pytest.raises(httpx.RemoteProtocolError):
        draw(web)
    assert draw(web).status_code == 200


def test_after_a_disconnect_the_work_goes_on(web: httpx.Client, host: RunningHost) -> None:
    host.set_faults({"kind": "disconnect"})
    with pytest.raises(httpx.RemoteProtocolError):
        draw(web)
    assert host.wait_for(generations_finished=1)["generations_failed"] == 0


@pytest.mark.parametrize("what", ["html", "broken_json", "empty"])
def test_garbage_that_is_not_json(web: httpx.Client, host: RunningHost, what: str) -> None:
    host.set_faults({"kind": "garbage", "what": what})
    answer = draw(web)
    assert answer.status_code == 200
    with pytest.raises(ValueError, match=r"Expecting|Unterminated|delimiter"):
        answer.json()


def test_garbage_that_is_json_but_not_an_answer(web: httpx.Client, host: RunningHost) -> None:
    kinds = ("not_object", "no_images", "info_not_json", "not_base64")
    host.set_faults(
        *({"kind": "garbage", "what": what, "after": n} for n, what in enumerate(kinds))
    )
    answers = [draw(web).json() for _ in kinds]
    assert isinstance(answers[0], list)
    assert "images" not in answers[1]
    assert not answers[2]["info"].startswith("{")
    assert answers[3]["images"][0].startswith("%")


@pytest.mark.parametrize("what", ["not_image", "truncated_png"])
def test_garbage_that_is_not_an_image(web: httpx.Client, host: RunningHost, what: str) -> None:
    host.set_faults({"kind": "garbage", "what": what})
    data = base64.b64decode(draw(web).json()["images"][0], validate=True)
    with pytest.raises(OSError, match=r"cannot identify|truncated|Truncated"):
        Image.open(io.BytesIO(data)).load()


def test_wrong_results_say_what_was_done(web: httpx.Client, host: RunningHost) -> None:
    host.set_faults(
        {"kind": "wrong_model"},
        {"kind": "wrong_sampler", "sampler": "LMS", "after": 1},
        {"kind": "wrong_count", "after": 2},
        {"kind": "wrong_size", "after": 3},
    )
    asked = {"sampler_name": "Euler", "batch_size": 2}
    model, sampler, count, size = (draw(web, **asked).json() for _ in range(4))
    assert '"sd_model_name": "second"' in model["info"]
    assert '"sampler_name": "LMS"' in sampler["info"]
    assert len(count["images"]) == 1
    assert Image.open(io.BytesIO(base64.b64decode(size["images"][0]))).size == (32, 32)


def test_a_held_job_waits_for_the_release(
    web: httpx.Client, host: RunningHost, pool: ThreadPoolExecutor
) -> None:
    host.hold(at_step=3)
    job = pool.submit(draw, web)
    assert host.wait_for(paused=1)["sampling_step"] == 3
    assert not job.done()
    assert host.release() == 1
    assert job.result().status_code == 200


def test_a_stalled_job_is_deaf_to_interrupts(
    web: httpx.Client, host: RunningHost, pool: ThreadPoolExecutor
) -> None:
    host.set_faults({"kind": "stall"})
    job = pool.submit(draw, web)
    host.wait_for(paused=1)
    web.post(f"{API}/interrupt")
    assert host.stats()["paused"] == 1
    host.release()
    assert job.result().status_code == 200


def test_a_stall_ends_by_itself_when_it_has_seconds(web: httpx.Client, host: RunningHost) -> None:
    host.set_faults({"kind": "stall", "seconds": 0.01})
    assert draw(web).status_code == 200


def test_a_slow_load_takes_its_time(web: httpx.Client, host: RunningHost) -> None:
    host.set_faults({"kind": "slow_load", "seconds": 0.05})
    assert draw(web, override_settings={"sd_model_checkpoint": "second"}).status_code == 200
    assert host.stats()["load_seconds"] >= 0.05


def test_a_checkpoint_that_does_not_load_fails_the_job(
    web: httpx.Client, host: RunningHost
) -> None:
    host.set_faults({"kind": "load_error"})
    answer = draw(web, override_settings={"sd_model_checkpoint": "second"})
    assert (answer.status_code, answer.json()["error"]) == (500, "RuntimeError")


def test_a_restart_forgets_what_was_not_saved(
    web: httpx.Client, host: RunningHost, pool: ThreadPoolExecutor
) -> None:
    web.post(f"{API}/options", json={"CLIP_stop_at_last_layers": 2})
    draw(web, override_settings={"sd_model_checkpoint": "second"}, force_task_id="done",
         override_settings_restore_afterwards=False)  # fmt: skip
    host.hold()
    jobs = [pool.submit(draw, web)]
    host.wait_for(paused=1)
    jobs.append(pool.submit(draw, web))
    host.wait_for(waiting=1)
    host.restart()
    for job in jobs:
        assert isinstance(job.exception(), httpx.RemoteProtocolError)
    options = web.get(f"{API}/options").json()
    assert options["CLIP_stop_at_last_layers"] == 2
    assert options["sd_model_checkpoint"].startswith("first.")
    assert web.get(f"{API}/progress").json()["state"]["job_count"] == 0
    task = web.post("/internal/progress", json={"id_task": "done"}).json()
    assert task["completed"] is False
    assert draw(web).status_code == 200


def test_while_it_restarts_it_answers_nobody(web: httpx.Client, host: RunningHost) -> None:
    host.restart(seconds=60)
    with pytest.raises(httpx.RemoteProtocolError):
        web.get(f"{API}/samplers")
    host.reset()
    assert web.get(f"{API}/samplers").status_code == 200


# What it tells of itself


def test_stats_tell_what_happened(web: httpx.Client, host: RunningHost) -> None:
    draw(web, prompt="a cat", force_task_id="one", override_settings={"sd_vae": "x" * 300})
    draw(web, seed="bad")
    stats = host.stats()
    assert (stats["generations_txt2img"], stats["generations_finished"]) == (1, 1)
    assert 0 < stats["busy_seconds"] <= stats["span_seconds"] <= stats["wall_seconds"]
    seen = host.requests("txt2img")
    assert [entry["status"] for entry in seen] == [200, 422]
    assert (seen[0]["task_id"], seen[0]["body"]["prompt"]) == ("one", "a cat")
    assert seen[0]["body"]["override_settings"]["sd_vae"] == "<300 characters>"


def test_waiting_in_vain_is_a_timeout(host: RunningHost) -> None:
    with pytest.raises(TimeoutError, match="generations_started"):
        host.wait_for(timeout=0.01, generations_started=1)
    with pytest.raises(ValueError, match="no such counter"):
        host.wait_for(cakes=1)


def test_control_reaches_a_host_by_its_url(host: RunningHost) -> None:
    with Control(host.url) as control:
        control.add_lora("x")
        control.remove_lora("x")
        control.add_checkpoint("y")
        control.remove_checkpoint("y")
        with pytest.raises(ValueError, match="which file"):
            control.remove_lora("x")


def test_its_page_says_that_it_is_no_model(web: httpx.Client) -> None:
    page = web.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "There is no model here" in page.text


def test_a_killed_host_drops_its_clients_and_refuses_new_ones() -> None:
    with sd_host.running() as doomed, ThreadPoolExecutor(1) as pool:
        doomed.hold()
        with httpx.Client(base_url=doomed.url, timeout=20, trust_env=False) as client:
            job: Future[httpx.Response] = pool.submit(draw, client)
            doomed.wait_for(paused=1)
            doomed.stop()
            assert isinstance(job.exception(), httpx.TransportError)
            with pytest.raises(httpx.ConnectError):
                client.get("/")


# As a process


def started(*options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dev.sd_host", "--port", "0", *options]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_says_where_it_serves_and_stops_on_a_signal(number: signal.Signals) -> None:
    with started("--fixed-seconds", "60", "--name", "mine") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline().strip()
        assert line.startswith("sd_host: mine (a1111) serves on http://127.0.0.1:")
        url = line.rpartition(" ")[2]
        with (
            Control(url) as control,
            ThreadPoolExecutor(1) as pool,
            httpx.Client(base_url=url, timeout=20, trust_env=False) as client,
        ):
            job = pool.submit(draw, client)
            control.wait_for(generations_started=1)
            process.send_signal(number)
            assert isinstance(job.exception(), httpx.TransportError)
        assert process.wait(timeout=10) == 0
        assert process.stderr.read() == ""


def test_a_busy_port_is_one_clear_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with started("--port", str(port)) as process:
            _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert errors == f"sd_host: port {port} on 127.0.0.1 is in use; try --port\n"
