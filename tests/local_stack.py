"""The local stack in tests: parts of it in process, or all of it as ``make run`` starts it."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from dev.checks import privileges
from dev.stack.lambda_host import Function, LambdaHost, Layer
from dev.stack.ports import free_port
from dev.stack.processes import Children

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "tests" / "integration" / "fixtures" / "sample"
START_TIMEOUT = 120.0
STOP_TIMEOUT = 20.0


def sample_function(name: str, **changes: Any) -> Function:
    """A function of the sample stack as if it had been deployed."""
    environment = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/bin/stream"} if name == "Streamer" else {}
    function = Function(
        name=name,
        folder=SAMPLE / "functions" / name.lower(),
        timeout=10,
        environment=environment,
        deployed_name=f"sample-{name}",
    )
    return replace(function, **changes)


@asynccontextmanager
async def hosting(
    logs: Path, *functions: Function, environment: Mapping[str, str] | None = None
) -> AsyncIterator[LambdaHost]:
    """A Lambda host with some functions and the real layer."""
    async with Children() as children:
        host = LambdaHost(
            functions,
            layer=Layer(ROOT / "layers" / "robotchat"),
            children=children,
            log_dir=logs,
            environment=environment,
        )
        try:
            yield host
        finally:
            await host.close()


RECORDED = ROOT / "out" / "recorded"
"""What the functions of all stacks have asked of AWS: see `dev.checks.privileges`."""


class RunningStack:
    """``python -m dev.run`` as a process. The fields of stack.json are attributes.

    ``env`` holds options for it (see dev/run.py); nothing else of this process's environment but
    PATH and the like reaches it.
    """

    module = "dev.run"
    folder = ROOT

    def __init__(self, state: Path, env: Mapping[str, str] | None = None) -> None:
        self.state = state
        state.mkdir(parents=True, exist_ok=True)
        passed = (
            "PATH",
            "HOME",
            "LANG",
            "TMPDIR",
            "SSL_CERT_FILE",
            "COVERAGE_PROCESS_START",
            "WORKERS",
        )
        self.env = {name: os.environ[name] for name in passed if name in os.environ}
        # As on AWS, a function is not told that its client has left.
        self.env |= {"PORT": str(free_port()), "ROBOTCHAT_LEAVING": "untold"}
        self.recording = state / "operations"
        self.env |= {"ROBOTCHAT_RECORD": str(self.recording)}
        self.env |= {"ROBOTCHAT_STATE": str(state), "LLM": "none", **(env or {})}
        self.process: subprocess.Popen[bytes] | None = None
        self.document: dict[str, Any] = {}
        self.ready_line = ""

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["document"][name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def headers(self) -> dict[str, str]:
        """What a request needs to be let in."""
        return {"x-api-key": self.document["api_key"]}

    @property
    def errors(self) -> str:
        """What it has written to its standard error."""
        return (self.state / "stderr.txt").read_text()

    def start(self) -> RunningStack:
        """Start it and wait for its ready line."""
        self.launch()
        assert self.process is not None
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(START_TIMEOUT):
                self.process.kill()
                raise TimeoutError(f"no ready line: {self.errors}")
        self.ready_line = self.process.stdout.readline().decode()
        if not self.ready_line:
            self.process.wait()
            raise RuntimeError(f"{self.module} ended ({self.process.returncode}): {self.errors}")
        self.document = json.loads((self.state / "stack.json").read_text())
        return self

    def launch(self) -> subprocess.Popen[bytes]:
        """Start it without waiting."""
        with (self.state / "stderr.txt").open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module],
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        return self.process

    def processes(self) -> dict[int, str]:
        """Everything that it has started: command lines by process id."""
        assert self.process is not None
        return descendants(self.process.pid)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; no process may be left. Returns the exit status."""
        assert self.process is not None
        assert self.process.stdout is not None
        started = self.processes()
        with suppress(ProcessLookupError):
            self.process.send_signal(number)
        status = self.process.wait(STOP_TIMEOUT)
        self.process.stdout.close()
        wait_until(lambda: not alive(started), f"{started} to end")
        return status

    def stop(self) -> None:
        """Stop it in the ordinary way, if it still runs.

        What its functions have asked of AWS must be what their roles allow.
        """
        if self.process is not None and self.process.poll() is None:
            assert self.end() == 0, self.errors
            assert not (self.state / "stack.json").exists()
        elif self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()
        if "ROBOTCHAT_TEMPLATE" not in self.env:
            if self.recording.exists():
                shutil.copytree(self.recording, RECORDED / uuid.uuid4().hex)
            missing = privileges.missing(ROOT, self.recording)
            assert not missing, missing


def descendants(pid: int) -> dict[int, str]:
    """The processes below one: command lines by process id."""
    listing = subprocess.run(
        ["ps", "-axo", "pid=,ppid=,command="], capture_output=True, text=True, check=True
    ).stdout
    children: dict[int, list[int]] = {}
    commands: dict[int, str] = {}
    for line in listing.splitlines():
        child, parent, command = line.split(maxsplit=2)
        children.setdefault(int(parent), []).append(int(child))
        commands[int(child)] = command
    found: dict[int, str] = {}
    todo = [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found.update((process, commands[process]) for process in below)
        todo.extend(below)
    return found


def alive(processes: Mapping[int, str]) -> dict[int, str]:
    """Those that still run (a zombie does not)."""
    listing = subprocess.run(
        ["ps", "-axo", "pid=,stat="], capture_output=True, text=True, check=True
    )
    states = dict(line.split() for line in listing.stdout.splitlines())
    return {
        pid: command
        for pid, command in processes.items()
        if not states.get(str(pid), "Z").startswith("Z")
    }


def wait_until(condition: Callable[[], object], what: str, timeout: float = STOP_TIMEOUT) -> None:
    """Wait for something that tells nobody when it happens. Raises TimeoutError."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout} s for {what}")
        time.sleep(0.02)
