"""The gateway's formats: API Gateway's REST proxy events, results and policies."""

from __future__ import annotations

import base64
import json

import pytest

from dev.stack.rest_events import (
    Request,
    Router,
    allows,
    authorizer_event,
    prelude,
    proxy_event,
    proxy_result,
)
from dev.stack.runtime_api import FunctionError
from dev.template import Api, Route

API = Api(stage="prod", binary_types=("image/png", "multipart/*"))


def route(path: str, method: str = "GET", function: str = "F") -> Route:
    return Route(path, method, function, None, False)


def request(**changes: object) -> Request:
    values: dict[str, object] = {
        "method": "POST",
        "path": "/v1/jobs/a%20b",
        "query": "tag=1&tag=2&empty=",
        "headers": [("Content-Type", "application/json"), ("Accept", "a/b"), ("Accept", "c/d")],
        "body": b'{"x":1}',
        "source_ip": "127.0.0.1",
        "host": "127.0.0.1:8080",
    }
    return Request(**{**values, **changes})  # type: ignore[arg-type]


def event_of(incoming: Request) -> dict[str, object]:
    found = route("/v1/jobs/{id}", "POST")
    return proxy_event(incoming, found, {"id": "a%20b"}, api=API, request_id="r1")


def test_an_event_has_the_shape_of_a_rest_proxy_event() -> None:
    event = event_of(request())
    assert event["resource"] == "/v1/jobs/{id}"
    assert event["path"] == "/v1/jobs/a%20b"
    assert event["httpMethod"] == "POST"
    assert event["pathParameters"] == {"id": "a%20b"}
    assert event["queryStringParameters"] == {"tag": "2", "empty": ""}
    assert event["multiValueQueryStringParameters"] == {"tag": ["1", "2"], "empty": [""]}
    assert event["multiValueHeaders"]["Accept"] == ["a/b", "c/d"]  # type: ignore[index]
    assert event["headers"]["X-Forwarded-Port"] == "8080"  # type: ignore[index]
    assert event["body"] == '{"x":1}'
    assert event["isBase64Encoded"] is False
    context = event["requestContext"]
    assert context["requestId"] == "r1"  # type: ignore[index]
    assert context["stage"] == "prod"  # type: ignore[index]
    assert context["identity"]["sourceIp"] == "127.0.0.1"  # type: ignore[index]


def test_what_is_absent_is_null_in_an_event() -> None:
    event = event_of(request(query="", body=b""))
    assert event["queryStringParameters"] is None
    assert event["multiValueQueryStringParameters"] is None
    assert event["body"] is None


def test_a_body_of_a_binary_media_type_is_base64() -> None:
    headers = [("content-type", "multipart/form-data; boundary=x")]
    event = event_of(request(headers=headers, body=b"\x00\xff"))
    assert event["isBase64Encoded"] is True
    assert base64.b64decode(str(event["body"])) == b"\x00\xff"


def test_an_authorizer_gets_the_request_without_its_body() -> None:
    event = authorizer_event(event_of(request()), "arn:x")
    assert event["type"] == "REQUEST"
    assert event["methodArn"] == "arn:x"
    assert "body" not in event


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/jobs/list", "exact"),
        ("/jobs/j1", "one"),
        ("/jobs/j1/events", "sub"),
        ("/jobs/j1/other/deep", "rest"),
        ("/jobs/j1/", "one"),
    ],
)
def test_the_most_literal_route_wins(path: str, expected: str) -> None:
    router = Router(
        [
            route("/jobs/{path+}", function="rest"),
            route("/jobs/{id}", function="one"),
            route("/jobs/{id}/events", function="sub"),
            route("/jobs/list", function="exact"),
        ]
    )
    found = router.find("GET", path)
    assert found is not None
    assert found[0].function == expected


def test_a_route_is_found_by_its_method_and_any_takes_all() -> None:
    router = Router([route("/a", "GET"), route("/b", "ANY")])
    assert router.find("POST", "/a") is None
    assert router.methods("/a") == {"GET"}
    assert router.find("DELETE", "/b") is not None
    assert router.find("GET", "/c") is None
    both = Router([route("/a", "ANY", function="rest"), route("/a", "GET", function="own")])
    found = [both.find(method, "/a") for method in ("GET", "PUT")]
    assert [one and one[0].function for one in found] == ["own", "rest"]
    assert both.methods("/a") >= {"GET", "PUT", "OPTIONS"}


def test_a_result_keeps_status_headers_and_body() -> None:
    answer = {
        "statusCode": "404",
        "headers": {"X-A": "1", "Set-Cookie": "no", "WWW-Authenticate": "Basic"},
        "multiValueHeaders": {"Set-Cookie": ["a=1", "b=2"]},
        "body": "gone",
    }
    result = proxy_result(json.dumps(answer).encode(), None, API)
    assert result.status == 404
    assert result.body == b"gone"
    assert list(result.headers) == [
        ("X-A", "1"),
        ("x-amzn-Remapped-WWW-Authenticate", "Basic"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("Content-Type", "application/json"),
    ]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [("image/png,*/*", b"\x89PNG"), (None, b"\x89PNG"), ("application/json", b"iVBORw==")],
)
def test_a_base64_body_is_decoded_for_those_who_accept_the_binary_type(
    accept: str | None, expected: bytes
) -> None:
    answer = {
        "headers": {"Content-Type": "image/png"},
        "body": base64.b64encode(b"\x89PNG").decode(),
        "isBase64Encoded": True,
    }
    assert proxy_result(json.dumps(answer).encode(), accept, API).body == expected


@pytest.mark.parametrize(
    "payload",
    [
        b"not json",
        b"[]",
        b'"text"',
        b'{"statusCode": 99}',
        b'{"statusCode": "x"}',
        b'{"body": {"a": 1}}',
        b'{"headers": [1]}',
        b'{"headers": {"X": "a\\r\\nb"}}',
    ],
)
def test_what_is_not_a_proxy_result_is_refused(payload: bytes) -> None:
    with pytest.raises(FunctionError, match="Malformed"):
        proxy_result(payload, None, API)


def test_a_prelude_is_read_and_garbage_is_not() -> None:
    head = prelude(b'{"statusCode": 202, "headers": {"A": "b"}, "cookies": ["c=1"]}')
    assert head.status == 202
    assert list(head.headers) == [("A", "b"), ("Set-Cookie", "c=1")]
    with pytest.raises(FunctionError):
        prelude(b"data: hello")


def test_a_policy_allows_what_it_names_and_deny_wins() -> None:
    arn = "arn:aws:execute-api:us-east-1:0:api/prod/GET/jobs"

    def statement(effect: str, resource: object) -> dict[str, object]:
        return {"Effect": effect, "Action": "execute-api:Invoke", "Resource": resource}

    assert allows({"Statement": [statement("Allow", arn)]}, arn)
    assert allows({"Statement": statement("Allow", ["x", "arn:aws:*/prod/GET/*"])}, arn)
    assert not allows({"Statement": [statement("Allow", "arn:aws:*/POST/*")]}, arn)
    assert not allows({"Statement": [statement("Allow", "*"), statement("Deny", "*")]}, arn)
    assert not allows({}, arn)
