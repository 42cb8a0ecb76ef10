"""What AWS asks for, and what the parts of the service cost by that: followers, waits, idleness ...

Nothing is measured here: each row follows from the prices, from the template, and from how often a
thing is done. ``python -m benchmarks.prices`` prints the table of docs/operations.md, which a test
compares. What a chat image uses is measured by ``python -m benchmarks cost``.

Prices are those of us-east-1 as published in November 2026, in US dollars, without the free tier:
Lambda https://aws.amazon.com/lambda/pricing/, API Gateway (REST)
https://aws.amazon.com/api-gateway/pricing/, DynamoDB (on demand)
https://aws.amazon.com/dynamodb/pricing/on-demand/, S3 https://aws.amazon.com/s3/pricing/, SQS
https://aws.amazon.com/sqs/pricing/, EventBridge https://aws.amazon.com/eventbridge/pricing/,
CloudWatch https://aws.amazon.com/cloudwatch/pricing/, Secrets Manager
https://aws.amazon.com/secrets-manager/pricing/, NAT https://aws.amazon.com/vpc/pricing/, endpoints
https://aws.amazon.com/privatelink/pricing/, data out https://aws.amazon.com/ec2/pricing/on-demand/.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dev.template import FUNCTION, Template

ROOT = Path(__file__).resolve().parent.parent

GB_SECOND = 0.0000166667
GB_SECOND_ARM = 0.0000133334
INVOCATION = 0.20 / 1e6
API_REQUEST = 3.50 / 1e6
WRITE_UNIT = 0.625 / 1e6
READ_UNIT = 0.125 / 1e6
QUEUE_REQUEST = 0.40 / 1e6
EVENT = 1.00 / 1e6
PUT_OBJECT = 5.00 / 1e6
GET_OBJECT = 0.40 / 1e6
STORED_GB_MONTH = 0.023
OUT_GB = 0.09
LOGGED_GB = 0.50
DASHBOARD_MONTH = 3.00
ALARM_MONTH = 0.10
SECRET_MONTH = 0.40
NAT_HOUR = 0.045
NAT_GB = 0.045
ENDPOINT_HOUR = 0.01

MONTH_HOURS = 730
POLLERS = 5
"""Long polls that Lambda keeps open at each queue while there is nothing in it."""
POLL_SECONDS = 20
SWEEP_SECONDS = 0.2
LOOK_EVERY = 0.5
"""Seconds between a follower's looks at its job (`robotchat.aws.job_events`)."""
FOLLOW_SECONDS = 150
DRAW_SECONDS = 5.0
"""Of a picture on a real host: 512 x 512, 20 steps, on a middling GPU."""
COLD_START_SECONDS = 1.0
SIGN_OF_LIFE = 3 * WRITE_UNIT
"""A write of a job that changes two of its indexes at most."""


def rows(root: Path = ROOT) -> Iterator[tuple[str, str]]:
    """What there is to pay for, and what it costs, in words for the documents."""
    template = Template(root / "template.yaml")
    functions = dict(template.resources(FUNCTION))
    usual = functions["JobEvents"]["MemorySize"] / 1024  # in GB
    drawing = functions["Worker"]["MemorySize"] / 1024
    dashboards = DASHBOARD_MONTH * _count(template, "AWS::CloudWatch::Dashboard")
    alarms = ALARM_MONTH * _count(template, "AWS::CloudWatch::Alarm")
    polling = _polling(functions)
    sweeps = MONTH_HOURS * 60 * (INVOCATION + SWEEP_SECONDS * usual * GB_SECOND)
    idle = dashboards + alarms + SECRET_MONTH + polling + sweeps
    yield (
        "nothing to do, a month",
        f"{idle:.2f}: dashboard {dashboards:.2f}, alarms {alarms:.2f}, Lambda's polling of the "
        f"queues {polling:.2f}, a secret {SECRET_MONTH:.2f} (each more the same), the sweeper "
        f"{sweeps:.2f}",
    )
    yield (
        "the same in a private network",
        f"{NAT_HOUR * MONTH_HOURS:.2f} more for each NAT gateway, and {NAT_GB} for each GB through "
        f"it; or {ENDPOINT_HOUR * MONTH_HOURS:.2f} for each interface endpoint and zone",
    )
    drawn = 1000 * DRAW_SECONDS * drawing * GB_SECOND
    yield (
        f"1,000 pictures of {DRAW_SECONDS:.0f} s, waited for or drawn by the worker "
        f"({drawing * 1024:,.0f} MB)",
        f"{drawn:.3f} for the time; a caller who waits with `Prefer` holds a second function",
    )
    time = 3600 * usual * GB_SECOND
    looks = 3600 / LOOK_EVERY
    again = 3600 / FOLLOW_SECONDS * (API_REQUEST + 2 * INVOCATION)
    yield (
        f"an hour of following a job ({usual * 1024:.0f} MB)",
        f"{time + looks * READ_UNIT + again:.4f}: the time {time:.4f}, {looks:,.0f} looks "
        f"{looks * READ_UNIT:.4f}, connecting again {3600 / FOLLOW_SECONDS:.0f} times {again:.4f}",
    )
    words = functions["ChatCompletions"]["MemorySize"] / 1024
    yield (
        f"an hour of streaming words, or of waiting for them ({words * 1024:,.0f} MB)",
        f"{3600 * words * GB_SECOND:.4f}",
    )
    yield (
        "1,000 signs of life of drawings, of which there is one a second at most",
        f"{1000 * SIGN_OF_LIFE:.4f}",
    )
    yield (
        f"1,000 cold starts of {COLD_START_SECONDS:.0f} s ({usual * 1024:.0f} MB; INIT is billed)",
        f"{1000 * COLD_START_SECONDS * usual * GB_SECOND:.4f}",
    )
    yield (
        "a place among those that wait, 1,000 times, where `WaitingRequests` is set",
        f"{1000 * (2 * WRITE_UNIT + 2 * READ_UNIT):.4f}",
    )
    yield (
        "more hosts",
        "nothing: a picture takes as many requests at 1,000 hosts as at one",
    )
    less = 1 - GB_SECOND_ARM / GB_SECOND
    yield ("`arm64` in place of `x86_64`", f"{less:.0%} less of what is time")


def table(root: Path = ROOT) -> str:
    """The rows as Markdown."""
    lines = [f"| {what} | {dollars} |" for what, dollars in rows(root)]
    return "\n".join(["| | USD |", "|---|---|", *lines]) + "\n"


def _count(template: Template, kind: str) -> int:
    return len(list(template.resources(kind)))


def _polling(functions: dict[str, Any]) -> float:
    """A month of asking the queues whether there is anything in them."""
    events = [
        event
        for properties in functions.values()
        for event in (properties.get("Events") or {}).values()
    ]
    queues = sum(event["Type"] == "SQS" for event in events)
    polls = POLLERS * 3600 / POLL_SECONDS * MONTH_HOURS
    return float(queues * polls * QUEUE_REQUEST)


if __name__ == "__main__":
    print(table(), end="")
