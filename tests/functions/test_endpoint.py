"""What every endpoint does around its route: who may, what fits, how it fails, what is logged."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Annotated, Any, cast

import pytest
from pydantic import BaseModel, Field

from robotchat import errors
from robotchat.aws.api import (
    Caller,
    Endpoint,
    EventStream,
    Header,
    Query,
    Response,
    Streamed,
    caller,
)
from robotchat.aws.wiring import Deployment, serving
from robotchat.errors import RobotchatError
from robotchat.settings import Settings

FAMILIES = {"a1111": "/sdapi/v1/x", "openai": "/v1/chat/completions", "robotchat": "/v1/jobs"}


class Order(BaseModel):
    """A body."""

    prompt: str
    steps: int = Field(default=20, ge=1, le=150)


def request(
    method: str,
    path: str,
    body: Any = None,
    *,
    raw: str | None = None,
    headers: dict[str, str] | None = None,
    query: dict[str, str] | None = None,
    scopes: str | None = "*",
) -> dict[str, Any]:
    """An event as API Gateway makes it for a REST proxy integration."""
    sent = {"Content-Type": "application/json", **(headers or {})}
    context: dict[str, Any] = {"requestId": "gateway-1", "stage": "prod", "path": path}
    if scopes is not None:
        context["authorizer"] = {"tenant": "acme", "key_id": "key_1", "scopes": scopes}
    return {
        "resource": path,
        "path": path,
        "httpMethod": method,
        "headers": sent,
        "multiValueHeaders": {name: [value] for name, value in sent.items()},
        "queryStringParameters": query,
        "multiValueQueryStringParameters": {k: [v] for k, v in query.items()} if query else None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": context,
        "body": raw if raw is not None else None if body is None else json.dumps(body),
        "isBase64Encoded": False,
    }


def raising(error: BaseException, **settings: Any) -> Endpoint:
    """An endpoint that fails on every family's path."""
    handler = Endpoint(**settings)

    def fail() -> dict[str, Any]:
        raise error

    for path in FAMILIES.values():
        handler.get(path)(fail)
    return handler


def taking_orders(path: str = "/v1/jobs", **settings: Any) -> Endpoint:
    handler = Endpoint(**settings)

    @handler.post(path, status_code=202)
    def order(order: Order) -> Order:
        return order

    return handler


def header(answer: dict[str, Any], name: str) -> str | None:
    for key, values in answer["multiValueHeaders"].items():
        if key.lower() == name.lower():
            assert len(values) == 1
            return str(values[0])
    return None


def unstream(chunks: Iterator[bytes]) -> tuple[dict[str, Any], bytes]:
    metadata, _, body = b"".join(chunks).partition(b"\0" * 8)
    return json.loads(metadata), body


def test_a_route_gets_its_model_and_its_answer_is_the_routes_status_and_json() -> None:
    answer = taking_orders()(request("POST", "/v1/jobs", {"prompt": "海边"}), None)
    assert answer["statusCode"] == 202
    assert answer["body"] == '{"prompt":"海边","steps":20}'
    assert header(answer, "content-type") == "application/json"


def test_every_answer_names_its_request_and_may_not_be_cached() -> None:
    answer = taking_orders()(request("POST", "/v1/jobs", {"prompt": "a"}), None)
    assert header(answer, "x-request-id") == "gateway-1"
    assert header(answer, "cache-control") == "no-store"
    assert header(answer, "access-control-allow-origin") == "*"


def test_a_list_is_not_taken_for_its_first_element() -> None:
    answer = taking_orders()(request("POST", "/v1/jobs", [{"prompt": "a"}, {"prompt": "b"}]), None)
    assert answer["statusCode"] == 422
    assert json.loads(answer["body"])["errors"][0]["detail"] == "Input should be an object"


@pytest.mark.parametrize(
    ("given", "used"),
    [("mine-1", "mine-1"), ("a" * 129, "gateway-1"), ("a\nb", "gateway-1"), ("", "gateway-1")],
)
def test_the_callers_own_request_id_is_kept_if_it_is_a_sane_one(given: str, used: str) -> None:
    event = request("POST", "/v1/jobs", {"prompt": "a"}, headers={"X-Request-Id": given})
    assert header(taking_orders()(event, None), "x-request-id") == used


