"""Who runs a job, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class RunContext:
    """The circumstances of whoever runs a job.

    ``time_left`` tells the seconds until the runner is stopped from outside (a Lambda's timeout);
    ``beat`` is called every few seconds to tell that the runner lives (an SQS message's
    visibility).
    """

    time_left: Callable[[], float] = lambda: float("inf")
    beat: Callable[[], None] = lambda: None
