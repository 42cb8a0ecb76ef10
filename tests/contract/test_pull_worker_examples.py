"""The examples for pull workers fit the command and the stack that they are for."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]

from dev.template import Template
from robotchat import cli
from robotchat.aws.wiring import Deployment
from robotchat.hosts.pulled import is_pool
from robotchat.settings import Settings

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples" / "pull-worker"
TEMPLATE = Template(ROOT / "template.yaml")


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml_parse((EXAMPLES / name).read_text("utf-8"))
    return found


@pytest.mark.parametrize("name", ["pool.yaml", "ecs.yaml"])
def test_cloudformation_would_take_it(name: str) -> None:
    lint = [str(Path(sys.executable).with_name("cfn-lint")), str(EXAMPLES / name)]
    done = subprocess.run(lint, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_pools_queue_is_where_jobs_for_it_are_sent() -> None:
    queue = read("pool.yaml")["Resources"]["Jobs"]["Properties"]["QueueName"]["Fn::Sub"]
    url = "https://sqs.eu-central-1.amazonaws.com/123456789012/stack-Jobs-X"
    deployed = Deployment(
        Settings(jobs_queue_url=url, service="stack"), client=lambda service: None
    )
    sent_to = deployed.job_queue.of_pool("large")._url
    assert sent_to.rpartition("/")[2] == queue.replace("${Stack}", "stack").replace(
        "${Pool}", "large"
    )
    pattern = read("pool.yaml")["Parameters"]["Pool"]["AllowedPattern"]
    for name in ("large", "a" * 30, "a" * 31, "Large", "1", "a-1", ""):
        assert bool(re.fullmatch(pattern, name)) == is_pool(name)


def test_the_examples_run_the_command_as_it_is() -> None:
    unit = (EXAMPLES / "robotchat-worker.service").read_text("utf-8")
    image = (EXAMPLES / "Dockerfile").read_text("utf-8")
    containers = read("ecs.yaml")["Resources"]["Task"]["Properties"]["ContainerDefinitions"]
    started = re.search(r"ENTRYPOINT (\[.*\])", image)
    assert started
    entry = yaml_parse(started[1])
    command = [part if isinstance(part, str) else "stack" for part in containers[1]["Command"]]
    run = re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    assert run
    for line in (shlex.split(run[1]), [*entry, *command]):
        asked = cli._parser().parse_args(line[1:])
        assert asked.run is cli._work
        # Who stops it gives it that time, and a little more where it can.
        assert asked.drain < 135
    assert asked.drain < containers[1]["StopTimeout"]
    stop = re.search(r"TimeoutStopSec=(\d+)", unit)
    assert stop
    assert int(stop[1]) > 120


def test_what_a_worker_is_told_of_the_stack_is_among_its_outputs() -> None:
    outputs = TEMPLATE._raw["Outputs"]
    assert {"WorkerFunction", "PullWorkerPolicyArn", "JobsQueueUrl", "DeadLetterQueueUrl"} <= set(
        outputs
    )
