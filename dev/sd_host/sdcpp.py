from __future__ import annotations

from aiohttp import web

from dev.sd_host.state import Host
from dev.sd_host.wire import Handler


def routes(host: Host) -> list[web.RouteDef]:
    return []


@web.middleware
async def dressed(request: web.Request, handler: Handler) -> web.StreamResponse:
    return await handler(request)
