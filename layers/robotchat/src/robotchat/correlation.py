"""Which request the present work is for: the id that ties an API call to its job and webhook.

Whoever takes a request in says so (`correlate`); whoever makes a job or logs a line asks
(`correlation_id`). It is kept per thread and task, like the work itself.
"""

from __future__ import annotations

import re
from contextvars import ContextVar

_current: ContextVar[str | None] = ContextVar("correlation_id", default=None)


_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:=-]{0,127}")


def is_request_id(value: object) -> bool:
    """Whether a caller's or producer's own id of a request can be taken over: it is logged, stored
    and sent on as it is."""
    return isinstance(value, str) and _REQUEST_ID.fullmatch(value) is not None


def correlate(request_id: str | None) -> None:
    """From now on, what is done here is done for this request; None: for no known one."""
    _current.set(request_id)


def correlation_id() -> str | None:
    """The id of the request that the present work is for, if it is known."""
    return _current.get()
