"""Producers' messages become jobs in batches: each for itself, whatever the others are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from robotchat.aws import requests, worker
from robotchat.aws.wiring import Deployment, serving
from robotchat.jobs.job import JobStatus
from robotchat.records import MemoryRecords
from robotchat.settings import Settings
from tests.cases.limits import Office

SETTINGS = Settings(
    jobs_queue_url="https://jobs",
    requests_queue_url="https://requests",
    dead_letter_queue_url="https://dead",
)


class Queues:
    """Remembers which messages were hidden, and what was sent where."""

    def __init__(self) -> None:
        self.hidden: list[tuple[str, str, int]] = []
        self.sent: list[dict[str, Any]] = []

    def change_message_visibility(self, **call: Any) -> None:
        self.hidden.append((call["QueueUrl"], call["ReceiptHandle"], call["VisibilityTimeout"]))

    def send_message(self, **parameters: Any) -> None:
        self.sent.append(parameters)


class Context:
    def __init__(self, seconds: float = 60.0) -> None:
        self.seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(1000 * self.seconds)


class World:
    def __init__(self, **limits: Any) -> None:
        self.office = Office(MemoryRecords(), **limits)
        self.queues = Queues()

    def deliver(self, *bodies: str, times: int = 1, seconds: float = 60.0) -> list[int]:
        """Which of these messages have to come back."""
        records = [
            {
                "messageId": f"m-{number}",
                "receiptHandle": f"r-{number}",
                "body": body,
                "attributes": {"ApproximateReceiveCount": str(times), "MessageGroupId": "acme"},
            }
            for number, body in enumerate(bodies)
        ]
        answer = requests.RequestsConsumer()({"Records": records}, Context(seconds))
        return [int(one["itemIdentifier"].partition("-")[2]) for one in answer["batchItemFailures"]]


def message(number: int, **fields: Any) -> str:
    job_id = f"job_{number:020d}"
    body = {"kind": "chat_text2image", "tenant": "acme", "job_id": job_id, "message": "a beach"}
    return json.dumps(body | fields)


def serve(world: World) -> Iterator[World]:
    parts = {
        "robot": world.office.robot,
        "records": MemoryRecords(),
        "client": lambda service: world.queues,
    }
    with serving(Deployment(SETTINGS, **parts)):
        yield world


@pytest.fixture
def world() -> Iterator[World]:
    yield from serve(World())


@pytest.fixture
def small_world() -> Iterator[World]:
    yield from serve(World(active_jobs=2))


def test_a_batch_becomes_jobs_that_are_queued_by_their_ids(world: World) -> None:
    assert world.deliver(*(message(number) for number in range(10))) == []
    for number in range(10):
        job = world.office.robot.jobs.get(f"job_{number:020d}", "acme")
        assert job.status is JobStatus.QUEUED
    assert len(world.office.queue.sent) == 10
    assert world.queues.hidden == [], "the queue hides them for as long as this takes"


def test_each_message_of_a_batch_is_judged_for_itself(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = world.office.robot.intake.submit_chat_image

    def sometimes(request: Any, **identity: Any) -> Any:
        if identity["job_id"].endswith("3"):
            raise RuntimeError("a bug")
        return submit(request, **identity)

    monkeypatch.setattr(world.office.robot.intake, "submit_chat_image", sometimes)
    failed = world.deliver(
        message(0), "rubbish", message(2, settings={"steps": -1}), message(3), message(4)
    )
    assert failed == [3], "which comes back, and may be right then"
    status = [
        world.office.robot.jobs.get(f"job_{number:020d}", "acme").status for number in (0, 2, 4)
    ]
    assert status == [JobStatus.QUEUED, JobStatus.FAILED, JobStatus.QUEUED]
    (dead,) = world.queues.sent
    assert (dead["QueueUrl"], dead["MessageBody"]) == ("https://dead", "rubbish")


def test_what_finds_no_room_waits_in_the_queue_of_requests(small_world: World) -> None:
    failed = small_world.deliver(*(message(number) for number in range(4)))
    assert failed == [2, 3]
    assert small_world.queues.hidden == [
        ("https://requests", "r-2", 10),
        ("https://requests", "r-3", 10),
    ]


def test_what_there_is_no_time_for_comes_back(world: World) -> None:
    assert world.deliver(message(0), message(1), seconds=5.0) == [0, 1]
    assert world.office.robot.jobs.find("job_" + "0" * 20) is None


def test_the_same_message_twice_is_one_job(world: World) -> None:
    assert world.deliver(message(1), message(1)) == []
    assert world.deliver(message(1), times=2) == []
    jobs, _ = world.office.robot.jobs.of_tenant("acme")
    assert len(jobs) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"settings": {"steps": -1}},  # seen in the message itself
        {"conversation_id": "conv_nobodys"},  # and by those who look for it
        {"after_turn": 3},
        {"settings": {"override_settings": {"sd_model_checkpoint": "nobody has it"}}},
    ],
    ids=str,
)
def test_a_refused_message_that_comes_again_is_refused_once(
    world: World, wrong: dict[str, Any]
) -> None:
    """Its function died after it had stored the refusal, or its producer sent it twice."""
    refused = message(1, **wrong)
    assert world.deliver(refused) == []
    assert world.deliver(refused, times=2) == []
    assert world.office.robot.jobs.get(f"job_{1:020d}", "acme").status is JobStatus.FAILED
    assert world.queues.sent == [], "it is a failed job, and no dead letter beside that"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (message(1, settings={"steps": -1}), message(1)),
        (message(1), message(1, settings={"steps": -1})),
        (message(1), message(1, message="a castle")),
        (message(1), message(1, tenant="other")),
        (message(1), message(1, tenant="other", settings={"steps": -1})),
    ],
)
def test_another_message_under_the_id_of_a_job_is_a_dead_letter(
    world: World, first: str, second: str
) -> None:
    assert world.deliver(first, second) == []
    (dead,) = world.queues.sent
    reason = "its id or key stands for another request"
    assert (dead["MessageBody"], dead["MessageAttributes"]["reason"]["StringValue"]) == (
        second,
        reason,
    )
    jobs, _ = world.office.robot.jobs.of_tenant("acme")
    assert [job.id for job in jobs] == [f"job_{1:020d}"]


def test_a_dead_letter_that_is_put_back_is_what_it_was_when_it_first_came(world: World) -> None:
    nameless = json.dumps({"kind": "chat_text2image", "tenant": "acme", "message": "a beach"})
    assert world.deliver(nameless) == []
    again = {
        "messageId": "another",
        "receiptHandle": "r",
        "body": nameless,
        "attributes": {"ApproximateReceiveCount": "1"},
        "messageAttributes": {"first_id": {"dataType": "String", "stringValue": "m-0"}},
    }
    answer = requests.RequestsConsumer()({"Records": [again]}, Context())
    assert answer == {"batchItemFailures": []}
    jobs, _ = world.office.robot.jobs.of_tenant("acme")
    assert len(jobs) == 1


def test_an_id_alone_is_passed_on_to_the_queue_of_jobs(world: World) -> None:
    body = json.dumps({"job_id": "job_" + "a" * 20})
    assert world.deliver(body) == []
    (sent,) = world.queues.sent
    assert (sent["QueueUrl"], sent["MessageBody"], sent["MessageGroupId"]) == (
        "https://jobs",
        body,
        "acme",
    )


def test_producers_that_write_to_the_queue_of_jobs_are_still_heard(world: World) -> None:
    record = {
        "messageId": "m-1",
        "receiptHandle": "r-1",
        "body": message(7),
        "attributes": {"ApproximateReceiveCount": "1"},
    }
    assert worker.Worker()({"Records": [record]}, Context()) == {"batchItemFailures": []}
    assert world.office.queue.sent == [f"job_{7:020d}"]
