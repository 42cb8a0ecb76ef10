"""``make run``: the whole stack starts with one command, keeps its state, leaves nothing behind.

Most of it runs a small sample template, so that it does not depend on the real functions.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from dev.stack.ports import own_address
from tests.local_stack import ROOT, SAMPLE, RunningStack, alive, wait_until

OPTIONS = {
    "ROBOTCHAT_TEMPLATE": str(SAMPLE / "template.yaml"),
    "SD_HOSTS": "http://127.0.0.1:9, http://127.0.0.1:10",
    "ROBOTCHAT_PARAMETERS": "Greeting=moin",
}


@pytest.fixture
def sample(tmp_path: Path) -> Iterator[RunningStack]:
    running = RunningStack(tmp_path / "state", OPTIONS)
    yield running
    running.stop()


def client(stack: RunningStack, service: str) -> Any:
    session = boto3.Session("test", "test", region_name=stack.region)
    return session.client(service, endpoint_url=stack.aws_endpoint_url)  # type: ignore[call-overload]


def test_everything_works_together_and_state_survives_a_restart(
    sample: RunningStack, tmp_path: Path
) -> None:
    sample.start()
    assert sample.api_url in sample.ready_line
    assert sample.api_key in sample.ready_line
    assert sample.tenant == "dev"
    assert sample.webhook_secret is None  # the sample has no webhooks
    assert sample.sd_hosts == ["http://127.0.0.1:9", "http://127.0.0.1:10"]
    assert httpx.get(f"{sample.api_url}/health").status_code == 200

    # A function sees what the template resolved to.
    event = httpx.post(f"{sample.api_url}/echo/x", json={}).json()
    assert event["environ"]["GREETING"] == "moin"
    assert event["environ"]["OWN"] == "mine"
    assert event["environ"]["TABLE_NAME"] == sample.table
    assert event["environ"]["AWS_ENDPOINT_URL"] == sample.aws_endpoint_url

    # What the emulator's CloudFormation drops is set all the same.
    ttl = client(sample, "dynamodb").describe_time_to_live(TableName=sample.table)
    assert ttl["TimeToLiveDescription"]["TimeToLiveStatus"] == "ENABLED"
    lifecycle = client(sample, "s3").get_bucket_lifecycle_configuration(Bucket=sample.bucket)
    assert lifecycle["Rules"][0]["Expiration"]["Days"] == 3

    # A message reaches its function.
    note = tmp_path / "note"
    sqs = client(sample, "sqs")
    body = json.dumps({"name": "m1", "note": str(note)})
    sqs.send_message(QueueUrl=sample.queue_url, MessageBody=body)
    wait_until(note.exists, "the message to be delivered")

    client(sample, "dynamodb").put_item(
        TableName=sample.table, Item={"pk": {"S": "a"}, "sk": {"S": "b"}}
    )
    client(sample, "s3").put_object(Bucket=sample.bucket, Key="k", Body=b"picture")
    before = dict(sample.document)
    assert sample.end(signal.SIGINT) == 0
    assert not (sample.state / "stack.json").exists()

    sample.start()
    assert sample.document == before
    kept = client(sample, "dynamodb").get_item(
        TableName=sample.table, Key={"pk": {"S": "a"}, "sk": {"S": "b"}}
    )
    assert "Item" in kept
    assert client(sample, "s3").get_object(Bucket=sample.bucket, Key="k")["Body"].read() == (
        b"picture"
    )


def test_sigkill_and_the_death_of_a_part_leave_nothing_behind(sample: RunningStack) -> None:
    sample.start()
    assert httpx.post(f"{sample.api_url}/echo/x", json={}).status_code == 200  # a function process
    item = {"pk": {"S": "written before"}, "sk": {"S": "the kill"}}
    client(sample, "dynamodb").put_item(TableName=sample.table, Item=item)
    assert any("awslambdaric" in command for command in sample.processes().values())
    assert sample.end(signal.SIGKILL) == -signal.SIGKILL

    # The embedded AWS was ended in order, so its state is there; the stale stack.json is no harm.
    sample.start()
    found = client(sample, "dynamodb").get_item(TableName=sample.table, Key=item)
    assert "Item" in found

    started = sample.processes()
    (emulator,) = [pid for pid, command in started.items() if "dev.stack.strict_aws" in command]
    os.kill(emulator, signal.SIGKILL)
    assert sample.process is not None
    assert sample.process.wait(20) == 1
    assert "MiniStack) ended" in sample.errors
    assert not (sample.state / "stack.json").exists()
    wait_until(lambda: not alive(started), "the other parts to end")


def test_two_stacks_run_side_by_side(sample: RunningStack, tmp_path: Path) -> None:
    other = RunningStack(tmp_path / "other", OPTIONS)
    sample.launch()
    other.start()
    try:
        wait_until((sample.state / "stack.json").exists, "the first stack", 60)
        document = json.loads((sample.state / "stack.json").read_text())
        assert document["api_key"] != other.api_key
        assert document["aws_endpoint_url"] != other.aws_endpoint_url
        for url in (document["api_url"], other.api_url):
            assert httpx.post(f"{url}/echo/x", json={}).status_code == 200
    finally:
        other.stop()


def refusal(state: Path, *arguments: str, **env: str) -> str:
    """What dev.run says when it refuses to start."""
    running = RunningStack(state, env)
    done = subprocess.run(
        [sys.executable, "-m", "dev.run", *arguments],
        cwd=ROOT,
        env=running.env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    return line


def test_a_busy_port_is_one_clear_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"Port {port} is in use" in refusal(tmp_path, PORT=port)


def test_wrong_settings_are_one_clear_sentence(tmp_path: Path) -> None:
    assert "PORT must be a number" in refusal(tmp_path, PORT="http")
    assert "NAME=VALUE" in refusal(tmp_path, ROBOTCHAT_PARAMETERS="what")


def test_reset_forgets_the_state_but_not_while_a_stack_runs(tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "aws").mkdir(parents=True)
    (state / "8099").mkdir()
    (state / "8099" / "lock").touch()
    (state / "key").write_text("rk_x")
    with (state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "A stack is running" in refusal(state, "--reset")
    assert (state / "key").exists()
    subprocess.run(
        [sys.executable, "-m", "dev.run", "--reset"],
        cwd=ROOT,
        env=RunningStack(state).env,
        check=True,
        timeout=60,
    )
    assert [path.name for path in state.iterdir()] == ["8099"]


def test_others_are_let_in_where_that_is_asked_for(tmp_path: Path) -> None:
    stack = RunningStack(tmp_path / "state", {**OPTIONS, "HOST": "0.0.0.0"})
    stack.start()
    try:
        assert stack.api_url.startswith("http://127.0.0.1:")
        elsewhere = httpx.URL(stack.api_url).copy_with(host=own_address())
        assert httpx.get(elsewhere.join("/health")).status_code == 200
        # Links to pictures lead there too.
        assert httpx.URL(stack.aws_endpoint_url).host == own_address()
        assert client(stack, "s3").list_objects_v2(Bucket=stack.bucket)["KeyCount"] == 0
    finally:
        stack.stop()


def test_a_host_that_is_no_address_is_refused(tmp_path: Path) -> None:
    stack = RunningStack(tmp_path / "state", {**OPTIONS, "HOST": "example.com"})
    assert stack.launch().wait(20) == 1
    assert "HOST must be an IPv4 address" in stack.errors
    stack.stop()
