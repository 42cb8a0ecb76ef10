"""Inspecting picture files without decoding them, and storing them.

Uploads come from strangers and answers from machines of varying honesty, so a file is believed
only after its structure was walked: the kind by content (never by its name or declared type), the
size from the header before anything is unpacked, a PNG down to its last checksum, a JPEG and a
WebP to their last marker. That needs no image library, which keeps the package small.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import shutil
import struct
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import unquote_to_bytes

from robotchat.errors import ImageTooLarge, InvalidImage, InvalidRequest, NotFound

MAX_IMAGE_BYTES = 20 * 1024 * 1024
MAX_IMAGE_PIXELS = 4096 * 4096

EXTENSIONS = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}
"""The kinds of picture that are accepted, and how their files are named."""


@dataclass(frozen=True)
class ImageInfo:
    """What a picture file is; sizes in pixels."""

    content_type: str
    width: int
    height: int


def inspect(
    data: bytes,
    *,
    max_bytes: int = MAX_IMAGE_BYTES,
    max_pixels: int = MAX_IMAGE_PIXELS,
    param: str | None = None,
) -> ImageInfo:
    """Check that a file is a whole PNG, JPEG or still WebP picture within the limits.

    ``param`` names the request field in errors. Raises ImageTooLarge for a file or a declared
    size above the limits (found before anything is unpacked), InvalidImage for every other kind
    of file, and for a damaged one.
    """
    if len(data) > max_bytes:
        raise ImageTooLarge(
            f"The image has {len(data)} bytes; at most {max_bytes} are accepted.", param=param
        )
    try:
        if data.startswith(_PNG_SIGNATURE):
            return _inspect_png(data, max_pixels)
        if data.startswith(b"\xff\xd8\xff"):
            return _inspect_jpeg(data, max_pixels)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _inspect_webp(data, max_pixels)
    except (InvalidImage, ImageTooLarge) as error:
        error.param = param
        raise
    except (struct.error, IndexError) as error:
        raise InvalidImage("The image file is cut short.", param=param) from error
    raise InvalidImage(
        f"This is {_guess(data)}; PNG, JPEG and WebP pictures are accepted.", param=param
    )


def measure(data: bytes) -> tuple[int, int]:
    """Width and height of a picture whose content was already inspected."""
    if data.startswith(_PNG_SIGNATURE):
        width, height = struct.unpack_from(">II", data, 16)
        return width, height
    info = inspect(data, max_bytes=len(data), max_pixels=1 << 62)
    return info.width, info.height


def upright_size(data: bytes) -> tuple[int, int]:
    """Width and height of a picture as it is shown: turned as its EXIF orientation says.

    The picture was already inspected. Cameras write pictures as the sensor lay; every program
    that shows one, the web UI too, turns it first.
    """
    width, height = measure(data)
    return (height, width) if _orientation(data) in (5, 6, 7, 8) else (width, height)


def _orientation(data: bytes) -> int:
    """The EXIF orientation (1 to 8) of a picture that was inspected; 1 when none is given."""
    exif = _exif(data)
    if exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (entries,) = struct.unpack_from(f"{order}H", exif, start)
        for number in range(entries):
            tag, kind, count, value = struct.unpack_from(
                f"{order}HHIH", exif, start + 2 + 12 * number
            )
            if (tag, kind, count) == (0x0112, 3, 1):
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1


def _exif(data: bytes) -> bytes:
    """The EXIF block of a picture that was inspected; empty when it has none."""
    if data.startswith(_PNG_SIGNATURE):
        return next((bytes(body) for kind, body in _chunks(data) if kind == b"eXIf"), b"")
    if data.startswith(b"RIFF"):
        position = 12
        while position + 8 <= len(data):
            (length,) = struct.unpack_from("<I", data, position + 4)
            if data[position : position + 4] == b"EXIF":
                return data[position + 8 : position + 8 + length]
            position += 8 + length + (length & 1)
        return b""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF and data[position + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", data, position + 2)
        block = data[position + 4 : position + 2 + length]
        if data[position + 1] == 0xE1 and block.startswith(b"Exif\0\0"):
            return block
        position += 2 + length
    return b""


# --- PNG ------------------------------------------------------------------------------------------

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PNG_WHOLE = ((0, 0, 1, 1),)
_PNG_ADAM7 = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
"""Where the pixels of each pass are: first column, first row, and the steps between them."""
_INFLATE_STEP = 1 << 20


def _chunks(data: bytes) -> list[tuple[bytes, memoryview]]:
    """A PNG's chunks up to IEND, every checksum verified."""
    view = memoryview(data)
    chunks = []
    position = len(_PNG_SIGNATURE)
    while True:
        if position + 12 > len(data):
            raise InvalidImage("The PNG file is cut short.")
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            raise InvalidImage("The PNG file is cut short.")
        kind = bytes(view[position + 4 : position + 8])
        (checksum,) = struct.unpack_from(">I", data, end)
        if zlib.crc32(view[position + 4 : end]) != checksum:
            raise InvalidImage("The PNG file is damaged: a checksum does not match.")
        chunks.append((kind, view[position + 8 : end]))
        if kind == b"IEND":
            return chunks
        position = end + 4


