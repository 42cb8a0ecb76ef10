"""What AWS would make of the template: its translation, and what of it AWS would refuse or cut.

Each check takes the root of a repository and returns what is wrong with it, a sentence each.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from dev.template import (
    ALL_METHODS,
    ANY,
    FUNCTION,
    INTEGRATION_TIMEOUT,
    PREFLIGHT_METHODS,
    Route,
    Template,
)
from robotchat.aws.problems import family_of

STREAM_WRAPPER = "/opt/bin/stream"

MAX_RESOURCES = 500
MAX_TEMPLATE_BYTES = 1_000_000
MAX_API_RESOURCES = 300
"""Parts of paths of one REST API."""
MAX_ENVIRONMENT_BYTES = 4096
HEAD_ROOM = 0.8
"""How much of a quota may be used, so that the next features fit."""

#: Longest values of what CloudFormation puts in place of a reference.
LONGEST = {
    "AWS::StackName": 128,
    "AWS::Region": 14,  # ap-northeast-1; the longest there are
    # {stack}-{logical id}-{random}
    "AWS::DynamoDB::Table": 128 + len("-Table-") + 16,
    "AWS::S3::Bucket": 63,
    "AWS::Events::EventBus": 128 + len("-events"),
    # https://sqs.{region}.amazonaws.com/{account}/{name}
    "AWS::SQS::Queue": len("https://sqs..amazonaws.com/123456789012/") + 14 + 80,
    # arn:aws:secretsmanager:{region}:{account}:secret:{logical id}-{random}-{random}
    "AWS::SecretsManager::Secret": 160,
}
_ANY_NUMBER = 20


def streaming_functions_stream(root: Path) -> list[str]:
    """What runs on the streaming runtime is streamed by the gateway, and nothing else is.

    Judged by the translated template: SAM quietly makes a buffered integration of a
    ``ResponseTransferMode`` that is not a literal.
    """
    wrong = []
    template = Template(root / "template.yaml")
    wrapped = {
        name
        for name, properties in template.resources(FUNCTION)
        if _variables(properties).get("AWS_LAMBDA_EXEC_WRAPPER") == STREAM_WRAPPER
    }
    for route, integration in integrations(root, template):
        if _streamed(integration) and route.function not in wrapped:
            wrong.append(f"template.yaml: {route.function} is streamed but lacks the wrapper.")
        if not _streamed(integration) and route.function in wrapped:
            wrong.append(f"template.yaml: {route.function} has the wrapper but is not streamed.")
    return wrong


def integrations_outlast_functions(root: Path) -> list[str]:
    """The gateway waits for a streamed function to its end; a buffered one ends before it."""
    wrong = []
    template = Template(root / "template.yaml")
    functions = dict(template.resources(FUNCTION))
    for route, integration in integrations(root, template):
        waits = float(integration.get("timeoutInMillis", INTEGRATION_TIMEOUT * 1000)) / 1000
        runs = float(functions[route.function].get("Timeout", 3))
        if _streamed(integration) and waits < runs:
            wrong.append(
                f"template.yaml: {route.function} may run {runs:g} s, but API Gateway cuts its "
                f"stream after {waits:g} s: TimeoutInMillis."
            )
        if not _streamed(integration) and runs >= min(waits, INTEGRATION_TIMEOUT):
            wrong.append(
                f"template.yaml: {route.function} may run {runs:g} s, but API Gateway answers by "
                f"itself after {waits:g} s."
            )
        if route.timeout != waits:
            wrong.append(f"dev/template.py: {route.function} has {route.timeout:g} s, not {waits}.")
    return wrong


def preflights_are_answered(root: Path) -> list[str]:
    """Every path answers a browser's preflight without a key, and the local gateway likewise."""
    wrong = []
    template = Template(root / "template.yaml")
    api = template.api()
    if api.cors is None:
        return ["template.yaml: the API has no Cors: a browser's preflight would be a 404."]
    methods: dict[str, set[str]] = {}
    for route in api.routes:
        methods.setdefault(route.path, {"OPTIONS"}).add(route.method)
    methods |= {route.path: set(ALL_METHODS) for route in api.others}
    for path, operations in _paths(root).items():
        preflight = operations.get("options")
        if preflight is None:
            wrong.append(f"template.yaml: {path} does not answer OPTIONS.")
            continue
        if any(preflight.get("security") or ()):
            wrong.append(f"template.yaml: OPTIONS {path} wants a key, which browsers do not send.")
        answer = preflight["x-amazon-apigateway-integration"]["responses"]["default"]
        said = {
            name.removeprefix("method.response.header."): str(value).strip("'")
            for name, value in answer["responseParameters"].items()
        }
        if set(said[PREFLIGHT_METHODS].split(",")) != methods[path]:
            wrong.append(f"template.yaml: OPTIONS {path} allows {said[PREFLIGHT_METHODS]}.")
        missing = set(said) - set(api.cors) - {PREFLIGHT_METHODS}
        if missing:
            wrong.append(f"dev/template.py: a preflight lacks {', '.join(sorted(missing))}.")
    return wrong


