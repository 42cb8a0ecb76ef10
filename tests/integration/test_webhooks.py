"""Events out of the running service: signed webhooks and the event bus, also past an outage."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import httpx
import pytest
from standardwebhooks import Webhook

from dev.stack.ports import free_port
from tests.local_stack import RunningStack, wait_until


class Receiver:
    """A caller's server on this machine; ``heard`` are the requests it answered, with bodies."""

    def __init__(self, port: int = 0) -> None:
        self.heard: list[tuple[dict[str, str], bytes]] = []
        heard = self.heard

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                heard.append(({k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: the test looks at ``heard``."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook?token=hush"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def of_job(self, job_id: str) -> list[tuple[dict[str, str], bytes]]:
        return [one for one in self.heard if json.loads(one[1])["data"]["id"] == job_id]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def receive() -> Iterator[Callable[..., Receiver]]:
    """Start receivers; closed after the test."""
    started: list[Receiver] = []

    def start(port: int = 0) -> Receiver:
        started.append(Receiver(port))
        return started[-1]

    yield start
    for receiver in started:
        receiver.close()


@pytest.fixture
def api(stack: RunningStack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.api_url, headers=stack.headers, timeout=60) as client:
        yield client


@pytest.fixture
def told(stack: RunningStack) -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    """What a queue behind the event bus has got of a job."""
    session = boto3.Session("test", "test", region_name=stack.region)
    sqs = session.client("sqs", endpoint_url=stack.aws_endpoint_url)
    events = session.client("events", endpoint_url=stack.aws_endpoint_url)
    url = sqs.create_queue(QueueName="told")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    bus = stack.event_bus
    pattern = json.dumps({"source": ["robotchat"], "detail-type": [{"prefix": "robotchat.job."}]})
    events.put_rule(Name="told", EventBusName=bus, EventPattern=pattern)
    events.put_targets(Rule="told", EventBusName=bus, Targets=[{"Id": "told", "Arn": arn}])
    got: list[dict[str, Any]] = []

    def of_job(job_id: str) -> list[dict[str, Any]]:
        answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
        for message in answer.get("Messages", []):
            got.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return [event for event in got if event["detail"]["data"]["id"] == job_id]

    yield of_job
    events.remove_targets(Rule="told", EventBusName=bus, Ids=["told"])
    events.delete_rule(Name="told", EventBusName=bus)
    sqs.delete_queue(QueueUrl=url)


def submit(api: httpx.Client, webhook: Any) -> str:
    body = {"message": "a photo of a beach", "settings": {"steps": 4, "width": 64, "height": 64}}
    answer = api.post("/v1/chat/text2image", json={**body, "webhook": webhook})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def test_a_job_ends_and_its_webhook_and_the_bus_hear_of_it_once(
    stack: RunningStack,
    api: httpx.Client,
    receive: Callable[..., Receiver],
    told: Callable[[str], list[dict[str, Any]]],
) -> None:
    receiver = receive()
    job_id = submit(api, receiver.url)
    wait_until(lambda: receiver.of_job(job_id), "the webhook")
    ((headers, body),) = receiver.of_job(job_id)
    secret = api.get("/v1/webhook-secret").json()["secret"]
    assert secret == stack.webhook_secret
    event = Webhook(secret).verify(body, headers)
    assert event["type"] == "job.succeeded"
    job = api.get(event["data"]["links"]["self"]).json()
    assert job["status"] == "succeeded"
    assert [i["sha256"] for i in job["images"]] == [i["sha256"] for i in event["data"]["images"]]

    wait_until(lambda: told(job_id), "the event on the bus")
    (on_bus,) = told(job_id)
    assert on_bus["detail-type"] == "robotchat.job.succeeded"
    assert on_bus["detail"]["id"] == headers["webhook-id"]
    assert on_bus["detail"]["tenant"] == stack.tenant

    (delivery,) = api.get("/v1/webhook-deliveries", params={"job_id": job_id}).json()["data"]
    assert delivery["state"] == "delivered"
    assert "hush" not in delivery["url"]
    again = api.post(f"/v1/webhook-deliveries/{delivery['id']}/redeliver")
    assert again.status_code == 202
    wait_until(lambda: len(receiver.of_job(job_id)) == 2, "the webhook again")
    assert receiver.of_job(job_id)[1][0]["webhook-id"] == headers["webhook-id"]


def test_a_receiver_that_was_away_hears_of_it_when_it_is_back(
    api: httpx.Client, receive: Callable[..., Receiver]
) -> None:
    port = free_port()
    job_id = submit(api, {"url": f"http://127.0.0.1:{port}/", "events": ["job.succeeded"]})

    def attempts() -> Any:
        found = api.get("/v1/webhook-deliveries", params={"job_id": job_id}).json()["data"]
        return found and found[0]["attempts"]

    wait_until(attempts, "a first attempt")
    assert attempts()[0]["error"] == "connect_failed"
    receiver = receive(port)
    wait_until(lambda: receiver.of_job(job_id), "the webhook", 60)


def test_a_canceled_job_is_told_as_such(
    api: httpx.Client, receive: Callable[..., Receiver]
) -> None:
    receiver = receive()
    body = {"message": "a beach", "settings": {"steps": 150, "width": 1024, "height": 1024}}
    answer = api.post("/v1/chat/text2image", json={**body, "webhook": receiver.url})
    job_id = answer.json()["id"]
    assert api.post(f"/v1/jobs/{job_id}/cancel").status_code == 202
    wait_until(lambda: receiver.of_job(job_id), "the webhook")
    ((_, told),) = receiver.of_job(job_id)
    assert json.loads(told)["type"] == "job.canceled"


def test_a_webhook_that_leads_inside_is_refused(api: httpx.Client) -> None:
    answer = api.post(
        "/v1/chat/text2image", json={"message": "a beach", "webhook": "https://10.0.0.1/"}
    )
    assert answer.status_code == 422
    assert answer.json()["code"] == "forbidden_url"
