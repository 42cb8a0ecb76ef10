"""What Text2Image costs more where only a pull worker reaches the SD host (queued, and watched)."""

from __future__ import annotations

from benchmarks.overhead import compared
from benchmarks.targets import AtMost

TARGETS: dict[str, AtMost] = {}
"""None: a worker's queue is asked in long polls, and the emulated one answers those late."""


def measure() -> dict[str, float]:
    return compared({"WORKERS": "pull"})
