"""From an SQS message to a job that is run: the handler of the worker function.

The message is acknowledged when the job is final, or is queued anew; if the worker dies before
that, the message comes back and the job is taken up where it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from robotchat.aws.log import correlate, logger
from robotchat.aws.queues import SqsJobs
from robotchat.aws.requests import bury, job_to_run, request_id, take_in
from robotchat.aws.wiring import deployment, robot, settings
from robotchat.errors import NotFound
from robotchat.jobs.states import NotYet, StillRunning
from robotchat.lifecycle.run_context import RunContext


class Worker:
    """Runs the jobs of a batch, and reports those messages that must come back.

    ``queue`` is where they are from; None: the queue of all jobs. ``leaving`` and ``left`` are
    those of a run's context.
    """

    def __init__(
        self,
        queue: SqsJobs | None = None,
        *,
        leaving: Callable[[], bool] = lambda: False,
        left: Callable[[], bool] = lambda: False,
    ) -> None:
        self._own_queue = queue
        self._leaving = leaving
        self._left = left

    @property
    def _queue(self) -> SqsJobs:
        return self._own_queue or deployment().job_queue

    def __call__(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """Handle an SQS event. Answers with the partial failures."""
        failures = []
        for record in event["Records"]:
            if not self._handle(record, context):
                failures.append({"itemIdentifier": record["messageId"]})
        return {"batchItemFailures": failures}

    def _handle(self, record: Mapping[str, Any], context: Any) -> bool:
        """Whether the message has been dealt with."""
        # The queue hides a message for as long as this function may run. If this process dies,
        # its job must not wait for that long: so the time is shortened now, before anything of
        # the message can be the death of it, and renewed.
        self._queue.hide(record, _alive())
        correlate(request_id(record))
        job_id = job_to_run(record["body"])
        if job_id is not None:
            return self._run(job_id, record, context)
        # A producer that does not know the queue of requests yet; until the next release.
        return take_in(record, self._queue)

    def _run(self, job_id: str, record: Mapping[str, Any], context: Any) -> bool:
        log = logger()
        run_context = RunContext(
            time_left=lambda: context.get_remaining_time_in_millis() / 1000,
            beat=lambda: self._queue.hide(record, _alive()),
            leaving=self._leaving,
            left=self._left,
        )
        try:
            job = robot().run(job_id, run_context)
        except (StillRunning, NotYet) as wait:
            # A message of its own for later, since this one can be received only so often. Until
            # its job is final, there must always be one: whoever is on the job may die.
            self._queue.send_again(
                record["body"],
                group=record.get("attributes", {}).get("MessageGroupId"),
                request_id=request_id(record),
                delay=max(wait.seconds, 1.0),
            )
            return True
        except NotFound:
            return bury(record, reason="no such job")
        log.info(
            "ran",
            job_id=job.id,
            kind=job.kind,
            status=job.status,
            attempt=job.attempt,
            **{name: value for name, value in job.timings if value is not None},
        )
        return True


def _alive() -> float:
    """For how many seconds a worker may be silent."""
    return settings().alive.total_seconds()
