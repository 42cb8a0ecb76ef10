"""What every document store must do: the same cases run over memory and over DynamoDB."""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import replace
from typing import Any

import pytest

from robotchat.errors import InvalidRequest, RecordTooLarge
from robotchat.records import (
    MAX_RECORD_BYTES,
    PAGE_BYTES,
    Add,
    Entry,
    LimitReached,
    Page,
    Put,
    Record,
    Records,
    Remove,
    Stale,
    encode_cursor,
    every,
)

KEYS = ["", "k" * 3000, "é" * 1025, "\ud800"]
"""What neither part of a key can be."""

_POSITION = {"p": "t", "s": "1", "pk": "a", "sk": "b"}
CURSORS = [
    *("", "!", "e30", "eyJwIjoidSJ9", "x" * 50, "é", "\x00", "\ud800", "a" * 100_000),
    encode_cursor({**_POSITION, "p": "other"}),
    *(encode_cursor({**_POSITION, part: key}) for part in ("s", "pk", "sk") for key in KEYS[:3]),
    base64.urlsafe_b64encode(b"[" * 50_000).decode().rstrip("="),
    base64.urlsafe_b64encode(json.dumps({**_POSITION, "s": 1}).encode()).decode().rstrip("="),
    base64.urlsafe_b64encode(json.dumps({**_POSITION, "s": "\ud800"}).encode())
    .decode()
    .rstrip("="),
]
"""Cursors that no query gave for the partition ``t``."""


