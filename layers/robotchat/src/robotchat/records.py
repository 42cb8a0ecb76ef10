"""One small document store, for everything that must be remembered.

A record has a key of two parts, a JSON document and a version. ``commit`` writes any number of
records all or nothing, each on the condition that nobody else wrote it since it was read; that is
the only primitive that the state machines of jobs, conversations, leases and limits need. There
are two implementations: ``MemoryRecords`` here, and DynamoDB in ``robotchat.aws.stores``. Both
have DynamoDB's bounds, so that what is tested over one holds for the other: a record that is too
large is refused before anything is written, and under a key that cannot be, nothing is found.
"""

from __future__ import annotations

import base64
import json
import random
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from robotchat.errors import Contended, InvalidRequest, RecordTooLarge
from robotchat.text import check_text, read_json

Index = Literal["owner", "group", "due"]

MAX_RECORD_BYTES = 390_000
"""Bytes of a record's document as JSON, and of its keys and labels. DynamoDB has 400 KB an item."""

MAX_KEY_BYTES = (2048, 1024)
"""Bytes of a key's two parts, in the table and in its indexes, as DynamoDB has it."""

PAGE_SIZE = 20
"""How many entries a page of a list has where its caller does not say."""

PAGE_BYTES = 2_000_000
"""Bytes of documents in one page of a query. Lambda answers with at most 6 MB."""


class Stale(Exception):
    """A record changed, appeared or vanished since it was read: read again and decide anew."""


class LimitReached(Exception):
    """A counter would have passed its limit, so that nothing was written.

    ``used`` is where it stood just after, if that is known.
    """

    def __init__(self, counter: str, limit: int, used: int | None = None) -> None:
        super().__init__(f"{counter} is limited to {limit}")
        self.counter = counter
        self.limit = limit
        self.used = used


class Retries:
    """How often somebody who lost to another writer reads again and decides anew.

    retries = Retries()
    while True:
        record = records.get(...)
        try:
            records.commit(Put(...))
        except Stale:
            retries.spend()
            continue
        return
    """

    def __init__(self, most: int = 24) -> None:
        self._left = most
        self._pause = 0.001

    def spend(self) -> None:
        """Wait for a moment before another try, a little longer each time.

        The pauses grow until a hundred writers who want the same get through one after the other.
        Raises Contended when there were too many tries, which takes about eight seconds.
        """
        self._left -= 1
        if self._left <= 0:
            raise Contended("Too many requests change the same thing at once.", retry_after=1)
        time.sleep(random.uniform(0.0, self._pause))  # noqa: S311 - so that they do not meet again
        self._pause = min(2 * self._pause, 1.0)


@dataclass(frozen=True)
class Record:
    """A document under a key, with what is needed to find it again.

    ``version`` is 0 for a record that was never written; a commit counts it up. ``owner``,
    ``group`` and ``due`` are (partition, sort key) in the index of that name, None to stay out
    of it. ``labels`` are what a query can filter by. ``expires_at`` (epoch seconds) is when the
    store may forget the record.
    """

    pk: str
    sk: str
    data: dict[str, Any]
    version: int = 0
    owner: tuple[str, str] | None = None
    group: tuple[str, str] | None = None
    due: tuple[str, str] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    expires_at: float | None = None


@dataclass(frozen=True)
class Put:
    """Write a record, if its version is still the one that it carries (0: if there is none)."""

    record: Record


@dataclass(frozen=True)
class Remove:
    """Delete a record, if its version is still the one that it carries."""

    record: Record


@dataclass(frozen=True)
class Add:
    """Add to the counters of a record, on the condition that none of them passes its limit.

    The record is made when there is none. Counters are read back as the record's data; those to
    ``forget`` are taken out of it.
    """

    pk: str
    sk: str
    amounts: Mapping[str, int]
    at_most: Mapping[str, int] = field(default_factory=dict)
    expires_at: float | None = None
    forget: Sequence[str] = ()


Operation = Put | Remove | Add


@dataclass(frozen=True)
class Entry:
    """A record's key in an index, without the record."""

    pk: str
    sk: str
    position: str
    """Its sort key in the index."""


@dataclass(frozen=True)
class Page:
    """Some records, and the cursor of the next page, None when there is none."""

    records: Sequence[Record]
    cursor: str | None


