"""Deliver, and the endpoints around webhooks, with their events."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from functions.jobs.get_webhook import app as get_webhook
from functions.jobs.get_webhook_secret import app as get_webhook_secret
from functions.jobs.list_webhook_deliveries import app as list_webhook_deliveries
from functions.jobs.redeliver_webhook import app as redeliver_webhook
from functions.jobs.rotate_webhook_secret import app as rotate_webhook_secret
from functions.jobs.set_webhook import app as set_webhook
from functions.workers.deliver.app import handler
from robotchat.aws.log import logger
from robotchat.aws.queues import SqsDeliveries
from robotchat.aws.stores import record_of
from robotchat.aws.wiring import Deployment, serving
from robotchat.events.delivery import Delivery
from robotchat.events.event import Event
from robotchat.events.webhooks import Webhooks
from robotchat.jobs.store import Jobs
from robotchat.records import MemoryRecords
from robotchat.settings import Settings
from tests.cases.clock import FakeClock

EVENTS = Path(__file__).parents[2] / "events"


def load(name: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text("utf-8"))
    return event


class Queue:
    """SQS: keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send_message(self, **parameters: Any) -> None:
        self.sent.append(parameters)


class World:
    """Webhooks over memory, an SQS that keeps its messages, and a receiver."""

    def __init__(self) -> None:
        self.sqs = Queue()
        self.clock = FakeClock()
        self.status = 200
        self.requests: list[httpx.Request] = []
        client: Any = self.sqs
        self.webhooks = Webhooks(
            MemoryRecords(),
            self.clock,
            SqsDeliveries(client, "https://sqs/webhooks"),
            client=lambda _: httpx.Client(transport=httpx.MockTransport(self._receive)),
            jitter=lambda bound: bound,
        )

    def _receive(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(self.status)

    def publish(self) -> Delivery:
        image = load("workers/publish")["Records"][0]["dynamodb"]["NewImage"]
        job = Jobs.read(record_of(image))
        delivery = self.webhooks.publish(Event.of(job), job.tenant, job.webhook)
        assert delivery is not None
        return delivery

    def deliver(self, *, receive_count: int = 1) -> dict[str, Any]:
        event = load("workers/deliver")
        event["Records"][0]["body"] = self.sqs.sent.pop(0)["MessageBody"]
        event["Records"][0]["attributes"]["ApproximateReceiveCount"] = str(receive_count)
        return handler(event, None)


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    with serving(Deployment(Settings(), webhooks=world.webhooks)):
        yield world


def call(endpoint: ModuleType, event: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    answer = endpoint.handler(event, None)
    return answer["statusCode"], json.loads(answer["body"])


def test_a_message_is_an_attempt(world: World) -> None:
    world.publish()
    assert world.deliver() == {"batchItemFailures": []}
    assert len(world.requests) == 1
    assert world.sqs.sent == []


def test_a_failed_attempt_is_acknowledged_and_followed_by_a_delayed_message(world: World) -> None:
    world.status = 500
    world.publish()
    assert world.sqs.sent[0]["MessageGroupId"] == "dev"
    assert "DelaySeconds" not in world.sqs.sent[0]
    assert world.deliver() == {"batchItemFailures": []}
    assert world.sqs.sent[0]["DelaySeconds"] == 6


def test_no_message_is_delayed_for_longer_than_sqs_can(world: World) -> None:
    delivery = world.publish()
    world.sqs.sent.clear()
    client: Any = world.sqs
    SqsDeliveries(client, "https://sqs/webhooks").send(delivery, delay=5000)
    assert world.sqs.sent[0]["DelaySeconds"] == 900


@pytest.mark.parametrize(
    "body", ["", "[]", "{}", '{"delivery_id": 5, "version": 1}', '{"delivery_id": "dlv_1"}']
)
def test_an_unreadable_message_is_left_to_the_dead_letter_queue(world: World, body: str) -> None:
    event = load("workers/deliver")
    event["Records"][0]["body"] = body
    answer = handler(event, None)
    assert answer == {"batchItemFailures": [{"itemIdentifier": event["Records"][0]["messageId"]}]}


def test_a_message_of_an_unknown_delivery_is_acknowledged(world: World) -> None:
    assert handler(load("workers/deliver"), None) == {"batchItemFailures": []}
    assert world.requests == []


def test_the_library_that_calls_does_not_log_urls() -> None:
    logger()
    assert logging.getLogger("httpx").getEffectiveLevel() >= logging.WARNING


def test_deliveries_are_listed_and_sent_again(world: World) -> None:
    delivery = world.publish()
    world.deliver()
    event = load("jobs/list_webhook_deliveries")
    event["queryStringParameters"] = event["multiValueQueryStringParameters"] = None
    status, listed = call(list_webhook_deliveries, event)
    assert status == 200
    (shown,) = listed["data"]
    assert shown["id"] == delivery.id
    assert shown["state"] == "delivered"
    assert shown["attempts"][0]["status"] == 200
    assert "body" not in shown

    event = load("jobs/redeliver_webhook")
    path = f"/v1/webhook-deliveries/{delivery.id}/redeliver"
    event |= {"path": path, "pathParameters": {"delivery_id": delivery.id}}
    status, again = call(redeliver_webhook, event)
    assert status == 202
    assert again["state"] == "pending"
    world.deliver()
    first, second = world.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]

    other = copy.deepcopy(event)
    other["requestContext"]["authorizer"]["tenant"] = "other"
    status, problem = call(redeliver_webhook, other)
    assert status == 404
    assert problem["code"] == "not_found"


def test_deliveries_are_filtered_by_state(world: World) -> None:
    world.publish()
    assert len(call(list_webhook_deliveries, load("jobs/list_webhook_deliveries"))[1]["data"]) == 1
    world.deliver()
    assert call(list_webhook_deliveries, load("jobs/list_webhook_deliveries"))[1]["data"] == []


def test_reading_deliveries_is_not_enough_to_send_them_again(world: World) -> None:
    event = load("jobs/redeliver_webhook")
    event["requestContext"]["authorizer"]["scopes"] = "jobs:read"
    assert call(redeliver_webhook, event)[0] == 403
    event = load("jobs/get_webhook_secret")
    event["requestContext"]["authorizer"]["scopes"] = "jobs:read"
    assert call(get_webhook_secret, event)[0] == 403


def test_a_tenants_own_webhook_is_set_and_read(world: World) -> None:
    status, unset = call(get_webhook, load("jobs/get_webhook"))
    assert (status, unset["url"]) == (200, None)
    status, set_ = call(set_webhook, load("jobs/set_webhook"))
    assert status == 200
    assert set_["url"] == "https://example.com/hooks/robotchat"
    assert set_["events"] == ["job.succeeded", "job.failed"]
    assert call(get_webhook, load("jobs/get_webhook"))[1] == set_


def test_an_inner_address_as_a_tenants_webhook_is_refused(world: World) -> None:
    event = load("jobs/set_webhook")
    event["body"] = json.dumps({"url": "https://169.254.169.254/latest"})
    status, problem = call(set_webhook, event)
    assert status == 422
    assert problem["code"] == "forbidden_url"


def test_a_secret_is_read_and_rotated(world: World) -> None:
    _, before = call(get_webhook_secret, load("jobs/get_webhook_secret"))
    assert before["secret"].startswith("whsec_")
    assert before["previous_valid_until"] is None
    _, after = call(rotate_webhook_secret, load("jobs/rotate_webhook_secret"))
    assert after["secret"] != before["secret"]
    assert after["previous_valid_until"] is not None
    assert call(get_webhook_secret, load("jobs/get_webhook_secret"))[1] == after
