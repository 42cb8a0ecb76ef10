"""Bodies, pictures and headers that nobody meant well: a clear refusal, never our fault."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dev.checks.openapi import load_handler
from robotchat.drivers.fake import FakeArt
from robotchat.images import MemoryImages, encode_base64
from robotchat.jobs.job import Job, JobKind
from robotchat.views import Viewer
from tests.cases import hostile
from tests.cases.clock import FakeClock
from tests.cases.service import Context, Service

ROOT = Path(__file__).parents[2]
CHAT = "chat/chat_text2image"


@pytest.fixture
def service() -> Iterator[Service]:
    with Service.over([FakeArt()]) as service:
        yield service


def send(function: str, body: str | bytes, **headers: str) -> int:
    """The status of the answer to a body that is sent as it is."""
    event = json.loads((ROOT / "events" / f"{function}.json").read_text("utf-8"))
    if isinstance(body, bytes):
        event |= {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
    else:
        event |= {"body": body, "isBase64Encoded": False}
    for name, value in headers.items():
        event["headers"][name] = value
        event["multiValueHeaders"][name] = [value]
    answer: dict[str, Any] = load_handler(ROOT / "functions" / function / "app.py")(
        event, Context()
    )
    json.loads(answer["body"])
    return int(answer["statusCode"])


@pytest.mark.parametrize("function", [CHAT, "sd/text2image", "gpt/chat_completions"])
@pytest.mark.parametrize("value", hostile.VALUES.values(), ids=hostile.VALUES)
def test_json_that_cannot_be_kept_is_refused(service: Service, function: str, value: str) -> None:
    text = hostile.with_value(value, message="a beach", prompt="a beach", model="m", messages=[])
    for body in (text, text.encode()):
        assert send(function, body) in (400, 422)


@pytest.mark.parametrize("value", hostile.GOOD_VALUES.values(), ids=hostile.GOOD_VALUES)
def test_json_that_is_only_odd_is_accepted(service: Service, value: str) -> None:
    text = hostile.with_value(value, message="a beach")
    for body in (text, text.encode(), b"\xef\xbb\xbf" + text.encode()):
        assert send(CHAT, body) == 202


@pytest.mark.parametrize("body", hostile.NOT_JSON.values(), ids=hostile.NOT_JSON)
def test_what_is_no_json_is_refused(service: Service, body: bytes) -> None:
    assert send(CHAT, body) in (400, 422)


@pytest.mark.parametrize("image", hostile.IMAGES.values(), ids=hostile.IMAGES)
def test_what_is_no_honest_image_is_refused(service: Service, image: bytes) -> None:
    text = encode_base64(image)
    for function, body in (
        ("chat/chat_image2image", {"message": "make it blue", "image": text}),
        ("sd/image2image", {"prompt": "blue", "init_images": [text]}),
    ):
        assert send(function, json.dumps(body)) in (413, 422)
    good = encode_base64(hostile.GOOD_IMAGE)
    masked = {"message": "make it blue", "image": good, "settings": {"mask": text}}
    if image:
        assert send("chat/chat_image2image", json.dumps(masked)) in (413, 422)


def test_an_honest_image_is_accepted(service: Service) -> None:
    body = {"message": "make it blue", "image": encode_base64(hostile.GOOD_IMAGE)}
    assert send("chat/chat_image2image", json.dumps(body)) == 202


@pytest.mark.parametrize(("name", "value"), hostile.HEADERS)
def test_headers_of_any_shape_do_no_harm(service: Service, name: str, value: str) -> None:
    small = {"steps": 1, "width": 64, "height": 64}
    for function, body in (
        (CHAT, {"message": "a beach", "settings": small}),
        ("sd/text2image", {"prompt": "a beach", **small}),
    ):
        assert send(function, json.dumps(body), **{name: value}) < 500


def test_a_body_in_another_coding_is_refused_as_such(service: Service) -> None:
    body = json.dumps({"message": "a beach"})
    for coding, status in (("gzip", 415), ("br", 415), ("identity", 202), ("", 202)):
        assert send(CHAT, body, **{"Content-Encoding": coding}) == status


def test_a_conversation_shows_as_many_of_its_last_turns_as_can_be_answered() -> None:
    now = FakeClock().now()
    jobs = [
        Job(
            id=f"job_{turn}",
            kind=JobKind.CHAT_TEXT2IMAGE,
            tenant="dev",
            turn=turn,
            message="海" * 100_000,
            created_at=now,
            expires_at=now,
        )
        for turn in range(1, 11)
    ]
    shown = Viewer(MemoryImages(), link_ttl=60).turns(jobs)
    assert [turn.turn for turn in shown] == [5, 6, 7, 8, 9, 10]
