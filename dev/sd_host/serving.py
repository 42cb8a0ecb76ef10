"""Serving a stand-in: in this process until a signal, or in a thread for a test.

Stand-ins of other kinds (`dev.comfyui`, `dev.openai_images`) are served by this as well: each gives
a function that makes its application.
"""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from aiohttp import web
from aiohttp.typedefs import Middleware

from dev.sd_host import admin, app, drawthings, forge, koboldcpp, sdcpp, sdnext
from dev.sd_host.control import Control
from dev.sd_host.options import Options
from dev.sd_host.state import Host
from dev.sd_host.wire import HOST, tracked

GRACE_SECONDS = 0.1
KEEP_ALIVE_SECONDS = 30


class Personality(NamedTuple):
    """What a kind of host answers, and how it dresses it."""

    routes: Callable[[Host], list[web.RouteDef]]
    dressed: Middleware


PERSONALITIES: Mapping[str, Personality] = {
    "a1111": Personality(app.routes, app.dressed),
    "forge": Personality(forge.forge_routes, forge.dressed),
    "forge-neo": Personality(forge.neo_routes, forge.dressed),
    "sdnext": Personality(sdnext.routes, sdnext.dressed),
    "sdcpp": Personality(sdcpp.routes, sdcpp.dressed),
    "koboldcpp": Personality(koboldcpp.routes, koboldcpp.dressed),
    "drawthings": Personality(drawthings.routes, drawthings.dressed),
}


def application(options: Options) -> web.Application:
    """The web application of one host."""
    host = Host(options)
    personality = PERSONALITIES[options.personality]
    made = web.Application(middlewares=[tracked, personality.dressed], client_max_size=0)
    made[HOST] = host
    made.add_routes([*admin.routes(page=options.has_page), *personality.routes(host)])
    return made


def listening(address: str, port: int) -> socket.socket:
    """A socket that listens there; raises `OSError` when the port is taken."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(128)
    except OSError:
        sock.close()
        raise
    return sock


async def serve(
    made: web.Application, sock: socket.socket, stop: asyncio.Event, ready: Callable[[], None]
) -> None:
    """Serve on ``sock`` until ``stop``; ``ready`` is called once requests are answered."""
    runner = web.AppRunner(
        made,
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


def serve_until_signal(
    prog: str, make: Callable[[], web.Application], address: str, port: int, what: str
) -> int:
    """Serve what ``make`` gives until SIGINT or SIGTERM, and print where; the exit code is 1 when
    the port is taken. ``what`` says in that line what is served."""
    try:
        sock = listening(address, port)
    except OSError as error:
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"is not free: {error}"
        print(f"{prog}: port {port} on {address} {reason}; try --port", file=sys.stderr)
        return 1
    line = f"{prog}: {what} on http://{address}:{sock.getsockname()[1]}"

    async def main() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await serve(make(), sock, stop, lambda: print(line, flush=True))

    asyncio.run(main())
    return 0


class RunningHost(Control):
    """A stand-in in a thread of this process: what ``make`` gives.

    ``url`` is its base URL, ``port`` its port.
    """

    def __init__(
        self, make: Callable[[], web.Application], address: str = "127.0.0.1", port: int = 0
    ) -> None:
        self._sock = listening(address, port)
        self.port: int = self._sock.getsockname()[1]
        self._make = make
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), name="sd-host")
        self._thread.start()
        started.wait()
        super().__init__(f"http://{address}:{self.port}")

    def _run(self, started: threading.Event) -> None:
        async def main() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            await serve(self._make(), self._sock, self._stop, started.set)

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


@contextmanager
def running(*, port: int = 0, **options: Any) -> Iterator[RunningHost]:
    """A stand-in on a free port for the time of a ``with``; ``options`` are those of `Options`.

    Unlike ``python -m dev.sd_host`` it takes no time unless told to: ``fixed_seconds`` and
    ``load_seconds`` are 0 here (give ``fixed_seconds=None`` for `Options.speed`).
    """
    given = Options(**{"fixed_seconds": 0.0, "load_seconds": 0.0, **options})
    host = RunningHost(partial(application, given), port=port)
    try:
        yield host
    finally:
        host.stop()
