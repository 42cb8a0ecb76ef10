"""What a Chinese message asks for, with its words put into English.

The translation is a small grammar over the lexicon: classifiers, attributes with 的, places with 在
and a localiser, verbs with objects. Words that the lexicon lacks stay Chinese.
"""

# ruff: noqa: E501, SIM905 (word lists and patterns read best in wide lines)

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from robotchat.prompt.rules.english import is_value, join_corrections
from robotchat.prompt.rules.lexicon import bare, chinese, longest, plural, simplified, singular
from robotchat.prompt.rules.operations import (
    Add,
    Attach,
    Chat,
    ChatKind,
    Count,
    Draw,
    Fewer,
    Not,
    Operation,
    Place,
    Redraw,
    Remove,
    Replace,
    Reset,
    Restyle,
    Set,
)
from robotchat.prompt.rules.structure import (
    FOREIGN,
    PREPOSITIONS,
    Picture,
    Piece,
    canonical,
    is_adjective,
    role,
    stems,
    with_article,
    words,
)

CJK = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")

# ------------------------------------------------------------------------------ translation

_MEASURES = "只个位名条头匹张幅座辆架艘棵朵本把顶件盏颗间栋片块根支枚面扇台部所家口尾滴层道轮双对群杯碗副片束排堆串瓶盘壶篮袋锅种场缕丝抹"
_OF = {
    "双": "pair", "对": "pair", "群": "group", "杯": "cup", "碗": "bowl", "束": "bouquet", "排": "row",
    "堆": "pile", "串": "string", "瓶": "bottle", "盘": "plate", "壶": "pot", "篮": "basket", "锅": "pot",
}  # fmt: skip
_NUMBERS = {
    "两": "two", "二": "two", "三": "three", "四": "four", "五": "five", "六": "six", "七": "seven",
    "八": "eight", "九": "nine", "十": "ten", "几": "a few", "好几": "several", "数": "several",
}  # fmt: skip
_DETERMINER = re.compile(
    r"(?:(?P<some>一些|一点儿?|些|点儿?(?=[^\d]))|(?P<many>很多|许多|好多|大量|无数|满天|漫天|满地)的?"
    rf"|(?P<the>[这那该]|这个|那个|这些|那些)(?P<the_measure>[{_MEASURES}])?(?=.)"
    rf"|(?P<more>另外?)?(?P<number>一|好几|[两二三四五六七八九十几数]|\d+)(?P<big>大|小)?(?P<measure>[{_MEASURES}])"
    rf"|(?P<alone>[个只张幅位副条顶件把杯束座棵朵艘辆匹](?![子头边]))(?=[\u4e00-\u9fff]))"
)
_LOCALISERS = {
    "里面": "in", "里边": "in", "里": "in", "之中": "in", "当中": "in", "中": "in", "内": "in", "上面": "on", "上边": "on", "之上": "on",
    "上": "on", "下面": "under", "下边": "under", "底下": "under", "之下": "under", "下": "under", "旁边": "next to", "身边": "next to",
    "旁": "next to", "边上": "next to", "边": "by", "前面": "in front of", "前方": "in front of", "面前": "in front of", "前": "in front of",
    "后面": "behind", "后方": "behind", "背后": "behind", "身后": "behind", "后": "behind", "之间": "between", "中间": "in the middle of",
    "中央": "in the middle of", "附近": "near", "周围": "around", "四周": "around", "外面": "outside", "外": "outside", "上空": "above",
    "上方": "above", "对面": "opposite", "深处": "deep in", "尽头": "at the end of", "时": "at", "的时候": "at", "时分": "at",
}  # fmt: skip
_PLACES = {
    "旁边": "next to it", "身边": "next to it", "前面": "in the foreground", "前景": "in the foreground", "后面": "in the background",
    "背景": "in the background", "背景里": "in the background", "背景中": "in the background", "远处": "in the distance", "远方": "in the distance",
    "近处": "in the foreground", "中间": "in the middle", "左边": "on the left", "右边": "on the right", "上面": "above", "上方": "above",
    "下面": "below", "周围": "all around", "四周": "all around", "角落": "in the corner", "里面": "inside", "地上": "on the ground",
    "天上": "in the sky", "空中": "in the sky", "天空": "in the sky", "天空中": "in the sky", "头上": "on the head", "手里": "in hand",
    "路边": "by the roadside", "街边": "by the roadside", "海边": "by the sea", "湖边": "by the lake", "河边": "by the river", "江边": "by the river",
    "街上": "on the street", "街头": "on the street", "地面": "on the ground", "水下": "under water", "海底": "at the bottom of the sea",
    "山顶": "on a mountain top", "屋顶": "on a rooftop", "怀里": "in the arms",
}  # fmt: skip
_SILENT = frozenset(
    "她 他 它 她们 他们 它们 着 了 地 得 正在 正 刚刚 刚 下着 下起了 下起 飘着 下了 一起 慢慢 静静地 默默 就 都 也 还 又 那种 这种 那样 这样 一样 之 所 被 把 将 会 能 要 去 来 到 过 给 "
    "起来 出来 下来 上来 吗 呢 吧 啊 呀 哦 嘛 们 看起来 一般 似的 整个 全部 所有 各种 各样 一下 是 而且 并且 并 满".split()
)
_DEGREES = {
    "很": "",
    "非常": "very",
    "特别": "very",
    "十分": "very",
    "超级": "super",
    "超": "super",
    "极其": "extremely",
    "有点": "",
    "更": "",
    "最": "",
    "太": "",
    "比较": "",
    "真": "",
}
_AND = frozenset("和 与 跟 以及 还有 及 或 或者 、 加 同".split())
_ADJECTIVES = ("colour", "adjective", "material")
_SCENES = ("time", "season", "weather")


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    kind: str
    english: str


def segment(text: str) -> list[_Token]:
    """The words of a Chinese text, longest match first; unknown runs stay whole."""
    lexicon, limit = chinese(), longest()
    tokens: list[_Token] = []
    unknown = ""
    index = 0

    def flush() -> None:
        nonlocal unknown
        if unknown.strip():
            tokens.append(_Token(unknown, "unknown", unknown.strip()))
        unknown = ""

    while index < len(text):
        token = _token_at(text, index, lexicon, limit, tokens, unknown)
        if token is None:
            unknown += text[index]
            index += 1
            continue
        flush()
        if token.kind != "silent":
            tokens.append(token)
        index += len(token.text)
    flush()
    return tokens


