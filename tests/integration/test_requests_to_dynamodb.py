"""How many requests DynamoDB really gets, and that a large pool works over it as over memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from robotchat.art.requests import Text2ImageRequest
from robotchat.aws.stores import DynamoRecords
from robotchat.conversation import ChatImageRequest
from robotchat.drivers.fake import FakeArt
from robotchat.errors import UpstreamBusy
from robotchat.jobs.job import Job
from robotchat.robot import Robot
from tests.cases.limits import HeldQueue
from tests.emulator import create_table, running_emulator

CHECKPOINTS = ("alpha.safetensors", "beta.safetensors")


class Table:
    """The table, and what is asked of it."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.asked: Counter[str] = Counter()
        client.meta.events.register("before-send.dynamodb.*", self._count)

    def _count(self, request: Any, **_: Any) -> None:
        self.asked[request.headers["X-Amz-Target"].decode().rpartition(".")[2]] += 1


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder: Path = tmp_path_factory.mktemp("aws")
    with running_emulator(folder) as running:
        yield running


@pytest.mark.parametrize("hosts", [1, 100])
def test_an_image_takes_as_few_requests_as_are_counted_in_memory(emulator: Any, hosts: int) -> None:
    name = f"counted-{hosts}"
    table = Table(create_table(emulator, name))
    arts = {f"sd-{number:03d}": FakeArt(checkpoints=CHECKPOINTS) for number in range(hosts)}
    robot = Robot(art=arts, records=DynamoRecords(table.client, name))
    request = Text2ImageRequest(prompt="a beach")
    robot.text2image(request)  # and notes what the hosts have
    table.asked.clear()
    job = robot.text2image(request)
    assert table.asked.total() <= 10, table.asked
    table.asked.clear()
    robot.submit_chat_image(ChatImageRequest(message="a beach"))
    assert table.asked.total() <= 12, table.asked
    other = Text2ImageRequest(
        prompt="a beach", override_settings={"sd_model_checkpoint": "beta.safetensors"}
    )
    beta = robot.text2image(other)
    for _ in range(3):
        assert robot.text2image(request).host == job.host, "where its checkpoint is loaded"
        if hosts > 1:
            assert robot.text2image(other).host == beta.host != job.host

    queued = Robot(art=arts, records=robot.records, queue=HeldQueue())
    waiting: Job = queued.submit_image(request)
    table.asked.clear()
    queued.estimate(queued.jobs.get(waiting.id, waiting.tenant))
    assert table.asked.total() <= 3, table.asked


def test_each_host_of_a_large_pool_is_held_once(emulator: Any) -> None:
    table = Table(create_table(emulator, "large"))
    names = [f"sd-{number:03d}" for number in range(25)]
    robot = Robot(
        art={name: FakeArt() for name in names}, records=DynamoRecords(table.client, "large")
    )
    for _ in range(2):
        holders = [robot.hosts.lease(patience=10) for _ in names]
        assert sorted(holder.__enter__().host.name for holder in holders) == names
        with pytest.raises(UpstreamBusy), robot.hosts.lease(patience=0):
            raise AssertionError("two holders")
        for holder in holders:
            holder.__exit__(None, None, None)
