"""What openapi-generator is told to make clients of the OpenAPI document: ``docs/clients/*.yaml``.

Most of it is the same for every version of the document. Which unions a language has no type for
is read from it: they stand for any value there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path("docs/clients")

_SHARED = """\
# Made by `make docs`. Use: openapi-generator-cli generate -i docs/openapi.json -c {file} -o OUT
generatorName: {generator}
globalProperties: {{apiTests: "false", modelTests: "false"}}
"""
_JAVA = """\
library: native
additionalProperties:
  groupId: robotchat
  artifactId: robotchat-client
  invokerPackage: robotchat.client
  apiPackage: robotchat.client.api
  modelPackage: robotchat.client.model
  hideGenerationTimestamp: "true"
  openApiNullable: "false"
  useJakartaEe: "true"
  # Parameters by their names, so that a new one changes no program.
  useSingleRequestParameter: "true"
  # An answer that may be a job or a quote is told by its field `object`.
  useOneOfDiscriminatorLookup: "true"
"""
_PHP = """\
additionalProperties:
  invokerPackage: Robotchat\\Client
  composerPackageName: robotchat/client
# Every model has a method getModelName already; on the wire the field stays `model_name`.
nameMappings: {model_name: checkpoint_name}
"""
_TYPESCRIPT = """\
additionalProperties:
  npmName: robotchat-client
  supportsES6: "true"
  # JSON as it is on the wire: conversions would lose lists where there may be a text as well.
  withoutRuntimeChecks: "true"
  modelPropertyNaming: original
typeMappings: {DateTime: string}
"""
_GO = """\
additionalProperties:
  packageName: robotchat
  isGoSubmodule: "true"
  # Two enumerations may have the same value.
  enumClassPrefix: "true"
"""


def configurations(document: dict[str, Any]) -> dict[Path, str]:
    """Each generator's configuration, by its path in the repository."""
    unions = list(_unions(document))
    loose = [name for name, parts in unions if any(not _has_class(part) for part in parts)]
    return {
        FOLDER / f"{name}.yaml": _SHARED.format(file=FOLDER / f"{name}.yaml", generator=generator)
        + text
        + mapped
        for name, generator, text, mapped in (
            ("go", "go", _GO, ""),
            ("java", "java", _JAVA, _mapped("schemaMappings", loose, "Object")),
            # Its one class for all types of a union takes values of the last of them only.
            ("php", "php", _PHP, _mapped("typeMappings", [name for name, _ in unions], "mixed")),
            ("typescript", "typescript-fetch", _TYPESCRIPT, ""),
        )
    }


def _unions(document: dict[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    """The schemas that are one of several types, each with these."""
    for name, schema in document["components"]["schemas"].items():
        if parts := schema.get("anyOf", schema.get("oneOf")):
            yield name, parts


def _has_class(schema: dict[str, Any]) -> bool:
    """Whether Java has a class to read this with: not for lists and for objects without a name."""
    return schema.get("type") not in ("array", "object")


def _mapped(key: str, names: list[str], anything: str) -> str:
    lines = "".join(f"  {name}: {anything}\n" for name in names)
    return f"# Of several types, which is any value in this language.\n{key}:\n{lines}"
