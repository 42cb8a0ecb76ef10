"""The robot of a program: jobs are run in process, by whichever thread asks."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from robotchat.drivers.fake import FakeArt
from robotchat.errors import JobCanceled, JobNotFinal, RobotchatError, UpstreamUnavailable
from robotchat.jobs.job import JobStatus
from robotchat.robot import Robot
from robotchat.settings import Settings
from tests.cases.limits import HeldQueue

QUICK = Settings(retry_base=0.001)


class Closing(FakeArt):
    closed = 0

    def close(self) -> None:
        self.closed += 1


def test_threads_in_one_conversation_get_finished_jobs_in_order() -> None:
    robot = Robot(art=FakeArt(), settings=QUICK)
    first = robot.chat_text2image("a beach", steps=1, width=64, height=64)
    gate = threading.Barrier(8)

    def say(number: int) -> tuple[JobStatus, int]:
        gate.wait()
        job = robot.chat_text2image(f"with house number {number}", first.conversation_id)
        return job.status, job.turn or 0

    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(say, range(8)))
    assert {status for status, _ in said} == {JobStatus.SUCCEEDED}
    assert sorted(turn for _, turn in said) == list(range(2, 10))
    turns = list(robot.conversations.turns(first.conversation_id or ""))
    for before, after in pairwise(turns):
        assert before.finished_at
        assert after.started_at
        assert before.finished_at <= after.started_at


def test_many_waiting_turns_are_run_one_after_the_other_and_not_within_each_other() -> None:
    art = FakeArt()
    robot = Robot(art=art, settings=QUICK)
    begun, go = threading.Event(), threading.Event()

    def hold(body: dict[str, object]) -> dict[str, object]:
        begun.set()
        go.wait(60)
        return art.drawn(body)

    art.enqueue([hold])
    with ThreadPoolExecutor(120) as pool:
        first = pool.submit(robot.chat_text2image, "a beach", width=64, height=64)
        begun.wait(60)
        (running,) = robot.jobs.running("local")
        rest = [
            pool.submit(robot.chat_text2image, "at night", running.conversation_id)
            for _ in range(100)
        ]
        go.set()
        assert first.result().status is JobStatus.SUCCEEDED
        assert {job.result().status for job in rest} == {JobStatus.SUCCEEDED}


def test_the_drawing_of_a_failed_job_raises_what_made_it_fail() -> None:
    art = FakeArt([UpstreamUnavailable("The SD host cannot be reached.") for _ in range(20)])
    robot = Robot(art=art, settings=Settings(retry_base=0.001, max_attempts=2))
    job = robot.chat_text2image("a beach")
    assert job.status is JobStatus.FAILED
    with pytest.raises(UpstreamUnavailable, match="cannot be reached") as raised:
        robot.drawing(job)
    assert raised.value.details == {"job_id": job.id}


def test_the_drawing_of_a_job_that_has_not_ended_or_was_canceled_says_so() -> None:
    robot = Robot(art=FakeArt(), queue=HeldQueue())
    job = robot.chat_text2image("a beach")
    assert job.status is JobStatus.QUEUED, "with a queue of its own, others run it"
    with pytest.raises(JobNotFinal, match="queued"):
        robot.drawing(job)
    robot.run(job.id)
    assert robot.drawing(job).images, "as it is now, not as it was"
    canceled = robot.cancel(robot.chat_text2image("a castle").id)
    with pytest.raises(JobCanceled):
        robot.drawing(canceled)


def test_leaving_it_closes_the_connections_to_the_hosts() -> None:
    drivers = [Closing(), Closing()]
    with Robot(art={"a": drivers[0], "b": drivers[1], "c": FakeArt()}) as robot:
        assert robot.chat_text2image("a beach", width=64, height=64).status is JobStatus.SUCCEEDED
    assert [driver.closed for driver in drivers] == [1, 1]


def test_asyncio_calls_it_in_threads() -> None:
    driver = Closing()

    async def main() -> list[JobStatus]:
        async with Robot(art=driver, settings=QUICK) as robot:
            calls = [
                asyncio.to_thread(robot.chat_text2image, "a beach", width=64, height=64)
                for _ in range(4)
            ]
            return [job.status for job in await asyncio.gather(*calls)]

    assert asyncio.run(main()) == [JobStatus.SUCCEEDED] * 4
    assert driver.closed == 1


def test_a_wrong_setting_is_refused_when_it_is_said() -> None:
    robot = Robot(art=FakeArt())
    with pytest.raises(RobotchatError):
        robot.chat_text2image("a beach", steps=1000)