def _token_at(
    text: str,
    index: int,
    lexicon: dict[str, tuple[str, str]],
    limit: int,
    before: list[_Token],
    unknown: str,
) -> _Token | None:
    after_noun = (
        bool(before)
        and not unknown
        and before[-1].kind not in ("de", "and", "det", "at", "verb", *_ADJECTIVES)
    )
    if not CJK.match(text[index]):
        if match := re.match(r"[^\u3400-\u9fff\uf900-\ufaff、]+", text[index:]):
            if (number := _DETERMINER.match(text, index)) and number.group()[0].isdigit():
                return _determiner(number)
            return _Token(match.group(), "foreign", match.group().strip())
        return _Token(text[index], "and", "and")
    if match := _DETERMINER.match(text, index):
        word = match.group()
        if not (match["alone"] and after_noun) and not lexicon.get(
            text[index : index + len(word) + 1]
        ):
            return _determiner(match)
    for size in range(min(limit, len(text) - index), 0, -1):
        word = text[index : index + size]
        if (
            after_noun
            and word in _LOCALISERS
            and not (size == 1 and lexicon.get(text[index : index + 2]))
        ):
            return _Token(word, "loc", _LOCALISERS[word])
        if word in lexicon:
            english, kind = lexicon[word]
            return _Token(word, kind, english)
        if word in _PLACES and size > 1:
            return _Token(word, "somewhere", _PLACES[word])
        if word in _SILENT:
            return _Token(word, "silent", "")
        if word in _DEGREES:
            return _Token(word, "degree", _DEGREES[word])
        if word in _AND:
            return _Token(word, "and", "and")
        if word == "的":
            return _Token(word, "de", "")
        if word == "在":
            return _Token(word, "at", "in")
        if word in ("有", "带", "带着", "带有", "配有", "配着"):
            return _Token(word, "have", "with")
    return None


def _determiner(match: re.Match[str]) -> _Token:
    text = match.group()
    if match["some"]:
        return _Token(text, "det", "some")
    if match["many"]:
        return _Token(text, "det", "many")
    if match["the"]:
        return _Token(text, "det", "the")
    if match["alone"]:
        return _Token(text, "det", "a")
    number, measure = match["number"], match["measure"]
    if match["more"]:
        return _Token(
            text, "det", "another" if number == "一" else f"{_NUMBERS.get(number, number)} more"
        )
    container = _OF.get(measure)
    if container and not (measure in "双对" and number != "一"):
        if number in ("一", "1"):
            return _Token(text, "det", f"a {container} of")
        return _Token(text, "det", f"{_NUMBERS.get(number, number)} {container}s of")
    if number in ("一", "1"):
        return _Token(text, "det", "a")
    return _Token(text, "det", _NUMBERS.get(number, number))


_LONGEST_PHRASE = 40
"""Words of a phrase that the grammar takes apart; a longer one is put into English word by word."""

_LONGEST_CLAUSE = 150
"""Characters of a clause that can be an instruction: a longer one describes a picture."""


def translate(text: str) -> str:
    """A Chinese phrase in English; English in it stays, and so do unknown words."""
    text = text.strip(" 的")
    if not CJK.search(text):
        return text
    parts = [
        _clause(part) if len(part) <= _LONGEST_PHRASE else " ".join(t.english for t in part)
        for part in _split(segment(text), lambda token: token.text == "、")
    ]
    return re.sub(r"\s+", " ", ", ".join(part for part in parts if part)).strip()


def _split(tokens: Sequence[_Token], at: Callable[[_Token], bool]) -> list[list[_Token]]:
    parts: list[list[_Token]] = [[]]
    for token in tokens:
        if at(token):
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _clause(tokens: list[_Token]) -> str:
    """A noun phrase with what it does and where; or only what is done."""
    determiner = tokens[0] if tokens and tokens[0].kind == "det" else None
    body = tokens[1:] if determiner else tokens
    start = next((i for i, token in enumerate(body) if token.kind in ("verb", "at", "have")), None)
    if start is None:
        return _nominal(determiner, body)
    de = _attributive(body, start)
    before = body[:start]
    if de is not None and (not before or before[-1].kind in ("loc", "somewhere")):
        head, modifier = body[de + 1 :], body[:de]
        if head and head[0].kind == "det":
            determiner, head = head[0], head[1:]
        cut = next(
            (i for i, token in enumerate(head) if token.kind in ("verb", "at", "have")), len(head)
        )
        if len(modifier) == 1 and " " not in modifier[0].english:
            head[:0], modifier, cut = (
                [_Token(modifier[0].text, "adjective", modifier[0].english)],
                [],
                cut + 1,
            )
        subject = _nominal(determiner, head[:cut])
        return f"{subject} {_predicate(modifier)} {_predicate(head[cut:])}".strip()
    if not before:
        return _predicate(body)
    if body[start].kind == "have" and before[-1].kind in ("loc", "place", "somewhere"):
        return f"{_clause(body[start + 1 :])} {_where(before)}"
    if before[-1].kind in ("loc", "somewhere") and len(before) > 1 and before[-1].kind == "loc":
        return f"{_predicate(body[start:])} {_where(before)}"
    return f"{_nominal(determiner, before)} {_predicate(body[start:])}"


def _attributive(body: list[_Token], start: int) -> int | None:
    """Where the 的 stands that makes all before it an attribute of what follows."""
    found = [
        i
        for i, token in enumerate(body)
        if token.kind == "de"
        and i > start
        and i + 1 < len(body)
        and body[i - 1].kind not in _ADJECTIVES
    ]
    if found:
        return found[-1]
    if body[start].kind == "verb":
        return next(
            (i for i in range(start + 1, len(body) - 1) if body[i].kind == "de" and i == start + 1),
            None,
        )
    return None


def _predicate(tokens: list[_Token]) -> str:
    """Verbs with their objects, and places; a place before a verb goes behind it."""
    done: list[str] = []
    waiting: list[str] = []
    index = 0
    while index < len(tokens):
        token = tokens[index]
        stop = next(
            (i for i in range(index + 1, len(tokens)) if tokens[i].kind in ("verb", "at", "have")),
            len(tokens),
        )
        rest = tokens[index + 1 : stop]
        if token.kind == "at":
            end = next((i for i, other in enumerate(rest) if other.kind == "loc"), None)
            place = rest if end is None else rest[: end + 1]
            phrase = _where(place)
            tail = [] if end is None else rest[end + 1 :]
            if done or stop == len(tokens):
                done.append(phrase)
            else:
                waiting.append(phrase)
            if tail and tail[0].kind != "de":
                done.append(_nominal(None, tail))
        elif token.kind in ("verb", "have"):
            done.append(token.english)
            if any(other.kind in ("loc", "somewhere") for other in rest):
                done.append(_where(rest))
            elif rest:
                done.append(
                    _clause([other for other in rest if other.kind != "de" or other is not rest[0]])
                )
            done += waiting
            waiting = []
        else:
            before = tokens[index:stop]
            waiting.append(_where(before))
            index = stop
            continue
        index = stop
    return " ".join(part for part in [*done, *waiting] if part)


