"""Whole numbers in requests have bounds, as every client and store of them has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def _parts(schema: Any, schemas: dict[str, Any], where: str, seen: set[str]) -> Iterator[Any]:
    if isinstance(schema, list):
        for part in schema:
            yield from _parts(part, schemas, where, seen)
    if not isinstance(schema, dict):
        return
    yield where, schema
    if isinstance(schema.get("$ref"), str):
        name = schema["$ref"].rpartition("/")[2]
        if name not in seen:
            seen.add(name)
            yield from _parts(schemas[name], schemas, name, seen)
    for name, part in schema.items():
        if name not in ("examples", "default", "const", "enum"):
            yield from _parts(part, schemas, f"{where}.{name}", seen)


def asked(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The schemas of all that requests may hold, and where each is."""
    schemas = document["components"]["schemas"]
    seen: set[str] = set()
    found: list[tuple[str, dict[str, Any]]] = []
    for path, item in document["paths"].items():
        for method, operation in item.items():
            where = f"{method} {path}"
            asks = [operation.get("parameters", []), operation.get("requestBody", {})]
            found += _parts(asks, schemas, where, seen)
    return found


def unbounded(document: dict[str, Any]) -> list[str]:
    return [
        where
        for where, schema in asked(document)
        if schema.get("type") == "integer" and not schema.keys() >= {"minimum", "maximum"}
    ]


def test_every_whole_number_of_a_request_says_its_bounds() -> None:
    document = json.loads((ROOT / "docs/openapi.json").read_text("utf-8"))
    # Of these any length is taken: they only shorten what is usual.
    assert {
        w for w in unbounded(document) if not w.endswith(("expires_in.anyOf", "deadline.anyOf"))
    } == set()
    # What pydantic could not turn into words of JSON Schema stands there under its own names.
    assert [w for w, schema in asked(document) if schema.keys() & {"ge", "le", "gt", "lt"}] == []


def test_an_unbounded_one_is_found() -> None:
    body = {"type": "object", "properties": {"n": {"anyOf": [{"type": "integer"}]}}}
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Body"}}}
    document = {
        "paths": {"/x": {"post": {"requestBody": {"content": content}}}},
        "components": {"schemas": {"Body": body}},
    }
    assert unbounded(document) == ["Body.properties.n.anyOf"]
