"""What is done again and again beside the work. Nothing here waits for time to pass: tasks are due
at once, and tell by events that they were done."""

from __future__ import annotations

import logging
import threading

import pytest

from robotchat.periodic import Periodic


class _Done(Exception):
    pass


def test_tasks_are_done_again_and_again_until_the_work_is_done() -> None:
    twice = threading.Event()
    times = {"one": 0, "other": 0}

    def count(which: str) -> None:
        times[which] += 1
        if min(times.values()) >= 2:
            twice.set()

    with Periodic("counting", (0.0, lambda: count("one")), (0.0, lambda: count("other"))):
        assert twice.wait(30)
    after = dict(times)
    assert not [thread for thread in threading.enumerate() if thread.name == "counting"]
    assert times == after, "nothing is done once the context was left"


def test_a_failure_is_logged_and_the_task_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    again = threading.Event()
    failures = 0

    def fail() -> None:
        nonlocal failures
        failures += 1
        if failures == 3:
            again.set()
        raise ConnectionError("the store is away")

    with (
        caplog.at_level(logging.ERROR),
        Periodic("renewal", (0.0, fail), extra={"job_id": "job_1"}),
    ):
        assert again.wait(30)
    record = caplog.records[0]
    assert record.getMessage() == "renewal failed"
    assert vars(record)["job_id"] == "job_1"


def test_a_task_may_find_out_that_there_is_nothing_left_to_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done: list[str] = []
    ended = threading.Event()

    def last() -> None:
        done.append("last")
        ended.set()
        raise _Done

    with Periodic("watch", (0.0, last), (3600.0, lambda: done.append("later")), until=_Done) as it:
        assert ended.wait(30)
        it._thread.join(30)
        assert not it._thread.is_alive()
    assert done == ["last"]
    assert caplog.records == []


def test_leaving_does_not_wait_for_what_is_due_later() -> None:
    with Periodic("later", (3600.0, lambda: None)):
        pass
