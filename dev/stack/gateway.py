"""The dev gateway: the template's REST API on loopback, in front of the Lambda host.

It does what API Gateway does with the routes: authorizer, proxy events, limits (10 MB requests,
6 MB events and buffered answers, each route's integration timeout, the longest silence of a
stream), gateway responses, preflights. Streaming routes stream for real. ``/_dev/...`` shows and
kills what runs.

When a client goes away, a buffered function finishes as on AWS. A streaming one finds its
connection broken at its next write; on AWS it is not told and writes into the void, as it does
here with ``tells_leaving=False``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from aiohttp import web

from dev.stack.lambda_host import Invocation, LambdaHost
from dev.stack.rest_events import (
    ACCOUNT,
    API_ID,
    Request,
    Result,
    Router,
    allows,
    authorizer_event,
    malformed,
    prelude,
    proxy_event,
    proxy_result,
)
from dev.stack.runtime_api import FunctionError
from dev.template import (
    ANY,
    INTEGRATION_TIMEOUT,
    PREFLIGHT_METHODS,
    Api,
    Authorizer,
    GatewayResponse,
    Route,
)

BODY_LIMIT = 10 * 1024 * 1024
PRELUDE_LIMIT = 1 << 20
SEPARATOR = bytes(8)

logger = logging.getLogger("dev.stack.gateway")

# Gateway-made answers: the default status, the message, and the error's name.
DEFAULTS: dict[str, tuple[int, str, str]] = {
    "ACCESS_DENIED": (
        403,
        "User is not authorized to access this resource with an explicit deny",
        "AccessDeniedException",
    ),
    "AUTHORIZER_CONFIGURATION_ERROR": (500, "Internal server error", "AuthorizerConfiguration"),
    "AUTHORIZER_FAILURE": (500, "Internal server error", "AuthorizerFailureException"),
    "INTEGRATION_FAILURE": (502, "Internal server error", "InternalServerErrorException"),
    "INTEGRATION_TIMEOUT": (504, "Endpoint request timed out", "EndpointRequestTimedOut"),
    "MISSING_AUTHENTICATION_TOKEN": (
        403,
        "Missing Authentication Token",
        "MissingAuthenticationTokenException",
    ),
    "REQUEST_TOO_LARGE": (413, "Request Too Long", "RequestTooLongException"),
    "UNAUTHORIZED": (401, "Unauthorized", "UnauthorizedException"),
}
PLAIN = GatewayResponse(None, {}, {"application/json": '{"message":$context.error.messageString}'})


class GatewayError(Exception):
    """The gateway answers by itself, with one of its response types."""

    def __init__(self, kind: str, message: str | None = None) -> None:
        super().__init__(kind)
        self.kind = kind
        self.message = message


class Gateway:
    """Serves the API. ``start`` takes a bound socket; ``close`` ends every connection."""

    def __init__(
        self, api: Api, host: LambdaHost, *, region: str = "us-east-1", tells_leaving: bool = True
    ) -> None:
        self._api = api
        self._host = host
        self.beside: dict[str, Callable[[], list[int]]] = {}
        """What else is killed with a function, by its name; each gives the process ids."""
        self._region = region
        self._tells_leaving = tells_leaving
        self._router = Router([*api.routes, *api.others])
        self._authorized: dict[tuple[str, ...], tuple[float, dict[str, Any]]] = {}
        self._runner: web.AppRunner | None = None

    async def start(self, listener: socket.socket) -> None:
        """Begin to serve on a bound socket."""
        app = web.Application(client_max_size=BODY_LIMIT)
        app.on_response_prepare.append(_hide_server)
        app.router.add_get("/_dev/invocations", self._show_invocations)
        app.router.add_post("/_dev/kill", self._kill)
        app.router.add_post("/_dev/invoke", self._invoke)
        # Every path, also one with a line break in it, which a dot would not match.
        app.router.add_route("*", r"/{path:[\s\S]*}", self._serve)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=0.5,
            auto_decompress=False,  # API Gateway hands a body on as it came
        )
        await self._runner.setup()
        await web.SockSite(self._runner, listener, backlog=512).start()

    async def close(self) -> None:
        """Stop serving; open requests get half a second."""
        if self._runner is not None:
            await self._runner.cleanup()

    # One request

    async def _serve(self, incoming: web.Request) -> web.StreamResponse:
        started = time.perf_counter()
        request_id = str(uuid.uuid4())
        status = 499  # as nginx says when the client went away
        try:
            response = await self._answer(incoming, request_id)
            status = response.status
            return response
        finally:
            spent = (time.perf_counter() - started) * 1000
            logger.info(
                "%s %s %s %.1f ms %s", incoming.method, incoming.path, status, spent, request_id
            )

    async def _answer(self, incoming: web.Request, request_id: str) -> web.StreamResponse:
        context: dict[str, Any] = {
            "requestId": request_id,
            "extendedRequestId": request_id,
            "httpMethod": incoming.method,
            "path": incoming.rel_url.raw_path,
            "stage": self._api.stage,
            "identity": {"sourceIp": incoming.remote or ""},
            "authorizer": {},
        }
        try:
            return await self._routed(incoming, request_id, context)
        except GatewayError as error:
            answer = error
        except TimeoutError:
            answer = GatewayError("INTEGRATION_TIMEOUT")
        except FunctionError as error:
            logger.error("%s %s failed: %s", incoming.method, incoming.path, error)
            answer = GatewayError("INTEGRATION_FAILURE")
        return self._gateway_response(answer, context, incoming.headers.get("Accept"))

    async def _routed(
        self, incoming: web.Request, request_id: str, context: dict[str, Any]
    ) -> web.StreamResponse:
        """The function's answer. Raises GatewayError, TimeoutError and FunctionError."""
        if incoming.method == "TRACE":
            return web.Response(status=405)  # before any API is looked at
        request = await _read(incoming)
        found = self._router.find(request.method, request.path)
        # Preflights have a route of their own on every path; the one for other methods comes last.
        preflight = request.method == "OPTIONS" and self._api.cors is not None
        if found is None or (preflight and found[0].method == ANY):
            return self._without_route(request)
        route, parameters = found
        context["resourcePath"] = route.path
        event = proxy_event(request, route, parameters, api=self._api, request_id=request_id)
        if route.authorizer is not None:
            await self._authorize(route, event, context)
        invocation = self._start(route.function, event)
        if route.streams:
            return await self._stream(incoming, invocation, request_id, route.timeout)
        payload = await self._payload(invocation, route.timeout)
        return _response(proxy_result(payload, request.header("Accept"), self._api), request_id)

    def _without_route(self, request: Request) -> web.Response:
        if (request.method, request.path) == ("GET", "/health"):
            return web.json_response({"status": "ok"})  # until the template has a route for it
        methods = self._router.methods(request.path)
        if request.method == "OPTIONS" and self._api.cors is not None and methods:
            allowed = {PREFLIGHT_METHODS: ",".join(sorted({*methods, "OPTIONS"}))}
            return web.json_response({}, headers={**allowed, **self._api.cors})
        raise GatewayError("MISSING_AUTHENTICATION_TOKEN")

    def _start(self, function: str, event: Mapping[str, Any]) -> Invocation:
        payload = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
        try:
            return self._host.invoke(function, payload)
        except FunctionError as error:
            raise GatewayError("REQUEST_TOO_LARGE") from error

    async def _payload(self, invocation: Invocation, timeout: float) -> bytes:
        """The whole answer of a function, which goes on if we stop waiting for it.

        Raises TimeoutError, and FunctionError when it failed.
        """
        whole = self._host.spawn(invocation.payload_or_error())
        whole.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.wait_for(asyncio.shield(whole), timeout)

    # Streaming

    async def _stream(
        self, incoming: web.Request, invocation: Invocation, request_id: str, timeout: float
    ) -> web.StreamResponse:
        response: web.StreamResponse | None = None
        try:
            source = _chunks(invocation, self._api.stream_idle)
            async with asyncio.timeout(timeout), aclosing(source) as chunks:
                head, rest = await _read_prelude(chunks)
                response = _open_stream(head, request_id)
                await response.prepare(incoming)
                if rest:
                    await response.write(rest)
                async for chunk in chunks:
                    await response.write(chunk)
                await response.write_eof()
                return response
        except (FunctionError, TimeoutError) as error:
            if response is not None:
                # The status line is out: only a connection that breaks off can tell the client.
                logger.error("%s broke off: %s", invocation.function.name, error)
                if incoming.transport is not None:
                    incoming.transport.abort()
                return response
            raise
        finally:
            if self._tells_leaving:
                invocation.abandon()
            else:
                self._host.spawn(invocation.consume())

    # Authorizers

    async def _authorize(
        self, route: Route, event: dict[str, Any], context: dict[str, Any]
    ) -> None:
        assert route.authorizer is not None  # noqa: S101
        authorizer = self._api.authorizers[route.authorizer]
        verdict = await self._verdict(authorizer, self._method_arn(route, event), event)
        context["authorizer"] = verdict["context"]
        if not allows(verdict["policy"], self._method_arn(route, event)):
            raise GatewayError("ACCESS_DENIED")
        event["requestContext"]["authorizer"] = verdict["context"]

    async def _verdict(
        self, authorizer: Authorizer, method_arn: str, event: dict[str, Any]
    ) -> dict[str, Any]:
        headers = {name.lower(): value for name, value in event["headers"].items()}
        query = event["queryStringParameters"] or {}
        identity = [headers.get(name.lower()) for name in authorizer.headers]
        identity += [query.get(name) for name in authorizer.query]
        if authorizer.ttl > 0 and not all(identity):
            raise GatewayError("UNAUTHORIZED")
        key = (authorizer.name, *(str(value) for value in identity))
        until, known = self._authorized.get(key, (0.0, {}))
        if authorizer.ttl > 0 and until > time.monotonic():
            return known
        verdict = await self._ask(authorizer, authorizer_event(event, method_arn))
        if authorizer.ttl > 0:
            self._authorized[key] = (time.monotonic() + authorizer.ttl, verdict)
        return verdict

    async def _ask(self, authorizer: Authorizer, event: dict[str, Any]) -> dict[str, Any]:
        started = time.monotonic()
        invocation = self._start(authorizer.function, event)
        try:
            answer = json.loads(await self._payload(invocation, INTEGRATION_TIMEOUT))
            context = {
                name: value if isinstance(value, str) else json.dumps(value)
                for name, value in (answer.get("context") or {}).items()
            }
            context["principalId"] = answer["principalId"]
            context["integrationLatency"] = str(int((time.monotonic() - started) * 1000))
            return {"policy": answer["policyDocument"], "context": context}
        except (FunctionError, TimeoutError) as error:
            if isinstance(error, FunctionError) and error.message == "Unauthorized":
                raise GatewayError("UNAUTHORIZED") from error
            logger.error("authorizer %s failed: %s", authorizer.name, error)
            raise GatewayError("AUTHORIZER_FAILURE") from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            logger.error("authorizer %s answered no policy: %r", authorizer.name, error)
            raise GatewayError("AUTHORIZER_CONFIGURATION_ERROR") from error

    def _method_arn(self, route: Route, event: Mapping[str, Any]) -> str:
        path = event["path"].lstrip("/")
        api = f"arn:aws:execute-api:{self._region}:{ACCOUNT}:{API_ID}"
        return f"{api}/{self._api.stage}/{event['httpMethod']}/{path}"

    # The gateway's own answers

    def _gateway_response(
        self, error: GatewayError, context: dict[str, Any], accept: str | None
    ) -> web.Response:
        status, message, name = DEFAULTS[error.kind]
        family = "DEFAULT_4XX" if status < 500 else "DEFAULT_5XX"
        settings = self._api.responses.get(error.kind) or self._api.responses.get(family) or PLAIN
        message = error.message or message
        context["error"] = {
            "message": message,
            "messageString": json.dumps(message),
            "responseType": error.kind,
        }
        templates = settings.templates or PLAIN.templates
        accepted = (accept or "").partition(",")[0].strip()
        content_type = accepted if accepted in templates else next(iter(templates))
        headers = {
            "Content-Type": content_type,
            "x-amzn-RequestId": context["requestId"],
            "x-amzn-ErrorType": name,
        }
        headers |= {
            header: _substitute(value, context) for header, value in settings.headers.items()
        }
        body = _substitute(templates[content_type], context).encode()
        return web.Response(status=settings.status or status, headers=headers, body=body)

    # /_dev

    async def _show_invocations(self, _: web.Request) -> web.Response:
        document = {
            "invocations": self._host.invocations(),
            "processes": self._host.processes(),
        }
        return web.json_response(document)

    async def _kill(self, request: web.Request) -> web.Response:
        """Kill what runs of a function; with ``next=N``, so many of its next invocations too, right
        after they begin."""
        function = _dev_function(request, self._host)
        self._host.doom(function, int(request.query.get("next", "0")))
        others = self.beside.get(function, list)
        return web.json_response({"killed": [*self._host.kill(function), *others()]})

    async def _invoke(self, request: web.Request) -> web.Response:
        """Run a function with the body as its event; an error is a 500 with its document."""
        function = _dev_function(request, self._host)
        try:
            invocation = self._host.invoke(function, await request.read() or b"{}")
            payload = await asyncio.shield(self._host.spawn(invocation.payload_or_error()))
            return web.Response(body=payload, content_type="application/json")
        except FunctionError as error:
            return web.Response(status=500, body=error.payload, content_type="application/json")


