"""What a prompt asks to see: the words, English and Chinese, that the stand-in can draw."""

from __future__ import annotations

import re
from dataclasses import dataclass

PLACES = {
    "beach": "beach beaches shore coast seaside sand sandy 海滩 沙滩 海边",
    "sea": "sea seas ocean oceans waves wave 大海 海洋 海",
    "lake": "lake lakes river rivers pond water 湖 河 水",
    "forest": "forest forests woods jungle woodland 森林 树林 丛林",
    "mountain": "mountain mountains hill hills alps peak peaks cliff 高山 山",
    "city": "city cities town street skyline skyscraper skyscrapers downtown 城市 街道 街",
    "desert": "desert dunes dune sahara 沙漠",
    "field": "field fields meadow grass garden park lawn farm countryside prairie "
    "草地 草原 田野 花园 公园",
    "room": "room indoor indoors kitchen bedroom studio sofa interior 房间 室内 卧室 厨房",
    "space": "space galaxy cosmos universe nebula 太空 宇宙 银河",
    "road": "road roads highway path 公路 道路",
}
THINGS = {
    "cat": "cat cats kitten kittens kitty 小猫 猫",
    "dog": "dog dogs puppy puppies corgi 小狗 狗",
    "fox": "fox foxes 狐狸",
    "wolf": "wolf wolves 狼",
    "bear": "bear bears panda pandas 熊猫 熊",
    "rabbit": "rabbit rabbits bunny bunnies hare 兔子 兔",
    "tiger": "tiger tigers lion lions 老虎 狮子 虎",
    "horse": "horse horses pony unicorn 马",
    "cow": "cow cows bull 牛",
    "deer": "deer stag 鹿",
    "sheep": "sheep lamb 羊",
    "elephant": "elephant elephants 大象 象",
    "bird": "bird birds seagull seagulls parrot eagle owl 小鸟 鸟",
    "fish": "fish fishes whale dolphin 鱼",
    "dragon": "dragon dragons dinosaur 龙",
    "robot": "robot robots android 机器人",
    "woman": "woman women girl girls lady princess queen 女人 女孩 公主",
    "person": "person people man men boy boys child children crowd portrait knight astronaut "
    "tourists tourist human humans couple 人物 男人 男孩 孩子 宇航员 人",
    "castle": "castle castles palace fortress 城堡 宫殿",
    "house": "house houses cottage cabin hut home building barn 房子 小屋",
    "lighthouse": "lighthouse lighthouses tower towers 灯塔 塔",
    "bridge": "bridge bridges 桥",
    "boat": "boat boats ship ships sailboat yacht 帆船 船",
    "car": "car cars truck bus taxi 汽车 车",
    "balloon": "balloon balloons 气球",
    "plane": "plane planes airplane aeroplane aircraft jet 飞机",
    "rocket": "rocket rockets spaceship 火箭",
    "palm": "palm palms coconut 棕榈树 椰树 棕榈",
    "tree": "tree trees pine oak 树",
    "flower": "flower flowers rose roses tulip tulips daisy sunflower sunflowers blossom blossoms "
    "花朵 玫瑰 花",
    "mushroom": "mushroom mushrooms 蘑菇",
    "sky": "sky skies 天空",
    "sun": "sun sunshine sunny 太阳 阳光",
    "moon": "moon moonlight 月亮 月",
    "star": "star stars starry 星星 星空",
    "cloud": "cloud clouds cloudy 云",
    "rainbow": "rainbow rainbows 彩虹",
    "apple": "apple apples 苹果",
    "ball": "ball balls 球",
    "cup": "cup cups mug coffee tea 杯子 咖啡",
    "umbrella": "umbrella umbrellas parasol 雨伞 伞",
    "hat": "hat hats cap crown 帽子 皇冠",
    "heart": "heart hearts love 爱心",
}
MOODS = {
    "sunset": "sunset dusk evening twilight sundown 日落 夕阳 黄昏 傍晚",
    "sunrise": "sunrise dawn morning 日出 清晨 早晨",
    "night": "night midnight nighttime 夜晚 晚上 夜",
    "snow": "snow snowy winter snowfall icy 雪 冬天",
    "rain": "rain rainy raining 下雨 雨天",
    "storm": "storm stormy thunderstorm lightning thunder 暴风雨 闪电",
    "fog": "fog foggy mist misty haze 雾",
    "autumn": "autumn fall 秋天",
}
STYLES = {
    "monochrome": "monochrome grayscale greyscale noir 黑白",
    "sketch": "sketch pencil drawing lineart 素描",
    "watercolor": "watercolor watercolour painting 水彩",
    "pixel": "pixel pixelated pixelart 像素",
}
COLOURS = {
    "red": ((208, 42, 42), "red crimson scarlet 红色 红"),
    "orange": ((240, 134, 32), "orange 橙色 橙"),
    "yellow": ((245, 208, 50), "yellow golden gold 黄色 金色 黄"),
    "green": ((56, 150, 66), "green emerald 绿色 绿"),
    "cyan": ((50, 190, 200), "cyan turquoise teal 青色"),
    "blue": ((42, 96, 220), "blue azure navy 蓝色 蓝"),
    "purple": ((130, 62, 190), "purple violet lavender 紫色 紫"),
    "pink": ((245, 130, 175), "pink magenta 粉色 粉红"),
    "brown": ((122, 78, 44), "brown 棕色 褐色"),
    "white": ((244, 244, 242), "white 白色 白"),
    "black": ((34, 34, 40), "black 黑色 黑"),
    "grey": ((138, 140, 146), "grey gray silver 灰色 灰"),
}
NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "2": 2, "3": 3, "4": 4, "5": 5}
NUMBERS |= {"两": 2, "三": 3, "several": 4, "many": 5, "crowd": 5, "couple": 2}
PHRASES = {
    "black and white": "monochrome",
    "black & white": "monochrome",
    "palm tree": "palm",
    "sand castle": "castle",
    "teddy bear": "bear",
    "star wars": " ",
}
ONE_ONLY = {"sky", "sun", "moon", "rainbow", "hat"}
MOST = 5

