"""Whether the service is well, for monitors and for people."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from robotchat.aws.wiring import deployment, robot, settings


class HostFailure(BaseModel):
    """Something that went wrong on an SD host."""

    code: str = Field(examples=["upstream_rejected"])
    at: datetime


class HostHealth(BaseModel):
    """An SD host, as its lease tells; no request goes to the host."""

    name: str = Field(description="A name for the host, not its address.")
    state: Literal["free", "busy", "cooling_down"]
    checkpoint: str | None = Field(description="What it had loaded when it was last used.")
    failures: int = Field(
        description="Failures in a row that any request would have met. What was wrong with one "
        "request alone does not count."
    )
    last_failure: HostFailure | None = Field(
        description="What last went wrong on it, whoever was to blame. It says nothing of its "
        "present state."
    )
    pool: str | None = Field(
        default=None, description="The pool of hosts with a queue of their own that it is in."
    )
    seen_at: datetime | None = Field(
        default=None,
        description="When the pull worker beside it last told of it; null for a host that the "
        "functions reach themselves.",
    )


class Queue(BaseModel):
    """The queue of jobs; the numbers are SQS's estimates."""

    waiting: int
    delayed: int = Field(description="Backing off.")
    in_work: int


class Health(BaseModel):
    """The service as a whole: ``ok`` when a host could be used now, else ``degraded``."""

    status: Literal["ok", "degraded"]
    hosts: list[HostHealth]
    queue: Queue
    language_model: bool = Field(description="Whether one is configured, to write prompts.")


def health() -> Health:
    """Read the leases and the queue."""
    now = robot().clock.now()
    pulled = {host.name: host for host in deployment().pulled.hosts()}
    hosts = [
        HostHealth(
            name=host.name,
            state=host.state(now),
            checkpoint=host.checkpoint,
            failures=host.failures,
            last_failure=HostFailure(code=host.failure, at=host.failed_at)
            if host.failure is not None and host.failed_at is not None
            else None,
            pool=pulled[host.name].pool if host.name in pulled else None,
            seen_at=pulled[host.name].seen if host.name in pulled else None,
        )
        for host in robot().hosts.states()
    ]
    counts = deployment().job_queue.counts()
    usable = any(host.state != "cooling_down" for host in hosts)
    return Health(
        status="ok" if usable else "degraded",
        hosts=hosts,
        queue=Queue(waiting=counts.waiting, delayed=counts.delayed, in_work=counts.in_work),
        language_model=settings().has_llm,
    )