def wrong_methods_reach_a_function(root: Path) -> list[str]:
    """On the web UI's paths a method that they do not have is answered 405, which only a function
    can: the gateway would say 404. It is a route like the function's own."""
    api = Template(root / "template.yaml").api()
    routes = {route.path: route for route in api.routes if family_of(route.path) == "a1111"}
    alike = {replace(route, method=ANY) for route in api.routes}
    others = {other.path for other in api.others}
    return [
        *(
            f"template.yaml: {path} has no event for other methods."
            for path in routes
            if path not in others
        ),
        *(
            f"template.yaml: {other.path} has ANY, unlike its routes."
            for other in api.others
            if other not in alike
        ),
    ]


def quotas_leave_room(root: Path) -> list[str]:
    """The deployment is well within what AWS takes of one stack and one API."""
    document = translated(root)
    parts = {
        "/".join(path.strip("/").split("/")[: depth + 1])
        for path in _paths(root)
        for depth in range(path.count("/"))
    }
    used = {
        "resources of a stack": (len(document["Resources"]), MAX_RESOURCES),
        "bytes of a template": (len(json.dumps(document).encode()), MAX_TEMPLATE_BYTES),
        "resources of an API": (len(parts), MAX_API_RESOURCES),
    }
    return [
        f"template.yaml: {count} of {quota} {what}."
        for what, (count, quota) in used.items()
        if count > quota * HEAD_ROOM
    ]


def environments_fit(root: Path) -> list[str]:
    """Every function's variables fit into Lambda's 4 KB, with the longest allowed values."""
    document = translated(root)
    wrong = []
    for name, resource in document["Resources"].items():
        if resource["Type"] != "AWS::Lambda::Function":
            continue
        try:
            # Lambda measures the variables as a JSON object.
            size = 2 + sum(
                len(variable) + _longest(document, value) + len('"":"",')
                for variable, value in _variables(resource["Properties"]).items()
            )
        except Unbounded as error:
            wrong.append(f"template.yaml: {name} has a variable {error}.")
            continue
        if size > MAX_ENVIRONMENT_BYTES:
            wrong.append(f"template.yaml: {name} may have {size} bytes of variables.")
    return wrong


def queues_outlast_functions(root: Path) -> list[str]:
    """Lambda takes no queue whose messages show again while their function may still run, and
    scales no queue to fewer than two executions."""
    document = translated(root)
    resources = document["Resources"]
    wrong = []
    for name, resource in resources.items():
        source = resource["Properties"].get("EventSourceArn")
        if resource["Type"] != "AWS::Lambda::EventSourceMapping" or not isinstance(source, Mapping):
            continue
        queue = resources.get(next(iter(source.get("Fn::GetAtt", ())), ""), {})
        if queue.get("Type") != "AWS::SQS::Queue":
            continue
        function = resources[resource["Properties"]["FunctionName"]["Ref"]]["Properties"]
        hidden = queue["Properties"].get("VisibilityTimeout", 30)
        if hidden < function.get("Timeout", 3):
            wrong.append(f"template.yaml: {name}: messages are hidden for {hidden} s, too short.")
        scaling = resource["Properties"].get("ScalingConfig") or {}
        if "MaximumConcurrency" in scaling and _least(document, scaling["MaximumConcurrency"]) < 2:
            wrong.append(f"template.yaml: {name}: may have less than two executions.")
    return wrong


