"""Other file formats, and masks."""

from __future__ import annotations

import io
from typing import Literal

import pytest
from PIL import Image

from robotchat.errors import InvalidImage
from robotchat.images import png_text
from robotchat.pixels import (
    converted,
    has_transparency,
    plain_image,
    plain_mask,
    repaint_mask,
)

INFOTEXT = "海滩 a beach\nSteps: 20, Seed: 1"


def png(*pixels: tuple[int, ...], mode: str = "RGBA") -> bytes:
    """A picture of one row."""
    image = Image.new(mode, (len(pixels), 1))
    image.putdata([one[0] for one in pixels] if mode == "L" else list(pixels))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("file_format", ["jpeg", "webp"])
def test_the_infotext_is_where_the_web_ui_puts_it(file_format: Literal["jpeg", "webp"]) -> None:
    data = converted(png((1, 2, 3, 255)), file_format, infotext=INFOTEXT)
    comment = opened(data).getexif().get_ifd(0x8769)[0x9286]
    assert comment.startswith(b"UNICODE\0")
    assert comment[8:].decode("utf-16-be") == INFOTEXT
    assert opened(data).format == file_format.upper()


def test_a_png_has_the_infotext_as_its_parameters() -> None:
    assert png_text(converted(png((1, 2, 3, 255)), "png", infotext="a beach")) == {
        "parameters": "a beach"
    }


def test_less_quality_makes_smaller_files() -> None:
    noise = Image.effect_noise((64, 64), 80).convert("RGB")
    file = io.BytesIO()
    noise.save(file, "PNG")
    for file_format in ("jpeg", "webp"):
        sizes = [len(converted(file.getvalue(), file_format, compression=c)) for c in (0, 50, 95)]
        assert sizes == sorted(sizes)
        assert sizes[0] < sizes[-1]


def test_what_is_transparent_is_white_in_jpeg() -> None:
    data = converted(png(*[(0, 0, 0, 0)] * 8), "jpeg")
    assert opened(data).getpixel((0, 0)) == (255, 255, 255)


def test_openais_mask_turns_round_for_the_web_ui() -> None:
    mask = png((9, 9, 9, 0), (9, 9, 9, 255), (9, 9, 9, 128))
    turned = opened(repaint_mask(mask, png(*[(0, 0, 0)] * 3, mode="RGB"), param="mask"))
    assert (turned.mode, list(turned.get_flattened_data())) == ("L", [255, 0, 127])


@pytest.mark.parametrize(
    "mask",
    [png((1, 2, 3), mode="RGB"), png((1, 2, 3, 255)), png((0, 0, 0, 0), (0, 0, 0, 0)), b"no"],
    ids=["no alpha", "opaque", "another size", "no picture"],
)
def test_a_mask_that_means_nothing_is_refused(mask: bytes) -> None:
    with pytest.raises(InvalidImage) as error:
        repaint_mask(mask, png((0, 0, 0), mode="RGB"), param="mask")
    assert error.value.param == "mask"


@pytest.mark.parametrize("lying", [True, False])
def test_a_mask_of_an_image_that_is_shown_turned_is_turned_with_it(lying: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter to the right: what is below in the file is shown at the left
    file = io.BytesIO()
    Image.new("RGB", (3, 2)).save(file, "JPEG", exif=exif)
    mask = Image.new("RGBA", (3, 2) if lying else (2, 3), (0, 0, 0, 255))
    mask.putpixel((0, 1) if lying else (0, 0), (0, 0, 0, 0))
    drawn = io.BytesIO()
    mask.save(drawn, "PNG")
    turned = opened(repaint_mask(drawn.getvalue(), file.getvalue(), param="mask"))
    assert turned.size == (2, 3)
    assert [p for p in range(6) if turned.getpixel((p % 2, p // 2)) == 255] == [0]


def test_transparency_is_seen() -> None:
    assert has_transparency(png((0, 0, 0, 254)))
    assert not has_transparency(png((0, 0, 0, 255)))
    assert not has_transparency(png((0, 0, 0), mode="RGB"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (png((10,), (255,), mode="L"), [(10, 10, 10), (255, 255, 255)]),
        (png((1, 2, 3, 0), (1, 2, 3, 255)), [(255, 255, 255), (1, 2, 3)]),
        (png((1, 2, 3), (4, 5, 6), mode="RGB"), [(1, 2, 3), (4, 5, 6)]),
    ],
)
def test_an_image_to_begin_with_is_rgb_on_white(
    given: bytes, expected: list[tuple[int, ...]]
) -> None:
    image = opened(plain_image(given))
    assert (image.format, image.mode, list(image.get_flattened_data())) == (
        "PNG",
        "RGB",
        expected,
    )


def test_an_image_to_begin_with_is_upright() -> None:
    lying, file = Image.new("RGB", (4, 2)), io.BytesIO()
    lying.getexif()[0x0112] = 6
    lying.save(file, "PNG", exif=lying.getexif())
    assert opened(plain_image(file.getvalue())).size == (2, 4)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (png((0,), (128,), (255,), mode="L"), [0, 128, 255]),
        (png((255, 255, 255), (0, 0, 0), mode="RGB"), [255, 0]),
        (png((0, 0, 0, 0), (0, 0, 0, 200), (9, 9, 9, 255)), [0, 255, 255]),
        (png((255, 255, 255, 255), (0, 0, 0, 255)), [255, 0]),
    ],
)
def test_a_mask_is_its_transparency_or_how_bright_it_is(given: bytes, expected: list[int]) -> None:
    mask = opened(plain_mask(given))
    assert (mask.format, mask.mode) == ("PNG", "RGB")
    assert list(mask.get_flattened_data()) == [(value,) * 3 for value in expected]
