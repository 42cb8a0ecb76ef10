"""The whole API in this process: the gateway's own routes over handlers, over memory.

What it costs to serve a request is little, since no process is started and no store is asked over
a network: it is for suites that send thousands of them. Work that the queues carry is done by a
thread beside it.
"""

from __future__ import annotations

import asyncio
import json
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, cast

from dev.checks.openapi import load_handler
from dev.stack.gateway import Gateway
from dev.stack.lambda_host import Function, Invocation, LambdaHost
from dev.stack.ports import bind
from dev.stack.runtime_api import Body, FunctionError
from dev.template import FUNCTION, Template
from robotchat.aws import wiring
from robotchat.aws.keys import create_key
from robotchat.aws.queues import Counts
from robotchat.clock import SystemClock
from robotchat.config import MemorySecrets
from robotchat.events.delivery import Delivery
from robotchat.events.webhooks import Webhooks
from robotchat.gpt.responses.engine import Responses
from robotchat.images import MemoryImages
from robotchat.jobs.job import Job
from robotchat.records import MemoryRecords
from robotchat.settings import Settings
from tests.cases.service import ROOT, Context

STOP_TIMEOUT = 30.0


@dataclass(frozen=True)
class Served:
    """Where the API is, and a key with every scope."""

    url: str
    key: str


class InProcess:
    """Invokes handlers in this process, one at a time, as the gateway wants it of a Lambda host."""

    def __init__(self) -> None:
        template = Template(ROOT / "template.yaml")
        self._functions = {
            name: Function(name, folder) for name, folder in template.folders().items()
        }
        self._streaming = {
            name
            for name, properties in template.resources(FUNCTION)
            if "AWS_LAMBDA_EXEC_WRAPPER" in properties.get("Environment", {}).get("Variables", {})
        }
        self._handlers: dict[str, Any] = {}
        self._one = ThreadPoolExecutor(1, "handler")
        self._tasks: set[asyncio.Task[Any]] = set()

    def invoke(self, name: str, payload: bytes) -> Invocation:
        invocation = Invocation(self._functions[name], payload)
        self.spawn(self._run(name, invocation))
        return invocation

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run(self, name: str, invocation: Invocation) -> None:
        loop = asyncio.get_running_loop()
        try:
            made = await loop.run_in_executor(self._one, self._handle, name, invocation.payload)
        except Exception as error:  # noqa: BLE001 - as Lambda reports it
            invocation.fail(FunctionError(type(error).__name__, str(error)))
            return
        if name not in self._streaming:
            invocation.response.set_result(made)
            return
        body = Body()
        invocation.response.set_result(body)
        await body.put(made)
        body.end()

    def _handle(self, name: str, payload: bytes) -> bytes:
        handler = self._handlers.get(name)
        if handler is None:
            app = self._functions[name].folder / "app.py"
            handler = self._handlers[name] = load_handler(app)
        event = json.loads(payload)
        if name in self._streaming:
            return b"".join(handler.stream(event, Context()))
        return json.dumps(handler(event, Context())).encode()


class _Work:
    """The queues: what is put on them is done by a thread, once."""

    def __init__(self) -> None:
        self._todo: queue.Queue[Callable[[], object] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._loop, name="queues", daemon=True)
        self._thread.start()

    def put(self, work: Callable[[], object]) -> None:
        self._todo.put(work)

    def _loop(self) -> None:
        while (work := self._todo.get()) is not None:
            work()

    def close(self) -> None:
        self._todo.put(None)
        self._thread.join(STOP_TIMEOUT)


class _Jobs:
    def __init__(self, work: _Work) -> None:
        self._work = work

    def backlog(self) -> int:
        return 0

    def counts(self) -> Counts:
        return Counts(0, 0, 0)

    def send(self, job: Job, *, delay: float = 0.0) -> None:
        self._work.put(lambda: wiring.robot().run(job.id))


class _Responses:
    def __init__(self, work: _Work) -> None:
        self._work = work

    def send(self, response_id: str, tenant: str) -> None:
        def run() -> None:
            engine: Responses = wiring.responses()
            engine.background.run(response_id)

        self._work.put(run)


class _Images(MemoryImages):
    def upload_url(self, key: str, *, content_type: str, size: int, expires_in: float) -> str:
        return f"http://127.0.0.1/{key}"


class _Nowhere:
    """Where deliveries of webhooks go: nobody is told."""

    def send(self, delivery: Delivery, *, delay: float = 0.0) -> None:
        """It stays undelivered."""


@contextmanager
def served(settings: Settings) -> Iterator[Served]:
    """Serve the API over memory, until the end of the block."""
    work, records, clock = _Work(), MemoryRecords(), SystemClock()
    deployment = wiring.Deployment(
        settings,
        records=records,
        images=_Images(),
        secrets=MemorySecrets(),
        clock=clock,
        job_queue=_Jobs(work),
        response_queue=_Responses(work),
        webhooks=Webhooks(records, clock, _Nowhere(), local=True),
    )
    secret, _ = create_key(records, "dev")
    with wiring.serving(deployment), closing(work), _listening() as url:
        yield Served(url, secret)
        deployment.present.robot.close()
        deployment.present.chat.close()


@contextmanager
def _listening() -> Iterator[str]:
    """The gateway on a port of its own, in a thread; its URL."""
    ready: Future[str] = Future()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        gateway = Gateway(Template(ROOT / "template.yaml").api(), cast(LambdaHost, InProcess()))
        listener = bind(0)
        await gateway.start(listener)
        ready.set_result(f"http://127.0.0.1:{listener.getsockname()[1]}")
        await stop.wait()
        await gateway.close()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name="gateway")
    thread.start()
    try:
        yield ready.result(STOP_TIMEOUT)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(STOP_TIMEOUT)
        loop.close()
