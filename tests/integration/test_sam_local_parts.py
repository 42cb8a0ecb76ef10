"""The parts of `make sam-local` that need no Docker: calling start-lambda, and what it refuses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from dev import sam_local
from dev.run import Options, StartError
from dev.sam_local import SamFunctions
from dev.stack.ports import free_port
from dev.stack.runtime_api import FunctionError


@asynccontextmanager
async def start_lambda(port: int, answer: bytes, status: int = 200) -> AsyncIterator[list[str]]:
    """What `sam local start-lambda` is to its callers; gives what was invoked."""
    invoked: list[str] = []

    async def invoke(request: web.Request) -> web.Response:
        invoked.append(request.match_info["name"])
        assert await request.json() == {"Records": []}
        return web.Response(body=answer, status=status)

    app = web.Application()
    app.router.add_post("/2015-03-31/functions/{name}/invocations", invoke)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield invoked
    finally:
        await runner.cleanup()


def play(scenario: Callable[[SamFunctions, int], Awaitable[None]]) -> None:
    async def whole() -> None:
        port = free_port()
        async with aiohttp.ClientSession() as session:
            await scenario(SamFunctions(session, port), port)

    asyncio.run(asyncio.wait_for(whole(), 30))


EVENT = json.dumps({"Records": []}).encode()


def test_an_invocation_waits_until_start_lambda_serves_and_gives_its_answer() -> None:
    async def scenario(functions: SamFunctions, port: int) -> None:
        answer = asyncio.create_task(functions.invoke("Worker", EVENT).payload_or_error())
        await asyncio.sleep(0)
        assert not answer.done()
        async with start_lambda(port, b'{"batchItemFailures": []}') as invoked:
            assert await answer == b'{"batchItemFailures": []}'
            assert invoked == ["Worker"]
            await functions.serves()
        await functions.serves(False)

    play(scenario)


@pytest.mark.parametrize("status", [200, 500])
def test_a_handlers_error_is_one_although_it_comes_as_an_answer(status: int) -> None:
    async def scenario(functions: SamFunctions, port: int) -> None:
        error = json.dumps({"errorType": "ValueError", "errorMessage": "no"}).encode()
        async with start_lambda(port, error, status):
            with pytest.raises(FunctionError, match="ValueError: no"):
                await functions.invoke("Worker", EVENT).payload_or_error()

    play(scenario)


def test_a_start_lambda_that_goes_away_is_an_error_of_the_invocation() -> None:
    async def scenario(functions: SamFunctions, port: int) -> None:
        with pytest.raises(FunctionError, match="has gone"):
            await functions.call("Worker", EVENT)

    play(scenario)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_sd_hosts_that_no_container_would_find_are_refused(host: str) -> None:
    with pytest.raises(StartError, match="another place in a container"):
        sam_local.check_reachable(f"http://192.168.1.5:7860,http://{host}:7860")


def test_sd_hosts_by_name_or_address_are_taken() -> None:
    sam_local.check_reachable("http://gpu-1:7860, http://192.168.1.5:7860")


def test_without_docker_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StartError, match="needs Docker"):
        sam_local.docker_address()


@pytest.mark.parametrize(
    ("networks", "address"),
    [
        # An address of this machine; loopback stands for the bridge here.
        ('[{"Subnet": "127.0.0.0/16", "Gateway": "127.0.0.1"}]', "127.0.0.1"),
        ('[{"Subnet": "127.0.0.0/16"}]', "127.0.0.1"),
        # One of a virtual machine that Docker runs in.
        ('[{"Subnet": "192.0.2.0/24", "Gateway": "192.0.2.1"}]', "host.docker.internal"),
        ("null", "host.docker.internal"),
    ],
)
def test_servers_listen_where_containers_reach_them(
    networks: str, address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\necho '{networks}'\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = sam_local.docker_address()
    assert found.name == address
    assert found.listen == "127.0.0.1"


def test_its_state_is_kept_apart_from_that_of_make_run(tmp_path: Path) -> None:
    assert Options.from_env({}, tmp_path).state == tmp_path
    assert Options.from_env({"ROBOTCHAT_STATE": "/elsewhere"}, tmp_path).state == Path("/elsewhere")
