"""What Text2Image costs more where only a pull worker reaches the SD host (queued, and watched)."""

from __future__ import annotations

from benchmarks.overhead import compared
from benchmarks.targets import AtMost

TARGETS = {"added at the median (ms)": AtMost(250)}


def measure() -> dict[str, float]:
    return compared({"WORKERS": "pull"})
