"""What DynamoDB refuses and the embedded AWS takes: keys of the wrong size, in indexes and queries.

It stands in front of the embedded AWS in every function that is recorded, and in the tests of the
stores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_BYTES = {"pk": 2048, "sk": 1024}
"""Of a partition and of a sort key, in the table and in its indexes."""


def check(operation: str, parameters: Mapping[str, Any]) -> None:
    """Raise ValidationException for what AWS would not do."""
    for name, value in _strings(parameters):
        most = _BYTES.get(name.rpartition("_")[2])
        if most is not None and not 0 < len(value.encode()) <= most:
            raise _refused(operation, f"{name} has {len(value.encode())} of 1 to {most} bytes")
    for name, value in parameters.get("ExpressionAttributeValues", {}).items():
        if name == ":p" and not 0 < len(value["S"].encode()) <= _BYTES["pk"]:
            raise _refused(operation, f"a partition key of {len(value['S'])} characters")


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


def _refused(operation: str, why: str) -> Exception:
    from botocore.exceptions import ClientError

    message = f"One or more values were invalid: {why}"
    return ClientError({"Error": {"Code": "ValidationException", "Message": message}}, operation)
