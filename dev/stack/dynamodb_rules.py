"""What DynamoDB refuses and MiniStack takes: keys of the wrong size, in indexes and queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_BYTES = {"pk": 2048, "sk": 1024}
"""Of a partition and of a sort key, in the table and in its indexes."""


def fault(asked: Mapping[str, Any]) -> str | None:
    """What AWS would say of a request, its parameters in DynamoDB's own JSON; None: nothing."""
    for name, value in _strings(asked):
        most = _BYTES.get(name.rpartition("_")[2])
        if most is not None and not 0 < _size(value) <= most:
            return _said(f"{name} has {_size(value)} of 1 to {most} bytes")
    values = asked.get("ExpressionAttributeValues") or {}
    partition = values.get(":p", {}).get("S")
    if partition is not None and not 0 < _size(partition) <= _BYTES["pk"]:
        return _said(f"a partition key of {_size(partition)} bytes")
    return None


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _said(why: str) -> str:
    return f"One or more parameter values were invalid: {why}"


def _strings(value: Any) -> Iterator[tuple[str, str]]:
    """Every attribute of a request that is text, however deep in it."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(inner, dict) and isinstance(inner.get("S"), str):
                yield name, inner["S"]
            else:
                yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
