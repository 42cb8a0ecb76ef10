"""API Gateway's REST formats: proxy events in, proxy results and preludes out.

Version 1.0 of the payload, as a regional REST API behind a custom domain sends it (so that the
paths have no stage in front).
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import json
import re
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from dev.stack.runtime_api import FunctionError
from dev.template import ALL_METHODS, ANY, Api, Route

ACCOUNT = "000000000000"
API_ID = "robotchat"

# Response headers that API Gateway renames, and those that it drops.
REMAPPED = {"authorization", "connection", "content-md5", "date", "host", "server"}
REMAPPED |= {"user-agent", "www-authenticate"}
DROPPED = {"content-length", "transfer-encoding", "te", "trailer", "upgrade"}


@dataclass(frozen=True)
class Request:
    """An HTTP request as it came in; ``path`` is still percent-encoded."""

    method: str
    path: str
    query: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    source_ip: str
    host: str

    def header(self, name: str) -> str | None:
        """The last value of a header, however it is written."""
        wanted = name.lower()
        return next((v for k, v in reversed(self.headers) if k.lower() == wanted), None)


@dataclass(frozen=True)
class Result:
    """What goes back to the client; ``headers`` may hold a name more than once."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes = b""


class Router:
    """Finds the route of a request: literal segments before ``{name}``, that before ``{name+}``."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes: list[tuple[tuple[int, ...], re.Pattern[str], Route]] = []
        for route in routes:
            weights: list[int] = []
            pattern = ""
            for segment in route.path.strip("/").split("/"):
                name = segment[1:-1].rstrip("+") if segment.startswith("{") else ""
                weights.append(2 if segment.endswith("+}") else 1 if name else 0)
                piece = f"(?P<{name}>{'.+' if weights[-1] == 2 else '[^/]+'})"
                pattern += "/" + (piece if name else re.escape(segment))
            self._routes.append((tuple(weights), re.compile(pattern), route))
        self._routes.sort(key=lambda entry: (entry[0], entry[2].method == ANY))

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """The route and its path parameters; None if no such method of no such path."""
        path = "/" + path.strip("/")
        for _, pattern, route in self._routes:
            match = pattern.fullmatch(path)
            if match and route.method in (method, ANY):
                return route, match.groupdict()
        return None

    def methods(self, path: str) -> set[str]:
        """The methods of a path; none if there is no such path."""
        path = "/" + path.strip("/")
        matched = [
            (route.path, route.method)
            for _, pattern, route in self._routes
            if pattern.fullmatch(path)
        ]
        methods = {method for template, method in matched if template == matched[0][0]}
        return set(ALL_METHODS) if ANY in methods else methods


def proxy_event(
    request: Request,
    route: Route,
    parameters: Mapping[str, str],
    *,
    api: Api,
    request_id: str,
) -> dict[str, Any]:
    """The event that a function gets for a request, before authorization."""
    headers = [
        *request.headers,
        ("X-Forwarded-For", request.source_ip),
        ("X-Forwarded-Port", request.host.rpartition(":")[2] if ":" in request.host else "80"),
        ("X-Forwarded-Proto", "http"),
    ]
    query = parse_qsl(request.query, keep_blank_values=True)
    content_type = (request.header("Content-Type") or "").partition(";")[0].strip().lower()
    binary = bool(request.body) and is_binary(content_type, api.binary_types)
    now = time.time()
    return {
        "resource": route.path,
        "path": request.path,
        "httpMethod": request.method,
        "headers": dict(headers),
        "multiValueHeaders": _grouped(headers),
        "queryStringParameters": dict(query) or None,
        "multiValueQueryStringParameters": _grouped(query) or None,
        "pathParameters": dict(parameters) or None,
        "stageVariables": None,
        "requestContext": {
            "resourceId": "local",
            "resourcePath": route.path,
            "httpMethod": request.method,
            "extendedRequestId": uuid.uuid4().hex[:15] + "=",
            "requestTime": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
            "path": request.path,
            "accountId": ACCOUNT,
            "protocol": "HTTP/1.1",
            "stage": api.stage,
            "domainPrefix": request.host.partition(".")[0],
            "requestTimeEpoch": int(now * 1000),
            "requestId": request_id,
            "identity": {
                "cognitoIdentityPoolId": None,
                "accountId": None,
                "cognitoIdentityId": None,
                "caller": None,
                "sourceIp": request.source_ip,
                "principalOrgId": None,
                "accessKey": None,
                "cognitoAuthenticationType": None,
                "cognitoAuthenticationProvider": None,
                "userArn": None,
                "userAgent": request.header("User-Agent"),
                "user": None,
            },
            "domainName": request.host,
            "apiId": API_ID,
        },
        "body": _event_body(request.body, binary),
        "isBase64Encoded": binary,
    }


def authorizer_event(event: Mapping[str, Any], method_arn: str) -> dict[str, Any]:
    """The event of a REQUEST authorizer for the same request."""
    left_out = ("body", "isBase64Encoded")
    return {
        "type": "REQUEST",
        "methodArn": method_arn,
        **{key: value for key, value in event.items() if key not in left_out},
    }


def proxy_result(payload: bytes, accept: str | None, api: Api) -> Result:
    """The HTTP answer in a function's proxy result. Raises FunctionError if it is not one."""
    try:
        answer = json.loads(payload)
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or not isinstance(answer.get("body") or "", str):
        raise malformed("not a proxy result")
    status, headers = status_and_headers(answer)
    body = (answer.get("body") or "").encode()
    if answer.get("isBase64Encoded"):
        content_type = next((v for k, v in headers if k.lower() == "content-type"), "")
        wanted = (accept or content_type).partition(",")[0].partition(";")[0].strip().lower()
        if is_binary(wanted, api.binary_types):
            try:
                body = base64.b64decode(body, validate=True)
            except binascii.Error:
                raise malformed("the body is not base64") from None
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("Content-Type", "application/json"))
    return Result(status, headers, body)


