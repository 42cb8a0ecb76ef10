"""A clock that tests turn."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class FakeClock:
    """Stands still until it is told to go on, or until somebody sleeps."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        self.slept: list[float] = []
        self._events: list[tuple[datetime, Callable[[], object]]] = []

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        until = self.time + timedelta(seconds=seconds)
        while due := [event for event in self._events if event[0] <= until]:
            first = min(due, key=lambda event: event[0])
            self._events.remove(first)
            self.time = max(self.time, first[0])
            first[1]()
        self.time = until

    def on(self, moment: datetime, event: Callable[[], object]) -> None:
        """Have something happen at a moment that is to come."""
        self._events.append((moment, event))
