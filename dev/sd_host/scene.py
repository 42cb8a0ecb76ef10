"""Drawing what was asked for: sky, land, things, weather, light."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from PIL import Image, ImageChops, ImageEnhance, ImageFilter, ImageOps

from dev.sd_host import things
from dev.sd_host.canvas import Canvas, hsl, mixed
from dev.sd_host.words import COLOURS, Rgb, Thing, Wanted

SUPERSAMPLED_UP_TO = 1_200_000
SKIES: dict[str, tuple[Rgb, ...]] = {
    "day": ((70, 140, 222), (140, 192, 240), (214, 232, 246)),
    "sunset": ((62, 44, 108), (190, 72, 98), (250, 142, 62), (255, 210, 120)),
    "sunrise": ((120, 160, 214), (240, 190, 190), (255, 226, 170)),
    "night": ((6, 8, 28), (16, 24, 62), (40, 52, 96)),
    "storm": ((40, 44, 54), (74, 80, 92), (120, 126, 134)),
    "rain": ((94, 104, 118), (138, 148, 160), (178, 186, 192)),
    "snow": ((160, 180, 204), (204, 216, 228), (236, 240, 244)),
    "fog": ((176, 182, 188), (204, 208, 210), (222, 224, 224)),
    "space": ((4, 4, 14), (22, 10, 44), (10, 14, 40)),
}
MOON_LIGHT: Rgb = (24, 32, 78)
IN_THE_SKY = ("sun", "moon", "star", "cloud", "rainbow", "balloon", "plane", "bird", "rocket")
FAR = ("castle", "lighthouse", "bridge", "house")
TREES = ("palm", "tree")
SMALL = ("flower", "mushroom", "apple", "ball", "cup", "heart")
MAIN_MOST = 6
PEOPLED = ("beach", "city")
"""Where people stroll although nobody asked for them, as in a model's pictures."""


def draw(wanted: Wanted, seed: int, width: int, height: int) -> Image.Image:
    """The picture; the same arguments give the same pixels."""
    rng = random.Random(f"{seed}|{wanted.text}|{width}x{height}")
    factor = 2 if width * height <= SUPERSAMPLED_UP_TO else 1
    canvas = Canvas(width * factor, height * factor, rng)
    if wanted.shapes or wanted.moods:
        _Painter(canvas, wanted, rng).paint()
    else:
        _abstract(canvas, wanted, rng)
    image = canvas.image.reduce(factor) if factor > 1 else canvas.image
    return _styled(_tinted(image, wanted.colours, 0.4), wanted.styles)


