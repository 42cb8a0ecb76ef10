"""The OpenAPI 3.1 document of the API, made from its endpoints.

``python -m dev.checks.openapi --write`` writes it.
Routes, parameters, bodies and answers are what the route functions declare. What every endpoint
has in common is added here, so that no handler repeats it: errors in the shape of its family, the
ways to authenticate, the request id, tags. ``--check`` says whether the committed document is
still what the endpoints say.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import sys
import tomllib
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from dev.checks.schemas import for_clients
from dev.template import Template
from robotchat.aws.api import Endpoint
from robotchat.aws.problems import Family, family_of, problem
from robotchat.errors import LimitExceeded, RobotchatError

ROOT = Path(__file__).parents[2]
COMMITTED = Path("layers/robotchat/src/robotchat/aws/openapi.json")
PROJECT = Path("layers/robotchat/pyproject.toml")

Json = dict[str, Any]

TAGS = {
    "sd": "Stable Diffusion",
    "controlnet": "ControlNet",
    "gpt": "GPT",
    "chat": "Chat",
    "jobs": "Jobs",
    "admin": "Operation",
}
OPERATION_IDS = {
    # OpenAI's own names, where the folder has another.
    "chat_completions": "create_chat_completion",
    "completions": "create_completion",
    "embeddings": "create_embedding",
    "models": "list_models",
    "model": "retrieve_model",
    "responses": "create_response",
    "response_input_items": "list_response_input_items",
    # Every class of a PHP client has a method getConfig already.
    "get_config": "get_service_config",
    "set_config": "set_service_config",
}
"""What an operation is called in clients, where that is not the name of its folder."""

ERROR_SCHEMAS: dict[Family, str] = {
    "a1111": "A1111Error",
    "openai": "OpenAIError",
    "robotchat": "Problem",
}


PARAMETERS = {
    "after": "The id of the last item that is known already: those behind it are given.",
    "alias_names": "Whether names are those that other programs know them by.",
    "conversation_id": "The `id` of a conversation.",
    "cursor": "The `next_cursor` of the page before; the first page when left out.",
    "delivery_id": "The `id` of a webhook delivery.",
    "if-match": "The `ETag` of the version that is to be replaced; any when left out.",
    "if-none-match": "The `ETag` of the answer that is known already: 304 if it is still the same.",
    "item_id": "The `id` of an item of the conversation.",
    "job_id": "The `id` of a job.",
    "key_id": "The `id` of a key, which is not its secret.",
    "kind": "Only jobs of this kind.",
    "last-event-id": "The id of the last event that was received: only what is new is told.",
    "limit": "How many a page has at most.",
    "model": "The `id` of a language model.",
    "order": "`asc`, the oldest first, or `desc`.",
    "prefer": "`respond-async`, or `wait=N`: answer with the job after so many seconds at most, "
    "and go on with it.",
    "response_id": "The `id` of a response.",
    "skip_current_image": "Whether to leave out the picture as it is so far.",
    "starting_after": "With `stream`: only the events behind the one with this `sequence_number`.",
    "state": "Only deliveries that stand so.",
    "status": "Only jobs that stand so.",
    "stream": "Whether to give the response's events, as server-sent events.",
    "tenant": "The name of a tenant.",
    "update": "Whether to have the hosts look for new ones first.",
}
"""What parameters mean that do not say so themselves: the same wherever they occur."""


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
        # A parameter that takes slashes too ({name+}) is an ordinary one in a document.
        path = route.path.replace("+}", "}")
        routes.setdefault(route.function, set()).add((path, route.method.lower()))

    paths: dict[str, Json] = {}
    schemas: dict[str, Json] = {}
    for function in sorted(routes):
        app = folders[function] / "app.py"
        handler = load_handler(app)
        if not isinstance(handler, Endpoint):
            raise Disagreement(f"{app.relative_to(root)}: handler is not an Endpoint.")
        part = _plain(handler)
        # What is no part of the API (`include_in_schema`) is not in its document.
        declared = {
            (str(route.openapi_path), route.method.lower())
            for route in handler._static_routes + handler._dynamic_routes
        }
        if declared != routes[function]:
            raise Disagreement(
                f"{app.relative_to(root)} answers {_named(declared)}, "
                f"but the template routes {_named(routes[function])} to it."
            )
        for name, schema in part.get("components", {}).get("schemas", {}).items():
            if schemas.setdefault(name, schema) != schema:
                raise Disagreement(f"Two different models are called {name}.")
        for path, item in (part.get("paths") or {}).items():
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
    for item in (part.get("paths") or {}).values():
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
    summary, description = _said(app)
    complete: Json = {
        "tags": [TAGS[app.parents[1].name]],
        "summary": summary,
        "operationId": OPERATION_IDS.get(app.parent.name, app.parent.name),
    }
    if handler.scopes:
        named = "` or `".join(handler.scopes)
        needs = f"Needs a key with the scope `{named}`."
        description = f"{description}\n\n{needs}".strip()
    if description:
        complete["description"] = description
    if handler.public:
        complete["security"] = []
    for key in ("parameters", "requestBody", "deprecated"):
        if key in operation:
            complete[key] = operation[key]
    if "parameters" in complete:
        complete["parameters"] = [_explained(one, app) for one in complete["parameters"]]
    if "requestBody" in complete and not _needs_body(handler, path):
        complete["requestBody"] = {**complete["requestBody"], "required": False}
    if handler.forms:
        complete["requestBody"] = _with_form(complete["requestBody"], handler, path)
    complete["responses"] = {
        status: _answer(response) for status, response in operation["responses"].items()
    }
    for status, (said, with_body) in ALSO.get(app.parent.name, {}).items():
        [usual] = complete["responses"].values()
        bare = {"description": said, "headers": REQUEST_ID}
        complete["responses"][status] = {**usual, **bare} if with_body else bare
    for status in _error_statuses(complete, family, handler.public):
        complete["responses"].setdefault(
            status, {"$ref": f"#/components/responses/{ERROR_SCHEMAS[family]}{status}"}
        )
    complete["responses"] = dict(sorted(complete["responses"].items()))
    return complete


ALSO: Mapping[str, Mapping[str, tuple[str, bool]]] = {
    "text2image": {"202": ("The job, where the caller prefers not to wait any longer.", True)},
    "image2image": {"202": ("The job, where the caller prefers not to wait any longer.", True)},
    "chat_text2image": {"200": ("With `dry_run`: what it would cost.", True)},
    "chat_image2image": {"200": ("With `dry_run`: what it would cost.", True)},
    "cancel_job": {"200": ("The job has ended.", True)},
    "get_job": {"304": ("It is as `If-None-Match` has it.", False)},
    "list_jobs": {"304": ("They are as `If-None-Match` has them.", False)},
    "job_events": {"204": ("The end was told already, by `Last-Event-ID`.", False)},
}
"""What endpoints answer beside their usual status: by status, what that says, and whether it comes
with the usual bodies."""


def _explained(parameter: Json, app: Path) -> Json:
    """A parameter with its meaning, without which neither people nor language models can use it."""
    if parameter.get("description") or parameter["schema"].get("description"):
        return parameter
    name = parameter["name"]
    if name not in PARAMETERS:
        raise Disagreement(f"{app.parent.name}: nothing says what the parameter {name} means.")
    return {**parameter, "description": PARAMETERS[name]}


def _with_form(body: Json, handler: Endpoint, path: str) -> Json:
    """A body that may be a form as well: the same fields, with its pictures as files."""
    [route] = [
        route
        for route in handler._static_routes + handler._dynamic_routes
        if route.openapi_path == path
    ]
    [field] = route.dependant.body_params
    model: Json = field.type_.model_json_schema()
    # A form has no null: what is not given is left out.
    fields = {
        name: _without_null(schema)
        for name, schema in model["properties"].items()
        if name != "images"
    }
    file: Json = {"type": "string", "format": "binary"}
    # A form repeats a field for each of its values: one file is a list of one.
    fields["image"] = {
        "description": "One file, or several (also as `image[]`).",
        "type": "array",
        "items": file,
    }
    if "mask" in fields:
        fields["mask"] = {**file, "description": model["properties"]["mask"]["description"]}
    required = ["image" if name == "images" else name for name in model.get("required", ())]
    form = {"type": "object", "properties": fields, "required": required}
    return {**body, "content": {**body["content"], "multipart/form-data": {"schema": form}}}


def _without_null(schema: Json) -> Json:
    if "anyOf" not in schema:
        return schema
    kinds = [kind for kind in schema["anyOf"] if kind.get("type") != "null"]
    rest = {
        name: value
        for name, value in schema.items()
        if name != "anyOf" and not (name == "default" and value is None)
    }
    return {**rest, **(kinds[0] if len(kinds) == 1 else {"anyOf": kinds})}


def _needs_body(handler: Endpoint, path: str) -> bool:
    """Whether a route cannot do without its body, which Powertools takes for granted."""
    routes = handler._static_routes + handler._dynamic_routes
    fields = (route.dependant.body_params for route in routes if route.openapi_path == path)
    return any(field.required for body in fields for field in body)


def _said(app: Path) -> tuple[str, str]:
    """Summary and description, from the docstring that begins ``VERB /path: summary.``."""
    docstring = ast.get_docstring(ast.parse(app.read_text("utf-8"))) or ""
    first, _, rest = docstring.partition("\n")
    _, _, summary = first.partition(": ")
    return (summary[:1].upper() + summary[1:]).rstrip("."), rest.strip()


def _answer(response: Json) -> Json:
    """A declared answer; streams move from JSON to the media type that they are."""
    content: Json = {}
    for kind, media in (response.get("content") or {}).items():
        alternatives = media["schema"].get("anyOf", [media["schema"]])
        streams = [a["contentMediaType"] for a in alternatives if "contentMediaType" in a]
        models = [a for a in alternatives if "contentMediaType" not in a]
        if not streams:
            content[kind] = media
        elif models:
            content[kind] = {"schema": models[0] if len(models) == 1 else {"anyOf": models}}
        content.update({stream: {"schema": _STREAMED.get(stream, _TEXT)} for stream in streams})
    answer: Json = {"description": response["description"], "headers": REQUEST_ID}
    return answer | ({"content": content} if content else {})


_TEXT: Json = {"type": "string"}
_STREAMED: dict[str, Json] = {
    # Of each event, whose `data` depends on its kind: no one schema for all.
    "text/event-stream": {"description": "Server-sent events, until the stream ends."}
}


def _error_statuses(operation: Json, family: Family, public: bool) -> Iterator[str]:
    """The errors that an operation is sure to know; the ranges stand for what its work brings."""
    invalid = "400" if family == "openai" else "422"
    if "requestBody" in operation:
        yield "413"
        yield from ("422",) if family == "a1111" else ("400", "415", invalid)
    if "parameters" in operation:
        yield invalid
    if any(parameter["in"] == "path" for parameter in operation.get("parameters", [])):
        yield "404"
    if not public:
        yield from ("401", "403", "429")
    yield from ("4XX", "5XX")


def _errors(kind: type[RobotchatError] = RobotchatError) -> Iterator[type[RobotchatError]]:
    yield kind
    for sub in kind.__subclasses__():
        if sub.__module__ == RobotchatError.__module__:
            yield from _errors(sub)


def _error_response(family: Family, status: str) -> Json:
    """The component for one status, with the codes that it may have and an example."""
    kinds = [
        kind
        for kind in _errors()
        if str(problem(kind("-"), family, "-").status).startswith(status.rstrip("X"))
    ]
    if status.isdigit():
        description = f"{HTTPStatus(int(status)).phrase}: "
    else:
        description = f"Any other {'client' if status == '4XX' else 'server'} error: "
    codes = sorted({kind.code for kind in kinds})
    example = problem(kinds[0]("What is wrong, in a sentence."), family, "b7b0a6f4-3a0d")
    headers = dict(REQUEST_ID)
    if any(kind.retryable for kind in kinds):
        headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
    if LimitExceeded in kinds:
        headers |= {name: {"$ref": f"#/components/headers/{ref}"} for name, ref in RATES.items()}
    content = {
        example.content_type: {
            "schema": {"$ref": f"#/components/schemas/{ERROR_SCHEMAS[family]}"},
            "example": example.body,
        }
    }
    # What the gateway refuses by itself is a problem document everywhere.
    problems = {"schema": {"$ref": "#/components/schemas/Problem"}}
    content.setdefault("application/problem+json", problems)
    return {
        "description": description + ", ".join(f"`{code}`" for code in codes) + ".",
        "headers": headers,
        "content": content,
    }


def _document(root: Path, paths: dict[str, Json], schemas: dict[str, Json]) -> Json:
    project = tomllib.loads((root / PROJECT).read_text("utf-8"))["project"]
    used = {operation["tags"][0] for item in paths.values() for operation in item.values()}
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "robotchat",
            "version": project["version"],
            "description": project["description"],
            "license": {"name": project["license"], "identifier": project["license"]},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"apiKey": []}, {"basic": []}],
        "tags": [{"name": tag} for tag in TAGS.values() if tag in used],
        "paths": {path: paths[path] for path in sorted(paths)},
        "components": {
            "schemas": dict(sorted({**schemas, **COMMON_SCHEMAS}.items())),
            "responses": {
                f"{ERROR_SCHEMAS[family]}{status}": _error_response(family, status)
                for family, status in sorted(_used_errors(paths))
            },
            "headers": COMMON_HEADERS,
            "securitySchemes": SECURITY,
        },
    }
    return for_clients(document)


def _used_errors(paths: dict[str, Json]) -> set[tuple[Family, str]]:
    by_schema = {schema: family for family, schema in ERROR_SCHEMAS.items()}
    used = set()
    for item in paths.values():
        for operation in item.values():
            for status, response in operation["responses"].items():
                if "$ref" in response:
                    name = response["$ref"].rpartition("/")[2].removesuffix(status)
                    used.add((by_schema[name], status))
    return used


REQUEST_ID: Json = {"x-request-id": {"$ref": "#/components/headers/RequestId"}}
COMMON_HEADERS: Json = {
    "RequestId": {
        "description": "Names this request in the logs; your own, if you send one.",
        "schema": {"type": "string"},
    },
    "RetryAfter": {
        "description": "Seconds after which the same request may succeed.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "RateLimit": {
        "description": "The limit that was reached; `details.limit` names it.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "RateRemaining": {
        "description": "What is left of it.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "RateReset": {
        "description": "Seconds until there is more.",
        "schema": {"type": "integer", "minimum": 0},
    },
}
RATES = {
    "x-ratelimit-limit": "RateLimit",
    "x-ratelimit-remaining": "RateRemaining",
    "x-ratelimit-reset": "RateReset",
}
"""Headers that come with the refusal of a tenant's limit."""
SECURITY: Json = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "Any user name; the key is the password.",
    },
}

