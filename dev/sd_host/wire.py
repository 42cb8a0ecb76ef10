"""What goes over the wire whatever is asked: bodies, error shapes, connections, planted faults."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiohttp import web

from dev.sd_host.faults import Fault, of_kind
from dev.sd_host.state import Host, HostError, planted_error
from dev.sd_host.stats import abbreviated

HOST: web.AppKey[Host] = web.AppKey("host", Host)
SEEN: web.RequestKey[dict[str, Any]] = web.RequestKey("seen", dict)
FAULTS: web.RequestKey[list[Fault]] = web.RequestKey("faults", list)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
GZIP_FROM = 1000


def json_answer(value: Any, status: int = 200, **headers: str) -> web.Response:
    """A JSON answer as Starlette writes it."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")


def faults_of(request: web.Request) -> list[Fault]:
    """The faults that hit this request."""
    return request[FAULTS]


def note_body(request: web.Request, body: Any) -> None:
    """Keep what was asked for the stats, without its pictures."""
    request[SEEN]["body"] = abbreviated(body)


def draws(path: str) -> bool:
    """Whether faults on ``path`` happen in a run instead of before the answer."""
    return path.endswith(("2img", "/images/generations", "/images/edits", "/images/inpainting"))


def not_the_hosts(request: web.Request) -> bool:
    """Whether this is for the stand-in itself: its control API, and its page if it has one."""
    page = request.path == "/" and request.app[HOST].options.has_page
    return page or request.path.startswith("/_control/")


@web.middleware
async def tracked(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Outermost: count the request, find its faults, and make it possible to drop it."""
    host = request.app[HOST]
    if not_the_hosts(request):
        return await handler(request)

    def drop() -> None:
        if request.transport is not None:
            request.transport.abort()

    if time.monotonic() < host.down_until:
        drop()
        return web.Response(status=503)
    seen: dict[str, Any] = {
        "method": request.method,
        "path": request.path,
        "query": dict(request.query),
    }
    request[SEEN], request[FAULTS] = seen, host.faults.take(request.path)
    host.stats.requests.append(seen)
    host.stats.add("requests")
    work = asyncio.ensure_future(_with_faults(request, handler, drop))
    host.open[work] = drop
    try:
        answer = await work
    except asyncio.CancelledError:
        seen["status"] = "dropped"
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            raise
        return web.Response(status=503)  # nobody reads it: the connection was dropped
    finally:
        host.open.pop(work, None)
    seen["status"] = answer.status
    return answer


async def _with_faults(
    request: web.Request, handler: Handler, drop: Callable[[], None]
) -> web.StreamResponse:
    host, faults = request.app[HOST], faults_of(request)
    refuse = of_kind(faults, "refuse")
    if refuse:
        after = refuse.extra.get("retry_after")
        headers = {} if after is None else {"Retry-After": str(after)}
        status = int(refuse.extra.get("status", 503))
        return web.Response(text="Service Unavailable", status=status, headers=headers)
    if not draws(request.path):
        await _before_answer(host, faults, drop)
    answer = await handler(request)
    garbage = of_kind(faults, "garbage")
    if garbage and isinstance(answer, web.Response):
        answer = spoiled(answer, garbage.extra["what"])
    cut = of_kind(faults, "disconnect")
    if not isinstance(answer, web.Response):
        return answer
    if cut and cut.extra.get("partial"):
        return await _half(request, answer, drop)
    return await _compressed(request, answer) if host.options.gzips else answer


async def _before_answer(host: Host, faults: Sequence[Fault], drop: Callable[[], None]) -> None:
    stall = of_kind(faults, "stall")
    if of_kind(faults, "hold"):
        await host.pause(deaf=False)
    if stall:
        await host.pause(deaf=True, seconds=stall.extra.get("seconds"))
    cut, restart = of_kind(faults, "disconnect"), of_kind(faults, "restart")
    if cut and not cut.extra.get("partial"):
        drop()
    if restart:
        host.restart(float(restart.extra.get("seconds", 0)))
        await asyncio.sleep(0)


def raise_planted(request: web.Request) -> None:
    """Raise the planted exception of a request that does not draw; raises `HostError`."""
    error = of_kind(faults_of(request), "error")
    if error and not draws(request.path):
        raise planted_error(error)


async def _half(
    request: web.Request, answer: web.Response, drop: Callable[[], None]
) -> web.StreamResponse:
    body = bytes(answer.body) if isinstance(answer.body, bytes) else b""
    stream = web.StreamResponse(status=answer.status)
    stream.content_type, stream.content_length = answer.content_type, len(body)
    await stream.prepare(request)
    await stream.write(body[: len(body) // 2])
    drop()
    return stream


def spoiled(answer: web.Response, what: str) -> web.Response:
    """``answer`` as rubbish of that kind."""
    if what == "html":
        page = "<html><body><h1>502 Bad Gateway</h1></body></html>"
        return web.Response(text=page, content_type="text/html")
    if what == "empty":
        return web.Response(body=b"", content_type="application/json")
    body = bytes(answer.body) if isinstance(answer.body, bytes) else b"{}"
    if what == "broken_json":
        return web.Response(body=body[: len(body) // 2], content_type="application/json")
    if what == "not_object":
        return json_answer(["nothing", "of", "use"])
    value = json.loads(body)
    if "images" not in value and "data" in value:  # OpenAI's shape
        for one in value["data"]:
            if "b64_json" in one and what != "no_images":
                one["b64_json"] = _rubbish(what, one["b64_json"])
    if what == "no_images":
        value.pop("images", None)
        value.pop("data", None)
    elif what == "info_not_json":
        value["info"] = "Steps: 20, Sampler: Euler a"
    else:
        value["images"] = [_rubbish(what, image) for image in value.get("images", [])]
    return json_answer(value)


def _rubbish(what: str, image: str) -> str:
    if what == "not_base64":
        return "%%% this is not base64 %%%"
    if what == "not_image":
        return "dGhpcyBpcyBub3QgYSBwaWN0dXJl"
    return image[: len(image) // 8 * 4]


async def _compressed(request: web.Request, answer: web.Response) -> web.Response:
    """``answer``, gzipped if the client takes that and it is long enough."""
    body = answer.body
    accepts = "gzip" in request.headers.get("Accept-Encoding", "")
    if accepts and isinstance(body, bytes) and len(body) >= GZIP_FROM:
        answer.body = await asyncio.to_thread(gzip.compress, body, 1)
        answer.headers["Content-Encoding"] = "gzip"
        answer.headers["Vary"] = "Accept-Encoding"
    return answer


def host_error(error: HostError) -> web.Response:
    """The 500 of an exception that reached the outermost handler."""
    body = {"error": error.kind, "detail": "", "body": "", "errors": str(error)}
    return json_answer(body, 500)
