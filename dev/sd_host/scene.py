"""first version"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from PIL import Image


@dataclass
class Scene:
    shapes: set[str] = field(default_factory=set)
    colours: list[str] = field(default_factory=list)
    moods: set[str] = field(default_factory=set)
    text: str = ""


def read(prompt, negative):
    words = prompt.lower().replace(",", " ").split()
    return Scene(
        set(words),
        [w for w in words if w in ("red", "blue", "green", "orange", "purple")],
        set(),
        prompt,
    )


def draw(scene, seed, width, height):
    rng = random.Random(f"{seed} {scene.text} {width}x{height}")
    image = Image.new("RGB", (width, height), rng.choice(scene.colours or ["grey"]))
    return image


def grade(image, scene, seed, amount):
    return image


def colour_name(image):
    return "grey"
