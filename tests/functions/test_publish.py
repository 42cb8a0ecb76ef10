"""Publish: from writes in the table's stream to the event bus and to webhooks, losing none."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from functions.workers.publish.app import handler
from robotchat.aws.wiring import Deployment, serving
from robotchat.events.event import Event
from robotchat.jobs.job import WebhookTarget
from robotchat.settings import Settings

EVENT = json.loads((Path(__file__).parents[2] / "events/workers/publish.json").read_text("utf-8"))


class Bus:
    """EventBridge: refuses what it is told to refuse."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.calls: list[int] = []
        self.refuses: set[str] = set()
        self.down = False

    def put_events(self, *, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        if self.down:
            raise _outage("PutEvents")
        self.calls.append(len(Entries))
        results = []
        for entry in Entries:
            if json.loads(entry["Detail"])["data"]["id"] in self.refuses:
                results.append({"ErrorCode": "ThrottlingException", "ErrorMessage": "later"})
            else:
                self.entries.append(entry)
                results.append({"EventId": "1"})
        return {"FailedEntryCount": 0, "Entries": results}


class DeadLetters:
    """The dead letter queue."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    def send_message(self, *, QueueUrl: str, MessageBody: str) -> None:
        assert QueueUrl == "https://sqs/dead"
        self.messages.append(json.loads(MessageBody))


class Told:
    """Webhooks: keeps what is to be delivered."""

    def __init__(self) -> None:
        self.events: list[tuple[Event, str, WebhookTarget | None]] = []
        self.down = False

    def publish(self, event: Event, tenant: str, target: WebhookTarget | None) -> None:
        if self.down:
            raise _outage("SendMessage")
        self.events.append((event, tenant, target))


def _outage(operation: str) -> ClientError:
    return ClientError({"Error": {"Code": "ServiceUnavailable", "Message": ""}}, operation)


class World:
    """What the function finds around it."""

    def __init__(self) -> None:
        self.bus = Bus()
        self.dead_letters = DeadLetters()
        self.told = Told()


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    clients: dict[str, Any] = {"events": world.bus, "sqs": world.dead_letters}
    settings = Settings(event_bus_name="bus", event_dead_letters_url="https://sqs/dead")
    with serving(Deployment(settings, client=clients.__getitem__, webhooks=world.told)):
        yield world


def change(
    number: int, *, before: str | None = "running", after: str = "succeeded", **fields: Any
) -> dict[str, Any]:
    """A stream record: a job's write, which took it from one status to another."""
    record: dict[str, Any] = copy.deepcopy(EVENT["Records"][0])
    told = record["dynamodb"]
    told["SequenceNumber"] = str(1000 + number)
    data = json.loads(told["NewImage"]["data"]["S"])
    data |= {"id": f"job_{number}", "status": after, **fields}
    told["NewImage"]["data"]["S"] = json.dumps(data)
    told["NewImage"]["labels"]["M"]["status"]["S"] = after
    if before is None:
        del told["OldImage"]
        record["eventName"] = "INSERT"
    else:
        told["OldImage"]["labels"]["M"]["status"]["S"] = before
    return record


def handle(*records: Mapping[str, Any]) -> list[str]:
    """Run the function; gives the sequence numbers that it reports as failed."""
    answer = handler({"Records": list(records)}, None)
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


def test_the_end_of_a_job_is_told_to_the_bus_and_to_its_webhook(world: World) -> None:
    assert handler(EVENT, None) == {"batchItemFailures": []}
    (entry,) = world.bus.entries
    assert entry["EventBusName"] == "bus"
    assert entry["Source"] == "robotchat"
    assert entry["DetailType"] == "robotchat.job.succeeded"
    detail = json.loads(entry["Detail"])
    assert detail["tenant"] == "dev"
    assert detail["data"]["metadata"] == {"order": 7}
    ((event, tenant, target),) = world.told.events
    assert (event.id, tenant) == (detail["id"], "dev")
    assert target is not None
    assert target.url == "https://example.com/hooks/robotchat"


def test_words_of_the_conversation_stay_inside(world: World) -> None:
    handler(EVENT, None)
    assert "beach" not in world.bus.entries[0]["Detail"]


@pytest.mark.parametrize("status", ["succeeded", "failed", "canceled", "expired"])
def test_every_final_state_has_its_event(world: World, status: str) -> None:
    handle(change(1, after=status))
    assert world.bus.entries[0]["DetailType"] == f"robotchat.job.{status}"


def test_a_job_that_is_stored_as_final_at_once_is_told_too(world: World) -> None:
    handle(change(1, before=None, after="failed"))
    assert len(world.bus.entries) == 1


def test_a_write_that_ends_nothing_is_not_told(world: World) -> None:
    assert handle(change(1, before="succeeded"), change(2, before="queued", after="running")) == []
    assert world.bus.entries == []
    assert world.told.events == []


def test_the_same_record_twice_is_the_same_event(world: World) -> None:
    handler(EVENT, None)
    handler(EVENT, None)
    assert len({event.id for event, _, _ in world.told.events}) == 1


def test_many_events_go_to_the_bus_in_the_portions_that_it_takes(world: World) -> None:
    assert handle(*(change(number) for number in range(12))) == []
    assert world.bus.calls == [10, 2]
    world.bus.calls.clear()
    image = json.loads(EVENT["Records"][0]["dynamodb"]["NewImage"]["data"]["S"])["images"][0]
    assert handle(*(change(number, images=[image] * 500) for number in range(4))) == []
    assert world.bus.calls == [2, 2]


def test_what_the_bus_refuses_comes_again_and_is_told_to_no_webhook_before(world: World) -> None:
    world.bus.refuses = {"job_2"}
    assert handle(change(1), change(2), change(3)) == ["1002"]
    assert [event.data.id for event, _, _ in world.told.events] == ["job_1", "job_3"]


def test_when_the_bus_is_down_everything_comes_again(world: World) -> None:
    world.bus.down = True
    assert handle(change(1), change(2)) == ["1001", "1002"]
    assert world.told.events == []


def test_when_no_delivery_can_be_queued_the_record_comes_again(world: World) -> None:
    world.told.down = True
    assert handle(change(1)) == ["1001"]


def test_an_unreadable_record_is_set_aside_and_holds_nothing_up(world: World) -> None:
    unreadable = change(1, kind="sculpture", message="a secret")
    assert handle(unreadable, change(2)) == []
    (letter,) = world.dead_letters.messages
    assert letter["keys"]["pk"].startswith("job#")
    assert letter["sequence_number"] == "1001"
    assert "secret" not in json.dumps(letter)
    assert [event.data.id for event, _, _ in world.told.events] == ["job_2"]
