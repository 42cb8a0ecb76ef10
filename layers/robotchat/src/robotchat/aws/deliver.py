"""From an SQS message to an attempt at a webhook delivery: the handler of ``Deliver``.

A message is acknowledged once its attempt was made and written down, whatever came of it: the next
attempt is a new message, so that a receiver that is away for hours holds nothing up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robotchat.aws.log import logger
from robotchat.aws.metrics import record_delivery
from robotchat.aws.wiring import webhooks
from robotchat.text import read_json


class Deliverer:
    """Makes the attempts that the messages of a batch are for."""

    def __call__(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """Handle an SQS event. Answers with the partial failures."""
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
        message = read_json(record["body"])
    except ValueError:
        return None
    if not isinstance(message, dict):
        return None
    delivery_id, version = message.get("delivery_id"), message.get("version")
    if not isinstance(delivery_id, str) or type(version) is not int:
        return None
    return delivery_id, version
