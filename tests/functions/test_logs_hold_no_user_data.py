"""Prompts, pictures and keys go through the functions, and into no log line."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robotchat.art.requests import Text2ImageRequest
from robotchat.aws.log import logger
from robotchat.conversation import ChatEditRequest, ChatImageRequest
from robotchat.drivers.fake import FakeArt
from robotchat.errors import UpstreamRejected, UpstreamUnavailable
from robotchat.robot import Robot
from robotchat.settings import Settings
from tests.cases.clock import FakeClock
from tests.functions.test_every_endpoints_errors import ENDPOINTS, Context, module_of

ROOT = Path(__file__).parents[2]
WISH = "zebras-in-pyjamas"
SECRET = "rk_0123456789abcdefghijABCDEFGHIJ"
IMAGE: str = FakeArt().drawn({"prompt": "x"})["images"][0]


@pytest.fixture
def lines(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> Callable[[], str]:
    """Everything that was logged, at INFO and above, as it would stand in CloudWatch."""
    caplog.set_level(logging.INFO)
    logger()

    def read() -> str:
        captured = capsys.readouterr()
        return captured.out + captured.err

    return read


def marked(value: Any) -> Any:
    """A JSON value with the wish in every text that is not a number or a choice."""
    if isinstance(value, dict):
        return {name: marked(item) for name, item in value.items()}
    if isinstance(value, list):
        return [marked(item) for item in value]
    return f"{value} {WISH}" if isinstance(value, str) else value


@pytest.mark.parametrize("folder", ENDPOINTS, ids=lambda folder: folder.name)
def test_what_callers_send_is_not_logged_whatever_becomes_of_it(
    folder: Path, lines: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = module_of(folder).handler
    # Nothing is deployed here: what gets past the door fails for want of a table.
    monkeypatch.delenv("TABLE_NAME", raising=False)
    event = json.loads((ROOT / "events" / folder.parent.name / f"{folder.name}.json").read_text())
    body = json.loads(event["body"]) if event.get("body") and event["body"].startswith("{") else {}
    event["headers"] |= {"Authorization": f"Bearer {SECRET}", "x-api-key": SECRET}
    sent = [
        json.dumps(marked(body)),
        json.dumps({**body, "prompt": WISH, "message": WISH, "input": WISH, "image": IMAGE}),
        json.dumps({**body, "steps": WISH, "size": WISH, "n": WISH, "model": WISH}),
        f'{{"message": "{WISH}',
    ]
    for text in sent:
        answer = handler({**event, "body": text}, Context())
        assert answer["statusCode"]
    written = lines()
    assert '"message":"answered"' in written, "there are log lines at all"
    for private in (WISH, SECRET, IMAGE[:80], base64.b64encode(WISH.encode()).decode()):
        assert private not in written


class Words:
    """A prompt writer that repeats what was said."""

    def write(self, current: Any, message: str, *, editing: bool, earlier: Any = None) -> Any:
        from robotchat.prompt.models import Fold

        return Fold(mode="edit" if editing else "generate", prompt=message), "fallback"

    def describe(self, image: str) -> None:
        """It sees nothing."""


def test_a_job_is_run_retried_and_failed_without_a_word_of_it(lines: Callable[[], str]) -> None:
    art = FakeArt()
    robot = Robot(
        art=art,
        writer=Words(),  # type: ignore[arg-type]
        settings=Settings(max_attempts=2),
        clock=FakeClock(),
    )
    art.enqueue([UpstreamUnavailable("away"), UpstreamRejected(f"no {SECRET}")])
    failed = robot.submit_chat_image(ChatImageRequest(message=f"{WISH} one"))
    drawn = robot.submit_chat_image(ChatImageRequest(message=f"{WISH} two"))
    robot.submit_chat_image(
        ChatEditRequest(message=f"{WISH} three", image=IMAGE, conversation_id=drawn.conversation_id)
    )
    robot.text2image(Text2ImageRequest(prompt=WISH))
    assert robot.jobs.get(failed.id, "local").error
    written = lines()
    assert "attempt failed" in written
    assert failed.id in written, "the job is named"
    for private in (WISH, SECRET, IMAGE[:80]):
        assert private not in written


def test_a_bug_is_logged_with_its_trace_but_without_what_it_was_about(
    lines: Callable[[], str],
) -> None:
    class Broken:
        def write(self, *_: Any, **__: Any) -> Any:
            return int(IMAGE)

    robot = Robot(art=FakeArt(), writer=Broken(), clock=FakeClock())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="invalid literal"):
        robot.submit_chat_image(ChatImageRequest(message=WISH))
    try:
        int(IMAGE)
    except ValueError:
        logger().exception("unforeseen")
    written = lines()
    assert "Traceback" in written
    assert IMAGE[:80] not in written
    assert WISH not in written
