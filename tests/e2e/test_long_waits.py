"""Who waits for longer than silence may last: signs of life, then the answer or its error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from dev.sd_host import Control
from tests.local_stack import RunningStack, wait_until

IDLE = 6
"""Seconds of silence after which this stack's gateway cuts a stream."""
SIGNS = IDLE + 2
"""So many signs of life, one a second: longer together than the silence that is borne."""
SMALL = {"prompt": "a beach", "steps": 4, "width": 64, "height": 64}


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack whose gateway hangs up soon, and whose functions know that."""
    stack = RunningStack(
        tmp_path_factory.mktemp("stack"),
        {
            "ROBOTCHAT_STREAM_IDLE": str(IDLE),
            "ROBOTCHAT_FUNCTION_ENV": "LONGEST_SILENCE_SECONDS=1 SIGN_OF_LIFE_SECONDS=1",
        },
    ).start()
    yield stack
    stack.stop()


@pytest.fixture
def api(impatient: RunningStack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=impatient.api_url, headers=impatient.headers, timeout=90) as client:
        yield client


@pytest.fixture
def host(impatient: RunningStack) -> Iterator[Control]:
    with Control(impatient.sd_hosts[0]) as control:
        yield control
        control.clear_faults()
        control.release()


def signs_of_life(body: Iterator[bytes]) -> bytes:
    """The white space that comes until it has been more than silence may last."""
    received = b""
    while len(received) < SIGNS:
        received += next(body)
    assert received.strip() == b"", "nothing else while it is drawn"
    return received


def rest_of(body: Iterator[bytes]) -> Any:
    return json.loads(b" ".join(body))


def test_an_image_that_takes_longer_than_silence_may_last_arrives(
    api: httpx.Client, host: Control
) -> None:
    host.hold()
    with api.stream("POST", "/sdapi/v1/txt2img", json=SMALL) as answer:
        assert answer.status_code == 200
        body = answer.iter_raw()
        signs_of_life(body)
        host.release()
        drawn = rest_of(body)
    assert len(drawn["images"]) == 1
    assert drawn["job_id"].startswith("job_")


def test_what_fails_after_that_is_an_error_of_the_web_ui_in_the_body(
    api: httpx.Client, host: Control
) -> None:
    host.hold()
    with api.stream("POST", "/sdapi/v1/txt2img", json=SMALL) as answer:
        assert answer.status_code == 200
        body = answer.iter_raw()
        signs_of_life(body)
        (job,) = api.get("/v1/jobs", params={"status": "running"}).json()["data"]
        api.post(f"/v1/jobs/{job['id']}/cancel").raise_for_status()
        wait_until(lambda: host.stats()["interrupts_received"], "the host to be interrupted")
        host.release()
        told = rest_of(body)
    assert (told["error"], told["code"]) == ("job_canceled", "job_canceled")
    assert told["detail"]
    assert {"errors", "body"} <= set(told)
