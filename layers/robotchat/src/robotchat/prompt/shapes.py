"""Sizes of pictures: how many pixels a model draws well, in which proportions."""

from __future__ import annotations

import math
import re

AREA = 512 * 768
"""Pixels of a picture whose shape, but not size, is known, for models of the first generations."""
LARGE_AREA = 1024 * 1024
"""The same for the models that came after them, which are trained on larger pictures."""
MAX_AREA = 2048 * 1024
SMALLEST, LARGEST = 64, 2048

_LARGE_MODELS = re.compile(
    r"xl(?![a-z])|sd_?3|flux|pony|illustrious|noob|kontext|qwen|hunyuan|cascade|kolors|chroma|z_?image",
    re.IGNORECASE,
)


def budget(checkpoint: str | None) -> int:
    """How many pixels a checkpoint draws well, as far as its name tells."""
    return LARGE_AREA if checkpoint and _LARGE_MODELS.search(checkpoint) else AREA


def shaped(across: float, down: float, area: int = AREA) -> tuple[int, int]:
    """Width and height of about ``area`` pixels in the given proportions."""
    return fit(math.sqrt(area * across / down), math.sqrt(area * down / across))


def fit(width: float, height: float) -> tuple[int, int]:
    """The nearest size that a picture can have: multiples of 8 and a bounded area."""
    width, height = max(width, SMALLEST), max(height, SMALLEST)
    scale = min(1.0, math.sqrt(MAX_AREA / (width * height)), LARGEST / max(width, height))

    def side(length: float) -> int:
        return int(min(max(round(length * scale / 8) * 8, SMALLEST), LARGEST))

    return side(width), side(height)