def _inspect_png(data: bytes, max_pixels: int) -> ImageInfo:
    if data[12:16] != b"IHDR" or struct.unpack_from(">I", data, 8)[0] != 13:
        raise InvalidImage("The PNG file does not begin with its header.")
    width, height, depth, color, compression, filtering, interlace = struct.unpack_from(
        ">IIBBBBB", data, 16
    )
    _check_size(width, height, max_pixels)
    if (
        depth not in _PNG_DEPTHS.get(color, ())
        or (compression, filtering) != (0, 0)
        or interlace > 1
    ):
        raise InvalidImage("The PNG file's header makes no sense.")

    chunks = _chunks(data)
    kinds = [kind for kind, _ in chunks]
    if color == 3 and b"PLTE" not in kinds:
        raise InvalidImage("The PNG file lacks its palette.")
    if any(
        kind[0:1].isupper() and kind not in (b"IHDR", b"PLTE", b"IDAT", b"IEND") for kind in kinds
    ):
        raise InvalidImage("The PNG file has a part that no decoder knows.")

    bits = depth * _PNG_CHANNELS[color]
    expected = 0
    for x, y, step_x, step_y in _PNG_ADAM7 if interlace else _PNG_WHOLE:
        columns = max(0, -(-(width - x) // step_x))
        rows = max(0, -(-(height - y) // step_y))
        if columns:
            expected += rows * (1 + (columns * bits + 7) // 8)
    _check_pixel_data([body for kind, body in chunks if kind == b"IDAT"], expected)
    return ImageInfo("image/png", width, height)


def _check_pixel_data(parts: list[memoryview], expected: int) -> None:
    """Unpack the pixel data in steps, keeping nothing, and count it."""
    inflate = zlib.decompressobj()
    count = 0
    try:
        for part in parts:
            pending: bytes | memoryview = part
            while pending and not inflate.eof:
                count += len(inflate.decompress(pending, _INFLATE_STEP))
                if count > expected:
                    raise InvalidImage("The PNG file holds more pixels than it declares.")
                pending = inflate.unconsumed_tail
        # The last step may have stopped in the middle of a repetition, at most 258 bytes short.
        count += len(inflate.flush())
    except zlib.error as error:
        raise InvalidImage("The PNG file is damaged: its pixel data cannot be unpacked.") from error
    if count != expected or not inflate.eof:
        raise InvalidImage("The PNG file is cut short: pixels are missing.")


def png_text(data: bytes) -> dict[str, str]:
    """The uncompressed text notes of a PNG file; SD hosts keep the ``parameters`` there."""
    notes: dict[str, str] = {}
    if not data.startswith(_PNG_SIGNATURE):
        return notes
    for kind, body in _chunks(data):
        raw = bytes(body)
        if kind == b"tEXt" and b"\0" in raw:
            key, _, value = raw.partition(b"\0")
            notes[key.decode("latin-1")] = value.decode("latin-1")
        elif kind == b"iTXt":
            key, _, rest = raw.partition(b"\0")
            # Flag and method, then language and translated keyword, then the text.
            fields = rest[2:].split(b"\0", 2)
            if len(fields) == 3 and rest[0:1] == b"\0":
                notes[key.decode("latin-1")] = fields[2].decode("utf-8", errors="replace")
    return notes


def with_png_text(data: bytes, notes: Mapping[str, str]) -> bytes:
    """A PNG file that was inspected, with these text notes instead of those that it had."""
    parts = [_PNG_SIGNATURE]
    for kind, body in _chunks(data):
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            continue
        parts.append(_png_chunk(kind, body))
        if kind == b"IHDR":
            parts += [_png_note(name, text) for name, text in notes.items()]
    return b"".join(parts)


def _png_note(name: str, text: str) -> bytes:
    text = text.replace("\0", "")  # which ends a name there
    try:
        return _png_chunk(b"tEXt", name.encode("latin-1") + b"\0" + text.encode("latin-1"))
    except UnicodeEncodeError:
        return _png_chunk(b"iTXt", name.encode("latin-1") + b"\0\0\0\0\0" + text.encode())


def _png_chunk(kind: bytes, body: bytes | memoryview) -> bytes:
    checksum = zlib.crc32(body, zlib.crc32(kind))
    return struct.pack(">I", len(body)) + kind + bytes(body) + struct.pack(">I", checksum)


# --- JPEG -----------------------------------------------------------------------------------------

_JPEG_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive: what decoders take
_JPEG_OTHER_FRAMES = (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_JPEG_MAX_SCANS = 500


def _inspect_jpeg(data: bytes, max_pixels: int) -> ImageInfo:
    size: tuple[int, int] | None = None
    scans = 0
    position = 2
    while True:
        # Before a marker only fill bytes may stand.
        if data[position] != 0xFF:
            raise InvalidImage("The JPEG file is damaged.")
        while data[position] == 0xFF:
            position += 1
        marker = data[position]
        position += 1
        if marker == 0xD9:
            break
        if marker in (0x00, 0xD8):
            raise InvalidImage("The JPEG file is damaged.")
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:
            continue
        (length,) = struct.unpack_from(">H", data, position)
        if length < 2 or position + length > len(data):
            raise InvalidImage("The JPEG file is cut short.")
        if marker in _JPEG_OTHER_FRAMES:
            raise InvalidImage("The JPEG file is of a kind that is not accepted.")
        if marker in _JPEG_FRAMES:
            precision, height, width, components = struct.unpack_from(">BHHB", data, position + 2)
            if size is not None or precision != 8 or components not in (1, 3, 4):
                raise InvalidImage("The JPEG file is of a kind that is not accepted.")
            _check_size(width, height, max_pixels)
            size = (width, height)
        position += length
        if marker == 0xDA:
            scans += 1
            if size is None or scans > _JPEG_MAX_SCANS:
                raise InvalidImage("The JPEG file is damaged.")
            following = _JPEG_MARKER.search(data, position)
            if following is None:
                raise InvalidImage("The JPEG file is cut short.")
            position = following.start()
    if size is None or not scans:
        raise InvalidImage("The JPEG file holds no picture.")
    return ImageInfo("image/jpeg", *size)


# --- WebP -----------------------------------------------------------------------------------------


def _inspect_webp(data: bytes, max_pixels: int) -> ImageInfo:
    (riff_size,) = struct.unpack_from("<I", data, 4)
    end = riff_size + 8
    if end > len(data):
        raise InvalidImage("The WebP file is cut short.")
    canvas: tuple[int, int] | None = None
    frame: tuple[int, int] | None = None
    position = 12
    while position + 8 <= end:
        kind = data[position : position + 4]
        (length,) = struct.unpack_from("<I", data, position + 4)
        start = position + 8
        if start + length > end:
            raise InvalidImage("The WebP file is cut short.")
        if kind in (b"ANIM", b"ANMF"):
            raise InvalidImage("The WebP file is animated; still pictures are accepted.")
        if kind == b"VP8X" and length >= 10:
            width = int.from_bytes(data[start + 4 : start + 7], "little") + 1
            height = int.from_bytes(data[start + 7 : start + 10], "little") + 1
            canvas = (width, height)
        elif kind == b"VP8 " and length >= 10:
            if data[start] & 1 or data[start + 3 : start + 6] != b"\x9d\x01\x2a":
                raise InvalidImage("The WebP file is damaged.")
            width, height = struct.unpack_from("<HH", data, start + 6)
            frame = (width & 0x3FFF, height & 0x3FFF)
        elif kind == b"VP8L" and length >= 5:
            (bits,) = struct.unpack_from("<I", data, start + 1)
            if data[start] != 0x2F or bits >> 29:
                raise InvalidImage("The WebP file is damaged.")
            frame = ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        if canvas or frame:
            _check_size(*(canvas or frame or (0, 0)), max_pixels)
        position = start + length + (length & 1)
    if frame is None or (canvas is not None and canvas != frame):
        raise InvalidImage("The WebP file holds no picture.")
    _check_size(*frame, max_pixels)
    return ImageInfo("image/webp", *frame)


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if not width or not height:
        raise InvalidImage("The image has no size.")
    if width * height > max_pixels:
        raise ImageTooLarge(
            f"The image is {width}x{height}; at most {max_pixels} pixels are accepted."
        )


_OTHER_KINDS = (
    (b"GIF8", "a GIF file"),
    (b"BM", "a BMP file"),
    (b"II*\0", "a TIFF file"),
    (b"MM\0*", "a TIFF file"),
    (b"%PDF", "a PDF file"),
    (b"<", "a text file, perhaps HTML or SVG"),
)


def _guess(data: bytes) -> str:
    if not data:
        return "an empty file"
    if data[4:8] == b"ftyp":
        return "a video, AVIF or HEIC file"
    for start, name in _OTHER_KINDS:
        if data.lstrip(b" \r\n\t\xef\xbb\xbf").startswith(start):
            return name
    return "not a picture"


# --- base64 ---------------------------------------------------------------------------------------

_WHITESPACE = bytes.maketrans(b"-_", b"+/"), b" \t\r\n"


def looks_like_url(text: str) -> bool:
    """Whether a text is meant for a web address, where a picture was expected."""
    return text.lstrip()[:8].lower().startswith(("http://", "https://"))


def decode_base64(
    text: str, *, max_bytes: int = MAX_IMAGE_BYTES, param: str | None = None
) -> bytes:
    """Bytes from base64 as callers write it: a data URI or bare, wrapped, URL-safe, unpadded.

    Raises ImageTooLarge when the text is too long for ``max_bytes`` (before decoding it), and
    InvalidImage when it is not base64.
    """
    if looks_like_url(text):
        raise InvalidImage("This is a URL: send the picture itself.", param=param)
    # A third more for base64, and some room for line breaks and the data URI's head.
    if len(text) > max_bytes * 3 // 2 + 1024:
        raise ImageTooLarge(f"The image has more than {max_bytes} bytes.", param=param)
    if text[:5].lower() == "data:":
        head, comma, body = text.partition(",")
        if not comma or not head.lower().rstrip().endswith(";base64"):
            raise InvalidImage("The data URI must be base64-encoded.", param=param)
        text = unquote_to_bytes(body).decode("latin-1") if "%" in body else body
    try:
        raw = text.encode("ascii").translate(*_WHITESPACE).rstrip(b"=")
        data = binascii.a2b_base64(raw + b"=" * (-len(raw) % 4), strict_mode=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise InvalidImage("The image is not valid base64.", param=param) from error
    if not data:
        raise InvalidImage("The image is empty.", param=param)
    if len(data) > max_bytes:
        raise ImageTooLarge(
            f"The image has {len(data)} bytes; at most {max_bytes} are accepted.", param=param
        )
    return data


def encode_base64(data: bytes) -> str:
    """Base64 in its plain form: what SD hosts take and give."""
    return base64.b64encode(data).decode("ascii")


# --- storing pictures -----------------------------------------------------------------------------


class Images(Protocol):
    """Where picture files are kept, by key. Keys are relative paths with ``/``."""

    def put(self, key: str, data: bytes, content_type: str) -> None:
        """Store a file; one that is already there is replaced."""
        ...

    def get(self, key: str) -> bytes:
        """The file. Raises NotFound."""
        ...

    def url(self, key: str, *, expires_in: float) -> str:
        """A link that gives the file to whoever has it, for ``expires_in`` seconds."""
        ...

    def link_term(self, wanted: float, /) -> float:
        """For how many of the ``wanted`` seconds a link works that is made now."""
        ...

    def delete(self, prefix: str) -> None:
        """Remove every file whose key begins with the prefix; none is no error."""
        ...


class MemoryImages:
    """Pictures kept in memory, for as long as the process lives."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[bytes, str]] = {}

    def put(self, key: str, data: bytes, content_type: str) -> None:
        self._files[_checked_key(key)] = (data, content_type)

    def get(self, key: str) -> bytes:
        return self._file(key)[0]

    def url(self, key: str, *, expires_in: float) -> str:
        """A data URI: it holds the picture itself, and so never expires."""
        data, content_type = self._file(key)
        return f"data:{content_type};base64,{encode_base64(data)}"

    def link_term(self, wanted: float, /) -> float:
        return wanted

    def delete(self, prefix: str) -> None:
        for key in [key for key in self._files if key.startswith(prefix)]:
            # Another thread may have been faster; gone is gone.
            self._files.pop(key, None)

    def _file(self, key: str) -> tuple[bytes, str]:
        try:
            return self._files[key]
        except KeyError:
            raise NotFound("There is no such picture.") from None


class FolderImages:
    """Pictures kept as files in a folder, which is made when the first one arrives."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._root = Path(path)

    def put(self, key: str, data: bytes, content_type: str) -> None:
        target = self._path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Written aside and moved into place, so that no reader ever sees half a file.
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".part-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(name, target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def get(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise NotFound("There is no such picture.") from None

    def url(self, key: str, *, expires_in: float) -> str:
        """A ``file:`` link: it works on this machine, for as long as the file is there."""
        path = self._path(key)
        if not path.is_file():
            raise NotFound("There is no such picture.")
        return path.resolve().as_uri()

    def link_term(self, wanted: float, /) -> float:
        return wanted

    def delete(self, prefix: str) -> None:
        if prefix.endswith("/"):
            folder = self._path(prefix.rstrip("/"))
            if folder.is_dir():
                shutil.rmtree(folder)
            return
        for path in self._root.rglob("*"):
            if path.is_file() and path.relative_to(self._root).as_posix().startswith(prefix):
                path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._root / _checked_key(key)


def _checked_key(key: str) -> str:
    path = PurePosixPath(key)
    if not key or path.is_absolute() or path.as_posix() != key or ".." in path.parts:
        raise InvalidRequest("That is not a picture's key.")
    return key