def test_the_caller_is_who_the_authorizer_says() -> None:
    handler = Endpoint()
    seen: list[Any] = []

    @handler.get("/v1/jobs")
    def jobs() -> None:
        seen.extend([handler.tenant, handler.caller, caller(), handler.request_id])

    handler(request("GET", "/v1/jobs", scopes="images jobs:read"), None)
    who = Caller("acme", "key_1", frozenset({"images", "jobs:read"}))
    assert seen == ["acme", who, who, "gateway-1"]


def test_without_an_authorizer_only_public_endpoints_answer() -> None:
    event = request("POST", "/v1/jobs", {"prompt": "a"}, scopes=None)
    refused = taking_orders()(event, None)
    assert refused["statusCode"] == 401
    assert header(refused, "www-authenticate") == 'Bearer realm="robotchat"'
    assert taking_orders(public=True)(event, None)["statusCode"] == 202


@pytest.mark.parametrize(
    ("held", "status"),
    [
        ("jobs:read", 202),
        ("jobs", 202),
        ("*", 202),
        ("jobs:write", 403),
        ("images", 403),
        ("", 403),
    ],
)
def test_a_key_needs_the_endpoints_scope(held: str, status: int) -> None:
    event = request("POST", "/v1/jobs", {"prompt": "a"}, scopes=held)
    assert taking_orders(scope="jobs:read")(event, None)["statusCode"] == status


def test_who_may_not_is_told_so_before_what_is_wrong_with_the_body() -> None:
    event = request("POST", "/v1/jobs", raw="{", scopes="images")
    assert taking_orders(scope="jobs")(event, None)["statusCode"] == 403


def test_an_a1111_client_finds_fields_and_text_where_the_web_ui_has_them() -> None:
    handler = taking_orders(FAMILIES["a1111"])
    answer = handler(request("POST", FAMILIES["a1111"], {"prompt": "a", "steps": "x"}), None)
    body = json.loads(answer["body"])
    assert answer["statusCode"] == 422
    assert [(e["loc"], sorted(e)) for e in body["detail"]] == [
        (["body", "steps"], ["loc", "msg", "type"])
    ]
    assert body["error"] == body["code"] == "invalid_request"

    failed = raising(errors.UnknownSampler("Sampler not found"))
    body = json.loads(failed(request("GET", FAMILIES["a1111"]), None)["body"])
    assert body == {
        "error": "unknown_sampler",
        "detail": "Sampler not found",
        "body": "",
        "errors": "Sampler not found",
        "code": "unknown_sampler",
        "retryable": False,
        "request_id": "gateway-1",
    }


def test_an_openai_client_gets_400_with_the_field_in_param() -> None:
    handler = taking_orders(FAMILIES["openai"])
    answer = handler(request("POST", FAMILIES["openai"], {"prompt": "a", "steps": 0}), None)
    body = json.loads(answer["body"])["error"]
    assert answer["statusCode"] == 400
    assert (body["type"], body["param"]) == ("invalid_request_error", "steps")
    assert header(answer, "x-should-retry") == "false"


def test_robotchats_own_errors_are_problem_documents() -> None:
    answer = taking_orders()(request("POST", "/v1/jobs", {"steps": 0}), None)
    body = json.loads(answer["body"])
    assert header(answer, "content-type") == "application/problem+json"
    assert (answer["statusCode"], body["status"]) == (422, 422)
    assert body["type"] == "urn:robotchat:error:invalid_request"
    assert [(e["location"], e["pointer"]) for e in body["errors"]] == [
        ("body", "/prompt"),
        ("body", "/steps"),
    ]


def all_errors(kind: type[RobotchatError] = RobotchatError) -> Iterator[type[RobotchatError]]:
    yield kind
    for sub in kind.__subclasses__():
        if sub.__module__ == "robotchat.errors":
            yield from all_errors(sub)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", list(all_errors()), ids=lambda kind: kind.__name__)
