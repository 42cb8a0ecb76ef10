"""Keys and the authorizer: what opens, for whom, and for how long."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from robotchat.aws.authorizer import REMEMBERED, Authorizer, Unauthorized, secret_of
from robotchat.aws.keys import create_key, ensure_key, find_key, list_keys, revoke_key, tenants
from robotchat.errors import Conflict, InvalidRequest, NotFound
from robotchat.records import MemoryRecords, Put

DEV_SECRET = "rk_local_0123456789abcdefghij"


class Turnable:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC)

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class Counting(MemoryRecords):
    """Records that count how often they are read."""

    reads = 0

    def get(self, pk: str, sk: str) -> Any:
        self.reads += 1
        return super().get(pk, sk)


def request(**headers: str) -> dict[str, Any]:
    return {
        "type": "REQUEST",
        "methodArn": "arn:aws:execute-api:eu-west-1:123456789012:abc/prod/POST/v1/chat/text2image",
        "headers": {name.replace("_", "-"): value for name, value in headers.items()},
    }


def test_a_made_key_is_found_by_its_secret_and_only_its_hash_is_stored() -> None:
    records = MemoryRecords()
    secret, key = create_key(records, "acme", scopes=["images", "jobs:read"], name="CI")
    assert find_key(records, secret) == key
    assert key.scopes == ("images", "jobs:read")
    assert secret.startswith("rk_")
    everything = json.dumps([record.data for record in records.all()])
    assert secret not in everything
    assert secret not in str([(record.pk, record.sk) for record in records.all()])


def test_an_unknown_secret_and_one_of_another_form_are_not_found() -> None:
    records = Counting()
    assert find_key(records, "rk_" + "x" * 40) is None
    reads = records.reads
    assert find_key(records, "hunter2") is None
    assert records.reads == reads


def test_ensuring_a_key_twice_makes_one() -> None:
    records = MemoryRecords()
    first = ensure_key(records, DEV_SECRET, "dev")
    assert ensure_key(records, DEV_SECRET, "dev") == first
    assert list(list_keys(records, "dev")) == [first]


def test_a_secret_that_is_another_tenants_or_revoked_or_malformed_is_not_ensured() -> None:
    records = MemoryRecords()
    key = ensure_key(records, DEV_SECRET, "dev")
    with pytest.raises(Conflict):
        ensure_key(records, DEV_SECRET, "other")
    revoke_key(records, "dev", key.key_id)
    with pytest.raises(Conflict):
        ensure_key(records, DEV_SECRET, "dev")
    with pytest.raises(InvalidRequest):
        ensure_key(records, "short", "dev")


def test_keys_are_listed_per_tenant_oldest_first() -> None:
    records = MemoryRecords()
    made = [create_key(records, "acme", name=name)[1] for name in ("a", "b")]
    create_key(records, "other")
    assert list(list_keys(records, "acme")) == made


def test_revoking_is_for_the_tenants_own_keys_and_can_be_repeated() -> None:
    records = MemoryRecords()
    secret, key = create_key(records, "acme")
    with pytest.raises(NotFound):
        revoke_key(records, "other", key.key_id)
    revoked = revoke_key(records, "acme", key.key_id)
    assert revoke_key(records, "acme", key.key_id) == revoked
    found = find_key(records, secret)
    assert found is not None
    assert not found.valid(datetime.now(UTC))


@pytest.mark.parametrize("tenant", ["", "a b", "x" * 65, "a#b"])
def test_a_tenants_name_cannot_hold_what_keys_are_made_of(tenant: str) -> None:
    with pytest.raises(InvalidRequest):
        create_key(MemoryRecords(), tenant)


def test_a_key_needs_scopes_of_the_right_form() -> None:
    with pytest.raises(InvalidRequest):
        create_key(MemoryRecords(), "acme", scopes=["jobs read"])
    with pytest.raises(InvalidRequest):
        create_key(MemoryRecords(), "acme", scopes=[])


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("headers", "secret"),
    [
        ({"Authorization": "Bearer rk_a"}, "rk_a"),
        ({"authorization": "bearer   rk_a "}, "rk_a"),
        ({"X-API-Key": "rk_a"}, "rk_a"),
        ({"api-key": "rk_a"}, "rk_a"),
        ({"x-api-key": "", "Api-Key": "rk_a"}, "rk_a"),
        ({"Authorization": basic("anyone", "rk_a")}, "rk_a"),
        ({"Authorization": basic("", "rk:a")}, "rk:a"),
        ({"Authorization": "Bearer", "x-api-key": "rk_a"}, "rk_a"),
        ({"Authorization": "Bearer rk_a", "x-api-key": "rk_b"}, "rk_a"),
        ({"Authorization": basic("anyone", "")}, None),
        ({"Authorization": "Basic !!"}, None),
        ({"Authorization": "Basic /w=="}, None),
        ({"x-api-key": " "}, None),
        ({}, None),
    ],
)
def test_the_key_is_taken_from_the_header_that_holds_it(
    headers: dict[str, str], secret: str | None
) -> None:
    assert secret_of(headers) == secret


def test_a_valid_key_is_let_in_everywhere_on_the_stage_with_its_tenant() -> None:
    records = MemoryRecords()
    secret, key = create_key(records, "acme", scopes=["images", "jobs:read"])
    answer = Authorizer(lambda: records)(request(x_api_key=secret), None)
    assert answer["context"] == {
        "tenant": "acme",
        "key_id": key.key_id,
        "scopes": "images jobs:read",
    }
    [statement] = answer["policyDocument"]["Statement"]
    assert statement["Effect"] == "Allow"
    assert statement["Resource"] == "arn:aws:execute-api:eu-west-1:123456789012:abc/prod/*/*"


def test_no_key_an_unknown_and_a_revoked_one_are_refused_with_the_word_the_gateway_knows() -> None:
    records = MemoryRecords()
    secret, key = create_key(records, "acme")
    revoke_key(records, "acme", key.key_id)
    authorize = Authorizer(lambda: records)
    for event in (request(), request(x_api_key="rk_" + "x" * 40), request(x_api_key=secret)):
        with pytest.raises(Unauthorized) as caught:
            authorize(event, None)
        assert str(caught.value) == "Unauthorized"


def test_without_a_key_nothing_is_read_or_built() -> None:
    def never() -> Any:
        raise AssertionError("records were asked for")

    with pytest.raises(Unauthorized):
        Authorizer(never)(request(), None)


def test_a_key_is_looked_up_once_in_a_while_and_its_revocation_is_then_seen() -> None:
    records, clock = Counting(), Turnable()
    secret, key = create_key(records, "acme")
    authorize = Authorizer(lambda: records, clock)
    authorize(request(x_api_key=secret), None)
    authorize(request(x_api_key=secret), None)
    assert records.reads == 1
    revoke_key(records, "acme", key.key_id)
    clock.sleep(REMEMBERED.total_seconds())
    with pytest.raises(Unauthorized):
        authorize(request(x_api_key=secret), None)


def test_a_key_ends_on_its_moment_although_it_is_remembered() -> None:
    records, clock = MemoryRecords(), Turnable()
    secret, _ = create_key(records, "acme", expires_at=clock.now() + timedelta(seconds=10))
    authorize = Authorizer(lambda: records, clock)
    authorize(request(x_api_key=secret), None)
    clock.sleep(10)
    with pytest.raises(Unauthorized):
        authorize(request(x_api_key=secret), None)


def test_tenants_are_those_with_keys_also_with_one_from_before_they_were_listed() -> None:
    records = MemoryRecords()
    for tenant in ("b", "a.c", "a", "b"):
        create_key(records, tenant)
    ensure_key(records, DEV_SECRET, "dev")
    (old,) = [record for record in records.all() if record.data["tenant"] == "dev"]
    records.commit(Put(replace(old, group=None)))
    assert list(tenants(records, limit=9)) == ["a", "a.c", "b"]
    ensure_key(records, DEV_SECRET, "dev")
    assert list(tenants(records, limit=9)) == ["a", "a.c", "b", "dev"]
    assert list(tenants(records, after="a", limit=2)) == ["a.c", "b"]
