"""A store that counts what it is asked, as DynamoDB would count it."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Mapping, Sequence

from robotchat.records import Entry, Index, MemoryRecords, Operation, Page, Record

KEYS_PER_BATCH = 100


class CountedRecords(MemoryRecords):
    """Records in memory; ``requests`` has how many requests each method would have made.

    ``in_a_row`` counts those of the thread that made the store: the others are made beside them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.requests: Counter[str] = Counter()
        self.in_a_row = 0
        self._maker = threading.get_ident()

    def reset(self) -> None:
        self.requests.clear()
        self.in_a_row = 0

    def _asked(self, method: str, times: int = 1) -> None:
        self.requests[method] += times
        if threading.get_ident() == self._maker:
            self.in_a_row += times

    @property
    def total(self) -> int:
        return self.requests.total()

    def get(self, pk: str, sk: str) -> Record | None:
        self._asked("get")
        return super().get(pk, sk)

    def get_all(self, keys: Sequence[tuple[str, str]]) -> list[Record | None]:
        self._asked("get_all", math.ceil(len(keys) / KEYS_PER_BATCH))
        return [super(CountedRecords, self).get(pk, sk) for pk, sk in keys]

    def commit(self, *operations: Operation) -> None:
        self._asked("commit")
        super().commit(*operations)

    def query(
        self,
        index: Index,
        partition: str,
        *,
        after: str | None = None,
        up_to: str | None = None,
        labels: Mapping[str, str] | None = None,
        descending: bool = False,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page:
        page = super().query(
            index,
            partition,
            after=after,
            up_to=up_to,
            labels=labels,
            descending=descending,
            limit=limit,
            cursor=cursor,
        )
        self._asked("query")
        self._asked("get_all", math.ceil(len(page.records) / KEYS_PER_BATCH))
        return page

    def count(
        self, index: Index, partition: str, *, up_to: str, labels: Mapping[str, str], limit: int
    ) -> int:
        self._asked("count")
        return super().count(index, partition, up_to=up_to, labels=labels, limit=limit)

    def entries(
        self, index: Index, partition: str, *, after: str | None = None, limit: int
    ) -> list[Entry]:
        self._asked("entries")
        return super().entries(index, partition, after=after, limit=limit)