def test_every_error_has_its_status_code_and_hint_in_every_family(
    kind: type[RobotchatError], family: str
) -> None:
    handler = raising(kind("So it is.", retry_after=1.2, param="steps", details={"limit": 3}))
    answer = handler(request("GET", FAMILIES[family]), None)
    body = json.loads(answer["body"])
    said = body["error"] if family == "openai" else body
    expected = {("openai", 422): 400, ("a1111", 415): 422}.get((family, kind.status), kind.status)
    assert answer["statusCode"] == expected
    assert said["code"] == kind.code
    assert said["retryable"] is kind.retryable
    assert said["request_id"] == "gateway-1"
    assert said["details"] == {"limit": 3}
    assert "So it is." in (said.get("detail") or said["message"])
    assert header(answer, "retry-after") == "2"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_bug_is_a_bare_500_and_its_text_stays_in_the_log(
    family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = raising(KeyError("secret-host.internal"))
    answer = handler(request("GET", FAMILIES[family]), None)
    assert answer["statusCode"] == 500
    assert "internal_error" in answer["body"]
    assert "secret-host" not in answer["body"]
    assert "secret-host" in capsys.readouterr().out


def test_an_answer_that_does_not_fit_its_own_schema_is_our_fault() -> None:
    handler = Endpoint()

    @handler.get("/v1/jobs")
    def jobs() -> Order:
        return {"steps": "many"}  # type: ignore[return-value]

    assert handler(request("GET", "/v1/jobs"), None)["statusCode"] == 500


def test_an_answer_that_cannot_be_built_is_still_an_answer() -> None:
    handler = Endpoint()

    @handler.get("/v1/jobs")
    def jobs() -> Response[Any]:
        return Response(200, "application/json", object())

    assert handler(request("GET", "/v1/jobs"), None)["statusCode"] == 500
    not_a_request = handler({"requestContext": {"requestId": "gateway-1"}}, None)
    assert not_a_request["statusCode"] == 500
    assert header(not_a_request, "x-request-id") == "gateway-1"


BAD_JSON = [
    '{"prompt":',
    '{"prompt": NaN}',
    '{"prompt": "a", "steps": 1e999}',
    '{"prompt": "\\ud800"}',
    "[" * 100_000,
    '{"steps": ' + "9" * 5000 + "}",
]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("raw", BAD_JSON, ids=lambda raw: raw[:20])
def test_a_body_that_is_not_json_is_the_callers_to_mend(raw: str, family: str) -> None:
    path = FAMILIES[family]
    answer = taking_orders(path)(request("POST", path, raw=raw), None)
    body = json.loads(answer["body"])
    said = body["error"] if family == "openai" else body
    assert answer["statusCode"] == (422 if family == "a1111" else 400)
    assert said["code"] == "malformed_request"


def test_a_paired_surrogate_is_a_character_like_any_other() -> None:
    answer = taking_orders()(request("POST", "/v1/jobs", raw='{"prompt": "\\ud83d\\ude00"}'), None)
    assert json.loads(answer["body"])["prompt"] == "😀"


def test_a_base64_body_is_decoded_and_a_byte_order_mark_forgiven() -> None:
    event = request("POST", "/v1/jobs")
    event["body"] = base64.b64encode(b'\xef\xbb\xbf{"prompt": "a"}').decode()
    event["isBase64Encoded"] = True
    assert taking_orders()(event, None)["statusCode"] == 202
    event["body"] = "%%%"
    assert taking_orders()(event, None)["statusCode"] == 400
    event["body"] = base64.b64encode(b"\xff\xfe\x00").decode()
    assert taking_orders()(event, None)["statusCode"] == 400


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "image/png"])
def test_a_body_of_another_type_is_not_guessed_at(kind: str) -> None:
    event = request("POST", "/v1/jobs", {"prompt": "a"}, headers={"Content-Type": kind})
    assert taking_orders()(event, None)["statusCode"] == 415


@pytest.mark.parametrize("kind", ["", "application/json; charset=utf-8", "application/ld+json"])
def test_json_by_any_of_its_names_is_read(kind: str) -> None:
    event = request("POST", "/v1/jobs", {"prompt": "a"}, headers={"Content-Type": kind})
    assert taking_orders()(event, None)["statusCode"] == 202


def test_a_body_over_the_endpoints_limit_is_413_and_not_parsed() -> None:
    handler = taking_orders(max_body_bytes=100)
    answer = handler(request("POST", "/v1/jobs", raw="{" + "x" * 100), None)
    assert answer["statusCode"] == 413
    assert json.loads(answer["body"])["details"] == {"max_bytes": 100}


