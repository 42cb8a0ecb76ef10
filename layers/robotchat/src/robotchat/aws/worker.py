"""From an SQS message to a job that is run: the handler of the worker function.

The message is acknowledged when the job is final, or is queued anew; whatever dies before that,
the message comes back and the job is taken up where it stands.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from robotchat.aws.log import logger
from robotchat.aws.wiring import client, robot, settings
from robotchat.jobs import RUN_TIMEOUT, NotYet, StillRunning
from robotchat.robot import Shift

_LONGEST_VISIBILITY = 43200


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
        log = logger()
        job_id = _job_id(record)
        if job_id is None:
            log.error("unreadable message", message_id=record["messageId"])
            return False
        log.set_correlation_id(job_id)
        # The queue hides a message for as long as this function may run. If this process dies,
        # its job must not wait for that long: so the time is shortened now, and renewed.
        self._hide(record, RUN_TIMEOUT.total_seconds())
        shift = Shift(
            time_left=lambda: context.get_remaining_time_in_millis() / 1000,
            beat=lambda: self._hide(record, RUN_TIMEOUT.total_seconds()),
        )
        try:
            job = robot().run(job_id, shift)
        except (StillRunning, NotYet) as wait:
            self._hide(record, wait.seconds + 1)
            return False
        log.info(
            "ran",
            job_id=job.id,
            kind=job.kind,
            status=job.status,
            attempt=job.attempt,
            **{name: value for name, value in job.timings if value is not None},
        )
        return True

    def _hide(self, record: Mapping[str, Any], seconds: float) -> None:
        """Keep the message out of other workers' sight for so long from now."""
        client("sqs").change_message_visibility(
            QueueUrl=settings().jobs_queue_url,
            ReceiptHandle=record["receiptHandle"],
            VisibilityTimeout=min(int(seconds), _LONGEST_VISIBILITY),
        )


def _job_id(record: Mapping[str, Any]) -> str | None:
    try:
        message = json.loads(record["body"])
    except ValueError:
        return None
    job_id = message.get("job_id") if isinstance(message, dict) else None
    return job_id if isinstance(job_id, str) else None
