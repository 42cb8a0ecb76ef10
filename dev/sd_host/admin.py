"""The control API, and the page for a person who opens the host in a browser."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from dev.sd_host.state import Host
from dev.sd_host.wire import HOST, json_answer

PAGE = """<!doctype html><meta charset="utf-8"><title>Stand-in SD host</title>
<h1>A stand-in Stable Diffusion host</h1>
<p>There is no model here. This program speaks the HTTP API of the A1111 web UI and draws simple
shapes that follow the words of a prompt, for development and tests.</p>
<p>Name: {name}. Personality: {personality}. Checkpoints: {checkpoints}.</p>
<p>Try <a href="/sdapi/v1/sd-models">/sdapi/v1/sd-models</a>; its life so far is at
<a href="/_control/stats">/_control/stats</a>.</p>
"""


async def show_page(request: web.Request) -> web.Response:
    options = request.app[HOST].options
    names = ", ".join(options.checkpoints)
    text = PAGE.format(name=options.name, personality=options.personality, checkpoints=names)
    return web.Response(text=text, content_type="text/html")


async def _body(request: web.Request) -> Any:
    raw = await request.read()
    try:
        return json.loads(raw) if raw else {}
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"not JSON: {error}") from error


async def get_faults(request: web.Request) -> web.Response:
    return json_answer({"faults": request.app[HOST].faults.described()})


async def add_faults(request: web.Request) -> web.Response:
    body = await _body(request)
    values = body.get("faults") if isinstance(body, dict) else body
    if not isinstance(values, list):
        raise web.HTTPBadRequest(text="faults is a list")
    try:
        request.app[HOST].faults.add(values)
    except ValueError as error:
        raise web.HTTPBadRequest(text=str(error)) from error
    return await get_faults(request)


async def clear_faults(request: web.Request) -> web.Response:
    request.app[HOST].faults.clear()
    return await get_faults(request)


async def release(request: web.Request) -> web.Response:
    return json_answer({"released": request.app[HOST].release()})


async def restart(request: web.Request) -> web.Response:
    body = await _body(request)
    request.app[HOST].restart(
        float(body.get("seconds", 0)),
        controlnet=body.get("controlnet"),
        new_disk=bool(body.get("new_disk", False)),
    )
    return json_answer({})


async def reset(request: web.Request) -> web.Response:
    request.app[HOST].reset()
    return json_answer({})


async def stats(request: web.Request) -> web.Response:
    return json_answer(request.app[HOST].stats.report())


async def wait(request: web.Request) -> web.Response:
    known = request.app[HOST].stats.counters
    wanted = dict(request.query)
    try:
        timeout = float(wanted.pop("timeout", "10"))
        numbers = {name: int(value) for name, value in wanted.items()}
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"not a number: {error}") from error
    if unknown := numbers.keys() - known.keys():
        raise web.HTTPBadRequest(text=f"no such counter: {', '.join(sorted(unknown))}")
    reached = await request.app[HOST].stats.wait(numbers, timeout)
    return json_answer(request.app[HOST].stats.counters, 200 if reached else 408)


async def change_files(request: web.Request) -> web.Response:
    host, body = request.app[HOST], await _body(request)
    files = _files(host, request.match_info["kind"])
    name = body.get("name")
    if not isinstance(name, str) or (request.method == "DELETE" and name not in files):
        raise web.HTTPBadRequest(text="name says which file")
    if request.method == "DELETE":
        files.remove(name)
    elif name not in files:
        files.append(name)
    return json_answer({"on_disk": files})


def _files(host: Host, kind: str) -> list[str]:
    return host.loras_on_disk if kind == "loras" else host.checkpoints_on_disk


def routes(*, page: bool) -> list[web.RouteDef]:
    """The control API; ``page``: and the page, where the host itself has none."""
    files = "/_control/{kind:loras|checkpoints}"
    return [
        *([web.get("/", show_page)] if page else []),
        web.get("/_control/faults", get_faults),
        web.post("/_control/faults", add_faults),
        web.delete("/_control/faults", clear_faults),
        web.post("/_control/release", release),
        web.post("/_control/restart", restart),
        web.post("/_control/reset", reset),
        web.get("/_control/stats", stats),
        web.get("/_control/wait", wait),
        web.post(files, change_files),
        web.delete(files, change_files),
    ]
