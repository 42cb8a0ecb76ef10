"""Unmodified programs against the local stack: SDKs and agents as their documentation starts them.

The language model is the scriptable stand-in of ``dev/llm``. The programs are in ``clients/``; what
they need is installed once, beside this repository's own environment.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dev import llm
from tests.local_stack import RunningStack

CLIENTS = Path(__file__).parent / "clients"
ENVIRONMENT = Path(__file__).parents[2] / ".venv-clients"

ANSWER = "A quince is a fruit."
LOOKUP = {"tool_calls": [{"name": "lookup", "arguments": {"word": "quince"}}]}


@dataclass
class World:
    """A stack and its language model."""

    stack: RunningStack
    upstream: llm.RunningModel

    def run(self, *command: str | Path, folder: Path = CLIENTS, **more: str) -> str:
        """Run a program that is pointed at the stack, and give what it printed."""
        done = subprocess.run(
            command,
            cwd=folder,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(folder),
                "OPENAI_BASE_URL": f"{self.stack.api_url}/v1",
                "OPENAI_API_KEY": self.stack.api_key,
                **more,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def looks_up(self, mark: str, *steps: Mapping[str, Any], times: int = 1) -> None:
        """Script loops with a tool: for `times` prompts that begin with ``mark-0`` and so on."""
        for number in range(times):
            match = f"{mark}-{number} "
            for step in (*(steps or [LOOKUP]), {"text": ANSWER}):
                self.upstream.script({"match": match, **step})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with llm.running() as upstream:
        stack = RunningStack(
            tmp_path_factory.mktemp("clients"),
            {
                "OPENAI_BASE_URL": upstream.base_url,
                "OPENAI_API_KEY": "sk-upstream",
                "OPENAI_MODEL": "stand-in",
            },
        )
        stack.start()
        try:
            yield World(stack, upstream)
        finally:
            stack.stop()


@pytest.fixture
def mark() -> str:
    """A word that is in no other request, so that scripts meet the right one."""
    return f"mark-{uuid.uuid4().hex}"


def installed(folder: Path, pins: Path, *commands: list[str | Path]) -> None:
    """Run the commands unless they were run for these pins before."""
    digest = hashlib.sha256(pins.read_bytes()).hexdigest()
    stamp = folder / ".made-for"
    if stamp.exists() and stamp.read_text("utf-8") == digest:
        return
    for command in commands:
        subprocess.run(command, cwd=CLIENTS, check=True, timeout=600)
    stamp.write_text(digest, "utf-8")


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter that has the Python programs."""
    interpreter, pins = ENVIRONMENT / "bin/python", CLIENTS / "requirements.txt"
    pip: list[str | Path] = [
        interpreter,
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
    ]
    making: list[str | Path] = [sys.executable, "-m", "venv", "--clear", ENVIRONMENT]
    installed(ENVIRONMENT, pins, making, [*pip, "-r", pins])
    return interpreter


@pytest.fixture(scope="module")
def node() -> str:
    """Node, with the programs for it in ``clients/node_modules``."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found is None or npm is None:
        if os.environ.get("CI"):
            pytest.fail("Node is not installed")
        pytest.skip("Node is not installed")
    installed(CLIENTS / "node_modules", CLIENTS / "package-lock.json", [npm, "ci", "--silent"])
    return found


def test_the_agents_sdk_with_a_tool_and_a_session(world: World, mark: str, python: Path) -> None:
    world.looks_up(mark)
    world.run(python, "agents_sdk.py", MARK=mark)


def test_langchain(world: World, mark: str, python: Path) -> None:
    world.looks_up(mark, times=3)
    world.run(python, "langchain_client.py", MARK=mark)


def test_pydantic_ai(world: World, mark: str, python: Path) -> None:
    world.looks_up(mark, times=2)
    world.run(python, "pydantic_ai_client.py", MARK=mark)


def test_the_ai_sdk(world: World, mark: str, node: str) -> None:
    world.looks_up(mark, times=2)
    world.run(node, "ai_sdk.mjs", MARK=mark)


def test_codex_with_its_defaults(world: World, mark: str, node: str, tmp_path: Path) -> None:
    """A command, a tool of a namespace, an answer; then the session goes on."""
    world.looks_up(
        mark,
        {"tool_calls": [{"name": "exec_command", "arguments": {"cmd": "echo quinces grow"}}]},
        {
            "tool_calls": [
                {"name": "multi_agent_v1__close_agent", "arguments": {"target": "nobody"}}
            ]
        },
    )
    (tmp_path / "config.toml").write_text(
        f"""\
model = "stand-in"
model_provider = "robotchat"

[model_providers.robotchat]
name = "robotchat"
base_url = "{world.stack.api_url}/v1"
env_key = "OPENAI_API_KEY"
""",
        "utf-8",
    )
    codex: list[str | Path] = [node, CLIENTS / "node_modules/@openai/codex/bin/codex.js", "exec"]
    asked = [*codex, "--skip-git-repo-check", f"{mark}-0 what is a quince?"]
    said = world.run(*asked, folder=tmp_path, CODEX_HOME=str(tmp_path))
    assert said.strip() == ANSWER
    last = world.upstream.requests()[-1]["body"]["messages"]
    results = [message["content"] for message in last if message["role"] == "tool"]
    assert len(results) == 2
    assert "agent id no" in results[1]  # Codex knew its own tool by the names that came back

    more = [*codex, "resume", "--last", "--skip-git-repo-check", "and again?"]
    assert world.run(*more, folder=tmp_path, CODEX_HOME=str(tmp_path)).strip() == (
        "You said: and again?"
    )
