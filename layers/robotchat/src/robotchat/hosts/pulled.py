"""SD hosts that only a worker beside them reaches: which there are, and what they have.

A pull worker (``robotchat worker``) stands beside hosts behind a firewall, takes jobs from a queue
and needs no open port. It announces its hosts here, again and again while it lives, with what they
told it of themselves; all others know them from that. Nobody else ever uses such a host's address,
which is not even written down.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from robotchat.art.answers import Answer
from robotchat.art.capabilities import Capabilities, from_json, to_json
from robotchat.art.driver import ArtDriver, webui_of
from robotchat.clock import Clock, rfc3339
from robotchat.errors import NotSupported, RobotchatError, UpstreamGarbage, UpstreamUnavailable
from robotchat.hosts import parcels
from robotchat.hosts.lease import host_name
from robotchat.hosts.privacy import shareable
from robotchat.records import Put, Record, Records, Retries, Stale
from robotchat.text import json_size

ANNOUNCED_EVERY = 10.0
"""Seconds between two announcements of a worker."""

GONE_AFTER = timedelta(seconds=45)
"""A host that was not announced for this long is gone."""

SHARDS = 8
"""The announcements are in so many records, so that a thousand workers do not write the same."""

POOL_RULE = "a pool's name is 1 to 30 of a-z, 0-9 and -, and begins with a letter"
_POOL = re.compile(r"[a-z][a-z0-9-]{0,29}")
_HOST = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")

_LONGEST_LIST = 4 * 1024 * 1024
"""Bytes of a list that is told to others, as JSON."""

_KEPT = timedelta(days=2)
_RENEWED = timedelta(days=1)
_FORGOTTEN = timedelta(hours=1)

LISTS = (
    *("sd-models", "samplers", "schedulers", "upscalers", "latent-upscale-modes", "loras"),
    *(
        "hypernetworks",
        "face-restorers",
        "realesrgan-models",
        "sd-vae",
        "sd-modules",
        "embeddings",
        "scripts",
    ),
    *("script-info", "prompt-styles", "extensions", "cmd-flags", "options"),
)
"""What is asked of a host below ``sdapi/v1``, to be told to others."""

CONTROLNET_LISTS = (
    *("model_list", "module_list", "module_list?alias_names=true", "control_types"),
    *("version", "settings"),
)
"""The same below ``controlnet``."""


def is_pool(name: str) -> bool:
    """Whether there can be a pool of this name."""
    return _POOL.fullmatch(name) is not None


def is_host(name: str) -> bool:
    """Whether a host can be given this name."""
    return _HOST.fullmatch(name) is not None


def own_host_name(url: str, machine: str) -> str:
    """A name for a host at a URL that a worker on this machine uses.

    A loopback address, or a name that a container network resolves, is another host on each
    machine; any other address is the same host for everybody.
    """
    name = urlsplit(url).hostname or ""
    local = name == "::1" or name.startswith("127.") or not re.search(r"[.:]", name)
    if not local and name != "host.docker.internal":
        return host_name(url)
    if name in ("::1", "localhost") or name.startswith("127."):
        url = url.replace(urlsplit(url).netloc, f"localhost:{urlsplit(url).port}")
    return "sd-" + hashlib.sha256(f"{machine} {host_name(url)}".encode()).hexdigest()[:8]


@dataclass(frozen=True)
class PulledHost:
    """A host as its worker announces it."""

    name: str
    worker: str
    """Whom to ask for what is to be done on it."""
    pool: str | None
    """The pool whose queue its worker takes jobs from; None: the queue of all jobs."""
    lists: str
    """The parcel with what it told of itself; empty while it does not answer its worker."""
    parts: int
    seen: datetime
    """When its worker announced it."""


class PulledHosts:
    """The announced hosts, in a document store. A process keeps what it has read."""

    KEYS = tuple(("pulled", str(shard)) for shard in range(SHARDS))
    """Those of the announcements' records."""

    def __init__(self, records: Records, clock: Clock) -> None:
        self._records = records
        self._clock = clock
        self._lock = threading.Lock()
        self._hosts: dict[str, PulledHost] = {}
        self._looked_at: datetime | None = None
        self._lists: dict[str, dict[str, Any]] = {}

    # --- for those who use them -------------------------------------------------------------------

    def look(self, *, unless_within: float = 0.0) -> None:
        """Read the announcements (one request), unless that was done within so many seconds."""
        now = self._clock.now()
        with self._lock:
            last = self._looked_at
            if last is not None and now - last < timedelta(seconds=unless_within):
                return
            self._note(self._records.get_all(self.KEYS), now)

    def note(self, records: Sequence[Record | None]) -> None:
        """Take the announcements from their records, which somebody has just read."""
        with self._lock:
            self._note(records, self._clock.now())

    def _note(self, records: Sequence[Record | None], now: datetime) -> None:
        found: dict[str, PulledHost] = {}
        for record in records:
            for key, entry in (record.data["hosts"] if record else {}).items():
                host = _read(key, entry)
                known = found.get(host.name)
                if known is None or host.seen > known.seen:
                    found[host.name] = host
        self._hosts, self._looked_at = found, now

    def hosts(self) -> list[PulledHost]:
        """Those that were announced lately, as far as it was read."""
        now = self._clock.now()
        return sorted(
            (host for host in self._hosts.values() if now - host.seen < GONE_AFTER),
            key=lambda host: host.name,
        )

    def host(self, name: str) -> PulledHost:
        """One of them, as of now. Raises UpstreamUnavailable when it is gone."""
        self.look(unless_within=1.0)
        host = self._hosts.get(name)
        if host is None or self._clock.now() - host.seen >= GONE_AFTER:
            raise UpstreamUnavailable("The SD host's worker was not seen for a while.")
        return host

    def lists(self, name: str) -> Mapping[str, Any]:
        """What a host told of itself: its answers by path, and its ``capabilities``.

        Raises UpstreamUnavailable when the host is gone, or does not answer its worker.
        """
        host = self.host(name)
        if not host.lists:
            raise UpstreamUnavailable("The SD host does not answer its worker.")
        known = self._lists.get(host.lists)
        if known is None:
            try:
                known = parcels.receive(self._records, host.lists, host.parts)
            except LookupError as error:
                raise UpstreamUnavailable("The SD host's lists are being renewed.") from error
            with self._lock:
                present = {one.lists for one in self._hosts.values()}
                kept = {digest: lists for digest, lists in self._lists.items() if digest in present}
                self._lists = {**kept, host.lists: known}
        return known

    # --- for workers ------------------------------------------------------------------------------

    def announce(self, worker: str, hosts: Sequence[PulledHost]) -> None:
        """Have these be the hosts of a worker; none when it leaves. Raises Contended."""
        entries = {f"{worker}/{host.name}": _told(host) for host in hosts}
        shard = str(int(hashlib.sha256(worker.encode()).hexdigest(), 16) % SHARDS)
        retries = Retries()
        while True:
            record = self._records.get("pulled", shard)
            before = record.data["hosts"] if record else {}
            long_ago = rfc3339(self._clock.now() - _FORGOTTEN)
            others = {
                key: entry
                for key, entry in before.items()
                if not key.startswith(f"{worker}/") and entry["seen"] > long_ago
            }
            data = {"hosts": {**others, **entries}}
            try:
                version = record.version if record else 0
                self._records.commit(Put(Record("pulled", shard, data, version)))
            except Stale:
                retries.spend()
                continue
            return

    def publish(self, lists: Mapping[str, Any]) -> tuple[str, int]:
        """Store what a host told of itself, once for all hosts that told the same. Gives the name
        of the parcel and the number of its parts."""
        text = json.dumps(lists, sort_keys=True)
        name = f"lists-{hashlib.sha256(text.encode()).hexdigest()[:32]}"
        now = self._clock.now()
        note = self._records.get("parcel", name)
        if note is not None and (note.expires_at or 0) > (now + _RENEWED).timestamp():
            return name, int(note.data["parts"])
        until = (now + _KEPT).timestamp()
        retries = Retries()
        while True:
            try:
                parts = parcels.send(self._records, name, lists, until=until)
                version = note.version if note else 0
                noted = Record("parcel", name, {"parts": parts}, version, expires_at=until - 60)
                self._records.commit(Put(noted))
            except Stale:  # another worker is at it, with the very same
                retries.spend()
                note = self._records.get("parcel", name)
                continue
            return name, parts


