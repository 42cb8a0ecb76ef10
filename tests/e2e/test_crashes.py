"""Workers that die at each of their steps, SD hosts that die, hang and answer rubbish, messages
that come twice and out of order: in the running service, every job still ends right."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from dev import sd_host
from dev.sd_host import RunningHost
from tests.local_stack import RunningStack, wait_until

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"steps": 2, "width": 64, "height": 64}
ALIVE = 0.6
"""Seconds after which a silent worker is taken for dead here; a minute in earnest."""
READS = ("GetItem", "BatchGetItem", "Query")
"""Calls before which it makes no difference whether the worker dies, or before the next one."""
MOST_STEPS = 30


class Wire:
    """Stands between the worker and the AWS services, and kills the worker at the n-th call by
    which it changes anything."""

    def __init__(self, state: Path) -> None:
        self._port_file = state / "aws" / "port"
        self._lock = threading.Lock()
        self._left: int | None = None
        self.api_url = ""
        self.killed = threading.Event()
        wire = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                call = self.headers.get("x-amz-target", "").partition(".")[2]
                reads = self.command in ("GET", "HEAD") or call in READS
                if not reads and wire.dies():
                    self.close_connection = True
                    return
                status, headers, answer = wire.forward(
                    self.command, self.path, dict(self.headers), body
                )
                self.send_response_only(status)
                for name, value in headers:
                    if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                        self.send_header(name, value)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_PUT = do_DELETE = do_HEAD = do_POST

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: the test asserts on what came of it."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A killed worker leaves its connections broken, as it should."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def kill_at(self, step: int) -> None:
        """Kill the worker at its ``step``-th change from now, before it has any effect."""
        with self._lock:
            self.killed.clear()
            self._left = step

    def leave_alone(self) -> None:
        """Kill nobody any more."""
        with self._lock:
            self._left = None

    def dies(self) -> bool:
        with self._lock:
            if self._left is None:
                return False
            self._left -= 1
            if self._left > 0:
                return False
            self._left = None
        answer = httpx.post(f"{self.api_url}/_dev/kill?function=Worker", timeout=30)
        assert answer.json()["killed"], "there was no worker to kill"
        self.killed.set()
        return True

    def forward(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        upstream = http.client.HTTPConnection(
            "127.0.0.1", int(self._port_file.read_text()), timeout=60
        )
        try:
            upstream.request(method, path, body, {**headers, "Connection": "close"})
            answer = upstream.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            upstream.close()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def template(folder: Path, wire: str) -> Path:
    """The template, with the worker's calls led over the wire, and short times."""
    folder.mkdir()
    for name in ("functions", "layers"):
        (folder / name).symlink_to(ROOT / name)
    text = (ROOT / "template.yaml").read_text()
    own = "Environment: {Variables: {DEAD_LETTER_QUEUE_URL: !Ref DeadLetters"
    assert own in text
    endpoints = "".join(f", AWS_ENDPOINT_URL_{name}: {wire}" for name in ("DYNAMODB", "SQS", "S3"))
    text = text.replace(own, own + endpoints)
    jobs = "VisibilityTimeout: 900\n      MessageRetentionPeriod: 1209600"
    assert jobs in text
    text = text.replace(jobs, jobs.replace("900", "1"))
    (folder / "template.yaml").write_text(text)
    return folder / "template.yaml"


