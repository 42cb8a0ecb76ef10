"""Checkpoints that take instructions: what a conversation, and OpenAI's API, send them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from dev import openai_images, sd_host
from dev.sd_host import imaging
from dev.sd_host.control import Control
from robotchat import Robot
from robotchat.art.bot import ArtConfig
from robotchat.drivers.hosts import host_driver
from robotchat.errors import InvalidRequest
from robotchat.hosts.openai_images import CreateImageEditRequest, to_redraw
from robotchat.settings import Settings

QWEN = openai_images.MODELS["vllm-omni"][0]
PNG = imaging.encode(imaging.drawn("a cat", "", 1, 64, 64))
CAT = imaging.to_base64(PNG)
SMALL: dict[str, Any] = {"width": 64, "height": 64, "seed": 3}


@contextmanager
def robot_on(host: Control, address: str, checkpoint: str, **marks: Any) -> Iterator[Robot]:
    config = ArtConfig.model_validate(
        {"checkpoint": checkpoint, "checkpoints": [{"name": checkpoint, **marks}]}
    )
    settings = Settings(retry_base=0.001)
    with Robot(art=host_driver(address), settings=settings, art_config=config) as robot:
        yield robot


def edits(host: Control) -> list[dict[str, Any]]:
    return [one["body"] for one in host.requests() if one["path"].endswith(("edits", "img2img"))]


def test_an_edit_is_told_what_the_user_says() -> None:
    with openai_images.running("vllm-omni") as host:
        address = f"openai-images+{host.url}/v1?flavour=vllm-omni"
        with robot_on(host, address, QWEN, instruct=True) as robot:
            first = robot.chat_text2image("a photo of a beach", **SMALL)
            assert first.prompt_source == "fallback"
            blue = robot.chat_image2image("make it blue", conversation_id=first.conversation_id)
            (sent,) = edits(host)
            assert sent["prompt"] == "make it blue"
            assert "strength" not in sent
            assert "negative_prompt" not in sent
            assert len(sent["image"]) == 1
            assert blue.prompt_source == "instruction"
            assert blue.effective is not None
            assert blue.effective["prompt"] == "make it blue"
            # What the picture shows goes on being known, for turns that draw anew.
            assert "beach" in (blue.prompt or "")
            anew = robot.chat_text2image("add a dog", conversation_id=first.conversation_id)
            assert anew.prompt_source == "fallback"
            assert anew.effective is not None
            assert "beach" in anew.effective["prompt"]
            assert "dog" in anew.effective["prompt"]
            assert not {"instruct", "extra_images"} & set(anew.effective)


def test_an_image_of_ones_own_may_refer_to_the_conversations() -> None:
    with openai_images.running("vllm-omni") as host:
        address = f"openai-images+{host.url}/v1?flavour=vllm-omni"
        with robot_on(host, address, QWEN, instruct=True, reference_pictures=1) as robot:
            first = robot.chat_text2image("a photo of a beach", **SMALL)
            robot.chat_image2image(
                "put this cat there", image=CAT, conversation_id=first.conversation_id
            )
            assert len(edits(host)[-1]["image"]) == 2
            refused = robot.chat_image2image(
                "and these", conversation_id=first.conversation_id, extra_images=[CAT, CAT]
            )
            assert refused.error is not None
            assert refused.error.code == "invalid_request"
            assert "1 pictures" in refused.error.message


def test_an_unmarked_checkpoint_is_told_what_to_show() -> None:
    with openai_images.running("sglang") as host:
        name = openai_images.MODELS["sglang"][0]
        address = f"openai-images+{host.url}/v1?flavour=sglang"
        with robot_on(host, address, name) as robot:
            first = robot.chat_text2image("a photo of a beach", **SMALL)
            blue = robot.chat_image2image("make it blue", conversation_id=first.conversation_id)
            assert edits(host)[-1]["prompt"] == blue.prompt != "make it blue"
            assert "denoising_strength" in blue.unverified


def test_a_web_ui_draws_by_instruction_too() -> None:
    with (
        sd_host.running(checkpoints=("pix2pix",)) as host,
        robot_on(host, host.url, "pix2pix", instruct=True) as robot,
    ):
        job = robot.chat_image2image("make it blue", image=CAT)
        body = edits(host)[-1]
        assert job.prompt_source == "instruction"
        assert (body["prompt"], body["denoising_strength"]) == ("make it blue", 1.0)
        assert not {"instruct", "extra_images"} & set(body)


def test_openais_edits_show_further_images_to_such_a_checkpoint() -> None:
    image = {"image_url": f"data:image/png;base64,{CAT}"}
    request = CreateImageEditRequest.model_validate(
        {"prompt": "make it blue", "images": [image] * 3}
    )
    load = lambda text, field: PNG  # noqa: E731
    draw = to_redraw(request, {}, load, instruct=True, references=2)
    assert draw.instruct
    assert len(draw.extra_images or []) == 2
    assert draw.prompt == "make it blue"
    for instruct, references in ((True, 1), (False, 0)):
        with pytest.raises(InvalidRequest) as caught:
            to_redraw(request, {}, load, instruct=instruct, references=references)
        assert caught.value.param == "images"
