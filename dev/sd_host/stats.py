"""What a test or a benchmark wants to know of a host's life so far."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any

REQUESTS_KEPT = 2000
TEXT_KEPT = 200


class Stats:
    """Counters, times and the requests seen.

    ``busy_seconds``: the time in which a drawing held the lock; ``span_seconds``: from the first
    drawing's start to the last one's end (now, while one runs), so busy/span is the host's
    utilisation; ``load_seconds``: the part of it spent switching models.
    """

    def __init__(self) -> None:
        self.counters = {
            "requests": 0,
            "generations_started": 0,
            "generations_finished": 0,
            "generations_failed": 0,
            "generations_txt2img": 0,
            "generations_img2img": 0,
            "generations_extras": 0,
            "model_switches": 0,
            "interrupts": 0,
            "restarts": 0,
            "waiting": 0,
            "max_waiting": 0,
            "paused": 0,
            "sampling_step": 0,
        }
        self.since = time.monotonic()
        self.busy_seconds = 0.0
        self.load_seconds = 0.0
        self.first_start: float | None = None
        self.last_end: float | None = None
        self.running_since: float | None = None
        self.requests: deque[dict[str, Any]] = deque(maxlen=REQUESTS_KEPT)
        self.interrupts: deque[dict[str, Any]] = deque(maxlen=REQUESTS_KEPT)
        self._changed = asyncio.Event()

    def set(self, counter: str, value: int) -> None:
        """Change a counter and wake those who wait for it."""
        self.counters[counter] = value
        self._changed.set()
        self._changed = asyncio.Event()

    def add(self, counter: str, amount: int = 1) -> None:
        self.set(counter, self.counters[counter] + amount)

    def begin(self) -> None:
        """A drawing got the lock."""
        self.running_since = time.monotonic()
        if self.first_start is None:
            self.first_start = self.running_since
        self.add("generations_started")

    def end(self, *, failed: bool) -> None:
        """A drawing gives the lock back."""
        now = time.monotonic()
        if self.running_since is not None:
            self.busy_seconds += now - self.running_since
        self.running_since, self.last_end = None, now
        self.add("generations_failed" if failed else "generations_finished")

    async def wait(self, wanted: dict[str, int], timeout: float) -> bool:
        """Whether all ``wanted`` counters reach their values within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while any(self.counters[name] < value for name, value in wanted.items()):
            try:
                await asyncio.wait_for(self._changed.wait(), deadline - time.monotonic())
            except TimeoutError:
                return False
        return True

    def report(self) -> dict[str, Any]:
        now = time.monotonic()
        running = now - self.running_since if self.running_since is not None else 0.0
        last = now if self.running_since is not None else self.last_end
        span = last - self.first_start if last is not None and self.first_start is not None else 0.0
        return {
            **self.counters,
            "busy_seconds": self.busy_seconds + running,
            "load_seconds": self.load_seconds,
            "span_seconds": span,
            "wall_seconds": now - self.since,
            "interrupts_received": list(self.interrupts),
            "requests_seen": list(self.requests),
        }


def abbreviated(value: Any) -> Any:
    """``value`` with long texts (pictures) replaced by their length."""
    if isinstance(value, str) and len(value) > TEXT_KEPT:
        return f"<{len(value)} characters>"
    if isinstance(value, dict):
        return {key: abbreviated(item) for key, item in value.items()}
    if isinstance(value, list):
        return [abbreviated(item) for item in value]
    return value