Rgb = tuple[int, int, int]


def _meanings() -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for kind, table in (
        ("place", PLACES),
        ("thing", THINGS),
        ("mood", MOODS),
        ("style", STYLES),
        ("colour", {name: words for name, (_, words) in COLOURS.items()}),
    ):
        for name, words in table.items():
            found |= dict.fromkeys(words.split(), (kind, name))
    return found


MEANINGS = _meanings()
_CHINESE = sorted((w for w in (*MEANINGS, *NUMBERS) if not w.isascii()), key=len, reverse=True)
_TOKEN = re.compile("|".join([*map(re.escape, _CHINESE), r"[a-z0-9]+", r"[,.;，。；、]"]))
_EXTRA_NETWORK = re.compile(r"<[^<>]*>")


@dataclass(frozen=True)
class Thing:
    """Something to draw; no ``colour``: its usual one."""

    name: str
    colour: str | None = None
    count: int = 1


@dataclass(frozen=True)
class Wanted:
    """What a prompt asks to see, in the order in which it names it."""

    text: str
    places: tuple[str, ...]
    things: tuple[Thing, ...]
    moods: tuple[str, ...]
    styles: tuple[str, ...]
    colours: tuple[str, ...]
    """The colours that belong to nothing in particular."""
    banned: frozenset[str]
    ground: str | None = None
    """The colour of the place."""

    @property
    def shapes(self) -> bool:
        """Whether there is anything to draw, beyond colour and mood."""
        return bool(self.places or self.things)

    def all_colours(self) -> list[str]:
        """Every colour that is named, of things or of all."""
        of_things = [thing.colour for thing in self.things if thing.colour]
        return [*self.colours, *of_things, *([self.ground] if self.ground else [])]


def read(prompt: str, negative: str = "") -> Wanted:
    """What ``prompt`` asks to see, without what ``negative`` names."""
    banned = frozenset(MEANINGS[w][1] for w in _tokens(negative) if w in MEANINGS)
    if banned & {"person", "woman"}:
        banned |= {"person", "woman"}
    places: dict[str, None] = {}
    things: dict[str, Thing] = {}
    moods: dict[str, None] = {}
    styles: dict[str, None] = {}
    loose: dict[str, None] = {}
    colour: str | None = None
    ground: str | None = None
    count = 1
    for word in _tokens(prompt):
        if word in NUMBERS:
            count = NUMBERS[word]
        if word in ",.;，。；、" and colour is not None:
            loose[colour], colour = None, None
        kind, name = MEANINGS.get(word, ("", ""))
        if not kind or name in banned:
            continue
        if kind == "colour":
            if colour is not None:
                loose[colour] = None
            colour = name
        elif kind == "thing":
            plural = 3 if word.endswith("s") and not word.endswith("ss") and count == 1 else count
            number = 1 if name in ONE_ONLY else min(plural, MOST)
            before = things.get(name)
            usual = before.colour if before else None
            things[name] = Thing(name, colour or usual, number)
            colour, count = None, 1
        else:
            if kind == "place" and colour is not None:
                ground, colour = colour, None
            {"place": places, "mood": moods, "style": styles}[kind][name] = None
    if colour is not None:
        loose[colour] = None
    _give_away(loose, things)
    return Wanted(
        text=f"{prompt}|{negative}",
        places=tuple(places),
        things=tuple(things.values()),
        moods=tuple(moods),
        styles=tuple(styles),
        colours=tuple(loose),
        banned=banned,
        ground=ground,
    )


def _give_away(loose: dict[str, None], things: dict[str, Thing]) -> None:
    """A colour that stands alone ("a cat, blue") is meant for the thing without one."""
    for name, thing in things.items():
        if loose and thing.colour is None and name not in ("sky", "cloud", "sun", "moon", "star"):
            colour = next(iter(loose))
            del loose[colour]
            things[name] = Thing(name, colour, thing.count)


def _tokens(text: str) -> list[str]:
    plain = _EXTRA_NETWORK.sub(" ", text.lower())
    for phrase, word in PHRASES.items():
        plain = plain.replace(phrase, word)
    return _TOKEN.findall(plain)
