"""What the local stack needs to know of the SAM template: functions, routes, event sources.

The template is read as SAM reads it (``Globals`` merged in, ``!Ref`` to parameters resolved);
everything that only a deployment can know (names, ARNs, environments) is left to ``dev.stack.aws``.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]

ALARM = "AWS::CloudWatch::Alarm"
PULL_WORKER = "PullWorker"
"""Runs the code of the worker function elsewhere, by a policy of its own."""

FUNCTION = "AWS::Serverless::Function"
LAYER = "AWS::Serverless::LayerVersion"
API = "AWS::Serverless::Api"

# Events that the local stack delivers itself; the emulator must not deliver them as well.
OWN_EVENTS = ("SQS", "DynamoDB", "Schedule", "ScheduleV2")
KNOWN_EVENTS = ("Api", *OWN_EVENTS)

ANY = "ANY"
"""The method of a route that takes those which no other route of its path names."""

PREFLIGHT_METHODS = "Access-Control-Allow-Methods"
ALL_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
"""What a preflight allows for a path with such a route."""

_SUB = re.compile(r"\$\{(\w+)\}")


class TemplateError(ValueError):
    """The template says something that the local stack cannot follow."""


INTEGRATION_TIMEOUT = 29.0
"""Seconds that API Gateway waits for an answer to its end, streamed or not, if nothing is said."""


@dataclass(frozen=True)
class Route:
    """One method of one path: which function answers, how, and within what time (seconds)."""

    path: str
    method: str
    function: str
    authorizer: str | None
    streams: bool
    timeout: float = INTEGRATION_TIMEOUT


@dataclass(frozen=True)
class Authorizer:
    """A REQUEST Lambda authorizer; ``ttl`` is how long its answer is kept, in seconds."""

    name: str
    function: str
    headers: tuple[str, ...]
    query: tuple[str, ...]
    ttl: float


@dataclass(frozen=True)
class GatewayResponse:
    """How an answer that the gateway itself makes looks; ``templates`` by content type."""

    status: int | None
    headers: Mapping[str, str]
    templates: Mapping[str, str]


@dataclass(frozen=True)
class Api:
    """The REST API: its routes and what applies to all of them.

    ``others`` take the methods that a path's routes do not name, to be answered 405.
    ``cors`` are the headers of an answered preflight, but for the methods, which are the path's.
    ``stream_idle`` is how long, in seconds, a streamed answer may be silent.
    """

    stage: str = "local"
    routes: tuple[Route, ...] = ()
    others: tuple[Route, ...] = ()
    authorizers: Mapping[str, Authorizer] = field(default_factory=dict)
    responses: Mapping[str, GatewayResponse] = field(default_factory=dict)
    binary_types: tuple[str, ...] = ()
    cors: Mapping[str, str] | None = None
    stream_idle: float = 300.0


@dataclass(frozen=True)
class QueueSource:
    """An SQS event source mapping; ``queue`` is the queue's logical ID, times are seconds."""

    function: str
    queue: str
    batch_size: int
    window: float
    concurrency: int
    partial: bool


@dataclass(frozen=True)
class StreamSource:
    """A DynamoDB stream event source mapping; ``table`` is the table's logical ID.

    ``patterns`` are the filter's, of which a record must match one; none lets all pass.
    ``retries`` is None for as often as it takes.
    """

    function: str
    table: str
    batch_size: int
    patterns: tuple[Mapping[str, Any], ...]
    partial: bool
    bisect: bool
    retries: int | None


@dataclass(frozen=True)
class Schedule:
    """A function run by the clock: ``rate(...)`` or ``cron(...)``, with a fixed input if any."""

    function: str
    name: str
    expression: str
    input: str | None


