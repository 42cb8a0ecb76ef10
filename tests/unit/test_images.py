"""Looking at picture files: what is believed, what is refused, and where they are kept."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from robotchat.errors import ImageTooLarge, InvalidImage, InvalidRequest, NotFound
from robotchat.images import (
    FolderImages,
    Images,
    MemoryImages,
    decode_base64,
    encode_base64,
    inspect,
    measure,
    png_text,
    upright_size,
)

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def image_file(
    kind: str, *, mode: str = "RGB", size: tuple[int, int] = (33, 17), **options: Any
) -> bytes:
    image = Image.linear_gradient("L").resize(size).convert(mode)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int = 4,
    height: int = 4,
    *,
    header: bytes | None = None,
    pixels: bytes | None = None,
    before: bytes = b"",
    end: bytes | None = None,
) -> bytes:
    raw = b"\0" * (height * (1 + width * 3)) if pixels is None else pixels
    return b"".join(
        (
            SIGNATURE,
            header or chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
            before,
            chunk(b"IDAT", zlib.compress(raw)),
            chunk(b"IEND", b"") if end is None else end,
        )
    )


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16"])
def test_every_colour_mode_of_png_is_read_to_its_last_pixel(mode: str) -> None:
    info = inspect(image_file("PNG", mode=mode))
    assert (info.content_type, info.width, info.height) == ("image/png", 33, 17)


def test_an_interlaced_png_is_counted_pass_by_pass() -> None:
    # 5x3 in grey has 1, 1, 1, 1(2x1) ... pixels per pass; the sizes follow from the format.
    rows = [(1, 1), (1, 1), (2, 0), (1, 1), (3, 1), (2, 2), (5, 1)]
    raw = b"".join((b"\0" + b"\0" * columns) * count for columns, count in rows)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 3, 8, 0, 0, 0, 1))
    data = png(header=header, pixels=raw)
    assert Image.open(io.BytesIO(data)).size == (5, 3)
    Image.open(io.BytesIO(data)).load()
    assert inspect(data).width == 5


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"mode": "L"}),
        ("JPEG", {"mode": "CMYK"}),
        ("JPEG", {"restart_marker_blocks": 1}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"mode": "RGBA"}),
        ("WEBP", {"mode": "RGBA", "lossless": True, "exif": b"Exif\0\0"}),
    ],
)
def test_jpeg_and_webp_are_measured(kind: str, options: dict[str, Any]) -> None:
    data = image_file(kind, **options)
    info = inspect(data)
    assert (info.width, info.height) == (33, 17)
    assert info.content_type == f"image/{kind.lower()}"
    assert measure(data) == (33, 17)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_file_that_is_cut_anywhere_is_refused(kind: str) -> None:
    data = image_file(kind)
    for length in range(len(data) - 1):
        with pytest.raises(InvalidImage):
            inspect(data[:length])


def test_a_png_with_any_byte_changed_is_refused() -> None:
    data = bytearray(image_file("PNG", size=(8, 8)))
    for position in range(len(data)):
        data[position] ^= 0x55
        with pytest.raises((InvalidImage, ImageTooLarge)):
            inspect(bytes(data))
        data[position] ^= 0x55


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7",
        b"\0\0\0\x20ftypavif" + b"\0" * 40,
        b"RIFF\x04\0\0\0WAVE",
        b"\xff\xd8\xff\xd9",
        b"RIFF\x04\0\0\0WEBP",
        SIGNATURE,
        SIGNATURE + chunk(b"IEND", b""),
    ],
)
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidImage):
        inspect(data)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_other_kinds_of_image_are_refused_by_name(kind: str) -> None:
    with pytest.raises(InvalidImage, match=kind):
        inspect(image_file(kind))


def test_an_animated_webp_is_refused() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    file = io.BytesIO()
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:])
    with pytest.raises(InvalidImage, match="animated"):
        inspect(file.getvalue())


@pytest.mark.parametrize(
    "data",
    [
        png(header=chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 3, 2, 0, 0, 0))),
        png(header=chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 5, 0, 0, 0))),
        png(header=chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 2, 1, 0, 0))),
        png(header=chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 2))),
        png(header=chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 4, 8, 2, 0, 0, 0))),
        png(header=chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 3, 0, 0, 0))),
        png(pixels=b"\0" * 51),
        png(pixels=b"\0" * 53),
        png(before=chunk(b"ABCD", b"")),
        png(end=b""),
    ],
    ids=[
        "depth",
        "colour",
        "packing",
        "interlace",
        "size",
        "palette",
        "few",
        "many",
        "part",
        "end",
    ],
)
def test_a_png_that_contradicts_itself_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidImage):
        inspect(data)


def test_a_png_that_unpacks_to_more_than_it_declares_is_not_unpacked_further() -> None:
    bomb = png(4, 4, pixels=b"\0" * 50_000_000)
    assert len(bomb) < 100_000
    with pytest.raises(InvalidImage, match="more pixels"):
        inspect(bomb)


def test_a_declared_size_is_refused_before_anything_is_unpacked() -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
    with pytest.raises(ImageTooLarge, match="100000x100000"):
        inspect(SIGNATURE + header)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_limits_hold_for_every_kind(kind: str) -> None:
    data = image_file(kind)
    with pytest.raises(ImageTooLarge) as caught:
        inspect(data, max_bytes=len(data) - 1, param="image")
    assert caught.value.param == "image"
    with pytest.raises(ImageTooLarge) as caught:
        inspect(data, max_pixels=33 * 17 - 1, param="image")
    assert caught.value.param == "image"
    inspect(data, max_bytes=len(data), max_pixels=33 * 17)


def test_the_notes_of_a_png_are_read() -> None:
    note = chunk(b"tEXt", b"parameters\0a beach\nSteps: 20")
    other = chunk(b"iTXt", b"where\0\0\0\0\0" + "Ålesund".encode())
    assert png_text(png(before=note + other)) == {
        "parameters": "a beach\nSteps: 20",
        "where": "Ålesund",
    }
    assert png_text(b"no png") == {}


# --- base64 ---------------------------------------------------------------------------------------

DATA = bytes(range(256))
PLAIN = base64.b64encode(DATA).decode()


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        f"data:image/png;base64,{PLAIN}",
        f"data:;BASE64,{PLAIN}",
        "data:image/png;base64," + PLAIN.replace("+", "%2B").replace("=", "%3D"),
        "\n".join(PLAIN[start : start + 76] for start in range(0, len(PLAIN), 76)),
        base64.urlsafe_b64encode(DATA).decode(),
        PLAIN.rstrip("="),
    ],
    ids=["plain", "data URI", "upper case", "percent", "wrapped", "urlsafe", "unpadded"],
)
def test_base64_is_read_in_every_form_callers_use(text: str) -> None:
    assert decode_base64(text) == DATA


@pytest.mark.parametrize(
    "text", ["", "a", "!!!!", "data:image/png,abc", "data:image/png;base64", "aGk=aGk=", "日本"]
)
def test_what_is_not_base64_is_refused(text: str) -> None:
    with pytest.raises(InvalidImage):
        decode_base64(text)


def test_long_text_is_refused_by_its_length() -> None:
    with pytest.raises(ImageTooLarge):
        decode_base64("!" * 10_000, max_bytes=1000)
    with pytest.raises(ImageTooLarge):
        decode_base64(encode_base64(b"x" * 1001), max_bytes=1000, param="mask")


# --- keeping --------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "folder"])
def images(request: pytest.FixtureRequest, tmp_path: Path) -> Images:
    return MemoryImages() if request.param == "memory" else FolderImages(tmp_path / "pictures")


def test_an_image_is_kept_until_it_is_deleted(images: Images) -> None:
    images.put("t/a/0.png", b"one", "image/png")
    images.put("t/a/0.png", b"two", "image/png")
    images.put("t/ab/0.png", b"three", "image/png")
    assert images.get("t/a/0.png") == b"two"
    images.delete("t/a/")
    images.delete("t/a/")
    with pytest.raises(NotFound):
        images.get("t/a/0.png")
    with pytest.raises(NotFound):
        images.url("t/a/0.png", expires_in=60)
    assert images.get("t/ab/0.png") == b"three"
    images.delete("t/ab")
    with pytest.raises(NotFound):
        images.get("t/ab/0.png")


def test_a_folder_is_no_image(images: Images) -> None:
    images.put("t/a/0.png", b"one", "image/png")
    with pytest.raises(NotFound):
        images.get("t/a")


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a"])
def test_keys_cannot_leave_the_store(images: Images, key: str) -> None:
    with pytest.raises(InvalidRequest):
        images.put(key, b"", "image/png")


def test_links_lead_to_the_image(tmp_path: Path) -> None:
    memory, folder = MemoryImages(), FolderImages(tmp_path)
    for images in (memory, folder):
        images.put("a.png", b"one", "image/png")
    assert memory.url("a.png", expires_in=1) == "data:image/png;base64,b25l"
    link = folder.url("a.png", expires_in=1)
    assert link.startswith("file://")
    assert Path(link.removeprefix("file://")).read_bytes() == b"one"


def test_a_file_that_cannot_be_put_in_place_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OSError, match="directory"):
        FolderImages(tmp_path).put("a.png", b"one", "image/png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


# --- turned pictures ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_as_high_as_it_is_shown(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    exif[0x0112] = orientation
    shown = (17, 33) if orientation >= 5 else (33, 17)
    assert upright_size(image_file(kind, exif=exif)) == shown


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_image_without_an_orientation_stands_upright(kind: str) -> None:
    assert upright_size(image_file(kind)) == (33, 17)


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x09",
        b"Exif\0\0what",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0",
    ],
)
def test_a_damaged_exif_block_turns_nothing(exif: bytes) -> None:
    data = image_file("JPEG")
    block = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    assert upright_size(data[:2] + block + data[2:]) == (33, 17)
