"""What openapi-generator is told to make clients of the OpenAPI document: ``docs/clients/*.yaml``.

Most of it is the same for every version of the document. Which unions a language has no type for
is read from it: openapi-generator's Java and TypeScript lose what is a list or a free object, so
that they stand for any value there.
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
    loose = list(_untold(document))
    return {
        FOLDER / f"{name}.yaml": _SHARED.format(file=FOLDER / f"{name}.yaml", generator=generator)
        + text
        + (_mapped(loose, anything) if anything else "")
        for name, generator, text, anything in (
            ("go", "go", _GO, ""),
            ("java", "java", _JAVA, "Object"),
            ("php", "php", _PHP, "mixed"),
            ("typescript", "typescript-fetch", _TYPESCRIPT, "any"),
        )
    }


def _untold(document: dict[str, Any]) -> Iterator[str]:
    """The unions one part of which is a list or an object without a name."""
    for name, schema in document["components"]["schemas"].items():
        parts = schema.get("anyOf", schema.get("oneOf", ()))
        if any(part.get("type") in ("array", "object") for part in parts):
            yield name


def _mapped(names: list[str], anything: str) -> str:
    lines = "".join(f"  {name}: {anything}\n" for name in names)
    return f"# Of several types, which is any value in this language.\nschemaMappings:\n{lines}"
