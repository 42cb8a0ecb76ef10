"""Which request the present work is for: the id that ties an API call to its job and webhook.

Whoever takes a request in says so (`correlate`); whoever makes a job or logs a line asks
(`correlation_id`). It is kept per thread and task, like the work itself.
"""

from __future__ import annotations

from contextvars import ContextVar

_current: ContextVar[str | None] = ContextVar("correlation_id", default=None)


def correlate(request_id: str | None) -> None:
    """From now on, what is done here is done for this request; None: for no known one."""
    _current.set(request_id)


def correlation_id() -> str | None:
    """The id of the request that the present work is for, if it is known."""
    return _current.get()