def prelude(head: bytes) -> Result:
    """The status and headers at the start of a streamed response. Raises FunctionError."""
    try:
        answer = json.loads(head)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise malformed("the streamed response does not begin with a JSON prelude")
    status, headers = status_and_headers(answer)
    headers += [("Set-Cookie", str(cookie)) for cookie in answer.get("cookies") or ()]
    return Result(status, headers)


def status_and_headers(answer: Mapping[str, Any]) -> tuple[int, list[tuple[str, str]]]:
    """What a proxy result and a prelude have in common. Raises FunctionError."""
    try:
        status = int(answer.get("statusCode", 200))
        single = dict(answer.get("headers") or {})
        multiple = dict(answer.get("multiValueHeaders") or {})
    except (TypeError, ValueError):
        raise malformed("statusCode or headers") from None
    if not 100 <= status <= 599:
        raise malformed(f"statusCode {status}")
    repeated = {name.lower() for name in multiple}
    pairs = [(name, value) for name, value in single.items() if name.lower() not in repeated]
    pairs += [(name, value) for name, values in multiple.items() for value in values]
    headers = []
    for name, value in pairs:
        if name.lower() in REMAPPED:
            name = f"x-amzn-Remapped-{name}"
        if name.lower() not in DROPPED and value is not None:
            text = value if isinstance(value, str) else json.dumps(value)
            if "\r" in text or "\n" in text:
                raise malformed(f"header {name}")
            headers.append((name, text))
    return status, headers


def malformed(what: str) -> FunctionError:
    """The function answered, but not in the form that API Gateway demands."""
    return FunctionError("MalformedProxyResponse", f"Malformed Lambda proxy response: {what}")


def is_binary(content_type: str, binary_types: Iterable[str]) -> bool:
    """Whether a media type is among the API's ``BinaryMediaTypes``."""
    return any(fnmatch.fnmatchcase(content_type, kind.lower()) for kind in binary_types)


def allows(policy: Mapping[str, Any], method_arn: str) -> bool:
    """Whether an authorizer's policy lets the call through. A Deny wins over any Allow."""
    allowed = False
    for statement in _listed(policy.get("Statement")):
        actions = _listed(statement.get("Action"))
        resources = _listed(statement.get("Resource"))
        if any(
            fnmatch.fnmatchcase("execute-api:invoke", str(action).lower()) for action in actions
        ) and any(fnmatch.fnmatchcase(method_arn, str(resource)) for resource in resources):
            if statement.get("Effect") == "Deny":
                return False
            allowed = True
    return allowed


def _event_body(body: bytes, binary: bool) -> str | None:
    if not body:
        return None
    return base64.b64encode(body).decode() if binary else body.decode(errors="replace")


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name, value in pairs:
        grouped.setdefault(name, []).append(value)
    return grouped


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
