"""The service's SQS queues: how messages are put on them, hidden, counted and given up."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robotchat.correlation import is_request_id

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

    from robotchat.events.delivery import Delivery
    from robotchat.jobs.job import Job

LONGEST_DELAY = 900
"""Seconds for which SQS delays a message at most. Longer waits are made of several messages: one
that comes too early is sent again."""

_LONGEST_VISIBILITY = 43200

FIRST_ID = "first_id"
"""The attribute with the id that a message had before it was a dead letter."""


@dataclass(frozen=True)
class Counts:
    """How many messages are in a queue, approximately: SQS does not know exactly."""

    waiting: int
    delayed: int
    in_work: int


class SqsQueue:
    """One queue."""

    def __init__(self, client: SQSClient, url: str) -> None:
        self._client = client
        self._url = url

    @property
    def url(self) -> str:
        """The queue's address."""
        return self._url

    def receive(self, *, wait: int, hidden: float, most: int = 1) -> list[dict[str, Any]]:
        """Wait for messages for so many seconds at most, and hide those that come (``most`` of
        them, ten at the most) from others. Gives them as Lambda would."""
        answer = self._client.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=most,
            WaitTimeSeconds=wait,
            VisibilityTimeout=math.ceil(hidden),
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        return [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message.get("Attributes", {}),
                "messageAttributes": {
                    name: {"stringValue": value.get("StringValue"), "dataType": value["DataType"]}
                    for name, value in message.get("MessageAttributes", {}).items()
                },
            }
            for message in answer.get("Messages", ())
        ]

    def done(self, record: Mapping[str, Any]) -> None:
        """A received message has been dealt with."""
        self._client.delete_message(QueueUrl=self._url, ReceiptHandle=record["receiptHandle"])

    def put(
        self,
        body: str,
        *,
        group: str | None = None,
        delay: float = 0.0,
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        """Queue the body of a message, not before ``delay`` seconds from now.

        Messages are of a ``group`` each, the tenant's, which makes the queue a fair one.
        """
        parameters: dict[str, Any] = {"QueueUrl": self._url, "MessageBody": body}
        if delay > 0:
            parameters["DelaySeconds"] = min(math.ceil(delay), LONGEST_DELAY)
        if group is not None:
            parameters["MessageGroupId"] = group
        if attributes:
            parameters["MessageAttributes"] = {
                name: {"DataType": "String", "StringValue": value}
                for name, value in attributes.items()
            }
        self._client.send_message(**parameters)

    def hide(self, record: Mapping[str, Any], seconds: float) -> None:
        """Hide a received message from other consumers for this many seconds from now."""
        self._client.change_message_visibility(
            QueueUrl=self._url,
            ReceiptHandle=record["receiptHandle"],
            VisibilityTimeout=min(math.ceil(seconds), _LONGEST_VISIBILITY),
        )

    def counts(self) -> Counts:
        """What is in the queue."""
        found = self._client.get_queue_attributes(
            QueueUrl=self._url,
            AttributeNames=[
                "ApproximateNumberOfMessages",
                "ApproximateNumberOfMessagesDelayed",
                "ApproximateNumberOfMessagesNotVisible",
            ],
        )["Attributes"]
        return Counts(
            waiting=int(found["ApproximateNumberOfMessages"]),
            delayed=int(found["ApproximateNumberOfMessagesDelayed"]),
            in_work=int(found["ApproximateNumberOfMessagesNotVisible"]),
        )


def first_id(record: Mapping[str, Any]) -> str:
    """The id under which a message first came, whatever queues it was put on since: what was done
    for it is done once."""
    attribute = (record.get("messageAttributes") or {}).get(FIRST_ID) or {}
    named = attribute.get("stringValue")
    return str(named) if is_request_id(named) else str(record["messageId"])


class SqsJobs(SqsQueue):
    """The queue of jobs. A message is the id of one.

    ``pools`` begins the URLs of the queues of pools, whose jobs go there.
    """

    def __init__(self, client: SQSClient, url: str, *, pools: str = "") -> None:
        super().__init__(client, url)
        self._pools = pools

    def send(self, job: Job, *, delay: float = 0.0) -> None:
        self.of_pool(job.pool).send_again(
            json.dumps({"job_id": job.id}),
            group=job.tenant,
            request_id=job.request_id,
            delay=delay,
        )

    def of_pool(self, pool: str | None) -> SqsJobs:
        """The queue of a pool's jobs; None: this one."""
        return self if pool is None else SqsJobs(self._client, f"{self._pools}{pool}")

    def send_again(
        self, body: str, *, group: str | None, request_id: str | None = None, delay: float = 0.0
    ) -> None:
        """Queue a message's body anew. ``request_id`` goes with it for the receiver's log."""
        attributes = {"request_id": request_id} if request_id is not None else None
        self.put(body, group=group, delay=delay, attributes=attributes)

    def backlog(self) -> int:
        return self.counts().waiting


class SqsDeliveries(SqsQueue):
    """The queue of webhook deliveries. A message is one attempt at a delivery."""

    def send(self, delivery: Delivery, *, delay: float = 0.0) -> None:
        message = {"delivery_id": delivery.id, "version": delivery.version}
        # A second more than needed, since a message that comes too early costs another one.
        later = int(delay) + 1 if delay > 0 else 0.0
        self.put(json.dumps(message), group=delivery.tenant, delay=later)


class SqsResponses(SqsQueue):
    """The queue of responses that are made in the background."""

    def send(self, response_id: str, tenant: str) -> None:
        self.put(json.dumps({"response_id": response_id}), group=tenant)
