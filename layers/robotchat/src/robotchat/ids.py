"""Ids: unguessable ones, and those that follow from what a caller gave."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from base64 import b32encode
from collections.abc import Mapping
from typing import Any

from robotchat.errors import (
    InvalidRequest,
)

TENANT_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
"""How a tenant may be named, at every door: its name is part of keys, paths and message groups."""

TENANT_RULE = "A tenant is named by at most 64 letters, digits, -, _ or ., a letter or digit first."


def new_id(prefix: str) -> str:
    """An unguessable id: the prefix and 128 random bits."""
    return f"{prefix}_{_base32(secrets.token_bytes(16))}"


def id_for_key(prefix: str, tenant: str, key: str) -> str:
    """The id that an idempotency key stands for: the same for the same tenant and key."""
    # A key that is not even text stands for an id as well: that of the request it is refused with.
    digest = hashlib.sha256(f"{tenant}\n{key}".encode("utf-8", "surrogatepass")).digest()
    return f"{prefix}_{_base32(digest[:16])}"


def checked_key(key: str) -> str:
    """An idempotency key as a caller may choose it. Raises InvalidRequest for another one."""
    if not re.fullmatch(r"[!-~]{1,255}", key):
        raise InvalidRequest(
            "An idempotency key is 1 to 255 visible ASCII characters.", param="Idempotency-Key"
        )
    return key


def is_tenant(name: object) -> bool:
    """Whether this can be a tenant's name."""
    return isinstance(name, str) and re.fullmatch(TENANT_PATTERN, name) is not None


def fingerprint(request: Mapping[str, Any]) -> str:
    """A hash of a JSON request that does not depend on the order of its fields."""
    text = json.dumps(request, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _base32(data: bytes) -> str:
    return b32encode(data).decode().rstrip("=").lower()
