"""The Lambda host runs functions as Lambda does, with AWS's own runtime client."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dev.stack import lambda_host
from dev.stack.lambda_host import LambdaHost
from dev.stack.runtime_api import Body, FunctionError
from tests.local_stack import hosting, sample_function

LIMIT = 30.0


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, LIMIT))


async def call(host: LambdaHost, event: object, name: str = "Echo") -> Any:
    return json.loads(await host.invoke(name, json.dumps(event).encode()).payload_or_error())


async def failure(host: LambdaHost, event: object, name: str = "Echo") -> FunctionError:
    with pytest.raises(FunctionError) as caught:
        await call(host, event, name)
    return caught.value


def test_a_function_gets_lambdas_environment_and_nothing_of_the_developers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_OWN_SECRET", "x")
    monkeypatch.setenv("AWS_PROFILE", "production")

    async def scenario() -> None:
        function = sample_function("Echo", environment={"GREETING": "hi"}, memory=256)
        function = replace(function, log_format="JSON", log_level="DEBUG")
        extra = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
        async with hosting(tmp_path, function, environment=extra) as host:
            seen = await call(host, {"a": 1})
        environ = seen["environ"]
        assert seen["event"] == {"a": 1}
        assert seen["name"] == "sample-Echo"
        assert seen["cwd"] == str(function.folder)
        assert 0 < seen["remaining_ms"] <= 10_000
        assert environ["GREETING"] == "hi"
        assert environ["AWS_LAMBDA_LOG_LEVEL"] == "DEBUG"
        assert environ["_HANDLER"] == "app.handler"
        assert environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
        assert environ["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"
        assert environ["LAMBDA_TASK_ROOT"] == str(function.folder)
        assert "MY_OWN_SECRET" not in environ
        assert "AWS_PROFILE" not in environ
        layer = next(i for i, path in enumerate(seen["path"]) if path.endswith("robotchat/src"))
        assert seen["path"][0] == str(function.folder)
        assert layer == 1

    run(scenario())


def test_a_process_serves_one_invocation_at_a_time_and_is_used_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        pipes = [tmp_path / "a", tmp_path / "b"]
        async with hosting(tmp_path, sample_function("Echo")) as host:
            for pipe in pipes:
                os.mkfifo(pipe)
            both = [asyncio.ensure_future(call(host, {"read": str(pipe)})) for pipe in pipes]
            # Opening the pipes succeeds only when both functions read at the same time.
            writers = [await asyncio.to_thread(pipe.open, "w") for pipe in pipes]
            assert len(host.invocations()) == 2
            for writer in writers:
                writer.write("go")
                writer.close()
            answers = await asyncio.gather(*both)
            again = await call(host, {})
        pids = {answer["pid"] for answer in answers}
        assert len(pids) == 2
        assert again["pid"] in pids

    run(scenario())


def test_an_exception_is_reported_in_lambdas_form_and_the_process_lives_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with hosting(tmp_path, sample_function("Echo")) as host:
            before = await call(host, {})
            error = await failure(host, {"raise": "boo"})
            after = await call(host, {})
        document = json.loads(error.payload)
        assert (error.error_type, error.message) == ("ValueError", "boo")
        assert document["stackTrace"]
        assert before["pid"] == after["pid"]

    run(scenario())


def test_a_crash_is_an_error_and_the_next_call_gets_a_fresh_process(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with hosting(tmp_path, sample_function("Echo")) as host:
            before = await call(host, {})
            error = await failure(host, {"exit": 3})
            after = await call(host, {})
        assert error.error_type == "Runtime.ExitError"
        assert "status 3" in error.message
        assert before["pid"] != after["pid"]

    run(scenario())


def test_a_working_process_can_be_killed_by_function_name(tmp_path: Path) -> None:
    async def scenario() -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        async with hosting(tmp_path, sample_function("Echo")) as host:
            running = asyncio.ensure_future(failure(host, {"read": str(pipe)}))
            writer = await asyncio.to_thread(pipe.open, "w")
            (shown,) = host.invocations()
            assert host.kill("Echo") == [shown["pid"]]
            error = await running
            writer.close()
            assert host.kill("Echo") == []
        assert "SIGKILL" in error.message

    run(scenario())


def test_the_next_invocations_can_die_before_the_code_sees_them(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with hosting(tmp_path, sample_function("Echo")) as host:
            host.doom("Echo", 2)
            stillborn = [await failure(host, {"n": number}) for number in range(2)]
            after = await call(host, {"n": 2})
            with pytest.raises(KeyError):
                host.doom("Nobody", 1)
        assert all("SIGKILL" in error.message for error in stillborn)
        assert after["event"] == {"n": 2}

    run(scenario())


def test_a_function_over_its_time_is_killed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with hosting(tmp_path, sample_function("Echo", timeout=0.2)) as host:
            error = await failure(host, {"sleep": 600})
            after = await call(host, {})
        assert error.error_type == "Sandbox.Timedout"
        assert "Task timed out after 0.20 seconds" in error.message
        assert after["event"] == {}
        assert "Task timed out" in (tmp_path / "Echo.log").read_text()

    run(scenario())


def test_a_function_that_cannot_start_says_why_each_time(tmp_path: Path) -> None:
    async def scenario() -> None:
        missing = sample_function("Missing", folder=tmp_path)
        async with hosting(tmp_path, sample_function("Broken"), missing) as host:
            errors = [await failure(host, {}, "Broken") for _ in range(2)]
            unfound = await failure(host, {}, "Missing")
        assert [error.message for error in errors] == ["no such luck"] * 2
        assert unfound.error_type == "Runtime.ImportModuleError"

    run(scenario())


def test_an_exec_wrapper_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    async def scenario() -> None:
        wrapper = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/bin/nothing"}
        async with hosting(tmp_path, sample_function("Echo", environment=wrapper)) as host:
            error = await failure(host, {})
        assert error.error_type == "Runtime.InvalidEntrypoint"

    run(scenario())


def test_answers_and_events_over_6_mb_are_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with hosting(tmp_path, sample_function("Echo")) as host:
            assert len(await call(host, {"size": 6_000_000})) == 6_000_000
            error = await failure(host, {"size": 6_291_560})
            assert error.error_type == "Function.ResponseSizeTooLarge"
            with pytest.raises(FunctionError, match="RequestTooLarge"):
                host.invoke("Echo", bytes(6_291_557))

    run(scenario())


def test_a_changed_file_gives_a_fresh_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lambda_host, "SCAN_INTERVAL", 0.0)

    async def scenario() -> None:
        folder = tmp_path / "echo"
        shutil.copytree(sample_function("Echo").folder, folder)
        async with hosting(tmp_path / "logs", sample_function("Echo", folder=folder)) as host:
            before = await call(host, {})
            same = await call(host, {})
            (folder / "app.py").write_text("def handler(event, context):\n    return 'new'\n")
            after = await call(host, {})
            states = {process["state"] for process in host.processes()}
        assert before["pid"] == same["pid"]
        assert after == "new"
        assert states <= {"idle", "busy", "stopping"}

    run(scenario())


def test_output_goes_to_a_log_per_function(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with hosting(tmp_path, sample_function("Echo")) as host:
            await failure(host, {"raise": "for the log"})

    run(scenario())
    log = (tmp_path / "Echo.log").read_text()
    assert "ValueError: for the log" in log
    assert "START RequestId:" in log
    assert "REPORT RequestId:" in log


def test_chunks_arrive_while_the_function_is_still_at_work(tmp_path: Path) -> None:
    async def scenario() -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        event = json.dumps({"queryStringParameters": {"wait": str(pipe)}}).encode()
        async with hosting(tmp_path, sample_function("Streamer")) as host:
            body = await host.invoke("Streamer", event).response
            assert isinstance(body, Body)
            chunks = aiter(body)
            first = await anext(chunks) + await anext(chunks)
            assert first.endswith(b"one\n")
            await asyncio.to_thread(pipe.write_text, "between\n")
            assert b"".join([chunk async for chunk in chunks]) == b"between\ntwo\n"

    run(scenario())


def test_an_error_in_mid_stream_reaches_the_reader(tmp_path: Path) -> None:
    async def scenario() -> None:
        event = json.dumps({"queryStringParameters": {"fail": "1"}}).encode()
        async with hosting(tmp_path, sample_function("Streamer")) as host:
            with pytest.raises(FunctionError, match="midway"):
                await host.invoke("Streamer", event).payload_or_error()
            after = await host.invoke("Streamer", b'{"queryStringParameters": null}').response
            assert isinstance(after, Body)

    run(scenario())


def test_a_stream_that_nobody_reads_is_broken_off(tmp_path: Path) -> None:
    async def scenario() -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        event = json.dumps({"queryStringParameters": {"endless": str(pipe)}}).encode()
        async with hosting(tmp_path, sample_function("Streamer")) as host:
            invocation = host.invoke("Streamer", event)
            body = await invocation.response
            assert isinstance(body, Body)
            await anext(aiter(body))
            invocation.abandon()
            assert await asyncio.to_thread(pipe.read_text) == "closed"

    run(scenario())


def test_functions_run_without_awslambdarics_native_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS. The stand-in is put in front, where a native client would be found first."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    async def scenario() -> None:
        async with hosting(tmp_path, sample_function("Echo")) as host:
            first = await call(host, {"a": 1})
            error = await failure(host, {"raise": "boo"})
            again = await call(host, {"a": 2})
        assert any("portable_runtime" in path for path in first["path"])
        assert error.error_type == "ValueError"
        assert again["pid"] == first["pid"]

    run(scenario())
