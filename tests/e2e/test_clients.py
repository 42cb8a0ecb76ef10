"""Unmodified programs against the local stack: SDKs and agents as their documentation starts them.

The language model is the scriptable stand-in of ``dev/llm``. The programs are in ``clients/``; what
they need is installed once, beside this repository's own environment.
"""

from __future__ import annotations

import base64
import os
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from dev import llm
from tests.installed import node_with, python_with
from tests.local_stack import RunningStack

CLIENTS = Path(__file__).parent / "clients"
ENVIRONMENT = Path(__file__).parents[2] / ".venv-clients"

ANSWER = "A quince is a fruit."
LOOKUP_CALLS = [{"name": "lookup", "arguments": {"word": "quince"}}]
LOOKUP = {"tool_calls": LOOKUP_CALLS}


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

    def get(self, path: str) -> Any:
        """What the API answers to a GET."""
        answer = httpx.get(f"{self.stack.api_url}{path}", headers=self.stack.headers, timeout=60)
        return answer.raise_for_status().json()

    def draws(self, mark: str, *prompts: str) -> None:
        """Script drawing: for the prompts that begin with ``mark-0`` and so on, a picture each; a
        second one changes the picture before it."""
        for number, prompt in enumerate(prompts):
            action = "edit" if "blue" in prompt else "generate"
            called = {"name": "image_generation", "arguments": {"prompt": prompt, "action": action}}
            match = f"{mark}-{number} "
            self.upstream.script({"match": match, "tool_calls": [called]})
            self.upstream.script({"match": match, "text": "Here it is."})


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


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter that has the Python programs."""
    return python_with(ENVIRONMENT, CLIENTS / "requirements.txt")


@pytest.fixture(scope="module")
def node() -> str:
    """Node, with the programs for it in ``clients/node_modules``."""
    return node_with(CLIENTS)


def test_a_streamed_answer_that_draws_and_calls_a_function_resumes_after_a_cut(
    world: World, mark: str
) -> None:
    """Text, a call of the client's and two pictures, through OpenAI's own SDK for Python."""
    both = [
        {"name": "image_generation", "arguments": {"prompt": prompt, "action": "generate"}}
        for prompt in ("a cat", "a dog")
    ]
    world.upstream.script(match=mark, pieces=["One ", "moment."], tool_calls=[*both, *LOOKUP_CALLS])
    tools: Any = [
        {"type": "image_generation", "size": "64x64", "quality": "low", "partial_images": 1},
        {"type": "function", "name": "lookup", "parameters": {"type": "object"}},
    ]
    with openai.OpenAI(
        base_url=f"{world.stack.api_url}/v1", api_key=world.stack.api_key, max_retries=0
    ) as client:
        stream = client.responses.create(
            input=f"{mark} a cat and a dog", tools=tools, background=True, stream=True
        )
        seen: list[Any] = []
        for event in stream:
            seen.append(event)
            if event.type == "response.image_generation_call.completed":
                break  # in the middle of it
        stream.close()
        response_id = seen[0].response.id
        seen += client.responses.retrieve(
            response_id, stream=True, starting_after=seen[-1].sequence_number
        )
        assert [event.sequence_number for event in seen] == list(range(len(seen)))
        final = seen[-1].response
        assert final == client.responses.retrieve(response_id)
        assert final.output_text == "One moment."
        kinds = [item.type for item in final.output]
        assert kinds == ["message", "function_call", *["image_generation_call"] * 2]
        for item in final.output[2:]:
            assert base64.b64decode(item.result).startswith(b"\x89PNG")
        done = [e.item for e in seen if e.type == "response.output_item.done"]
        assert [item.id for item in done if item.type == "image_generation_call"] == [
            item.id for item in final.output[2:]
        ]

        world.upstream.script(match="a fruit", text="Here they are.")
        output: Any = {
            "type": "function_call_output",
            "call_id": final.output[1].call_id,
            "output": "a fruit",
        }
        answer = client.responses.create(input=[output], previous_response_id=final.id, tools=tools)
        assert answer.output_text == "Here they are."
        # Both are turns of one conversation, and the other way in goes on from the last.
        job = world.get(f"/v1/jobs/{final.output[3].job_id}")
        shown = world.get(f"/v1/conversations/{job['conversation_id']}")
        assert [turn["prompt"] for turn in shown["turns"]] == ["a cat", "a dog"]


def test_the_agents_sdk_draws(world: World, mark: str, python: Path) -> None:
    world.draws(mark, "a cat", "a blue cat", "a dog")
    world.run(python, "agents_drawing.py", MARK=mark)


def test_langchain_draws(world: World, mark: str, python: Path) -> None:
    world.draws(mark, "a cat", "a blue cat", "a cat", "a blue cat")
    world.run(python, "langchain_drawing.py", MARK=mark)


def test_the_ai_sdk_draws(world: World, mark: str, node: str) -> None:
    world.draws(mark, "a cat", "a blue cat")
    world.run(node, "ai_sdk_drawing.mjs", MARK=mark)


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
