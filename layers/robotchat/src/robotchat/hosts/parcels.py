"""JSON of any size in a document store whose records have a limit: cut into parts."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

from robotchat.errors import PayloadTooLarge
from robotchat.records import Put, Record, Records, Remove
from robotchat.text import read_json

MAX_PARTS = 250
"""Parts of one parcel: some 75 MB of pictures as base64."""

_PART = 300_000


def send(records: Records, name: str, value: Any, *, until: float) -> int:
    """Store a value under a name, to be forgotten at ``until`` (epoch seconds). Gives the number
    of its parts. Raises PayloadTooLarge."""
    packed = base64.b85encode(zlib.compress(json.dumps(value).encode(), 1)).decode()
    parts = [packed[at : at + _PART] for at in range(0, len(packed), _PART)]
    if len(parts) > MAX_PARTS:
        raise PayloadTooLarge("It is too large to be sent to the SD host's worker.")
    for number, part in enumerate(parts):
        there = records.get(*_key(name, number))
        version = there.version if there else 0
        data = {"part": part}
        records.commit(Put(Record(*_key(name, number), data, version, expires_at=until)))
    return len(parts)


def receive(records: Records, name: str, parts: int, *, remove: bool = False) -> Any:
    """The value that was stored under a name in so many parts; ``remove``: nobody else wants it.

    Raises LookupError when it, or a part of it, has gone.
    """
    packed = ""
    for number in range(parts):
        record = records.get(*_key(name, number))
        if record is None:
            raise LookupError(name)
        packed += record.data["part"]
        if remove:
            records.commit(Remove(record))
    return read_json(zlib.decompress(base64.b85decode(packed)))


def _key(name: str, number: int) -> tuple[str, str]:
    return f"parcel#{name}", f"{number:04d}"
