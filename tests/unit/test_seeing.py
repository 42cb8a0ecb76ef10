"""What a picture shows that is sent along, and what becomes of it."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from robotchat.drivers.fake import FakeArt, FakeChat
from robotchat.errors import UpstreamUnavailable
from robotchat.jobs.job import Job, JobStatus
from robotchat.prompt.seeing import as_caption, as_prompt
from robotchat.prompt.writer import PromptWriter
from robotchat.robot import Robot
from robotchat.settings import Settings
from robotchat.views import Viewer
from tests.cases.clock import FakeClock

INTERROGATE = "sdapi/v1/interrogate"


def portrait() -> str:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "orange").save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


class World:
    """A robot whose host has words for pictures, or not, and a language model that sees, or not."""

    def __init__(
        self, caption: Any = None, *says: Any, vision: str | None = None, **settings: Any
    ) -> None:
        self.art = FakeArt()
        if caption is not None:
            self.art.answers[INTERROGATE] = caption
        self.chat = FakeChat(says)
        self.robot = Robot(
            art=self.art,
            clock=FakeClock(),
            writer=PromptWriter(self.chat if says else None, model="m", vision_model=vision),
            settings=Settings(**settings),
        )

    def change(self, message: str, **more: Any) -> Job:
        return self.robot.chat_image2image(message, **{"image": portrait(), **more})


CAPTION = {"caption": "a portrait of a woman, by Vermeer, trending on artstation"}


def test_a_change_keeps_what_the_host_sees() -> None:
    world = World(CAPTION)
    job = world.change("make her hair pink")
    assert job.seen == "a portrait of a woman"
    assert job.prompt == "a portrait of a woman, pink hair"
    assert Viewer(world.robot.images, link_ttl=60).job(job).seen == job.seen
    after = world.robot.chat_image2image("at night", conversation_id=job.conversation_id)
    assert after.prompt == "a portrait of a woman at night, pink hair"
    assert after.seen is None
    assert len(world.art.posts) == 1, "it is described once"


def test_a_new_image_in_a_conversation_is_another_subject() -> None:
    world = World(CAPTION)
    beach = world.robot.chat_text2image("a beach")
    job = world.change("make her hair pink", conversation_id=beach.conversation_id)
    assert job.prompt == "a portrait of a woman, pink hair"


def test_a_model_that_sees_is_asked_first_and_only_to_describe() -> None:
    world = World(CAPTION, "An old man with a beard.", UpstreamUnavailable("away"), vision="sees")
    job = world.change("give him a hat")
    assert job.seen == "an old man with a beard"
    assert "an old man" in (job.prompt or "")
    assert "hat" in (job.prompt or "")
    asked = world.chat.requests[0]
    assert asked["model"] == "sees"
    assert asked["messages"][0]["content"][1]["image_url"]["url"].startswith(
        "data:image/png;base64,"
    )
    assert world.art.posts == []


@pytest.mark.parametrize(
    "said", [UpstreamUnavailable("away"), "I'm sorry, I cannot see.", "一个女人"]
)
def test_where_it_fails_the_host_is_asked(said: Any) -> None:
    world = World(CAPTION, said, UpstreamUnavailable("away"), vision="sees")
    assert world.change("make her hair pink").seen == "a portrait of a woman"


@pytest.mark.parametrize("caption", [None, {"caption": "<error>"}, {"caption": "a picture, red"}])
def test_where_nobody_knows_the_message_alone_is_drawn(caption: Any) -> None:
    world = World(caption)
    for _ in range(2):
        job = world.change("make her hair pink")
        assert (job.status, job.seen, job.prompt) == (JobStatus.SUCCEEDED, None, "pink hair")
    assert not any(state.failures for state in world.robot.hosts.states())


def test_a_host_without_words_is_not_asked_again_for_a_while() -> None:
    world = World({"caption": "<error>"})
    for _ in range(3):
        world.change("make her hair pink")
    assert len(world.art.posts) == 1


def test_a_busy_host_is_not_waited_for_long() -> None:
    world = World(CAPTION)
    seeing = world.robot._runner._preparation._seeing
    with world.robot.hosts.lease(patience=1):
        assert seeing.describe(base64.b64decode(portrait())) is None


def test_an_image_of_the_web_ui_says_itself_what_it_shows() -> None:
    world = World(CAPTION)
    file, text = io.BytesIO(), PngImagePlugin.PngInfo()
    text.add_text(
        "parameters", "a cat\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 64x64"
    )
    Image.new("RGB", (64, 64)).save(file, "PNG", pnginfo=text)
    job = world.change("make it blue", image=base64.b64encode(file.getvalue()).decode())
    assert (job.seen, job.prompt) == ("a cat", "a blue cat")
    assert world.art.posts == []


def test_it_can_be_switched_off() -> None:
    world = World(CAPTION, describe_uploads=False)
    job = world.change("make her hair pink")
    assert (job.seen, job.prompt) == (None, "pink hair")


@pytest.mark.parametrize(
    ("said", "prompt"),
    [
        ("A cat on a sofa.", "a cat on a sofa"),
        ('"A cat"', "a cat"),
        ("This image shows a cat", "a cat"),
        ("Prompt: a cat", "a cat"),
        ("UFO over a field", "UFO over a field"),
        ("", None),
        ("...", None),
        ("a cat\nand more of it", None),
        ("I cannot help with that", None),
        ("猫", None),
        ("word " * 200, None),
    ],
)
def test_what_a_model_says_becomes_a_prompt_or_nothing(said: str, prompt: str | None) -> None:
    assert as_prompt(said) == prompt
    assert as_caption(f"{said}, 4k") == prompt
