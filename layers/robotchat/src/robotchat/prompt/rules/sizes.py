"""Sizes and orientations said in words: "16:9", "1024x768", "portrait format", "竖版"."""

# ruff: noqa: E501 (word lists and patterns read best in wide lines)

from __future__ import annotations

import re

from robotchat.prompt.models import PromptState
from robotchat.prompt.rules.operations import Resize
from robotchat.prompt.rules.patterns import Pattern
from robotchat.prompt.shapes import fit, shaped

_PIXELS = Pattern(
    r"(?<![A-Za-z0-9_.:])(\d{2,5})\s*(?:px)?\s*(?:x|×|\*|by|乘|乘以)\s*(\d{2,5})\s*(?:px|pixels|像素)?(?![A-Za-z0-9_])",
    re.I,
)
_RATIO = Pattern(
    r"(?:(?:in|at|with)\s+(?:an?\s+)?)?(?:aspect(?: ratio)?\s*(?:of\s*)?|ratio\s*(?:of\s*)?|比例\s*)?"
    r"(?<![\d.:<])(\d{1,2})\s*(?:[::]|比)\s*(\d{1,2})(?![\d.:>)])(?:\s*(?:aspect(?: ratio)?|ratio|format|的?比例|的))?",
    re.I,
)
_NOUN = (
    r"(?:\s+(?:format|orientation|mode|shape|size|layout|version|picture|image|aspect(?: ratio)?))"
)
_WORDS = {
    "portrait": Pattern(
        rf"\b(?:(?:in|as|to|into)\s+(?:an?\s+)?)?(?:portrait{_NOUN}|vertical(?:ly)?{_NOUN}?|upright{_NOUN}|tall(?:er)?{_NOUN}|narrow{_NOUN})\b"
        r"|(?:^|(?<=[,.;!?])|\bmake (?:it|this)\b|\b(?:in|to)\b)\s*(?:a\s+)?(?:portrait|taller)\s*(?=$|[,.;!?]|please|instead|now)"
        r"|\b(?:as|for|to be)\s+(?:an?|my|the)\s+(?:phone|mobile|iphone)(?:'s)?(?:\s+(?:wallpaper|background|screen))?\b"
        r"|(?:要|用|改|换|做|弄)?(?:成|做)?(?:一?张)?(?:竖版|竖屏|竖图|竖构图|竖幅|竖着|纵向|竖向|竖的|手机壁纸|手机屏保)(?:图|的)?",
        re.I,
    ),
    "landscape": Pattern(
        rf"\b(?:(?:in|as|to|into)\s+(?:an?\s+)?)?(?:landscape(?! of){_NOUN}|horizontal(?:ly)?{_NOUN}?|wide ?screen{_NOUN}?|wide(?:r)?{_NOUN}|panoramic{_NOUN})\b"
        r"|(?:^|(?<=[,.;!?])|\bmake (?:it|this)\b|\b(?:in|to)\b)\s*(?:landscape|wider)\s*(?=$|[,.;!?]|please|instead|now)"
        r"|\b(?:as|for|to be)\s+(?:an?|my|the)\s+(?:desktop|pc|laptop)(?:'s)?(?:\s+(?:wallpaper|background|screen))\b"
        r"|(?:要|用|改|换|做|弄)?(?:成|做)?(?:一?张)?(?:横版|横屏|横图|横构图|横幅|横着|横向|横的|宽屏|宽幅|电脑壁纸|桌面壁纸)(?:图|的)?",
        re.I,
    ),
    "square": Pattern(
        rf"\b(?:(?:in|as|to|into)\s+(?:an?\s+)?)?square(?:{_NOUN}|d)\b"
        r"|(?:^|(?<=[,.;!?])|\bmake (?:it|this)\b)\s*(?:a\s+)?square\s*(?=$|[,.;!?]|please|instead|now)"
        rf"|\b(?:the |this |my )?(?:it|picture|image|photo|format|shape|ratio)(?:'s)? (?:should |could |must |can |needs to |has to |to )?(?:be )?(?:perfectly |a )?square\b"
        rf"|\b(?:make|have|want|need|crop|get|turn|cut) (?:it|this|that|(?:the|this|my) (?:picture|image|photo|format))(?: (?:in|to|into|be|a|as))* (?:perfect |perfectly )?square\b(?! \w*(?:eyes|face|head|window|table|box))"
        r"|(?:要|用|改|换|变|做|弄|画|裁|剪|调)?(?:成|为|做)?(?:一?[张个幅])?(?:正方形|正方|方图|方形|方的)(?:构图|画幅|版|的?图片?|的?画面|的?照片|比例|尺寸|的?(?=$|[,。!?,.!?吧吗呢]|就|好了))",
        re.I,
    ),
}
_WHOLE = r"(?:picture|image|photo|photograph|canvas|file|format|resolution|size|dimensions?|version|output)"
_ZH_WHOLE = r"(?:(?:这|那|整)?(?:张|幅|个)?(?:图片|图像|图|画面|照片|画幅|尺寸|分辨率|像素)(?:的?(?:尺寸|分辨率|大小))?)"


