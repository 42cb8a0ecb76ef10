"""Runs functions the way Lambda does: one process per concurrent invocation, AWS's own runtime.

Each process is ``python -m awslambdaric app.handler`` (or the exec wrapper that the function
names) in the function's folder, with the layer on its path, Lambda's environment and nothing of
the developer's. Idle processes are used again. Timeouts kill, crashes are reported, and a changed
file gives fresh processes.

On AWS a runtime that has posted its response may go on until it asks for more; so here: the
process counts as busy until then, and the timeout goes on.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import secrets
import signal
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from dev.stack.processes import Child, Children
from dev.stack.runtime_api import RESPONSE_LIMIT, Body, FunctionError, RuntimeApi, Work

_T = TypeVar("_T")

INIT_TIMEOUT = 60.0
IDLE_TIMEOUT = 300.0
SCAN_INTERVAL = 1.0
STOP_GRACE = 0.3
FINISH_GRACE = 0.05  # how long a call may wait for a process that has answered its last one
LOG_LIMIT = 5_000_000
ACCOUNT = "000000000000"

# What of the developer's environment a function may see.
PASSED_ON = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "COVERAGE_PROCESS_START",
    "COVERAGE_PROCESS_CONFIG",
)


@dataclass(frozen=True)
class Function:
    """A deployed function: its code on disk and its resolved configuration."""

    name: str
    folder: Path
    handler: str = "app.handler"
    timeout: float = 3.0
    memory: int = 128
    environment: Mapping[str, str] = field(default_factory=dict)
    deployed_name: str = ""
    log_format: str = "Text"
    log_level: str = ""
    region: str = "us-east-1"

    @property
    def aws_name(self) -> str:
        return self.deployed_name or self.name

    @property
    def arn(self) -> str:
        return f"arn:aws:lambda:{self.region}:{ACCOUNT}:function:{self.aws_name}"


@dataclass(frozen=True)
class Layer:
    """The layer's source folder, used in place: ``src`` is /opt/python, the rest is /opt."""

    root: Path

    @property
    def python(self) -> Path:
        return self.root / "src"

    def resolve(self, path: str) -> str:
        """The file that a path below /opt means; other paths are as they are."""
        if path.startswith("/opt/python/"):
            return str(self.python / path.removeprefix("/opt/python/"))
        if path.startswith("/opt/"):
            return str(self.root / path.removeprefix("/opt/"))
        return path


class Invocation:
    """One event given to a function, and its answer.

    ``response`` is bytes, or a :class:`Body` when the function streams; FunctionError when it
    failed before answering.
    """

    def __init__(self, function: Function, payload: bytes) -> None:
        self.function = function
        self.payload = payload
        self.request_id = str(uuid.uuid4())
        self.created_at = time.time()
        self.started_at = self.created_at
        self.response: asyncio.Future[bytes | Body] = asyncio.get_running_loop().create_future()
        # An error may come when nobody waits any more (a gateway's 504): that is no warning.
        self.response.add_done_callback(lambda future: future.exception())

    def fail(self, error: FunctionError) -> None:
        """End it with an error, also in the middle of a streamed response."""
        if not self.response.done():
            self.response.set_exception(error)
        elif self.response.exception() is None:
            response = self.response.result()
            if isinstance(response, Body):
                response.end(error)

    @property
    def answered(self) -> bool:
        """Whether the function has said all: its process will soon be free."""
        if not self.response.done():
            return False
        if self.response.exception() is not None:
            return True
        response = self.response.result()
        return isinstance(response, bytes) or response.ended

    def abandon(self) -> None:
        """Nobody wants the answer any more: a streamed one is broken off, now or when it comes."""

        def close(response: asyncio.Future[bytes | Body]) -> None:
            if response.exception() is None:
                body = response.result()
                if isinstance(body, Body):
                    body.close()

        self.response.add_done_callback(close)

    async def consume(self) -> None:
        """Take a streamed response to its end for nobody, as AWS does when the client has left."""
        with suppress(FunctionError):
            response = await asyncio.shield(self.response)
            if isinstance(response, Body):
                async for _ in response:
                    pass

    async def payload_or_error(self) -> bytes:
        """The whole response, a streamed one put together. Raises FunctionError."""
        response = await asyncio.shield(self.response)
        if isinstance(response, bytes):
            return response
        return b"".join([chunk async for chunk in response])


