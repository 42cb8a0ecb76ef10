"""Ids and cursors of any length and shape, on every endpoint that takes one: never our fault."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from robotchat.clock import SystemClock
from robotchat.drivers.fake import FakeArt, FakeChat
from robotchat.events.webhooks import Webhooks
from robotchat.gpt.bot import ChatBot
from robotchat.records import MemoryRecords
from tests.cases import hostile
from tests.cases.service import Service

EVENTS = Path(__file__).parents[2] / "events"
PATHS = {
    str(path.relative_to(EVENTS).with_suffix("")): str(event["resource"])
    for path in sorted(EVENTS.glob("*/*.json"))
    if "{" in (event := json.loads(path.read_text("utf-8"))).get("resource", "")
}
"""Functions whose route has an id in it, with the route."""

CURSORS = [
    (function, name)
    for function, name in (
        ("jobs/list_jobs", "cursor"),
        ("jobs/list_webhook_deliveries", "cursor"),
        ("chat/list_conversations", "cursor"),
    )
]
FILTERS = [
    ("jobs/list_jobs", "conversation_id"),
    ("jobs/list_webhook_deliveries", "job_id"),
]


@pytest.fixture
def service() -> Iterator[Service]:
    queue: Any = None  # nothing is sent
    webhooks = Webhooks(MemoryRecords(), SystemClock(), queue)
    with Service.over([FakeArt()], chat=ChatBot(FakeChat()), webhooks=webhooks) as service:
        yield service


@pytest.mark.parametrize("function", PATHS)
def test_an_id_of_any_shape_is_not_found_or_refused(service: Service, function: str) -> None:
    names = re.findall(r"{([^}]+)}", PATHS[function])
    for hostile_id in hostile.IDS:
        # As API Gateway hands it on: the path as it was sent, its parameters decoded.
        try:
            sent = quote(hostile_id, safe="")
        except UnicodeEncodeError:
            sent = quote(hostile_id.encode("utf-8", "surrogatepass"))
        answer = service.call(function, path=dict.fromkeys(names, sent))
        assert answer.status in (400, 404, 422), (hostile_id[:40], answer.status, answer.body)


@pytest.mark.parametrize(("function", "name"), CURSORS)
def test_a_cursor_that_came_from_nowhere_is_refused(
    service: Service, function: str, name: str
) -> None:
    for cursor in ("", "xx", *hostile.IDS):
        answer = service.call(function, query={name: cursor})
        assert answer.status in (400, 422), (cursor[:40], answer.status, answer.body)


@pytest.mark.parametrize(("function", "name"), FILTERS)
def test_a_filter_of_any_shape_finds_nothing(service: Service, function: str, name: str) -> None:
    for value in hostile.IDS:
        answer = service.call(function, query={name: value})
        assert answer.status in (200, 404, 422), (value[:40], answer.status, answer.body)
        assert answer.status != 200 or answer.body["data"] == []


def test_a_conversation_that_cannot_be_is_not_found(service: Service) -> None:
    for value in ("a" * 3000, "é" * 1100, "\x00", "..", ""):
        body = {"message": "a beach", "conversation_id": value}
        answer = service.call("chat/chat_text2image", body)
        assert answer.status in (404, 422), (value[:40], answer.body)