class Records(Protocol):
    """A document store with conditional, atomic writes."""

    def get(self, pk: str, sk: str) -> Record | None:
        """The record as it is now (strongly consistent), or None."""
        ...

    def get_all(self, keys: Sequence[tuple[str, str]]) -> list[Record | None]:
        """The records under these keys, in the same order, as ``get`` gives each.

        One request reads a hundred of them. Raises Contended when the store keeps putting off
        some of them.
        """
        ...

    def commit(self, *operations: Operation) -> None:
        """Do all of this or nothing.

        Raises Stale or LimitReached, and has then done nothing; RecordTooLarge and InvalidRequest
        for what cannot be stored at all.
        """
        ...

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
        """Records of one partition of an index, in the order of their sort key.

        ``after`` and ``up_to`` bound the sort key (exclusive, inclusive). A page ends after
        ``limit`` records, or sooner when they are large (``PAGE_BYTES``). An index may lag a
        moment behind the records. Raises InvalidRequest for a cursor that this did not make.
        """
        ...

    def count(
        self, index: Index, partition: str, *, up_to: str, labels: Mapping[str, str], limit: int
    ) -> int:
        """How many of the last ``limit`` records up to a bound of the sort key (inclusive) have
        these labels: one request, however many records there are.

        Raises Contended when the store has too much to do to count.
        """
        ...

    def entries(
        self, index: Index, partition: str, *, after: str | None = None, limit: int
    ) -> list[Entry]:
        """The first keys of a partition in the order of their sort key, as a query gives them, but
        without reading any record: one request.

        ``after`` bounds the sort key (exclusive).
        """
        ...


def every(
    records: Records, index: Index, partition: str, *, labels: Mapping[str, str] | None = None
) -> Iterator[Record]:
    """Every record of a partition, page by page."""
    cursor: str | None = None
    while True:
        page = records.query(index, partition, labels=labels, cursor=cursor)
        yield from page.records
        if page.cursor is None:
            return
        cursor = page.cursor


