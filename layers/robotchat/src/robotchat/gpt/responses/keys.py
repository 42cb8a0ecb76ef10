"""Idempotency keys: which response a key stands for, and who is making it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from robotchat.clock import Clock
from robotchat.errors import IdempotencyKeyReused
from robotchat.gpt.driver import Body
from robotchat.ids import new_id
from robotchat.jobs.states import StillRunning
from robotchat.records import Put, Record, Records, Remove, Retries, Stale

KEY_CLAIM = timedelta(seconds=60)
"""A request with an idempotency key that shows no sign of life for this long is dead."""


class IdempotencyKeys:
    """The keys of responses. ``retention`` is how long a response is kept."""

    def __init__(self, records: Records, clock: Clock, retention: timedelta) -> None:
        self._records = records
        self._clock = clock
        self._retention = retention

    def reserve(self, response_id: str, fingerprint: str) -> str | None:
        """Take the id that an idempotency key stands for, to make its response now.

        Gives a token to renew and to release it with; None when the response is made already.
        Raises IdempotencyKeyReused when the key was used with another request, or its response is
        deleted, and StillRunning while another request with the key is being answered.
        """
        key = (f"response#{response_id}", "key")
        retries = Retries()
        while True:
            record = self._records.get(*key) or Record(*key, data={})
            made = self._records.get(f"response#{response_id}", "response")
            same = record.data.get("fingerprint") == fingerprint
            if (record.version and not same) or (made and (not same or is_tombstone(made))):
                raise IdempotencyKeyReused(
                    "This idempotency key was used before, with another request or for a response "
                    "that is deleted.",
                    param="Idempotency-Key",
                )
            if made is not None:
                return None
            now = self._clock.now()
            if record.version and now < (until := datetime.fromisoformat(record.data["until"])):
                raise StillRunning((until - now).total_seconds())
            token = new_id("token")
            data = {"fingerprint": fingerprint, "token": token, **_until(self._clock, KEY_CLAIM)}
            # A little longer than the response, which must not outlive its key.
            expiry = (now + self._retention + timedelta(days=1)).timestamp()
            try:
                self._records.commit(Put(replace(record, data=data, expires_at=expiry)))
            except Stale:
                retries.spend()
                continue
            return token

    def renew(self, response_id: str, token: str) -> None:
        """Show that whoever makes the response of an idempotency key is alive."""
        retries = Retries()
        while record := self._held(response_id, token):
            data = {**record.data, **_until(self._clock, KEY_CLAIM)}
            try:
                self._records.commit(Put(replace(record, data=data)))
            except Stale:
                retries.spend()
                continue
            return

    def release(self, response_id: str, token: str) -> None:
        """Nothing came of it: the idempotency key is as if it had never been used."""
        retries = Retries()
        while record := self._held(response_id, token):
            try:
                self._records.commit(Remove(record))
            except Stale:
                retries.spend()
                continue
            return

    def _held(self, response_id: str, token: str) -> Record | None:
        record = self._records.get(f"response#{response_id}", "key")
        return record if record is not None and record.data["token"] == token else None


def is_tombstone(record: Record) -> bool:
    """Whether a record only keeps the place of a response that was deleted."""
    return bool(record.data.get("tombstone"))


def _until(clock: Clock, duration: timedelta) -> Body:
    return {"until": (clock.now() + duration).isoformat()}
