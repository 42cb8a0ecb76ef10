"""One pool of hosts of all kinds: every job goes where it can be drawn as it was asked for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from robotchat import Robot, Settings, host_driver
from robotchat.art.bot import ArtBot
from robotchat.art.requests import DrawRequest, Image2ImageRequest, Text2ImageRequest
from robotchat.drivers.fake import plain_png
from robotchat.jobs.job import Job, JobStatus
from tests.cases.host_kinds import KINDS, StandIn

CAT = plain_png(128, 128, "cat")
SMALL: dict[str, Any] = {"prompt": "a beach", "width": 128, "height": 128}
JOBS = 40


class Pool:
    """A robot over stand-ins of all kinds."""

    def __init__(self, stack: ExitStack) -> None:
        self.hosts: dict[str, StandIn] = {}
        drivers = {}
        for kind in KINDS:
            self.hosts[kind.name] = host = stack.enter_context(kind.running())
            drivers[kind.name] = host_driver(kind.address(host))
            stack.callback(drivers[kind.name].close)  # type: ignore[attr-defined]
        settings = Settings(retry_base=0.05, host_patience=120.0)
        self.robot = stack.enter_context(Robot(art=drivers, settings=settings))
        self.bots: Mapping[str, ArtBot] = {host.name: host.bot for host in self.robot.hosts.hosts}

    def able(self, request: DrawRequest) -> set[str]:
        """The hosts that would ignore nothing of a request."""
        found = set()
        for name, bot in self.bots.items():
            try:
                bot.check(request)
            except Exception:  # noqa: BLE001, S112 - whatever it has against it
                continue
            found.add(name)
        return found


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with ExitStack() as stack:
        yield Pool(stack)


def requests(pool: Pool) -> Iterator[Text2ImageRequest | Image2ImageRequest]:
    """Requests of many sorts, each of which some host can draw."""
    sorts: list[dict[str, Any]] = [
        {},
        {"sampler_name": "Euler a"},
        {"batch_size": 2},
        {"n_iter": 3},
    ]
    checkpoints = [
        {"override_settings": {"sd_model_checkpoint": model.alias}}
        for kind in KINDS
        for model in pool.bots[kind.name].get_models()[: 1 if kind.one_checkpoint else 2]
    ]
    images: list[dict[str, Any]] = [{}, {"init_images": [CAT]}]
    mask = {"init_images": [CAT], "mask": CAT, "inpaint_full_res": False}
    everything = itertools.cycle(itertools.product(sorts, [*images, mask], checkpoints))
    for number, parts in enumerate(everything):
        fields = {**SMALL, "seed": number, **{n: v for part in parts for n, v in part.items()}}
        kind = Image2ImageRequest if "init_images" in fields else Text2ImageRequest
        request = kind.parse(fields)
        if pool.able(request):
            yield request


def test_many_jobs_side_by_side_are_drawn_as_they_were_asked_for(pool: Pool) -> None:
    asked = list(itertools.islice(requests(pool), JOBS))
    for host in pool.hosts.values():
        host.set_faults({"kind": "disconnect", "path": "*", "after": 20, "times": 1})

    def done(request: Text2ImageRequest | Image2ImageRequest) -> Job:
        job = pool.robot.submit_image(request)
        return pool.robot.queue.finish(job, pool.robot.jobs, pool.robot.settlement)  # type: ignore[attr-defined,no-any-return]

    with ThreadPoolExecutor(8) as threads:
        jobs = list(threads.map(done, asked))
    for request, job in zip(asked, jobs, strict=True):
        assert job.status is JobStatus.SUCCEEDED, (job.host, job.error)
        assert job.host in pool.able(request)
        assert len(job.images) == request.count
        can = pool.bots[job.host].driver.capabilities(job.checkpoint)
        if "seed" in can.reports:
            seeds = [request.seed + number for number in range(request.count)]
            assert [image.seed for image in job.images] == seeds
        assert all((image.width, image.height) == (128, 128) for image in job.images)
    # Which of several hosts it was is chance; that none was out of the question is not.
    assert set().union(*map(pool.able, asked)) == {kind.name for kind in KINDS}


def test_a_conversation_goes_on_over_whatever_host_is_free(pool: Pool) -> None:
    first = pool.robot.chat_text2image("a beach photo")
    second = pool.robot.chat_text2image("at sunset", first.conversation_id)
    assert [job.status for job in (first, second)] == [JobStatus.SUCCEEDED] * 2
    assert "beach" in (second.prompt or "")
    assert "sunset" in (second.prompt or "")
