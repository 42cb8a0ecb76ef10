"""What the hosts of a pool were seen to have, for when they are away and for other processes."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from robotchat.art.answers import Model
from robotchat.clock import Clock
from robotchat.errors import Contended
from robotchat.records import Operation, Put, Record, Records, Remove, Retries, Stale

logger = logging.getLogger(__name__)

READ_AGAIN = timedelta(seconds=10)
"""How long it is believed that nothing is known of a host."""

JUST_NOW = timedelta(seconds=1)

_MATCHED = {"title", "model_name", "hash", "sha256", "filename"}
"""What tells a checkpoint by any of its names."""

_MOST_MODELS = 1000
_MOST_REMOVED = 80
_MOST_LISTS = 10
"""New lists of checkpoints in one commit, which may have 4 MB in all."""


@dataclass(frozen=True)
class Home:
    """The checkpoint that a host is to draw with when none is named, as it was just found out;
    ``instead_of`` is the one that was known before and has gone."""

    checkpoint: str
    instead_of: str | None = None


class KnownHosts:
    """The home checkpoint of each host, that is the one it had chosen when it was first seen, and
    the checkpoints that it had when somebody last asked it.

    All hosts are in one record, which a process reads once: it costs the same however many hosts
    there are. Lists of checkpoints, which many hosts have in common, are records of their own, and
    are there exactly as long as a host has them.
    """

    def __init__(self, records: Records, clock: Clock) -> None:
        self._records = records
        self._clock = clock
        self._lock = threading.Lock()
        self._record: Record | None = None
        self._read_at: datetime | None = None
        self._read_lists: dict[str, Sequence[Model]] = {}
        self._digests: dict[str, tuple[Sequence[Model], str]] = {}

    def look_up(self, names: Sequence[str]) -> None:
        """Read what is known, unless it was read and has all these hosts, or just now."""
        now = self._clock.now()
        with self._lock:
            if self._read_at is not None and (
                now - self._read_at < READ_AGAIN or all(name in self._homes() for name in names)
            ):
                return
            self._read(now)

    def home(self, name: str) -> str | None:
        """A host's home, as last looked up; None if nobody has found it out."""
        return self._homes().get(name)

    def kind(self, name: str) -> str | None:
        """What a host's checkpoints, as last looked up, have in common with those of other hosts:
        the same files by their names. None if nobody has asked it, or it told of none."""
        return self._kinds().get(self._lists().get(name, "")) or None

    def models(self, name: str) -> Sequence[Model] | None:
        """The checkpoints that a host had when somebody last asked it; None if nobody has."""
        with self._lock:
            now = self._clock.now()
            if self._read_at is None or now - self._read_at >= JUST_NOW:
                self._read(now)
            digest = self._lists().get(name)
            if digest is None:
                return None
            if digest not in self._read_lists:
                record = self._records.get(f"models#{digest}", "models")
                told = record.data["models"] if record else ()
                self._read_lists[digest] = [Model.model_validate(model) for model in told]
            return self._read_lists[digest]

    def note(self, homes: Mapping[str, Home], models: Mapping[str, Sequence[Model]]) -> None:
        """Write down what was found out about hosts, if it is news.

        A home that another process found first stays as it is.
        """
        with self._lock:
            retries = Retries()
            try:
                while (news := self._news(homes, models)) is not None:
                    try:
                        self._records.commit(news[0], *news[1])
                    except Stale:
                        retries.spend()
                        self._read(self._clock.now())
                        continue
                    self._record = replace(news[0].record, version=news[0].record.version + 1)
            except Contended:
                # It is found out, and noted, again by whoever asks the hosts next.
                logger.warning("what the hosts have could not be noted")

    def _news(
        self, homes: Mapping[str, Home], models: Mapping[str, Sequence[Model]]
    ) -> tuple[Put, list[Operation]] | None:
        """What to write; None when all is known. What this process has read may be old, so what
        looks like news is compared with the record as it is now."""
        for fresh in (False, True):
            known_homes, known_lists, kinds = self._homes(), self._lists(), dict(self._kinds())
            new_homes = {
                name: home.checkpoint
                for name, home in homes.items()
                if known_homes.get(name) == home.instead_of != home.checkpoint
            }
            new_lists: dict[str, str] = {}
            for name, listed in models.items():
                digest = self._digest(name, listed)
                if known_lists.get(name) != digest or digest not in kinds:
                    new_lists[name] = digest
                if len(set(new_lists.values())) >= _MOST_LISTS:
                    break  # the others in the next commit
            if not new_homes and not new_lists:
                return None
            now = self._clock.now()
            if fresh or (self._read_at is not None and now - self._read_at < JUST_NOW):
                break
            self._read(now)
        lists = known_lists | new_lists
        had = set(known_lists.values())
        record = self._record
        version = record.version if record else 0
        kinds |= {digest: _kind_of(models[name]) for name, digest in new_lists.items()}
        data = {
            "homes": known_homes | new_homes,
            "models": lists,
            "kinds": {digest: kind for digest, kind in kinds.items() if digest in lists.values()},
        }
        added = {digest: name for name, digest in new_lists.items() if digest not in had}
        lists_changed: list[Operation] = [
            Put(Record(f"models#{digest}", "models", {"models": _told(models[name])}))
            for digest, name in added.items()
        ]
        lists_changed += [
            Remove(Record(f"models#{digest}", "models", {}, 1))
            for digest in sorted(had - set(lists.values()))[:_MOST_REMOVED]
        ]
        return Put(Record("hosts", "known", data, version)), lists_changed

    def _digest(self, name: str, listed: Sequence[Model]) -> str:
        known, digest = self._digests.get(name, (None, ""))
        if known is not listed:
            text = json.dumps(_told(listed), sort_keys=True)
            digest = hashlib.sha256(text.encode()).hexdigest()[:32]
            self._digests[name] = (listed, digest)
        return digest

    def _homes(self) -> dict[str, str]:
        return self._record.data["homes"] if self._record else {}

    def _lists(self) -> dict[str, str]:
        return self._record.data["models"] if self._record else {}

    def _kinds(self) -> dict[str, str]:
        return self._record.data.get("kinds", {}) if self._record else {}

    def _read(self, now: datetime) -> None:
        self._record = self._records.get("hosts", "known")
        self._read_lists = {
            d: m for d, m in self._read_lists.items() if d in self._lists().values()
        }
        self._read_at = now


def _kind_of(listed: Sequence[Model]) -> str:
    """The same for the same files, in whatever order, wherever they lie, hashed or not yet."""
    names = sorted({model.alias for model in listed})
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16] if names else ""


def _told(listed: Sequence[Model]) -> list[dict[str, Any]]:
    return [model.model_dump(include=_MATCHED) for model in listed[:_MOST_MODELS]]
