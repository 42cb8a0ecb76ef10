"""API keys: made once, shown once, and kept as a hash only.

A key is ``rk_`` and 256 random bits, so a plain SHA-256 is enough: there is nothing to guess that
a slow hash would have to protect.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from robotchat.clock import rfc3339
from robotchat.errors import Conflict, InvalidRequest, NotFound
from robotchat.ids import TENANT_RULE, is_tenant
from robotchat.records import Put, Record, Records, Retries, Stale, every

_SECRET = re.compile(r"rk_[A-Za-z0-9_-]{20,128}")
_ALL = "keys"
_SCOPE = re.compile(r"\*|[a-z]+(:[a-z]+)?")


@dataclass(frozen=True)
class ApiKey:
    """What is known of a key. The secret is not: it is the caller's alone."""

    key_id: str
    tenant: str
    scopes: tuple[str, ...]
    name: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def valid(self, now: datetime) -> bool:
        """Whether the key is valid at this moment."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def create_key(
    records: Records,
    tenant: str,
    *,
    scopes: Iterable[str] = ("*",),
    name: str = "",
    expires_at: datetime | None = None,
) -> tuple[str, ApiKey]:
    """Make a key for a tenant. The secret is returned here and never again.

    Raises `InvalidRequest` for a tenant or scope of the wrong form.
    """
    secret = _new_secret()
    key = _new(tenant, scopes, name, expires_at)
    records.commit(Put(_record(_digest(secret), key)))
    return secret, key


def ensure_key(
    records: Records,
    secret: str,
    tenant: str,
    *,
    scopes: Iterable[str] = ("*",),
    name: str = "",
) -> ApiKey:
    """Make sure that a secret chosen elsewhere is a key of the tenant. Can be repeated.

    Raises `InvalidRequest` for a secret of the wrong form, and `Conflict` for one that is another
    tenant's key or has been revoked.
    """
    if not _SECRET.fullmatch(secret):
        raise InvalidRequest("A key is rk_ and at least 20 letters, digits, - or _.", param="key")
    digest = _digest(secret)
    key = _new(tenant, scopes, name, None)
    try:
        records.commit(Put(_record(digest, key)))
    except Stale:
        record = records.get(f"key#{digest}", "key")
        present = _load(record.data) if record else None
        if record is not None and record.group is None:  # made before all keys were listed
            records.commit(Put(replace(record, group=_record(digest, _load(record.data)).group)))
        if present is None or present.tenant != tenant or not present.valid(datetime.now(UTC)):
            raise Conflict("This key belongs to another tenant, or is not valid any more.") from (
                None
            )
        return present
    return key


def find_key(records: Records, secret: str) -> ApiKey | None:
    """The key that a caller's secret belongs to, valid or not; None for an unknown one."""
    # What cannot be a key is not worth a read.
    return _read(records, _digest(secret)) if _SECRET.fullmatch(secret) else None


def list_keys(records: Records, tenant: str) -> Iterator[ApiKey]:
    """A tenant's keys, oldest first, revoked ones included."""
    for record in every(records, "owner", f"{tenant}#keys"):
        yield _load(record.data)


def tenants(records: Records, *, after: str | None = None, limit: int) -> Iterator[str]:
    """Names of those who have or had a key, in order: so many of those ``after`` one.

    Keys are written seldom, so that all of them may be in one partition of an index.
    """
    for _ in range(limit):
        # $ sorts right behind #, and before all that is in names: past all keys of that tenant.
        place = None if after is None else f"{after}$"
        found = records.entries("group", _ALL, after=place, limit=1)
        if not found:
            return
        after = found[0].position.partition("#")[0]
        yield after