class Template:
    """A SAM template with the parameters of one deployment."""

    def __init__(self, path: Path, parameters: Mapping[str, str] | None = None) -> None:
        self.folder = path.parent
        self._raw: dict[str, Any] = yaml_parse(path.read_text(encoding="utf-8"))
        declared = self._raw.get("Parameters") or {}
        given = {name: value for name, value in (parameters or {}).items() if name in declared}
        self.given: Mapping[str, str] = given
        self._parameters = {
            name: str(given.get(name, settings.get("Default", "")))
            for name, settings in declared.items()
        }

    def declares(self, parameter: str) -> bool:
        """Whether the template has a parameter of this name."""
        return parameter in self._parameters

    def resources(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The logical ID and the properties, globals included, of every resource of a type."""
        defaults = (self._raw.get("Globals") or {}).get(kind.rsplit("::", 1)[-1]) or {}
        for name, resource in self._raw["Resources"].items():
            if resource["Type"] == kind:
                yield name, _merge(defaults, resource.get("Properties") or {})

    def folders(self) -> dict[str, Path]:
        """Each function's code folder, by logical ID."""
        return {
            name: (self.folder / properties["CodeUri"]).resolve()
            for name, properties in self.resources(FUNCTION)
        }

    def layer(self) -> Path | None:
        """The folder of the layer, if there is one."""
        for _, properties in self.resources(LAYER):
            return Path(self.folder, properties["ContentUri"]).resolve()
        return None

    def api(self) -> Api:
        """The REST API with its routes, or one without any."""
        properties = next((found for _, found in self.resources(API)), {})
        auth = properties.get("Auth") or {}
        authorizers = {
            name: self._authorizer(name, settings)
            for name, settings in (auth.get("Authorizers") or {}).items()
        }
        endpoint = _endpoint_type(properties.get("EndpointConfiguration"))
        routes = list(self._routes(auth.get("DefaultAuthorizer")))
        return Api(
            stage=str(self.value(properties.get("StageName", "local"))),
            routes=tuple(route for route in routes if route.method != ANY),
            others=tuple(route for route in routes if route.method == ANY),
            authorizers=authorizers,
            responses={
                kind: self._gateway_response(settings)
                for kind, settings in (properties.get("GatewayResponses") or {}).items()
            },
            binary_types=tuple(
                str(kind).replace("~1", "/") for kind in properties.get("BinaryMediaTypes") or ()
            ),
            cors=self._cors(properties.get("Cors")),
            stream_idle=300.0 if endpoint in ("REGIONAL", "PRIVATE") else 30.0,
        )

    def queue_sources(self) -> list[QueueSource]:
        """The SQS event source mappings that are enabled."""
        sources = []
        for function, _, properties in self._events("SQS"):
            if self.value(properties.get("Enabled", True)) in (False, "false"):
                continue
            scaling = properties.get("ScalingConfig") or {}
            sources.append(
                QueueSource(
                    function=function,
                    queue=_attribute_of(properties["Queue"]),
                    batch_size=int(self.value(properties.get("BatchSize", 10))),
                    window=float(self.value(properties.get("MaximumBatchingWindowInSeconds", 0))),
                    concurrency=int(self.value(scaling.get("MaximumConcurrency", 10))),
                    partial="ReportBatchItemFailures"
                    in (properties.get("FunctionResponseTypes") or ()),
                )
            )
        return sources

    def stream_sources(self) -> list[StreamSource]:
        """The DynamoDB stream event source mappings that are enabled."""
        sources = []
        for function, _, properties in self._events("DynamoDB"):
            if self.value(properties.get("Enabled", True)) in (False, "false"):
                continue
            if self.value(properties["StartingPosition"]) != "TRIM_HORIZON":
                raise TemplateError(f"{function}: only StartingPosition TRIM_HORIZON is known.")
            filters = (properties.get("FilterCriteria") or {}).get("Filters") or ()
            retries = int(self.value(properties.get("MaximumRetryAttempts", -1)))
            sources.append(
                StreamSource(
                    function=function,
                    table=_attribute_of(properties["Stream"]),
                    batch_size=int(self.value(properties.get("BatchSize", 100))),
                    patterns=tuple(json.loads(str(one["Pattern"])) for one in filters),
                    partial="ReportBatchItemFailures"
                    in (properties.get("FunctionResponseTypes") or ()),
                    bisect=self.value(properties.get("BisectBatchOnFunctionError", False))
                    in (True, "true"),
                    retries=None if retries < 0 else retries,
                )
            )
        return sources

    def schedules(self) -> list[Schedule]:
        """The schedules that are enabled."""
        schedules = []
        for kind, key in (("Schedule", "Schedule"), ("ScheduleV2", "ScheduleExpression")):
            for function, name, properties in self._events(kind):
                disabled = self.value(properties.get("State", "ENABLED")) == "DISABLED"
                if disabled or self.value(properties.get("Enabled", True)) in (False, "false"):
                    continue
                expression = str(self.value(properties[key]))
                schedules.append(Schedule(function, name, expression, properties.get("Input")))
        return schedules

    def deployable(self, bucket: str, key: str) -> dict[str, Any]:
        """The template as the emulator takes it.

        Code is a stub in S3 (the Lambda host runs the code from its folder), streaming routes are
        buffered ones, and the events that the local stack delivers itself are left out, as are
        alarms on more than one metric, which the emulator does not know.
        """
        template = copy.deepcopy(self._raw)
        for logical_id, resource in list(template["Resources"].items()):
            properties = resource.get("Properties") or {}
            resource.pop("Metadata", None)
            if resource["Type"] == ALARM and "Metrics" in properties:
                del template["Resources"][logical_id]
            if resource["Type"] == FUNCTION:
                properties["CodeUri"] = {"Bucket": bucket, "Key": key}
                events = properties.get("Events") or {}
                for name, event in list(events.items()):
                    if event["Type"] not in KNOWN_EVENTS:
                        raise TemplateError(f"The local stack has no {event['Type']} events.")
                    if event["Type"] in OWN_EVENTS:
                        del events[name]
                    elif event["Type"] == "Api":
                        for name in ("ResponseTransferMode", "TimeoutInMillis"):
                            event["Properties"].pop(name, None)
            elif resource["Type"] == LAYER:
                properties["ContentUri"] = {"Bucket": bucket, "Key": key}
        return template

    def value(self, value: Any) -> Any:
        """A plain value: references to parameters are resolved, and choices between two values by
        whether two others are equal; anything cleverer is refused."""
        if isinstance(value, Mapping) and len(value) == 1:
            reference = value.get("Ref")
            if isinstance(reference, str) and reference in self._parameters:
                return self._parameters[reference]
            text = value.get("Fn::Sub")
            if isinstance(text, str) and set(_SUB.findall(text)) <= set(self._parameters):
                return _SUB.sub(lambda match: self._parameters[match[1]], text)
            match value.get("Fn::If"):
                case [str(name), yes, no]:
                    match (self._raw.get("Conditions") or {}).get(name):
                        case {"Fn::Equals": [one, other]}:
                            return self.value(yes if self.value(one) == self.value(other) else no)
        if isinstance(value, Mapping):
            raise TemplateError(f"The local stack cannot resolve {dict(value)!r} in the template.")
        return value

    def _events(self, kind: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
        for function, properties in self.resources(FUNCTION):
            for name, event in (properties.get("Events") or {}).items():
                if event["Type"] == kind:
                    yield function, name, event.get("Properties") or {}

    def _routes(self, default_authorizer: str | None) -> Iterator[Route]:
        for function, _, properties in self._events("Api"):
            chosen = (properties.get("Auth") or {}).get("Authorizer", default_authorizer)
            yield Route(
                path=str(self.value(properties["Path"])),
                method=str(self.value(properties["Method"])).upper(),
                function=function,
                authorizer=None if chosen in (None, "NONE") else str(chosen),
                streams=properties.get("ResponseTransferMode") == "RESPONSE_STREAM",
                timeout=_milliseconds(self.value(properties.get("TimeoutInMillis"))),
            )

    def _authorizer(self, name: str, settings: Mapping[str, Any]) -> Authorizer:
        if settings.get("FunctionPayloadType") != "REQUEST":
            raise TemplateError(f"Authorizer {name}: only FunctionPayloadType REQUEST is known.")
        identity = settings.get("Identity") or {}
        return Authorizer(
            name=name,
            function=_attribute_of(settings["FunctionArn"]),
            headers=tuple(identity.get("Headers") or ()),
            query=tuple(identity.get("QueryStrings") or ()),
            ttl=float(self.value(identity.get("ReauthorizeEvery", 300))),
        )

    def _gateway_response(self, settings: Mapping[str, Any]) -> GatewayResponse:
        headers = (settings.get("ResponseParameters") or {}).get("Headers") or {}
        status = settings.get("StatusCode")
        return GatewayResponse(
            status=None if status is None else int(status),
            headers={name: _parameter(str(self.value(value))) for name, value in headers.items()},
            templates=dict(settings.get("ResponseTemplates") or {}),
        )

    def _cors(self, settings: Any) -> dict[str, str] | None:
        if settings is None:
            return None
        if not isinstance(settings, Mapping) or "Ref" in settings:
            settings = {"AllowOrigin": self.value(settings)}
        names = {
            "AllowOrigin": "Access-Control-Allow-Origin",
            "AllowMethods": PREFLIGHT_METHODS,
            "AllowHeaders": "Access-Control-Allow-Headers",
            "MaxAge": "Access-Control-Max-Age",
        }
        headers = {
            header: _unquoted(str(self.value(settings[name])))
            for name, header in names.items()
            if name in settings
        }
        if settings.get("AllowCredentials"):
            headers["Access-Control-Allow-Credentials"] = "true"
        return headers


def _merge(defaults: Any, own: Any) -> Any:
    """SAM's rule for globals: maps are merged, lists are joined, the rest is replaced."""
    if isinstance(defaults, Mapping) and isinstance(own, Mapping):
        merged = dict(defaults)
        for key, value in own.items():
            merged[key] = _merge(defaults[key], value) if key in defaults else value
        return merged
    if isinstance(defaults, list) and isinstance(own, list):
        return [*defaults, *own]
    return own


def _attribute_of(value: Any) -> str:
    """The logical ID in ``!GetAtt Id.Arn``."""
    target = value.get("Fn::GetAtt") if isinstance(value, Mapping) else None
    if isinstance(target, list) and len(target) == 2:
        return str(target[0])
    raise TemplateError(f"Expected !GetAtt SomeResource.Arn, not {value!r}.")


def _endpoint_type(settings: Any) -> str:
    """REGIONAL, PRIVATE or EDGE (the default): it decides how long a stream may be silent."""
    if isinstance(settings, Mapping):
        settings = settings.get("Type") or (settings.get("Types") or [None])[0]
    return str(settings or "EDGE")


def _milliseconds(value: Any) -> float:
    return INTEGRATION_TIMEOUT if value is None else float(value) / 1000


def _parameter(value: str) -> str:
    """A response parameter as a template: a static value, or one of the context."""
    return f"${value}" if value.startswith("context.") else _unquoted(value)


def _unquoted(value: str) -> str:
    """API Gateway's static values are in single quotes."""
    return re.sub(r"\A'(.*)'\Z", r"\1", value, flags=re.DOTALL)