def _where(tokens: list[_Token]) -> str:
    """A place or a time as a phrase: 夕阳下 is "at sunset", 草地上 "on grass"."""
    if not tokens:
        return ""
    localiser = next((token for token in tokens if token.kind == "loc"), None)
    cut = tokens.index(localiser) if localiser else len(tokens)
    inner, tail = tokens[:cut], tokens[cut + 1 :]
    if not inner:
        return localiser.english if localiser else ""
    last = inner[-1]
    if last.kind in _SCENES:
        phrase = canonical(_nominal(None, inner))
    elif len(inner) == 1 and last.text + (localiser.text if localiser else "") in _PLACES:
        phrase = _PLACES[last.text + (localiser.text if localiser else "")]
    elif last.kind == "somewhere" or (last.text in _PLACES and localiser is None):
        words = " ".join(
            filter(None, (_nominal(None, inner[:-1]), _PLACES.get(last.text, last.english)))
        )
        phrase = words
    else:
        noun = _nominal(None, inner)
        preposition = localiser.english if localiser else "in"
        if localiser and localiser.english == "at" and last.kind not in _SCENES:
            preposition = "at"
        if last.english in ("the sky", "blue sky", "a starry sky") and preposition == "on":
            preposition = "in"
        phrase = f"{preposition} {'the ' if noun == 'mountains' else ''}{noun}"
    return f"{phrase} {_nominal(None, tail)}".strip() if tail and tail[0].kind != "de" else phrase


def _nominal(determiner: _Token | None, tokens: Sequence[_Token]) -> str:
    """A noun phrase: determiner, attributes and nouns, with times and places behind."""
    body = [token for token in tokens if token.text.strip()]
    while body and body[-1].kind == "de":
        body.pop()
    if not body:
        return determiner.english if determiner and determiner.english not in ("a", "the") else ""
    parts = _split(body, lambda token: token.kind == "and")
    if len(parts) > 1 and all(parts):
        first = _nominal(determiner, parts[0])
        return " and ".join([first, *(_noun_phrase(part) for part in parts[1:])])
    de = next((i for i in range(len(body) - 2, -1, -1) if body[i].kind == "de"), None)
    if de is None:
        return _compound(determiner, body)
    left, right = body[:de], body[de + 1 :]
    if not left:
        return _nominal(determiner, right)
    if right[0].kind == "det":
        determiner, right = right[0], right[1:]
        if not right:
            return _nominal(determiner, left)
    return _attributed(determiner, left, right)


def _noun_phrase(tokens: list[_Token]) -> str:
    if tokens and tokens[0].kind == "det":
        return _nominal(tokens[0], tokens[1:])
    return _nominal(None, tokens)


def _attributed(determiner: _Token | None, left: list[_Token], right: list[_Token]) -> str:
    kinds = {token.kind for token in left}
    if right[-1].kind == "medium" and not kinds <= {*_ADJECTIVES, "degree", "style", "painting"}:
        return f"{_nominal(determiner, right)} of {_noun_phrase(left)}"
    if right[-1].kind == "medium" and kinds & {"style", "painting"}:
        name = _nominal(None, left)
        head = _nominal(determiner, right)
        if role(name) == "palette":
            return with_article(f"a {name} {bare(head)}")
        return f"{head} in the style of {name}"
    if any(token.kind in ("loc", "somewhere") for token in left) or left[-1].text in _PLACES:
        return f"{_nominal(determiner, right)} {_where(left)}"
    if kinds <= {*_ADJECTIVES, "degree", "de"}:
        return _compound(determiner, [token for token in [*left, *right] if token.kind != "de"])
    if left[-1].kind in _SCENES:
        return f"{_nominal(determiner, right)} {canonical(_nominal(None, left))}"
    if right[-1].kind == "body" or left[-1].kind in ("person", "animal"):
        return f"{_noun_phrase(left)}'s {bare(_nominal(None, right))}"
    return _compound(determiner, [token for token in [*left, *right] if token.kind != "de"])


def _compound(determiner: _Token | None, tokens: Sequence[_Token]) -> str:
    """Attributes and nouns that stand side by side."""
    local = next((i for i, token in enumerate(tokens) if token.kind == "loc"), None)
    if local is not None and local + 1 < len(tokens):
        return f"{_nominal(determiner, tokens[local + 1 :])} {_where(list(tokens[: local + 1]))}"
    if local is not None:
        return _where(list(tokens))
    if len(tokens) > 1 and tokens[0].text in _PLACES and tokens[1].kind != "verb":
        return f"{_nominal(determiner, tokens[1:])} {_PLACES[tokens[0].text]}"
    scenes = [token for token in tokens if token.kind in _SCENES]
    others = [token for token in tokens if token.kind not in _SCENES]
    inner = [token for token in others if token.kind == "det"]
    if inner and others[0].kind != "det":
        cut = others.index(inner[0])
        text = f"{_compound(determiner, others[:cut])}, {_nominal(inner[0], others[cut + 1 :])}"
        return " ".join([text, *(canonical(token.english) for token in scenes)])
    if inner:
        determiner = determiner or inner[0]
        others = [token for token in others if token.kind != "det"]
    if not others:
        return " ".join(token.english for token in scenes)
    adjectives = [token for token in others if token.kind in _ADJECTIVES]
    nouns = [token for token in others if token.kind not in (*_ADJECTIVES, "degree", "de")]
    if not nouns:
        text = " ".join(token.english for token in adjectives)
    else:
        last = nouns[-1].english
        article = last[: len(last) - len(bare(last))].strip()
        words = [
            *(token.english for token in adjectives),
            *(bare(token.english) for token in nouns[:-1]),
            bare(last),
        ]
        text = _determined(determiner.english if determiner else None, article, " ".join(words))
    return " ".join([text, *(canonical(token.english) for token in scenes)])


def _determined(determiner: str | None, article: str, noun: str) -> str:
    counted = article in ("a", "an")
    if determiner in (None, "a"):
        return with_article(f"{article} {noun}").strip()
    if determiner == "the":
        return f"the {noun}"
    if determiner == "another":
        return f"another {noun}"
    if counted and not re.fullmatch(r"a (?:cup|bowl|bottle|plate|pot) of", determiner or ""):
        stem, _, last = noun.rpartition(" ")
        noun = f"{stem} {plural(last)}".strip()
    return f"{determiner} {noun}"


# ------------------------------------------------------------------------------ operations

