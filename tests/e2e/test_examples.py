"""The examples in the documents, run as a newcomer would run them."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import httpx
import pytest
import standardwebhooks

from dev import sd_host
from dev.stack.ports import free_port
from tests.installed import node_with
from tests.local_stack import RunningStack, wait_until

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
GENERATORS = Path(__file__).parent / "generators"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PNG = b"\x89PNG\r\n\x1a\n"


def run(command: list[str], *, env: dict[str, str], cwd: Path) -> str:
    """Run a program to its end; gives what it prints."""
    done = subprocess.run(
        command,
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **env},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def need(program: str) -> str:
    """The program's path; without it the test is skipped."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


@pytest.fixture
def env(stack: RunningStack, tmp_path: Path) -> dict[str, str]:
    """What the examples read from the environment."""
    return {
        "API_URL": stack.api_url,
        "API_KEY": stack.api_key,
        "OUT": str(tmp_path / "out.png"),
    }


@pytest.mark.parametrize(
    ("program", "file"),
    [
        ("sh", "curl/conversation.sh"),
        ("php", "php/conversation.php"),
        ("java", "java/Conversation.java"),
    ],
)
def test_a_conversation_in_every_language_ends_with_a_beach_at_sunset(
    program: str, file: str, env: dict[str, str], tmp_path: Path
) -> None:
    printed = run([need(program), str(EXAMPLES / file)], env=env, cwd=tmp_path)
    assert printed.splitlines()[-1] == "a photo of a beach at sunset"
    assert Path(env["OUT"]).read_bytes().startswith(PNG)


def test_the_go_example_ends_with_a_beach_at_sunset(env: dict[str, str], tmp_path: Path) -> None:
    command = [need("go"), "run", str(EXAMPLES / "go/conversation.go")]
    printed = run(command, env={**env, "HOME": str(tmp_path)}, cwd=tmp_path)
    assert printed.splitlines()[-1] == "a photo of a beach at sunset"
    assert Path(env["OUT"]).read_bytes().startswith(PNG)


@pytest.fixture
def host() -> Iterator[str]:
    """A stand-in SD host alone."""
    with sd_host.running() as running:
        yield running.url


def test_the_library_example_ends_with_a_beach_at_sunset(host: str, tmp_path: Path) -> None:
    env = {"SD_HOST": host, "OUT": str(tmp_path / "out.png")}
    printed = run([sys.executable, str(EXAMPLES / "python/conversation.py")], env=env, cwd=tmp_path)
    assert printed.strip() == "a photo of a beach at sunset"
    assert Path(env["OUT"]).read_bytes().startswith(PNG)


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_the_readmes_python_example_draws(readme: str, host: str, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / readme).read_text("utf-8"), re.DOTALL)
    (example,) = [block for block in blocks if "from robotchat import" in block]
    example = example.replace("http://127.0.0.1:7861", host)
    printed = run([sys.executable, "-c", example], env={}, cwd=tmp_path)
    assert printed.strip() == "a photo of a beach at sunset"
    assert (tmp_path / "sunset.png").read_bytes().startswith(PNG)


def test_the_demo_draws_a_beach_a_sunset_and_a_blue_cat(stack: RunningStack) -> None:
    printed = run(
        [sys.executable, "-m", "dev.demo"], env={"ROBOTCHAT_STATE": str(stack.state)}, cwd=ROOT
    )
    for name in ("beach.png", "beach-at-sunset.png", "blue-cat.png"):
        assert f"saved: out/{name}" in printed
        assert (ROOT / "out" / name).read_bytes().startswith(PNG)


# --- webhooks and events --------------------------------------------------------------------------

DRAWING = {"message": "a beach", "settings": {"steps": 2, "width": 64, "height": 64}}


