"""Where an SD host is, and of what kind: ``comfyui+http://10.0.0.5:8188``."""

from __future__ import annotations

import re
from typing import cast

from robotchat.art.capabilities import HOST_KINDS, HostKind
from robotchat.errors import Misconfigured

_ADDRESS = re.compile(r"(?:([a-z-]+)\+)?(https?://.+)", re.IGNORECASE)


def split_kind(address: str) -> tuple[HostKind | None, str]:
    """The kind that an address names, if it does, and the URL. Raises Misconfigured."""
    found = _ADDRESS.fullmatch(address.strip())
    if found is None:
        raise Misconfigured("An SD host's address must be an http(s) URL.")
    kind, url = found[1], found[2]
    if kind is not None and kind.lower() not in HOST_KINDS:
        raise Misconfigured(f"An SD host is of the kind {', '.join(HOST_KINDS)}, not {kind}.")
    return cast(HostKind | None, kind and kind.lower()), url
