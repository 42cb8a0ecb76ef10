"""Sizes and orientations said in words: "16:9", "1024x768", "portrait format", "竖版"."""

# ruff: noqa: E501 (word lists and patterns read best in wide lines)

from __future__ import annotations

import re

from robotchat.prompt.rules.operations import Resize
from robotchat.prompt.shapes import fit, shaped

_PIXELS = re.compile(
    r"(?<![A-Za-z0-9_.:])(\d{2,5})\s*(?:px)?\s*(?:x|×|\*|by|乘|乘以)\s*(\d{2,5})\s*(?:px|pixels|像素)?(?![A-Za-z0-9_])",
    re.I,
)
_RATIO = re.compile(
    r"(?:(?:in|at|with)\s+(?:an?\s+)?)?(?:aspect(?: ratio)?\s*(?:of\s*)?|ratio\s*(?:of\s*)?|比例\s*)?"
    r"(?<![\d.:<])(\d{1,2})\s*(?:[::]|比)\s*(\d{1,2})(?![\d.:>)])(?:\s*(?:aspect(?: ratio)?|ratio|format|的?比例|的))?",
    re.I,
)
_NOUN = (
    r"(?:\s+(?:format|orientation|mode|shape|size|layout|version|picture|image|aspect(?: ratio)?))"
)
_WORDS = {
    "portrait": re.compile(
        rf"\b(?:(?:in|as|to|into)\s+(?:an?\s+)?)?(?:portrait{_NOUN}|vertical(?:ly)?{_NOUN}?|upright{_NOUN})\b"
        r"|(?:^|(?<=[,.;!?])|\bmake (?:it|this)\b|\b(?:in|to)\b)\s*(?:a\s+)?(?:portrait|taller)\s*(?=$|[,.;!?]|please|instead|now)"
        r"|\b(?:as|for|to be)\s+(?:an?|my|the)\s+(?:phone|mobile|iphone)(?:'s)?(?:\s+(?:wallpaper|background|screen))?\b"
        r"|(?:要|用|改|换|做|弄)?(?:成|做)?(?:一?张)?(?:竖版|竖屏|竖图|竖构图|竖幅|竖着|纵向|竖向|竖的|手机壁纸|手机屏保)(?:图|的)?",
        re.I,
    ),
    "landscape": re.compile(
        rf"\b(?:(?:in|as|to|into)\s+(?:an?\s+)?)?(?:landscape(?! of){_NOUN}|horizontal(?:ly)?{_NOUN}?|wide ?screen{_NOUN}?)\b"
        r"|(?:^|(?<=[,.;!?])|\bmake (?:it|this)\b|\b(?:in|to)\b)\s*(?:landscape|wider)\s*(?=$|[,.;!?]|please|instead|now)"
        r"|\b(?:as|for|to be)\s+(?:an?|my|the)\s+(?:desktop|pc|laptop)(?:'s)?(?:\s+(?:wallpaper|background|screen))\b"
        r"|(?:要|用|改|换|做|弄)?(?:成|做)?(?:一?张)?(?:横版|横屏|横图|横构图|横幅|横着|横向|横的|宽屏|宽幅|电脑壁纸|桌面壁纸)(?:图|的)?",
        re.I,
    ),
    "square": re.compile(
        rf"\b(?:(?:in|as|to|into)\s+(?:an?\s+)?)?square(?:{_NOUN}|d)\b"
        r"|(?:^|(?<=[,.;!?])|\bmake (?:it|this)\b)\s*(?:a\s+)?square\s*(?=$|[,.;!?]|please|instead|now)"
        r"|(?:要|用|改|换|做|弄)?(?:成|做)?(?:正方形|方图|方形)(?:构图|画幅|版|图|的图|的(?=$|[,。!]))",
        re.I,
    ),
}
_REST = re.compile(
    r"\s*(?:(?:please|can you|could you|i (?:want|need|would like)|let's|now|and|actually|make|turn|set|change|crop|resize|do|draw|"
    r"have|use|render|get|it|this|that|the|picture|image|size|ratio|aspect|photo|one|to|in|at|as|into|with|a|an|be|for|so|instead|again|"
    r"format)\s*)*[,.!?;,。!?;\s]*"
    r"|\s*(?:请|帮我|能不能|可以|我|想|要|用|改|换|变|做|弄|成|为|把|将|它|这|张|图片|图|照片|画面|画|尺寸|比例|大小|设|调|的|吧|吗|了|就|一下|是)*[,.!?;,。!?;\s]*",
    re.I,
)
_SHAPES = {"portrait": (2, 3), "landscape": (3, 2), "square": (1, 1)}


def take_size(message: str) -> tuple[str, Resize | None]:
    """The message without its words on size, and the size they ask for.

    Of several sizes the most exact counts: pixels before a ratio before a word.
    """
    found: Resize | None = None

    def pixels(match: re.Match[str]) -> str:
        nonlocal found
        found = found or Resize(*fit(int(match[1]), int(match[2])))
        return " "

    def ratio(match: re.Match[str]) -> str:
        nonlocal found
        across, down = int(match[1]), int(match[2])
        if not (across and down and 1 / 4 <= across / down <= 4):
            return match.group()
        found = found or Resize(*shaped(across, down))
        return " "

    message = _PIXELS.sub(pixels, message)
    message = _RATIO.sub(ratio, message)
    for name, pattern in _WORDS.items():
        remaining = pattern.sub(" ", message)
        if remaining != message:
            found = found or Resize(*shaped(*_SHAPES[name]))
            message = remaining
    if found:
        message = "".join(
            part for part in re.split(r"(?<=[,.!?;,。!?;\n])", message) if not _REST.fullmatch(part)
        )
    return re.sub(r"[ \t]+", " ", message), found