PUNCTUATION = str.maketrans(",。!?:;()【】~・", ",.!?:;()[]~ ")
_START = re.compile(
    r"(?:请问一下|请你?|麻烦你?|劳驾|帮我?(?:们)?(?:忙)?|给我(?:们)?|替我|为我|你?能不能|你?能否|你?可不可以|你?可否|你?可以|你?能|要不然?|不如|那么|那就|那|"
    r"就|我觉得|我认为|我(?:还是)?(?:更)?(?:想要?|希望|要|需要|喜欢)(?=.)|希望|想要?(?=.)|还是|现在|然后|接着|另外|此外|同时|最后|顺便|好的?[,\s]|嗯++|哦|啊|呃|哎|对了|其实|"
    r"不过|但是|但|可是|只是|而且|并且|最好|尽量|稍微|你|先|直接|干脆|应该|得|再次|记得|哈++|哇)[,\s]*"
)
_MORE = re.compile(r"(?:再|还要?|也要?|另外|外加|加上|以及|还有|并)(?=.)")
_DRAW = re.compile(
    r"(?:画|绘制|生成|创作|设计|做|制作|来|看|弄|搞|整|出|给我看|看看|看到|见|拍|渲染)(?:出|一下)?(?=(?:[一两三四五六七八九十几这那\d]|个|张|幅|只|点|些|有|的是|[^着了完得成])+)"
)
_END = re.compile(
    r"(?:[,\s]*(?:吗|呢|吧|啊|呀|哦|哈++|嘛|啦|咯|哟|喔|好吗|好不好|可以吗|行吗|行不行|可以不|好了|就好|就行|即可|谢谢你?|一下|的话|看看|试试|拜托|才对|更好|才行|怎么样|如何|~))+$"
)
_GREETING = re.compile(
    r"(?:你好|您好|嗨|哈喽|哈啰|hello|hi|hey|早上好|晚上好|下午好|中午好|早安|晚安|早|在吗|在不在|再见|拜拜|大家好|你们好|好久不见|很高兴认识你)(?:呀|啊|吗|哦|机器人|小助手)*",
    re.IGNORECASE,
)
_THANKS = re.compile(
    r"(?:好的?|非常|十分|太|真的?|很)*(?:谢谢|多谢|感谢|辛苦|谢啦|谢了|感恩|麻烦你了|thanks|thx|3q).{0,8}",
    re.IGNORECASE,
)
_PRAISE = re.compile(
    r"(?:哇++|哈++|呵++|嘿++|嘻++|噢|喔|天哪|天啊|我(?:很|好|太|非常|特别|超|真|最)?(?=喜欢|爱|满意)|这(?:张|个|幅|只|样|也|次|下)?|那(?:张|个)?|它|画(?:得|的)|图(?:片)?|画面|照片|效果|颜色|真(?:的|是)?|实在|简直|"
    r"好|太|很|非常|特别|超级?|挺|还|更|这么|可|得|也|就|都|是|觉得|看起来|看着|做得|确实|果然|相当|嗯|比刚才|多么|有点|你(?:真|太|好)|已经){0,7}"
    r"(?:好看|漂亮|美|美丽|棒|赞|厉害|不错|喜欢|爱了|可爱|完美|优秀|牛|酷|满意|好|惊艳|有趣|好玩|强|给力|萌|绝|ok|行|可以|好笑|搞笑|聪明|到位|理想|逼真|有感觉|有意境|精彩|震撼)"
    r"(?:了|啊|呀|吧|哦|哈|呢|极了|死了|多了|的|你|它|这张|这个|这幅|这样|这只|啦|耶|嘛|哇|得很|不得了|到爆|画|图|[!~]){0,5}",
    re.IGNORECASE,
)
_ACKNOWLEDGE = re.compile(
    r"(?:好的?|嗯++|哦++|噢|行|是的?|对的?|对|可以|知道了|明白了?|了解|没事|没关系|没问题|算了|等等|等一下|稍等|哈++|呵++|嘿++|哎呀?|唉|啊++|呃|不用了|不了|没有了|就这样吧?|就这个吧?|保持不变|不(?:要)?变|"
    r"先这样吧?|随便|都行|不知道|不好意思|对不起|抱歉|真的|当然|这样啊|原来如此|让我想想|我想想|我看看|看看|请|麻烦了|拜托了?|那|然后|还有|另外|现在|怎么说呢)(?:啊|呀|吧|哦|呢|了|的)*"
)
_THE_REST = r"(?:(?:其他|其它|其余|别的|剩下|剩余|余下)(?:的)?(?:地方|部分|元素|内容|东西|细节|方面)?|(?:画面|构图|内容|人物|主体|场景|背景|整体|图片?|风格|姿势|动作|表情|所有|全部|一切|什么|啥)(?:的)?)"
_UNCHANGED = r"(?:(?:保持|维持)(?:不变|原样|一致|一样|现状|原来的?样子?|原状|不动)?|不变|不动|别动|别变|别改|别碰|不要动|不要变|不要改|不用变|不用动|不用改|不需要改|不改|照旧|照样|一样|原样|留着|都留着|保留)"
_KEEP = re.compile(
    rf"(?:请|让|把|将|只要|但)?{_THE_REST}(?:全部|全|都|就|也|请|还是|仍然?|依旧|和(?:刚才|之前|原来)|跟(?:刚才|之前|原来)){{0,3}}{_UNCHANGED}(?:的|了|吧|就好|就行|即可){{0,2}}"
    r"|(?:同样|一样|相同|一模一样|完全一样|类似)(?:的)?(?:那|这)?(?:张|幅|个)?(?:图片?|画面?|照片|内容|构图|场景|东西|主体|人物|风格)?"
    r"|(?:和|跟|与|像|同|按照?)(?:刚才|之前|上一?张|上面|前面|原来|这张|上张|刚刚)(?:的|那张|那样){0,2}(?:图片?)?(?:保持)?(?:一样|相同|一致|差不多|来)?"
    rf"|(?:不要|别|不用|不)(?:改变?|动|变|碰)(?:任何)?{_THE_REST}"
    r"|(?:请|把|让|将)?(?:保持|维持)?[^,变改换]{1,10}?(?:保持|维持)?(?:都|也)?(?:原样|不变|不动|别动|别变|不要变|不要动|别改|不要改|不用改|不用变)(?:就好|就行|了)?"
)
_COMPLAINT = re.compile(
    r"(?:(?:这|那)?(?:一)?(?:张|个|幅|次|样)?(?:图片?|画|画面|照片|效果|颜色|感觉|构图|色调|脸|整体)?(?:画|做|弄|生成|出)?得?|它|看起来|看着|我?觉得|感觉|怎么|还是|有一?点儿?|有些|真的?是?|实在|简直|太|好|很|挺|非常|特别|超级?|更|越来越|都|也|我|嗯++|唉|哎呀?|呃|额|,){0,6}"
    r"(?:(?:难看|丑|差劲?|烂|糟糕?|垃圾|奇怪|怪异?|怪怪的?|别扭|失败|恶心|诡异|失望|不忍直视|一言难尽|离谱|辣眼睛|不伦不类|四不像|差点意思|差远了|差强人意|无聊|没意思|不自然|变形了?|崩了|画崩了|翻车了?|一般般?|平庸)"
    r"|(?:不太|不怎么|不够|不是很|不是太|不那么|一点(?:儿)?(?:都|也)不|并不|不大|不|没有?(?:那么)?|没那么)(?:太)?(?:好看|漂亮|美|行|好|像|对劲?|满意|理想|合适|喜欢|到位|自然|完美|可爱|清楚|真实|(?:是)?我?(?:想要|想象|要|想)的?(?:样子|感觉|效果|那样|那种|这样)?|是(?:那个|这个)意思|那个?味|那种感觉|感觉)"
    r"|(?:不是|跟|和|与)我?(?:想要?|想象|要|期待|说|预期)(?:的|中的)?(?:样子|感觉|效果|那样|那种|这样)?(?:的?(?:不太?一样|不同|有差距|差太多|不符))?)"
    r"(?:了|啊|呀|吧|呢|的|极了|死了|图|画|哦|诶|欸|吗|[!~]){0,4}"
)
_COUNTED = re.compile(
    rf"(?P<lead>(?:我|还是|其实|应该|必须|需要|画面里|图里|里面|一共|总共|只|就|就要|得|要|想要|改成|变成|换成|变|改|画|有|是|来|留|给我|想画|说的是){{0,4}})"
    rf"(?P<number>一|好几|[两二三四五六七八九十几]|\d+|许多|很多)(?P<measure>[{_MEASURES}])(?P<what>.*?)(?P<enough>(?:就(?:好|行|够|可以|ok)了?|就够了|够了|即可)?)(?:吧|了){{0,2}}"
)
_WRONG = re.compile(
    r"(?:啊|哎呀|哦|呃|不好意思|抱歉|对不起)?[,\s]*(?:不对|不是的?|错了|不|我?(?:说|搞|打|弄|写|讲)错了|你?(?:画|理解|搞|弄)错了|不是这样|不是这个意思)(?:啊|呀|吧|哦|呢|了|的)*"
)
_QUESTION = re.compile(
    r"(?!.*(?:帮我|给我画|把|加上|换成|改成|变成|去掉|删|画一|来一))(?:.*(?:什么|谁|为什么|为啥|怎么(?!样$)|哪里|哪个|哪些|哪种|哪儿|多少|几点|如何|干嘛|啥).*"
    r"|(?:你|您)(?:是|叫|会|能|可以|有|知道|觉得|在|喜欢|懂|认识|多大|好吗|还好吗).*|.*(?:是不是|有没有|会不会|对不对|是吗|真的吗|多大|几岁)|这是.*|现在几.*|今天.*(?:吗|呢|怎么样))"
)
_NARRATIVE = re.compile(
    r"我(?:今天|昨天|刚才|刚刚|小时候|以前|曾经|正在|有(?:一|个|点)|是|去|跟|和|最近|女儿|儿子|妈妈|爸爸|老婆|老公|朋友|们|也(?:觉得|喜欢)|叫|住|记得|还记得|以为|的(?:猫|狗|家|朋友|女儿|儿子)).*|今天(?!.*[画要想]).*"
)
_RESET = re.compile(
    r"(?:(?:我们?)?(?:来|画|换)(?:点|个|一个|张|一张|些)?(?:别的|其他的?|另外的|不一样的|新的)(?:吧|东西|内容)?"
    r"|换(?:一)?(?:个|张|幅|下)(?:主题|题材|话题|新的|内容|图|画|思路)?(?!.{0,6}(?:颜色|背景|风格|姿势|角度|天气|季节|时间|发型|衣服|表情))"
    r"|重新(?:来过?|开始|画(?=.))(?:一(?:个|张|幅)(?=$))?|从头(?:来过?|开始|再来|画)|推倒重来|重来|不(?:要|画|想要|想画|想看|喜欢)(?:这个|这张|这些|那个|那张|它|刚才的|之前的)(?:图|画|主题)?了?"
    r"|(?:把)?(?:忘(?:了|掉|记)|别管|不管|抛开)(?:刚才|之前|前面|这个|它|那个|以上|这些)?(?:的|那个|那张|画|图|内容)*(?:吧|了)?|(?:刚才|之前|前面)的?(?:都)?(?:不要了|作废|忘掉|不算)|清空|重置|新(?:的)?(?:图|画|主题)(?=[::,]))[吧了呢啊]?[::,\s]*"
)
_REDRAW = re.compile(
    r"(?:再(?:来|画|生成|做|出|试)|重新(?:画|生成|做|出|试))(?:一(?:张|次|遍|幅|个|版|下))?|重画|重新生成.{0,3}|换一(?:张|个|幅|版)|再试.{0,3}|换一?[个种].{0,6}(?:颜色|背景|风格|姿势|角度|天气|季节|发型|衣服|表情)|(?:再)?多(?:来|画|给我)(?:几|一|两|些)?(?:张|幅|点|些)?|再来几?张?|(?:同样|类似|一样|差不多)的?(?:再)?来?(?:一|几|两)?(?:张|幅|个)|更多(?:的?图片?|类似的)?|再来.{0,2}(?:类似|差不多)的?|继续(?:画|生成)?|再来一?(?:些|点)|还要|再要一?张|重做|重来一张|下一张|换个版本"
)
_UNDO = re.compile(
    r"(?:撤销|撤回|恢复(?:原样|之前的?|到?上一(?:步|张|版))?|(?:改|变|换)回(?:去|来|原来的?(?:样子)?|之前的?)|回到(?:之前|上一(?:步|张|版)).*|还原)"
)
_REMOVING = r"(?:去掉|去除|去了|删掉|删除|删了|删|移除|移走|移掉|拿掉|拿走|拿开|擦掉|擦除|抹掉|抹去|清除|清掉|消除|除去|除掉|隐藏|弄掉|弄走|抠掉|P掉|消失|赶走)"
_BACK = (
    re.compile(
        r"(?:把|将)?(?P<what>.+?)(?:再)?(?:加|放|拿|弄|画|补|找|添|请|要)回(?:来|去|上)?(?:了)?"
    ),
    re.compile(r"(?:恢复|保留|留着|留下)(?P<what>.+)"),
    re.compile(r"(?:把|将)?(?P<what>.+?)(?:还是)?(?:恢复|保留|留着|留下)"),
)
_REMOVE = (
    re.compile(
        rf"(?:把|将)(?P<what>.+?)(?:都|全部|全都|全|统统|也|给|再)*(?:{_REMOVING}|不要)(?:了)?"
    ),
    re.compile(
        rf"(?P<place>天上|天空中?|背景(?:里|中)?|画面(?:里|中|上)?|图(?:里|中|上)|照片(?:里|中|上)|里面|旁边|地上|周围|街上|后面|前面)?(?:都|也|千万)?(?:{_REMOVING}|不要(?:再)?(?:有|出现|画|放|加)?|别(?:有|画|加|出现|要|放)|不(?:想要|需要|用画|用|想看到|想有|该有|应该有|画|加|出现|能有|许有)|没有|没|无|排除|避免)(?:任何|那个|那些|所有的?|其他的?)?(?P<what>.+?)(?:了)?"
    ),
    re.compile(
        rf"(?P<what>.+?)(?:就|都|也|全部?|还是|可以|要)*(?:{_REMOVING}|不要|不需要|不用画?|不要有)(?:了)?"
    ),
)
_SWAPPING = r"(?:替换|改变|转换|变换|修改|换|改|变|转|弄|画|做|涂|染|调|刷|改造|处理|P)(?:成|为|做|到|作)(?:了)?"
_SWAP = re.compile(
    rf"(?:(?:把|将|让|给)?(?P<old>.*?))?(?:都|全部|全|也|再|直接|整体)?{_SWAPPING}(?P<new>.+)"
)
_SWAP_USING = re.compile(r"(?:用|拿)(?P<new>.+?)(?:来)?(?:代替|替换|取代|替代)(?:掉)?(?P<old>.+)")
_BACK_TO = re.compile(
    r"(?:回到|返回到?|变回到?|换回到?|改回到?|恢复(?:成|到|为))(?:成)?(?P<new>.+)"
)
_INSTEAD = re.compile(r"(?:改?用|拿)(?P<new>.+?)(?:来)?(?:代替|替换|取代|替代)(?:它|掉|吧|一下)*")
_MANY = re.compile(
    r"(?P<what>[^太]+?)(?:再|要|可以|更|稍微)*多(?:一点儿?|一些|点|些)|(?:更|再)?多(?:一点儿?|一些|点|些)(?P<thing>.+)"
)
_FEW = re.compile(
    r"(?P<what>.+?)(?:再|要|可以|更|稍微)*少(?:一点儿?|一些|点|些)|(?:更|再)?少(?:画|放|加)?(?:一点儿?|一些|点|些)(?P<thing>.+)|(?P<them>.+?)(?:有点|实在|还是)?太多了?"
)
_NOT = re.compile(r"(?:而|并|可)?不(?:是|要是|应该是)(?P<what>.+)")
_MEANT = re.compile(
    r"(?:(?:我)?(?:说|指|意思|要|想要|想画|想说|本来想要|想的|画)(?:的)?(?:其?实)?是(?:要|想要|想画)?|我是(?:说|想要|要|想画)|(?:应该|其实|应当|本来|而|得|那)*(?:是|改用|换作)|(?:改|换|变|改要)(?=[^变了成个]))(?P<new>.+)"
)
_BETTER = re.compile(
    r"(?P<new>.+?)(?:会|可能|应该|也许|看起来|看上去|的话)*(?:更|比较|更加|要)(?:好看|好|合适|美|漂亮|酷|有感觉|棒|适合|不错|有意境)(?:一?[点些])?"
)
_PLACE = re.compile(
    r"(?:把|将|让)(?P<what>.+?)(?:放|移|摆|搬|挪|安排|置|移动|坐|站|躺)(?:到|在|进|去|至|于)(?P<where>.+)"
)
_GIVE = re.compile(
    r"(?:给|为|帮)(?P<target>它|他|她|它们|他们|她们|这.+?|那.+?|小?[^加戴穿配画添弄打撑]+?)(?:头上|身上|手里|手上|脖子上)?(?P<verb>戴上?|穿上?|加上?|配上?|画上?|添上?|披上?|系上?|打上?|撑上?|来|弄上?|安上?)(?P<what>.+)"
)
_LET = re.compile(
    r"(?:让|使|叫)(?P<target>它|他|她|它们|他们|她们|这.+?|那.+?|画面|整体|颜色|天空|背景|[^看起变显更戴穿拿坐站跑飞笑走睡跳抱打]+?)(?:看起来|变得|变|显得|更加?|再)*(?P<what>.+)"
)
_TOO = re.compile(r"(?P<rest>.*?(?:太|过于|有点|偏).{1,3}?)了?")
_DEGREE = re.compile(r"(?P<rest>.+?)(?:一点儿?|一些|点儿?|些)")
_MORE_SO = re.compile(r"(?P<rest>.*(?:更加?|再).{1,4})")
_ADVERBS = re.compile(
    r"(?:再|更加?|要|稍微|得|可以|变得|变|调|弄|画|太|过于|有点|有些|偏|实在|感觉|还是|显得|看起来|应该)+$"
)
_ADD = re.compile(
    r"(?P<place>.{0,8}?)(?:再|还|也|多|另外|旁边)*(?:添加|增加|加入|加上|加进|添上|画上|放上|补上|配上|加|添|补|放|摆|多画|多加|要有|需要有|得有|画|来|有|要|多)(?:了|上|个(?=[^一-龥]))?(?P<what>.+)"
)
_STYLE = re.compile(
    r"(?:整体|画面|图|照片|这张照片|这张图)?(?:用|以|按照?|采用|要|走|来|带|有|是|做|呈现|试试|使用|改用|换)?(?:点|种)?(?:像|类似于?|仿照?|模仿)?(?P<what>.+?)"
    r"(?:那样|那种|这种|一样|一般|似)?的?(?:风格|画风|风(?!景|车|筝|扇|力)|感觉|效果|样式|质感|笔触|手法|味道|调调|气质|滤镜|流派|版本?|形式)(?:画|绘制|来画|呈现|一点|的)*"
)
_STYLED_THING = re.compile(
    r"(?:画|绘制|生成|来|做|用|以|要)*(?:一?[幅张个只])?(?P<what>[^一-龥]*[\u4e00-\u9fff]{2,10}?)(?:风格|画风)的?(?:画|绘制)?的?(?P<rest>.+)"
)
_LIKE = re.compile(
    r"(?:看起来|画得|变得|弄得)?(?:像|类似|如同|仿佛|仿照?|模仿)(?P<what>.+?)(?:那样|一样|似的|那种|般|一般)?(?:的)?(?P<kind>画作?|照片|图片|油画|作品|感觉|样子|风格)?"
)
_PICTURE = re.compile(
    r"(?:这|那|整)?(?:张|个|幅)?(?:照片|图片?|画面?|图像|相片|整体|它|全部|颜色|色彩|风格|时间|季节|天气|画风|场景|氛围)(?:的颜色|的风格|的时间|的天气)?"
)
_COLOUR_OF = re.compile(r"(?P<target>.+?)的?(?:颜色|色彩|毛色|配色|样子|造型)")
_PRONOUN = re.compile(r"(?:它|他|她|它们|他们|她们|这个|那个|主体|主角)")
_ANTONYMS = {
    "暗": "bright", "黑": "bright", "亮": "dark", "大": "small", "小": "big", "冷": "warm", "热": "cool", "乱": "clean", "空": "rich in detail",
    "简单": "detailed", "复杂": "simple", "艳": "muted colours", "鲜艳": "muted colours", "淡": "vivid", "悲伤": "happy", "老": "young",
    "年轻": "old", "恐怖": "friendly", "吓人": "friendly", "模糊": "sharp", "假": "realistic", "挤": "spacious", "瘦": "chubby", "胖": "slim",
    "单调": "colourful", "远": "close-up", "近": "wide shot", "死板": "lively", "刺眼": "soft light", "高": "low", "矮": "tall",
}  # fmt: skip
_DEGREE_WORDS = {
    "亮": "bright", "暗": "dark", "大": "big", "小": "small", "鲜艳": "vivid", "艳": "vivid", "暖": "warm", "冷": "cold", "可爱": "cute", "真实": "realistic",
    "写实": "realistic", "细致": "detailed", "清晰": "sharp", "清楚": "sharp", "远": "wide shot", "近": "close-up", "热闹": "busy", "柔和": "soft",
    "简单": "simple", "梦幻": "dreamy", "神秘": "mysterious", "浪漫": "romantic",
}  # fmt: skip