@pytest.mark.parametrize("raw", ["", "null", "[]", '"text"', "5"])
def test_a_body_of_another_shape_is_a_422(raw: str) -> None:
    answer = taking_orders()(request("POST", "/v1/jobs", raw=raw), None)
    assert answer["statusCode"] == 422


def form(*parts: tuple[str, str], boundary: str = "xx") -> dict[str, Any]:
    text = "".join(f"--xx\r\nContent-Disposition: form-data; {a}\r\n\r\n{b}\r\n" for a, b in parts)
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}".removesuffix("=")}
    event = request("POST", "/v1/images/edits", headers=kind)
    event["body"] = base64.b64encode(f"{text}--xx--\r\n".encode()).decode()
    event["isBase64Encoded"] = True
    return event


def test_a_form_is_read_where_the_route_asks_for_one() -> None:
    handler = Endpoint(forms=True)

    @handler.post("/v1/images/edits")
    def edit(order: Edit) -> dict[str, Any]:
        return order.model_dump()

    image = ('name="image[]"; filename="a.png"', "12345")
    answer = handler(form(image, image, ('name="prompt"', "blue")), None)
    file = {"image_url": "data:application/octet-stream;base64,MTIzNDU="}
    assert json.loads(answer["body"]) == {"images": [file, file], "prompt": "blue"}
    cut = form(image, ('name="prompt"', "blue"))
    cut["body"] = cut["body"][:40]
    for refused in (
        form(image),
        form(image, ('name="prompt"', "longer")),
        form(boundary=""),
        cut,
    ):
        assert handler(refused, None)["statusCode"] == 400
    assert handler(request("POST", "/v1/images/edits", {"prompt": "a"}), None)["statusCode"] == 400
    handler.forms = False
    assert handler(form(image), None)["statusCode"] == 415


class Edit(BaseModel):
    images: list[dict[str, str]]
    prompt: str = Field(max_length=5)


def test_an_unknown_path_is_404_and_a_wrong_method_405_with_allow() -> None:
    handler = taking_orders(FAMILIES["a1111"])
    unknown = handler(request("GET", "/sdapi/v1/nothing"), None)
    assert (unknown["statusCode"], json.loads(unknown["body"])["error"]) == (404, "not_found")
    wrong = handler(request("GET", FAMILIES["a1111"]), None)
    assert (wrong["statusCode"], header(wrong, "allow")) == (405, "POST")


def test_the_methods_of_a_path_are_all_told_whichever_function_has_them() -> None:
    handler = taking_orders(FAMILIES["a1111"])
    event = request("PUT", "/sdapi/v1/options")
    wrong = handler({**event, "resource": "/sdapi/v1/options"}, None)
    assert (wrong["statusCode"], header(wrong, "allow")) == (405, "GET, POST")


@pytest.mark.parametrize("slashes", ["/{}", "//{}/", "/{}///"])
def test_slashes_too_many_in_a_path_do_no_harm(slashes: str) -> None:
    path = FAMILIES["a1111"].strip("/")
    event = request("POST", slashes.format(path), {"prompt": "a"})
    assert taking_orders(FAMILIES["a1111"])(event, None)["statusCode"] < 300


def test_an_empty_object_as_php_writes_it_is_one_for_the_web_ui() -> None:
    handler = Endpoint()

    @handler.post("/sdapi/v1/x")
    def options(options: dict[str, Any]) -> dict[str, Any]:
        return options

    assert handler(request("POST", "/sdapi/v1/x", raw="[]"), None)["body"] == "{}"
    assert taking_orders()(request("POST", "/v1/jobs", raw="[]"), None)["statusCode"] == 422


GBK = {"Content-Type": "application/json; charset=GBK"}
UTF_8 = {"Content-Type": 'application/json; Charset="UTF-8"'}


