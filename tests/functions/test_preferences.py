"""Text2Image and Image2Image by the queue, for callers that would rather not wait; and repeats."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from robotchat.aws import wiring
from robotchat.aws.answers import preferred_wait
from robotchat.clock import SystemClock
from robotchat.drivers.fake import FakeArt, plain_png
from robotchat.errors import UpstreamRejected
from robotchat.images import encode_base64
from robotchat.jobs.job import Job, JobStatus
from tests.cases.service import Service

SMALL = {"prompt": "a beach", "width": 64, "height": 64}
FUNCTIONS = ["sd/text2image", "sd/image2image"]


class Impatient:
    """A clock whose sleeps take no time; ``during`` is called at the first of them."""

    def __init__(self, during: Any = None) -> None:
        self._clock = SystemClock()
        self._late = 0.0
        self._during = during

    def now(self) -> Any:
        return self._clock.now() + timedelta(seconds=self._late)

    def sleep(self, seconds: float) -> None:
        self._late += seconds
        if self._during is not None:
            during, self._during = self._during, None
            during()


@pytest.fixture
def service() -> Iterator[Service]:
    """The functions over one host, whose queue is worked off by the test."""
    with Service.over([FakeArt()]) as service:
        yield service


def body_for(function: str) -> dict[str, Any]:
    if function == "sd/text2image":
        return SMALL
    return {**SMALL, "init_images": [encode_base64(plain_png(64, 64))]}


def work_off(service: Service) -> None:
    """The worker's part."""
    while service.queued:
        wiring.robot().run(service.queued.pop(0))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_who_does_not_want_to_wait_gets_the_job(service: Service, function: str) -> None:
    answer = service.call(function, body_for(function), headers={"Prefer": "respond-async"})
    assert answer.status == 202
    assert answer.headers["preference-applied"] == "respond-async"
    assert answer.headers["location"] == f"/v1/jobs/{answer.body['id']}"
    assert int(answer.headers["retry-after"]) >= 1
    assert (answer.body["status"], answer.body["images"]) == ("queued", [])
    assert service.queued == [answer.body["id"]]
    work_off(service)
    job = wiring.robot().jobs.get(answer.body["id"], "dev")
    assert (job.status, len(job.images)) == (JobStatus.SUCCEEDED, 1)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_is_done_in_time_is_answered_as_always(service: Service, function: str) -> None:
    wiring.robot()._inline._clock = Impatient(lambda: work_off(service))
    answer = service.call(function, body_for(function), headers={"Prefer": "wait=20"})
    assert (answer.status, answer.headers["preference-applied"]) == (200, "wait=20")
    assert len(answer.body["images"]) == 1
    assert json.loads(answer.body["info"])["prompt"] == "a beach"
    assert answer.body["job_id"].startswith("job_")


def test_what_takes_longer_is_answered_with_the_job_and_goes_on(service: Service) -> None:
    wiring.robot()._inline._clock = Impatient()
    answer = service.call("sd/text2image", SMALL, headers={"Prefer": "wait=5"})
    assert (answer.status, answer.headers["preference-applied"]) == (202, "wait=5")
    work_off(service)
    assert wiring.robot().jobs.get(answer.body["id"], "dev").status is JobStatus.SUCCEEDED


def test_nobody_waits_longer_than_a_caller_may_hear_nothing(service: Service) -> None:
    wiring.robot()._inline._clock = Impatient()
    answer = service.call("sd/text2image", SMALL, headers={"Prefer": "wait=99999"})
    assert answer.headers["preference-applied"] == "wait=230"


def test_a_job_that_fails_in_time_is_answered_with_its_error(service: Service) -> None:
    service.hosts["sd-0"].enqueue([UpstreamRejected("The SD host refused the request.")])
    wiring.robot()._inline._clock = Impatient(lambda: work_off(service))
    answer = service.call("sd/text2image", SMALL, headers={"Prefer": "wait=5"})
    assert (answer.status, answer.body["error"]) == (422, "upstream_rejected")
    assert answer.body["details"]["job_id"].startswith("job_")


def test_a_canceled_job_is_answered_as_such(service: Service) -> None:
    def cancel() -> None:
        wiring.robot().cancel(service.queued[0], tenant="dev")

    wiring.robot()._inline._clock = Impatient(cancel)
    answer = service.call("sd/text2image", SMALL, headers={"Prefer": "wait=5"})
    assert (answer.status, answer.body["error"]) == (409, "job_canceled")


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        (None, None),
        ("", None),
        ("respond-async", 0.0),
        ("Respond-Async", 0.0),
        ("wait=10", 10.0),
        ('WAIT="10"', 10.0),
        ("respond-async, wait=10", 10.0),
        ("wait=10;foo=bar, respond-async", 10.0),
        ("wait = 7", 7.0),
        ("wait=3, wait=9", 3.0),
        ("wait=0", 0.0),
        ("wait=soon", None),
        ("wait=-1", None),
        ("return=minimal", None),
        (",,;=", None),
    ],
)
def test_a_preference_is_read_leniently(header: str | None, wait: float | None) -> None:
    assert preferred_wait(header) == wait


# --- repeats --------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefer", [{}, {"Prefer": "respond-async"}])
def test_the_same_key_and_request_is_the_same_job(service: Service, prefer: dict[str, str]) -> None:
    headers = {"Idempotency-Key": "order-7", **prefer}
    first = service.call("sd/text2image", SMALL, headers=headers)
    work_off(service)
    again = service.call("sd/text2image", SMALL, headers=headers)
    ids = [answer.body.get("job_id") or answer.body["id"] for answer in (first, again)]
    assert ids[0] == ids[1]
    assert len(service.hosts["sd-0"].requests) == 1
    other = service.call("sd/text2image", SMALL, headers=headers, tenant="other")
    work_off(service)
    assert (other.body.get("job_id") or other.body["id"]) != ids[0]


def test_a_repeat_gives_the_same_image_whatever_the_options_are_by_then(
    service: Service,
) -> None:
    headers = {"Idempotency-Key": "order-8"}
    first = service.call("sd/text2image", SMALL, headers=headers)
    service.call("sd/set_options", {"eta_noise_seed_delta": 5})
    again = service.call("sd/text2image", SMALL, headers=headers)
    assert (again.status, again.body["images"]) == (200, first.body["images"])


def test_the_same_key_for_another_request_is_refused(service: Service) -> None:
    headers = {"Idempotency-Key": "order-9"}
    assert service.call("sd/text2image", SMALL, headers=headers).status == 200
    other = service.call("sd/text2image", {**SMALL, "prompt": "a cat"}, headers=headers)
    assert (other.status, other.body["error"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "schlüssel", "a\tb"])
def test_a_key_of_the_wrong_form_is_refused(service: Service, key: str) -> None:
    answer = service.call("sd/text2image", SMALL, headers={"Idempotency-Key": key})
    assert (answer.status, answer.body["error"]) == (422, "invalid_request")
    assert service.hosts["sd-0"].requests == []


def test_a_key_may_be_as_long_as_that(service: Service) -> None:
    answer = service.call("sd/text2image", SMALL, headers={"Idempotency-Key": "x" * 255})
    assert answer.status == 200
    assert isinstance(wiring.robot().jobs.get(answer.body["job_id"], "dev"), Job)
