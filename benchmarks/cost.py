"""What 1,000 chat images cost on AWS, from what one of them was measured to use.

The functions' durations are those of the local stack's own reports, and DynamoDB's units are
counted at the client, while chat images are drawn by a stand-in host that takes a second. A real
host takes longer: the worker waits for it, and DRAW_SECONDS says how long. The GPU and the language
model are not in it, nor is AWS's free tier.

The prices, and what beside a picture costs (followers, waits, hosts, private networks, cold starts,
idleness), are in `benchmarks/prices.py`.
"""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from benchmarks.prices import (
    API_REQUEST,
    DRAW_SECONDS,
    EVENT,
    GB_SECOND,
    GB_SECOND_ARM,
    GET_OBJECT,
    INVOCATION,
    LOGGED_GB,
    LOOK_EVERY,
    OUT_GB,
    PUT_OBJECT,
    QUEUE_REQUEST,
    READ_UNIT,
    SIGN_OF_LIFE,
    STORED_GB_MONTH,
    WRITE_UNIT,
)
from benchmarks.targets import AtMost
from dev import sd_host
from robotchat.aws.stores import DynamoRecords
from robotchat.conversation import ChatImageRequest
from robotchat.drivers.fake import FakeArt
from robotchat.robot import Robot
from tests.emulator import emulated_table
from tests.local_stack import RunningStack

JOBS = 10
STAND_IN_SECONDS = 1.0
READS_OF_A_JOB = 4
"""How often a caller asks for its job until it has ended."""
IMAGE_GB = 500_000 / 1e9
LOG_GB = 10_000 / 1e9
"""All log lines of one job, requests included."""
FOLLOWER_GB = 0.5
INDEXES = 2
"""An item's indexes that a write changes, at most."""

TARGETS = {"1,000 chat images (USD)": AtMost(1.0)}


def measure() -> dict[str, float]:
    """Dollars per 1,000 chat images, kept for a week, and what they are made of."""
    gb_seconds, invocations = _compute()
    writes, reads = _units()
    api_requests = 1 + READS_OF_A_JOB
    parts = {
        "Lambda": gb_seconds * GB_SECOND + invocations * INVOCATION,
        "API Gateway": api_requests * API_REQUEST,
        "DynamoDB": writes * WRITE_UNIT + (reads + READS_OF_A_JOB) * READ_UNIT,
        # Progress, told once a second while it is drawn.
        "signs of life": DRAW_SECONDS * SIGN_OF_LIFE,
        # Sent, received, hidden and deleted; and an empty receive now and then.
        "SQS": 6 * QUEUE_REQUEST,
        "S3": PUT_OBJECT + GET_OBJECT + IMAGE_GB * STORED_GB_MONTH * 7 / 30,
        "data out": IMAGE_GB * OUT_GB,
        "logs and events": LOG_GB * LOGGED_GB + EVENT,
    }
    # Who follows the events in place of asking again and again: a function for as long.
    follower = DRAW_SECONDS * (FOLLOWER_GB * GB_SECOND + READ_UNIT / LOOK_EVERY)
    followed = sum(parts.values()) + follower - (READS_OF_A_JOB - 1) * (API_REQUEST + READ_UNIT)
    arm = sum(parts.values()) - gb_seconds * (GB_SECOND - GB_SECOND_ARM)
    return {
        "GB-seconds of Lambda, per image": round(gb_seconds, 2),
        "invocations, per image": round(invocations, 1),
        "DynamoDB write units, per image": writes,
        **{f"  {name} (USD)": round(1000 * dollars, 4) for name, dollars in parts.items()},
        "1,000 chat images (USD)": round(1000 * sum(parts.values()), 2),
        "1,000 chat images, each followed (USD)": round(1000 * followed, 2),
        "1,000 chat images, on arm64 (USD)": round(1000 * arm, 2),
    }


def _compute() -> tuple[float, float]:
    """GB-seconds and invocations per chat image, of all functions together."""
    report = re.compile(r"Duration: ([\d.]+) ms\tMemory Size: (\d+) MB")
    with (
        tempfile.TemporaryDirectory() as folder,
        sd_host.running(fixed_seconds=STAND_IN_SECONDS) as host,
    ):
        stack = RunningStack(Path(folder), {"SD_HOSTS": host.url})
        stack.start()
        try:
            with httpx.Client(base_url=stack.api_url, headers=stack.headers, timeout=60) as client:
                _draw(client)  # processes that are started, a checkpoint that is loaded
                before = _reports(stack.state / "logs", report)
                for _ in range(JOBS):
                    _draw(client)
                after = _reports(stack.state / "logs", report)
        finally:
            stack.stop()
    used = after - before
    gb_seconds = sum(ms / 1000 * mb / 1024 * count for (_, ms, mb), count in used.items())
    worker = next(mb for (name, _, mb) in used if name == "Worker")
    longer = (DRAW_SECONDS - STAND_IN_SECONDS) * worker / 1024
    return gb_seconds / JOBS + longer, used.total() / JOBS


def _draw(client: httpx.Client) -> None:
    """A chat image, with as many looks at it as a caller takes."""
    accepted = client.post("/v1/chat/text2image", json={"message": "a beach"}).raise_for_status()
    location = accepted.headers["location"]
    for _ in range(READS_OF_A_JOB - 1):
        client.get(location).raise_for_status()
    ended = client.get(f"{location}/events").raise_for_status()  # open until the job has ended
    if "event: done" not in ended.text:
        raise RuntimeError(f"the job did not end: {ended.text[-300:]}")
    client.get(location).raise_for_status()


def _reports(logs: Path, report: re.Pattern[str]) -> Counter[tuple[str, float, int]]:
    """How often each function has reported which duration and memory."""
    return Counter(
        (log.stem, float(ms), int(mb))
        for log in logs.glob("*.log")
        if log.stem != "JobEvents"  # to wait by, in place of more reads
        for ms, mb in report.findall(log.read_text(errors="replace"))
    )


def _units() -> tuple[int, int]:
    """DynamoDB's write and read units for one chat image."""
    with tempfile.TemporaryDirectory() as folder, emulated_table(Path(folder)) as (client, table):
        used: Counter[str] = Counter()

        def count(params: dict[str, Any], model: Any, **_: Any) -> None:
            for operation in params.get("TransactItems", ()):
                used["writes"] += 2 * _written(*operation.values())  # a transaction's cost double
            if model.name in ("PutItem", "UpdateItem", "DeleteItem"):
                used["writes"] += _written(params)
            if model.name in ("GetItem", "Query"):
                used["reads"] += 1

        client.meta.events.register("provide-client-params.dynamodb.*", count)
        robot = Robot(art=FakeArt(), records=DynamoRecords(client, table))
        robot.submit_chat_image(ChatImageRequest(message="a beach"))
        return used["writes"], used["reads"]


def _written(operation: dict[str, Any]) -> int:
    """The units of one write, its indexes' included."""
    item = operation.get("Item") or operation.get("ExpressionAttributeValues") or {}
    return math.ceil(len(json.dumps(item, default=str)) / 1024) + INDEXES


if __name__ == "__main__":
    for label, value in measure().items():
        print(f"{label:<40} {value:>10}")
