"""Which hosts of a large pool are worth a look, at a cost that does not grow with the pool."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import datetime

from robotchat.art.matching import checkpoint_key
from robotchat.clock import rfc3339
from robotchat.hosts.lease import HostState
from robotchat.records import Entry, Record, Records

LOOKED_AT = 16
"""So many hosts are simply all read, in one request; of more, those that an index tells of."""

_PAGE = 50
_MOST = 8000
_END_OF_TIME = 10**14
_HOSTS = "hosts"


def host_record(state: HostState, *, indexed: bool) -> Record:
    """The record of a host. ``indexed`` is for pools that are too large to read all of it.

    Then the index ``owner`` has the free hosts, those first that came free last (so that what
    nobody uses any more does not stand before what is in use), and behind them the others by the
    moment at which they may become free: when the cool-down is over, the holder expects to be
    done, or the lease runs out. The index ``group`` has them in the same order by the checkpoint
    that they have loaded.
    """
    data = state.model_dump(mode="json", exclude={"name", "version"}, exclude_none=True)
    place = _place(state) if indexed else None
    return Record(
        f"host#{state.name}",
        "host",
        data,
        state.version,
        owner=(_HOSTS, place) if place else None,
        group=(_loaded(state.checkpoint), place) if place and state.checkpoint else None,
    )


def _place(state: HostState) -> str | None:
    if state.holder is not None:
        moments = [moment for moment in (state.ends_at, state.holder_until) if moment is not None]
        return f"1{rfc3339(min(moments))}" if moments else None
    if state.cool_down_until is not None:
        return f"1{rfc3339(state.cool_down_until)}"
    if state.free_since is None:
        return None
    return f"0{_END_OF_TIME - round(1000 * state.free_since.timestamp()):015d}"


def read_hosts(records: Records, names: Sequence[str]) -> list[HostState]:
    """What is known of these hosts: a request for every hundred of them."""
    found = records.get_all([(f"host#{name}", "host") for name in names])
    return [
        HostState(name=name)
        if record is None
        else HostState.model_validate({**record.data, "name": name, "version": record.version})
        for name, record in zip(names, found, strict=True)
    ]


class View:
    """The hosts that somebody waits for, as he sees them.

    ``wanted`` names the hosts, and the checkpoint that is wanted of each.
    """

    def __init__(self, records: Records, wanted: Mapping[str, str | None]) -> None:
        self._records = records
        self._wanted = wanted
        self._small = len(wanted) <= LOOKED_AT
        self._keys = {checkpoint_key(name) for name in wanted.values() if name is not None}
        self._seen: dict[str, tuple[str, HostState]] = {}
        self._unknown: list[str] | None = None
        self._after: str | None = None
        self._requests = 0
        self.expected: datetime | None = None
        """When one of the hosts that were not read may come free, if an index tells."""
        self.loaded = False
        """Whether an index told of a host that has the wanted checkpoint loaded, free or not."""

    def spent(self) -> int:
        """How many requests were made since this was last asked."""
        requests, self._requests = self._requests, 0
        return requests

    def with_checkpoint(self) -> list[HostState]:
        """Some free hosts that have the checkpoint loaded, as far as an index tells."""
        if self._small:
            return []
        free: list[str] = []
        for key in self._keys:
            self._requests += 1
            page = self._records.entries("group", _loaded(key), limit=_PAGE)
            self.loaded = self.loaded or bool(self._ours(page))
            free += self._ours([entry for entry in page if _free(entry)])
        return self._read(_some(free))

    def look(self, now: datetime) -> list[HostState]:
        """The hosts that may be free now; all of them, when they are few.

        Each that an index tells of is read once, as long as it has the same place there.
        """
        if self._small:
            return self._read(list(self._wanted))
        self._requests += 1
        page = self._records.entries("owner", _HOSTS, after=self._after, limit=_PAGE)
        if len(page) < _PAGE and self._after is None and self._unknown is None:
            self._unknown = self._not_in(page)
        ripe = [e for e in page if _free(e) or e.position[1:] <= rfc3339(now)]
        later = page[len(ripe)] if len(ripe) < len(page) else None
        # A page that is full of hosts which are of no use hides others: the next one, next time.
        self._after = page[-1].position if len(ripe) == _PAGE else None
        self.expected = datetime.fromisoformat(later.position[1:]) if later else None
        places = {name: entry.position for entry in ripe for name in self._ours([entry])}
        self._seen = {n: seen for n, seen in self._seen.items() if places.get(n) == seen[0]}
        unseen = [name for name in places if name not in self._seen]
        for state in self._read(_some(unseen)):
            self._seen[state.name] = (places[state.name], state)
        return [state for _, state in self._seen.values()]

    def unused(self) -> list[HostState]:
        """Hosts that no index has: they were never used, or last in a smaller pool."""
        if self._small:
            return []
        if self._unknown is None:
            self._requests += 1
            everything = self._records.entries("owner", _HOSTS, limit=_MOST)
            self._unknown = self._not_in(everything)
        names = self._unknown[:LOOKED_AT]
        del self._unknown[:LOOKED_AT]
        return self._read(names)

    def forget(self, name: str) -> None:
        """It was another's: what was seen of it is not so any more."""
        self._seen.pop(name, None)

    def _not_in(self, page: Sequence[Entry]) -> list[str]:
        """The hosts that are not there, in an order of one's own."""
        there = set(self._ours(page))
        unknown = [name for name in self._wanted if name not in there]
        return random.sample(unknown, len(unknown))

    def _ours(self, entries: Sequence[Entry]) -> list[str]:
        names = [entry.pk.removeprefix("host#") for entry in entries]
        return [name for name in names if name in self._wanted]

    def _read(self, names: Sequence[str]) -> list[HostState]:
        if not names:
            return []
        self._requests += 1
        return read_hosts(self._records, names)


def _some(names: Sequence[str]) -> list[str]:
    """Not the same ones for everybody who looks at this moment."""
    return random.sample(names, min(LOOKED_AT, len(names)))


def _loaded(checkpoint: str) -> str:
    return f"loaded#{checkpoint_key(checkpoint)}"


def _free(entry: Entry) -> bool:
    return entry.position.startswith("0")
