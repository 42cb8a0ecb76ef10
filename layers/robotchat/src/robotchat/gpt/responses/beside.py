"""A thread beside the work."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from robotchat.gpt.responses.store import ResponseSuperseded

logger = logging.getLogger(__name__)


class Beside:
    """A thread beside the work that does things every so many seconds."""

    def __init__(self, name: str, *tasks: tuple[float, Callable[[], None]]) -> None:
        self._name = name
        self._tasks = tasks
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"beside-{name}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        tick = min(interval for interval, _ in self._tasks)
        started = time.monotonic()
        due = [started + interval for interval, _ in self._tasks]
        while not self._stop.wait(tick):
            now = time.monotonic()
            for number, (interval, task) in enumerate(self._tasks):
                if now < due[number]:
                    continue
                due[number] = now + interval
                try:
                    task()
                except ResponseSuperseded:
                    return
                except Exception:
                    # The store may be away for a moment; the next time tries again.
                    logger.exception("work beside failed", extra={"response_id": self._name})
