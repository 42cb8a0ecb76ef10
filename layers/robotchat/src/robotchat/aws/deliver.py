"""Webhook deliveries through SQS: the queue, and the handler of the ``Deliver`` function.

A message is acknowledged once its attempt was made and written down, whatever came of it: the next
attempt is a new message, so that a receiver that is away for hours holds nothing up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from robotchat.aws.log import logger
from robotchat.events.webhooks import Delivery

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_MAX_DELAY = 900


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


class Deliverer:
    """Makes the attempts that the messages of a batch are for."""

    def __call__(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """Handle an SQS event. Answers with the partial failures."""
        from robotchat.aws.metrics import record_delivery
        from robotchat.aws.wiring import webhooks

        failures = []
        for record in event["Records"]:
            message = _message(record)
            if message is None:
                # It comes again until the queue takes it for dead, and raises the alarm.
                logger().error("unreadable message", message_id=record["messageId"])
                failures.append({"itemIdentifier": record["messageId"]})
                continue
            delivery_id, version = message
            handed_out = int(record["attributes"]["ApproximateReceiveCount"])
            delivery = webhooks().deliver(delivery_id, version, again=handed_out > 1)
            if delivery is not None and delivery.attempts and delivery.version != version:
                record_delivery(delivery)
        return {"batchItemFailures": failures}


def _message(record: Mapping[str, Any]) -> tuple[str, int] | None:
    try:
        message = json.loads(record["body"])
    except ValueError:
        return None
    if not isinstance(message, dict):
        return None
    delivery_id, version = message.get("delivery_id"), message.get("version")
    if not isinstance(delivery_id, str) or not isinstance(version, int):
        return None
    return delivery_id, version
