"""The dev gateway answers as API Gateway does, and streams for real."""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dev.stack.gateway import Gateway
from dev.stack.lambda_host import LambdaHost
from dev.stack.ports import bind
from dev.template import Template
from tests.local_stack import SAMPLE, hosting, sample_function

NAMES = ("Echo", "Gatekeeper", "Streamer")


@dataclass
class Served:
    http: aiohttp.ClientSession
    host: LambdaHost
    gateway: Gateway


@asynccontextmanager
async def served(
    folder: Path, *, tells_leaving: bool = True, **api_changes: Any
) -> AsyncIterator[Served]:
    functions = [sample_function(name) for name in NAMES]
    async with hosting(folder, *functions) as host:
        api = replace(Template(SAMPLE / "template.yaml").api(), **api_changes)
        gateway = Gateway(api, host, tells_leaving=tells_leaving)
        listener = bind(0)
        await gateway.start(listener)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            async with aiohttp.ClientSession(url) as http:
                yield Served(http, host, gateway)
        finally:
            await gateway.close()


Scenario = Callable[[Served], Awaitable[None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[..., None]:
    """Run a scenario against a served sample API."""

    def play(scenario: Scenario, **api_changes: Any) -> None:
        async def whole() -> None:
            async with served(tmp_path, **api_changes) as it:
                await scenario(it)

        work: Coroutine[Any, Any, None] = asyncio.wait_for(whole(), 30)
        asyncio.run(work)

    return play


async def event_of(response: aiohttp.ClientResponse) -> Any:
    assert response.status == 200, await response.text()
    return json.loads(await response.text())["event"]


def test_a_request_becomes_a_proxy_event(play: Callable[..., None]) -> None:
    async def scenario(it: Served) -> None:
        async with it.http.put("/echo/a%2Fb?x=1&x=2", json={}, headers={"X-Own": "y"}) as response:
            event = await event_of(response)
            assert response.headers["x-amzn-RequestId"] == event["requestContext"]["requestId"]
            assert "Server" not in response.headers
        assert event["httpMethod"] == "PUT"
        assert event["resource"] == "/echo/{name}"
        assert event["pathParameters"] == {"name": "a%2Fb"}
        assert event["multiValueQueryStringParameters"] == {"x": ["1", "2"]}
        assert event["headers"]["X-Own"] == "y"
        assert event["body"] == "{}"

    play(scenario)


def test_routes_are_chosen_by_the_most_literal_path(play: Callable[..., None]) -> None:
    async def scenario(it: Served) -> None:
        async with it.http.get("/echo/exact") as response:
            assert (await event_of(response))["resource"] == "/echo/exact"
        async with it.http.get("/echo/files/a/b") as response:
            assert (await event_of(response))["pathParameters"] == {"path": "a/b"}

    play(scenario)


def test_an_unknown_route_is_a_403_in_the_form_of_the_template(play: Callable[..., None]) -> None:
    async def scenario(it: Served) -> None:
        async with it.http.get("/nowhere") as response:
            assert response.status == 403
            assert response.content_type == "application/problem+json"
            assert json.loads(await response.text()) == {"title": "Missing Authentication Token"}

    play(scenario)


def test_health_answers_where_the_template_has_no_route_for_it(play: Callable[..., None]) -> None:
    async def scenario(it: Served) -> None:
        async with it.http.get("/health") as response:
            assert response.status == 200

    play(scenario)


def test_the_authorizer_lets_in_refuses_or_fails(play: Callable[..., None]) -> None:
    async def scenario(it: Served) -> None:
        async with it.http.get("/closed", headers={"x-api-key": "good"}) as response:
            context = (await event_of(response))["requestContext"]["authorizer"]
        assert context["tenant"] == "t1"
        assert (context["limit"], context["admin"]) == ("3", "true")
        assert context["principalId"] == "good"
        async with it.http.get("/closed") as response:
            document = json.loads(await response.text())
            assert response.status == 401
            assert response.headers["WWW-Authenticate"] == "Bearer"
            assert document["code"] == "unauthenticated"
            assert document["request"] == response.headers["x-amzn-RequestId"]
            assert document["request"] == response.headers["X-Request-Id"]
        async with it.http.get("/closed", headers={"x-api-key": "denied"}) as response:
            assert response.status == 403
            assert "explicit deny" in await response.text()
        async with it.http.get("/closed", headers={"x-api-key": "broken"}) as response:
            assert response.status == 500
            assert json.loads(await response.text()) == {"message": "Internal server error"}

    play(scenario)


def test_an_authorizers_answer_is_kept_for_its_time(play: Callable[..., None]) -> None:
    api = Template(SAMPLE / "template.yaml").api()
    keys = replace(api.authorizers["Keys"], ttl=60.0, headers=("X-Api-Key",))

    async def scenario(it: Served) -> None:
        for _ in range(2):
            async with it.http.get("/closed", headers={"x-api-key": "good"}) as response:
                assert response.status == 200
        assert [p["function"] for p in it.host.processes()].count("Gatekeeper") == 1
        for process in it.host.processes():
            if process["function"] == "Gatekeeper":
                log = it.host.log(it.host.functions["Gatekeeper"]).read_text()
                assert log.count("START") == 1
        async with it.http.get("/closed") as response:  # no identity: not even asked
            assert response.status == 401

    play(scenario, authorizers={"Keys": keys})


def test_a_function_that_fails_or_answers_nonsense_is_a_502(play: Callable[..., None]) -> None:
    async def scenario(it: Served) -> None:
        for told in ({"raise": "secret text"}, {"exit": 1}, {"answer": [1]}, {"size": 7_000_000}):
            async with it.http.post("/echo/x", json=told) as response:
                assert response.status == 502
                assert json.loads(await response.text()) == {"message": "Internal server error"}

    play(scenario)


def test_what_is_too_large_is_a_413(play: Callable[..., None]) -> None:
    async def scenario(it: Served) -> None:
        for size in (11 * 1024 * 1024, 6_291_556):
            async with it.http.post("/echo/x", data=io.BytesIO(b"x" * size)) as response:
                assert response.status == 413
                assert json.loads(await response.text()) == {"title": "Request Too Long"}

    play(scenario)


def test_a_binary_body_counts_as_base64(play: Callable[..., None]) -> None:
    async def scenario(it: Served) -> None:
        headers = {"Content-Type": "image/png"}
        for size, status in ((4_900_000, 413), (4_600_000, 502)):  # 502: it echoes too much
            body = io.BytesIO(b"x" * size)
            async with it.http.post("/echo/x", data=body, headers=headers) as response:
                assert response.status == status

    play(scenario)


def within(seconds: float) -> dict[str, Any]:
    """The sample's routes, with another integration timeout."""
    api = Template(SAMPLE / "template.yaml").api()
    return {
        "routes": tuple(replace(route, timeout=seconds) for route in api.routes),
        "others": tuple(replace(route, timeout=seconds) for route in api.others),
    }


def test_a_buffered_endpoint_has_its_integrations_time(
    play: Callable[..., None], tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    async def scenario(it: Served) -> None:
        async with it.http.post("/echo/x", json={"read": str(pipe)}) as response:
            assert response.status == 504
            assert json.loads(await response.text()) == {"message": "Endpoint request timed out"}
        assert it.host.invocations()  # it goes on without us
        await asyncio.to_thread(pipe.write_text, "go")

    play(scenario, **within(0.2))


def test_a_stream_is_cut_when_its_integrations_time_is_over(
    play: Callable[..., None], tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    async def scenario(it: Served) -> None:
        async with it.http.post("/_dev/invoke?function=Streamer", json={}):
            pass  # a process that has started
        async with it.http.get("/stream", params={"wait": str(pipe)}) as response:
            assert await response.content.readline() == b"one\n"
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.content.read()
        await asyncio.to_thread(pipe.write_text, "go")

    play(scenario, **within(1))


def test_the_time_of_an_integration_is_said_by_the_route() -> None:
    routes = {route.path: route for route in Template(SAMPLE / "template.yaml").api().routes}
    assert routes["/closed"].timeout == 29
    assert routes["/stream"].timeout == 900


def test_a_stream_arrives_chunk_by_chunk(play: Callable[..., None], tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    async def scenario(it: Served) -> None:
        async with it.http.get("/stream", params={"wait": str(pipe)}) as response:
            assert response.status == 201
            assert response.content_type == "text/plain"
            assert await response.content.readline() == b"one\n"
            # The function makes the rest only when the pipe is written to.
            await asyncio.to_thread(pipe.write_text, "between\n")
            assert await response.content.read() == b"between\ntwo\n"

    play(scenario)


def test_a_stream_that_fails_midway_breaks_off(play: Callable[..., None]) -> None:
    async def scenario(it: Served) -> None:
        async with it.http.get("/stream?fail=1") as response:
            assert response.status == 201
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.content.read()

    play(scenario)


def test_a_buffered_answer_on_a_streaming_route_is_a_502(play: Callable[..., None]) -> None:
    routes = [
        replace(route, function="Echo") if route.path == "/stream" else route
        for route in Template(SAMPLE / "template.yaml").api().routes
    ]

    async def scenario(it: Served) -> None:
        async with it.http.get("/stream") as response:
            assert response.status == 502

    play(scenario, routes=tuple(routes))


def test_a_stream_that_is_silent_too_long_is_a_504(
    play: Callable[..., None], tmp_path: Path
) -> None:
    async def scenario(it: Served) -> None:
        # No function starts and answers in a tenth of a millisecond.
        async with it.http.get("/stream") as response:
            assert response.status == 504

    play(scenario, stream_idle=0.0001)


def test_a_client_that_leaves_a_stream_breaks_it_off(
    play: Callable[..., None], tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    async def scenario(it: Served) -> None:
        async with it.http.get("/stream", params={"endless": str(pipe)}) as response:
            assert await response.content.readline() == b"one\n"
            response.close()
        assert await asyncio.to_thread(pipe.read_text) == "closed"

    play(scenario)


def test_what_runs_can_be_seen_and_killed(play: Callable[..., None], tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    async def scenario(it: Served) -> None:
        working = asyncio.ensure_future(it.http.post("/echo/x", json={"read": str(pipe)}))
        writer = await asyncio.to_thread(pipe.open, "w")
        async with it.http.get("/_dev/invocations") as response:
            (shown,) = (await response.json())["invocations"]
        assert shown["function"] == "Echo"
        async with it.http.post("/_dev/kill?function=Echo") as response:
            assert (await response.json())["killed"] == [shown["pid"]]
        async with await working as response:
            assert response.status == 502
        writer.close()
        async with it.http.post("/_dev/kill?function=Nobody") as response:
            assert response.status == 404
        headers = {"Origin": "https://example.org"}
        async with it.http.post("/_dev/kill?function=Echo", headers=headers) as response:
            assert response.status == 403

    play(scenario)


def test_a_function_can_be_invoked_directly(play: Callable[..., None]) -> None:
    async def scenario(it: Served) -> None:
        async with it.http.post("/_dev/invoke?function=Echo", json={"a": 1}) as response:
            assert (await response.json())["event"] == {"a": 1}
        async with it.http.post("/_dev/invoke?function=Echo", json={"raise": "x"}) as response:
            assert response.status == 500
            assert (await response.json())["errorType"] == "ValueError"

    play(scenario)


def test_cors_preflights_are_answered_where_the_template_asks_for_it(
    play: Callable[..., None],
) -> None:
    async def scenario(it: Served) -> None:
        async with it.http.options("/closed") as response:
            assert response.status == 200
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            assert response.headers["Access-Control-Allow-Methods"] == "GET,OPTIONS"
        async with it.http.options("/nowhere") as response:
            assert response.status == 403

    play(scenario, cors={"Access-Control-Allow-Origin": "*"})


def test_a_client_that_leaves_a_stream_may_be_kept_from_the_function(
    play: Callable[..., None], tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    async def scenario(it: Served) -> None:
        async with it.http.get("/stream", params={"wait": str(pipe)}) as response:
            assert await response.content.readline() == b"one\n"
            response.close()
        await asyncio.to_thread(pipe.write_text, "between")
        log = it.host.log(it.host.functions["Streamer"])
        while "END" not in await asyncio.to_thread(log.read_text):
            await asyncio.sleep(0.02)
        assert "gone" not in log.read_text(), "it has written all of it"
        assert len(it.host.processes()) == 1

    play(scenario, tells_leaving=False)


def test_trace_is_not_for_any_api(play: Callable[..., None]) -> None:
    async def scenario(it: Served) -> None:
        async with it.http.request("TRACE", "/echo/x") as response:
            assert response.status == 405

    play(scenario)
