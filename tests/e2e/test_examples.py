"""The examples in the documents, run as a newcomer would run them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev import sd_host
from tests.local_stack import RunningStack

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
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


@pytest.fixture
def host() -> Iterator[str]:
    """A stand-in SD host alone."""
    with sd_host.running() as running:
        yield running.url


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
