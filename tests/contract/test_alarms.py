"""Each alarm fires on what it is for, and not on what is usual; the dashboard shows what there is.

The alarms are those of the translated template, judged as CloudWatch does it: a period's datapoints
make its statistic, and an alarm fires when as many periods in a row breach as it says. What we
measure ourselves is fed to them as our own code writes it.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from robotchat.aws import metrics
from robotchat.hosts.lease import HostState
from robotchat.jobs.job import Job, JobKind, JobStatus
from tests.translated import translated

STACK = "robotchat"
OPERATIONS = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

Metric = tuple[str, str, frozenset[tuple[str, str]]]
Period = Mapping[Metric, Sequence[float]]
"""The datapoints of one period."""


def resolved(value: Any) -> str:
    """A name as it would be deployed; that of a resource is its logical id."""
    if isinstance(value, Mapping):
        if "Fn::GetAtt" in value:
            return str(value["Fn::GetAtt"][0])
        if value["Ref"] == "AWS::StackName":
            return STACK
        parameter = translated()["Parameters"].get(value["Ref"], {})
        return str(parameter.get("Default", value["Ref"]))
    return str(value)


def alarms() -> dict[str, dict[str, Any]]:
    return {
        name: one["Properties"]
        for name, one in translated(AlarmEmail="ops@example.com")["Resources"].items()
        if one["Type"] == "AWS::CloudWatch::Alarm"
    }


def metric_of(source: Mapping[str, Any]) -> Metric:
    dimensions = source.get("Dimensions", ())
    pairs = frozenset((one["Name"], resolved(one["Value"])) for one in dimensions)
    return source["Namespace"], source["MetricName"], pairs


def statistic(name: str, values: Sequence[float]) -> float | None:
    if not values:
        return None
    if name.startswith("p"):
        return sorted(values)[math.ceil(float(name[1:]) / 100 * len(values)) - 1]
    of: dict[str, Callable[[Sequence[float]], float]]
    of = {"Sum": sum, "Maximum": max, "Average": fmean}
    return of[name](values)


def measured(alarm: Mapping[str, Any], period: Period) -> float | None:
    """The value of a period that an alarm compares; None when there is none."""
    name = alarm.get("ExtendedStatistic") or alarm["Statistic"]
    return statistic(name, period.get(metric_of(alarm), ()))


def fires(name: str, periods: Sequence[Period]) -> bool:
    """Whether an alarm is in alarm after these periods."""
    alarm = alarms()[name]
    wanted = alarm.get("DatapointsToAlarm", alarm["EvaluationPeriods"])
    threshold, needed = float(resolved(alarm["Threshold"])), int(wanted)
    compare: Callable[[float, float], bool] = {
        "GreaterThanThreshold": operator.gt,
        "GreaterThanOrEqualToThreshold": operator.ge,
    }[alarm["ComparisonOperator"]]
    assert alarm["TreatMissingData"] == "notBreaching"
    values = [measured(alarm, period) for period in periods[-alarm["EvaluationPeriods"] :]]
    return sum(value is not None and compare(value, threshold) for value in values) >= needed


# --- what CloudWatch gets -------------------------------------------------------------------------


def queue(name: str, metric: str, value: float) -> Period:
    return {("AWS/SQS", metric, frozenset({("QueueName", name)})): [value]}


def function(name: str, metric: str, *values: float) -> Period:
    return {("AWS/Lambda", metric, frozenset({("FunctionName", name)})): values}


def api(requests: int, errors: int) -> Period:
    stage = frozenset({("ApiName", STACK), ("Stage", "live")})
    return {
        ("AWS/ApiGateway", "Count", stage): [1.0] * requests,
        # One datapoint for each request: 1 for an error, else 0.
        ("AWS/ApiGateway", "5XXError", stage): [1.0] * errors + [0.0] * (requests - errors),
    }


@dataclass
class Own:
    """What our own code writes, read as CloudWatch reads it."""

    capsys: pytest.CaptureFixture[str]

    def period(self, *records: Callable[[], None]) -> Period:
        for record in records:
            record()
        points: dict[Metric, list[float]] = {}
        for line in map(json.loads, self.capsys.readouterr().out.splitlines()):
            for directive in line["_aws"]["CloudWatchMetrics"]:
                for names in directive["Dimensions"]:
                    pairs = frozenset((name, line[name]) for name in names)
                    for metric in directive["Metrics"]:
                        key = (directive["Namespace"], metric["Name"], pairs)
                        points.setdefault(key, []).extend(line[metric["Name"]])
        return points


def sweep(*, repaired: int = 0, failures: int = 0) -> Callable[[], None]:
    hosts = [HostState(name="sd-1", failures=failures), HostState(name="sd-2")]
    return lambda: metrics.record_sweep(repaired=repaired, requeued=0, hosts=hosts)


def took(seconds: float) -> Callable[[], None]:
    job = Job(
        id="job_1",
        kind=JobKind.TEXT2IMAGE,
        tenant="dev",
        status=JobStatus.SUCCEEDED,
        created_at=NOW,
        finished_at=NOW + timedelta(seconds=seconds),
        expires_at=NOW,
    )
    return lambda: metrics.record_end(job)


@pytest.fixture
def own(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Own:
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", STACK)
    return Own(capsys)


# --- each alarm -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alarm", "name"),
    [("DeadLettersAlarm", "DeadLetters"), ("EventDeadLettersAlarm", "EventDeadLetters")],
)
def test_one_dead_letter_is_enough(alarm: str, name: str) -> None:
    metric = "ApproximateNumberOfMessagesVisible"
    assert not fires(alarm, [queue(name, metric, 0)])
    assert not fires(alarm, [queue("Jobs", metric, 100)])
    assert fires(alarm, [queue(name, metric, 1)])


def test_jobs_that_wait_for_a_quarter_of_an_hour_raise_an_alarm() -> None:
    age = "ApproximateAgeOfOldestMessage"
    late = queue("Jobs", age, 901)
    assert not fires("QueueAgeAlarm", [queue("Jobs", age, 900)] * 5)
    assert not fires("QueueAgeAlarm", [late, late, {}, late, late])
    assert fires("QueueAgeAlarm", [late] * 5)
    untaken = queue("Requests", age, 901)
    assert not fires("RequestsAgeAlarm", [untaken, untaken, {}, untaken, untaken])
    assert fires("RequestsAgeAlarm", [untaken] * 5)


def test_one_request_in_twenty_that_fails_raises_an_alarm_when_it_goes_on() -> None:
    usual, bad = api(requests=1000, errors=50), api(requests=1000, errors=51)
    assert not fires("ApiErrorsAlarm", [usual] * 10)
    assert not fires("ApiErrorsAlarm", [bad, bad, *[usual] * 8])
    assert fires("ApiErrorsAlarm", [bad, *[usual] * 7, bad, bad])
    alone = api(requests=1, errors=1)
    assert not fires("ApiErrorsAlarm", [*[{}] * 9, alone])


def test_a_worker_that_crashes_again_and_again_raises_an_alarm() -> None:
    assert not fires("WorkerErrorsAlarm", [function("Worker", "Errors", 1, 0, 1)])
    assert not fires("WorkerErrorsAlarm", [function("Deliver", "Errors", 1, 1, 1)])
    assert fires("WorkerErrorsAlarm", [function("Worker", "Errors", 1, 1, 0, 1)])


def test_any_repair_of_the_sweeper_raises_an_alarm(own: Own) -> None:
    assert not fires("RepairsAlarm", [own.period(sweep())])
    assert fires("RepairsAlarm", [own.period(sweep(repaired=1))])


def test_a_host_that_fails_for_a_quarter_of_an_hour_raises_an_alarm(own: Own) -> None:
    up, down = own.period(sweep()), own.period(sweep(failures=3))
    assert not fires("HostDownAlarm", [down, down, up])
    assert fires("HostDownAlarm", [up, down, down, down])


def test_one_slow_job_in_twenty_raises_an_alarm(own: Own) -> None:
    usual = own.period(*[took(5)] * 38, *[took(301)] * 2)
    slow = own.period(*[took(5)] * 37, *[took(301)] * 3)
    assert not fires("SlowJobsAlarm", [usual, usual])
    assert not fires("SlowJobsAlarm", [slow, usual])
    assert fires("SlowJobsAlarm", [slow, slow])


def test_events_that_are_ten_minutes_late_raise_an_alarm() -> None:
    assert not fires("EventsLateAlarm", [function("Publish", "IteratorAge", 600_000)] * 5)
    assert fires("EventsLateAlarm", [function("Publish", "IteratorAge", 0, 600_001)] * 5)


def test_every_alarm_has_a_test() -> None:
    source = Path(__file__).read_text()
    untested = {name for name in alarms() if f'"{name}"' not in source}
    assert not untested


def test_every_alarm_is_explained_and_sent() -> None:
    headings = set(re.findall(r"^### (\w+)$", OPERATIONS.read_text(), re.MULTILINE))
    assert {name for name in headings if name.endswith("Alarm")} == set(alarms())
    for alarm in alarms().values():
        for actions in (alarm["AlarmActions"], alarm["OKActions"]):
            assert actions["Fn::If"][:2] == ["HasAlarmEmail", [{"Ref": "AlarmTopic"}]]
    assert "AlarmTopic" in translated(AlarmEmail="ops@example.com")["Resources"]
    assert "AlarmTopic" not in translated()["Resources"]


# --- the dashboard --------------------------------------------------------------------------------


def shown() -> set[tuple[str, str]]:
    """Namespace and name of every metric on the dashboard."""
    (dashboard,) = (
        one["Properties"]
        for one in translated()["Resources"].values()
        if one["Type"] == "AWS::CloudWatch::Dashboard"
    )
    body = json.loads(dashboard["DashboardBody"]["Fn::Sub"])
    found: set[tuple[str, str]] = set()
    for widget in body["widgets"]:
        before: list[Any] = []
        for row in widget["properties"]["metrics"]:
            names = [one for one in row if isinstance(one, str)]
            if names[0] == "...":
                names = [*before[: len(before) - len(names) + 1], *names[1:]]
            names = [
                old if new == "." else new for new, old in zip(names, before or names, strict=False)
            ]
            found.add((names[0], names[1]))
            before = names
    return found


def test_the_dashboard_shows_metrics_that_there_are(own: Own) -> None:
    job = Job(
        id="job_1",
        kind=JobKind.TEXT2IMAGE,
        tenant="dev",
        status=JobStatus.SUCCEEDED,
        created_at=NOW,
        expires_at=NOW,
        timings=dict.fromkeys(("queued", "prompt", "host_wait", "run", "store"), 1.0),
    )
    written = own.period(lambda: metrics.record_attempt(job), took(1), sweep())
    ours = {name for namespace, name, _ in written if namespace == "robotchat"}
    names = {name for namespace, name in shown() if namespace == "robotchat"}
    assert names <= ours | {"WebhookAttempts", "FirstTokenTime"}
    assert {namespace for namespace, _ in shown()} == {
        "robotchat",
        "AWS/SQS",
        "AWS/Lambda",
        "AWS/ApiGateway",
    }