def encoded(record: Record) -> str:
    """A record's document as it is stored. Raises RecordTooLarge, and InvalidRequest for text,
    numbers or keys that no store takes."""
    positions = (record.owner, record.group, record.due)
    keys = [(record.pk, record.sk), *(key for key in positions if key is not None)]
    for key in keys:
        check_key(*key)
    try:
        text = json.dumps(record.data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        beside = [*(part for key in keys for part in key), *record.labels, *record.labels.values()]
        size = sum(len(part.encode()) for part in (text, *beside))
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("There is text or a number in it that cannot be stored.") from error
    if size > MAX_RECORD_BYTES:
        raise RecordTooLarge(
            f"What is to be stored has {size} bytes; a record has at most {MAX_RECORD_BYTES}.",
            details={"max_bytes": MAX_RECORD_BYTES, "bytes": size},
        )
    return text


def is_key(pk: str, sk: str) -> bool:
    """Whether there can be a record under this key, or an index position of these parts."""
    try:
        sizes = len(pk.encode()), len(sk.encode())
    except UnicodeEncodeError:
        return False
    return all(0 < size <= most for size, most in zip(sizes, MAX_KEY_BYTES, strict=True))


def check_key(pk: str, sk: str) -> None:
    """Raises InvalidRequest for a key under which nothing can be stored."""
    if not is_key(pk, sk):
        raise InvalidRequest("An id or a name is empty, too long, or no text.")


def can_match(partition: str, labels: Mapping[str, str] | None = None) -> bool:
    """Whether there can be a record in a partition that has these labels."""
    try:
        for value in (labels or {}).values():
            check_text(value)
    except ValueError:
        return False
    return is_key(partition, "-")


def encode_cursor(position: Mapping[str, str]) -> str:
    """An opaque cursor that continues after a position."""
    text = json.dumps(dict(position), separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(cursor: str, partition: str) -> dict[str, str]:
    """The position in a cursor; a cursor for another partition is refused like a made-up one."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        position = read_json(base64.b64decode(padded, altchars=b"-_", validate=True))
    except ValueError as error:
        raise InvalidRequest("The cursor is not one that this service gave.", param="cursor") from (
            error
        )
    if (
        not isinstance(position, dict)
        or set(position) != {"p", "s", "pk", "sk"}
        or not all(isinstance(part, str) for part in position.values())
        or position["p"] != partition
        or not is_key(position["pk"], position["sk"])
        or not is_key(partition, position["s"])
    ):
        raise InvalidRequest("The cursor is not one that this service gave.", param="cursor")
    return position


def fitting(sizes: Iterable[int]) -> int:
    """How many documents of these sizes (bytes), in order, make up a page; at least one."""
    total = count = 0
    for size in sizes:
        total += size
        if count and total > PAGE_BYTES:
            break
        count += 1
    return count


@dataclass(frozen=True)
class _Stored:
    """A record without its document, and the document as text: it shares nothing with anybody."""

    record: Record
    text: str
    size: int

    def read(self) -> Record:
        return replace(self.record, data=json.loads(self.text))


class MemoryRecords:
    """Records in this process: for the library in process, and for tests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stored: dict[tuple[str, str], _Stored] = {}

    def get(self, pk: str, sk: str) -> Record | None:
        with self._lock:
            found = self._stored.get((pk, sk))
        return found.read() if found else None

    def get_all(self, keys: Sequence[tuple[str, str]]) -> list[Record | None]:
        return [self.get(pk, sk) for pk, sk in keys]

    def commit(self, *operations: Operation) -> None:
        with self._lock:
            changed = [self._prepare(operation) for operation in operations]
            for key, stored in changed:
                if stored is None:
                    del self._stored[key]
                else:
                    self._stored[key] = stored

    def all(self) -> list[Record]:
        """Everything that is stored now."""
        with self._lock:
            return [stored.read() for stored in self._stored.values()]

    def _prepare(self, operation: Operation) -> tuple[tuple[str, str], _Stored | None]:
        target = operation if isinstance(operation, Add) else operation.record
        check_key(target.pk, target.sk)
        if isinstance(operation, Add):
            key = (operation.pk, operation.sk)
            found = self._stored.get(key)
            present = found.read() if found else Record(operation.pk, operation.sk, {})
            return key, _put(_added(present, operation))
        wanted = operation.record
        key = (wanted.pk, wanted.sk)
        found = self._stored.get(key)
        if (found.record.version if found else 0) != wanted.version:
            raise Stale(f"{wanted.pk} {wanted.sk}")
        if isinstance(operation, Remove):
            if found is None:
                raise Stale(f"{wanted.pk} {wanted.sk}")
            return key, None
        return key, _put(wanted)

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
        start = decode_cursor(cursor, partition) if cursor is not None else None
        found: list[tuple[tuple[str, str, str], _Stored]] = []
        with self._lock:
            for stored in self._stored.values():
                record = stored.record
                position = getattr(record, index)
                if position is None or position[0] != partition:
                    continue
                if (after is not None and position[1] <= after) or (
                    up_to is not None and position[1] > up_to
                ):
                    continue
                if any(record.labels.get(name) != value for name, value in (labels or {}).items()):
                    continue
                found.append(((position[1], record.pk, record.sk), stored))
        found.sort(key=lambda item: item[0], reverse=descending)
        if start:
            mark = (start["s"], start["pk"], start["sk"])
            found = [i for i in found if (i[0] < mark if descending else i[0] > mark)]
        rows = fitting(stored.size for _, stored in found[:limit])
        page, more = found[:rows], len(found) > rows
        (last, _) = page[-1] if page else (("", "", ""), None)
        return Page(
            [stored.read() for _, stored in page],
            encode_cursor({"p": partition, "s": last[0], "pk": last[1], "sk": last[2]})
            if more
            else None,
        )

    def count(
        self, index: Index, partition: str, *, up_to: str, labels: Mapping[str, str], limit: int
    ) -> int:
        with self._lock:
            records = [stored.record for stored in self._stored.values()]
        found = [(getattr(record, index), record) for record in records]
        within = [(p[1], r) for p, r in found if p and p[0] == partition and p[1] <= up_to]
        last = sorted(within, key=lambda item: item[0], reverse=True)[:limit]
        return sum(
            all(record.labels.get(name) == value for name, value in labels.items())
            for _, record in last
        )

    def entries(
        self, index: Index, partition: str, *, after: str | None = None, limit: int
    ) -> list[Entry]:
        with self._lock:
            records = [stored.record for stored in self._stored.values()]
        places = [(getattr(record, index), record) for record in records]
        found = [
            Entry(record.pk, record.sk, place[1])
            for place, record in places
            if place is not None and place[0] == partition and (after is None or place[1] > after)
        ]
        return sorted(found, key=lambda entry: (entry.position, entry.pk, entry.sk))[:limit]


def _put(record: Record) -> _Stored:
    text = encoded(record)
    kept = replace(record, data={}, version=record.version + 1)
    return _Stored(kept, text, len(text.encode()))


def _added(present: Record, add: Add) -> Record:
    """The record with the counters that an addition makes of it. Raises LimitReached."""
    data = {name: value for name, value in present.data.items() if name not in add.forget}
    for name, amount in add.amounts.items():
        data[name] = data.get(name, 0) + amount
        limit = add.at_most.get(name)
        if limit is not None and data[name] > limit:
            raise LimitReached(name, limit, data[name] - amount)
    return replace(present, data=data, expires_at=add.expires_at or present.expires_at)
