"""Put many picture jobs on the queue, in batches, and wait until all are drawn: needs boto3.

    QUEUE_URL=... TENANT=dev API_URL=... API_KEY=... python producer.py 1000

AWS credentials, region and endpoint come from the environment, as always with boto3. Sending needs
the permission sqs:SendMessage on the queue, and no API key; the key is for reading what came of it.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import boto3

QUEUE_URL, TENANT = os.environ["QUEUE_URL"], os.environ.get("TENANT", "dev")
BATCH = 10  # as many messages as SQS takes in one call


def message(number: int) -> dict[str, Any]:
    """What POST /v1/chat/text2image takes, with kind and tenant. The id is ours to choose, so that
    the job can be found, and so that a message that is sent twice is one job."""
    random = base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower()
    return {
        "kind": "chat_text2image",
        "tenant": TENANT,
        "job_id": f"job_{random}",
        "message": f"a photo of house number {number}",
        "settings": {"steps": 4, "width": 128, "height": 128},
    }


def batches(messages: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(messages), BATCH):
        yield messages[start : start + BATCH]


def send(sqs: Any, messages: list[dict[str, Any]]) -> None:
    """Send a batch. What SQS refuses for the moment is sent again."""
    # MessageGroupId makes the queue a fair one: no tenant's thousands hold up another's three.
    entries = [
        {"Id": str(number), "MessageBody": json.dumps(body), "MessageGroupId": TENANT}
        for number, body in enumerate(messages)
    ]
    while entries:
        answer = sqs.send_message_batch(QueueUrl=QUEUE_URL, Entries=entries)
        failed = {failure["Id"]: failure for failure in answer.get("Failed", [])}
        for failure in failed.values():
            if failure["SenderFault"]:
                raise SystemExit(f"SQS refuses the message: {failure['Message']}")
        entries = [entry for entry in entries if entry["Id"] in failed]
        if entries:
            time.sleep(1)


def job(job_id: str) -> dict[str, Any]:
    """The job, as it is now; while its message is still in the queue there is none."""
    request = urllib.request.Request(
        f"{os.environ['API_URL']}/v1/jobs/{job_id}",
        headers={"Authorization": f"Bearer {os.environ['API_KEY']}"},
    )
    try:
        with urllib.request.urlopen(request) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return {"id": job_id, "status": "sent"}
        raise


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    messages = [message(number) for number in range(count)]
    sqs = boto3.client("sqs")
    for batch in batches(messages):
        send(sqs, batch)
    print(f"{count} sent")
    waiting = [body["job_id"] for body in messages]
    ends: dict[str, int] = {}
    while waiting:
        time.sleep(0.5)
        for found in [job(job_id) for job_id in waiting]:
            if found["status"] not in ("sent", "queued", "running"):
                waiting.remove(found["id"])
                ends[found["status"]] = ends.get(found["status"], 0) + 1
    print(", ".join(f"{number} {status}" for status, number in ends.items()))


if __name__ == "__main__":
    main()