def ask_for_lists(driver: ArtDriver) -> dict[str, Any]:
    """What a host tells of itself, by the web UI's paths, without what is private to its machine.

    A list that it does not have is null; one that it could not give is its error. Raises an
    UpstreamError when the host cannot even tell its checkpoints.
    """
    models = driver.models()
    capabilities = driver.capabilities()
    lists: dict[str, Callable[[], Sequence[Answer]]] = {
        "sdapi/v1/samplers": driver.samplers,
        "sdapi/v1/schedulers": driver.schedulers,
        "sdapi/v1/loras": driver.loras,
    }
    paths = [f"sdapi/v1/{name}" for name in LISTS]
    paths += [f"controlnet/{name}" for name in CONTROLNET_LISTS]
    found: dict[str, Any] = {"sdapi/v1/sd-models": _dumped(models)}
    for path in paths:
        if path in found:
            continue
        try:
            if path in lists:
                found[path] = _dumped(lists[path]())
            elif path.startswith("controlnet/") and not capabilities.controlnet:
                found[path] = None
            else:
                bare, _, query = path.partition("?")
                name, _, value = query.partition("=")
                answer = webui_of(driver).get(bare, **({name: value} if query else {}))
                found[path] = shareable(path, answer)
            if json_size(found[path]) > _LONGEST_LIST:
                raise UpstreamGarbage(f"The host's list {path} is too long.")
        except NotSupported:
            found[path] = None
        except RobotchatError as error:
            found[path] = {"error": {"code": error.code, "message": error.message}}
    try:
        checkpoint = driver.checkpoint()
    except NotSupported:
        checkpoint = None
    special = {model.alias: driver.capabilities(model.alias) for model in models}
    return {
        "answers": found,
        "checkpoint": checkpoint,
        "capabilities": to_json(capabilities),
        "capabilities_with": {
            alias: to_json(one) for alias, one in special.items() if one != capabilities
        },
    }


def _dumped(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    return [answer.model_dump() for answer in answers]


def capabilities_in(lists: Mapping[str, Any], checkpoint: str | None = None) -> Capabilities:
    """The capabilities among what a host told of itself, with a checkpoint of it."""
    special = lists["capabilities_with"].get(checkpoint)
    return from_json(lists["capabilities"] if special is None else special)


def _told(host: PulledHost) -> dict[str, Any]:
    seen = rfc3339(host.seen)
    return {"pool": host.pool, "lists": host.lists, "parts": host.parts, "seen": seen}


def _read(key: str, entry: Mapping[str, Any]) -> PulledHost:
    worker, _, name = key.partition("/")
    seen = datetime.fromisoformat(entry["seen"])
    return PulledHost(name, worker, entry["pool"], entry["lists"], entry["parts"], seen)