@contextmanager
def receiving(language: str, secret: str, log: Path) -> Iterator[str]:
    """A receiver as a newcomer would start it, on a port of this machine; gives its URL."""
    port = free_port()
    file = EXAMPLES / "webhook" / f"receiver.{language}"
    command = (
        [need("php"), "-S", f"127.0.0.1:{port}", str(file)]
        if language == "php"
        else [sys.executable, str(file), str(port)]
    )
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={"PATH": os.environ["PATH"], "WEBHOOK_SECRET": secret},
            stdout=output,
            stderr=subprocess.DEVNULL,
        )
    try:
        wait_until(lambda: answers(port), "the receiver to listen")
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("language", ["py", "php"])
def test_a_receiver_takes_what_the_service_signs_and_nothing_else(
    language: str, stack: RunningStack, tmp_path: Path
) -> None:
    log = tmp_path / "received"
    with receiving(language, stack.webhook_secret, log) as url:
        forged = {
            "webhook-id": "evt_1",
            "webhook-timestamp": str(int(time.time())),
            "webhook-signature": "v1,Zm9yZ2Vk",
        }
        event = {"type": "job.succeeded", "data": {"id": "job_1"}}
        assert httpx.post(url, json=event, headers=forged).status_code == 400
        with httpx.Client(base_url=stack.api_url, headers=stack.headers, timeout=60) as api:
            job = api.post("/v1/chat/text2image", json={**DRAWING, "webhook": url}).json()
        told = f"job.succeeded {job['id']}"
        wait_until(lambda: told in log.read_text(), "the webhook", timeout=60)
        assert "job_1\n" not in log.read_text()


@pytest.mark.parametrize("language", ["java", "ts", "go"])
def test_the_helpers_tell_a_forged_webhook_from_a_signed_one(language: str, tmp_path: Path) -> None:
    if language == "ts":
        node = node_with(GENERATORS)
        types = ["--types", "node", "--typeRoots", str(GENERATORS / "node_modules/@types")]
        options = ["--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler"]
        tsc = [node, str(GENERATORS / "node_modules/typescript/bin/tsc"), "--strict"]
        file = str(EXAMPLES / "webhook/verify.ts")
        run([*tsc, *options, *types, "--outDir", str(tmp_path), file], env={}, cwd=tmp_path)
        (tmp_path / "package.json").write_text('{"type": "module"}')
        program = [node, "verify.js"]
    elif language == "java":
        program = [need("java"), str(EXAMPLES / "webhook/Verify.java")]
    else:
        program = [need("go"), "run", str(EXAMPLES / "webhook/verify.go")]
    now, body = datetime.now(UTC), '{"type":"job.succeeded"}'
    hook = standardwebhooks.Webhook(SECRET)
    signed, old = hook.sign("evt_1", now, body), now - timedelta(hours=1)
    for when, signatures, text, verdict in (
        (now, f"v1,Zm9yZ2Vk {signed}", body, "valid"),
        (now, signed, body + " ", "forged"),
        (now, "v1,Zm9yZ2Vk", body, "forged"),
        (old, hook.sign("evt_1", old, body), body, "forged"),
    ):
        done = subprocess.run(
            [*program, SECRET, "evt_1", str(int(when.timestamp())), signatures],
            input=text,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.stdout.strip() == verdict, done.stderr


def test_the_rule_puts_a_drawn_image_on_a_queue(stack: RunningStack) -> None:
    session = boto3.Session("test", "test", region_name=stack.region)
    cloudformation = session.client("cloudformation", endpoint_url=stack.aws_endpoint_url)
    cloudformation.create_stack(
        StackName="my-pictures",
        TemplateBody=(EXAMPLES / "eventbridge/rule.yaml").read_text(),
        Parameters=[{"ParameterKey": "EventBusName", "ParameterValue": stack.event_bus}],
    )
    cloudformation.get_waiter("stack_create_complete").wait(
        StackName="my-pictures", WaiterConfig={"Delay": 1}
    )
    (described,) = cloudformation.describe_stacks(StackName="my-pictures")["Stacks"]
    queue = next(o["OutputValue"] for o in described["Outputs"] if o["OutputKey"] == "QueueUrl")
    with httpx.Client(base_url=stack.api_url, headers=stack.headers, timeout=60) as api:
        job = api.post("/v1/chat/text2image", json=DRAWING).json()
    sqs = session.client("sqs", endpoint_url=stack.aws_endpoint_url)
    seen: list[str] = []

    def look() -> bool:
        answer = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=1, MaxNumberOfMessages=10)
        seen.extend(message["Body"] for message in answer.get("Messages", []))
        return any(job["id"] in body for body in seen)

    wait_until(look, "the event", timeout=60)
