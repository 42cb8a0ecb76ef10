"""Jobs by the queue: the examples as they are, and what becomes of messages of every kind."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import jsonschema  # type: ignore[import-untyped]
import pytest

from robotchat.drivers.fake import plain_png
from robotchat.images import encode_base64
from tests.local_stack import RunningStack, wait_until

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
SMALL = {"steps": 2, "width": 64, "height": 64}
SCHEMA = json.loads((ROOT / "docs" / "job-message.schema.json").read_text())


def new_id() -> str:
    return "job_" + base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower()


class Producer:
    """Somebody with access to the queue, who reads what came of it over the API."""

    def __init__(self, stack: RunningStack, api: httpx.Client) -> None:
        session = boto3.Session("test", "test", region_name=stack.region)
        self._sqs = session.client("sqs", endpoint_url=stack.aws_endpoint_url)
        self._stack = stack
        self._api = api

    def send(self, valid: bool = True, **fields: Any) -> str:
        """Put a message on the queue; gives the id that its job will have."""
        message = {"tenant": self._stack.tenant, "job_id": new_id(), **fields}
        errors = list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(message))
        assert (not errors) is valid, errors
        self._sqs.send_message(QueueUrl=self._stack.queue_url, MessageBody=json.dumps(message))
        return str(message["job_id"])

    def ended(self, job_id: str) -> dict[str, Any]:
        """The job, once it is final."""
        seen: dict[str, Any] = {}

        def look() -> bool:
            answer = self._api.get(f"/v1/jobs/{job_id}")
            seen.clear()
            seen.update(answer.json())
            return answer.status_code == 200 and seen["status"] not in ("queued", "running")

        wait_until(look, f"{job_id} to end", timeout=60)
        return seen

    def buried(self) -> list[str]:
        """Bodies of messages on the dead letter queue."""
        answer = self._sqs.receive_message(
            QueueUrl=self._stack.dead_letter_queue_url, MaxNumberOfMessages=10, VisibilityTimeout=0
        )
        return [message["Body"] for message in answer.get("Messages", [])]


@pytest.fixture
def api(stack: RunningStack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.api_url, headers=stack.headers, timeout=60) as client:
        yield client


@pytest.fixture
def producer(stack: RunningStack, api: httpx.Client) -> Producer:
    return Producer(stack, api)


def run(command: list[str], stack: RunningStack) -> list[str]:
    """Run an example; gives the lines that it prints."""
    env = {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "QUEUE_URL": stack.queue_url,
        "TENANT": stack.tenant,
        "API_URL": stack.api_url,
        "API_KEY": stack.api_key,
        "AWS_ENDPOINT_URL": stack.aws_endpoint_url,
        "AWS_REGION": stack.region,
        "AWS_DEFAULT_REGION": stack.region,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_the_python_example_sends_batches_and_reads_all_results(stack: RunningStack) -> None:
    printed = run([sys.executable, str(EXAMPLES / "sqs/producer.py"), "23"], stack)
    assert printed == ["23 sent", "23 succeeded"]


def test_the_java_example_sends_and_reads_its_result(stack: RunningStack) -> None:
    java = shutil.which("java")
    if java is None:
        pytest.skip("java is not installed")
    printed = run([java, str(EXAMPLES / "sqs/Producer.java"), 'a "red" boat'], stack)
    assert printed[-1] == "succeeded"


def test_all_four_kinds_are_drawn(producer: Producer, api: httpx.Client) -> None:
    cat = plain_png(64, 64, "cat")
    upload = api.post("/v1/uploads", json={"content_type": "image/png", "size": len(cat)}).json()
    httpx.put(upload["url"], content=cat, headers=upload["headers"]).raise_for_status()
    ids = [
        producer.send(kind="chat_text2image", message="a beach", settings=SMALL),
        producer.send(
            kind="chat_image2image", message="make it blue", image=upload["id"], settings=SMALL
        ),
        producer.send(kind="text2image", request={"prompt": "a ship", **SMALL}),
        producer.send(
            kind="image2image",
            request={"prompt": "a ship", "init_images": [encode_base64(cat)], **SMALL},
            metadata={"order": 7},
            expires_in=3600,
        ),
    ]
    found = [producer.ended(job_id) for job_id in ids]
    assert [job["status"] for job in found] == ["succeeded"] * 4, found
    assert [job["kind"] for job in found] == [
        "chat_text2image",
        "chat_image2image",
        "text2image",
        "image2image",
    ]
    assert all(len(job["images"]) == 1 for job in found)
    assert found[3]["metadata"] == {"order": 7}
    assert found[3]["expires_at"] < found[0]["expires_at"]


def test_turns_by_the_queue_and_over_https_are_one_conversation(
    producer: Producer, api: httpx.Client
) -> None:
    body = {"message": "a photo of a beach", "settings": SMALL}
    first = api.post("/v1/chat/text2image", json=body).json()
    second = producer.send(
        kind="chat_text2image", message="at sunset", conversation_id=first["conversation_id"]
    )
    job = producer.ended(second)
    assert (job["turn"], job["prompt"]) == (2, "a photo of a beach at sunset")


def test_the_same_id_or_key_twice_is_one_job(producer: Producer, api: httpx.Client) -> None:
    mark = secrets.token_hex(8)
    message: dict[str, Any] = {
        "kind": "chat_text2image",
        "message": "a cat",
        "settings": SMALL,
        "metadata": {"mark": mark},
    }
    job_id = producer.send(**message)
    first = producer.ended(job_id)
    for _ in range(2):
        producer.send(**message, job_id=job_id)
        producer.send(**message, job_id=None, idempotency_key=mark)

    def jobs() -> list[dict[str, Any]]:
        listed = api.get("/v1/jobs?limit=100").json()["data"]
        return [job for job in listed if job["metadata"].get("mark") == mark]

    wait_until(lambda: len(jobs()) == 2, "the second job to be there")
    for job in jobs():
        producer.ended(job["id"])
    assert producer.ended(job_id)["finished_at"] == first["finished_at"]
    assert len(jobs()) == 2


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"kind": "chat_text2image", "message": ""}, "invalid_request"),
        ({"kind": "chat_text2image", "message": "a", "colour": "red"}, "invalid_request"),
        ({"kind": "painting", "message": "a"}, "invalid_request"),
        ({"kind": "text2image", "request": {"prompt": "a", "steps": "many"}}, "invalid_request"),
        ({"kind": "chat_image2image", "message": "a", "image": "!"}, "invalid_image"),
        ({"kind": "chat_text2image", "message": "a", "conversation_id": "x"}, "not_found"),
        (
            {"kind": "chat_text2image", "message": "a", "webhook": "http://192.168.0.1/"},
            "forbidden_url",
        ),
    ],
)
def test_an_invalid_message_becomes_a_failed_job_that_its_producer_can_read(
    producer: Producer, fields: dict[str, Any], code: str
) -> None:
    told_by_the_schema = code == "invalid_request"
    job = producer.ended(producer.send(valid=not told_by_the_schema, **fields))
    assert (job["status"], job["error"]["code"]) == ("failed", code)
    assert job["error"]["message"]


def test_an_id_that_is_taken_is_not_touched_and_the_message_is_kept(
    producer: Producer,
) -> None:
    job_id = producer.send(kind="chat_text2image", message="a cat", settings=SMALL)
    before = producer.ended(job_id)
    producer.send(kind="chat_text2image", message="a dog", settings=SMALL, job_id=job_id)
    wait_until(
        lambda: any('"a dog"' in body and job_id in body for body in producer.buried()),
        "the message to be kept where an operator sees it",
    )
    assert producer.ended(job_id)["prompt"] == before["prompt"]