async def _read(incoming: web.Request) -> Request:
    try:
        body = await incoming.read()
    except web.HTTPRequestEntityTooLarge:
        raise GatewayError("REQUEST_TOO_LARGE") from None
    return Request(
        method=incoming.method,
        path=incoming.rel_url.raw_path,
        query=incoming.rel_url.raw_query_string,
        headers=[
            (name.decode("latin-1"), value.decode("utf-8", "replace"))
            for name, value in incoming.raw_headers
        ],
        body=body,
        source_ip=incoming.remote or "127.0.0.1",
        host=incoming.host,
    )


async def _chunks(invocation: Invocation, idle: float) -> AsyncGenerator[bytes, None]:
    """The chunks of a streamed response. Raises TimeoutError when none comes for ``idle`` s."""
    async with asyncio.timeout(idle):
        response = await asyncio.shield(invocation.response)
    if isinstance(response, bytes):
        raise malformed(
            "a streaming route needs a streamed response; this function answered a buffered one "
            "(is AWS_LAMBDA_EXEC_WRAPPER set for it?)"
        )
    async with aclosing(aiter(response)) as chunks:
        while True:
            async with asyncio.timeout(idle):
                chunk = await anext(chunks, None)
            if chunk is None:
                return
            yield chunk


async def _read_prelude(chunks: AsyncIterator[bytes]) -> tuple[Result, bytes]:
    """The head of a streamed response, and the bytes of the body that came along with it."""
    read = b""
    async for chunk in chunks:
        read += chunk
        head, separator, rest = read.partition(SEPARATOR)
        if separator:
            return prelude(head), rest
        if len(read) > PRELUDE_LIMIT:
            break
    raise malformed("the prelude does not end")


