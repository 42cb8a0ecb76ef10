"""How long a queued job will wait: how many are before it, and seconds."""

from __future__ import annotations

from robotchat.clock import Clock, rfc3339
from robotchat.errors import Contended
from robotchat.hosts.pool import HostPool
from robotchat.jobs.charge import COST_UNIT
from robotchat.jobs.job import Estimate, Job, JobStatus
from robotchat.jobs.store import in_order_of_tenant
from robotchat.records import Records

FARTHEST_POSITION = 100
"""A job that has more before it is not told its place in the queue."""

_AFTER_ANY_ID = "$"
"""Sorts behind every id that follows a moment in the index, since these begin with a #."""

_COUNTED = 2 * FARTHEST_POSITION
"""So many jobs are looked at, since some of those before it are not waiting any more."""


def estimate(job: Job, records: Records, hosts: HostPool, clock: Clock) -> Estimate | None:
    """What a queued job has before it; None for one that is not queued.

    The tenant's own jobs are counted, as they were accepted: the queue is fair between tenants,
    so that another's backlog tells little. Hosts prefer jobs for the checkpoint that they have
    loaded: so this is about right, and costs two cheap questions.
    """
    if job.status is not JobStatus.QUEUED:
        return None
    partition, _ = in_order_of_tenant(job)
    up_to = rfc3339(job.created_at) + _AFTER_ANY_ID
    waiting = {"status": str(JobStatus.QUEUED)}
    try:
        counted = records.count("owner", partition, up_to=up_to, labels=waiting, limit=_COUNTED)
    except Contended:
        # A tenant whose every job is read again and again all the while: the job itself is known.
        return Estimate(None, None)
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
