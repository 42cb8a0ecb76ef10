"""Producers' messages, from the queue of requests to jobs: the handler of the intake function.

Taking in is short: a message is checked, stored as a job and queued, and its producer can read the
job from then on, however many jobs wait to be drawn. The queue of jobs carries ids only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from robotchat.aws.log import correlate, logger
from robotchat.aws.queues import FIRST_ID, SqsQueue, first_id
from robotchat.aws.wiring import deployment, robot
from robotchat.correlation import is_request_id
from robotchat.errors import RobotchatError
from robotchat.lifecycle.queue_messages import Unreadable, accept
from robotchat.text import read_json

_MOST_RECEIVES = 9
"""One less than the queue allows before it takes a message for dead (``template.yaml``)."""
_LONGEST_PAUSE = 900.0
_LONGEST_OWN = 1000
"""Characters that a message of our own has at most."""
_TIME_FOR_ONE = 10.0
"""Seconds of the function's time without which no further message of a batch is begun."""


class RequestsConsumer:
    """Takes in the messages of a batch, and reports those that must come back."""

    def __call__(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """Handle an SQS event. Answers with the partial failures."""
        failures = []
        for record in event["Records"]:
            left = context.get_remaining_time_in_millis() / 1000
            if left < _TIME_FOR_ONE or not self._handle(record):
                failures.append({"itemIdentifier": record["messageId"]})
        return {"batchItemFailures": failures}

    def _handle(self, record: Mapping[str, Any]) -> bool:
        """Whether the message is done with."""
        correlate(request_id(record))
        try:
            if (job_id := job_to_run(record["body"])) is not None:
                # What belongs on the other queue: dead letters that are put back come this way.
                group = record.get("attributes", {}).get("MessageGroupId")
                deployment().job_queue.send_again(
                    record["body"], group=group, request_id=request_id(record)
                )
                logger().info("passed on", job_id=job_id)
                return True
            return take_in(record, deployment().request_queue)
        except Exception:  # noqa: BLE001 - logged with its traceback
            # A bug, or a store that is away. The others of the batch have nothing to do with it;
            # this one comes back, and is among the dead letters in the end.
            logger().exception("not taken in", message_id=record["messageId"])
            return False


def take_in(record: Mapping[str, Any], queue: SqsQueue) -> bool:
    """Make a job of a producer's message, which came by ``queue``. Whether it is done with.

    While the tenant is at its limits, the message waits in the queue; not for ever, so that the
    producer can read in the end what has become of it. One that nobody can read is a dead letter.
    """
    times = int(record["attributes"]["ApproximateReceiveCount"])
    last = times >= _MOST_RECEIVES
    try:
        job = accept(robot().intake, record["body"], message_id=first_id(record), last=last)
    except Unreadable as error:
        return bury(record, reason=str(error))
    except RobotchatError as error:
        if not error.retryable:
            raise
        logger().info("not accepted yet", message_id=record["messageId"], code=error.code)
        queue.hide(record, min(max(error.retry_after or 0, 5 * 2**times), _LONGEST_PAUSE))
        return False
    logger().info("accepted", job_id=job.id, kind=job.kind, status=job.status)
    return True


def bury(record: Mapping[str, Any], *, reason: str) -> bool:
    """Put a message that nobody can read or answer where an operator sees it. Whether it is there.

    One that has no room for the reason comes back, until the queue itself takes it for dead.
    """
    logger().error("unreadable message", message_id=record["messageId"], reason=reason)
    try:
        attributes = {"reason": reason, FIRST_ID: first_id(record)}
        deployment().dead_letters.put(record["body"], attributes=attributes)
    except ClientError as error:
        logger().warning("it stays in its queue", exc_info=error)
        return False
    return True


def job_to_run(body: str) -> str | None:
    """The id in a message of our own, which says nothing but whose turn it is."""
    if len(body) > _LONGEST_OWN:
        return None
    try:
        message = read_json(body)
    except ValueError:
        return None
    job_id = message["job_id"] if isinstance(message, dict) and set(message) == {"job_id"} else None
    return job_id if isinstance(job_id, str) else None


def request_id(record: Mapping[str, Any]) -> str:
    """The request that a message is for; a producer's message is a request of its own."""
    attribute = (record.get("messageAttributes") or {}).get("request_id") or {}
    named = attribute.get("stringValue")
    return str(named) if is_request_id(named) else str(record["messageId"])
