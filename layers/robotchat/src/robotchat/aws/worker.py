"""From an SQS message to a job that is run: the handler of the worker function.

The message is acknowledged when the job is final, or is queued anew; whatever dies before that,
the message comes back and the job is taken up where it stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from robotchat.aws.log import correlate, logger
from robotchat.aws.wiring import deployment, robot, settings
from robotchat.correlation import is_request_id
from robotchat.errors import NotFound, RobotchatError
from robotchat.jobs.states import NotYet, StillRunning
from robotchat.lifecycle.queue_messages import Unreadable, accept
from robotchat.lifecycle.run_context import RunContext
from robotchat.text import read_json

_MOST_RECEIVES = 9
"""One less than the queue allows before it takes a message for dead (``template.yaml``)."""
_LONGEST_PAUSE = 900.0
_LONGEST_OWN = 1000
"""Characters that a message of our own has at most."""


class Worker:
    """Runs the jobs of a batch, and reports those messages that must come back."""

    def __call__(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """Handle an SQS event. Answers with the partial failures."""
        failures = []
        for record in event["Records"]:
            if not self._handle(record, context):
                failures.append({"itemIdentifier": record["messageId"]})
        return {"batchItemFailures": failures}

    def _handle(self, record: Mapping[str, Any], context: Any) -> bool:
        """Whether the message is done with."""
        # The queue hides a message for as long as this function may run. If this process dies,
        # its job must not wait for that long: so the time is shortened now, before anything of
        # the message can be the death of it, and renewed.
        deployment().job_queue.hide(record, _alive())
        correlate(_request_id(record))
        job_id = _job_to_run(record["body"])
        if job_id is not None:
            return self._run(job_id, record, context)
        try:
            return self._accept(record)
        except Unreadable as error:
            return self._bury(record, reason=str(error))

    def _accept(self, record: Mapping[str, Any]) -> bool:
        """Take in a producer's message. The job gets a message of its own, like any other.

        While the tenant is at its limits, the message waits in the queue; not for ever, so that
        the producer can read in the end what has become of it.
        """
        times = int(record["attributes"]["ApproximateReceiveCount"])
        last = times >= _MOST_RECEIVES
        try:
            job = accept(robot().intake, record["body"], message_id=record["messageId"], last=last)
        except RobotchatError as error:
            if not error.retryable:
                raise
            logger().info("not accepted yet", message_id=record["messageId"], code=error.code)
            pause = min(max(error.retry_after or 0, 5 * 2**times), _LONGEST_PAUSE)
            deployment().job_queue.hide(record, pause)
            return False
        logger().info("accepted", job_id=job.id, kind=job.kind, status=job.status)
        return True

    def _run(self, job_id: str, record: Mapping[str, Any], context: Any) -> bool:
        log = logger()
        run_context = RunContext(
            time_left=lambda: context.get_remaining_time_in_millis() / 1000,
            beat=lambda: deployment().job_queue.hide(record, _alive()),
        )
        try:
            job = robot().run(job_id, run_context)
        except (StillRunning, NotYet) as wait:
            # A message of its own for later, since this one can be received only so often. Until
            # its job is final, there must always be one: whoever is on the job may die.
            deployment().job_queue.send_again(
                record["body"],
                group=record.get("attributes", {}).get("MessageGroupId"),
                request_id=_request_id(record),
                delay=max(wait.seconds, 1.0),
            )
            return True
        except NotFound:
            return self._bury(record, reason="no such job")
        log.info(
            "ran",
            job_id=job.id,
            kind=job.kind,
            status=job.status,
            attempt=job.attempt,
            **{name: value for name, value in job.timings if value is not None},
        )
        return True

    def _bury(self, record: Mapping[str, Any], *, reason: str) -> bool:
        """Put a message that nobody can read or answer where an operator sees it.

        One that has no room for the reason comes back, until the queue itself takes it for dead.
        """
        logger().error("unreadable message", message_id=record["messageId"], reason=reason)
        try:
            deployment().dead_letters.put(record["body"], attributes={"reason": reason})
        except ClientError as error:
            logger().warning("it stays in its queue", exc_info=error)
            return False
        return True


def _alive() -> float:
    """For how many seconds a worker may be silent."""
    return settings().alive.total_seconds()


def _job_to_run(body: str) -> str | None:
    """The id in a message of our own, which says nothing but whose turn it is."""
    if len(body) > _LONGEST_OWN:
        return None
    try:
        message = read_json(body)
    except ValueError:
        return None
    job_id = message["job_id"] if isinstance(message, dict) and set(message) == {"job_id"} else None
    return job_id if isinstance(job_id, str) else None


def _request_id(record: Mapping[str, Any]) -> str:
    """The request that a message is for; a producer's message is a request of its own."""
    attribute = (record.get("messageAttributes") or {}).get("request_id") or {}
    named = attribute.get("stringValue")
    return str(named) if is_request_id(named) else str(record["messageId"])
