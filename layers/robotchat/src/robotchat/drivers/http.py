"""What the drivers of SD hosts share of HTTP: addresses, answers and failures, in our words."""

from __future__ import annotations

import ssl
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

from robotchat.errors import (
    Misconfigured,
    UpstreamError,
    UpstreamGarbage,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from robotchat.text import read_json

if TYPE_CHECKING:
    import httpx

MAX_ANSWER_BYTES = 512 * 1024 * 1024

# Some hosts close idle connections after 5 s. A POST on a connection that is being closed fails in
# a way that does not tell whether it was begun, so a connection is given up before that.
KEEP_ALIVE = 4.0


def address_of(
    base_url: str, auth: tuple[str, str] | None
) -> tuple[SplitResult, tuple[str, str] | None]:
    """A host's address without its query and password, which client libraries like to log, and the
    user name and password; those in the URL, if there are no others. Raises Misconfigured."""
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Misconfigured("An SD host's address must be an http(s) URL.")
    if auth is None and parts.username is not None:
        auth = (unquote(parts.username), unquote(parts.password or ""))
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="")
    return bare, auth


def tls_for(scheme: str) -> ssl.SSLContext:
    """How a connection is secured. Loading the certificate authorities takes long, and a plain
    connection needs none."""
    import httpx

    https = scheme == "https"
    return httpx.create_ssl_context() if https else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def failure(error: httpx.HTTPError) -> UpstreamError:
    """What it means that there is no answer."""
    import httpx

    if isinstance(error, httpx.ConnectTimeout | httpx.ConnectError):
        return UpstreamUnavailable("The SD host cannot be reached.")
    if isinstance(error, httpx.TimeoutException):
        return UpstreamTimeout("The SD host did not answer in time.")
    if isinstance(error, httpx.DecodingError):
        return UpstreamGarbage("The SD host's answer cannot be unpacked.")
    return UpstreamUnavailable("The connection to the SD host broke.")


def whole_body(response: httpx.Response, deadline: float) -> bytes:
    """The body, however slowly it trickles in and whatever it claims to be; ``deadline`` is of the
    monotonic clock. Raises UpstreamGarbage and UpstreamTimeout."""
    chunks = []
    size = 0
    for chunk in response.iter_bytes():
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            raise UpstreamGarbage("The SD host's answer is too large.")
        if time.monotonic() > deadline:
            raise UpstreamTimeout("The SD host did not answer in time.")
        chunks.append(chunk)
    return b"".join(chunks)


def json_of(data: bytes) -> Any:
    """The body as JSON. Raises UpstreamGarbage."""
    try:
        return read_json(data)
    except ValueError as error:
        raise UpstreamGarbage("The SD host's answer is not JSON that can be kept.") from error