def _least(document: Mapping[str, Any], value: Any) -> float:
    """The least that a number can be, by its parameter's bound if it is one's."""
    if isinstance(value, Mapping):
        return float(document["Parameters"][value["Ref"]].get("MinValue", 0))
    return float(value)


def log_levels_are_lambdas(root: Path) -> list[str]:
    """Lambda keeps what the functions' loggers let through: it drops lines below its own level."""
    wrong = []
    for name, resource in translated(root)["Resources"].items():
        if resource["Type"] != "AWS::Lambda::Function":
            continue
        logging = resource["Properties"].get("LoggingConfig") or {}
        wanted = _variables(resource["Properties"]).get("POWERTOOLS_LOG_LEVEL", "INFO")
        if logging.get("LogFormat") == "JSON" and wanted != logging.get(
            "ApplicationLogLevel", "INFO"
        ):
            wrong.append(f"template.yaml: {name} logs at {wanted}, Lambda does not.")
    return wrong


class Unbounded(ValueError):
    """A value that has no longest length; says which."""


def _longest(document: Mapping[str, Any], value: Any) -> int:
    """Bytes of a variable's longest value. Raises Unbounded."""
    if not isinstance(value, Mapping):
        return len(str(value).encode())
    name = value.get("Ref")
    if name in LONGEST:
        return LONGEST[name]
    if name in document["Resources"]:
        kind = document["Resources"][name]["Type"]
        if kind in LONGEST:
            return LONGEST[kind]
        raise Unbounded(f"that names a {kind}")
    parameter = document["Parameters"].get(name)
    if parameter is None:
        raise Unbounded(f"of the value {value}")
    if "AllowedValues" in parameter:
        return max(len(str(one)) for one in parameter["AllowedValues"])
    if parameter["Type"] == "Number":
        return len(str(parameter["MaxValue"])) if "MaxValue" in parameter else _ANY_NUMBER
    if "MaxLength" in parameter:
        return int(parameter["MaxLength"])
    raise Unbounded(f"from {name}, which has no MaxLength")


def _variables(properties: Mapping[str, Any]) -> Mapping[str, Any]:
    return (properties.get("Environment") or {}).get("Variables") or {}


def _streamed(integration: Mapping[str, Any]) -> bool:
    uri = json.dumps(integration["uri"])
    return (
        integration.get("responseTransferMode") == "STREAM"
        and "/response-streaming-invocations" in uri
    )


def integrations(root: Path, template: Template) -> Iterator[tuple[Route, dict[str, Any]]]:
    """Each route, with what API Gateway is told of how it is answered."""
    paths = _paths(root)
    for route in template.api().routes:
        operation = paths[route.path][route.method.lower()]
        yield route, operation["x-amazon-apigateway-integration"]


def _paths(root: Path) -> dict[str, Any]:
    [api] = [
        resource["Properties"]["Body"]
        for resource in translated(root)["Resources"].values()
        if resource["Type"] == "AWS::ApiGateway::RestApi"
    ]
    paths: dict[str, Any] = api["paths"]
    return paths


def translated(root: Path) -> dict[str, Any]:
    """The template as CloudFormation sees it, by SAM's own translator. No network is used."""
    return copy.deepcopy(_translation((root / "template.yaml").read_text("utf-8")))


@lru_cache(maxsize=2)
def _translation(template: str) -> dict[str, Any]:
    """A template's text, translated; kept, since many checks look at the same one."""
    import boto3
    from samtranslator.parser.parser import Parser  # type: ignore[import-untyped]
    from samtranslator.translator.translator import Translator  # type: ignore[import-untyped]
    from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]

    raw = yaml_parse(template)
    for resource in raw["Resources"].values():
        for key in ("CodeUri", "ContentUri"):
            if key in resource.get("Properties", {}):
                resource["Properties"][key] = "s3://bucket/key"
    parameters = {
        name: settings.get("Default", "") for name, settings in raw.get("Parameters", {}).items()
    }
    session = boto3.Session(region_name="us-east-1")  # the translator only asks for its region
    translator = Translator({}, Parser(), boto_session=session)
    result: dict[str, Any] = translator.translate(raw, parameters)
    return result
