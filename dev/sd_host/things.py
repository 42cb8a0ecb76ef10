"""The things a scene is made of, each a few strokes on a canvas."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

from dev.sd_host.canvas import BLACK, WHITE, Canvas, Pen, hsl, mixed
from dev.sd_host.words import Rgb

SKIN: tuple[Rgb, ...] = ((244, 208, 178), (214, 160, 118), (150, 98, 66), (96, 62, 44))
HAIR: tuple[Rgb, ...] = ((44, 30, 24), (96, 60, 32), (196, 150, 80), (28, 28, 34))

# In the sky


def sun(canvas: Canvas, x: float, y: float, size: float, colour: Rgb) -> None:
    canvas.last_light = x
    canvas.glow(x, y, size * 9, mixed(colour, (255, 170, 80), 0.4), 0.55)
    canvas.oval(x, y, size, size, colour, round_=True)
    canvas.oval(x, y, size * 0.8, size * 0.8, mixed(colour, WHITE, 0.45), round_=True)


def moon(canvas: Canvas, x: float, y: float, size: float) -> None:
    canvas.last_light = x
    canvas.glow(x, y, size * 8, (150, 166, 220), 0.5)
    canvas.oval(x, y, size, size, (240, 238, 220), round_=True)
    for dx, dy, crater in ((-0.3, -0.2, 0.2), (0.25, 0.2, 0.16), (0.1, -0.4, 0.12)):
        unit = canvas.unit
        cx, cy = x + dx * size * unit / canvas.width, y + dy * size * unit / canvas.height
        canvas.oval(cx, cy, size * crater, size * crater, (216, 213, 196), round_=True)


def stars(canvas: Canvas, count: int, below: float) -> None:
    for _ in range(count):
        size = canvas.rng.choice((0.0012, 0.0016, 0.0028))
        tone = mixed(WHITE, (160, 180, 255), canvas.rng.random())
        x, y = canvas.rng.random(), canvas.rng.uniform(0, below * 0.95)
        canvas.oval(x, y, size, size, tone, round_=True)


def planet(canvas: Canvas, x: float, y: float, size: float, colour: Rgb) -> None:
    canvas.glow(x, y, size * 4, colour, 0.35)
    canvas.oval(x, y, size, size, colour, round_=True)
    canvas.oval(x - size * 0.2, y - size * 0.2, size * 0.7, size * 0.7, mixed(colour, WHITE, 0.2),
                round_=True)  # fmt: skip
    canvas.line((x - size * 1.6, y + size * 0.4, x + size * 1.6, y - size * 0.4),
                mixed(colour, WHITE, 0.5), 0.006)  # fmt: skip


PUFFS = ((-0.55, 0, 0.28), (-0.2, 0.16, 0.36), (0.25, 0.12, 0.34), (0.6, 0, 0.25))


def cloud(canvas: Canvas, x: float, y: float, size: float, colour: Rgb) -> None:
    pen = canvas.pen(x, y, size)
    for shade, lift in ((mixed(colour, (120, 140, 170), 0.25), -0.08), (colour, 0.0)):
        for dx, dy, radius in (
            (-0.55, 0, 0.28),
            (-0.2, 0.16, 0.36),
            (0.25, 0.12, 0.34),
            (0.6, 0, 0.25),
        ):
            pen.oval(dx, dy + lift, radius, radius * 0.8, shade)
        pen.oval(0, -0.12 + lift, 0.85, 0.17, shade)


def rainbow(canvas: Canvas, x: float, y: float, size: float) -> None:
    pen = canvas.pen(x, y, size)
    for index, hue in enumerate((0, 28, 52, 120, 200, 230, 275)):
        pen.arc(0, 0, 1 - index * 0.045, 180, 360, hsl(hue, 80, 62), 0.048)


def lightning(canvas: Canvas, x: float, bottom: float) -> None:
    points, y = [(x, 0.1)], 0.1
    while y < bottom:
        y += 0.07
        points.append((points[-1][0] + canvas.rng.uniform(-0.06, 0.06), y))
    for (ax, ay), (bx, by) in pairwise(points):
        canvas.line((ax, ay, bx, by), (255, 252, 214), 0.012)


def balloon(canvas: Canvas, x: float, y: float, size: float, colour: Rgb) -> None:
    pen = canvas.pen(x, y, size)
    pen.line(BLACK, 0.02, (-0.2, 0.1), (-0.08, -0.4))
    pen.line(BLACK, 0.02, (0.2, 0.1), (0.08, -0.4))
    pen.oval(0, 0.35, 0.42, 0.46, colour)
    pen.oval(0, 0.35, 0.2, 0.46, mixed(colour, WHITE, 0.35))
    pen.box(0, -0.56, 0.2, 0.16, (130, 88, 50))


def plane(canvas: Canvas, x: float, y: float, size: float, colour: Rgb) -> None:
    pen = canvas.pen(x, y, size)
    body = mixed(colour, WHITE, 0.4)
    pen.shape(mixed(body, BLACK, 0.2), (-0.1, 0.05), (0.12, 0.05), (-0.2, 0.5), (-0.3, 0.5))
    pen.oval(0, 0, 0.6, 0.11, body)
    pen.shape(mixed(body, BLACK, 0.3), (-0.05, 0), (0.18, 0), (-0.2, -0.45), (-0.32, -0.45))
    pen.shape(colour, (-0.58, 0.02), (-0.4, 0.04), (-0.52, 0.32), (-0.64, 0.32))


def rocket(canvas: Canvas, x: float, y: float, size: float, colour: Rgb) -> None:
    pen = canvas.pen(x, y, size)
    pen.shape((255, 180, 60), (-0.12, -0.4), (0.12, -0.4), (0, -0.85))
    pen.shape(colour, (-0.3, -0.45), (-0.12, 0), (0.12, 0), (0.3, -0.45))
    pen.oval(0, 0.1, 0.18, 0.55, (236, 238, 242))
    pen.shape(colour, (-0.13, 0.48), (0.13, 0.48), (0, 0.72))
    pen.oval(0, 0.2, 0.08, 0.08, (70, 130, 190))


def bird(canvas: Canvas, x: float, y: float, size: float, colour: Rgb) -> None:
    pen = canvas.pen(x, y, size)
    pen.shape(colour, (-0.1, 0.02), (-0.55, 0.34), (-0.3, 0.3), (0.12, 0.06))
    pen.shape(mixed(colour, BLACK, 0.2), (0.0, 0.04), (0.45, 0.4), (0.3, 0.22), (0.16, 0.0))
    pen.oval(0, 0, 0.26, 0.11, colour)
    pen.oval(0.27, 0.06, 0.1, 0.1, colour)
    pen.shape((236, 170, 50), (0.35, 0.09), (0.35, 0.02), (0.48, 0.05))
    pen.shape(colour, (-0.22, 0.03), (-0.22, -0.05), (-0.45, -0.06), (-0.45, 0.06))


# Land and buildings


def snow_cap(canvas: Canvas, x: float, y: float, colour: Rgb) -> None:
    low = y + 0.055
    canvas.polygon(
        [(x, y), (x + 0.032, low), (x + 0.012, low - 0.014), (x - 0.006, low + 0.006),
         (x - 0.02, low - 0.012), (x - 0.034, low)],
        colour,
    )  # fmt: skip


def tower_block(
    canvas: Canvas, area: tuple[float, float, float, float], wall: Rgb, *, lit: bool
) -> None:
    left, top, right, bottom = area
    canvas.box(left, top, right, bottom, wall)
    y = top + 0.02
    while y < bottom - 0.03:
        x = left + 0.012
        while x < right - 0.018:
            bright = canvas.rng.random() < (0.55 if lit else 0.2)
            dark = mixed(wall, BLACK, 0.3)
            pane = ((255, 220, 130) if lit else (222, 236, 246)) if bright else dark
            canvas.box(x, y, x + 0.011, y + 0.015, pane)
            x += 0.021
        y += 0.03


def pine(
    canvas: Canvas, x: float, y: float, size: float, colour: Rgb, *, snowy: bool = False
) -> None:
    pen = canvas.pen(x, y, size)
    pen.box(0, 0, 0.08, 0.2, (84, 58, 40))
    for level, (low, high, wide) in enumerate(
        ((0.14, 0.55, 0.3), (0.36, 0.78, 0.24), (0.58, 1, 0.17))
    ):
        tone = mixed(colour, WHITE, 0.06 * level)
        pen.shape(tone, (-wide, low), (wide, low), (0, high))
        if snowy:
            mid = low + (high - low) * 0.6
            pen.shape(WHITE, (-wide * 0.4, mid), (wide * 0.4, mid), (0, high))


def tree(canvas: Canvas, x: float, y: float, size: float, colour: Rgb | None) -> None:
    leaf = colour or (62, 132, 60)
    pen = canvas.pen(x, y, size)
    pen.shape((98, 68, 44), (-0.07, 0), (0.07, 0), (0.04, 0.5), (-0.04, 0.5))
    for dx, dy, radius, tone in (
        (-0.2, 0.55, 0.22, -0.15), (0.2, 0.55, 0.22, -0.15), (0, 0.5, 0.24, -0.08),
        (-0.1, 0.74, 0.22, 0), (0.12, 0.74, 0.2, 0.05), (0, 0.86, 0.15, 0.12),
    ):  # fmt: skip
        pen.oval(dx, dy, radius, radius, mixed(leaf, WHITE if tone > 0 else BLACK, abs(tone)))


def palm(canvas: Canvas, x: float, y: float, size: float, colour: Rgb | None) -> None:
    leaf = colour or (48, 124, 62)
    pen = canvas.pen(x, y, size * 1.2)
    lean = canvas.rng.choice((-0.18, 0.18))
    pen.line((134, 98, 64), 0.06, (0, 0), (lean * 0.3, 0.4), (lean, 0.8))
    for angle in range(-30, 211, 40):
        dx, dy = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        tip = (lean + dx * 0.38, 0.8 + dy * 0.16 - 0.1 * abs(dx))
        middle = (lean + dx * 0.2, 0.86 + dy * 0.14)
        pen.shape(leaf, (lean, 0.84), middle, tip, (lean + dx * 0.16, 0.77 + dy * 0.1))
    for dx in (-0.04, 0.04):
        pen.oval(lean + dx, 0.78, 0.04, 0.04, (104, 70, 40))


def castle(canvas: Canvas, x: float, y: float, size: float, colour: Rgb | None) -> None:
    wall = colour or (168, 164, 158)
    dark, roof = (
        mixed(wall, BLACK, 0.25),
        (130, 54, 60) if colour is None else mixed(wall, BLACK, 0.5),
    )
    pen = canvas.pen(x, y, size)
    for dx, wide, high in ((-0.42, 0.2, 0.62), (0.42, 0.2, 0.62), (0, 0.26, 0.86)):
        pen.box(dx, 0, wide, high, mixed(wall, WHITE, 0.08))
        pen.shape(roof, (dx - wide * 0.62, high), (dx + wide * 0.62, high), (dx, high + 0.26))
        pen.box(dx, high - 0.2, 0.05, 0.1, BLACK)
        pen.line(BLACK, 0.012, (dx, high + 0.26), (dx, high + 0.36))
        pen.shape((206, 50, 50), (dx, high + 0.36), (dx + 0.12, high + 0.32), (dx, high + 0.28))
    pen.box(0, 0, 0.72, 0.4, wall)
    for index in range(7):
        pen.box(-0.33 + index * 0.11, 0.4, 0.06, 0.06, wall)
    for index in range(10):
        row = 0.08 + (index % 3) * 0.1
        pen.box(-0.3 + (index * 0.37) % 0.6, row, 0.06, 0.03, dark)
    pen.box(0, 0, 0.16, 0.14, (70, 46, 34))
    pen.oval(0, 0.14, 0.08, 0.08, (70, 46, 34))


def house(canvas: Canvas, x: float, y: float, size: float, colour: Rgb | None) -> None:
    wall = colour or (232, 216, 186)
    pen = canvas.pen(x, y, size)
    pen.box(0.24, 0.6, 0.1, 0.36, (120, 80, 68))
    pen.box(0, 0, 0.8, 0.5, wall)
    pen.shape((160, 70, 54), (-0.5, 0.48), (0.5, 0.48), (0.22, 0.86), (-0.22, 0.86))
    pen.box(0, 0, 0.16, 0.3, (104, 66, 44))
    for dx in (-0.25, 0.25):
        pen.box(dx, 0.18, 0.16, 0.16, (255, 238, 180))
        pen.line(WHITE, 0.015, (dx, 0.18), (dx, 0.34))


def lighthouse(canvas: Canvas, x: float, y: float, size: float, colour: Rgb | None) -> None:
    stripe = colour or (204, 52, 48)
    pen = canvas.pen(x, y, size)
    for index in range(5):
        low, high = index * 0.15, (index + 1) * 0.15
        a, b = 0.16 - low * 0.1, 0.16 - high * 0.1
        tone = stripe if index % 2 == 0 else WHITE
        pen.shape(tone, (-a, low), (a, low), (b, high), (-b, high))
    pen.box(0, 0.75, 0.26, 0.03, BLACK)
    pen.box(0, 0.78, 0.13, 0.1, (255, 240, 160))
    pen.shape(BLACK, (-0.1, 0.88), (0.1, 0.88), (0, 1.0))


def bridge(canvas: Canvas, x: float, y: float, size: float, colour: Rgb | None) -> None:
    steel = colour or (176, 72, 54)
    pen = canvas.pen(x, y, size * 1.8)
    for dx in (-0.35, 0.35):
        pen.box(dx, -0.05, 0.05, 0.6, steel)
    pen.box(0, 0.12, 1.3, 0.05, mixed(steel, BLACK, 0.25))
    cable = [(-0.35 + i * 0.07, 0.2 + 0.34 * ((i - 5) / 5) ** 2) for i in range(11)]
    pen.line(steel, 0.014, *cable)
    for px, py in cable:
        pen.line(steel, 0.006, (px, py), (px, 0.15))


# Vehicles


def boat(canvas: Canvas, x: float, y: float, size: float, colour: Rgb | None) -> None:
    hull = colour or (150, 60, 44)
    pen = canvas.pen(x, y, size)
    pen.line((90, 64, 44), 0.03, (0, 0.1), (0, 1.0))
    pen.shape(WHITE, (0.04, 0.24), (0.42, 0.24), (0.04, 0.96))
    pen.shape((236, 230, 216), (-0.04, 0.24), (-0.3, 0.24), (-0.04, 0.86))
    pen.shape(hull, (-0.5, 0.18), (0.55, 0.18), (0.36, -0.06), (-0.36, -0.06))


def car(canvas: Canvas, x: float, y: float, size: float, colour: Rgb | None) -> None:
    paint = colour or (206, 48, 48)
    pen = canvas.pen(x, y, size)
    pen.shape(paint, (-0.26, 0.32), (0.24, 0.32), (0.14, 0.54), (-0.16, 0.54))
    pen.shape((190, 222, 240), (-0.22, 0.33), (-0.02, 0.33), (-0.02, 0.5), (-0.14, 0.5))
    pen.shape((190, 222, 240), (0.02, 0.33), (0.19, 0.33), (0.12, 0.5), (0.02, 0.5))
    pen.shape(paint, (-0.5, 0.1), (0.5, 0.1), (0.5, 0.28), (0.4, 0.34), (-0.44, 0.34), (-0.5, 0.28))
    pen.oval(0.46, 0.24, 0.035, 0.035, (255, 244, 190))
    for dx in (-0.28, 0.28):
        pen.oval(dx, 0.11, 0.12, 0.12, BLACK)
        pen.oval(dx, 0.11, 0.055, 0.055, (190, 192, 198))


# The living


def _sitting(
    canvas: Canvas, x: float, y: float, size: float, coat: Rgb, belly: Rgb, ears: str
) -> None:
    """A sitting animal seen from the front; ``ears``: pointed, floppy, round or long."""
    pen = canvas.pen(x, y, size)
    dark, light = mixed(coat, BLACK, 0.22), mixed(coat, WHITE, 0.12)
    tail = canvas.rng.choice((-1, 1))
    if ears == "long":
        pen.oval(0.26 * tail, 0.12, 0.08, 0.08, belly)
    else:
        pen.line(dark, 0.1, (0.2 * tail, 0.06), (0.4 * tail, 0.12), (0.44 * tail, 0.32))
        pen.oval(0.44 * tail, 0.33, 0.055, 0.055, belly if ears == "pointed" else dark)
    pen.oval(0, 0.25, 0.28, 0.28, coat)
    for dx in (-0.2, 0.2):
        pen.oval(dx, 0.09, 0.13, 0.1, dark)
    pen.oval(0, 0.24, 0.16, 0.2, belly)
    for dx in (-0.1, 0.1):
        pen.box(dx, 0.02, 0.1, 0.26, light)
        pen.oval(dx, 0.03, 0.07, 0.04, light)
    _ears(pen, ears, coat, dark)
    pen.oval(0, 0.68, 0.25, 0.22, coat)
    pen.oval(0, 0.6, 0.13, 0.1, belly)
    for dx in (-0.1, 0.1):
        pen.oval(dx, 0.72, 0.055, 0.06, WHITE)
        pen.oval(dx, 0.72, 0.032, 0.05, BLACK)
        pen.oval(dx + 0.012, 0.74, 0.012, 0.012, WHITE)
    pen.shape((90, 50, 52), (-0.04, 0.65), (0.04, 0.65), (0, 0.605))
    pen.line(BLACK, 0.012, (-0.07, 0.575), (0, 0.55), (0.07, 0.575))
    if ears == "pointed":
        for dx in (-1, 1):
            for lift in (0.62, 0.59, 0.56):
                pen.line(mixed(WHITE, BLACK, 0.2), 0.007, (dx * 0.1, 0.6), (dx * 0.34, lift))


def _ears(pen: Pen, kind: str, coat: Rgb, dark: Rgb) -> None:
    for side in (-1, 1):
        if kind == "pointed":
            pen.shape(coat, (side * 0.24, 0.7), (side * 0.06, 0.86), (side * 0.21, 1.02))
            pen.shape((232, 160, 160), (side * 0.2, 0.78), (side * 0.11, 0.86), (side * 0.19, 0.96))
        elif kind == "floppy":
            pen.oval(side * 0.25, 0.66, 0.08, 0.2, dark)
        elif kind == "round":
            pen.oval(side * 0.18, 0.87, 0.09, 0.09, dark)
        else:
            pen.oval(side * 0.1, 1.0, 0.06, 0.22, coat)
            pen.oval(side * 0.1, 1.0, 0.03, 0.17, (236, 176, 180))


def _seated(usual: tuple[Rgb, ...], belly: Rgb, ears: str) -> Painter:
    def paint(canvas: Canvas, x: float, y: float, size: float, colour: Rgb | None) -> None:
        coat = canvas.rng.choice(usual) if colour is None else colour
        under = belly if colour is None else mixed(coat, WHITE, 0.5)
        _sitting(canvas, x, y, size, coat, under, ears)

    return paint


def _walking(usual: Rgb, extra: str) -> Painter:
    """An animal seen from the side; ``extra``: mane, horns, antlers, wool, trunk or wings."""

    def paint(canvas: Canvas, x: float, y: float, size: float, colour: Rgb | None) -> None:
        coat = colour or usual
        dark = mixed(coat, BLACK, 0.3)
        pen = canvas.pen(x, y, size)
        if extra == "wings":
            pen.shape(dark, (-0.1, 0.5), (-0.42, 1.0), (-0.12, 0.84), (0.06, 0.98), (0.1, 0.5))
            pen.line(coat, 0.1, (-0.3, 0.42), (-0.5, 0.3), (-0.62, 0.4))
        else:
            pen.line(dark, 0.05, (-0.34, 0.52), (-0.44, 0.3))
        for dx in (-0.28, -0.16, 0.14, 0.26):
            thick = 0.14 if extra == "trunk" else 0.08
            pen.box(dx, 0, thick, 0.34, dark if dx in (-0.16, 0.14) else coat)
        pen.oval(0, 0.45, 0.36, 0.2, coat)
        pen.shape(coat, (0.16, 0.5), (0.34, 0.4), (0.5, 0.74), (0.36, 0.82))
        pen.oval(0.46, 0.76, 0.15, 0.1, coat)
        if extra == "wool":
            for dx in range(-3, 4):
                pen.oval(dx * 0.1, 0.52 + 0.04 * (dx % 2), 0.11, 0.12, coat)
            pen.oval(0.48, 0.72, 0.11, 0.12, (70, 62, 58))
        elif extra == "trunk":
            pen.line(coat, 0.09, (0.54, 0.76), (0.64, 0.5), (0.6, 0.2))
            pen.oval(0.36, 0.76, 0.13, 0.17, dark)
        elif extra == "mane":
            pen.line((60, 42, 34), 0.08, (0.16, 0.6), (0.3, 0.86), (0.42, 0.88))
        elif extra == "wings":
            pen.shape((250, 150, 40), (0.6, 0.76), (0.8, 0.84), (0.76, 0.74), (0.82, 0.66))
        else:
            long = 0.28 if extra == "antlers" else 0.12
            for dx in (0.38, 0.46):
                pen.line((216, 204, 180), 0.025, (dx, 0.84), (dx - 0.05, 0.84 + long))
                if extra == "antlers":
                    pen.line((216, 204, 180), 0.02, (dx - 0.03, 0.98), (dx + 0.07, 1.06))
        pen.oval(0.47, 0.79, 0.02, 0.02, BLACK)

    return paint


def fish(canvas: Canvas, x: float, y: float, size: float, colour: Rgb | None) -> None:
    scales = colour or (242, 140, 50)
    pen = canvas.pen(x, y - 0.1, size)
    pen.shape(mixed(scales, BLACK, 0.2), (-0.3, 0.3), (-0.55, 0.5), (-0.55, 0.1))
    pen.shape(mixed(scales, BLACK, 0.2), (-0.1, 0.45), (0.14, 0.45), (-0.08, 0.62))
    pen.oval(0, 0.3, 0.38, 0.2, scales)
    pen.oval(0.05, 0.26, 0.28, 0.12, mixed(scales, WHITE, 0.25))
    pen.oval(0.24, 0.36, 0.045, 0.045, WHITE)
    pen.oval(0.25, 0.36, 0.022, 0.022, BLACK)


def person(canvas: Canvas, x: float, y: float, size: float, colour: Rgb | None) -> None:
    _human(canvas, x, y, size, colour, dress=False)


def woman(canvas: Canvas, x: float, y: float, size: float, colour: Rgb | None) -> None:
    _human(canvas, x, y, size, colour, dress=True)


def _human(
    canvas: Canvas, x: float, y: float, size: float, colour: Rgb | None, *, dress: bool
) -> None:
    pen, rng = canvas.pen(x, y, size), canvas.rng
    skin, hair = rng.choice(SKIN), rng.choice(HAIR)
    clothes = colour or hsl(rng.randrange(360), 55, 48)
    if dress:
        pen.oval(0, 0.83, 0.125, 0.16, hair)
    for dx in (-0.055, 0.055):
        pen.box(dx, 0, 0.075, 0.42, skin if dress else (58, 66, 96))
        pen.box(dx + 0.01, 0, 0.1, 0.03, BLACK)
    for side in (-1, 1):
        pen.line(skin, 0.055, (side * 0.13, 0.68), (side * 0.2, 0.5), (side * 0.19, 0.38))
    if dress:
        pen.shape(
            clothes, (-0.12, 0.72), (0.12, 0.72), (0.1, 0.5), (0.24, 0.2), (-0.24, 0.2), (-0.1, 0.5)
        )
    else:
        pen.shape(clothes, (-0.15, 0.73), (0.15, 0.73), (0.11, 0.38), (-0.11, 0.38))
    pen.box(0, 0.7, 0.06, 0.1, skin)
    pen.oval(0, 0.87, 0.095, 0.115, skin)
    pen.shape(hair, (-0.1, 0.89), (-0.08, 0.98), (0, 1.01), (0.08, 0.98), (0.1, 0.89), (0, 0.945))
    for dx in (-0.035, 0.035):
        pen.oval(dx, 0.875, 0.012, 0.014, BLACK)
    pen.line((170, 70, 70), 0.01, (-0.025, 0.82), (0, 0.815), (0.025, 0.82))


def robot(canvas: Canvas, x: float, y: float, size: float, colour: Rgb | None) -> None:
    metal = colour or (150, 164, 180)
    dark = mixed(metal, BLACK, 0.35)
    pen = canvas.pen(x, y, size)
    for dx in (-0.12, 0.12):
        pen.box(dx, 0, 0.11, 0.26, dark)
        pen.box(dx * 2.6, 0.28, 0.09, 0.32, dark)
    pen.box(0, 0.24, 0.44, 0.4, metal)
    pen.box(0, 0.36, 0.24, 0.16, dark)
    for index, hue in enumerate((0, 50, 130)):
        pen.oval(-0.07 + index * 0.07, 0.44, 0.025, 0.025, hsl(hue, 80, 55))
    pen.box(0, 0.68, 0.32, 0.24, mixed(metal, WHITE, 0.15))
    for dx in (-0.08, 0.08):
        pen.oval(dx, 0.81, 0.045, 0.045, (80, 220, 240))
    pen.line(dark, 0.02, (0, 0.92), (0, 1.0))
    pen.oval(0, 1.01, 0.03, 0.03, (230, 70, 60))


# Small things


def flower(canvas: Canvas, x: float, y: float, size: float, colour: Rgb | None) -> None:
    petal = colour or hsl(canvas.rng.choice((0, 330, 48, 280, 20, 210)), 80, 62)
    pen = canvas.pen(x, y, size)
    pen.line((62, 130, 58), 0.06, (0, 0), (0.02, 0.62))
    pen.oval(0.13, 0.24, 0.13, 0.06, (72, 146, 66))
    for angle in range(0, 360, 60):
        dx, dy = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        pen.oval(0.02 + dx * 0.17, 0.72 + dy * 0.17, 0.13, 0.13, petal)
    pen.oval(0.02, 0.72, 0.11, 0.11, (250, 214, 76))


def mushroom(canvas: Canvas, x: float, y: float, size: float, colour: Rgb | None) -> None:
    cap = colour or (206, 46, 44)
    pen = canvas.pen(x, y, size)
    pen.shape((240, 230, 208), (-0.1, 0), (0.1, 0), (0.08, 0.44), (-0.08, 0.44))
    pen.shape(cap, (-0.34, 0.4), (0.34, 0.4), (0.26, 0.66), (0, 0.8), (-0.26, 0.66))
    for dx, dy in ((-0.16, 0.52), (0.02, 0.66), (0.18, 0.5)):
        pen.oval(dx, dy, 0.05, 0.04, WHITE)


def apple(canvas: Canvas, x: float, y: float, size: float, colour: Rgb | None) -> None:
    skin = colour or (204, 40, 44)
    pen = canvas.pen(x, y, size)
    for dx in (-0.12, 0.12):
        pen.oval(dx, 0.36, 0.26, 0.34, skin)
    pen.oval(-0.16, 0.48, 0.07, 0.1, mixed(skin, WHITE, 0.45))
    pen.line((92, 62, 40), 0.04, (0, 0.66), (0.04, 0.84))
    pen.oval(0.15, 0.8, 0.13, 0.05, (74, 150, 66))


def ball(canvas: Canvas, x: float, y: float, size: float, colour: Rgb | None) -> None:
    skin = colour or hsl(canvas.rng.randrange(360), 75, 55)
    pen = canvas.pen(x, y, size)
    pen.oval(0, 0.36, 0.36, 0.36, skin)
    pen.oval(0, 0.36, 0.14, 0.36, mixed(skin, WHITE, 0.75))
    pen.oval(-0.14, 0.5, 0.06, 0.06, mixed(skin, WHITE, 0.6))


def cup(canvas: Canvas, x: float, y: float, size: float, colour: Rgb | None) -> None:
    clay = colour or (236, 236, 232)
    pen = canvas.pen(x, y, size)
    pen.arc(0.3, 0.34, 0.16, -100, 100, mixed(clay, BLACK, 0.12), 0.06)
    pen.shape(clay, (-0.24, 0.04), (0.24, 0.04), (0.32, 0.6), (-0.32, 0.6))
    pen.oval(0, 0.6, 0.32, 0.08, mixed(clay, BLACK, 0.15))
    pen.oval(0, 0.6, 0.28, 0.06, (86, 54, 36))


def heart(canvas: Canvas, x: float, y: float, size: float, colour: Rgb | None) -> None:
    skin = colour or (222, 50, 80)
    pen = canvas.pen(x, y, size)
    for dx in (-0.18, 0.18):
        pen.oval(dx, 0.58, 0.2, 0.2, skin)
    pen.shape(skin, (-0.365, 0.5), (0.365, 0.5), (0, 0.04))


def umbrella(canvas: Canvas, x: float, y: float, size: float, colour: Rgb) -> None:
    pen = canvas.pen(x, y, size)
    pen.line((230, 226, 216), 0.03, (0, 0), (0, 0.8))
    for index in range(6):
        left, right = -0.5 + index / 6, -0.5 + (index + 1) / 6
        tone = colour if index % 2 == 0 else WHITE
        pen.shape(tone, (left, 0.62 + 0.03 * (index % 2)), (right, 0.62), (0, 0.92))


def hat(canvas: Canvas, x: float, y: float, size: float, colour: Rgb) -> None:
    pen = canvas.pen(x, y, size)
    pen.box(0, 0.05, 0.66, 0.62, colour)
    pen.box(0, 0.12, 0.66, 0.12, mixed(colour, WHITE, 0.6))
    pen.oval(0, 0.05, 0.62, 0.1, mixed(colour, BLACK, 0.25))


Painter = Callable[[Canvas, float, float, float, Rgb | None], None]
PAINTERS: dict[str, Painter] = {
    "cat": _seated(
        ((226, 142, 62), (130, 132, 140), (72, 66, 66), (222, 196, 160)), WHITE, "pointed"
    ),
    "dog": _seated(((176, 120, 66), (214, 170, 112), (112, 78, 54)), (240, 224, 200), "floppy"),
    "fox": _seated(((226, 106, 34),), WHITE, "pointed"),
    "wolf": _seated(((118, 124, 134),), (214, 218, 222), "pointed"),
    "bear": _seated(((112, 74, 46),), (176, 132, 92), "round"),
    "rabbit": _seated(((206, 198, 190), (168, 140, 116)), WHITE, "long"),
    "tiger": _seated(((232, 146, 44),), (250, 232, 200), "round"),
    "horse": _walking((142, 88, 52), "mane"),
    "cow": _walking((226, 220, 212), "horns"),
    "deer": _walking((170, 112, 66), "antlers"),
    "sheep": _walking((240, 238, 230), "wool"),
    "elephant": _walking((142, 146, 156), "trunk"),
    "dragon": _walking((60, 142, 78), "wings"),
    "fish": fish,
    "person": person,
    "woman": woman,
    "robot": robot,
    "castle": castle,
    "house": house,
    "lighthouse": lighthouse,
    "bridge": bridge,
    "car": car,
    "palm": palm,
    "tree": tree,
    "flower": flower,
    "mushroom": mushroom,
    "apple": apple,
    "ball": ball,
    "cup": cup,
    "heart": heart,
}
