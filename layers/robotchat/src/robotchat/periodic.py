"""Threads beside the work: one that does things again and again, and one that does one thing."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextvars import copy_context
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")


class InThread(Generic[T]):
    """A call in a thread of its own, beside what its maker does next.

    Whoever makes one waits for it: what is not waited for may be frozen with its Lambda process,
    and go on much later or never.
    """

    def __init__(self, name: str, call: Callable[[], T]) -> None:
        self._made: Future[T] = Future()
        self._call = call
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run,), name=name, daemon=True
        )
        self._thread.start()

    def _run(self) -> None:
        try:
            self._made.set_result(self._call())
        except BaseException as error:  # noqa: BLE001 - whoever asks for the result raises it
            self._made.set_exception(error)

    def done_within(self, seconds: float | None) -> bool:
        """Whether it has ended; waits for so long (None: until it has)."""
        self._thread.join(seconds)
        return self._made.done()

    def result(self) -> T:
        """What it has come to. Waits; raises what it raised."""
        return self._made.result()


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
