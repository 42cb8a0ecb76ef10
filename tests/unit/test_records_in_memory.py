"""The document store in memory."""

from __future__ import annotations

import pytest

from robotchat.records import MemoryRecords, Records
from tests.cases.records import RecordsCases


class TestMemoryRecords(RecordsCases):
    @pytest.fixture
    def records(self) -> Records:
        return MemoryRecords()