Knows = Callable[[str], bool]


def operations(message: str, knows: Knows) -> list[Operation]:
    """The operations of a message in order; `knows(phrase)` says if the picture shows it."""
    message = message.translate(PUNCTUATION).translate(simplified())
    message = (
        re.sub(r"[「」『』《》“”]", "", message).replace("一点的", "的").replace("一些的", "的")
    )
    found: list[Operation] = []
    for sentence in re.findall(r"[^.!?;\n]+[.!?;\n]*", message):
        asked = "?" in sentence
        for clause in _SPLIT.split(sentence.strip(" .!?;\n~…")):
            found += [
                _understood(operation, clause, knows)
                for operation in _operations_of(clause.strip(" :"), asked, knows, found)
            ]
    return join_corrections([item for item in found if item != _CORRECTED], knows)


_SPLIT = re.compile(
    r"\s*,\s*|(?<=.)(?=但是|不过|可是|只不过|而不是|而非)|(?<=[^不非])(?=但(?!愿|是))|(?<=[样变动的])(?=只是|就是)|(?<=不变|不动|别动|别变|一样)(?=把|加|换|改|只)"
)


def _understood(operation: Operation, clause: str, knows: Knows) -> Operation:
    """The operation without the words that stayed Chinese, if it still says something then.

    What describes or adds a thing loses single attributes at most: the thing itself must be
    known. Where something is drawn already, a description must be known whole.
    """
    texts = [value for value in _texts(operation) if FOREIGN.search(value)]
    if not texts:
        match operation:
            case Add(text) | Draw(text) if words(text) and not stems(text):
                return Chat("unclear", clause)  # "some", and nothing more
        return operation
    unknown = "、".join(dict.fromkeys(word for text in texts for word in FOREIGN.findall(text)))
    match operation:
        case Draw(text, fresh) if fresh or not knows(""):
            known = _known(text)
            return Draw(known, fresh, left_out=unknown) if known else Chat("unclear", clause)
        case Add(text, back):
            known = _known(text)
            return Add(known, back, left_out=unknown) if known else Chat("unclear", clause)
    return Chat("unclear", clause)


