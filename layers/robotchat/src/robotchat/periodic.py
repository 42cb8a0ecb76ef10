"""A thread beside the work that does things again and again until the work is done."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextvars import copy_context
from types import TracebackType
from typing import Any, Self

logger = logging.getLogger(__name__)


class Periodic:
    """Does each task every so many seconds while its context is entered, in a thread of its own.

    A task that fails is logged, with ``extra``, and tried again when it is next due: a store may
    be away for a moment. A task that raises one of ``until`` has found out that there is nothing
    left to do, and no task is done any more. Leaving the context waits for a task that is under
    way, so that none is done afterwards; for ``patience`` seconds at most, if that is given.
    """

    def __init__(
        self,
        name: str,
        *tasks: tuple[float, Callable[[], object]],
        until: type[Exception] | tuple[type[Exception], ...] = (),
        extra: Mapping[str, Any] | None = None,
        patience: float | None = None,
    ) -> None:
        self._patience = patience
        self._name = name
        self._tasks = tasks
        self._until = until
        self._extra = extra
        self._left = threading.Event()
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run,), name=name, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._left.set()
        self._thread.join(self._patience)

    def _run(self) -> None:
        due = [time.monotonic() + interval for interval, _ in self._tasks]
        while not self._left.wait(max(min(due) - time.monotonic(), 0.0)):
            for number, (interval, task) in enumerate(self._tasks):
                if time.monotonic() < due[number]:
                    continue
                try:
                    task()
                except self._until:
                    return
                except Exception:
                    logger.exception("%s failed", self._name, extra=self._extra)
                # Counted from its end: what takes long must not be all that is done.
                due[number] = time.monotonic() + interval
