"""Every endpoint, with every error of the tree and with errors that nobody foresaw.

Each endpoint's own event is sent to its handler, in which everything that the route calls raises.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest
from botocore.exceptions import ClientError

from dev.checks import errors
from dev.checks.contract import endpoint_folders
from robotchat.aws.api import Endpoint
from robotchat.aws.problems import Family, family_of
from robotchat.errors import RobotchatError
from tests.cases.service import Service

ROOT = Path(__file__).parents[2]
SECRETS = ("10.9.8.7", "arn:aws", "Traceback", "ZeroDivisionError", "ClientError", "site-packages")
UNFORESEEN: tuple[BaseException, ...] = (
    ZeroDivisionError("http://10.9.8.7:7860 is not a number"),
    KeyError("arn:aws:dynamodb:us-east-1:123456789012:table/robotchat"),
    ClientError(
        {"Error": {"Code": "AccessDenied", "Message": "arn:aws:iam::123456789012:role/x may not"}},
        "PutItem",
    ),
)


class Context:
    """What Lambda tells a function of its invocation."""

    function_name = "function"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:function"
    aws_request_id = "lambda-1"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


def module_of(folder: Path) -> ModuleType:
    """An endpoint's module, freshly loaded."""
    spec = importlib.util.spec_from_file_location(f"errors_{folder.name}", folder / "app.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NOTHING_CAN_FAIL = ("unload_checkpoint", "reload_checkpoint")
"""Endpoints that answer without asking anything."""

ENDPOINTS = [
    folder
    for folder in endpoint_folders(ROOT)
    if "Endpoint(" in (folder / "app.py").read_text("utf-8") and folder.name not in NOTHING_CAN_FAIL
]


@pytest.fixture(params=ENDPOINTS, ids=lambda folder: folder.name)
def endpoint(request: pytest.FixtureRequest) -> Failing:
    return Failing(request.param)


@pytest.fixture(autouse=True)
def stores() -> Iterator[None]:
    """What endpoints look at by themselves, before and after the route."""
    with Service.over([]):
        yield


class Failing:
    """An endpoint whose every call into the library raises ``error``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.error: BaseException = RobotchatError("none")
        self.raised = 0
        module = module_of(folder)
        handler = module.handler
        assert isinstance(handler, Endpoint)
        self.handler = handler
        path = ROOT / "events" / folder.parent.name / f"{folder.name}.json"
        self.event = json.loads(path.read_text("utf-8"))
        self.family: Family = handler.family or family_of(self.event["path"])
        for function in _functions(module):
            for name in function.__code__.co_names:
                value = module.__dict__.get(name)
                if callable(value) and not isinstance(value, type | Endpoint):
                    setattr(module, name, self._raise)

    def _raise(self, *_: object, **__: object) -> Any:
        self.raised += 1
        raise self.error

    def answer(self, error: BaseException) -> tuple[dict[str, Any], dict[str, Any]]:
        """The answer when everything fails with an error, and its body."""
        self.error = error
        self.raised = 0
        answer = self.handler(self.event, Context())
        assert self.raised, f"{self.folder}: its own event does not even reach the route: {answer}"
        return answer, json.loads(answer["body"])


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    for value in vars(module).values():
        if isinstance(value, FunctionType) and value.__module__ == module.__name__:
            yield value


def header(answer: dict[str, Any], name: str) -> str | None:
    for key, values in answer["multiValueHeaders"].items():
        if key.lower() == name:
            return str(values[0])
    return None


def said(body: dict[str, Any], family: Family) -> dict[str, Any]:
    """The part of a body that has the code, after a look at the rest."""
    if family == "openai":
        assert set(body) == {"error"}
        assert {"message", "type", "param"} <= set(body["error"])
        found: dict[str, Any] = body["error"]
        return found
    if family == "a1111":
        assert {"error", "detail", "body", "errors"} <= set(body)
        assert body["error"] == body["code"]
    else:
        assert {"type", "title", "status", "detail"} <= set(body)
        assert body["type"] == f"urn:robotchat:error:{body['code']}"
    return body


def test_every_error_comes_in_the_shape_of_its_family(endpoint: Failing) -> None:
    for kind in errors.tree():
        error = kind("Said for the caller.", retry_after=7, details={"fact": 1})
        answer, body = endpoint.answer(error)
        found = said(body, endpoint.family)
        where = f"{endpoint.folder.name} {kind.__name__}"
        status = 400 if endpoint.family == "openai" and kind.status == 422 else kind.status
        if endpoint.family == "a1111" and kind.code == "unsupported_media_type":
            status = 422
        assert answer["statusCode"] == status, where
        assert (found["code"], found["retryable"]) == (kind.code, kind.retryable), where
        assert found["request_id"] == header(answer, "x-request-id"), where
        assert "Said for the caller." in answer["body"], where
        assert header(answer, "retry-after") == "7", where
        problem = "application/problem+json"
        expected = problem if endpoint.family == "robotchat" else "application/json"
        assert header(answer, "content-type") == expected, where


def test_an_unforeseen_error_tells_nothing_but_the_request(
    endpoint: Failing, capsys: pytest.CaptureFixture[str]
) -> None:
    for error in UNFORESEEN:
        answer, body = endpoint.answer(error)
        found = said(body, endpoint.family)
        assert (answer["statusCode"], found["code"]) == (500, "internal_error")
        assert found["retryable"] is False
        assert found["request_id"] == header(answer, "x-request-id")
        assert not any(secret in json.dumps(answer) for secret in SECRETS)
        logged = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert any(type(error).__name__ in json.dumps(line) for line in logged), "and is logged"