class Sandbox:
    """One process of a function, and its side of the Runtime API."""

    def __init__(self, host: LambdaHost, function: Function, version: object) -> None:
        self.function = function
        self.version = version
        self.child: Child | None = None
        self.current: Invocation | None = None
        self.state = "starting"
        self.since = time.time()
        self.init_error: FunctionError | None = None
        self._host = host
        self._api = RuntimeApi(self)
        self._waiter: asyncio.Future[Invocation] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._killed_for: FunctionError | None = None

    async def run(self) -> None:
        """Start the process and stay with it to its end."""
        function = self.function
        try:
            await self._api.start()
            environment = self._host.environment(function, self._api.address)
            self._set_timer(INIT_TIMEOUT, self._init_timed_out)
            self.child = await self._host.children.start(
                function.name,
                self._host.command(function, environment),
                env=environment,
                cwd=function.folder,
                log=self._host.log(function),
                grace=STOP_GRACE,
            )
            status = await self.child.wait()
        except OSError as error:
            self.init_error = FunctionError("Runtime.InvalidEntrypoint", str(error))
            status = 1
        finally:
            self._api.close()
            self._cancel_timer()
        self._gone(status)

    def give(self, invocation: Invocation) -> None:
        """Run an invocation on this idle process."""
        assert self._waiter is not None  # noqa: S101
        self.current = invocation
        invocation.started_at = time.time()
        self._set_state("busy")
        self._set_timer(self.function.timeout, self._timed_out)
        self._host.write_log(
            self.function, f"START RequestId: {invocation.request_id} Version: $LATEST"
        )
        if self._host.is_doomed(self.function.name):
            self.kill()
            return
        self._waiter.set_result(invocation)

    def retire(self) -> None:
        """No more invocations: stop now if idle, else once the present one is done."""
        if self.state == "idle" and self.child is not None:
            self._set_state("stopping")
            self._host.spawn(self.child.stop())
        elif self.state != "stopping":
            self.version = None

    def kill(self) -> None:
        """SIGKILL, as a crash of the machine would."""
        if self.child is not None:
            self.child.kill()

    # The Runtime API

    async def next(self) -> Work:
        self._cancel_timer()
        if self.current is not None:
            self._finish_current()
        self._waiter = asyncio.get_running_loop().create_future()
        self._set_state("idle")
        self._set_timer(IDLE_TIMEOUT, self.retire)
        self._host.ready(self)
        invocation = await self._waiter
        function = self.function
        trace = f"Root=1-{int(invocation.created_at):08x}-{secrets.token_hex(12)};Sampled=0"
        return Work(
            request_id=invocation.request_id,
            payload=invocation.payload,
            deadline_ms=int((time.time() + function.timeout) * 1000),
            function_arn=function.arn,
            trace_id=trace,
        )

    def respond(self, request_id: str, response: bytes | Body) -> bool:
        invocation = self.current
        if invocation is None or invocation.request_id != request_id or invocation.response.done():
            return False
        invocation.response.set_result(response)
        return True

    def fail(self, request_id: str, error: FunctionError) -> bool:
        invocation = self.current
        if invocation is None or invocation.request_id != request_id or invocation.response.done():
            return False
        invocation.fail(error)
        return True

    def init_failed(self, error: FunctionError) -> None:
        self.init_error = error

    # The end

    def _finish_current(self) -> None:
        invocation = self.current
        assert invocation is not None  # noqa: S101
        if not invocation.response.done():
            error = "The runtime asked for the next event without answering this one."
            invocation.fail(FunctionError("Runtime.NoResponse", error))
        self._log_end(invocation)
        self.current = None

    def _log_end(self, invocation: Invocation) -> None:
        duration = (time.time() - invocation.started_at) * 1000
        self._host.write_log(
            self.function,
            f"END RequestId: {invocation.request_id}\n"
            f"REPORT RequestId: {invocation.request_id}\tDuration: {duration:.2f} ms\t"
            f"Memory Size: {self.function.memory} MB",
        )

    def _gone(self, status: int) -> None:
        reason = f"signal: {signal.Signals(-status).name}" if status < 0 else f"status {status}"
        initialising = self.state == "starting"
        self._set_state("gone")
        if self._waiter is not None:
            self._waiter.cancel()
        error = self._killed_for or self.init_error
        if self.current is not None:
            exited = f"RequestId: {self.current.request_id} Error: Runtime exited with {reason}"
            self.current.fail(error or FunctionError("Runtime.ExitError", exited))
            self._log_end(self.current)
            self.current = None
        elif initialising:
            exited = f"Runtime exited with {reason} before it asked for an event"
            error = error or FunctionError("Runtime.ExitError", exited)
        self._host.gone(self, error if initialising else None)

    def _timed_out(self) -> None:
        assert self.current is not None  # noqa: S101
        message = (
            f"RequestId: {self.current.request_id} Error: "
            f"Task timed out after {self.function.timeout:.2f} seconds"
        )
        self._host.write_log(self.function, message)
        self._killed_for = FunctionError("Sandbox.Timedout", message)
        self.current.fail(self._killed_for)
        self.kill()

    def _init_timed_out(self) -> None:
        message = f"The function did not initialise within {INIT_TIMEOUT:.0f} seconds"
        self._killed_for = FunctionError("Sandbox.Timedout", message)
        self.kill()

    def _set_state(self, state: str) -> None:
        self.state = state
        self.since = time.time()

    def _set_timer(self, seconds: float, action: Callable[[], object]) -> None:
        self._cancel_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, action)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Answer(Protocol):
    """What comes of an invocation."""

    async def payload_or_error(self) -> bytes:
        """The whole answer. Raises FunctionError."""
        ...