_CODE = {"type": "string", "description": "Stable, for programs.", "examples": ["not_found"]}
_RETRYABLE = {"type": "boolean", "description": "Whether the same request may succeed later."}
_SHARED: Json = {
    "code": _CODE,
    "retryable": _RETRYABLE,
    "request_id": {"type": "string"},
    "details": {"type": "object", "description": "Further facts, for programs."},
}
COMMON_SCHEMAS: dict[str, Json] = {
    "Problem": {
        "type": "object",
        "description": "A problem document (RFC 9457).",
        "required": ["type", "title", "status", "detail", "code", "retryable", "request_id"],
        "properties": {
            "type": {"type": "string", "format": "uri"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            **_SHARED,
            "param": {"type": "string", "description": "The field that is wrong."},
            "errors": {
                "description": "Each field that is wrong; a sentence where the gateway answers "
                "by itself, for clients of the web UI.",
                "anyOf": [
                    {"type": "string"},
                    {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["detail", "location", "pointer", "code"],
                            "properties": {
                                "detail": {"type": "string"},
                                "location": {"type": "string", "examples": ["body", "query"]},
                                "pointer": {
                                    "type": "string",
                                    "description": "JSON pointer (RFC 6901).",
                                },
                                "code": {"type": "string"},
                            },
                        },
                    },
                ],
            },
            "error": {
                "type": "object",
                "description": "The same for OpenAI's clients, where the gateway answers by "
                "itself.",
            },
        },
    },
    "OpenAIError": {
        "type": "object",
        "description": "An error as OpenAI's API has it.",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "param", "code", "retryable", "request_id"],
                "properties": {
                    "message": {"type": "string"},
                    "type": {"type": "string"},
                    "param": {"type": ["string", "null"]},
                    **_SHARED,
                },
            }
        },
    },
    "A1111Error": {
        "type": "object",
        "description": "An error as the web UI's API has it.",
        "required": ["error", "detail", "body", "errors", "code", "retryable", "request_id"],
        "properties": {
            "error": {"type": "string"},
            "detail": {
                "description": "A sentence, or each field that is wrong.",
                "anyOf": [
                    {"type": "string"},
                    {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["loc", "msg", "type"],
                            "properties": {
                                "loc": {
                                    "type": "array",
                                    "items": {"type": ["string", "integer"]},
                                },
                                "msg": {"type": "string"},
                                "type": {"type": "string"},
                            },
                        },
                    },
                ],
            },
            "body": {"type": "string"},
            "errors": {"type": "string"},
            **_SHARED,
        },
    },
}


def written(root: Path = ROOT) -> str:
    """The document as it is committed."""
    return json.dumps(build(root), indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Check the committed document, or write it."""
    parser = argparse.ArgumentParser(prog="python -m dev.checks.openapi", description=__doc__)
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--check", action="store_true", help="fail if the document is not current")
    choice.add_argument("--write", action="store_true", help="write the document")
    asked = parser.parse_args()
    try:
        text = written()
    except Disagreement as error:
        print(error, file=sys.stderr)
        return 1
    committed = ROOT / COMMITTED
    if asked.write:
        committed.write_text(text, "utf-8")
        return 0
    if not committed.exists() or committed.read_text("utf-8") != text:
        print(
            f"{COMMITTED} is not current: run `python -m dev.checks.openapi --write`.",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
