"""One id from the request to the news of its picture; and what the sweeper tells of its work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from robotchat.aws import worker
from robotchat.aws.log import correlate
from robotchat.aws.queues import SqsJobs
from robotchat.aws.sweep import ScheduledSweep
from robotchat.correlation import correlation_id
from robotchat.drivers.fake import FakeArt
from robotchat.events.event import Event
from robotchat.jobs.job import JobStatus
from robotchat.lifecycle.sweep import GRACE
from tests.cases.service import Context, Service


class Sqs:
    """Remembers what was sent, as messages that can be received."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def send_message(self, *, MessageBody: str, **given: Any) -> None:
        attributes = given.get("MessageAttributes", {})
        self.records.append(
            {
                "messageId": f"message-{len(self.records)}",
                "receiptHandle": "handle",
                "body": MessageBody,
                "attributes": {"ApproximateReceiveCount": "1"},
                "messageAttributes": {
                    name: {"stringValue": one["StringValue"], "dataType": one["DataType"]}
                    for name, one in attributes.items()
                },
            }
        )

    def get_queue_attributes(self, *, AttributeNames: list[str], **_: Any) -> Any:
        return {"Attributes": dict.fromkeys(AttributeNames, str(len(self.records)))}

    def change_message_visibility(self, **_: Any) -> None:
        """Nobody else is there to see a message."""


class NoDeliveries:
    """Webhooks of which two deliveries were overdue."""

    def requeue_overdue(self) -> int:
        return 2


@pytest.fixture
def sqs() -> Sqs:
    return Sqs()


@pytest.fixture
def service(sqs: Sqs) -> Iterator[Service]:
    client: Any = sqs
    queue = SqsJobs(client, "https://queue")
    with Service.over([FakeArt()], job_queue=queue, webhooks=NoDeliveries()) as service:
        yield service
    correlate(None)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_request_is_known_by_one_id_from_the_api_to_the_webhook(
    service: Service, sqs: Sqs, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = service.call("chat/chat_text2image", headers={"x-request-id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    correlate(None)
    capsys.readouterr()

    worker.Worker()({"Records": sqs.records}, Context())

    said = lines(capsys)
    assert said
    assert {line["correlation_id"] for line in said} == {"mine-1"}
    job = service.robot.jobs.get(answer.body["id"], "dev")
    assert job.status is JobStatus.SUCCEEDED
    assert Event.of(job).data.request_id == "mine-1"


def test_a_producers_message_is_a_request_of_its_own(service: Service, sqs: Sqs) -> None:
    message = {"kind": "chat_text2image", "tenant": "dev", "message": "a beach"}
    sqs.send_message(MessageBody=json.dumps(message))
    worker.Worker()({"Records": sqs.records}, Context())
    assert correlation_id() == "message-0"
    own = sqs.records[-1]
    assert own["messageAttributes"]["request_id"]["stringValue"] == "message-0"
    job = service.robot.jobs.get(json.loads(own["body"])["job_id"], "dev")
    assert job.request_id == "message-0"


def test_the_sweeper_counts_what_it_repairs(
    service: Service, sqs: Sqs, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = service.call("chat/chat_text2image").body["id"]
    sqs.records.clear()
    long_ago = timedelta(minutes=1) + GRACE
    service.robot.jobs.change(
        lost,
        lambda job, now: job.model_copy(
            update={"created_at": now - long_ago, "due_at": now - long_ago}
        ),
    )
    capsys.readouterr()

    answer = ScheduledSweep()({}, None)

    assert (answer["repaired"], answer["requeued_deliveries"]) == (1, 2)
    assert [json.loads(record["body"]) for record in sqs.records] == [{"job_id": lost}]
    counted, said = lines(capsys)
    assert (counted["SweeperRepairs"], counted["RequeuedDeliveries"]) == ([1.0], [2.0])
    assert (said["message"], said["job_id"]) == ("repaired", lost)
