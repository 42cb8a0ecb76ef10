"""Serving the stand-in: its HTTP side, its control API, and how it runs in a thread of a test."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from dev.llm.control import Control
from dev.llm.replies import Plan, Replies

Body = dict[str, Any]


@dataclass
class Seen:
    """A request, and what became of it."""

    id: int
    path: str
    body: Any
    authorization: str | None
    script: Body
    state: str = "running"
    sent: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def told(self) -> Body:
        names = ("id", "path", "body", "authorization", "state", "sent")
        return {name: getattr(self, name) for name in names}


class Model:
    """The state of one stand-in."""

    def __init__(self) -> None:
        self.replies = Replies()
        self.scripts: list[Body] = []
        self.seen: list[Seen] = []
        self.changed = asyncio.Condition()

    async def note(self, seen: Seen, state: str) -> None:
        seen.state = state
        async with self.changed:
            self.changed.notify_all()

    def script_for(self, path: str, text: str) -> Body:
        for script in self.scripts:
            if script.get("match", "") in text and path.endswith(script.get("path", "")):
                if script.get("times", 1) is not None:
                    script["times"] = script.get("times", 1) - 1
                    if script["times"] == 0:
                        self.scripts.remove(script)
                return script
        return {}


MODEL = web.AppKey("model", Model)


# --- the API --------------------------------------------------------------------------------------


async def generate(request: web.Request) -> web.StreamResponse:
    """Every POST that makes words."""
    model = request.app[MODEL]
    text = await request.text()
    try:
        body = json.loads(text)
    except ValueError:
        return _json(400, {"error": {"message": "not JSON", "type": "invalid_request_error"}})
    # Scripts match the text that people write, not JSON's escapes of it.
    script = model.script_for(request.path, json.dumps(body, ensure_ascii=False))
    authorization = request.headers.get("authorization")
    seen = Seen(len(model.seen), request.path, body, authorization, script)
    model.seen.append(seen)
    await model.note(seen, "running")
    try:
        plan = model.replies.plan(request.path, body, script)
    except (AttributeError, IndexError, KeyError, TypeError):
        # OpenAI's API checks every field; here, what cannot be answered is known by that.
        told = "The request has a field of the wrong type."
        plan = Plan(400, {"error": {"message": told, "type": "invalid_request_error"}})
    try:
        if plan.events is None:
            return await _whole(request, model, seen, plan)
        return await _stream(request, model, seen, plan.events)
    except (asyncio.CancelledError, ConnectionResetError):
        await asyncio.shield(model.note(seen, "closed"))
        raise


async def _whole(request: web.Request, model: Model, seen: Seen, plan: Plan) -> web.Response:
    await _before(model, seen, 0)
    if seen.script.get("cut_at") == 0:
        await _cut(request, model, seen)
    seen.sent = 1
    await model.note(seen, "finished" if plan.status < 400 else "failed")
    return _json(plan.status, plan.body, plan.headers)


async def _stream(
    request: web.Request, model: Model, seen: Seen, events: list[Body | str]
) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await answer.prepare(request)
    script = seen.script
    for index, event in enumerate(events):
        await _before(model, seen, index)
        if script.get("cut_at") == index:
            await _cut(request, model, seen)
        if script.get("fail_at") == index:
            told = script.get("error") or {"message": "scripted", "type": "server_error"}
            await answer.write(_sse({"error": told}))
            await model.note(seen, "failed")
            return answer
        await answer.write(event.encode() if isinstance(event, str) else _sse(event))
        seen.sent = index + 1
    await answer.write_eof()
    await model.note(seen, "finished")
    return answer


async def _before(model: Model, seen: Seen, index: int) -> None:
    if delay := seen.script.get("delay"):
        await asyncio.sleep(delay)
    if seen.script.get("stall_at") == index:
        await model.note(seen, "stalled")
        await seen.released.wait()
        await model.note(seen, "running")


async def _cut(request: web.Request, model: Model, seen: Seen) -> None:
    await model.note(seen, "cut")
    if request.transport is not None:
        request.transport.abort()
    raise web.HTTPInternalServerError


def _sse(event: Body) -> bytes:
    name = f"event: {event['type']}\n" if "sequence_number" in event else ""
    return f"{name}data: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


def _json(status: int, body: Body, headers: Any = None) -> web.Response:
    return web.json_response(body, status=status, headers=headers)


async def models(request: web.Request) -> web.Response:
    return _json(200, request.app[MODEL].replies.models())


async def one_model(request: web.Request) -> web.Response:
    plan = request.app[MODEL].replies.model(request.match_info["id"])
    return _json(plan.status, plan.body)


async def one_response(request: web.Request) -> web.Response:
    plan = request.app[MODEL].replies.response(
        request.match_info["id"], delete=request.method == "DELETE"
    )
    return _json(plan.status, plan.body)


# --- the control API ------------------------------------------------------------------------------


async def script(request: web.Request) -> web.Response:
    given = await request.json()
    request.app[MODEL].scripts += given if isinstance(given, list) else [given]
    return _json(200, {})


async def release(request: web.Request) -> web.Response:
    stalled = [seen for seen in request.app[MODEL].seen if seen.state == "stalled"]
    for seen in stalled:
        seen.released.set()
    return _json(200, {"released": len(stalled)})


async def requests(request: web.Request) -> web.Response:
    return _json(200, {"requests": [seen.told() for seen in request.app[MODEL].seen]})


async def wait(request: web.Request) -> web.Response:
    model = request.app[MODEL]
    states = request.query["state"].split(",")
    match = request.query.get("match", "")

    def found() -> Seen | None:
        for seen in model.seen:
            if seen.state in states and match in json.dumps(seen.body, ensure_ascii=False):
                return seen
        return None

    try:
        async with asyncio.timeout(float(request.query.get("timeout", 10))), model.changed:
            await model.changed.wait_for(found)
    except TimeoutError:
        return _json(408, {})
    seen = found()
    return _json(200, seen.told() if seen else {})


async def reset(request: web.Request) -> web.Response:
    model = request.app[MODEL]
    for seen in model.seen:
        seen.released.set()
    model.scripts.clear()
    model.seen.clear()
    model.replies = Replies()
    return _json(200, {})


# --- running --------------------------------------------------------------------------------------


def application() -> web.Application:
    """The web application of one stand-in; make it inside the event loop that serves it."""
    made = web.Application(client_max_size=64 * 1024 * 1024)
    made[MODEL] = Model()
    made.add_routes(
        [
            web.post("/v1/chat/completions", generate),
            web.post("/v1/completions", generate),
            web.post("/v1/embeddings", generate),
            web.post("/v1/responses", generate),
            web.post("/v1/responses/input_tokens", generate),
            web.get("/v1/responses/{id}", one_response),
            web.delete("/v1/responses/{id}", one_response),
            web.get("/v1/models", models),
            web.get("/v1/models/{id:.+}", one_model),
            web.post("/_control/script", script),
            web.post("/_control/release", release),
            web.get("/_control/requests", requests),
            web.get("/_control/wait", wait),
            web.post("/_control/reset", reset),
        ]
    )
    return made


def listening(address: str, port: int) -> socket.socket:
    """A socket that listens there; raises OSError when the port is taken."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(128)
    except OSError:
        sock.close()
        raise
    return sock