def _scale(english: str, make: str, chinese: str, verbs: str) -> Pattern:
    return Pattern(
        rf"\b(?:(?:make|give me|render|draw|want|need|get) )?(?:it |me )?(?:(?:an?|the|in an?|at an?) )?(?:(?:much|bit|little|slightly|even|far) )*(?:{english})(?:[ -]res)? {_WHOLE}\b(?! of)"
        rf"|\b(?:make|have|scale|blow|get|want) (?:the|this|that|my) (?:whole |entire )?{_WHOLE}(?: (?:a|much|bit|little|slightly|even|far|be|to be))*? (?:{english})\b"
        rf"|\b(?:the |this )?{_WHOLE} (?:should |could |must |can |needs to |has to )?(?:be )?(?:(?:a|much|bit|little|slightly|even|far) )*(?:{english})\b"
        rf"|\b(?:{make}) (?:(?:the|this|that|its) (?:whole |entire )?{_WHOLE}(?: of (?:it|this|(?:the|this) {_WHOLE}))?|(?:it|this)(?=$|[,.!?;]))"
        rf"|{_ZH_WHOLE}(?:要|再|更|可以|能|弄|调|变|画|做|稍微|能不能)*(?:{chinese})(?:一?[点些])?|(?:再|更|稍微)*(?:{chinese})(?:一?[点些])?的?{_ZH_WHOLE}"
        rf"|(?:把|将)?{_ZH_WHOLE}?(?:{verbs})(?:{_ZH_WHOLE}|一?[点些下]|(?=$|[,。!?吧]))+",
        re.I,
    )


_SCALES = (
    (Pattern(rf"\b(?:twice as (?:big|large)|double (?:the |its )?(?:{_WHOLE}))\b|(?:大一倍|放大一倍|放大两倍)", re.I), 2.0),
    (Pattern(rf"\b(?:half as (?:big|large)|half (?:the |its )(?:{_WHOLE})|halve (?:the |its )?(?:{_WHOLE}))\b|(?:小一半|缩小一半)", re.I), 0.5),
    (_scale(r"bigger|larger|higher|hi-?res|enlarged", r"enlarge|upscale|scale up|increase|raise|bump up", r"更?大|更?高", r"放大|提高|加大|增大"), 1.5),
    (_scale(r"smaller|tinier|lower", r"reduce|scale down|downscale|decrease|shrink|lower", r"更?小|更?低", r"缩小|减小|降低"), 2 / 3),
)  # fmt: skip
_REST = Pattern(
    r"\s*(?:(?:please|pls|can you|can|could you|could|should|would|will|must|you|me|i (?:want|need|would like|prefer)|i'd (?:like|prefer)|want|need|like|prefer|bigger|larger|smaller|wider|taller|shape|version|rather|just|than|only|also|but|too|bit|little|much|ok(?:ay)?|let's|now|and|actually|make|turn|set|change|crop|resize|do|draw|"
    r"have|use|render|get|it|this|that|the|picture|image|size|ratio|aspect|photo|one|to|in|at|as|into|with|a|an|be|for|so|instead|again|"
    r"format)\s*)*[,.!?;,。!?;\s]*"
    r"|\s*(?:请|帮我|能不能|可以|我|想|要|用|改|换|变|做|弄|成|为|把|将|它|这|张|图片|图|照片|画面|画|尺寸|比例|大小|设|调|大一?点|小一?点|更大|更小|可不可以|能|希望|都|给|裁|剪|版本|这个|做个|的|吧|吗|呢|了|就|一下|是)*[,.!?;,。!?;\s]*",
    re.I,
)
_SHAPES = {"portrait": (2, 3), "landscape": (3, 2), "square": (1, 1)}


def take_size(message: str, current: PromptState) -> tuple[str, Resize | None]:
    """The message without its words on size, and the size they ask for.

    Of several sizes the most exact counts: pixels before a ratio before a word. A bigger picture
    is bigger than the `current` one, in the same shape.
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
    for pattern, factor in _SCALES:
        remaining = pattern.sub(" ", message)
        if remaining != message:
            width, height = current.width or 512, current.height or 512
            found = found or Resize(*fit(width * factor, height * factor))
            message = remaining
    if found:
        message = "".join(
            part for part in re.split(r"(?<=[,.!?;,。!?;\n])", message) if not _REST.fullmatch(part)
        )
    return re.sub(r"[ \t]+", " ", message), found