def _texts(operation: Operation) -> list[str]:
    return [
        value
        for name in ("text", "old", "new", "target", "value", "what")
        if isinstance(value := getattr(operation, name, None), str)
        and not isinstance(operation, Chat)
    ]


def _known(text: str) -> str:
    """A translated phrase without its Chinese words; empty when its subject is among them."""
    picture = Picture.parse(text)
    kept: list[Piece] = []
    for number, piece in enumerate(picture.pieces):
        found = piece.text.split()
        if (found and FOREIGN.search(found[-1])) or FOREIGN.search(piece.link):
            if number == 0:
                return ""
            continue
        piece.text = with_article(" ".join(word for word in found if not FOREIGN.search(word)))
        kept.append(piece)
    if FOREIGN.search(picture.medium):
        return ""
    first = words(str(kept[0])) if kept else []
    if not first or first[0] in PREPOSITIONS or kept[0].link or not stems(kept[0].text):
        return ""
    if sum(map(len, FOREIGN.findall(text))) > 2 * sum(len(words(str(piece))) for piece in kept):
        return ""  # more was lost than found
    picture.pieces = kept
    return picture.render()


_CORRECTED: Operation = Chat("unclear")
"""Stands for "that is wrong" until the clause after it says what is right."""


def _operations_of(
    clause: str, asked: bool, knows: Knows, before: list[Operation]
) -> list[Operation]:
    if not clause:
        return []
    if len(clause) > _LONGEST_CLAUSE:
        return [Draw(translate(clause))]
    if _WRONG.fullmatch(clause):
        return [_CORRECTED]
    if chat := _chat(clause, asked):
        return [chat]
    corrected = bool(before) and before[-1] == _CORRECTED
    fresh = more = False
    for _ in range(8):
        start = clause
        clause = _END.sub("", clause).strip(" ,:")
        for pattern, reset in ((_RESET, True), (_START, False)):
            if (match := pattern.match(clause)) and not (reset and _REDRAW.fullmatch(clause)):
                rest = clause[match.end() :].strip(" ,:")
                if reset:
                    return [Reset(), *(_operations_of(rest, False, knows, []) if rest else [])]
                if not rest:
                    break
                fresh = fresh or any(
                    mark in match.group() for mark in ("想", "我要", "给我", "帮我")
                )
                clause = rest
        if clause == start:
            break
    if (match := _MORE.match(clause)) and not _REDRAW.fullmatch(clause):
        more, rest = True, clause[match.end() :]
        if not _DEGREE.fullmatch(clause):
            clause = rest
    if _PRAISE.fullmatch(clause):
        return [Chat("praise")]
    found = _by_rule(clause, more, knows)
    if found is not None:
        return found
    return _unruled(clause, corrected, fresh, more, before)