class _Painter:
    """Paints one scene from the back to the front."""

    def __init__(self, canvas: Canvas, wanted: Wanted, rng: random.Random) -> None:
        self.canvas, self.wanted, self.rng = canvas, wanted, rng
        self.things = {thing.name: thing for thing in wanted.things}
        self.light = next(
            (m for m in ("night", "sunset", "sunrise", "storm", "rain", "snow", "fog")
             if m in wanted.moods),
            "day",
        )  # fmt: skip
        if self.light == "day" and {"moon", "star"} & self.things.keys():
            self.light = "night"
        self.horizon = rng.uniform(0.48, 0.58)
        self.ground_colour: Rgb = (110, 160, 84)

    def paint(self) -> None:
        places = self.wanted.places
        if "room" in places or self._still_life():
            self._room("room" in places)
        elif "space" in places:
            self._space()
        else:
            self._outdoors(places)
        self._things()
        self._weather()

    def _still_life(self) -> bool:
        """Nothing says where: a plain backdrop, unless something belongs under the sky."""
        indoors = not self.wanted.places and not self.wanted.moods
        return indoors and not any(t in self.things for t in (*IN_THE_SKY, *FAR, *TREES, "sky"))

    # Where

    def _room(self, furnished: bool) -> None:
        hue = self.rng.randrange(360)
        wall, floor = hsl(hue, 28, 84), hsl((hue + 30) % 360, 26, 62)
        if self.wanted.ground:
            wall = mixed(COLOURS[self.wanted.ground][0], (255, 255, 255), 0.3)
        self.ground_colour = mixed(floor, (0, 0, 0), 0.1)
        self.canvas.gradient((mixed(wall, (255, 255, 255), 0.35), wall), 0, 0.7)
        self.canvas.gradient((floor, mixed(floor, (0, 0, 0), 0.2)), 0.7, 1)
        self.horizon = 0.66
        if furnished:
            outside = SKIES[self.light]
            x = self.rng.choice((0.16, 0.84))
            self.canvas.box(x - 0.13, 0.12, x + 0.13, 0.46, (250, 248, 242))
            self.canvas.box(x - 0.115, 0.14, x + 0.115, 0.44, outside[len(outside) // 2])
            self.canvas.box(x - 0.006, 0.14, x + 0.006, 0.44, (250, 248, 242))
            self.canvas.box(0, 0.695, 1, 0.71, mixed(wall, (0, 0, 0), 0.3))

    def _space(self) -> None:
        self.canvas.gradient(SKIES["space"], 0, 1)
        things.stars(self.canvas, 160, 1.0)
        for _ in range(2):
            x, y, hue = self.rng.random(), self.rng.uniform(0.1, 0.6), self.rng.randrange(360)
            things.planet(self.canvas, x, y, self.rng.uniform(0.06, 0.16), hsl(hue, 50, 55))
        self.horizon, self.ground_colour = 0.75, (16, 14, 40)

    def _outdoors(self, places: Sequence[str]) -> None:
        self._sky()
        if "mountain" in places:
            self._mountains()
        if "city" in places:
            self._city()
        if "forest" in places:
            self._tree_line()
        wet = [place for place in ("sea", "lake") if place in places]
        if "beach" in places or wet:
            self._water(beach="beach" in places, lake="lake" in places)
        else:
            self._land(places)
        if "forest" in places:
            self._trees(7)
        if "road" in places or "city" in places:
            self._road()

    def _sky(self) -> None:
        colours = SKIES[self.light]
        sky = self.things.get("sky")
        if sky is not None and sky.colour:
            own = COLOURS[sky.colour][0]
            colours = (mixed(own, (0, 0, 0), 0.2), own, mixed(own, (255, 255, 255), 0.5))
        self.canvas.gradient(colours, 0, self.horizon + 0.02)
        banned = self.wanted.banned
        if self.light == "night":
            things.stars(self.canvas, 90, self.horizon)
            if "moon" not in banned:
                things.moon(self.canvas, self.rng.uniform(0.15, 0.85), 0.17, 0.07)
        elif self.light in ("sunset", "sunrise") and "sun" not in banned:
            x = self.rng.uniform(0.3, 0.7)
            things.sun(self.canvas, x, self.horizon - 0.07, 0.085, (255, 222, 120))
            self._streaks()
        elif self.light == "day" or "sun" in self.things:
            if "sun" in self.things or ("beach" in self.wanted.places and "sun" not in banned):
                x = self.rng.choice((0.16, 0.84))
                things.sun(self.canvas, x, 0.15, 0.075, (255, 240, 150))
            if "cloud" not in banned:
                self._clouds(self.rng.randint(1, 3))
        elif self.light in ("storm", "rain"):
            self._clouds(5, (96, 100, 110) if self.light == "storm" else (158, 164, 172))

    def _clouds(self, count: int, colour: Rgb = (250, 251, 253)) -> None:
        for _ in range(count):
            x, y = self.rng.random(), self.rng.uniform(0.08, 0.28)
            things.cloud(self.canvas, x, y, self.rng.uniform(0.1, 0.18), colour)

    def _streaks(self) -> None:
        """Thin clouds, lit from below."""
        for _ in range(6):
            x, y = self.rng.random(), self.rng.uniform(0.08, self.horizon - 0.1)
            long = self.rng.uniform(0.12, 0.3)
            lit = mixed((232, 104, 92), (255, 190, 120), y / self.horizon)
            self.canvas.oval(x, y, long, 0.008, lit)

    def _mountains(self) -> None:
        dark = self.light in ("night", "storm")
        for depth, base in enumerate(((124, 146, 176), (84, 108, 132), (58, 84, 92))):
            colour = mixed(base, SKIES[self.light][-1], 0.35 - 0.1 * depth)
            points, x = [(-0.1, self.horizon + 0.03)], -0.1
            while x < 1.1:
                x += self.rng.uniform(0.1, 0.2)
                peak = self.horizon - self.rng.uniform(0.12, 0.34) * (1 - depth * 0.25)
                points += [(x, peak)]
                x += self.rng.uniform(0.08, 0.16)
                points += [(x, self.horizon - self.rng.uniform(0, 0.06))]
            self.canvas.polygon([*points, (1.2, self.horizon + 0.03)], colour)
            if depth == 0:
                for px, py in points[1::2]:
                    white = (150, 160, 190) if dark else (246, 249, 252)
                    things.snow_cap(self.canvas, px, py, white)

    def _city(self) -> None:
        night = self.light in ("night", "sunset")
        for row, shade in enumerate((0.45, 0.0)):
            x = -0.05
            while x < 1.05:
                wide = self.rng.uniform(0.07, 0.14)
                top = self.horizon - self.rng.uniform(0.14, 0.42) + row * 0.1
                base = hsl(self.rng.randrange(200, 250), 14, 26 if night else 52)
                wall = mixed(base, SKIES[self.light][-1], shade)
                things.tower_block(
                    self.canvas, (x, top, x + wide * 0.94, self.horizon + 0.1), wall, lit=night
                )
                x += wide

    def _tree_line(self) -> None:
        green = self._leaf()
        for row in range(2):
            x = -0.05
            while x < 1.05:
                tall = self.rng.uniform(0.16, 0.3)
                shade = mixed(green, SKIES[self.light][-1], 0.45 - 0.25 * row)
                things.pine(self.canvas, x, self.horizon + 0.04, tall, shade)
                x += self.rng.uniform(0.04, 0.08)

    def _leaf(self) -> Rgb:
        if "autumn" in self.wanted.moods:
            return self.rng.choice(((206, 110, 36), (188, 72, 34), (220, 160, 50)))
        return (44, 104, 58)

    def _trees(self, count: int) -> None:
        spots = sorted(
            (self.rng.uniform(self.horizon + 0.08, 0.9), self.rng.random()) for _ in range(count)
        )
        for y, x in spots:
            if 0.3 < x < 0.7 and self.wanted.things:
                x = x - 0.35 if x < 0.5 else x + 0.35
            shade = mixed(self._leaf(), (0, 0, 0), self.rng.uniform(0, 0.25))
            snowy = "snow" in self.wanted.moods
            things.pine(self.canvas, x, y, 0.16 + (y - self.horizon) * 0.9, shade, snowy=snowy)

    def _water(self, *, beach: bool, lake: bool) -> None:
        sky = SKIES[self.light]
        deep: Rgb = (22, 92, 150) if self.light in ("day", "snow") else mixed(sky[0], sky[1], 0.3)
        if self.wanted.ground and not beach:
            deep = COLOURS[self.wanted.ground][0]
        near = mixed(deep, (90, 200, 205) if self.light == "day" else sky[-1], 0.4)
        shore = self.rng.uniform(0.74, 0.8) if beach or lake else 1.0
        self.canvas.gradient((mixed(deep, sky[-1], 0.25), deep, near), self.horizon, shore + 0.02)
        for _ in range(34):
            y = self.rng.uniform(self.horizon + 0.01, shore)
            long = 0.02 + (y - self.horizon) * 0.25
            glint = mixed(near, (255, 255, 255), self.rng.uniform(0.15, 0.5))
            self.canvas.oval(self.rng.random(), y, long, 0.0024, glint)
        if self.light in ("sunset", "sunrise", "night"):
            glow = (255, 214, 130) if self.light != "night" else (220, 226, 240)
            self._reflection(glow, shore)
        if beach:
            self._shore(shore, (232, 208, 158), foam=True)
        elif lake:
            self._shore(shore, (112, 158, 84), foam=False)

    def _reflection(self, glow: Rgb, shore: float) -> None:
        x = self.canvas.last_light
        for index in range(14):
            y = self.horizon + (shore - self.horizon) * (index + 0.5) / 14
            wide = self.rng.uniform(0.02, 0.05) + index * 0.003
            self.canvas.oval(x + self.rng.uniform(-0.012, 0.012), y, wide, 0.0045, glow)

    def _shore(self, shore: float, colour: Rgb, *, foam: bool) -> None:
        lit = mixed(colour, SKIES[self.light][-1], 0.0 if self.light == "day" else 0.3)
        if self.light in ("night", "storm"):
            lit = mixed(colour, (20, 26, 60), 0.6)
        if "snow" in self.wanted.moods:
            lit = (238, 242, 247)
        if self.wanted.ground:
            lit = COLOURS[self.wanted.ground][0]
        phase = self.rng.uniform(0, 6)
        edge = [
            (i / 24, shore + 0.02 * math.sin(i / 24 * 7 + phase) + 0.03 * (0.5 - i / 24))
            for i in range(25)
        ]
        if foam:
            self.canvas.polygon(
                [(0, 1), *((x, y - 0.014) for x, y in edge), (1, 1)], (244, 250, 250)
            )
        wet = mixed(lit, (90, 70, 50), 0.25)
        self.canvas.polygon([(0, 1), *edge, (1, 1)], wet)
        dry = [(x, y + 0.035) for x, y in edge]
        self.canvas.polygon([(0, 1), *dry, (1, 1)], lit)
        self.ground_colour = lit
        self.canvas.speckle(lit, shore + 0.06)

    def _land(self, places: Sequence[str]) -> None:
        grass: Rgb = (104, 160, 74)
        if "desert" in places:
            grass = (226, 186, 118)
        elif "city" in places or "road" in places:
            grass = (120, 122, 126) if "city" in places else (128, 164, 92)
        elif "forest" in places:
            grass = (78, 120, 58)
        if self.wanted.ground:
            grass = mixed(COLOURS[self.wanted.ground][0], (255, 255, 255), 0.12)
        elif "snow" in self.wanted.moods:
            grass = (240, 244, 249)
        elif "autumn" in self.wanted.moods:
            grass = mixed(grass, (196, 140, 56), 0.5)
        if self.light in ("night", "storm", "sunset", "sunrise"):
            amount = {"night": 0.62, "storm": 0.35}.get(self.light, 0.22)
            tone: Rgb = (24, 28, 66) if self.light != "sunset" else (150, 70, 70)
            grass = mixed(grass, tone, amount)
        self.canvas.gradient(
            (mixed(grass, SKIES[self.light][-1], 0.25), grass, mixed(grass, (0, 0, 0), 0.18)),
            self.horizon,
            1,
        )
        if "city" not in places:
            self._rolling(grass)
        self.ground_colour = grass
        if "field" in places and "snow" not in self.wanted.moods:
            for _ in range(60):
                x, y = self.rng.random(), self.rng.uniform(self.horizon + 0.06, 0.98)
                self.canvas.line(
                    (x, y, x + 0.004, y - 0.02), mixed(grass, (40, 90, 30), 0.4), 0.003
                )

    def _rolling(self, grass: Rgb) -> None:
        for step in range(2):
            phase, high = self.rng.uniform(0, 6), 0.035
            level = self.horizon + 0.06 + step * 0.14
            line = [
                (i / 30, level + high * math.sin(i / 30 * (4 + step) + phase)) for i in range(31)
            ]
            tone = mixed(grass, (0, 0, 0) if step else (255, 255, 255), 0.08)
            self.canvas.polygon([(0, 1), *line, (1, 1)], tone)

    def _road(self) -> None:
        top, y = 0.5 + self.rng.uniform(-0.1, 0.1), self.horizon + 0.06
        self.canvas.polygon([(top - 0.02, y), (top + 0.02, y), (0.85, 1), (0.15, 1)], (78, 80, 86))
        for index in range(5):
            a, b = y + (1 - y) * (index / 5) ** 1.5, y + (1 - y) * ((index + 0.5) / 5) ** 1.5
            self.canvas.line(
                (top + (0.5 - top) * a, a, top + (0.5 - top) * b, b), (236, 226, 160), 0.008
            )

    # What

    def _things(self) -> None:
        for name in IN_THE_SKY:
            thing = self.things.get(name)
            if thing is not None and not (name == "moon" and self.light == "night"):
                self._in_the_sky(thing)
        for name in (*FAR, *TREES):
            if name in self.things:
                self._standing(self.things[name])
        boat = self.things.get("boat")
        if boat is not None:
            for index in range(boat.count):
                x = (index + 0.5) / boat.count + self.rng.uniform(-0.12, 0.12)
                y = self.horizon + 0.06 + 0.03 * index
                things.boat(
                    self.canvas, x, y, self.rng.uniform(0.12, 0.17), _rgb(boat, (150, 60, 44))
                )
        self._strollers()
        behind = {*IN_THE_SKY, *FAR, *TREES, *SMALL, "sky", "boat", "hat", "umbrella"}
        front = [thing for thing in self.wanted.things if thing.name not in behind]
        self._main(front)
        for name in SMALL:
            if name in self.things:
                self._small(self.things[name], alone=not front)
        if "umbrella" in self.things:
            x = self.rng.choice((0.2, 0.8))
            things.umbrella(self.canvas, x, 0.9, 0.3, _rgb(self.things["umbrella"], (210, 60, 60)))

    def _in_the_sky(self, thing: Thing) -> None:
        name, canvas, rng = thing.name, self.canvas, self.rng
        if name == "sun":
            if self.light in ("night", "storm", "rain") or thing.colour:
                things.sun(canvas, 0.75, 0.18, 0.08, _rgb(thing, (255, 236, 140)))
        elif name == "moon":
            things.moon(canvas, rng.uniform(0.2, 0.8), 0.16, 0.08)
        elif name == "star":
            things.stars(canvas, 90, self.horizon)
        elif name == "cloud":
            self._clouds(4, _rgb(thing, (250, 251, 253)))
        elif name == "rainbow":
            things.rainbow(canvas, 0.5, self.horizon, 0.42)
        else:
            paint = {"balloon": things.balloon, "plane": things.plane}.get(name, things.bird)
            if name == "rocket":
                paint = things.rocket
            for index in range(thing.count):
                x = (index + 0.5) / thing.count + rng.uniform(-0.08, 0.08)
                y = rng.uniform(0.14, self.horizon - 0.14)
                usual = hsl(rng.randrange(360), 65, 50) if name != "bird" else (48, 52, 64)
                alone = thing.count == 1 and len(self.things) == 1
                paint(canvas, x, y, 0.26 if alone else 0.12, _rgb(thing, usual))

    def _standing(self, thing: Thing) -> None:
        scenery = {*IN_THE_SKY, *FAR, *TREES, "sky"}
        alone = all(other.name in scenery for other in self.wanted.things)
        base = {"castle": 0.5, "lighthouse": 0.48, "bridge": 0.3, "house": 0.3}
        size = base.get(thing.name, 0.38) * (1.15 if alone else 0.9)
        count = max(thing.count, 2 if thing.name == "palm" else 1)
        for index in range(count):
            x = (index + 0.5) / count + self.rng.uniform(-0.06, 0.06)
            if count == 1 and not alone:
                x = self.rng.choice((0.22, 0.78))
            y = max(self.horizon + 0.1, 0.72 if thing.name in FAR and alone else 0.0)
            y += 0.1 if thing.name in TREES else 0.02
            scale = size / (1 + 0.25 * (count - 1))
            things.PAINTERS[thing.name](self.canvas, x, min(y, 0.94), scale, self._colour(thing))

    def _strollers(self) -> None:
        """Small people in the distance, where a model would put some."""
        busy = any(place in self.wanted.places for place in PEOPLED)
        asked = {"person", "woman"} & self.things.keys()
        if not busy or asked or "person" in self.wanted.banned:
            return
        for _ in range(3):
            x = self.rng.choice((self.rng.uniform(0.05, 0.3), self.rng.uniform(0.7, 0.95)))
            clothes = hsl(self.rng.randrange(360), 60, 45)
            things.person(self.canvas, x, self.rng.uniform(0.84, 0.9), 0.11, clothes)

    def _main(self, front: list[Thing]) -> None:
        spots = [thing for thing in front for _ in range(thing.count)][:MAIN_MOST]
        if not spots:
            return
        crowd = len(spots)
        size = {1: 0.56, 2: 0.42, 3: 0.34}.get(crowd, 0.27)
        sheltered = not self._still_life() and "room" not in self.wanted.places
        if sheltered:
            size *= 0.82
        for index, thing in enumerate(spots):
            x = (index + 0.5) / crowd + self.rng.uniform(-0.04, 0.04)
            y = self.rng.uniform(0.88, 0.93)
            smaller = {"person": 0.9, "woman": 0.9, "car": 0.8}.get(thing.name, 1.0)
            self.canvas.oval(
                x, y, size * 0.34, size * 0.05, mixed(self.ground_colour, (0, 0, 0), 0.35)
            )
            things.PAINTERS[thing.name](self.canvas, x, y, size * smaller, self._colour(thing))
            if index == 0 and "hat" in self.things:
                hat = _rgb(self.things["hat"], (60, 40, 110))
                things.hat(self.canvas, x, y - size * smaller * 0.9, size * 0.32, hat)

    def _small(self, thing: Thing, *, alone: bool) -> None:
        paint = things.PAINTERS[thing.name]
        if alone and thing.count == 1 and not self.wanted.places:
            paint(self.canvas, 0.5, 0.86, 0.55, self._colour(thing))
            return
        number = 16 if thing.name == "flower" else max(thing.count, 2)
        spots = sorted((self.rng.uniform(0.76, 0.98), self.rng.random()) for _ in range(number))
        for y, x in spots:
            paint(self.canvas, x, y, 0.05 + (y - 0.7) * 0.4, self._colour(thing))

    def _colour(self, thing: Thing) -> Rgb | None:
        return COLOURS[thing.colour][0] if thing.colour else None

    # The air

    def _weather(self) -> None:
        moods = self.wanted.moods
        if "rain" in moods or "storm" in moods:
            self.canvas.rain(160)
        if "storm" in moods:
            things.lightning(self.canvas, self.rng.uniform(0.2, 0.8), self.horizon)
        if "snow" in moods:
            self.canvas.snow(150)
        if "fog" in moods:
            self.canvas.veil((226, 228, 230), 0.5)
        if self.light == "night" and "space" not in self.wanted.places:
            self.canvas.dim(MOON_LIGHT, below=self.horizon, amount=0.42)
        elif self.light == "sunset":
            self.canvas.dim((210, 96, 52), below=0.0, amount=0.16)


def _rgb(thing: Thing, usual: Rgb) -> Rgb:
    return COLOURS[thing.colour][0] if thing.colour else usual


def _abstract(canvas: Canvas, wanted: Wanted, rng: random.Random) -> None:
    """No word was understood: soft circles, in the colours that were named."""
    named = [COLOURS[name][0] for name in wanted.colours]
    palette = named or [hsl(rng.randrange(360), 45, 60) for _ in range(3)]
    base = palette[0]
    canvas.gradient((mixed(base, (255, 255, 255), 0.5), base), 0, 1)
    for _ in range(14):
        tone = mixed(rng.choice(palette), rng.choice(((255, 255, 255), (0, 0, 0))), 0.25)
        size = rng.uniform(0.04, 0.22)
        canvas.oval(rng.random(), rng.random(), size, size, tone, round_=True)
    canvas.image = canvas.image.filter(ImageFilter.GaussianBlur(canvas.width / 120))


# Light and style over a finished picture


def grade(image: Image.Image, wanted: Wanted, seed: int, amount: float) -> Image.Image:
    """``image`` in the colours, the light and the style that are wanted, by ``amount`` (0..1)."""
    colours = wanted.all_colours()
    graded = _tinted(image, colours, 0.9, spotlight=bool(wanted.things))
    for mood in wanted.moods:
        graded = _lit(graded, mood, seed)
    graded = _styled(graded, wanted.styles)
    rng = random.Random(f"grain {seed}")
    grain = Image.frombytes("L", (8, 8), rng.randbytes(64)).resize(
        image.size, Image.Resampling.BICUBIC
    )
    clouded = ImageChops.overlay(graded, Image.merge("RGB", (grain,) * 3))
    return Image.blend(image, Image.blend(graded, clouded, 0.12), amount)


def _tinted(
    image: Image.Image, colours: Sequence[str], amount: float, *, spotlight: bool = False
) -> Image.Image:
    """``image`` in those colours, light and dark kept; ``spotlight``: mostly the middle."""
    if not colours:
        return image
    grey = ImageOps.autocontrast(ImageOps.grayscale(image), cutoff=1)
    own = COLOURS[colours[0]][0]
    shadow, light = mixed(own, (0, 0, 0), 0.78), mixed(own, (255, 255, 255), 0.75)
    toned = ImageOps.colorize(grey, shadow, light, own)
    if not spotlight:
        return Image.blend(image, toned, amount)
    mask = ImageOps.invert(Image.radial_gradient("L")).resize(image.size)
    strength = mask.point(lambda v: min(255, int((0.35 + v / 150) * 255 * amount)))
    return Image.composite(toned, image, strength)


def _lit(image: Image.Image, mood: str, seed: int) -> Image.Image:
    """``image`` in the light or the weather of ``mood``."""
    canvas = Canvas.over(image, random.Random(f"{mood} {seed}"))
    if mood == "night":
        canvas.image = ImageEnhance.Brightness(image).enhance(0.42)
        canvas.dim((20, 34, 110), below=0.0, amount=0.35)
        things.stars(canvas, 40, 0.35)
    elif mood in ("sunset", "sunrise", "autumn"):
        warm = Canvas(image.width, image.height, random.Random(seed))
        warm.gradient(SKIES["sunset" if mood != "sunrise" else "sunrise"], 0, 1)
        canvas.image = Image.blend(image, ImageChops.overlay(image, warm.image), 0.8)
        canvas.image = Image.blend(canvas.image, warm.image, 0.42)
    elif mood == "snow":
        pale = ImageEnhance.Color(image).enhance(0.5)
        canvas.image = Image.blend(pale, Image.new("RGB", image.size, (236, 242, 250)), 0.3)
        canvas.snow(120)
    elif mood == "fog":
        canvas.veil((226, 228, 230), 0.5)
    else:
        canvas.image = ImageEnhance.Color(ImageEnhance.Brightness(image).enhance(0.7)).enhance(0.6)
        canvas.rain(120)
    return canvas.image


def _styled(image: Image.Image, styles: Sequence[str]) -> Image.Image:
    for style in styles:
        if style == "monochrome":
            image = ImageOps.grayscale(image).convert("RGB")
        elif style == "sketch":
            edges = ImageOps.grayscale(image).filter(ImageFilter.FIND_EDGES)
            image = ImageOps.invert(ImageOps.autocontrast(edges, cutoff=1)).convert("RGB")
        elif style == "watercolor":
            spread = image.reduce(3).filter(ImageFilter.ModeFilter(5)).resize(image.size)
            soft = spread.filter(ImageFilter.SMOOTH_MORE)
            image = ImageEnhance.Brightness(ImageEnhance.Color(soft).enhance(0.8)).enhance(1.08)
        else:
            few = image.resize((max(1, image.width // 10), max(1, image.height // 10)))
            image = few.quantize(24).convert("RGB").resize(image.size, Image.Resampling.NEAREST)
    return image


def colour_name(image: Image.Image) -> str:
    """The colour word nearest to most of ``image``."""
    flat: tuple[int, ...] = image.convert("RGB").resize((1, 1)).getpixel((0, 0))  # type: ignore[assignment]
    return min(COLOURS, key=lambda name: math.dist(COLOURS[name][0], flat))
