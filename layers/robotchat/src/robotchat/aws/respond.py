"""From an SQS message to a response made in the background: the handler of ``Respond``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robotchat.aws.log import correlate, logger
from robotchat.aws.wiring import deployment, responses, settings
from robotchat.jobs.states import StillRunning
from robotchat.text import read_json


class Responder:
    """Makes the responses of a batch, and reports those messages that must come back."""

    def __call__(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """Handle an SQS event. Answers with the partial failures."""
        failures = []
        for record in event["Records"]:
            if not self._handle(record):
                failures.append({"itemIdentifier": record["messageId"]})
        return {"batchItemFailures": failures}

    def _handle(self, record: Mapping[str, Any]) -> bool:
        """Whether the message has been dealt with."""
        # The queue hides a message for as long as this function may run. If this process dies,
        # the response must not wait for that long: so the time is shortened now, and renewed.
        lifetime, queue = settings().alive.total_seconds(), deployment().response_queue
        queue.hide(record, lifetime)
        response_id = _response_id(record)
        if response_id is None:
            # It comes again until the queue takes it for dead, and raises the alarm.
            logger().error("unreadable message", message_id=record["messageId"])
            return False
        correlate(response_id)
        try:
            responses().background.run(response_id, beat=lambda: queue.hide(record, lifetime))
        except StillRunning as wait:
            queue.hide(record, wait.seconds)
            return False
        return True


def _response_id(record: Mapping[str, Any]) -> str | None:
    try:
        message = read_json(record["body"])
    except ValueError:
        return None
    found = message.get("response_id") if isinstance(message, dict) else None
    return found if isinstance(found, str) else None
