"""The mark of a model's work in picture files."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from robotchat.images import inspect, png_text
from robotchat.marking import MADE_BY_A_MODEL, marked

FORMATS = [
    ("PNG", "image/png", {}),
    ("JPEG", "image/jpeg", {}),
    ("JPEG", "image/jpeg", {"exif": Image.Exif()}),
    ("WEBP", "image/webp", {}),
    ("WEBP", "image/webp", {"lossless": True}),
]


def image_file(kind: str, mode: str = "RGB", **options: object) -> bytes:
    image = Image.new(mode, (40, 30), (200, 10, 10, 128)[: len(mode)])
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(("kind", "content_type", "options"), FORMATS)
def test_an_image_says_that_a_model_made_it_and_keeps_its_pixels(
    kind: str, content_type: str, options: dict[str, Any]
) -> None:
    data = image_file(kind, **options)
    result = marked(data, content_type, width=40, height=30)
    inspect(result, max_bytes=len(result), max_pixels=40 * 30)
    read, before = Image.open(io.BytesIO(result)), Image.open(io.BytesIO(data))
    xmp = read.info.get("xmp") or read.info["XML:com.adobe.xmp"]
    assert MADE_BY_A_MODEL in (xmp if isinstance(xmp, str) else xmp.decode())
    assert read.tobytes() == before.tobytes()
    assert marked(result, content_type, width=40, height=30) == result


@pytest.mark.parametrize("lossless", [True, False])
def test_what_is_transparent_in_webp_stays_so(lossless: bool) -> None:
    data = image_file("WEBP", "RGBA", lossless=lossless)
    read = Image.open(io.BytesIO(marked(data, "image/webp", width=40, height=30)))
    assert read.mode == "RGBA"
    assert read.tobytes() == Image.open(io.BytesIO(data)).tobytes()


def test_the_web_uis_text_stays() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "a beach\nSteps: 20")
    data = marked(image_file("PNG", pnginfo=text), "image/png", width=40, height=30)
    assert png_text(data)["parameters"] == "a beach\nSteps: 20"
