"""Whatever passes the door reaches a final state, over DynamoDB as the embedded AWS has it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from dev.stack.aws import Emulator
from robotchat.aws.stores import DynamoRecords
from robotchat.records import Records
from tests.cases.sizes import SizesCases
from tests.emulator import create_table, running_emulator


class TestSizesInDynamoDB(SizesCases):
    examples = 6
    emulator: Emulator
    names = (f"table-{number}" for number in itertools.count())

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _running(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        with running_emulator(tmp_path_factory.mktemp("emulator")) as running:
            cls.emulator = running
            yield

    def new_records(self) -> Records:
        name = next(self.names)
        return DynamoRecords(create_table(self.emulator, name), name)
