"""What a figure must reach."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AtMost:
    """The figure must not be above this."""

    limit: float

    def met(self, value: float) -> bool:
        return value <= self.limit

    def __str__(self) -> str:
        return f"<= {self.limit}"


@dataclass(frozen=True)
class AtLeast:
    """The figure must not be below this."""

    limit: float

    def met(self, value: float) -> bool:
        return value >= self.limit

    def __str__(self) -> str:
        return f">= {self.limit}"
