"""Cold start by memory size: import and first request, at the share of a processor that it brings.

Each function is started anew under a quota (see ``benchmarks/quota.py``), imported, and sent the
request of its event file; its clients, what it imports late and its first call of DynamoDB or of a
language model are in the time. The store and the model run outside of the quota. All figures are
the best of several rounds in one run, in turn.

On a machine that has nothing else to do, the time on the clock is the work of a processor divided
by its share, and some waiting. On a busy one the clock tells nothing, and the work still does: so
both are told, and the cost goes by the work.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import astuple, dataclass
from pathlib import Path

from benchmarks import quota
from benchmarks.prices import GB_SECOND
from benchmarks.targets import AtMost
from dev import llm, sd_host
from tests.emulator import create_table, running_emulator

ROOT = Path(__file__).resolve().parent.parent
SIZES = (512, 1024, 1769)
ROUNDS = 3
FUNCTIONS = {
    "admin/authorizer": 401,
    "jobs/get_job": 404,
    "sd/text2image": 200,
    "gpt/chat_completions": 200,
}
"""With the status of the answer: there is no such key and no such job, and the rest goes well."""
PROGRAM = """
import json, sys, time
began = time.perf_counter()
import app
imported, import_work = time.perf_counter() - began, time.process_time()
class Context:
    function_name = "bench"; memory_limit_in_mb = 512; aws_request_id = "1"
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:bench"
    def get_remaining_time_in_millis(self): return 60000
event = json.load(open(sys.argv[1]))
event.setdefault("requestContext", {})["authorizer"] = {"tenant": "dev", "scopes": "*"}
try:
    status = app.handler(event, Context())["statusCode"]
except Exception as error:
    if str(error) != "Unauthorized":
        raise
    status = 401
whole = time.perf_counter() - began
print(json.dumps([imported, whole, import_work, time.process_time(), status]))
"""

TARGETS: dict[str, AtMost] = {}


@dataclass(frozen=True)
class Start:
    """A cold start in seconds: on the clock under the quota, and of a processor."""

    imported: float
    whole: float
    import_work: float
    work: float

    def least(self, other: Start) -> Start:
        """The better of both, in each respect."""
        return Start(*map(min, astuple(self), astuple(other)))


def measure() -> dict[str, float]:
    best: dict[tuple[str, int], Start] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        running_emulator(Path(folder)) as emulator,
        llm.running() as upstream,
        sd_host.running(fixed_seconds=0.0) as host,
    ):
        create_table(emulator, "robotchat")
        emulator.client("s3").create_bucket(Bucket="robotchat")
        queue = emulator.client("sqs").create_queue(QueueName="robotchat")["QueueUrl"]
        environment = {
            **_environment(emulator.url, upstream.base_url),
            "SD_HOSTS": host.url,
            "JOBS_QUEUE_URL": queue,
        }
        means = ""
        for _ in range(ROUNDS):
            for function in FUNCTIONS:
                for size in SIZES:
                    start, means = _started(function, size, environment)
                    best[function, size] = best.get((function, size), start).least(start)
    print(f"  (share of a processor: {means})")
    figures: dict[str, float] = {}
    for function in FUNCTIONS:
        work = min(best[function, size].work for size in SIZES)
        figures[f"{function}: processor for import (s)"] = round(
            min(best[function, size].import_work for size in SIZES), 2
        )
        figures[f"{function}: with first request (s)"] = round(work, 2)
        for size in SIZES:
            seconds = work / quota.share(size)
            figures[f"{function} at {size} MB: on the clock (s)"] = round(
                best[function, size].whole, 2
            )
            figures[f"{function} at {size} MB: work / share (s)"] = round(seconds, 2)
            dollars = 1000 * seconds * size / 1024 * GB_SECOND
            figures[f"{function} at {size} MB: 1,000 starts (USD)"] = round(dollars, 4)
    return figures


def _started(function: str, size: int, environment: dict[str, str]) -> tuple[Start, str]:
    """How a fresh process did, and by what means it was held back."""
    output, means = quota.run(
        [sys.executable, "-c", PROGRAM, str(ROOT / f"events/{function}.json")],
        quota.share(size),
        cwd=ROOT / "functions" / function,
        env=environment,
    )
    *times, status = json.loads(output.splitlines()[-1])
    if status != FUNCTIONS[function]:
        raise RuntimeError(f"{function} answered {status}: {output}")
    return Start(*times), means


def _environment(aws: str, upstream: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL": aws,
        "AWS_LAMBDA_FUNCTION_NAME": "bench",
        "POWERTOOLS_TRACE_DISABLED": "1",
        "POWERTOOLS_METRICS_NAMESPACE": "bench",
        "POWERTOOLS_SERVICE_NAME": "bench",
        "TABLE_NAME": "robotchat",
        "BUCKET_NAME": "robotchat",
        "CONFIG_SECRET_ARN": "arn:aws:secretsmanager:us-east-1:123456789012:secret:none",
        "OPENAI_BASE_URL": upstream,
        "OPENAI_MODEL": "stand-in",
        "ROBOTCHAT_LOCAL": "1",
    }