def revoke_key(records: Records, tenant: str, key_id: str) -> ApiKey:
    """Make a key useless; the authorizer follows within half a minute.

    Raises `NotFound` if the tenant has no such key. Revoking twice changes nothing.
    """
    retries = Retries()
    while True:
        record, key = _find(records, tenant, key_id)
        if key.revoked_at is not None:
            return key
        key = replace(key, revoked_at=datetime.now(UTC))
        try:
            records.commit(Put(replace(record, data=_dump(key))))
        except Stale:
            retries.spend()
            continue
        return key


def rotate_key(
    records: Records, tenant: str, key_id: str, *, grace: timedelta
) -> tuple[str, ApiKey, ApiKey]:
    """Make a key like another, which goes on working for the time of ``grace`` only.

    Gives the secret of the new key, the new key, and the old one as it is then. The new key
    lives as long as the old one was made for, if that was limited. Raises `NotFound` if the
    tenant has no such key, and `Conflict` for one that is not valid any more.
    """
    retries = Retries()
    while True:
        record, old = _find(records, tenant, key_id)
        now = datetime.now(UTC)
        if not old.valid(now):
            raise Conflict("This key is not valid any more; make a new one.", param="key_id")
        lifetime = old.expires_at - old.created_at if old.expires_at else None
        secret = _new_secret()
        new = _new(tenant, old.scopes, old.name, now + lifetime if lifetime else None)
        ends = min(old.expires_at or now + grace, now + grace)
        old = replace(old, expires_at=ends)
        try:
            records.commit(
                Put(_record(_digest(secret), new)), Put(replace(record, data=_dump(old)))
            )
        except Stale:
            retries.spend()
            continue
        return secret, new, old


def _find(records: Records, tenant: str, key_id: str) -> tuple[Record, ApiKey]:
    for record in every(records, "owner", f"{tenant}#keys"):
        key = _load(record.data)
        if key.key_id == key_id:
            return record, key
    raise NotFound("There is no such key.", param="key_id")


def _new_secret() -> str:
    return f"rk_{secrets.token_urlsafe(32)}"


def _new(tenant: str, scopes: Iterable[str], name: str, expires_at: datetime | None) -> ApiKey:
    if not is_tenant(tenant):
        raise InvalidRequest(TENANT_RULE, param="tenant")
    scopes = tuple(scopes)
    if not scopes or not all(_SCOPE.fullmatch(scope) for scope in scopes):
        raise InvalidRequest("A scope is a word, or two with a colon, or *.", param="scopes")
    return ApiKey(
        key_id=f"key_{secrets.token_hex(8)}",
        tenant=tenant,
        scopes=scopes,
        name=name,
        created_at=datetime.now(UTC),
        expires_at=expires_at,
    )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _read(records: Records, digest: str) -> ApiKey | None:
    record = records.get(f"key#{digest}", "key")
    return _load(record.data) if record else None


def _record(digest: str, key: ApiKey) -> Record:
    return Record(
        pk=f"key#{digest}",
        sk="key",
        data=_dump(key),
        owner=(f"{key.tenant}#keys", f"{rfc3339(key.created_at)}#{key.key_id}"),
        group=(_ALL, f"{key.tenant}#{key.key_id}"),
    )


def _dump(key: ApiKey) -> dict[str, Any]:
    return {
        "key_id": key.key_id,
        "tenant": key.tenant,
        "scopes": list(key.scopes),
        "name": key.name,
        "created_at": rfc3339(key.created_at),
        "expires_at": rfc3339(key.expires_at) if key.expires_at else None,
        "revoked_at": rfc3339(key.revoked_at) if key.revoked_at else None,
    }


def _load(data: dict[str, Any]) -> ApiKey:
    def moment(name: str) -> datetime | None:
        return datetime.fromisoformat(data[name]) if data.get(name) else None

    return ApiKey(
        key_id=data["key_id"],
        tenant=data["tenant"],
        scopes=tuple(data["scopes"]),
        name=data["name"],
        created_at=datetime.fromisoformat(data["created_at"]),
        expires_at=moment("expires_at"),
        revoked_at=moment("revoked_at"),
    )
