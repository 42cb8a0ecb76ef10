"""The types of a request's fields: read as leniently as the web UI reads them, and bounded."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from robotchat.images import encode_base64
from robotchat.pixels import FileFormat

MAX_SIDE = 4096
SMALLEST = 8
"""The longest and the shortest side, in pixels."""


def whole(value: object) -> object:
    """Numbers as the web UI reads them: a fraction is cut off."""
    return int(value) if isinstance(value, float) and abs(value) < 2**63 else value


def _base64(value: object) -> object:
    """Let programs pass a picture file's bytes as they are."""
    return encode_base64(value) if isinstance(value, bytes) else value


def _format_name(value: object) -> object:
    """The web UI says jpg where OpenAI says jpeg."""
    name = value.lower() if isinstance(value, str) else value
    return "jpeg" if name == "jpg" else name


Int = Annotated[int, BeforeValidator(whole)]
# Bounds stand before what reads the number, or they are not told in its schema.
OutputFormat = Annotated[FileFormat, BeforeValidator(_format_name)]
Side = Annotated[int, Field(ge=SMALLEST, le=MAX_SIDE), BeforeValidator(whole)]
TargetSide = Annotated[int, Field(ge=0, le=MAX_SIDE), BeforeValidator(whole)]
Seed = Annotated[int, Field(ge=-1, le=2**63 - 1), BeforeValidator(whole)]
Name = Annotated[str, Field(max_length=300)]
Text = Annotated[str, Field(max_length=20_000)]
ImageText = Annotated[str, BeforeValidator(_base64)]
