"""Serving a stand-in: in this process until a signal, or in a thread for a test."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from dev.comfyui import app
from dev.comfyui.state import Comfy, Options
from dev.sd_host import admin
from dev.sd_host.control import Control
from dev.sd_host.serving import GRACE_SECONDS, KEEP_ALIVE_SECONDS, listening
from dev.sd_host.wire import HOST, tracked


def application(options: Options) -> web.Application:
    """The web application of one stand-in."""
    host = Comfy(options)
    host.stats.counters["sockets"] = 0
    made = web.Application(middlewares=[tracked, app.dressed], client_max_size=app.MAX_BODY)
    made[HOST] = host
    made.add_routes([*admin.routes(page=False), *app.routes(host)])
    made.router.add_post("/_control/lose_files", app.lose_files)
    made.router.add_get("/_control/files", app.files)

    async def working(_: web.Application) -> AsyncIterator[None]:
        host.start()
        yield
        if host.worker is not None:
            host.worker.cancel()

    made.cleanup_ctx.append(working)
    return made


async def serve(
    options: Options, sock: socket.socket, stop: asyncio.Event, ready: Callable[[], None]
) -> None:
    """Serve on ``sock`` until ``stop``; ``ready`` is called once requests are answered."""
    runner = web.AppRunner(
        application(options),
        access_log=None,
        keepalive_timeout=KEEP_ALIVE_SECONDS,
        shutdown_timeout=GRACE_SECONDS,
    )
    await runner.setup()
    try:
        await web.SockSite(runner, sock).start()
        ready()
        await stop.wait()
        runner.app[HOST].drop_work()
    finally:
        await runner.cleanup()


class RunningComfy(Control):
    """A stand-in in a thread of this process. ``url`` is its base URL, ``port`` its port."""

    def __init__(self, options: Options, address: str = "127.0.0.1", port: int = 0) -> None:
        self._sock = listening(address, port)
        self.port: int = self._sock.getsockname()[1]
        self._options = options
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), name="comfyui")
        self._thread.start()
        started.wait()
        super().__init__(f"http://{address}:{self.port}")

    def _run(self, started: threading.Event) -> None:
        async def main() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            await serve(self._options, self._sock, self._stop, started.set)

        try:
            asyncio.run(main())
        finally:
            started.set()

    def stop(self) -> None:
        """Kill the host: connections drop, the port is refused. Again is no error."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self.close()

    def lose_files(self) -> None:
        """Delete all pictures that were made."""
        self._call("POST", "lose_files")

    def files(self) -> dict[str, list[str]]:
        """The names of all files that there are, by folder."""
        found: dict[str, list[str]] = self._call("GET", "files")
        return found


@contextmanager
def running(*, port: int = 0, **options: Any) -> Iterator[RunningComfy]:
    """A stand-in on a free port for the time of a ``with``; ``options`` are those of `Options`.

    It takes no time unless told to: ``fixed_seconds`` and ``load_seconds`` are 0.
    """
    host = RunningComfy(
        Options(**{"fixed_seconds": 0.0, "load_seconds": 0.0, **options}), port=port
    )
    try:
        yield host
    finally:
        host.stop()
