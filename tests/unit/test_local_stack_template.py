"""Reading a SAM template for the local stack, and its schedules."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from dev.stack.poller import Timetable, succeeded
from dev.template import QueueSource, Schedule, Template, TemplateError

SAMPLE = Path(__file__).parents[1] / "integration" / "fixtures" / "sample" / "template.yaml"


def test_routes_carry_their_function_authorizer_and_mode() -> None:
    api = Template(SAMPLE).api()
    routes = {(route.method, route.path): route for route in (*api.routes, *api.others)}
    assert routes["GET", "/closed"].authorizer == "Keys"
    assert [(other.path, other.authorizer) for other in api.others] == [("/echo/{name}", None)]
    assert routes["GET", "/stream"].streams
    assert not routes["GET", "/closed"].streams
    assert api.stage == "prod"
    assert api.stream_idle == 300
    assert api.binary_types == ("image/png",)
    assert api.authorizers["Keys"].function == "Gatekeeper"
    assert api.authorizers["Keys"].ttl == 0
    headers = {"WWW-Authenticate": "Bearer", "X-Request-Id": "$context.requestId"}
    assert api.responses["UNAUTHORIZED"].headers == headers


def test_event_sources_are_read_with_parameters_resolved() -> None:
    template = Template(SAMPLE, {"Concurrency": "7", "Unknown": "ignored"})
    assert template.queue_sources() == [QueueSource("Consumer", "Jobs", 5, 1.0, 7, True)]
    assert template.schedules() == [
        Schedule("Consumer", "Clock", "rate(5 minutes)", '{"Records": []}')
    ]
    assert template.given == {"Concurrency": "7"}


def test_globals_are_merged_into_functions() -> None:
    properties = dict(Template(SAMPLE).resources("AWS::Serverless::Function"))["Echo"]
    assert properties["Timeout"] == 5
    assert properties["MemorySize"] == 256
    assert set(properties["Environment"]["Variables"]) == {"GREETING", "TABLE_NAME", "OWN"}


def test_the_deployable_template_leaves_delivery_and_streaming_to_the_local_stack() -> None:
    deployable = Template(SAMPLE).deployable("bucket", "key")
    events = deployable["Resources"]["Consumer"]["Properties"]["Events"]
    assert events == {}
    route = deployable["Resources"]["Streamer"]["Properties"]["Events"]["Stream"]
    assert "ResponseTransferMode" not in route["Properties"]
    code = deployable["Resources"]["Echo"]["Properties"]["CodeUri"]
    assert code == {"Bucket": "bucket", "Key": "key"}


def test_an_event_that_nobody_would_deliver_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "template.yaml"
    path.write_text(
        "Resources: {F: {Type: AWS::Serverless::Function, Properties: "
        "{CodeUri: f, Events: {E: {Type: S3, Properties: {}}}}}}"
    )
    with pytest.raises(TemplateError, match="no S3 events"):
        Template(path).deployable("bucket", "key")


def test_a_reference_to_a_resource_is_no_plain_value() -> None:
    with pytest.raises(TemplateError, match="cannot resolve"):
        Template(SAMPLE).value({"Ref": "Table"})


@pytest.mark.parametrize(
    ("expression", "due"),
    [
        ("rate(1 minute)", "2026-03-01T10:01:30"),
        ("rate(2 hours)", "2026-03-01T12:00:30"),
        ("cron(*/15 * * * ? *)", "2026-03-01T10:15:00"),
        ("cron(0 3 * * ? *)", "2026-03-02T03:00:00"),
        ("cron(0 9 ? * 2-6 *)", "2026-03-02T09:00:00"),
        ("cron(5,7 10 1 3 ? *)", "2026-03-01T10:05:00"),
    ],
)
def test_a_schedule_is_due(expression: str, due: str) -> None:
    sunday = datetime(2026, 3, 1, 10, 0, 30, tzinfo=UTC)
    assert Timetable(expression).after(sunday) == datetime.fromisoformat(due).replace(tzinfo=UTC)


@pytest.mark.parametrize("expression", ["rate(0 minutes)", "at(2026)", "cron(0 0 L * ? *)"])
def test_a_schedule_that_is_not_understood_is_refused(expression: str) -> None:
    with pytest.raises(TemplateError, match="does not understand"):
        Timetable(expression)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"null", ["a", "b"]),
        (b'{"batchItemFailures": []}', ["a", "b"]),
        (b'{"batchItemFailures": [{"itemIdentifier": "a"}]}', ["b"]),
        (b'{"batchItemFailures": [{"itemIdentifier": "unknown"}]}', []),
        (b'{"batchItemFailures": [{"id": "a"}]}', []),
        (b'"text"', []),
        (b"garbage", []),
    ],
)
def test_partial_failures_are_read_as_lambda_reads_them(answer: bytes, expected: list[str]) -> None:
    messages = [{"MessageId": "a"}, {"MessageId": "b"}]
    assert [message["MessageId"] for message in succeeded(messages, answer)] == expected
