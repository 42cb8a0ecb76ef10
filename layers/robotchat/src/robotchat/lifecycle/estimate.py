"""What a queued job has before it."""

from __future__ import annotations

from robotchat.clock import Clock, rfc3339
from robotchat.hosts.pool import HostPool
from robotchat.jobs.charge import COST_UNIT
from robotchat.jobs.job import Estimate, Job, JobStatus
from robotchat.jobs.store import due
from robotchat.records import Records

FARTHEST_POSITION = 100
"""A job that has more before it is not told its place in the queue."""


def estimate(job: Job, records: Records, hosts: HostPool, clock: Clock) -> Estimate | None:
    """What a queued job has before it; None for one that is not queued.

    Jobs are counted as they were accepted, all tenants' together, while the queue is fair
    between tenants and hosts prefer jobs for the checkpoint that they have loaded: so this
    is about right, and costs one cheap question.
    """
    if job.status is not JobStatus.QUEUED:
        return None
    counted = records.count("due", "job", up_to=rfc3339(due(job)), limit=FARTHEST_POSITION + 1)
    if counted > FARTHEST_POSITION:
        return Estimate(None, None)
    position = max(counted, 1)
    speed = hosts.speed()
    if job.charge is None or speed is None:
        return Estimate(position, None)
    work = job.charge.cost * COST_UNIT
    wait = (position - 1) * work / speed.together
    if job.not_before is not None:
        wait = max(wait, (job.not_before - clock.now()).total_seconds())
    return Estimate(position, round(wait + work / speed.each, 1))
