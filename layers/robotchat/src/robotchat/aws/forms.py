"""Multipart forms of OpenAI's clients, read as the JSON that says the same."""

from __future__ import annotations

import base64
import io
from typing import Any

from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartParser,
    parse_options_header,
)

from robotchat.errors import MalformedRequest

_IMAGES, _MASK = "images", "mask"
_MOST_PARTS = 64


def form(body: bytes, content_type: str) -> dict[str, Any]:
    """The fields of a multipart form.

    Files become ``{"image_url": <data URL>}``: every `image`, `image[]` and `images` in a list
    `images`, `mask` alone. Their content types are not believed: what a file is, its bytes tell.
    Raises MalformedRequest for a body that is no such form.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get("boundary")
    if not boundary:
        raise MalformedRequest("The content-type of a multipart form must name its boundary.")
    fields: dict[str, Any] = {}
    try:
        parser = MultipartParser(
            io.BytesIO(body),
            boundary,
            len(body),
            part_limit=_MOST_PARTS,
            memory_limit=len(body),
            spool_limit=len(body),
        )
        for part in parser:
            name = (part.name or "").removesuffix("[]")
            if name in ("image", _IMAGES):
                fields.setdefault(_IMAGES, []).append(_source(part))
            elif name == _MASK:
                fields[_MASK] = _source(part)
            elif part.filename:
                raise MalformedRequest(f"{name} is not a field that takes a file.", param=name)
            else:
                fields[name] = part.value
    except (MultipartError, UnicodeDecodeError, LookupError) as error:
        raise MalformedRequest("The body is not a well-formed multipart form.") from error
    return fields


def _source(part: Any) -> dict[str, str]:
    """A picture: a file, or a text that names one."""
    if not part.filename:
        text = part.raw.decode("utf-8", "replace")  # or a file whose name was left out
        if text.startswith(("http://", "https://", "data:")):
            return {"image_url": text}
        if text.startswith("upload_"):
            return {"file_id": text}
    encoded = base64.b64encode(part.raw).decode()
    return {"image_url": f"data:application/octet-stream;base64,{encoded}"}