def _open_stream(head: Result, request_id: str) -> web.StreamResponse:
    response = web.StreamResponse(status=head.status)
    for name, value in head.headers:
        response.headers.add(name, value)
    response.headers["x-amzn-RequestId"] = request_id
    return response


def _response(result: Result, request_id: str) -> web.Response:
    response = web.Response(status=result.status, body=result.body)
    response.headers.pop("Content-Type", None)
    for name, value in result.headers:
        response.headers.add(name, value)
    response.headers["x-amzn-RequestId"] = request_id
    return response


async def _hide_server(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.pop("Server", None)


def _substitute(template: str, context: Mapping[str, Any]) -> str:
    """Replace ``$context.a.b``; what is not known becomes nothing, as in API Gateway."""

    def found(match: re.Match[str]) -> str:
        value: Any = context
        for name in match[1].split("."):
            value = value.get(name, "") if isinstance(value, Mapping) else ""
        return str(value)

    return re.sub(r"\$context\.(\w+(?:\.\w+)*)", found, template)


def _dev_function(request: web.Request, host: LambdaHost) -> str:
    """The function that a /_dev call names. Web pages may not make such calls."""
    if "Origin" in request.headers:
        raise web.HTTPForbidden(text="/_dev is not for web pages.\n")
    function = request.query.get("function", "")
    if function not in host.functions:
        raise web.HTTPNotFound(text=f"There is no function {function!r}.\n")
    return function