def _chat(clause: str, asked: bool) -> Chat | None:
    kinds: tuple[tuple[ChatKind, re.Pattern[str]], ...] = (
        ("greeting", _GREETING),
        ("thanks", _THANKS),
        ("praise", _PRAISE),
        ("complaint", _COMPLAINT),
        ("statement", _ACKNOWLEDGE),
        ("statement", _KEEP),
        ("undo", _UNDO),
        ("question", _QUESTION),
        ("statement", _NARRATIVE),
    )
    for kind, pattern in kinds:
        if pattern.fullmatch(clause) and (
            kind != "question" or asked or re.search(r"什么|谁|为什么|多少|[吗呢]", clause)
        ):
            return Chat(kind)
    return None


def _by_rule(clause: str, more: bool, knows: Knows) -> list[Operation] | None:
    if not more and (counted := _count(clause, knows)):
        return counted
    for rule in (_redo, _amount, _remove, _change, _excess, _look, _degree):
        found = rule(clause)
        if found is not None:
            return found
    return _add(clause, more)


def _redo(clause: str) -> list[Operation] | None:
    if _REDRAW.fullmatch(clause):
        return [Redraw()]
    for pattern in _BACK:
        if match := pattern.fullmatch(clause):
            return [Add(translate(match["what"]), back=True)]
    return None


def _count(clause: str, knows: Knows) -> list[Operation] | None:
    match = _COUNTED.fullmatch(clause)
    if match is None:
        return None
    number = {"一": "one", "1": "one", "许多": "many", "很多": "many"}.get(
        match["number"], _NUMBERS.get(match["number"], match["number"])
    )
    lead = match["lead"] + match["enough"]
    if number == "one" and not re.search(r"只|就|够|改|变|换|留", lead):
        return None  # as much as "a"
    if not match["what"]:
        return [Count(number)] if lead or number != "one" else None
    what = translate(match["what"])
    described = words(bare(what))[:-1]
    if CJK.search(what) or not all(map(is_adjective, described)) or not knows(what):
        return None
    return [Count(number, bare(what))]


def _amount(clause: str) -> list[Operation] | None:
    if match := _MANY.fullmatch(clause):
        return [Add(f"many {_plural(translate(match['what'] or match['thing']))}")]
    if match := _FEW.fullmatch(clause):
        return [Fewer(_plural(translate(match["what"] or match["thing"] or match["them"])))]
    return None


def _plural(noun: str) -> str:
    counted = re.match(r"an? (.*?)(\w+)$", noun)
    return counted[1] + plural(counted[2]) if counted else noun


