"""What the service counts and measures, in CloudWatch's embedded metric format (lines in the log).

Few metrics, with few dimensions, since each combination is billed as a metric of its own; what
else is known (which job, which host) stands beside the values in the log line, where Logs
Insights finds it. The namespace and the ``service`` dimension are those of the environment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from robotchat.correlation import correlation_id
from robotchat.jobs.job import Job, JobStatus

if TYPE_CHECKING:
    from robotchat.events.delivery import Delivery
    from robotchat.hosts.lease import HostState

_NAMESPACE = "robotchat"

Values = Mapping[str, tuple[MetricUnit, float | None]]


def record_attempt(job: Job) -> None:
    """An attempt at a job has ended, in a worker or while its caller waited.

    ``job`` is as the attempt left it: final, or queued again.
    """
    drew = job.status is JobStatus.SUCCEEDED
    timings = job.timings
    values: dict[str, tuple[MetricUnit, float | None]] = {
        "Attempts": (MetricUnit.Count, 1),
        "Retries": (MetricUnit.Count, float(job.reason == "backing_off")),
    }
    if drew:
        values |= {
            "QueuedTime": (MetricUnit.Seconds, timings.queued),
            "PromptTime": (MetricUnit.Seconds, timings.prompt),
            "HostWait": (MetricUnit.Seconds, timings.host_wait),
            "DrawTime": (MetricUnit.Seconds, timings.run),
            "StoreTime": (MetricUnit.Seconds, timings.store),
        }
        if timings.run is not None:
            values["ModelSwitches"] = (MetricUnit.Count, float(job.model_switch))
    _emit(
        values,
        job_id=job.id,
        kind=job.kind,
        status=job.status,
        attempt=job.attempt,
        host=job.host,
        checkpoint=job.checkpoint,
        code=_code(job),
    )


def record_end(job: Job) -> None:
    """A job has become final, whichever way: told once for each, by the table's stream."""
    whole = (job.finished_at - job.created_at).total_seconds() if job.finished_at else None
    facts: dict[str, Any] = {"job_id": job.id, "kind": job.kind, "code": _code(job)}
    _emit({"JobsEnded": (MetricUnit.Count, 1)}, dimensions={"status": job.status}, **facts)
    if job.status is JobStatus.SUCCEEDED:
        _emit({"JobTime": (MetricUnit.Seconds, whole)}, **facts)


def record_delivery(delivery: Delivery) -> None:
    """An attempt at a webhook delivery was made."""
    attempt = delivery.attempts[-1]
    _emit(
        {
            "WebhookAttempts": (MetricUnit.Count, 1),
            "WebhookTime": (MetricUnit.Milliseconds, attempt.duration_ms),
        },
        dimensions={"outcome": delivery.state},
        delivery_id=delivery.id,
        job_id=delivery.job_id,
        answer=attempt.status,
    )


def record_first_token(seconds: float) -> None:
    """The first words of a streamed answer came, this long after the upstream was asked."""
    _emit({"FirstTokenTime": (MetricUnit.Seconds, round(seconds, 4))})


def record_sweep(*, repaired: int, requeued: int, hosts: Sequence[HostState]) -> None:
    """The sweeper has looked at everything.

    A host counts as down when its last uses have failed; nothing asks it but work.
    """
    _emit(
        {
            "SweeperRepairs": (MetricUnit.Count, repaired),
            "RequeuedDeliveries": (MetricUnit.Count, requeued),
            "HostsDown": (MetricUnit.Count, sum(host.failures > 0 for host in hosts)),
            "Hosts": (MetricUnit.Count, len(hosts)),
        },
        down=[host.name for host in hosts if host.failures > 0] or None,
    )


def _code(job: Job) -> str | None:
    return job.error.code if job.error is not None else None


def _emit(values: Values, *, dimensions: Mapping[str, str] | None = None, **facts: Any) -> None:
    """Write one line; what is None is left out."""
    metrics = EphemeralMetrics(namespace=_NAMESPACE)
    for name, value in (dimensions or {}).items():
        metrics.add_dimension(name=name, value=str(value))
    for name, (unit, number) in values.items():
        if number is not None:
            metrics.add_metric(name=name, unit=unit, value=number)
    for name, fact in {**facts, "correlation_id": correlation_id()}.items():
        if fact is not None:
            metrics.add_metadata(key=name, value=fact)
    metrics.flush_metrics()
