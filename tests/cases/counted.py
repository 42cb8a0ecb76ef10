"""A store that counts what it is asked, as DynamoDB would count it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from robotchat.records import Entry, Index, MemoryRecords, Operation, Page, Record

KEYS_PER_BATCH = 100


class CountedRecords(MemoryRecords):
    """Records in memory; ``requests`` has how many requests each method would have made."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: Counter[str] = Counter()

    def reset(self) -> None:
        self.requests.clear()

    @property
    def total(self) -> int:
        return self.requests.total()

    def get(self, pk: str, sk: str) -> Record | None:
        self.requests["get"] += 1
        return super().get(pk, sk)

    def get_all(self, keys: Sequence[tuple[str, str]]) -> list[Record | None]:
        self.requests["get_all"] += math.ceil(len(keys) / KEYS_PER_BATCH)
        return [super(CountedRecords, self).get(pk, sk) for pk, sk in keys]

    def commit(self, *operations: Operation) -> None:
        self.requests["commit"] += 1
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
        self.requests["query"] += 1
        self.requests["get_all"] += math.ceil(len(page.records) / KEYS_PER_BATCH)
        return page

    def count(
        self, index: Index, partition: str, *, up_to: str, labels: Mapping[str, str], limit: int
    ) -> int:
        self.requests["count"] += 1
        return super().count(index, partition, up_to=up_to, labels=labels, limit=limit)

    def entries(
        self, index: Index, partition: str, *, after: str | None = None, limit: int
    ) -> list[Entry]:
        self.requests["entries"] += 1
        return super().entries(index, partition, after=after, limit=limit)