@pytest.mark.parametrize(
    ("raw", "headers", "status"),
    [
        ('{"prompt": "\ufffd\ufffd"}', {}, 422),
        (f'{{"prompt": "{"一只猫".encode("gbk").decode()}"}}', {}, 422),
        ('{"prompt": "кошка «é», Ελλάδα, 5 µм, ×Ж"}', {}, 202),
        ('{"prompt": "\u4e00"}', GBK, 422),
        ('{"prompt": "a"}', GBK, 202),
        ('{"prompt": "\u4e00"}', UTF_8, 202),
        ('{"prompt": "\\ufffd"}', {}, 202),
    ],
)
def test_a_body_in_another_encoding_is_refused(
    raw: str, headers: dict[str, str], status: int
) -> None:
    # API Gateway puts this sign for every byte that is not UTF-8.
    event = request("POST", FAMILIES["a1111"], raw=raw, headers=headers)
    assert taking_orders(FAMILIES["a1111"])(event, None)["statusCode"] == status


def test_query_and_header_parameters_are_checked_and_found_whatever_their_case() -> None:
    handler = Endpoint()

    @handler.get("/v1/jobs")
    def jobs(
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        prefer: Annotated[str | None, Header(alias="Prefer")] = None,
    ) -> dict[str, Any]:
        return {"limit": limit, "prefer": prefer}

    event = request("GET", "/v1/jobs", query={"limit": "5"}, headers={"PREFER": "wait=3"})
    assert json.loads(handler(event, None)["body"]) == {"limit": 5, "prefer": "wait=3"}
    refused = json.loads(handler(request("GET", "/v1/jobs", query={"limit": "0"}), None)["body"])
    assert refused["errors"][0]["location"] == "query"


def test_a_route_can_set_headers_and_status() -> None:
    handler = Endpoint()

    @handler.post("/v1/jobs")
    def jobs() -> Response[Order]:
        return Response(201, "application/json", Order(prompt="a"), {"Location": "/v1/jobs/1"})

    answer = handler(request("POST", "/v1/jobs"), None)
    assert (answer["statusCode"], header(answer, "location")) == (201, "/v1/jobs/1")


def test_null_is_an_answer_too() -> None:
    handler = Endpoint()

    @handler.post("/sdapi/v1/refresh-loras")
    def refresh() -> None:
        return None

    assert handler(request("POST", "/sdapi/v1/refresh-loras"), None)["body"] == "null"


def test_the_log_line_of_a_request_has_no_body_and_no_query(
    capsys: pytest.CaptureFixture[str],
) -> None:
    event = request("POST", "/v1/jobs", {"prompt": "my secret wish"}, query={"q": "my secret"})
    taking_orders()(event, None)
    [line] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert line["message"] == "answered"
    assert (line["correlation_id"], line["status"], line["tenant"]) == ("gateway-1", 202, "acme")
    assert "secret" not in json.dumps(line)


# --- Streams ----------------------------------------------------------------------------------


def streaming(events: Callable[[], Iterator[Any]], path: str = "/v1/jobs") -> Endpoint:
    handler = Endpoint()

    @handler.get(path)
    def route() -> EventStream | Order:
        return EventStream(events())

    return handler


def test_an_ordinary_answer_streams_as_metadata_and_body() -> None:
    event = request("POST", "/v1/jobs", {"prompt": "a"})
    metadata, body = unstream(taking_orders().stream(event, None))
    assert metadata["statusCode"] == 202
    assert metadata["headers"]["Content-Type"] == "application/json"
    assert metadata["headers"]["x-request-id"] == "gateway-1"
    assert json.loads(body) == {"prompt": "a", "steps": 20}


def test_a_large_answer_is_streamed_in_pieces() -> None:
    handler = Endpoint()

    @handler.get("/v1/jobs")
    def large() -> dict[str, str]:
        return {"image": "x" * 3_000_000}

    chunks = list(handler.stream(request("GET", "/v1/jobs"), None))
    assert len(chunks) > 10
    _, body = unstream(iter(chunks))
    assert len(json.loads(body)["image"]) == 3_000_000


def test_binary_answers_survive_both_faces() -> None:
    handler = Endpoint()

    @handler.get("/v1/jobs")
    def image() -> Response[bytes]:
        return Response(200, "image/png", b"\x89PNG\xff")

    buffered = handler(request("GET", "/v1/jobs"), None)
    assert buffered["isBase64Encoded"] is True
    assert base64.b64decode(buffered["body"]) == b"\x89PNG\xff"
    assert unstream(handler.stream(request("GET", "/v1/jobs"), None))[1] == b"\x89PNG\xff"


