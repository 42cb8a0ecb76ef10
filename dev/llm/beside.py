"""The language model of ``make run`` where nobody has named one: the small one of `dev.llm.local`,
started beside the service; and the servers that run on this machine already, to be named.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp

from dev.llm.local import bundled_model
from dev.stack import ports
from dev.stack.processes import Children

ROOT = Path(__file__).resolve().parents[2]

KNOWN = {11434: "Ollama", 1234: "LM Studio", 8000: "vLLM", 8080: "llama.cpp"}
"""The ports on which model servers listen unless they are told another."""

CONTEXT = 4096
"""Tokens of one conversation with the small model."""

NONE_HERE = (
    "no LLM (the small one has no package here, which `make run` installs where there is one: "
    "set OPENAI_BASE_URL, or LLM=none): prompts are written by rules"
)
_PATIENCE = aiohttp.ClientTimeout(total=0.5)
_GRACE = 2.0


def installed() -> bool:
    """Whether the packages of the small model are there."""
    return importlib.util.find_spec("xllamacpp") is not None and bundled_model() is not None


async def start(
    state: Path, logs: Path, children: Children, watch: Callable[[str, Any], None]
) -> str:
    """Start the small model; gives its base URL when it listens. Raises ChildError."""
    port = ports.remembered_port(state / "llm.port")
    child = await children.start(
        "the small language model",
        [
            *(sys.executable, "-m", "dev.llm.local", "--port", str(port)),
            *("--context", str(CONTEXT)),
        ],
        env={name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
        cwd=ROOT,
        log=logs / "llm.log",
        grace=_GRACE,
    )
    await child.wait_until_listening(port)
    watch(child.name, child.wait())
    return f"http://127.0.0.1:{port}/v1"


async def found(own_port: int, known: Mapping[int, str] = KNOWN) -> str | None:
    """How to use a model server that listens on this machine, if one does."""
    async with aiohttp.ClientSession(timeout=_PATIENCE) as session:
        models = await asyncio.gather(
            *(_first_model(session, port) for port in known if port != own_port)
        )
    others = [(port, name) for port, name in known.items() if port != own_port]
    for (port, name), model in zip(others, models, strict=True):
        if model is not None:
            # A name with other characters than these would be another command in a shell.
            plain = "".join(c if c.isalnum() or c in "-_.:/@+" else "?" for c in model)
            url = f"http://127.0.0.1:{port}/v1"
            return f"{name} answers too: OPENAI_BASE_URL={url} OPENAI_MODEL={plain} make run"
    return None


async def _first_model(session: aiohttp.ClientSession, port: int) -> str | None:
    """The first model of an OpenAI-compatible server on a port, if there is one."""
    try:
        async with session.get(f"http://127.0.0.1:{port}/v1/models") as answer:
            document = await answer.json(content_type=None)
            return str(document["data"][0]["id"]) if answer.status == 200 else None
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError, LookupError, TypeError):
        return None  # nobody, or somebody else