class Functions(Protocol):
    """Whatever runs the functions: this module's host, or another."""

    def invoke(self, name: str, payload: bytes) -> Answer:
        """Start an invocation of a function, by its logical ID. Raises FunctionError."""
        ...


class LambdaHost:
    """Invokes functions by name.

    ``environment`` holds variables that every function gets (the emulator's endpoint, say), in
    place of what the template says of them. Function output goes to ``log_dir/<name>.log``, and
    what functions ask of AWS to the folder ``record``, if there is one (see ``recorder/``).
    """

    def __init__(
        self,
        functions: Iterable[Function],
        *,
        layer: Layer,
        children: Children,
        log_dir: Path,
        environment: Mapping[str, str] | None = None,
        record: Path | None = None,
    ) -> None:
        self._record = record
        if record is not None:
            record.mkdir(parents=True, exist_ok=True)
        self.functions = {function.name: function for function in functions}
        self.children = children
        self._layer = layer
        self._log_dir = log_dir
        self._environment = dict(environment or {})
        self._sandboxes: dict[str, list[Sandbox]] = {name: [] for name in self.functions}
        self._doomed: dict[str, int] = {}
        self._pending: dict[str, deque[Invocation]] = {name: deque() for name in self.functions}
        self._versions: dict[str, tuple[float, object]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing = False
        log_dir.mkdir(parents=True, exist_ok=True)
        for log in log_dir.glob("*.log"):
            if log.stat().st_size > LOG_LIMIT:
                log.replace(log.with_suffix(".log.1"))

    def invoke(self, name: str, payload: bytes) -> Invocation:
        """Start an invocation; await its ``response``, or ``payload_or_error()``.

        Raises KeyError for an unknown function and FunctionError for an event over 6 MB.
        """
        function = self.functions[name]
        if len(payload) > RESPONSE_LIMIT:
            raise FunctionError("RequestTooLarge", f"The event is over {RESPONSE_LIMIT} bytes.")
        self._retire_outdated(function)
        invocation = Invocation(function, payload)
        idle = [box for box in self._sandboxes[name] if box.state == "idle"]
        if idle:
            idle[-1].give(invocation)
            return invocation
        pending = self._pending[name]
        pending.append(invocation)
        boxes = self._sandboxes[name]
        starting = sum(box.state == "starting" for box in boxes)
        finishing = sum(box.current is not None and box.current.answered for box in boxes)
        if starting + finishing < len(pending):
            self._start(function)
        elif starting < len(pending):
            asyncio.get_running_loop().call_later(FINISH_GRACE, self._start_if_short, function)
        return invocation

    def invocations(self) -> list[dict[str, Any]]:
        """What runs now: function, request id, pid, start (Unix time)."""
        return [
            {
                "function": name,
                "request_id": box.current.request_id,
                "pid": box.child.pid,
                "started_at": box.current.started_at,
            }
            for name, boxes in self._sandboxes.items()
            for box in boxes
            if box.current is not None and box.child is not None
        ]

    def processes(self) -> list[dict[str, Any]]:
        """Every function process: function, pid, state (starting, idle, busy, stopping)."""
        return [
            {"function": name, "pid": box.child.pid, "state": box.state}
            for name, boxes in self._sandboxes.items()
            for box in boxes
            if box.child is not None
        ]

    def kill(self, name: str) -> list[int]:
        """SIGKILL the processes of a function that are working; returns their process ids.

        Raises KeyError for an unknown function.
        """
        busy = [box for box in self._sandboxes[name] if box.current is not None and box.child]
        for box in busy:
            box.kill()
        return [box.child.pid for box in busy if box.child is not None]

    def doom(self, name: str, number: int) -> None:
        """Have the next so many invocations of a function die right after they were given to a
        process, before its code sees them. Raises KeyError for an unknown function."""
        if name not in self._sandboxes:
            raise KeyError(name)
        self._doomed[name] = number

    def is_doomed(self, name: str) -> bool:
        """Whether the invocation that is given to a process now is one of those."""
        left = self._doomed.get(name, 0)
        self._doomed[name] = max(left - 1, 0)
        return left > 0

    async def close(self) -> None:
        """Kill every process; what runs fails."""
        self._closing = True
        for boxes in self._sandboxes.values():
            for box in boxes:
                box.kill()
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # For sandboxes

    def command(self, function: Function, environment: Mapping[str, str]) -> list[str]:
        """The program to run: AWS's runtime client, by way of the exec wrapper if there is one."""
        runtime = [sys.executable, "-m", "awslambdaric", function.handler]
        wrapper = environment.get("AWS_LAMBDA_EXEC_WRAPPER")
        return [self._layer.resolve(wrapper), *runtime] if wrapper else runtime

    def environment(self, function: Function, runtime_api: str) -> dict[str, str]:
        """Lambda's environment for a function: nothing of the developer's but PATH and the like."""
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        interpreter = os.path.dirname(sys.executable)
        environment["PATH"] = os.pathsep.join([interpreter, environment.get("PATH", os.defpath)])
        path = [str(self._layer.python)]
        if importlib.util.find_spec("runtime_client") is None:
            # awslambdaric has its native client on Linux only.
            path.append(str(Path(__file__).with_name("portable_runtime")))
        if self._record is not None:
            path.insert(0, str(Path(__file__).with_name("recorder")))
            environment["ROBOTCHAT_RECORD"] = str(self._record)
            environment["ROBOTCHAT_RECORD_AS"] = function.name
        environment |= {
            "LANG": environment.get("LANG", "C.UTF-8"),
            "TZ": ":UTC",
            "PYTHONPATH": os.pathsep.join(path),
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
            **function.environment,
            **self._environment,
        }
        return environment | {
            "AWS_REGION": function.region,
            "AWS_DEFAULT_REGION": function.region,
            "AWS_EXECUTION_ENV": "AWS_Lambda_python3.12",
            "AWS_LAMBDA_FUNCTION_NAME": function.aws_name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_FORMAT": function.log_format,
            **({"AWS_LAMBDA_LOG_LEVEL": function.log_level} if function.log_level else {}),
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.aws_name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": f"local/[$LATEST]{secrets.token_hex(8)}",
            "AWS_LAMBDA_RUNTIME_API": runtime_api,
            "LAMBDA_TASK_ROOT": str(function.folder),
            "_HANDLER": function.handler,
        }

    def log(self, function: Function) -> Path:
        return self._log_dir / f"{function.name}.log"

    def write_log(self, function: Function, text: str) -> None:
        """Add a line of the platform's own to the function's log."""
        with self.log(function).open("a", encoding="utf-8") as log:
            log.write(text + "\n")

    def spawn(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Run a coroutine to its end, whoever waits for it or does not."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def ready(self, box: Sandbox) -> None:
        """A process asks for work."""
        name = box.function.name
        if box.version != self._version(box.function):
            box.retire()
            if self._pending[name]:
                self._start(box.function)
        elif self._pending[name]:
            box.give(self._pending[name].popleft())

    def gone(self, box: Sandbox, init_error: FunctionError | None) -> None:
        """A process has ended; with ``init_error`` it never got as far as asking for work."""
        name = box.function.name
        self._sandboxes[name].remove(box)
        pending = self._pending[name]
        if init_error is not None and pending:
            pending.popleft().fail(init_error)
        if self._closing:
            while pending:
                pending.popleft().fail(FunctionError("Runtime.ExitError", "Shutting down."))

    # Processes and code versions

    def _start(self, function: Function) -> None:
        box = Sandbox(self, function, self._version(function))
        self._sandboxes[function.name].append(box)
        self.spawn(box.run())

    def _start_if_short(self, function: Function) -> None:
        """Start a process after all if those that were about to be free are not."""
        boxes = self._sandboxes[function.name]
        starting = sum(box.state == "starting" for box in boxes)
        if starting < len(self._pending[function.name]) and not self._closing:
            self._start(function)

    def _retire_outdated(self, function: Function) -> None:
        version = self._version(function)
        for box in list(self._sandboxes[function.name]):
            if box.version != version:
                box.retire()

    def _version(self, function: Function) -> object:
        """Changes when a file of the function or of the layer does."""
        scanned_at, version = self._versions.get(function.name, (0.0, None))
        now = time.monotonic()
        if version is None or now - scanned_at >= SCAN_INTERVAL:
            version = (_newest(function.folder), _newest(self._layer.root))
            self._versions[function.name] = (now, version)
        return version


def _newest(folder: Path) -> tuple[int, int]:
    """How many files a folder has, and when the last of them changed (ns)."""
    count = newest = 0
    folders = [str(folder)]
    while folders:
        with suppress(FileNotFoundError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.name.startswith((".", "__pycache__")):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                    continue
                with suppress(FileNotFoundError):  # an editor's file that has gone again
                    newest = max(newest, entry.stat().st_mtime_ns)
                    count += 1
    return count, newest