class RecordsCases:
    """Inherit it and give the fixture ``records`` a store that is empty for each test."""

    @pytest.fixture
    def records(self) -> Records:
        raise NotImplementedError

    def test_a_record_comes_back_as_it_was_written(self, records: Records) -> None:
        data = {"text": "海滩 ☀", "number": 1.5, "nested": {"list": [1, None, True]}}
        records.commit(Put(Record("a", "b", data, labels={"x": "y"}, expires_at=4e9)))
        assert records.get("a", "b") == Record(
            "a", "b", data, version=1, labels={"x": "y"}, expires_at=4e9
        )

    def test_what_was_never_written_is_none(self, records: Records) -> None:
        assert records.get("a", "b") is None

    def test_a_record_is_made_once(self, records: Records) -> None:
        records.commit(Put(Record("a", "b", {"n": 1})))
        with pytest.raises(Stale):
            records.commit(Put(Record("a", "b", {"n": 2})))
        assert _data(records, "a", "b") == {"n": 1}

    def test_only_the_first_of_two_writers_wins(self, records: Records) -> None:
        records.commit(Put(Record("a", "b", {"n": 1})))
        mine, theirs = records.get("a", "b"), records.get("a", "b")
        assert mine
        assert theirs
        records.commit(Put(replace(mine, data={"n": 2})))
        with pytest.raises(Stale):
            records.commit(Put(replace(theirs, data={"n": 3})))
        assert _data(records, "a", "b") == {"n": 2}

    def test_a_commit_does_all_or_nothing(self, records: Records) -> None:
        records.commit(Put(Record("a", "old", {"n": 1})))
        with pytest.raises(Stale):
            records.commit(Put(Record("a", "new", {})), Put(Record("a", "old", {"n": 2})))
        assert records.get("a", "new") is None
        assert _data(records, "a", "old") == {"n": 1}

    def test_a_removed_record_is_gone_and_cannot_be_removed_again(self, records: Records) -> None:
        records.commit(Put(Record("a", "b", {})))
        found = records.get("a", "b")
        assert found
        records.commit(Remove(found))
        assert records.get("a", "b") is None
        with pytest.raises(Stale):
            records.commit(Remove(found))

    def test_counters_add_up_to_their_limit_and_not_beyond(self, records: Records) -> None:
        for _ in range(3):
            records.commit(Add("c", "n", {"active": 1, "total": 2}, {"active": 3}))
        with pytest.raises(LimitReached) as refused:
            records.commit(Add("c", "n", {"active": 1, "total": 2}, {"active": 3}))
        assert (refused.value.counter, refused.value.used) == ("active", 3)
        assert _data(records, "c", "n") == {"active": 3, "total": 6}
        records.commit(Add("c", "n", {"active": -1}))
        assert _data(records, "c", "n") == {"active": 2, "total": 6}

    def test_a_first_amount_above_the_limit_is_refused(self, records: Records) -> None:
        with pytest.raises(LimitReached):
            records.commit(Add("c", "n", {"active": 5}, {"active": 3}))
        assert records.get("c", "n") is None

    def test_of_several_limits_the_one_that_was_reached_is_named(self, records: Records) -> None:
        records.commit(Add("c", "n", {"active": 1, "total": 5}))
        add = Add("c", "n", {"active": 1, "total": 1}, {"active": 9, "total": 5})
        for operations in ([add], [Put(Record("a", "b", {})), add]):
            with pytest.raises(LimitReached) as refused:
                records.commit(*operations)
            assert (refused.value.counter, refused.value.limit) == ("total", 5)
            assert refused.value.used == 5

    def test_counters_can_be_forgotten_while_others_are_counted(self, records: Records) -> None:
        records.commit(Add("c", "n", {"monday": 3, "tuesday": 4}, expires_at=4e9))
        records.commit(Add("c", "n", {"wednesday": 1}, forget=("monday", "sunday")))
        assert _data(records, "c", "n") == {"tuesday": 4, "wednesday": 1}

    def test_a_refused_counter_undoes_the_whole_commit(self, records: Records) -> None:
        records.commit(Add("c", "n", {"active": 1}, {"active": 1}))
        with pytest.raises(LimitReached):
            records.commit(Put(Record("a", "b", {})), Add("c", "n", {"active": 1}, {"active": 1}))
        assert records.get("a", "b") is None

    def test_counting_at_the_same_time_loses_nothing(self, records: Records) -> None:
        refused: list[LimitReached] = []

        def count() -> None:
            for _ in range(5):
                try:
                    records.commit(Add("c", "n", {"active": 1}, {"active": 12}))
                except LimitReached as error:
                    refused.append(error)

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert _data(records, "c", "n") == {"active": 12}
        assert len(refused) == 8

    def test_an_index_gives_records_in_order_page_by_page(self, records: Records) -> None:
        for number in range(5):
            records.commit(Put(Record(f"r{number}", "x", {"n": number}, owner=("t", f"{number}"))))
        records.commit(Put(Record("other", "x", {"n": 9}, owner=("u", "0"))))
        first = records.query("owner", "t", limit=2)
        assert [r.data["n"] for r in first.records] == [0, 1]
        second = records.query("owner", "t", limit=3, cursor=first.cursor)
        assert [r.data["n"] for r in second.records] == [2, 3, 4]
        assert second.cursor is None
        assert [r.data["n"] for r in every(records, "owner", "t")] == [0, 1, 2, 3, 4]

    def test_an_index_gives_records_backwards(self, records: Records) -> None:
        for number in range(3):
            records.commit(Put(Record(f"r{number}", "x", {"n": number}, owner=("t", f"{number}"))))
        first = records.query("owner", "t", limit=2, descending=True)
        assert [r.data["n"] for r in first.records] == [2, 1]
        second = records.query("owner", "t", limit=2, descending=True, cursor=first.cursor)
        assert [r.data["n"] for r in second.records] == [0]

    def test_a_query_can_be_narrowed_by_labels_and_sort_key(self, records: Records) -> None:
        for number in range(6):
            labels = {"parity": "even" if number % 2 == 0 else "odd"}
            record = Record(f"r{number}", "x", {"n": number}, due=("d", f"{number}"), labels=labels)
            records.commit(Put(record))
        page = records.query("due", "d", after="1", up_to="4")
        assert [r.data["n"] for r in page.records] == [2, 3, 4]
        page = records.query("due", "d", up_to="4")
        assert [r.data["n"] for r in page.records] == [0, 1, 2, 3, 4]

    def test_the_last_records_up_to_a_bound_are_counted_by_labels(self, records: Records) -> None:
        for number in range(6):
            labels = {"parity": "even" if number % 2 == 0 else "odd"}
            record = Record(f"r{number}", "x", {}, owner=("t", f"{number}"), labels=labels)
            records.commit(Put(record))
        records.commit(Put(Record("other", "x", {}, owner=("u", "0"), labels={"parity": "even"})))
        even = {"parity": "even"}
        assert records.count("owner", "t", up_to="4", labels=even, limit=10) == 3
        assert records.count("owner", "t", up_to="3", labels=even, limit=10) == 2
        assert records.count("owner", "t", up_to="9", labels=even, limit=3) == 1

    def test_the_first_keys_of_an_index_are_read_without_the_records(
        self, records: Records
    ) -> None:
        for number in (3, 1, 2):
            records.commit(Put(Record(f"r{number}", "x", {}, owner=("t", f"{number}"))))
        records.commit(Put(Record("other", "x", {}, owner=("u", "0"))))
        first = records.entries("owner", "t", limit=2)
        assert first == [Entry("r1", "x", "1"), Entry("r2", "x", "2")]
        assert records.entries("owner", "t", after="2", limit=9) == [Entry("r3", "x", "3")]
        assert records.entries("owner", "nobody", limit=9) == []

    def test_many_records_are_read_at_once_in_the_order_of_their_keys(
        self, records: Records
    ) -> None:
        for number in range(0, 120, 2):
            records.commit(Put(Record(f"r{number}", "x", {"n": number})))
        keys = [(f"r{number}", "x") for number in reversed(range(120))]
        found = records.get_all([*keys, keys[1]])
        assert [record.data["n"] if record else None for record in found] == [
            *(number if number % 2 == 0 else None for number in reversed(range(120))),
            118,
        ]
        assert records.get_all([]) == []

    def test_labels_narrow_a_query_however_few_match(self, records: Records) -> None:
        for number in range(6):
            labels = {"kind": "rare" if number == 5 else "usual"}
            record = Record(
                f"r{number}", "x", {"n": number}, owner=("t", f"{number}"), labels=labels
            )
            records.commit(Put(record))
        page = records.query("owner", "t", labels={"kind": "rare"}, limit=1)
        assert [r.data["n"] for r in page.records] == [5]

    def test_a_record_leaves_an_index_when_it_is_written_without_it(self, records: Records) -> None:
        records.commit(Put(Record("a", "b", {}, due=("d", "1"))))
        found = records.get("a", "b")
        assert found
        records.commit(Put(replace(found, due=None)))
        assert records.query("due", "d").records == []

    @pytest.mark.parametrize("cursor", CURSORS)
    def test_a_made_up_cursor_is_refused(self, records: Records, cursor: str) -> None:
        with pytest.raises(InvalidRequest):
            records.query("owner", "t", cursor=cursor)

    @pytest.mark.parametrize("key", KEYS)
    def test_under_a_key_that_cannot_be_nothing_is_found_or_stored(
        self, records: Records, key: str
    ) -> None:
        assert records.get(key, "b") is None
        assert records.get("a", key) is None
        assert records.get_all([(key, "b"), ("a", key)]) == [None, None]
        assert records.query("owner", key) == Page([], None)
        assert records.entries("owner", key, limit=5) == []
        for refused in (Put(Record(key, "b", {})), Remove(Record("a", key, {}, version=1))):
            with pytest.raises(InvalidRequest):
                records.commit(refused)
        with pytest.raises(InvalidRequest):
            records.commit(Add(key, "b", {"n": 1}))
        for index in ("owner", "group", "due"):
            for position in ((key, "s"), ("p", key)):
                given: Any = {index: position}
                with pytest.raises(InvalidRequest):
                    records.commit(Put(Record("a", "b", {}, **given)))
        assert records.get("a", "b") is None

    def test_the_longest_keys_are_stored_and_found(self, records: Records) -> None:
        pk, sk = "é" * 1024, "z" * 1024
        records.commit(Put(Record(pk, sk, {"n": 1}, owner=(pk, sk))))
        assert _data(records, pk, sk) == {"n": 1}
        assert [r.sk for r in records.query("owner", pk).records] == [sk]

    @pytest.mark.parametrize("label", ["\ud800", "x" * 100_000, ""])
    def test_a_label_that_no_record_has_finds_none(self, records: Records, label: str) -> None:
        records.commit(Put(Record("a", "b", {}, owner=("t", "1"), labels={"kind": "x"})))
        assert records.query("owner", "t", labels={"kind": label}).records == []

    @pytest.mark.parametrize("letter", ["x", "é", "\x00", '"', "𝄞"])
    def test_a_record_is_stored_up_to_its_bound_and_refused_above(
        self, records: Records, letter: str
    ) -> None:
        each = len(json.dumps(letter, ensure_ascii=False).encode()) - 2
        fits = (MAX_RECORD_BYTES - 200) // each
        for number, alone in enumerate((True, False)):
            also = [] if alone else [Add("c", f"n{number}", {"count": 1})]
            record = Record(f"r{number}", "x", {"text": letter * fits})
            records.commit(Put(record), *also)
            assert _data(records, f"r{number}", "x") == record.data
            larger = Record(f"s{number}", "x", {"text": letter * (MAX_RECORD_BYTES // each)})
            with pytest.raises(RecordTooLarge):
                records.commit(*also, Put(larger))
            assert records.get(f"s{number}", "x") is None
            if not alone:
                assert _data(records, "c", f"n{number}") == {"count": 1}

    @pytest.mark.parametrize("value", ["\ud800", float("nan"), float("inf"), {"\udfff": 1}])
    def test_what_is_no_text_or_number_is_not_stored(self, records: Records, value: object) -> None:
        with pytest.raises(InvalidRequest):
            records.commit(Put(Record("a", "b", {"value": value})))
        assert records.get("a", "b") is None

    def test_a_page_ends_before_its_documents_are_too_large_to_answer(
        self, records: Records
    ) -> None:
        text = "海" * 100_000
        for number in range(12):
            data = {"n": number, "text": text}
            records.commit(Put(Record(f"r{number}", "x", data, owner=("t", f"{number:02}"))))
        found, cursor = [], None
        while True:
            page = records.query("owner", "t", cursor=cursor, limit=10)
            assert 0 < sum(len(r.data["text"].encode()) for r in page.records) <= PAGE_BYTES
            found += [record.data["n"] for record in page.records]
            cursor = page.cursor
            if cursor is None:
                break
        assert found == list(range(12))

    def test_a_cursor_of_another_partition_is_refused(self, records: Records) -> None:
        for number in range(3):
            records.commit(Put(Record(f"r{number}", "x", {}, owner=("u", f"{number}"))))
        cursor = records.query("owner", "u", limit=1).cursor
        assert cursor
        with pytest.raises(InvalidRequest):
            records.query("owner", "t", cursor=cursor)


def _data(records: Records, pk: str, sk: str) -> object:
    found = records.get(pk, sk)
    return found.data if found else None
