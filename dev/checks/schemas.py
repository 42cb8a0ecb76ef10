"""What makes of the OpenAPI document's schemas clients that compile.

JSON Schema says the same in several ways, and generators of clients understand some of them:
openapi-generator's Java cannot read a union that stands where it is used and holds a list, its Go
writes no default that is an object, its TypeScript imports a type ``Null`` that nobody declares.
What is valid stays as it was.
"""

from __future__ import annotations

import copy
from typing import Any

Json = dict[str, Any]

_UNIONS = ("anyOf", "oneOf")
_BOUNDS = {"minimum", "maximum"}


def for_clients(document: Json) -> Json:
    """The document with a name for each union of several types, no titles that only
    repeat a field's name, a format for integers of more than 32 bits, no default that is an object,
    and no schema for an answer that is always null."""
    document = copy.deepcopy(document)
    schemas: dict[str, Json] = document["components"]["schemas"]
    named: dict[str, Json] = {}
    for name, schema in schemas.items():
        _tidy_parts(schema, name, named)
        schema["title"] = name
    for item in document["paths"].values():
        for operation in item.values():
            name = _camel(operation["operationId"])
            for parameter in operation.get("parameters", ()):
                _tidy(parameter["schema"], name + _camel(parameter["name"]), named)
            for media in operation.get("requestBody", {}).get("content", {}).values():
                _tidy(media["schema"], f"{name}Body", named)
            for answer in operation["responses"].values():
                for media in answer.get("content", {}).values():
                    if media["schema"].get("type") == "null":
                        del media["schema"]
                    else:
                        _tidy(media["schema"], f"{name}Answer", named)
    if taken := named.keys() & schemas.keys():
        raise ValueError(f"A union and a model are both called {', '.join(sorted(taken))}.")
    for union in named.values():
        _tell_apart(union, schemas)
    document["components"]["schemas"] = dict(sorted({**schemas, **named}.items()))
    return document


def _tidy(schema: Json, name: str, named: dict[str, Json]) -> None:
    """Tidy a schema that stands where it is used; if it is a union, it is called ``name``."""
    schema.pop("title", None)
    if isinstance(schema.get("default"), dict) or isinstance(schema.get("const"), bool):
        schema.pop("default", None)
    if schema.get("type") == "integer":
        for bound in _BOUNDS & schema.keys():
            # As whole numbers: as fractions the largest of them are others than were meant.
            schema[bound] = min(int(schema[bound]), 2**63 - 1)
    if schema.get("type") == "integer" and schema.get("maximum", 2**63) >= 2**31:
        # Seeds, bytes and seconds since 1970 are longer than what Java and Go take for an integer.
        schema.setdefault("format", "int64")
    if isinstance(schema.get("type"), list):
        schema["anyOf"] = [{"type": kind} for kind in schema.pop("type")]
    _tidy_parts(schema, name, named)
    for key in _UNIONS:
        types = [part for part in schema.get(key, ()) if part.get("type") != "null"]
        if len(types) < 2:
            continue
        nullable = len(types) < len(schema.pop(key))
        if any(_is_any_object(part) for part in types):
            types = [part for part in types if _is_any_object(part) or not _is_object(part)]
        if len(types) > 1:
            named[name] = {"title": name, "anyOf": types}
            types = [{"$ref": f"#/components/schemas/{name}"}]
        if nullable:
            schema["anyOf"] = [*types, {"type": "null"}]
        else:
            schema.update(types[0])


def _is_object(schema: Json) -> bool:
    # Of the models, only enumerations are no objects, and they do not stand beside free objects.
    return schema.get("type") == "object" or "$ref" in schema


def _is_any_object(schema: Json) -> bool:
    """An object of any fields: every other one is such an object as well."""
    free = schema.get("additionalProperties") in (True, {})
    return schema.get("type") == "object" and free and "properties" not in schema


def _tell_apart(union: Json, schemas: dict[str, Json]) -> None:
    """Make a union of what cannot be two of its types at once a ``oneOf``, and say which field
    tells its objects apart."""
    parts: list[Json] = union["anyOf"]
    resolved = [schemas.get(part.get("$ref", "").rpartition("/")[2], part) for part in parts]
    kinds = [part.get("type") for part in resolved]
    if (
        None not in kinds
        and len(set(kinds)) == len(kinds)
        and not {"integer", "number"} <= set(kinds)
    ):
        union["oneOf"] = union.pop("anyOf")
    for field in resolved[0].get("properties", ()):
        values = [part.get("properties", {}).get(field, {}).get("const") for part in resolved]
        if None not in values and len(set(values)) == len(parts):
            union["oneOf"] = union.pop("anyOf")
            mapping = {value: part["$ref"] for value, part in zip(values, parts, strict=True)}
            union["discriminator"] = {"propertyName": field, "mapping": mapping}
            for part in resolved:
                part["required"] = [field, *(r for r in part.get("required", ()) if r != field)]
            return


def _tidy_parts(schema: Json, name: str, named: dict[str, Json]) -> None:
    for field, part in schema.get("properties", {}).items():
        _tidy(part, name + _camel(field), named)
    for key, called in (("items", "Item"), ("additionalProperties", "Value")):
        if isinstance(schema.get(key), dict):
            _tidy(schema[key], name + called, named)
    for key in _UNIONS:
        for part in schema.get(key, ()):
            _tidy(part, name, named)


def _camel(name: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in name.replace("-", "_").split("_"))
