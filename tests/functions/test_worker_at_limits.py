"""Producers' messages for a tenant that is at its limits: they wait, and are refused in the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from robotchat.aws import worker
from robotchat.aws.wiring import Deployment, serving
from robotchat.errors import JobNotRetryable
from robotchat.jobs.job import JobStatus
from robotchat.records import MemoryRecords
from robotchat.settings import Settings
from tests.cases.limits import Office

MESSAGE = {"kind": "chat_text2image", "tenant": "acme", "job_id": "job_" + "a" * 20, "message": "x"}


class Queues:
    """Remembers for how long messages are hidden."""

    def __init__(self) -> None:
        self.hidden: list[int] = []

    def change_message_visibility(self, *, VisibilityTimeout: int, **_: Any) -> None:
        self.hidden.append(VisibilityTimeout)


@pytest.fixture
def queues() -> Queues:
    return Queues()


@pytest.fixture
def office(queues: Queues) -> Iterator[Office]:
    full = Office(MemoryRecords(), active_jobs=1)
    full.submit()
    settings = Settings(jobs_queue_url="https://queue")
    parts = {"robot": full.robot, "records": MemoryRecords(), "client": lambda service: queues}
    with serving(Deployment(settings, **parts)):
        yield full


def deliver(times: int, body: dict[str, Any] = MESSAGE) -> list[dict[str, str]]:
    record = {
        "messageId": "m-1",
        "receiptHandle": "r-1",
        "body": json.dumps(body),
        "attributes": {"ApproximateReceiveCount": str(times)},
    }
    answer = worker.Worker()({"Records": [record]}, None)
    failures: list[dict[str, str]] = answer["batchItemFailures"]
    return failures


def test_a_message_waits_in_the_queue_while_there_is_no_room(
    office: Office, queues: Queues
) -> None:
    pauses = []
    for times in (1, 4, 8):
        assert deliver(times) == [{"itemIdentifier": "m-1"}]
        pauses.append(queues.hidden[-1])
    assert pauses == [10, 80, 900], "ever longer"
    assert office.robot.jobs.find(MESSAGE["job_id"]) is None


def test_it_becomes_a_job_as_soon_as_there_is(office: Office, queues: Queues) -> None:
    deliver(1)
    office.robot.run(office.queue.sent[0])
    assert deliver(2) == []
    job = office.robot.jobs.get(MESSAGE["job_id"], "acme")
    assert job.status is JobStatus.QUEUED


def test_in_the_end_it_is_a_failed_job_that_the_producer_can_read(
    office: Office, queues: Queues
) -> None:
    assert deliver(9) == []
    job = office.robot.jobs.get(MESSAGE["job_id"], "acme")
    assert job.error
    assert (job.status, job.error.code, job.error.retryable) == (
        JobStatus.FAILED,
        "limit_exceeded",
        True,
    )
    assert office.usage().now.active_jobs == 1, "the refused one never counted"
    with pytest.raises(JobNotRetryable, match="send it again"):
        office.robot.retry(job.id, tenant="acme")
