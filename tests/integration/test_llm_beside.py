"""Words without a key: the servers that `make run` looks for, and what it says of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from dev.llm import beside
from dev.run import Options, StartError
from dev.stack.ports import free_port
from tests.local_stack import RunningStack


@asynccontextmanager
async def serving(body: str, status: int = 200) -> AsyncIterator[int]:
    async def models(request: web.Request) -> web.Response:
        return web.Response(text=body, status=status, content_type="application/json")

    app = web.Application()
    app.router.add_get("/v1/models", models)
    runner, port = web.AppRunner(app), free_port()
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield port
    finally:
        await runner.cleanup()


def looked(body: str, status: int = 200, *, own: bool = False) -> str | None:
    async def look() -> str | None:
        async with serving(body, status) as port:
            return await beside.found(port if own else 0, {port: "Ollama", free_port(): "vLLM"})

    return asyncio.run(look())


def test_a_model_server_that_answers_is_named_with_the_line_that_uses_it() -> None:
    said = looked('{"data": [{"id": "llama3.2:1b"}]}')
    assert said is not None
    assert said.startswith("Ollama answers too: OPENAI_BASE_URL=http://127.0.0.1:")
    assert said.endswith("/v1 OPENAI_MODEL=llama3.2:1b make run")


def test_a_name_that_a_shell_would_obey_is_not_repeated() -> None:
    said = looked('{"data": [{"id": "x; rm -rf $HOME"}]}')
    assert said is not None
    assert said.endswith("OPENAI_MODEL=x??rm?-rf??HOME make run")


@pytest.mark.parametrize(
    ("body", "status"),
    [("[]", 200), ("no JSON", 200), ('{"data": []}', 200), ('{"data": [{"id": "m"}]}', 401)],
)
def test_whoever_else_listens_there_is_not_named(body: str, status: int) -> None:
    assert looked(body, status) is None


def test_our_own_port_is_not_asked() -> None:
    assert looked('{"data": [{"id": "m"}]}', own=True) is None


@pytest.mark.parametrize(
    ("environment", "small"),
    [
        ({}, True),
        ({"LLM": "none"}, False),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:8000/v1"}, False),
        ({"OPENAI_API_KEY": "sk-1"}, False),
    ],
)
def test_the_small_model_is_for_who_names_none(environment: dict[str, str], small: bool) -> None:
    assert Options.from_env(environment).small_llm is small


@pytest.mark.parametrize("environment", [{"LLM": "gpt"}, {"PROMPT_WRITER": "me"}])
def test_another_word_is_refused_in_a_sentence(environment: dict[str, str]) -> None:
    with pytest.raises(StartError, match=r"must be|can only be"):
        Options.from_env(environment)


@pytest.mark.skipif(not beside.installed(), reason="the small model is not installed")
def test_the_small_model_answers_and_leaves_prompts_to_the_rules(
    start_stack: Callable[[Any], RunningStack], tmp_path: Path
) -> None:
    import httpx

    stack = start_stack({"LLM": ""})
    assert "small" in stack.ready_line
    with httpx.Client(base_url=stack.api_url, headers=stack.headers, timeout=120) as api:
        said = [{"role": "user", "content": "Say hello."}]
        request = {"model": "any", "messages": said, "max_tokens": 8}
        answer = api.post("/v1/chat/completions", json=request)
        assert answer.json()["choices"][0]["message"]["content"].strip()
        first = api.post("/v1/responses", json={"input": "Hello.", "max_output_tokens": 8})
        assert first.json()["output"], first.text
        words = api.post("/v1/completions", json={"prompt": "A beach is", "max_tokens": 4})
        assert words.json()["choices"][0]["text"], words.text
        job = api.post("/v1/chat/text2image", json={"message": "a photo of a beach"}).json()
        assert job["status"] in ("queued", "running")
        with api.stream("GET", f"/v1/jobs/{job['id']}/events") as events:
            events.read()
        assert api.get(f"/v1/jobs/{job['id']}").json()["prompt_source"] == "fallback"
