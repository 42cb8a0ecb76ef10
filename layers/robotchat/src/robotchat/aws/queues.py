"""The library's queues on SQS: jobs to be run, and webhook deliveries to be made."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

    from robotchat.events.webhooks import Delivery
    from robotchat.jobs.job import Job

_MAX_DELAY = 900


class SqsQueue:
    """The queue of jobs. A tenant is a message group, which makes the queue a fair one."""

    def __init__(self, client: SQSClient, queue_url: str) -> None:
        self._client = client
        self._url = queue_url

    def send(self, job: Job, *, delay: float = 0.0) -> None:
        self.send_again(
            json.dumps({"job_id": job.id}),
            group=job.tenant,
            request_id=job.request_id,
            delay=delay,
        )

    def send_again(
        self, body: str, *, group: str | None, request_id: str | None = None, delay: float = 0.0
    ) -> None:
        """Queue the body of a message, for a message group, not before ``delay`` seconds from now.

        ``request_id`` goes with it for the log of whoever receives it.
        What comes too early, because SQS delays no longer than it does, is sent again when it is
        received.
        """
        parameters: dict[str, Any] = {"QueueUrl": self._url, "MessageBody": body}
        if delay > 0:
            parameters["DelaySeconds"] = min(math.ceil(delay), _MAX_DELAY)
        if group is not None:
            parameters["MessageGroupId"] = group
        if request_id is not None:
            value = {"DataType": "String", "StringValue": request_id}
            parameters["MessageAttributes"] = {"request_id": value}
        self._client.send_message(**parameters)

    def backlog(self) -> int:
        answer = self._client.get_queue_attributes(
            QueueUrl=self._url, AttributeNames=["ApproximateNumberOfMessages"]
        )
        return int(answer["Attributes"]["ApproximateNumberOfMessages"])


class SqsDeliveries:
    """The queue of deliveries. A tenant is a message group, which makes the queue a fair one."""

    def __init__(self, client: SQSClient, queue_url: str) -> None:
        self._client = client
        self._url = queue_url

    def send(self, delivery: Delivery, *, delay: float = 0.0) -> None:
        message = {"delivery_id": delivery.id, "version": delivery.version}
        parameters: dict[str, Any] = {"QueueUrl": self._url, "MessageBody": json.dumps(message)}
        if delay > 0:
            # Longer waits are made of several messages: one that comes too early is sent on.
            parameters["DelaySeconds"] = min(int(delay) + 1, _MAX_DELAY)
        self._client.send_message(**parameters, MessageGroupId=delivery.tenant)
