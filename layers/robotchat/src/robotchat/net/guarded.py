"""An HTTP client that can only reach the public internet, for URLs that callers name.

The guard stands where connections are made. There it does not matter how a URL was written, what
its name resolved to a moment ago, or which server redirected here.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import httpcore
import httpx

from robotchat.errors import ForbiddenUrl
from robotchat.net.addresses import is_public

Resolve = Callable[[str, int], Sequence[str]]
"""The IP addresses of a host name and port."""


def guarded_client(
    *,
    timeout: float,
    allow: Callable[[str], bool] | None = None,
    resolve: Resolve | None = None,
    network: httpcore.NetworkBackend | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> httpx.Client:
    """A client for one exchange, redirects included, which ends ``timeout`` seconds from now.

    It follows no redirects by itself, uses no proxies and no credentials of the environment, and
    raises ForbiddenUrl instead of connecting to an address that is not public, unless ``allow``
    says of that address that it may (the local stack). ``resolve``, ``network`` and
    ``ssl_context`` replace parts of the world in tests.
    """
    deadline = time.monotonic() + timeout
    guard = _Guard(
        network or httpcore.SyncBackend(), resolve or _resolve, allow or (lambda _: False), deadline
    )
    context = ssl_context or httpx.create_ssl_context(trust_env=False)
    return httpx.Client(
        transport=_Transport(guard, context),
        # An address that does not answer must leave time for the next one.
        timeout=httpx.Timeout(timeout, connect=min(timeout, 5.0)),
        trust_env=False,
        follow_redirects=False,
        headers={"user-agent": "robotchat"},
    )


class _Guard(httpcore.NetworkBackend):
    """Connects to addresses that were checked, and to nothing else."""

    def __init__(
        self,
        network: httpcore.NetworkBackend,
        resolve: Resolve,
        allow: Callable[[str], bool],
        deadline: float,
    ) -> None:
        self._network = network
        self._resolve = resolve
        self._allow = allow
        self._deadline = deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = self._within_time(host, port)
        # All of them, not only the one that would be used: a name with one inner address is not
        # an honest one.
        if not all(is_public(address) or self._allow(address) for address in addresses):
            raise ForbiddenUrl("The URL is not accepted: its host is not a public one.")
        failure: Exception = httpcore.ConnectError("the name has no address")
        for address in addresses:
            try:
                stream = self._network.connect_tcp(
                    address, port, _left(self._deadline, timeout), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _Stream(stream, self._deadline)
        raise failure

    def connect_unix_socket(self, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        raise ForbiddenUrl("The URL is not accepted.")

    def sleep(self, seconds: float) -> None:
        self._network.sleep(seconds)

    def _within_time(self, host: str, port: int) -> Sequence[str]:
        """Resolve a name; the system's resolver knows no deadline, so it gets a thread."""
        result: list[Sequence[str] | Exception] = []

        def work() -> None:
            try:
                result.append(self._resolve(host, port))
            except (OSError, UnicodeError) as error:
                result.append(error)

        thread = threading.Thread(target=work, name="resolve", daemon=True)
        thread.start()
        thread.join(_left(self._deadline, None))
        if not result:
            raise httpcore.ConnectTimeout("resolving the name took too long")
        if isinstance(result[0], Exception):
            raise httpcore.ConnectError("the name cannot be resolved") from result[0]
        return result[0]


def _resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, as the system sees them, in its order of preference."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _left(deadline: float, timeout: float | None) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the time is up")
    return left if timeout is None else min(left, timeout)


class _Stream(httpcore.NetworkStream):
    """A connection whose time runs out as a whole, however slowly the other side trickles."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._deadline, timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._deadline, timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left = _left(self._deadline, timeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


# --- httpx over it --------------------------------------------------------------------------------


class _Transport(httpx.BaseTransport):
    """httpx's requests over connections that a guard makes, one for each request."""

    def __init__(self, guard: _Guard, context: ssl.SSLContext) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=context, network_backend=guard, max_keepalive_connections=0
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not isinstance(request.stream, httpx.SyncByteStream):
            raise TypeError("the request's body must be readable at once")
        url = request.url
        with _as_httpx(request):
            answer = self._pool.handle_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(
                        scheme=url.raw_scheme,
                        host=url.raw_host,
                        port=url.port,
                        target=url.raw_path,
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        return httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=_Body(answer, request),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response, request: httpx.Request) -> None:
        self._answer = answer
        self._request = request

    def __iter__(self) -> Iterator[bytes]:
        with _as_httpx(self._request):
            yield from self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


_TRANSLATED: tuple[tuple[type[Exception], type[httpx.TransportError]], ...] = (
    (httpcore.ConnectTimeout, httpx.ConnectTimeout),
    (httpcore.ReadTimeout, httpx.ReadTimeout),
    (httpcore.WriteTimeout, httpx.WriteTimeout),
    (httpcore.PoolTimeout, httpx.PoolTimeout),
    (httpcore.ConnectError, httpx.ConnectError),
    (httpcore.ReadError, httpx.ReadError),
    (httpcore.WriteError, httpx.WriteError),
    (httpcore.UnsupportedProtocol, httpx.UnsupportedProtocol),
    (httpcore.LocalProtocolError, httpx.LocalProtocolError),
    (httpcore.RemoteProtocolError, httpx.RemoteProtocolError),
)


@contextlib.contextmanager
def _as_httpx(request: httpx.Request) -> Iterator[None]:
    """Raise httpcore's exceptions as those that users of httpx know."""
    try:
        yield
    except tuple(kind for kind, _ in _TRANSLATED) as error:
        for kind, translated in _TRANSLATED:
            if isinstance(error, kind):
                raise translated(str(error), request=request) from error
        raise
