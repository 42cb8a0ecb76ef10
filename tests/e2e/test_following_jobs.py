"""Jobs as their callers follow, stop, repeat and forget them, in the running service."""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import boto3
import httpx
import pytest

from dev import sd_host
from dev.sd_host import RunningHost
from robotchat.aws.stores import DynamoRecords
from robotchat.clock import SystemClock
from robotchat.jobs.job import Job, JobKind
from robotchat.jobs.store import Jobs
from tests.local_stack import RunningStack, wait_until

SMALL = {"steps": 4, "width": 64, "height": 64}


class Bench:
    """The running service, the one host behind it, and its table."""

    def __init__(self, stack: RunningStack, host: RunningHost) -> None:
        self.stack, self.host = stack, host
        self.api = httpx.Client(base_url=stack.api_url, headers=stack.headers, timeout=30)
        session = boto3.Session("test", "test", region_name=stack.region)
        table = session.client("dynamodb", endpoint_url=stack.aws_endpoint_url)
        self.sqs = session.client("sqs", endpoint_url=stack.aws_endpoint_url)
        self.jobs = Jobs(DynamoRecords(table, stack.table), SystemClock())

    def say(self, message: str, **fields: Any) -> dict[str, Any]:
        body = {"message": message, "settings": SMALL, **fields}
        answer = self.api.post("/v1/chat/text2image", json=body)
        assert answer.status_code == 202, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def job(self, job_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.get(f"/v1/jobs/{job_id}").raise_for_status().json()
        return found

    def until(self, job_id: str, *statuses: str) -> dict[str, Any]:
        wait_until(lambda: self.job(job_id)["status"] in statuses, f"{job_id}: {statuses}")
        return self.job(job_id)

    def sweep(self) -> dict[str, int]:
        answer = self.api.post("/_dev/invoke?function=Sweeper", json={})
        done: dict[str, int] = answer.raise_for_status().json()
        return done


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with sd_host.running(fixed_seconds=0.2) as host:
        stack = RunningStack(
            tmp_path_factory.mktemp("following"),
            {
                "SD_HOSTS": host.url,
                "ROBOTCHAT_PARAMETERS": "RetryBaseSeconds=0.1",
                "ROBOTCHAT_FUNCTION_ENV": "MAX_ATTEMPTS=2",
            },
        ).start()
        bench = Bench(stack, host)
        yield bench
        bench.api.close()
        stack.stop()


@pytest.fixture
def bench(started: Bench) -> Iterator[Bench]:
    started.host.reset()
    yield started
    started.host.clear_faults()
    started.host.release()


class Follower:
    """Reads a job's events as `curl -N` does, in a thread; ``lines`` is what came so far."""

    def __init__(self, bench: Bench, job_id: str) -> None:
        self.lines: list[str] = []
        self.headers: dict[str, str] = {}
        self.opened = threading.Event()
        self._bench = bench
        self._path = f"/v1/jobs/{job_id}/events"
        self.thread = threading.Thread(target=self._read)
        self.thread.start()
        assert self.opened.wait(20)

    def _read(self) -> None:
        with (
            httpx.Client(timeout=60) as client,
            client.stream(
                "GET", self._bench.stack.api_url + self._path, headers=self._bench.stack.headers
            ) as answer,
        ):
            self.headers = dict(answer.headers)
            self.opened.set()
            for line in answer.iter_lines():
                self.lines.append(line)

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """The events that are complete."""
        found = re.findall(r"(?m)^event: (\w+)\ndata: (.*)$", "\n".join(self.lines))
        return [(name, json.loads(data)) for name, data in found]

    def saw(self, name: str) -> bool:
        return any(event == name for event, _ in self.events())


def test_a_job_is_followed_from_its_snapshot_to_its_end(bench: Bench) -> None:
    bench.host.hold(at_step=2)
    job = bench.say("a beach")
    follower = Follower(bench, job["id"])
    assert follower.headers["content-type"].startswith("text/event-stream")
    bench.host.wait_for(paused=1, timeout=30)
    wait_until(
        lambda: any(
            name == "progress" and data["progress"] > 0 for name, data in follower.events()
        ),
        "progress",
        timeout=30,
    )
    bench.host.release()
    follower.thread.join(30)
    events = follower.events()
    assert events[0][0] == "snapshot"
    assert events[0][1]["id"] == job["id"]
    told = dict.fromkeys(d["status"] for name, d in events if name in ("snapshot", "status"))
    assert list(told)[-1] == "running", "it may be running before its follower looks"
    assert events[-1][0] == "done"
    assert events[-1][1]["status"] == "succeeded"
    assert events[-1][1]["images"][0]["url"]
    progress = [data["progress"] for name, data in events if name == "progress"]
    assert progress == sorted(progress)
    assert 0 < max(progress) <= 1


def test_the_events_of_a_final_job_are_its_snapshot_and_its_end(bench: Bench) -> None:
    job = bench.until(bench.say("a beach")["id"], "succeeded")
    follower = Follower(bench, job["id"])
    follower.thread.join(30)
    assert [name for name, _ in follower.events()] == ["snapshot", "done"]


def test_events_of_a_job_that_is_not_there_are_not_found(bench: Bench) -> None:
    answer = bench.api.get("/v1/jobs/job_nonesuch/events")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_messages_that_come_twice_and_out_of_order_draw_each_image_once(bench: Bench) -> None:
    conversations = [[bench.say(f"a ship {n}")] for n in range(3)]
    for turns in conversations:
        for word in ("at sea", "at night"):
            turns.append(bench.say(word, conversation_id=turns[0]["conversation_id"]))
    ids = [job["id"] for turns in conversations for job in turns]
    copies = ids * 3
    random.Random(7).shuffle(copies)  # noqa: S311
    for job_id in copies:
        bench.sqs.send_message(
            QueueUrl=bench.stack.queue_url, MessageBody=json.dumps({"job_id": job_id})
        )
    found = {job_id: bench.until(job_id, "succeeded", "failed", "expired") for job_id in ids}
    assert bench.host.stats()["generations_started"] == len(ids)
    for turns in conversations:
        done = [found[turn["id"]] for turn in turns]
        assert [(job["turn"], job["status"]) for job in done] == [
            (number, "succeeded") for number in (1, 2, 3)
        ]
        assert all(a["finished_at"] <= b["started_at"] for a, b in pairwise(done))
        assert "night" in done[2]["prompt"]


def test_queued_jobs_are_told_their_place_and_time(bench: Bench) -> None:
    first = bench.until(bench.say("a beach")["id"], "succeeded")
    bench.host.hold()
    turns = [bench.say(f"with ship {n}", conversation_id=first["conversation_id"]) for n in "123"]
    wait_until(lambda: bench.host.stats()["paused"], "the drawing to begin")
    waiting = [bench.job(turn["id"]) for turn in turns[1:]]
    assert [job["reason"] for job in waiting] == ["waiting_for_turn"] * 2
    assert [job["queue_position"] for job in waiting] == [1, 2]
    assert 0 < waiting[0]["eta"] < waiting[1]["eta"]
    bench.host.release()
    for turn in turns:
        bench.until(turn["id"], "succeeded")


def test_a_job_that_is_drawn_is_stopped_at_its_host(bench: Bench) -> None:
    bench.host.hold()
    job = bench.say("a beach")
    wait_until(lambda: bench.host.stats()["paused"], "the drawing to begin")
    answer = bench.api.post(f"/v1/jobs/{job['id']}/cancel")
    assert answer.status_code == 202
    assert bench.until(job["id"], "canceled")["images"] == []
    assert bench.host.stats()["interrupts"] == 1
    again = bench.api.post(f"/v1/jobs/{job['id']}/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "job_is_final")


def test_a_failed_job_is_run_again_under_its_id(bench: Bench) -> None:
    bench.host.set_faults({"kind": "error", "times": 2})
    job = bench.say("a beach")
    failed = bench.until(job["id"], "failed", "succeeded")
    assert failed["status"] == "failed"
    assert (failed["attempt"], failed["error"]["retryable"]) == (2, True)
    answer = bench.api.post(failed["links"]["retry"])
    assert (answer.status_code, answer.json()["id"]) == (202, job["id"])
    assert bench.until(job["id"], "succeeded")["error"] is None
    assert bench.api.post(failed["links"]["retry"]).status_code == 409


def test_a_deleted_job_is_known_and_holds_nothing(bench: Bench) -> None:
    job = bench.until(bench.say("a beach")["id"], "succeeded")
    url = job["images"][0]["url"]
    assert bench.api.delete(f"/v1/jobs/{job['id']}").status_code == 200
    left = bench.job(job["id"])
    assert (left["status"], left["images"], left["message"]) == ("succeeded", [], None)
    assert httpx.get(url).status_code == 404
    assert bench.api.delete(f"/v1/jobs/{job['id']}").status_code == 200


def test_keys_are_checked_and_make_one_job(bench: Bench) -> None:
    body = {"message": "a beach", "settings": SMALL}

    def send(key: str, **more: Any) -> httpx.Response:
        return bench.api.post(
            "/v1/chat/text2image", json=body | more, headers={"Idempotency-Key": key}
        )

    first, again = send("order-7"), send("order-7")
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"]
    other = send("order-7", message="a castle")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    for key in ("x" * 256, "a key"):
        refused = send(key)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    # A refused request does not use its key up.
    assert send("order-8", settings={"steps": 0}).status_code == 422
    assert send("order-8").status_code == 202


def test_short_lived_images_are_deleted_by_the_sweeper(bench: Bench) -> None:
    job = bench.until(bench.say("a beach", expires_in=60)["id"], "succeeded")
    url = job["images"][0]["url"]
    kept = datetime.fromisoformat(job["expires_at"]) - datetime.fromisoformat(job["finished_at"])
    assert kept == timedelta(seconds=60)
    bench.sweep()
    assert httpx.get(url).status_code == 200, "its time is not up"
    past = datetime.now(UTC) - timedelta(seconds=1)
    bench.jobs.change(job["id"], lambda j, now: j.model_copy(update={"expires_at": past}))
    assert bench.job(job["id"])["images"][0]["url"] is None, "a link that will not work"
    assert bench.sweep()["expired"] >= 1
    assert httpx.get(url).status_code == 404
    assert bench.job(job["id"])["status"] == "succeeded"


def test_the_sweeper_finds_a_job_whose_message_was_never_sent(bench: Bench) -> None:
    long_ago = datetime.now(UTC) - timedelta(minutes=10)
    lost = Job(
        id="job_lost00000000000000000001",
        kind=JobKind.TEXT2IMAGE,
        tenant=bench.stack.tenant,
        request={"prompt": "a beach", **SMALL},
        created_at=long_ago,
        expires_at=long_ago + timedelta(days=7),
    )
    bench.jobs.add(lost)
    wait_until(lambda: bench.sweep()["repaired"] >= 1, "the job to be found")
    assert bench.until(lost.id, "succeeded")["images"]
    log = (bench.stack.state / "logs" / "Sweeper.log").read_text()
    metrics = [line for line in log.splitlines() if '"SweeperRepairs"' in line]
    assert any(json.loads(line[line.index("{") :])["SweeperRepairs"] for line in metrics)
