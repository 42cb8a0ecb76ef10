"""The safety net: jobs that no message stands for any more are found and repaired."""

from __future__ import annotations

from typing import Any

from robotchat.aws.log import logger
from robotchat.aws.metrics import record_sweep
from robotchat.aws.wiring import robot, webhooks


class ScheduledSweep:
    """Run by a schedule. A repair is counted: it means that something else did not do its part."""

    def __call__(self, event: Any, context: Any) -> dict[str, int]:
        """Repair what is overdue, and delete pictures whose time is up. Gives the numbers."""
        repaired = robot().sweeper.sweep()
        expired = robot().sweeper.delete_expired()
        requeued = webhooks().requeue_overdue()
        record_sweep(repaired=len(repaired), requeued=requeued, hosts=robot().hosts.states())
        for job in repaired:
            logger().warning(
                "repaired", job_id=job.id, kind=job.kind, status=job.status, attempt=job.attempt
            )
        return {
            "repaired": len(repaired),
            "requeued_deliveries": requeued,
            "expired": expired,
        }
