"""Who runs a job, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


class Leaving(Exception):
    """The runner is being stopped: the job is for another."""


@dataclass(frozen=True)
class RunContext:
    """The circumstances of whoever runs a job.

    ``time_left`` tells the seconds until the runner is stopped from outside (a Lambda's timeout);
    ``beat`` is called every few seconds to tell that the runner lives (an SQS message's
    visibility).
    """

    time_left: Callable[[], float] = lambda: float("inf")
    beat: Callable[[], None] = lambda: None
    leaving: Callable[[], bool] = lambda: False
    """Whether no drawing is to be begun any more, because the runner is being stopped."""
    left: Callable[[], bool] = lambda: False
    """Whether also what is being drawn must be given back by now."""
