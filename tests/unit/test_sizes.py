"""Whatever passes the door reaches a final state, over memory."""

from __future__ import annotations

from robotchat.records import MemoryRecords, Records
from tests.cases.sizes import SizesCases


class TestSizesInMemory(SizesCases):
    def new_records(self) -> Records:
        return MemoryRecords()
