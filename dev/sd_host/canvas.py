"""A picture to draw on, in coordinates from 0 to 1, and the arithmetic of colours."""

from __future__ import annotations

import colorsys
import random
from collections.abc import Sequence

from PIL import Image, ImageDraw

from dev.sd_host.words import Rgb

BLACK: Rgb = (24, 24, 30)
WHITE: Rgb = (250, 250, 248)


def mixed(a: Rgb, b: Rgb, share: float) -> Rgb:
    """``a`` with ``share`` (0..1) of ``b``."""
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue


def hsl(hue: float, saturation: float, lightness: float) -> Rgb:
    """The colour of a hue in degrees and percentages."""
    red, green, blue = colorsys.hls_to_rgb(hue / 360, lightness / 100, saturation / 100)
    return round(red * 255), round(green * 255), round(blue * 255)


class Canvas:
    """A picture to draw on: positions from 0 to 1, sizes as shares of the shorter side."""

    def __init__(self, width: int, height: int, rng: random.Random) -> None:
        self.rng = rng
        self.last_light = 0.5
        self.image = Image.new("RGB", (width, height))

    @classmethod
    def over(cls, image: Image.Image, rng: random.Random) -> Canvas:
        """A canvas that begins as a copy of ``image``."""
        canvas = cls(1, 1, rng)
        canvas.image = image.copy()
        return canvas

    @property
    def image(self) -> Image.Image:
        return self._image

    @image.setter
    def image(self, image: Image.Image) -> None:
        self._image, self._pen = image, ImageDraw.Draw(image)
        self.width, self.height = image.size
        self.unit = min(image.size)

    def _at(self, x: float, y: float) -> tuple[float, float]:
        return x * self.width, y * self.height

    def box(self, left: float, top: float, right: float, bottom: float, colour: Rgb) -> None:
        self._pen.rectangle((*self._at(left, top), *self._at(right, bottom)), fill=colour)

    def polygon(self, points: Sequence[tuple[float, float]], colour: Rgb) -> None:
        self._pen.polygon([self._at(x, y) for x, y in points], fill=colour)

    def line(self, ends: tuple[float, float, float, float], colour: Rgb, wide: float) -> None:
        width = max(1, round(wide * self.unit))
        self._pen.line((*self._at(*ends[:2]), *self._at(*ends[2:])), fill=colour, width=width)

    def oval(
        self, x: float, y: float, rx: float, ry: float, colour: Rgb, *, round_: bool = False
    ) -> None:
        """An ellipse; radii are shares of width and height, of the shorter side if ``round_``."""
        cx, cy = self._at(x, y)
        wide = rx * (self.unit if round_ else self.width)
        high = ry * (self.unit if round_ else self.height)
        self._pen.ellipse((cx - wide, cy - high, cx + wide, cy + high), fill=colour)

    def pen(self, x: float, y: float, size: float) -> Pen:
        """A pen for a thing: its own units, ``size`` of the shorter side, standing on (x, y)."""
        return Pen(self._pen, *self._at(x, y), size * self.unit)

    def gradient(self, colours: Sequence[Rgb], top: float, bottom: float) -> None:
        """Those colours from ``top`` to ``bottom``, over the whole width."""
        first, last = round(top * self.height), round(bottom * self.height)
        strip = Image.new("RGB", (1, len(colours)))
        strip.putdata(list(colours))
        size = (self.width, max(1, last - first))
        spread = strip.resize((1, size[1]), Image.Resampling.BICUBIC).resize(size)
        self.image.paste(spread, (0, first))

    def glow(self, x: float, y: float, size: float, colour: Rgb, strength: float) -> None:
        """A soft light around (x, y)."""
        side = max(2, round(size * self.unit))
        mask = Image.radial_gradient("L").resize((side, side))
        faded = mask.point(lambda v: int(max(0, 255 - v * 1.42) * strength))
        cx, cy = self._at(x, y)
        self.image.paste(colour, (round(cx - side / 2), round(cy - side / 2)), faded)

    def speckle(self, colour: Rgb, top: float) -> None:
        """Grains on the ground."""
        for _ in range(140):
            x, y = self.rng.random(), self.rng.uniform(top, 1)
            tone = mixed(colour, self.rng.choice((BLACK, WHITE)), 0.14)
            self.oval(x, y, 0.0022, 0.0016, tone, round_=True)

    def rain(self, drops: int) -> None:
        for _ in range(drops):
            x, y, long = self.rng.random(), self.rng.random(), self.rng.uniform(0.02, 0.05)
            self.line((x, y, x - long * 0.25, y + long), (186, 200, 216), 0.0028)

    def snow(self, flakes: int) -> None:
        for _ in range(flakes):
            size = self.rng.uniform(0.002, 0.008)
            self.oval(self.rng.random(), self.rng.random(), size, size, WHITE, round_=True)

    def veil(self, colour: Rgb, amount: float) -> None:
        """A haze over everything."""
        self.image = Image.blend(self.image, Image.new("RGB", self.image.size, colour), amount)

    def dim(self, colour: Rgb, *, below: float, amount: float) -> None:
        """Tone everything under ``below`` towards ``colour``."""
        area = (0, round(below * self.height), self.width, self.height)
        part = self.image.crop(area)
        self.image.paste(Image.blend(part, Image.new("RGB", part.size, colour), amount), area[:2])


class Pen:
    """Draws one thing: x from -0.5 to 0.5, y from 0 (its foot) up to 1."""

    def __init__(self, draw: ImageDraw.ImageDraw, x: float, y: float, size: float) -> None:
        self._draw, self._x, self._y, self._size = draw, x, y, size

    def _at(self, x: float, y: float) -> tuple[float, float]:
        return self._x + x * self._size, self._y - y * self._size

    def oval(self, x: float, y: float, rx: float, ry: float, colour: Rgb) -> None:
        left, top = self._at(x - rx, y + ry)
        right, bottom = self._at(x + rx, y - ry)
        self._draw.ellipse((left, top, right, bottom), fill=colour)

    def box(self, x: float, y: float, wide: float, high: float, colour: Rgb) -> None:
        """A box with its foot at ``y``, centred on ``x``."""
        left, top = self._at(x - wide / 2, y + high)
        right, bottom = self._at(x + wide / 2, y)
        self._draw.rectangle((left, top, right, bottom), fill=colour)

    def shape(self, colour: Rgb, *points: tuple[float, float]) -> None:
        self._draw.polygon([self._at(x, y) for x, y in points], fill=colour)

    def line(self, colour: Rgb, wide: float, *points: tuple[float, float]) -> None:
        width = max(1, round(wide * self._size))
        self._draw.line([self._at(x, y) for x, y in points], colour, width, joint="curve")

    def arc(
        self, x: float, y: float, radius: float, start: int, end: int, colour: Rgb, wide: float
    ) -> None:
        left, top = self._at(x - radius, y + radius)
        right, bottom = self._at(x + radius, y - radius)
        width = max(1, round(wide * self._size))
        self._draw.arc((left, top, right, bottom), start, end, fill=colour, width=width)