async def serve(sock: socket.socket, stop: asyncio.Event, ready: Callable[[], None]) -> None:
    """Serve until ``stop``; ``ready`` is called once requests are answered."""
    # A handler is cancelled when its client goes, even while it waits: that is how a closed
    # stream is noticed.
    runner = web.AppRunner(
        application(), access_log=None, handler_cancellation=True, shutdown_timeout=0.1
    )
    await runner.setup()
    try:
        await web.SockSite(runner, sock).start()
        ready()
        await stop.wait()
    finally:
        await runner.cleanup()


class RunningModel(Control):
    """A stand-in in a thread of this process."""

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        self._sock = listening(address, port)
        self.port: int = self._sock.getsockname()[1]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), name="llm")
        self._thread.start()
        started.wait()
        super().__init__(f"http://{address}:{self.port}")

    def _run(self, started: threading.Event) -> None:
        async def main() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            await serve(self._sock, self._stop, started.set)

        try:
            asyncio.run(main())
        finally:
            started.set()

    def stop(self) -> None:
        """Drop all connections and refuse new ones. Again is no error."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()


@contextmanager
def running(*, port: int = 0) -> Iterator[RunningModel]:
    """A stand-in on a free port for the time of a ``with``."""
    model = RunningModel(port=port)
    try:
        yield model
    finally:
        model.stop()
