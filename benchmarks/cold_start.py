"""Cold start: what importing each function costs, beside the libraries that it needs.

Every figure is the best of several fresh processes, all in one run, in turn.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.targets import AtMost

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 5
POWERTOOLS = "aws_lambda_powertools.event_handler.api_gateway"
EVERYTHING = f"import boto3, openai, pydantic, {POWERTOOLS}"
USUAL = (
    f"import boto3, pydantic, {POWERTOOLS}\n"
    f"{POWERTOOLS}.APIGatewayRestResolver(enable_validation=True)\n"
    "boto3.client('dynamodb', region_name='us-east-1')"
)
"""What most functions need: boto3 with a client, pydantic, and Powertools' event handler."""

TARGETS = {
    "median function / all libraries together": AtMost(0.65),
    "median function / the libraries it needs": AtMost(1.1),
}


def seconds(code: str, cwd: Path = ROOT) -> float:
    """How long a fresh process takes for some code, without the interpreter's own start."""
    timed = f"import time; t = time.perf_counter()\n{code}\nprint(time.perf_counter() - t)"
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_LAMBDA_FUNCTION_NAME": "bench",
        "POWERTOOLS_TRACE_DISABLED": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", timed],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.splitlines()[-1])


def measure() -> dict[str, float]:
    folders = sorted(path.parent for path in (ROOT / "functions").glob("*/*/app.py"))
    all_libraries: list[float] = []
    usual: list[float] = []
    functions: dict[str, list[float]] = {folder.name: [] for folder in folders}
    for _ in range(ROUNDS):
        all_libraries.append(seconds(EVERYTHING))
        usual.append(seconds(USUAL))
        for folder in folders:
            functions[folder.name].append(seconds("import app", folder))
    best = {name: min(times) for name, times in functions.items()}
    slowest = max(best, key=lambda name: best[name])
    median = statistics.median(best.values())
    return {
        "all libraries together (s)": round(min(all_libraries), 3),
        "boto3 + pydantic + event handler (s)": round(min(usual), 3),
        "median function (s)": round(median, 3),
        f"slowest function: {slowest} (s)": round(best[slowest], 3),
        "median function / all libraries together": round(median / min(all_libraries), 3),
        "median function / the libraries it needs": round(median / min(usual), 3),
    }
