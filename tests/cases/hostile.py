"""What strangers send: JSON, ids and header values that have broken something somewhere."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Final


def nested(depth: int, opening: str = "[", closing: str = "]", inner: str = "") -> str:
    """JSON of so many arrays, or objects, in each other."""
    return opening * depth + inner + closing * depth


VALUES: Final[dict[str, str]] = {
    "an array 65 deep": nested(65),
    "an array 900 deep": nested(900),
    "an array 100,000 deep": nested(100_000),
    "objects 400 deep": nested(400, '{"a":', "}", "1"),
    "objects 20,000 deep": nested(20_000, '{"]\\"[":', "}", "1"),
    "NaN": "NaN",
    "Infinity": "-Infinity",
    "a number beyond a double": "1e999",
    "5000 digits": "9" * 5000,
    "400 digits": "9" * 400,
    "half a character": '"\\ud800"',
    "the other half": '"x\\udfffy"',
    "halves in the wrong order": '"\\ude00\\ud83d"',
    "half a character as a name": '{"\\ud800": 1}',
}
"""JSON values that are refused, whichever door they come in by."""

GOOD_VALUES: Final[dict[str, str]] = {
    "NUL": '"a\\u0000b"',
    "a whole pair": '"\\ud83d\\ude00"',
    "names that JavaScript has itself": '{"__proto__": {"a": 1}, "constructor": 2}',
    "64 deep": nested(64 - 2),
    "the largest double": "1.7976931348623157e308",
    "more than 64 bits": "123456789012345678901234567890",
    "right to left": '"\\u202eabc"',
    "separators of lines": '"a\\u2028b"',
    "names that are empty": '{"": {"": []}}',
}
"""JSON values that are odd and right. (Two more levels of nesting are around them.)"""

NOT_JSON: Final[dict[str, bytes]] = {
    "nothing": b"",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "Latin-1": '{"a": "é"}'.encode("latin-1"),
    "a bare half character": b'{"a": "\xed\xa0\x80"}',
    "cut short": b'{"a": [1, 2',
    "more after it": b'{"a": 1} {"b": 2}',
    "single quotes": b"{'a': 1}",
    "a control character in a text": b'{"a": "\x01"}',
    "100,000 openings": b"[" * 100_000,
    "a name without quotes": b"{a: 1}",
}
"""Bodies that are no JSON at all."""

IDS: Final[tuple[str, ...]] = (
    *("a" * 3000, "é" * 1100, "\ud800", "\x00", " ", "..", "../../health", "日本", "%00"),
    *("<script>", "job_\x00", "job_" + "a" * 1020, "a#b", "job#x", "'\"; --", "\u202e", "-" * 5000),
)
"""Ids, conversations and cursors that nobody gave."""

RETRY_AFTER: Final[tuple[str, ...]] = (
    *("", " ", "-5", "1.5", "1e3", "soon", "9" * 400, "٣", "0x10", "120, 60", "\x00", "NaN", "inf"),
    "Fri, 31 Dec 2027 23:59:59 +99999999999999999999",
    "Fri, 31 Dec 99999 23:59:59 GMT",
    "Fri, 31 Dec 9999 23:59:59 -2359",
    "Mon, 01 Jan 0001 00:00:00 +2359",
    "Fri, 99 Foo 2027 99:99:99 GMT",
    "Fri, 31 Dec 2027 23:59:59",
    "Fri, 31 Dec 2027 23:59:59 GMT" + " " * 5000,
    "(" * 5000 + ")" * 5000,
    "=?utf-8?q?" + "a" * 500 + "?=",
)
"""What receivers and hosts answer as the time to come again."""

TERMINAL: Final[tuple[str, ...]] = (
    *(
        "\x1b[2J\x1b[H",
        "\x1b]0;title\x07",
        "\x9b31m",
        "a\rb",
        "a\nb\tc",
        "\u202egnp.exe",
        "\x7f\x08",
    ),
    "\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\",
)
"""What a terminal would obey."""


def _chunk(kind: bytes, data: bytes) -> bytes:
    length, checksum = struct.pack(">I", len(data)), struct.pack(">I", zlib.crc32(kind + data))
    return length + kind + data + checksum


def png(width: int, height: int, pixels: bytes, *, depth: int = 8) -> bytes:
    """A PNG file in RGB that says so of itself, whatever its pixels are."""
    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    parts = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(pixels, 9)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + _chunk(b"IEND", b"")


GOOD_IMAGE: Final = png(64, 64, (b"\0" + b"\x80" * 192) * 64)

IMAGES: Final[dict[str, bytes]] = {
    "nothing": b"",
    "one byte": b"\x89",
    "a PNG's beginning": GOOD_IMAGE[:8],
    "a PNG cut short": GOOD_IMAGE[:-30],
    "a PNG with a wrong checksum": GOOD_IMAGE[:40] + b"\xff" + GOOD_IMAGE[41:],
    "a PNG without pixels": png(64, 64, b""),
    "a PNG of more pixels than it says": png(64, 64, b"\0" * (20 << 20)),
    "a PNG of no size": png(0, 64, b""),
    "a PNG of the largest size": png(2**31 - 1, 2**31 - 1, b""),
    "a PNG of a chunk without end": GOOD_IMAGE[:33] + b"\xff\xff\xff\xffIDAT" + b"x" * 50,
    "a JPEG's beginning": b"\xff\xd8\xff\xe0",
    "a JPEG of markers only": b"\xff\xd8" + b"\xff\xe0\x00\x02" * 10_000,
    "a WebP without frames": b"RIFF\x04\x00\x00\x00WEBP",
    "a WebP that says it is larger": b"RIFF\xff\xff\xff\xffWEBPVP8 \xff\xff\xff\x7f",
    "an animated WebP": b"RIFF\x16\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x02" + b"\0" * 9,
    "a GIF": b"GIF89a\x01\x00\x01\x00\x80\x00\x00" + b"\0" * 20,
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><script/></svg>',
    "HTML": b"<!doctype html><script>alert(1)</script>",
    "a PDF": b"%PDF-1.7",
    "zeros": b"\0" * 10_000,
}
"""Files that are no picture, or none that is whole, still and of an honest size."""

HEADERS: Final[tuple[tuple[str, str], ...]] = (
    *(("Idempotency-Key", key) for key in ("", " ", "a b", "k" * 256, "é", "\x00", "\ud800")),
    *(("Prefer", wish) for wish in ("wait=-1", "wait=" + "9" * 400, "wait=nan", ",;=", "a" * 9000)),
    *(("X-Request-Id", name) for name in ("\x1b[2J", "a\r\nb: c", "x" * 5000, "日本", "\ud800")),
    *(("Content-Type", kind) for kind in ("", "text/plain", "application/json; charset=utf-7")),
    *(("Accept", kind) for kind in ("text/html", "*/*;q=nan", "")),
    *(("If-Match", tag) for tag in ("", "*", '"' + "9" * 400 + '"', "W/")),
    *(("Last-Event-ID", mark) for mark in ("-1", "9" * 400, "x")),
    *(("Content-Encoding", coding) for coding in ("gzip", "br", "identity")),
    *(("Origin", origin) for origin in ("null", "https://evil.example", "\x00")),
)
"""Headers of a request."""


def with_value(value: str, **fields: object) -> str:
    """A JSON object of these fields, with ``value`` (JSON) as its metadata's only entry."""
    body = json.dumps(fields)[:-1]
    return f'{body}{", " if fields else ""}"metadata": {{"a": {value}}}}}'
