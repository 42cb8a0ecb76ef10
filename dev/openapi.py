"""The OpenAPI 3.1 document of the API, made from its endpoints: ``python -m dev.openapi --write``.

Routes, parameters, bodies and answers are what the route functions declare. What every endpoint
has in common is added here, so that no handler repeats it: errors in the shape of its family, the
ways to authenticate, the request id, tags. ``--check`` says whether the committed document is
still what the endpoints say.
"""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import json
import sys
import tomllib
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

from dev.template import Template
from robotchat import errors
from robotchat.aws.api import Endpoint
from robotchat.aws.problems import Family, InvalidFields, NotJson, family_of, problem

ROOT = Path(__file__).parents[1]
COMMITTED = Path("layers/robotchat/src/robotchat/aws/openapi.json")

Json = dict[str, Any]

TAGS = {
    "sd": "Stable Diffusion",
    "controlnet": "ControlNet",
    "gpt": "GPT",
    "chat": "Chat",
    "jobs": "Jobs",
    "admin": "Operation",
}
FAMILY_SCHEMAS: dict[Family, str] = {
    "a1111": "A1111Error",
    "openai": "OpenAIError",
    "robotchat": "Problem",
}


class Disagreement(Exception):
    """The template and the code, or two endpoints, say different things."""


def load_handler(app: Path) -> Any:
    """The handler in an ``app.py``."""
    spec = importlib.util.spec_from_file_location(f"{app.parent.name}_app", app)
    if spec is None or spec.loader is None:
        raise Disagreement(f"{app} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.handler


def build(root: Path = ROOT) -> Json:
    """The document. Raises `Disagreement` when the template's routes are not the code's."""
    template = Template(root / "template.yaml")
    folders = template.folders()
    routes: dict[str, set[tuple[str, str]]] = {}
    for route in template.api().routes:
        routes.setdefault(route.function, set()).add((route.path, route.method.lower()))

    paths: dict[str, Json] = {}
    schemas: dict[str, Json] = {}
    for function in sorted(routes):
        app = folders[function] / "app.py"
        handler = load_handler(app)
        if not isinstance(handler, Endpoint):
            raise Disagreement(f"{app.relative_to(root)}: handler is not an Endpoint.")
        part = _plain(handler)
        declared = {(path, method) for path, item in part["paths"].items() for method in item}
        if declared != routes[function]:
            raise Disagreement(
                f"{app.relative_to(root)} answers {_named(declared)}, "
                f"but the template routes {_named(routes[function])} to it."
            )
        for name, schema in part.get("components", {}).get("schemas", {}).items():
            if schemas.setdefault(name, schema) != schema:
                raise Disagreement(f"Two different models are called {name}.")
        for path, item in part["paths"].items():
            for method, operation in item.items():
                paths.setdefault(path, {})[method] = _complete(operation, path, handler, app)
    return _document(root, paths, schemas)


def _named(routes: set[tuple[str, str]]) -> str:
    return ", ".join(f"{method.upper()} {path}" for path, method in sorted(routes)) or "nothing"


def _plain(handler: Endpoint) -> Json:
    """What Powertools makes of one endpoint, without its own idea of errors."""
    text = handler.get_openapi_json_schema(title="robotchat", version="0", openapi_version="3.1.0")
    part: Json = json.loads(text)
    schemas = part.get("components", {}).get("schemas", {})
    for name in ("HTTPValidationError", "ValidationError", "ResponseValidationError"):
        schemas.pop(name, None)
    for item in part["paths"].values():
        for operation in item.values():
            operation["responses"] = {
                status: response
                for status, response in operation["responses"].items()
                if "ValidationError" not in json.dumps(response)
            }
    return part


def _complete(operation: Json, path: str, handler: Endpoint, app: Path) -> Json:
    """One operation, with all that endpoints have in common."""
    family = handler.family or family_of(path)
    summary = (inspect.getdoc(sys.modules.get("", None)) or "").strip()
    summary, description = _said(app)
    complete: Json = {
        "tags": [TAGS[app.parents[1].name]],
        "summary": summary,
        "operationId": app.parent.name,
    }
    if handler.scope:
        needs = f"Needs a key with the scope `{handler.scope}`."
        description = f"{description}\n\n{needs}".strip()
    if description:
        complete["description"] = description
    if handler.public:
        complete["security"] = []
    for key in ("parameters", "requestBody", "deprecated"):
        if key in operation:
            complete[key] = operation[key]
    complete["responses"] = {
        status: _answer(response) for status, response in operation["responses"].items()
    }
    for status in _error_statuses(complete, family, handler):
        complete["responses"].setdefault(
            status, {"$ref": f"#/components/responses/{FAMILY_SCHEMAS[family]}{status}"}
        )
    return complete


def _said(app: Path) -> tuple[str, str]:
    """Summary and description, from the docstring that begins ``VERB /path: summary.``."""
    import ast

    docstring = ast.get_docstring(ast.parse(app.read_text("utf-8"))) or ""
    first, _, rest = docstring.partition("\n")
    _, _, summary = first.partition(": ")
    return (summary[:1].upper() + summary[1:]).rstrip("."), rest.strip()


def _answer(response: Json) -> Json:
    """A declared answer; streams move from JSON to the media type that they are."""
    answer = {**response, "headers": {"x-request-id": {"$ref": "#/components/headers/RequestId"}}}
    content = response.get("content") or {}
    moved: Json = {}
    for kind, media in content.items():
        schema = media.get("schema", {})
        kept = []
        for alternative in schema.get("anyOf", [schema]):
            stream = alternative.get("contentMediaType")
            if stream:
                moved[stream] = {"schema": {"type": "string"}}
            else:
                kept.append(alternative)
        if kept:
            whole = schema if len(kept) == len(schema.get("anyOf", [schema])) else None
            one = kept[0] if len(kept) == 1 else {"anyOf": kept}
            moved[kind] = {**media, "schema": whole if whole is not None else one}
    if content:
        answer["content"] = moved
    return answer


def _error_statuses(operation: Json, family: Family, handler: Endpoint) -> Iterator[str]:
    invalid = "400" if family == "openai" else "422"
    if "requestBody" in operation:
        yield from ("422",) if family == "a1111" else ("400", "413", "415", invalid)
    if "parameters" in operation:
        yield invalid
    if not handler.public:
        yield from ("401", "403", "429")
    if "{" in json.dumps([p["in"] for p in operation.get("parameters", [])]):
        yield "404"
    yield from ("4XX", "5XX")


def _document(root: Path, paths: dict[str, Json], schemas: dict[str, Json]) -> Json:
    project = tomllib.loads((root / "layers/robotchat/pyproject.toml").read_text("utf-8"))
    return {}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    return 0


if __name__ == "__main__":
    sys.exit(main())
