"""The stand-in as a web application, and in a thread for a test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from aiohttp import web

from dev.comfyui import app
from dev.comfyui.state import Comfy, Options
from dev.sd_host import admin
from dev.sd_host.serving import RunningHost
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


class RunningComfy(RunningHost):
    """A stand-in in a thread of this process, with what tests do to its files."""

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
    given = Options(**{"fixed_seconds": 0.0, "load_seconds": 0.0, **options})
    host = RunningComfy(partial(application, given), port=port)
    try:
        yield host
    finally:
        host.stop()
