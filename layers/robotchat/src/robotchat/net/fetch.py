"""Fetching what a caller's URL points at, without being led to an internal address.

A URL that a caller names is fetched by us, from inside the network: it must not reach the cloud's
metadata service, the SD hosts, or anything else that has no public address. Looking at the URL is
not enough, since names can resolve to anything, differently each time, and servers redirect. So the
rule holds where the connection is made: the name is resolved once, every address it has must be
public, and the connection goes to one of those very addresses (``robotchat.net.guarded``). What can
be refused by its form is refused earlier, by ``check_url``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from robotchat.errors import (
    ForbiddenUrl,
    ImageTooLarge,
    InvalidImage,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from robotchat.images import MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS, inspect

if TYPE_CHECKING:
    import httpx
from robotchat.net.addresses import check_url, is_loopback

MAX_REDIRECTS = 3


def fetch_image(
    url: str,
    *,
    max_bytes: int = MAX_IMAGE_BYTES,
    max_pixels: int = MAX_IMAGE_PIXELS,
    timeout: float = 30.0,
    allow_http_loopback: bool = False,
    param: str | None = None,
    client: Callable[[float], httpx.Client] | None = None,
) -> bytes:
    """The picture at a URL: https, from a public address, whole, and within the limits.

    ``timeout`` is for all of it, redirects included. ``client`` makes the HTTP client for so many
    seconds, and is there for tests. Raises ForbiddenUrl, ImageTooLarge, InvalidImage (also when
    the server says that there is none), UpstreamUnavailable and UpstreamTimeout.
    """
    import httpx

    from robotchat.net.guarded import guarded_client

    deadline = time.monotonic() + timeout
    check_url(url, allow_http_loopback=allow_http_loopback, param=param)
    made = (
        client(timeout)
        if client is not None
        else guarded_client(timeout=timeout, allow=is_loopback if allow_http_loopback else None)
    )
    try:
        with made as session:
            for _ in range(MAX_REDIRECTS + 1):
                answer = _get(session, url, max_bytes, deadline, param)
                if isinstance(answer, bytes):
                    inspect(answer, max_bytes=max_bytes, max_pixels=max_pixels, param=param)
                    return answer
                url = urljoin(url, answer)
                check_url(url, allow_http_loopback=allow_http_loopback, param=param)
    except ForbiddenUrl as error:
        error.param = param
        raise
    except httpx.TimeoutException as error:
        raise UpstreamTimeout("The image's URL did not answer in time.", param=param) from error
    except (httpx.InvalidURL, UnicodeError) as error:
        raise ForbiddenUrl("The URL is not accepted: it is malformed.", param=param) from error
    except httpx.TransportError as error:
        raise UpstreamUnavailable("The image's URL cannot be reached.", param=param) from error
    raise InvalidImage("The image's URL redirects too often.", param=param)


def _get(
    session: httpx.Client, url: str, max_bytes: int, deadline: float, param: str | None
) -> bytes | str:
    """The body at a URL, or where it redirects to."""
    with session.stream("GET", url, headers=_HEADERS) as response:
        status = response.status_code
        if status in (301, 302, 303, 307, 308) and "location" in response.headers:
            return str(response.headers["location"])
        if status == 429 or status >= 500:
            raise UpstreamUnavailable(f"The image's URL answered {status}.", param=param)
        if status != 200:
            raise InvalidImage(f"The image's URL answered {status}.", param=param)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            # It was asked not to: a few packed bytes may unpack to anything.
            raise InvalidImage("The image's URL answers with a packed body.", param=param)
        too_large = ImageTooLarge(f"The image has more than {max_bytes} bytes.", param=param)
        length = response.headers.get("content-length", "")
        if length.isdecimal() and int(length) > max_bytes:
            raise too_large
        body = bytearray()
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > max_bytes:
                raise too_large
            if time.monotonic() > deadline:
                raise UpstreamTimeout("The image's URL did not answer in time.", param=param)
        return bytes(body)


_HEADERS = {"accept": "image/png, image/jpeg, image/webp", "accept-encoding": "identity"}