def test_a_streamed_binary_body_is_joined_for_those_who_cannot_stream() -> None:
    handler = Endpoint()

    @handler.get("/v1/jobs")
    def image() -> Streamed:
        return Streamed("image/png", iter([b"\x89PNG", b"\xff"]))

    answer = handler(request("GET", "/v1/jobs"), None)
    assert base64.b64decode(answer["body"]) == b"\x89PNG\xff"
    assert answer["isBase64Encoded"] is True


def test_an_event_stream_is_the_same_in_both_faces() -> None:
    def events() -> Iterator[Any]:
        yield "status", {"progress": 0.5}
        yield "done", {}

    expected = b'event: status\ndata: {"progress":0.5}\n\nevent: done\ndata: {}\n\n'
    handler = streaming(events)
    assert handler(request("GET", "/v1/jobs"), None)["body"].encode() == expected
    metadata, body = unstream(handler.stream(request("GET", "/v1/jobs"), None))
    assert body == expected
    assert metadata["headers"]["Content-Type"].startswith("text/event-stream")


def test_each_event_leaves_before_the_next_is_made() -> None:
    made = []

    def events() -> Iterator[Any]:
        for number in range(3):
            made.append(number)
            yield "n", number

    chunks = streaming(events).stream(request("GET", "/v1/jobs"), None)
    assert next(chunks).endswith(b"\0" * 8)
    assert next(chunks) == b"event: n\ndata: 0\n\n"
    assert made == [0]
    assert next(chunks) == b"event: n\ndata: 1\n\n"
    assert made == [0, 1]


def test_what_fails_before_the_first_event_has_its_proper_status() -> None:
    def events() -> Iterator[Any]:
        raise errors.UpstreamBusy("All hosts are busy.")
        yield

    for face in ("called", "streamed"):
        handler, event = streaming(events), request("GET", "/v1/jobs")
        if face == "called":
            status = handler(event, None)["statusCode"]
        else:
            status = unstream(handler.stream(event, None))[0]["statusCode"]
        assert status == 503


@pytest.mark.parametrize(
    ("path", "code_of"),
    [
        ("/v1/jobs", lambda body: body["code"]),
        ("/v1/chat/completions", lambda body: body["error"]["code"]),
    ],
)
@pytest.mark.parametrize(
    ("error", "code"),
    [(errors.UpstreamTimeout("late"), "upstream_timeout"), (KeyError("x"), "internal_error")],
)
def test_what_fails_later_is_the_last_event_in_the_familys_shape(
    error: Exception, code: str, path: str, code_of: Callable[[Any], str]
) -> None:
    def events() -> Iterator[Any]:
        yield "a", 1
        raise error

    metadata, body = unstream(streaming(events, path).stream(request("GET", path), None))
    assert metadata["statusCode"] == 200
    first, last = body.decode().strip().split("\n\n")
    assert first == "event: a\ndata: 1"
    name, _, data = last.partition("\n")
    assert name == "event: error"
    assert code_of(json.loads(data.removeprefix("data: "))) == code


def test_a_stream_of_bytes_that_breaks_is_cut_off() -> None:
    handler = Endpoint()

    @handler.get("/v1/jobs")
    def download() -> Streamed:
        def chunks() -> Iterator[bytes]:
            yield b"half"
            raise OSError("gone")

        return Streamed("application/octet-stream", chunks())

    chunks = handler.stream(request("GET", "/v1/jobs"), None)
    assert [next(chunks)[-8:], next(chunks)] == [b"\0" * 8, b"half"]
    with pytest.raises(OSError, match="gone"):
        next(chunks)


@pytest.mark.parametrize("taken", [1, 2])
def test_a_client_that_goes_closes_what_the_route_holds_open(taken: int) -> None:
    closed = []

    def events() -> Iterator[Any]:
        try:
            while True:
                yield "n", 1
        finally:
            closed.append(True)

    chunks = streaming(events).stream(request("GET", "/v1/jobs"), None)
    for _ in range(taken):
        next(chunks)
    chunks.close()  # type: ignore[attr-defined]
    assert closed == [True]


def test_an_empty_stream_is_an_empty_answer() -> None:
    metadata, body = unstream(streaming(lambda: iter(())).stream(request("GET", "/v1/jobs"), None))
    assert (metadata["statusCode"], body) == (200, b"")


