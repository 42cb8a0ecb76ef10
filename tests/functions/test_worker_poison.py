"""Messages that nobody meant well: each is a failed job, or a dead letter that can be read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from robotchat.aws import deliver, respond, worker
from robotchat.aws.wiring import Deployment, serving
from robotchat.jobs.job import Job, JobStatus
from robotchat.records import MemoryRecords
from robotchat.settings import Settings
from tests.cases import hostile
from tests.cases.limits import Office

JOB_ID = "job_" + "a" * 20
GOOD: dict[str, Any] = {
    "kind": "chat_text2image",
    "tenant": "acme",
    "job_id": JOB_ID,
    "message": "a beach",
}


class Queues:
    """Remembers in which order messages were hidden, and what was sent where."""

    class exceptions:
        ClientError = ClientError

    def __init__(self) -> None:
        self.hidden: list[int] = []
        self.sent: list[dict[str, Any]] = []
        self.refuses = False

    def change_message_visibility(self, *, VisibilityTimeout: int, **_: Any) -> None:
        self.hidden.append(VisibilityTimeout)

    def send_message(self, **parameters: Any) -> None:
        if self.refuses:
            raise ClientError({"Error": {"Code": "InvalidParameterValue"}}, "SendMessage")
        self.sent.append(parameters)


class World:
    def __init__(self) -> None:
        self.office = Office(MemoryRecords())
        self.queues = Queues()

    def send(self, body: str, *, times: int = 1, **more: Any) -> bool:
        """Whether the worker is done with a message."""
        record = {
            "messageId": "m-1",
            "receiptHandle": "r-1",
            "body": body,
            "attributes": {"ApproximateReceiveCount": str(times)},
            **more,
        }
        answer = worker.Worker()({"Records": [record]}, None)
        return answer == {"batchItemFailures": []}

    def job(self) -> Job:
        return self.office.robot.jobs.get(JOB_ID, "acme")

    def reasons(self) -> list[str]:
        """Why messages are among the dead letters."""
        return [sent["MessageAttributes"]["reason"]["StringValue"] for sent in self.queues.sent]


SETTINGS = Settings(
    jobs_queue_url="https://queue",
    dead_letter_queue_url="https://dead",
    responses_queue_url="https://responses",
)


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    parts = {
        "robot": world.office.robot,
        "records": MemoryRecords(),
        "client": lambda service: world.queues,
    }
    with serving(Deployment(SETTINGS, **parts)):
        yield world


@pytest.mark.parametrize("value", hostile.VALUES.values(), ids=hostile.VALUES)
def test_json_that_cannot_be_kept_is_a_failed_job(world: World, value: str) -> None:
    assert world.send(hostile.with_value(value, **GOOD))
    job = world.job()
    assert job.error
    assert (job.status, job.error.code) == (JobStatus.FAILED, "invalid_request")
    assert world.queues.sent == []


@pytest.mark.parametrize("value", hostile.GOOD_VALUES.values(), ids=hostile.GOOD_VALUES)
def test_json_that_is_only_odd_is_a_job(world: World, value: str) -> None:
    assert world.send("\ufeff" + hostile.with_value(value, **GOOD))
    assert world.office.robot.run(JOB_ID).status is JobStatus.SUCCEEDED


@pytest.mark.parametrize("body", hostile.NOT_JSON.values(), ids=hostile.NOT_JSON)
def test_what_is_no_json_is_a_dead_letter_that_says_so(world: World, body: bytes) -> None:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return  # which no queue takes
    assert world.send(text)
    assert world.reasons() == ["not JSON"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "nope"),
        ("kind", ["chat_text2image"]),
        ("version", 2),
        ("message", "x" * 5000),
        ("message", {"a": 1}),
        ("conversation_id", "c" * 3000),
        ("conversation_id", "\ud800"),
        ("conversation_id", ""),
        ("idempotency_key", "k" * 3000),
        ("idempotency_key", "\ud800"),
        ("after_turn", 10**300),
        ("webhook", "https://example.com/" + "a" * 10_000),
        ("settings", {"steps": "many"}),
        ("settings", []),
        ("expires_in", -1),
    ],
)
def test_a_field_that_is_wrong_is_a_failed_job(world: World, field: str, value: Any) -> None:
    assert world.send(json.dumps({**GOOD, field: value}))
    assert world.job().status is JobStatus.FAILED
    assert world.queues.sent == []


@pytest.mark.parametrize(
    "changed",
    [
        {"tenant": name}
        for name in (None, 5, "", "a b", "../x", ".", "t" * 65, "\ud800", "a#b", ["acme"], "-a")
    ],
    ids=repr,
)
def test_a_message_of_nobody_is_a_dead_letter(world: World, changed: dict[str, Any]) -> None:
    assert world.send(json.dumps({**GOOD, **changed}))
    assert world.reasons() == ["no tenant"]


@pytest.mark.parametrize("body", ["[]", '"x"', "1", "null", '["job_id"]'])
def test_what_is_no_object_is_a_dead_letter(world: World, body: str) -> None:
    assert world.send(body)
    assert world.reasons() == ["not an object"]


@pytest.mark.parametrize("job_id", hostile.IDS)
def test_a_message_for_a_job_that_is_not_there_is_a_dead_letter(world: World, job_id: str) -> None:
    assert world.send(json.dumps({"job_id": job_id}))
    assert world.reasons()[0] in ("no such job", "no tenant")


@pytest.mark.parametrize(
    "attributes",
    [
        {"request_id": {"dataType": "Binary", "binaryValue": "YWJj"}},
        {"request_id": {"dataType": "Number", "stringValue": "1e5"}},
        {"request_id": {"dataType": "String", "stringValue": "a\nb"}},
        {"request_id": {"dataType": "String", "stringValue": "x" * 200_000}},
        {"request_id": {}},
        {"request_id": None},
        None,
    ],
    ids=repr,
)
def test_attributes_of_any_type_do_no_harm(world: World, attributes: Any) -> None:
    assert world.send(json.dumps(GOOD), messageAttributes=attributes)
    request_id = world.job().request_id
    assert request_id in ("1e5", "m-1"), "what can be no id of a request is none"


def test_a_message_is_hidden_for_a_short_time_before_it_is_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise MemoryError

    for reader in ("request_id", "job_to_run", "take_in"):
        with monkeypatch.context() as patched:
            patched.setattr(worker, reader, die)
            with pytest.raises(MemoryError):
                world.send(json.dumps(GOOD))
    assert world.queues.hidden == [60, 60, 60]


def test_a_bug_of_ours_is_a_failed_job_in_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(type(world.office.robot.intake), "submit_chat_image", break_)
    with pytest.raises(ZeroDivisionError):
        world.send(json.dumps(GOOD), times=8)
    assert world.send(json.dumps(GOOD), times=9)
    job = world.job()
    assert job.error
    assert (job.status, job.error.code) == (JobStatus.FAILED, "internal_error")


def test_a_message_that_has_no_room_for_a_reason_is_left_to_the_queue(world: World) -> None:
    world.queues.refuses = True
    assert not world.send("rubbish")


@pytest.mark.parametrize(
    "body",
    [
        *(hostile.nested(50_000), "{", '{"delivery_id": 1, "version": 1}', "null"),
        '{"delivery_id": "x", "version": true}',
        '{"response_id": ["x"]}',
    ],
)
def test_other_queues_report_what_they_cannot_read(world: World, body: str) -> None:
    record = {"messageId": "m-1", "receiptHandle": "r-1", "body": body, "attributes": {}}
    for handler in (deliver.Deliverer(), respond.Responder()):
        answer = handler({"Records": [record]}, None)
        assert answer == {"batchItemFailures": [{"itemIdentifier": "m-1"}]}
    assert world.queues.hidden, "and it is hidden before it is read"
