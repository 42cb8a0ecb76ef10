"""How many requests of a tenant wait for their answer, or follow something, at the same time.

Each of them holds an execution of a function until it is answered, and an account has only so many.
A place among them is a lease: it ends when the request has been answered, and by itself when
whoever served it cannot be there any more. So no count is kept, and none can be left behind by a
function that dies.

The places of a tenant that may have many are divided among several records, since one record takes
only so many writes a second; each has its share of the limit, and a place is taken where one is
free.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from robotchat.clock import Clock
from robotchat.errors import LimitExceeded
from robotchat.ids import new_id
from robotchat.records import Put, Record, Records, Retries, Stale

AGAIN = 5.0
"""Seconds after which a caller for whom there was no place may ask again."""

_PLACES_PER_RECORD = 50
_MOST_RECORDS = 20
_KEPT = 86_400.0
"""Seconds for which a record without places is kept."""


@dataclass(frozen=True)
class Place:
    """One request's place among those of its tenant that wait."""

    pk: str
    id: str


class Waiting:
    """The places of all tenants, over a document store.

    ``limit`` tells how many requests of a tenant may wait; None for any number, of which nothing is
    written then.
    """

    def __init__(self, records: Records, clock: Clock, limit: Callable[[str], int | None]) -> None:
        self._records = records
        self._clock = clock
        self._limit = limit

    def take(self, tenant: str, *, seconds: float) -> Place | None:
        """A place for a request that is answered within so many seconds; None where none is needed.

        Raises LimitExceeded when all are taken.
        """
        limit = self._limit(tenant)
        if limit is None:
            return None
        shares = _shares(limit)
        retries = Retries()
        while True:
            now = self._clock.now().timestamp()
            found = self._read(tenant, len(shares))
            free = [
                record
                for record, share in zip(found, shares, strict=True)
                if len(_held(record, now)) < share
            ]
            if not free:
                used = sum(len(_held(record, now)) for record in found)
                raise LimitExceeded(
                    f"At most {limit} requests may wait for their answers, or follow something, "
                    "at the same time.",
                    retry_after=AGAIN,
                    details={"limit": "waiting_requests", "maximum": limit, "used": used},
                )
            chosen = random.choice(free)  # noqa: S311 - to spread them
            place = Place(chosen.pk, new_id("place"))
            held = _held(chosen, now) | {place.id: now + seconds}
            try:
                self._records.commit(_write(chosen, held, now))
            except Stale:
                retries.spend()
                continue
            return place

    def give_back(self, place: Place) -> None:
        """End a request's place. One that has run out already needs no end."""
        retries = Retries()
        while (record := self._records.get(place.pk, "waiting")) is not None:
            now = self._clock.now().timestamp()
            held = _held(record, now)
            if held.pop(place.id, None) is None:
                return
            try:
                self._records.commit(_write(record, held, now))
            except Stale:
                retries.spend()
                continue
            return

    def count(self, tenant: str) -> int:
        """How many requests of a tenant wait now, as far as there is a limit for them."""
        limit = self._limit(tenant)
        if limit is None:
            return 0
        now = self._clock.now().timestamp()
        return sum(len(_held(record, now)) for record in self._read(tenant, len(_shares(limit))))

    def _read(self, tenant: str, count: int) -> Sequence[Record]:
        keys = [(f"tenant#{tenant}#waiting{number}", "waiting") for number in range(count)]
        found = self._records.get_all(keys)
        return [
            record or Record(*key, {"until": {}}) for key, record in zip(keys, found, strict=True)
        ]


def _shares(limit: int) -> list[int]:
    """How many places each of a tenant's records has."""
    count = min(max(-(-limit // _PLACES_PER_RECORD), 1), _MOST_RECORDS)
    return [limit // count + (number < limit % count) for number in range(count)]


def _held(record: Record, now: float) -> dict[str, float]:
    """The places in a record that have not run out: when each does, by its id."""
    return {name: until for name, until in record.data["until"].items() if until > now}


def _write(record: Record, held: dict[str, float], now: float) -> Put:
    expires_at = max(held.values(), default=now) + _KEPT
    return Put(replace(record, data={"until": held}, expires_at=expires_at))
