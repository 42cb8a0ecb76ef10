"""The page at ``GET /``: files that are sent as they are, and what a browser may do with them.

They are in the package's folder ``playground``: HTML, one style sheet and JavaScript modules,
without a build step.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from robotchat.aws.api import Endpoint, Response
from robotchat.errors import NotFound

_KINDS: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True)
class _Asset:
    """A file of the page."""

    text: str
    content_type: str
    etag: str


@cache
def _assets() -> dict[str, _Asset]:
    """All files of the page, by name."""
    found = {}
    for file in files("robotchat").joinpath("playground").iterdir():
        kind = _KINDS.get(file.name.rpartition(".")[2])
        if kind is not None:
            text = file.read_text("utf-8")
            tag = f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'
            found[file.name] = _Asset(text, kind, tag)
    return found


def asset(name: str, if_none_match: str | None) -> Response[str]:
    """A file of the page; 304 without it for whoever has it already. Raises NotFound.

    A browser asks each time whether it has changed, so that no page is made of two versions.
    """
    found = _assets().get(name)
    if found is None:
        raise NotFound("The page has no such file.")
    headers: dict[str, Any] = {"ETag": found.etag, "Cache-Control": "no-cache"}
    if found.content_type.startswith("text/html"):
        headers |= _guarded()
    known = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    if "*" in known or found.etag in known:
        return Response(304, found.content_type, "", headers)
    return Response(200, found.content_type, found.text, headers)


def moved(to: str) -> Response[str]:
    """The way to another path."""
    return Response(302, "text/plain", "", {"Location": to, "Cache-Control": "no-cache"})


def here(endpoint: Endpoint) -> str:
    """The path of this request as its client wrote it, in which the stage may be."""
    event = endpoint.current_event.raw_event
    return str((event.get("requestContext") or {}).get("path") or event["path"])


def _guarded() -> dict[str, str]:
    """What a browser is told to do with the page, and above all not to do.

    Nothing is loaded from elsewhere but pictures from their store, to which uploads go as well;
    no text can become markup or a script; no other page can show this one.
    """
    from robotchat.aws.wiring import image_origin

    store = image_origin()
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": f"'self' blob: {store}",
        "connect-src": f"'self' {store}",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
        "Referrer-Policy": "no-referrer",
        "X-Frame-Options": "DENY",
    }
