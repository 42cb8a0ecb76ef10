"""What the service adds to a direct call of the SD host (Text2Image, the caller waits)."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import httpx

from benchmarks.targets import AtMost
from dev import sd_host
from tests.local_stack import RunningStack

ROUNDS = 40
REQUEST = {"prompt": "a beach", "steps": 4, "width": 256, "height": 256, "seed": 1}
TARGETS = {"added at the median (ms)": AtMost(15)}


def measure() -> dict[str, float]:
    return compared({})


def compared(environment: Mapping[str, str]) -> dict[str, float]:
    """A direct call, and one through a stack that is started with these options."""
    with tempfile.TemporaryDirectory() as folder, sd_host.running(fixed_seconds=0.2) as host:
        stack = RunningStack(Path(folder), {"SD_HOSTS": host.url, **environment})
        stack.start()
        try:
            with (
                httpx.Client(base_url=host.url, timeout=60) as direct,
                httpx.Client(base_url=stack.api_url, headers=stack.headers, timeout=60) as through,
            ):
                clients = {"direct": direct, "through": through}
                times: dict[str, list[float]] = {name: [] for name in clients}
                for _ in range(5):  # processes that are started, connections that are made
                    for client in clients.values():
                        client.post("/sdapi/v1/txt2img", json=REQUEST).raise_for_status()
                for _ in range(ROUNDS):
                    for name, client in clients.items():
                        started = time.perf_counter()
                        client.post("/sdapi/v1/txt2img", json=REQUEST).raise_for_status()
                        times[name].append(time.perf_counter() - started)
        finally:
            stack.stop()
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {
        "direct, median (ms)": round(1000 * medians["direct"], 1),
        "through robotchat, median (ms)": round(1000 * medians["through"], 1),
        "added at the median (ms)": round(1000 * (medians["through"] - medians["direct"]), 1),
    }
