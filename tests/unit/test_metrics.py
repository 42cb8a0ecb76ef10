"""What is counted, and what ties the lines of one request together."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from robotchat import Robot
from robotchat.aws.gpt import completed
from robotchat.aws.log import correlate
from robotchat.aws.metrics import record_attempt, record_delivery, record_end, record_sweep
from robotchat.aws.streams import EventStream
from robotchat.correlation import correlation_id
from robotchat.drivers.fake import FakeArt
from robotchat.events.delivery import Attempt, Delivery, DeliveryState
from robotchat.hosts.lease import HostState
from robotchat.jobs.job import Job, JobError, JobKind, JobStatus, Timings

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(autouse=True)
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "stack")
    correlate("request-1")
    yield
    correlate(None)


def job(**fields: Any) -> Job:
    return Job(
        id="job_1",
        kind=JobKind.TEXT2IMAGE,
        tenant="dev",
        created_at=NOW,
        expires_at=NOW + timedelta(days=7),
        **fields,
    )


class Metrics:
    """The lines that were written, as CloudWatch reads them."""

    def __init__(self, output: str) -> None:
        self.lines = [json.loads(line) for line in output.splitlines()]
        self.values: dict[str, float] = {}
        self.dimensions: dict[str, dict[str, str]] = {}
        for line in self.lines:
            (directive,) = line["_aws"]["CloudWatchMetrics"]
            assert directive["Namespace"] == "robotchat"
            (names,) = directive["Dimensions"]
            for metric in directive["Metrics"]:
                (self.values[metric["Name"]],) = line[metric["Name"]]
                self.dimensions[metric["Name"]] = {name: line[name] for name in names}


def test_a_finished_attempt_tells_where_its_time_went(capsys: pytest.CaptureFixture[str]) -> None:
    timings = Timings(queued=0.5, host_wait=0.25, run=2.0, store=0.125)
    record_attempt(
        job(status=JobStatus.SUCCEEDED, attempt=1, timings=timings, model_switch=True, host="sd-1")
    )
    metrics = Metrics(capsys.readouterr().out)
    assert metrics.values == {
        "Attempts": 1,
        "Retries": 0,
        "QueuedTime": 0.5,
        "HostWait": 0.25,
        "DrawTime": 2.0,
        "StoreTime": 0.125,
        "ModelSwitches": 1,
    }
    assert set(map(str, metrics.dimensions.values())) == {"{'service': 'stack'}"}
    (line,) = metrics.lines
    assert (line["job_id"], line["host"], line["correlation_id"]) == ("job_1", "sd-1", "request-1")


def test_a_failed_attempt_counts_as_a_retry_when_there_will_be_another(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = JobError(code="upstream_timeout", message="Too slow.", retryable=True)
    record_attempt(job(status=JobStatus.QUEUED, reason="backing_off", attempt=1, error=error))
    record_attempt(job(status=JobStatus.FAILED, attempt=2, error=error))
    first, second = Metrics(capsys.readouterr().out).lines
    assert (first["Retries"], second["Retries"]) == ([1.0], [0.0])
    assert first["code"] == "upstream_timeout"
    assert "DrawTime" not in first


def test_the_end_of_a_job_is_counted_by_its_status(capsys: pytest.CaptureFixture[str]) -> None:
    record_end(job(status=JobStatus.SUCCEEDED, finished_at=NOW + timedelta(seconds=3)))
    metrics = Metrics(capsys.readouterr().out)
    assert metrics.values == {"JobsEnded": 1, "JobTime": 3}
    assert metrics.dimensions["JobsEnded"] == {"status": "succeeded", "service": "stack"}
    assert metrics.dimensions["JobTime"] == {"service": "stack"}


def test_a_job_that_failed_does_not_count_for_how_long_jobs_take(
    capsys: pytest.CaptureFixture[str],
) -> None:
    record_end(job(status=JobStatus.FAILED, finished_at=NOW + timedelta(seconds=3)))
    assert Metrics(capsys.readouterr().out).values == {"JobsEnded": 1}


def test_an_attempt_at_a_delivery_is_counted_by_its_outcome(
    capsys: pytest.CaptureFixture[str],
) -> None:
    record_delivery(
        Delivery(
            id="whd_1",
            tenant="dev",
            event_id="evt_1",
            type="job.succeeded",
            job_id="job_1",
            url="https://example.com/hook?token=secret",
            body="{}",
            state=DeliveryState.DELIVERED,
            attempts=[Attempt(at=NOW, status=204, duration_ms=12)],
            created_at=NOW,
            deadline=NOW,
            next_attempt_at=None,
        )
    )
    output = capsys.readouterr().out
    metrics = Metrics(output)
    assert metrics.values == {"WebhookAttempts": 1, "WebhookTime": 12}
    assert metrics.dimensions["WebhookAttempts"] == {"outcome": "delivered", "service": "stack"}
    assert "secret" not in output


def test_the_sweeper_tells_of_hosts_whose_last_uses_failed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    hosts = [HostState(name="sd-1", failures=2), HostState(name="sd-2")]
    record_sweep(repaired=1, requeued=0, hosts=hosts)
    metrics = Metrics(capsys.readouterr().out)
    assert metrics.values == {
        "SweeperRepairs": 1,
        "RequeuedDeliveries": 0,
        "HostsDown": 1,
        "Hosts": 2,
    }
    assert metrics.lines[0]["down"] == ["sd-1"]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"choices": [{"delta": {"role": "assistant", "content": ""}}]}, False),
        ({"choices": [], "usage": {}}, False),
        ({"choices": [{"delta": {"content": "Hi"}}]}, True),
        ({"choices": [{"delta": {"tool_calls": [{"index": 0}]}}]}, True),
        ({"choices": [{"text": "Hi"}]}, True),
        ({"type": "response.created"}, False),
        ({"type": "response.output_text.delta", "delta": "Hi"}, True),
    ],
)
def test_the_first_words_of_a_streamed_answer_are_timed(
    said: dict[str, Any], words: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    class Upstream:
        def __iter__(self) -> Iterator[dict[str, Any]]:
            return iter([said, said])

        def close(self) -> None:
            """Nothing is open."""

    answer = completed({"stream": True}, whole=lambda body: {}, stream=lambda body: Upstream())  # type: ignore[arg-type,return-value]
    assert isinstance(answer, EventStream)
    assert b"[DONE]" in b"".join(answer.chunks)
    lines = Metrics(capsys.readouterr().out).lines
    assert [line["correlation_id"] for line in lines] == ["request-1"] * words
    assert all(line["FirstTokenTime"][0] >= 0 for line in lines)


def test_every_attempt_is_reported_and_a_job_knows_its_request() -> None:
    seen: list[Job] = []
    robot = Robot(art=FakeArt(), on_attempt=seen.append)
    done = robot.chat_text2image("a photo of a beach")
    assert correlation_id() == done.request_id == "request-1"
    assert [(one.id, one.status) for one in seen] == [(done.id, JobStatus.SUCCEEDED)]
