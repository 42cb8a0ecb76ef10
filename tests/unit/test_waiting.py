"""Places among the requests of a tenant that wait: what is written, and when not."""

from __future__ import annotations

import pytest

from robotchat.errors import LimitExceeded
from robotchat.jobs.limits import Ledger, Limits
from robotchat.records import MemoryRecords
from tests.cases.clock import FakeClock


def ledger(records: MemoryRecords, limit: int | None) -> Ledger:
    return Ledger(records, FakeClock(), Limits(waiting_requests=limit))


def test_without_a_limit_nothing_is_written() -> None:
    records = MemoryRecords()
    waiting = ledger(records, None).waiting
    assert waiting.take("acme", seconds=60) is None
    assert waiting.count("acme") == 0
    assert records.all() == []


def test_none_at_all_may_wait_under_a_limit_of_zero() -> None:
    with pytest.raises(LimitExceeded) as refused:
        ledger(MemoryRecords(), 0).waiting.take("acme", seconds=60)
    assert refused.value.retry_after
    assert refused.value.details == {"limit": "waiting_requests", "maximum": 0, "used": 0}


@pytest.mark.parametrize("limit", [1, 49, 50, 51, 99, 100, 1001])
def test_exactly_so_many_have_a_place_however_they_are_divided(limit: int) -> None:
    waiting = ledger(MemoryRecords(), limit).waiting
    for _ in range(limit):
        waiting.take("acme", seconds=60)
    assert waiting.count("acme") == limit
    with pytest.raises(LimitExceeded):
        waiting.take("acme", seconds=60)


def test_a_record_of_places_is_not_kept_for_ever() -> None:
    records = MemoryRecords()
    waiting = ledger(records, 1).waiting
    place = waiting.take("acme", seconds=60)
    assert place
    waiting.give_back(place)
    (record,) = records.all()
    assert record.data == {"until": {}}
    assert record.expires_at
