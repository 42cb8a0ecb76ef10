"""What operators do over HTTP: tenants, keys, queues, dead letters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest

from robotchat import cli
from robotchat.aws import wiring
from robotchat.aws.administration import Scope
from robotchat.aws.keys import find_key
from robotchat.aws.queues import Counts
from robotchat.drivers.fake import FakeArt
from robotchat.jobs.limits import Limits
from tests.cases.service import Service


class Queue:
    """A queue of so many messages."""

    def __init__(self, waiting: int) -> None:
        self.waiting = waiting

    def counts(self) -> Counts:
        return Counts(self.waiting, 1, 2)


@pytest.fixture
def service() -> Iterator[Service]:
    names = ("request_queue", "response_queue", "webhook_queue", "dead_letters")
    queues: dict[str, Any] = {name: Queue(number) for number, name in enumerate(names)}
    with Service.over([FakeArt()], **queues) as service:
        service.counts = Queue(9).counts  # type: ignore[attr-defined] # it is the queue of jobs
        yield service


def make(service: Service, tenant: str = "acme", **body: Any) -> dict[str, Any]:
    answer = service.call("admin/create_key", body, path={"tenant": tenant})
    assert answer.status == 201, answer.body
    assert answer.headers["cache-control"] == "no-store"
    made: dict[str, Any] = answer.body
    return made


def held(service: Service, tenant: str = "acme") -> list[dict[str, Any]]:
    answer = service.call("admin/list_keys", path={"tenant": tenant})
    assert answer.status == 200
    found: list[dict[str, Any]] = answer.body["data"]
    return found


ALL = (
    "list_tenants",
    "list_keys",
    "create_key",
    "rotate_key",
    "revoke_key",
    "get_queues",
    "list_dead_letters",
    "redrive_dead_letters",
)


@pytest.mark.parametrize("function", ALL)
def test_only_operators_may(service: Service, function: str) -> None:
    answer = service.call(f"admin/{function}", scopes="images chat jobs")
    assert (answer.status, answer.body["code"]) == (403, "forbidden")


def test_a_key_is_made_and_its_secret_told_once(service: Service) -> None:
    made = make(service, name="CI", scopes=["images"], expires_in=3600)
    assert made["key"]["scopes"] == ["images"]
    assert made["key"]["expires_at"] is not None
    key = find_key(service.records, made["secret"])
    assert key is not None
    assert (key.tenant, key.key_id) == ("acme", made["key"]["id"])
    assert held(service) == [made["key"]]
    assert made["secret"] not in str(held(service))
    assert make(service)["key"]["scopes"] == ["images", "chat", "jobs:read"], "not admin"


def test_a_key_is_rotated_and_revoked(service: Service) -> None:
    first = make(service)
    path = {"tenant": "acme", "key_id": first["key"]["id"]}
    answer = service.call("admin/rotate_key", {"grace": 60}, path=path)
    assert answer.status == 201
    assert answer.body["replaced"]["id"] == first["key"]["id"]
    assert answer.body["replaced"]["expires_at"] is not None
    assert find_key(service.records, answer.body["secret"]) is not None
    assert service.call("admin/revoke_key", path=path).body["state"] == "revoked"
    assert [key["state"] for key in held(service)] == ["revoked", "valid"]
    again = service.call("admin/rotate_key", {}, path=path)
    assert (again.status, again.body["code"]) == (409, "conflict")
    other = service.call("admin/revoke_key", path={**path, "tenant": "other"})
    assert (other.status, other.body["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "body",
    [{"scopes": ["root"]}, {"scopes": []}, {"expires_in": 1}, {"name": "x" * 101}, {"tenant": "b"}],
)
def test_a_key_of_another_form_is_refused(service: Service, body: dict[str, Any]) -> None:
    answer = service.call("admin/create_key", body, path={"tenant": "acme"})
    assert (answer.status, answer.body["code"]) == (422, "invalid_request")


@pytest.mark.parametrize("tenant", ["-", "a b", "a" * 65])
def test_what_cannot_be_a_tenant_is_refused(service: Service, tenant: str) -> None:
    path = {"tenant": tenant, "key_id": "key_1"}
    for function, body in (
        ("list_keys", ...),
        ("create_key", {}),
        ("rotate_key", {}),
        ("revoke_key", ...),
    ):
        answer = service.call(f"admin/{function}", body, path=path)
        assert (answer.status, answer.body["param"]) == (422, "tenant"), function


def test_tenants_are_listed_page_by_page_with_what_they_use(service: Service) -> None:
    for tenant in ("b", "a-1", "a", "c", "a"):
        make(service, tenant)
    wiring.deployment().present.ledger.set_limits("a", Limits(active_jobs=5))
    first = service.call("admin/list_tenants", query={"limit": "2"}).body
    assert [one["tenant"] for one in first["data"]] == ["a", "a-1"]
    assert first["data"][0]["limits"]["active_jobs"] == 5
    assert first["data"][0]["now"]["active_jobs"] == 0
    query = {"limit": "2", "cursor": first["next_cursor"]}
    second = service.call("admin/list_tenants", query=query).body
    assert [one["tenant"] for one in second["data"]] == ["b", "c"]
    assert second["next_cursor"] is None


def test_queues_tell_how_far_behind_the_work_is(service: Service) -> None:
    answer = service.call("admin/get_queues").body
    waiting = {queue["name"]: queue["waiting"] for queue in answer["data"]}
    assert waiting == {
        "requests": 0,
        "jobs": 9,
        "responses": 1,
        "webhooks": 2,
        "dead_letters": 3,
    }
    assert answer["oldest_job_at"] is None
    job = service.call("chat/chat_text2image", {"message": "a beach"}).body
    assert service.call("admin/get_queues").body["oldest_job_at"] == job["created_at"]


def test_scopes_are_those_of_the_command(service: Service) -> None:
    assert set(get_args(Scope)) == {*cli.SCOPES, "*"}
