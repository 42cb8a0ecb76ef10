"""Marking pictures as made by a model, in the file and without touching a pixel.

The mark is IPTC's `digitalSourceType` with the value `trainedAlgorithmicMedia`, as XMP: what
search engines, Content Credentials tools and the platforms' own checks read.
https://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia
"""

from __future__ import annotations

import struct
import zlib

MADE_BY_A_MODEL = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

_XMP = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
<Iptc4xmpExt:DigitalSourceType>{MADE_BY_A_MODEL}</Iptc4xmpExt:DigitalSourceType>
</rdf:Description>
</rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>""".encode()

_PNG_HEAD = 8 + 25
"""The signature and IHDR, which must come first."""
_XMP_KEYWORD = b"XML:com.adobe.xmp"
_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_WEBP_XMP, _WEBP_ALPHA, _VP8X_SIZE = 0x04, 0x10, 10


def marked(data: bytes, content_type: str, *, width: int, height: int) -> bytes:
    """A picture file with the mark put in; one that has XMP already is left as it is.

    ``data`` is a whole PNG, JPEG or WebP file, which was checked before, of the given size in
    pixels. Any other type is given back unchanged.
    """
    if _XMP_KEYWORD in data or _JPEG_XMP in data or b"XMP " in data[:4096]:
        return data
    if content_type == "image/png":
        text = _XMP_KEYWORD + b"\0\0\0\0\0" + _XMP
        return data[:_PNG_HEAD] + _png_chunk(b"iTXt", text) + data[_PNG_HEAD:]
    if content_type == "image/jpeg":
        return _in_jpeg(data)
    if content_type == "image/webp":
        return _in_webp(data, width, height)
    return data


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _in_jpeg(data: bytes) -> bytes:
    """With an APP1 segment, after the APP0 of JFIF or the APP1 of Exif, which want to be first."""
    place = 2
    while data[place : place + 2] in (b"\xff\xe0", b"\xff\xe1"):
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    body = _JPEG_XMP + _XMP
    segment = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    return data[:place] + segment + data[place:]


def _in_webp(data: bytes, width: int, height: int) -> bytes:
    """With an XMP chunk at the end, and the extended header that says that there is one."""
    chunks = data[12:]
    if chunks[:4] == b"VP8X":
        head = bytearray(chunks[: 8 + _VP8X_SIZE])
        head[8] |= _WEBP_XMP
        rest = chunks[8 + _VP8X_SIZE :]
    else:
        # In a lossless picture the 5th byte's 5th bit of what follows the size says "alpha".
        alpha = chunks[:4] == b"VP8L" and chunks[12] & 0x10
        flags = _WEBP_XMP | (_WEBP_ALPHA if alpha else 0)
        sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        head = bytearray(b"VP8X" + struct.pack("<II", _VP8X_SIZE, flags) + sides)
        rest = chunks
    padding = b"\0" * (len(_XMP) % 2)
    body = b"WEBP" + bytes(head) + rest + b"XMP " + struct.pack("<I", len(_XMP)) + _XMP + padding
    return b"RIFF" + struct.pack("<I", len(body)) + body
