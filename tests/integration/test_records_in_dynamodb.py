"""The document store in DynamoDB: the same cases as in memory, over the embedded AWS."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from dev.stack.aws import Emulator
from robotchat.aws.stores import DynamoRecords
from robotchat.records import Put, Record, Records, Stale
from tests.cases.records import RecordsCases
from tests.emulator import create_table, running_emulator

NAMES = (f"table-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One embedded AWS for all of them."""
    with running_emulator(tmp_path_factory.mktemp("emulator")) as running:
        yield running


class TestDynamoRecords(RecordsCases):
    @pytest.fixture
    def records(self, emulator: Emulator) -> Records:
        name = next(NAMES)
        return DynamoRecords(create_table(emulator, name), name)


class Repeating:
    """A client that repeats a write, as the real one does when the answer to it was lost."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def put_item(self, **parameters: Any) -> Any:
        self._client.put_item(**parameters)
        return self._client.put_item(**parameters)


def test_a_write_whose_answer_was_lost_is_known_again(emulator: Emulator) -> None:
    name = next(NAMES)
    client = create_table(emulator, name)
    records = DynamoRecords(Repeating(client), name)  # type: ignore[arg-type]
    records.commit(Put(Record("a", "b", {"n": 1})))
    found = records.get("a", "b")
    assert found
    assert found.version == 1
    records.commit(Put(replace(found, data={"n": 2})))
    with pytest.raises(Stale):
        DynamoRecords(client, name).commit(Put(replace(found, data={"n": 2})))
