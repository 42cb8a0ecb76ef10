"""A tenant's limit of requests that wait or follow: what counts, what it is told, what is left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from dev.checks.contract import endpoint_folders
from dev.checks.openapi import load_handler
from dev.template import FUNCTION, Template
from robotchat.aws import wiring
from robotchat.drivers.fake import FakeArt
from robotchat.errors import LimitExceeded
from robotchat.jobs.limits import Limits
from tests.cases.service import ROOT, Context, Service

QUEUED = ("respond-async", "wait=0")


@pytest.fixture
def service() -> Iterator[Service]:
    with Service.over([FakeArt()]) as running:
        yield running


def limited(to: int, tenant: str = "dev") -> None:
    wiring.deployment().present.ledger.set_limits(tenant, Limits(waiting_requests=to))


def waiting(tenant: str = "dev") -> int:
    return wiring.deployment().present.ledger.waiting.count(tenant)


def long_running() -> list[str]:
    """The folders of the endpoints that may take longer than an answer at once."""
    return sorted(
        str(properties["CodeUri"]).removeprefix("functions/").rstrip("/")
        for _, properties in Template(ROOT / "template.yaml").resources(FUNCTION)
        if properties.get("Timeout", 28) > 28 and "/workers/" not in str(properties["CodeUri"])
    )


def event(function: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "events" / f"{function}.json").read_text("utf-8"))
    found["requestContext"]["authorizer"] |= {"tenant": "dev", "scopes": "*"}
    if function == "gpt/get_response":
        found["queryStringParameters"] = {"stream": "true"}
        found["multiValueQueryStringParameters"] = {"stream": ["true"]}
    return found


@pytest.mark.parametrize("function", long_running())
def test_every_endpoint_that_may_take_long_counts(service: Service, function: str) -> None:
    if function == "jobs/job_events":
        job_id = service.call("chat/chat_text2image", {"message": "a beach"}).body["id"]
        asked = event(function) | {"pathParameters": {"job_id": job_id}}
        asked["path"] = f"/v1/jobs/{job_id}/events"
    else:
        asked = event(function)
    limited(0)
    answer = load_handler(ROOT / "functions" / function / "app.py")(asked, Context())
    assert answer["statusCode"] == 429, answer["body"]
    assert answer["multiValueHeaders"]["Retry-After"] == ["5"]
    assert "wait for their answers" in answer["body"]


def test_there_are_such_endpoints() -> None:
    assert len(long_running()) >= 15
    assert {"sd/text2image", "gpt/responses", "jobs/job_events"} <= set(long_running())
    assert set(long_running()) <= {"/".join(f.parts[-2:]) for f in endpoint_folders(ROOT)}


def test_a_place_is_given_back_with_the_answer_whatever_it_is(service: Service) -> None:
    limited(1)
    good, bad = {"prompt": "a beach", "steps": 1}, {"prompt": "a beach", "sampler_name": "none"}
    for body in (good, bad, good):
        answer = service.call("sd/text2image", body)
        assert answer.status in (200, 422)
        assert waiting() == 0
    handler = load_handler(ROOT / "functions/sd/text2image/app.py")
    pieces = handler.stream(event("sd/text2image"), Context())
    next(pieces)
    assert waiting() == 1, "until its last byte is sent"
    list(pieces)
    assert waiting() == 0
    pieces = handler.stream(event("sd/text2image"), Context())
    next(pieces)
    pieces.close()
    assert waiting() == 0


@pytest.mark.parametrize("prefer", QUEUED)
def test_who_does_not_wait_needs_no_place(service: Service, prefer: str) -> None:
    limited(0)
    body = {"prompt": "a beach", "steps": 1}
    assert service.call("sd/text2image", body, headers={"Prefer": prefer}).status == 202
    assert service.call("sd/text2image", {**body, "dry_run": True}).status == 200
    assert service.call("sd/text2image", body, headers={"Prefer": "wait=5"}).status == 429
    assert service.call("chat/chat_text2image", {"message": "a beach"}).status == 202


def test_a_store_that_fails_afterwards_spoils_no_answer(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(1)

    def fail(place: object) -> None:
        raise ConnectionError("no store")

    with monkeypatch.context() as patched:
        patched.setattr(wiring.deployment().present.ledger.waiting, "give_back", fail)
        assert service.call("sd/text2image", {"prompt": "a beach"}).status == 200
    assert waiting() == 1, "it runs out by itself"
    with pytest.raises(LimitExceeded):
        wiring.deployment().present.ledger.waiting.take("dev", seconds=1)


def test_usage_tells_how_many_wait(service: Service) -> None:
    limited(3)
    wiring.deployment().present.ledger.waiting.take("dev", seconds=60)
    usage = service.call("admin/get_usage").body
    assert (usage["limits"]["waiting_requests"], usage["now"]["waiting_requests"]) == (3, 1)