def _remove(clause: str) -> list[Operation] | None:
    if match := _NOT.fullmatch(clause):
        return [Not(translate(match["what"]))]
    for pattern in _REMOVE:
        if match := pattern.fullmatch(clause):
            what = re.sub(r"^(?:里|中|上|面)?(?:的)?(?:那|这)?些?|的?都$", "", match["what"])
            what = re.sub(r"^(?:照片|图片?|画面?|背景|天上|街上)(?:里|中|上)面?的?(?=.)", "", what)
            if what in ("", "这样", "这么多", "那么多", "变", "太"):
                return None
            parts = re.split(r"[和与跟、或]", what)
            return [Remove(translate(part)) for part in parts if part]
    return None


def _change(clause: str) -> list[Operation] | None:
    if match := _PLACE.fullmatch(clause):
        return [Place(_target(match["what"]), translate(f"在{match['where']}"))]
    if match := _SWAP_USING.fullmatch(clause):
        return [_swapped(match["old"], match["new"])]
    if match := _SWAP.fullmatch(clause):
        return [_swapped(match["old"] or "", match["new"])]
    if match := _GIVE.fullmatch(clause):
        verb = "wearing" if match["verb"][0] in "戴穿披系" else "with"
        return [Attach(_target(match["target"]), f"{verb} {translate(match['what'])}")]
    if match := _MEANT.fullmatch(clause):
        return [_swapped("", match["new"])]
    if match := _BETTER.fullmatch(clause):
        return [_swapped("", match["new"])]
    if match := _BACK_TO.fullmatch(clause) or _INSTEAD.fullmatch(clause):
        return [_swapped("", match["new"])]
    return None


def _swapped(old: str, new: str) -> Operation:
    """Make `old` into `new`: an attribute of it, a style of the whole, or another thing."""
    if match := _LIKE.fullmatch(new.strip("的")):
        return _styled(match["what"], match["kind"])
    if match := _STYLE.fullmatch(new):
        return _styled(match["what"], None)
    value = translate(
        re.sub(r"^(?:一?[种个点张幅])(?=.)", "", new)
        if is_value(translate(new[1:] or new))
        else new
    )
    old = re.sub(r"^(?:把|将)", "", old).strip("的 ")
    old = re.sub(
        r"(?<=.)(?:可不可以|能不能|可以|可否|能否|能|应该|应当|需要|要|也|都|再|直接|就)+$", "", old
    )
    if re.fullmatch(r"背景.{0,2}", old):
        return Set("background", value)
    if not old or _PICTURE.fullmatch(old):
        if is_value(value):
            return Set(None, value)
        return Replace(None, value if _counted(new) else re.sub(r"^an? ", "", value))
    if match := _COLOUR_OF.fullmatch(old):
        return Set(_target(match["target"]), value)
    if is_value(value):
        return Set(_target(old), value)
    if not _counted(new):
        value = re.sub(r"^an? ", "", value)
    return Replace(None if _PRONOUN.fullmatch(old) else translate(old), value)


def _counted(text: str) -> bool:
    """Whether a Chinese noun phrase begins with a number or the like."""
    return any(token.kind == "det" for token in segment(text)[:1])


def _target(text: str) -> str | None:
    text = text.strip("的 ")
    return (
        None
        if not text or _PRONOUN.fullmatch(text) or _PICTURE.fullmatch(text)
        else translate(text)
    )


def _styled(what: str, kind: str | None) -> Operation:
    name = translate(what)
    if re.fullmatch(r"像?(?:照片|真的?|真实|写实)", what):
        return Restyle("a realistic photo")
    found = role(name)
    if found in ("medium", "palette"):
        return Restyle(name)
    lead = ""
    if kind in ("画", "画作", "油画", "照片", "图片"):
        lead = f"{translate(kind)} "
    named = name[:1].isupper() or name.startswith("the ")
    return Restyle(f"{lead}in the style of {name}" if named or lead else f"{bare(name)} style")


def _look(clause: str) -> list[Operation] | None:
    if (match := _STYLE.fullmatch(clause)) and len(match["what"]) <= 20:
        return [_styled(match["what"], None)]
    if match := _STYLED_THING.fullmatch(clause):
        return [Draw(translate(match["rest"]), fresh=True), _styled(match["what"], None)]
    if match := _LIKE.fullmatch(clause):
        return [_styled(match["what"], match["kind"])]
    if re.fullmatch(r".*上色", clause):
        return [Restyle("in colour")]
    if role(translate(clause)) in ("medium", "palette"):
        return [Restyle(translate(clause))]
    return None


def _excess(clause: str) -> list[Operation] | None:
    return _graded(clause, (_TOO, True))


def _degree(clause: str) -> list[Operation] | None:
    return _graded(clause, (_DEGREE, False), (_MORE_SO, False))


def _graded(clause: str, *rules: tuple[re.Pattern[str], bool]) -> list[Operation] | None:
    for pattern, less in rules:
        if not (match := pattern.fullmatch(clause)):
            continue
        rest = match["rest"]
        for size in range(min(4, len(rest)), 0, -1):
            what, before = rest[-size:], rest[:-size]
            known = chinese().get(what)
            value = _ANTONYMS.get(what) if less else _DEGREE_WORDS.get(what)
            if value is None and known and known[1] in ("adjective", "colour"):
                value = f"less {known[0]}" if less else known[0]
            target = _ADVERBS.sub("", before)
            if value and (not before or target != before or target):
                return [Set(_target(target), value)]
    return None


def _add(clause: str, more: bool) -> list[Operation] | None:
    if (match := _LET.fullmatch(clause)) and CJK.search(match["what"]):
        value = translate(match["what"])
        if value != match["what"]:
            target = _target(match["target"])
            return [Set(target, value) if is_value(value) else Attach(target, value)]
    if not (match := _ADD.fullmatch(clause)):
        return None
    verb = clause[len(match["place"]) : match.start("what")]
    if not more and not re.search(r"加|添|补|放|摆|多|再|还|也|有", verb):
        return None
    place, what = match["place"], match["what"]
    where = re.sub(r"^(?:在|往|给)", "", place)
    if not where or _PRONOUN.fullmatch(where) or _PICTURE.fullmatch(where):
        return [Add(translate(what))]
    if (
        segment(where) and segment(where)[-1].kind in ("loc", "somewhere", "place")
    ) or where in _PLACES:
        return [Add(translate(f"{where}有{what}"))]
    return None


def _unruled(
    clause: str, corrected: bool, fresh: bool, more: bool, before: list[Operation]
) -> list[Operation]:
    if match := _DRAW.match(clause):
        clause, fresh = clause[match.end() :], True
    clause = re.sub(r"^(?:一下|的是)|(?<=.)(?:一点儿?|一些)$", "", clause)
    if (styled := _look(clause)) and not more:
        return styled
    text = translate(clause)
    if not text:
        return []
    last = before[-1] if before else None
    if corrected:
        return [Set(None, text) if is_value(text) else Replace(None, text)]
    if more or isinstance(last, Add):
        return [Add(text)]
    if is_value(text) and not isinstance(last, Draw):
        return [Set(None, text)]
    if singular(text.lower()) in ("picture", "photo") and not fresh:
        return [Redraw()]
    return [Draw(text, fresh)]
