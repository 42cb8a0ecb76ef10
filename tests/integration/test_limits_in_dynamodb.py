"""Tenants' limits in DynamoDB: the same cases as in memory, over the embedded AWS."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from dev.stack.aws import Emulator
from robotchat.aws.stores import DynamoRecords
from robotchat.records import Records
from tests.cases.limits import LimitsCases
from tests.emulator import create_table, running_emulator

NAMES = (f"table-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One embedded AWS for all of them."""
    with running_emulator(tmp_path_factory.mktemp("emulator")) as running:
        yield running


class TestLimitsInDynamo(LimitsCases):
    @pytest.fixture
    def records(self, emulator: Emulator) -> Records:
        name = next(NAMES)
        return DynamoRecords(create_table(emulator, name), name)