def test_an_allowed_origin_can_be_named() -> None:
    settings = Settings.from_env({"ALLOW_ORIGIN": "https://app.example"})
    with serving(Deployment(settings)):
        answer = taking_orders()(request("POST", "/v1/jobs", {"prompt": "a"}), None)
    assert header(answer, "access-control-allow-origin") == "https://app.example"
    assert header(answer, "vary") == "Origin"


# --- What takes longer than API Gateway bears silence --------------------------------------------


class Slow:
    """An endpoint whose route goes on only when it is told to."""

    def __init__(self, path: str, result: Callable[[], Any]) -> None:
        self.go_on = threading.Event()
        self.ended = threading.Event()
        self.handler = Endpoint()
        self.path = path

        @self.handler.get(path)
        def route() -> dict[str, Any]:
            assert self.go_on.wait(30)
            self.ended.set()
            return cast(dict[str, Any], result())

    def stream(self) -> Iterator[bytes]:
        return self.handler.stream(request("GET", self.path), None)


@pytest.fixture
def hasty() -> Iterator[None]:
    """A gateway that bears no silence."""
    with serving(Deployment(Settings(longest_silence=0.01, sign_of_life=0.01))):
        yield


@pytest.mark.usefixtures("hasty")
def test_who_waits_for_long_hears_white_space_and_then_the_answer() -> None:
    slow = Slow("/sdapi/v1/txt2img", lambda: {"images": ["iVBOR"]})
    chunks = slow.stream()
    metadata = json.loads(next(chunks)[:-8])
    assert metadata["statusCode"] == 200
    assert metadata["headers"]["Content-Type"] == "application/json"
    assert metadata["headers"]["x-request-id"] == "gateway-1"
    assert [next(chunks), next(chunks)] == [b" ", b" "]
    slow.go_on.set()
    body = b"".join(chunks)
    assert json.loads(body) == {"images": ["iVBOR"]}


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("path", "code_of"),
    [
        ("/sdapi/v1/txt2img", lambda body: (body["error"], bool(body["detail"]), body["errors"])),
        ("/v1/chat/completions", lambda body: (body["error"]["code"], True, "All are busy.")),
    ],
)
def test_a_late_failure_is_told_by_the_body(path: str, code_of: Callable[[Any], Any]) -> None:
    def fail() -> None:
        raise errors.UpstreamBusy("All are busy.")

    slow = Slow(path, fail)
    chunks = slow.stream()
    assert json.loads(next(chunks)[:-8])["statusCode"] == 200
    assert next(chunks) == b" "
    slow.go_on.set()
    assert code_of(json.loads(b"".join(chunks))) == ("upstream_busy", True, "All are busy.")


@pytest.mark.usefixtures("hasty")
def test_a_client_that_goes_while_it_waits_does_not_cut_the_next_request_short() -> None:
    slow = Slow("/sdapi/v1/txt2img", dict)
    chunks = slow.stream()
    next(chunks)
    assert next(chunks) == b" "
    closing = threading.Thread(target=chunks.close)  # type: ignore[attr-defined]
    closing.start()
    slow.go_on.set()
    closing.join(30)
    assert slow.ended.is_set(), "the process is free only when the route has ended"


def test_what_is_answered_in_time_has_no_white_space_and_its_own_status() -> None:
    slow = Slow("/sdapi/v1/txt2img", lambda: {"images": []})
    slow.go_on.set()
    assert unstream(slow.stream())[1] == b'{"images":[]}'


def test_a_stream_that_nobody_reads_ends_before_its_function_does() -> None:
    closed = []

    def events() -> Iterator[Any]:
        try:
            while True:
                yield "n", 1
        finally:
            closed.append(True)

    left = iter([100.0, 20.0, 14.0])
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: next(left) * 1000)
    handler = streaming(events, "/v1/chat/completions")
    _, body = unstream(handler.stream(request("GET", "/v1/chat/completions"), context))
    *numbers, last = body.decode().strip().split("\n\n")
    assert len(numbers) == 4
    assert json.loads(last.partition("data: ")[2])["error"]["code"] == "upstream_timeout"
    assert closed == [True]
