"""The official OpenAI Python SDK's images, unmodified, drawn by the SD hosts of the local stack."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from PIL import Image, ImageDraw

from tests.local_stack import RunningStack


@pytest.fixture(scope="module")
def client(stack: RunningStack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{stack.api_url}/v1", api_key=stack.api_key, max_retries=0, timeout=120
    ) as client:
        yield client


def opened(b64_json: str | None) -> Image.Image:
    assert b64_json is not None
    return Image.open(io.BytesIO(base64.b64decode(b64_json)))


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def cat() -> bytes:
    image = Image.new("RGB", (128, 128), "tan")
    ImageDraw.Draw(image).ellipse((32, 32, 96, 96), fill="orange")
    return png(image)


@pytest.fixture(scope="module")
def mask() -> bytes:
    """Transparent where the ears go."""
    image = Image.new("RGBA", (128, 128), (0, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 128, 32))
    return png(image)


def test_an_image_from_words(client: openai.OpenAI) -> None:
    answer = client.images.generate(
        model="gpt-image-1", prompt="a beach at sunset", size="256x256", quality="low", n=2
    )
    assert answer.data is not None
    assert [opened(image.b64_json).size for image in answer.data] == [(256, 256)] * 2
    assert answer.usage is not None
    assert answer.usage.total_tokens > 0
    assert "parameters" in opened(answer.data[0].b64_json).info


def test_an_edit_within_a_mask_leaves_the_rest(
    client: openai.OpenAI, cat: bytes, mask: bytes
) -> None:
    answer = client.images.edit(
        image=cat, mask=mask, prompt="blue ears", size="128x128", model="gpt-image-1"
    )
    assert answer.data is not None
    drawn = opened(answer.data[0].b64_json).convert("RGB")
    before = Image.open(io.BytesIO(cat))
    assert drawn.getpixel((64, 110)) == before.getpixel((64, 110)), "outside of the mask"
    assert drawn.getpixel((64, 8)) != before.getpixel((64, 8)), "where it is transparent"


def test_the_forms_of_an_image_that_sdks_send(client: openai.OpenAI, cat: bytes) -> None:
    forms: list[Any] = [cat, [cat], ("cat.png", cat, "image/png"), io.BytesIO(cat)]
    for form in forms:
        answer = client.images.edit(image=form, prompt="a blue cat", size="64x64")
        assert answer.data is not None
        assert opened(answer.data[0].b64_json).size == (64, 64)


def test_a_variation(client: openai.OpenAI, cat: bytes) -> None:
    with pytest.deprecated_call():  # by OpenAI, whose own models no longer do it
        answer = client.images.create_variation(image=cat, response_format="url", size="256x256")
    assert answer.data is not None
    assert answer.data[0].url


def test_a_streamed_image_ends_with_its_completed_event(client: openai.OpenAI) -> None:
    stream = client.images.generate(
        prompt="a beach", size="512x512", stream=True, partial_images=2, output_format="webp"
    )
    events = list(stream)
    assert events[-1].type == "image_generation.completed"
    assert opened(events[-1].b64_json).format == "WEBP"
    assert [event.type for event in events[:-1]] == ["image_generation.partial_image"] * (
        len(events) - 1
    )
    assert len(events) <= 3


def test_errors_are_the_sdks_own(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        client.images.generate(prompt="a logo", background="transparent", model="gpt-image-1")
    assert error.value.param == "background"