class Service:
    """The running service, two hosts behind it, and the wire."""

    def __init__(self, stack: RunningStack, wire: Wire, hosts: list[RunningHost]) -> None:
        self.wire, self.hosts, self.stack = wire, hosts, stack
        self.api = httpx.Client(base_url=stack.api_url, headers=stack.headers, timeout=30)
        session = boto3.Session("test", "test", region_name=stack.region)
        self.sqs = session.client("sqs", endpoint_url=stack.aws_endpoint_url)

    def say(self, message: str, conversation_id: str | None = None) -> dict[str, Any]:
        body = {"message": message, "settings": SMALL, "conversation_id": conversation_id}
        answer = self.api.post("/v1/chat/text2image", json=body)
        assert answer.status_code == 202, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def job(self, job_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.get(f"/v1/jobs/{job_id}").raise_for_status().json()
        return found

    def ends(self, *ids: str) -> list[dict[str, Any]]:
        """The jobs, once they have ended well, each with a picture that is as it says."""

        def done() -> bool:
            return all(self.job(id)["status"] not in ("queued", "running") for id in ids)

        wait_until(done, f"{ids} to end", timeout=40)
        found = [self.job(id) for id in ids]
        for job in found:
            assert job["status"] == "succeeded", job["error"]
            assert httpx.get(job["images"][0]["url"]).content.startswith(b"\x89PNG")
        return found

    def drawn(self) -> int:
        """How many pictures the hosts have begun to draw."""
        return sum(int(host.stats()["generations_started"]) for host in self.hosts)

    def close(self) -> None:
        self.wire.leave_alone()
        self.api.close()


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    state = tmp_path_factory.mktemp("crashes")
    wire = Wire(state)
    with sd_host.running() as one, sd_host.running() as two:
        variables = {
            "ALIVE_SECONDS": ALIVE,
            "LEASE_TTL_SECONDS": ALIVE,
            "MAX_ATTEMPTS": 6,
            "RUN_TIMEOUT_SECONDS": 2,
        }
        stack = RunningStack(
            state,
            {
                "SD_HOSTS": f"{one.url},{two.url}",
                "ROBOTCHAT_TEMPLATE": str(template(state / "template", wire.url)),
                "ROBOTCHAT_PARAMETERS": "RetryBaseSeconds=0.1 WorkerConcurrency=4",
                "ROBOTCHAT_FUNCTION_ENV": " ".join(f"{k}={v}" for k, v in variables.items()),
            },
        )
        stack.start()
        wire.api_url = stack.api_url
        running = Service(stack, wire, [one, two])
        yield running
        running.close()
        stack.stop()
        wire.close()


@pytest.fixture
def service(started: Service) -> Service:
    """The running service, with hosts as on their first day."""
    started.wire.leave_alone()
    for host in started.hosts:
        host.reset()
    return started


def test_a_worker_that_dies_at_any_of_its_steps_loses_nothing(service: Service) -> None:
    """Two turns of a conversation; the worker dies at its first change, next time at the second,
    and so on, until it has done all of the first turn and dies in the second."""
    for step in range(1, MOST_STEPS):
        service.wire.kill_at(step)
        first = service.say(f"a beach {step}")
        second = service.say("at sunset", first["conversation_id"])
        one, two = service.ends(first["id"], second["id"])
        assert one["finished_at"] <= two["started_at"], "the turns overtook each other"
        assert f"beach {step}" in two["prompt"]
        assert "sunset" in two["prompt"]
        if two["attempt"] > 1:
            break
        assert service.wire.killed.is_set(), "the worker has fewer steps than this"
    else:
        raise AssertionError("a job takes ever more steps")
    assert step > 8, "a job takes more steps than this"


def test_a_worker_that_dies_while_its_host_draws_costs_an_attempt(
    service: Service,
) -> None:
    for host in service.hosts:
        host.hold()
    job = service.say("a beach")
    wait_until(lambda: any(h.stats()["paused"] for h in service.hosts), "the drawing to begin")
    for host in service.hosts:
        host.clear_faults()
    answer = service.api.post("/_dev/kill?function=Worker")
    assert len(answer.json()["killed"]) == 1
    (found,) = service.ends(job["id"])
    assert found["attempt"] == 2
    assert service.drawn() == 2


def test_a_job_goes_on_at_another_host_when_its_own_dies(service: Service) -> None:
    one, two = service.hosts
    for host in (one, two):
        host.hold()
    job = service.say("a beach")
    wait_until(lambda: any(h.stats()["paused"] for h in (one, two)), "the drawing to begin")
    busy, other = (one, two) if one.stats()["paused"] else (two, one)
    other.clear_faults()
    busy.restart(0.5)
    service.ends(job["id"])
    found = service.job(job["id"])
    assert found["attempt"] == 2
    assert other.stats()["generations_finished"] == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "stall", "seconds": 30},
        {"kind": "error"},
        {"kind": "disconnect"},
        {"kind": "garbage", "what": "html"},
        {"kind": "garbage", "what": "truncated_png"},
        {"kind": "wrong_model"},
    ],
    ids=lambda fault: str(fault.get("what", fault["kind"])),
)
def test_a_host_that_goes_wrong_costs_an_attempt_and_no_job(
    service: Service, fault: dict[str, Any]
) -> None:
    one, two = service.hosts
    for host in service.hosts:
        host.set_faults(fault)
    job = service.say("a castle")
    wait_until(lambda: len(one.faults()) + len(two.faults()) < 2, "the fault to happen")
    for host in service.hosts:
        host.clear_faults()
    (found,) = service.ends(job["id"])
    assert found["attempt"] >= 2
    assert found["error"] is None


def test_what_nobody_can_read_is_put_where_an_operator_sees_it(service: Service) -> None:
    queue, dead = service.stack.queue_url, service.stack.dead_letter_queue_url
    for body in ("rubbish", "[]", json.dumps({"job_id": "job_nonesuch"}), "{}"):
        service.sqs.send_message(QueueUrl=queue, MessageBody=body)
    buried: dict[str, str] = {}

    def look() -> bool:
        answer = service.sqs.receive_message(
            QueueUrl=dead, MaxNumberOfMessages=10, MessageAttributeNames=["reason"]
        )
        for message in answer.get("Messages", []):
            buried[message["Body"]] = message["MessageAttributes"]["reason"]["StringValue"]
        return len(buried) == 4

    wait_until(look, "the messages to be buried")
    assert buried["{}"] == "no tenant"
