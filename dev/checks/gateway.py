"""The answers that the gateway makes itself, written into the template.

``python -m dev.checks.generated --write`` puts them between the ``gateway-responses`` comments of
``template.yaml``. The gateway refuses a call before any function knows of it, and has one template
for all paths; so each of these bodies is of all three families of errors at once (see
``robotchat.aws.problems``): it has the fields of a problem document, A1111's, and OpenAI's.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from robotchat.aws.problems import Problem, body_too_large, internal_error, problem
from robotchat.errors import (
    Forbidden,
    InvalidRequest,
    LimitExceeded,
    NotFound,
    RobotchatError,
    Unauthenticated,
    UnsupportedMediaType,
    UpstreamTimeout,
)

TEMPLATE = Path("template.yaml")

REFUSALS: dict[str, RobotchatError] = {
    "UNAUTHORIZED": Unauthenticated(
        "No valid API key. Send it as Authorization: Bearer, as x-api-key or api-key, or as the "
        "password of Basic."
    ),
    "ACCESS_DENIED": Forbidden("This key is not allowed to do this."),
    "MISSING_AUTHENTICATION_TOKEN": NotFound(
        "There is no such endpoint. The base URL of an OpenAI client ends in /v1 here, once."
    ),
    "REQUEST_TOO_LARGE": body_too_large(),
    "UNSUPPORTED_MEDIA_TYPE": UnsupportedMediaType(
        "The body is of a content type that this endpoint does not read."
    ),
    "THROTTLED": LimitExceeded("Too many requests at once.", retry_after=1),
    "QUOTA_EXCEEDED": LimitExceeded("The quota of requests is used up.", retry_after=1),
    "INTEGRATION_TIMEOUT": UpstreamTimeout("This took too long."),
    "DEFAULT_4XX": InvalidRequest("The gateway refused this request."),
    "DEFAULT_5XX": RobotchatError(internal_error("robotchat", "").body["detail"]),
}
"""What the gateway refuses, by API Gateway's names, and what the caller is told."""

_REQUEST_ID = "$context.requestId"
_MARKED = re.compile(
    r"(?P<begin>^(?P<indent> *)# gateway-responses: written by `make docs`\n)"
    r".*?(?P<end>^ *# end of gateway-responses\n)",
    re.DOTALL | re.MULTILINE,
)


def written(root: Path) -> str:
    """The template with the gateway's answers as they follow from the errors."""
    text = (root / TEMPLATE).read_text("utf-8")
    found = _MARKED.search(text)
    if found is None:
        raise ValueError(f"{TEMPLATE} has no gateway-responses comments")
    lines = [line for name, error in REFUSALS.items() for line in _response(name, error)]
    indented = "".join(f"{found['indent']}{line}\n" for line in lines)
    return text[: found.end("begin")] + indented + text[found.start("end") :]


def _response(name: str, error: RobotchatError) -> list[str]:
    headers = {
        "Content-Type": "'application/problem+json'",
        "x-request-id": "context.requestId",
        "Cache-Control": "'no-store'",
        "Access-Control-Allow-Origin": "'${AllowOrigin}'",
        "Access-Control-Expose-Headers": "'retry-after, x-request-id, x-should-retry'",
        **{name: f"'{value}'" for name, value in _headers(error).items()},
    }
    # The defaults keep the status that the gateway has for what it refuses.
    default = name.startswith("DEFAULT_")
    return [
        f"{name}:",
        *([] if default else [f"  StatusCode: {error.status}"]),
        "  ResponseParameters:",
        "    Headers:",
        *(f"      {header}: {_scalar(value)}" for header, value in headers.items()),
        "  ResponseTemplates:",
        "    application/json: >-",
        f"      {json.dumps(_body(error, status=not default))}",
    ]


def _scalar(value: str) -> str:
    tag = "!Sub " if "${" in value else ""
    return f"{tag}{json.dumps(value)}" if "'" in value else value


def _headers(error: RobotchatError) -> dict[str, str]:
    return dict(_told(error, "openai").headers)


def _body(error: RobotchatError, *, status: bool) -> dict[str, Any]:
    document = _told(error, "robotchat").body
    a1111 = _told(error, "a1111").body
    return {
        **{name: value for name, value in document.items() if name != "status" or status},
        "body": a1111["body"],
        "errors": a1111["errors"],
        **_told(error, "openai").body,
    }


def _told(error: RobotchatError, family: Any) -> Problem:
    return problem(error, family, _REQUEST_ID)
