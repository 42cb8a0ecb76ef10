"""The GPU never waits: busy time of one host under a backlog, and what eight hosts do together."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

import httpx

from benchmarks.targets import AtLeast
from dev import sd_host
from tests.local_stack import RunningStack, wait_until

JOB_SECONDS = 1.0
BACKLOG = 20
TARGETS = {
    "one host: busy time / wall time": AtLeast(0.985),
    "eight hosts / one host": AtLeast(7.7),
}


def measure() -> dict[str, float]:
    one = run(hosts=1, jobs=BACKLOG)
    eight = run(hosts=8, jobs=BACKLOG * 8)
    return {
        "one host: busy time / wall time": round(one["busy"], 4),
        "one host: jobs per second": round(one["rate"], 3),
        "eight hosts: jobs per second": round(eight["rate"], 3),
        "eight hosts / one host": round(eight["rate"] / one["rate"], 3),
    }


def run(*, hosts: int, jobs: int) -> dict[str, float]:
    """Queue so many jobs at once; gives the share of busy time and the jobs per second."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        machines = [
            running.enter_context(sd_host.running(fixed_seconds=JOB_SECONDS)) for _ in range(hosts)
        ]
        stack = RunningStack(
            Path(folder),
            {
                "SD_HOSTS": ",".join(machine.url for machine in machines),
                "ROBOTCHAT_PARAMETERS": f"WorkerConcurrency={hosts + 2}",
            },
        )
        stack.start()
        running.callback(stack.stop)
        with httpx.Client(base_url=stack.api_url, headers=stack.headers, timeout=60) as client:
            for number in range(jobs):
                body = {"message": f"a beach, number {number}", "settings": {"steps": 10}}
                client.post("/v1/chat/text2image", json=body).raise_for_status()
            deadline = 60 + jobs * JOB_SECONDS / hosts * 3

            def done() -> int:
                return sum(int(m.stats()["generations_finished"]) for m in machines)

            wait_until(lambda: done() >= jobs, f"{jobs} pictures", timeout=deadline)
        stats = [machine.stats() for machine in machines]
    busy = sum(float(s["busy_seconds"]) for s in stats)
    span = max(float(s["span_seconds"]) for s in stats)
    return {"busy": busy / (span * hosts), "rate": jobs / span}
