"""Messages that no worker could read or finish: what they were, and how they are tried again."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from botocore.exceptions import ClientError

from robotchat.aws.queues import FIRST_ID, SqsQueue, first_id
from robotchat.ids import is_tenant
from robotchat.text import readable, salvage_json

_HOLD = 120.0
"""Seconds for which a message that is looked at is hidden from others who look."""

_LONGEST_SHOWN = 200
"""Characters of what a producer wrote."""


@dataclass(frozen=True)
class DeadLetter:
    """A message that no worker could read or finish. What its user wrote is not shown."""

    id: str
    sent_at: datetime
    receives: int
    reason: str
    tenant: str | None
    job_id: str | None


class DeadLetters:
    """The dead letters of requests and jobs, and the queue of requests, which takes them back: what
    was on the queue of jobs is passed on from there."""

    def __init__(self, dead: SqsQueue, requests: SqsQueue) -> None:
        self._dead = dead
        self._requests = requests

    def look(self, most: int | None = None) -> list[DeadLetter]:
        """What is there now, or so many of it; what is there twice only once."""
        found: dict[tuple[str, str], DeadLetter] = {}
        with closing(self._held()) as held:
            for record in held:
                found.setdefault(_same(record), _dead_letter(record))
                if len(found) == most:
                    break
        return list(found.values())

    def redrive(self, most: int | None = None) -> tuple[list[DeadLetter], int]:
        """Put the messages that are there now, or so many of them, back on the queue of requests.

        Gives what they were, and how many AWS would not take and are still here. A message is
        deleted here once it is there: if this is cut short, one may be in both, which does no harm,
        since it keeps its first id, and is one job however often it comes.
        """
        with closing(self._held()) as held:
            return self._put_back(islice(held, most))

    def _put_back(self, records: Iterable[dict[str, Any]]) -> tuple[list[DeadLetter], int]:
        moved: dict[tuple[str, str], DeadLetter] = {}
        stayed = 0
        for record in records:
            if _same(record) in moved:
                self._dead.done(record)
                continue
            letter = _dead_letter(record)
            group = record["attributes"].get("MessageGroupId") or letter.tenant
            try:
                self._requests.put(
                    record["body"],
                    group=group if is_tenant(group) else None,
                    attributes={FIRST_ID: first_id(record)},
                )
            except ClientError:
                stayed += 1
                continue
            self._dead.done(record)
            moved[_same(record)] = letter
        return list(moved.values()), stayed

    def _held(self) -> Generator[dict[str, Any], None, None]:
        """What was there at the beginning; what is still there at the end is let go."""
        began = datetime.now(UTC)
        held: list[dict[str, Any]] = []
        seen: set[str] = set()
        try:
            while True:
                records = self._dead.receive(wait=1, hidden=_HOLD, most=10)
                held += records
                fresh = [r for r in records if r["messageId"] not in seen and _sent(r) < began]
                if not fresh:
                    return
                seen.update(record["messageId"] for record in fresh)
                yield from fresh
        finally:
            for record in held:
                with suppress(ClientError):  # it was deleted meanwhile
                    self._dead.hide(record, 0)


def _same(record: Mapping[str, Any]) -> tuple[str, str]:
    """What is the same of two letters of one message: a worker died after it had put it here, and
    before its own queue knew."""
    return first_id(record), record["body"]


def _sent(record: Mapping[str, Any]) -> datetime:
    return datetime.fromtimestamp(int(record["attributes"]["SentTimestamp"]) / 1000, UTC)


def _field(record: Mapping[str, Any], name: str) -> str | None:
    """A field of the message's body, if that can be read, and its beginning if it is long."""
    try:
        body, _ = salvage_json(record["body"])
    except ValueError:
        return None
    value = body.get(name) if isinstance(body, dict) else None
    return readable(value[:_LONGEST_SHOWN]) if isinstance(value, str) else None


def _dead_letter(record: Mapping[str, Any]) -> DeadLetter:
    reason = record["messageAttributes"].get("reason", {}).get("stringValue") or ""
    return DeadLetter(
        id=record["messageId"],
        sent_at=_sent(record),
        receives=int(record["attributes"]["ApproximateReceiveCount"]),
        reason=reason[:_LONGEST_SHOWN] or "received too often: its worker died each time",
        tenant=_field(record, "tenant"),
        job_id=_field(record, "job_id"),
    )
