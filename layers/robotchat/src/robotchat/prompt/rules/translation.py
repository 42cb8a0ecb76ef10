"""Chinese phrases in English.

A small grammar over the lexicon: classifiers, attributes with 的, places with 在 and a localiser,
verbs with objects. Words that the lexicon lacks stay Chinese.
"""

# ruff: noqa: E501, SIM905 (word lists and patterns read best in wide lines)

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from robotchat.prompt.rules.lexicon import bare, chinese, longest, plural
from robotchat.prompt.rules.patterns import Pattern
from robotchat.prompt.rules.structure import canonical, role, with_article

CJK = Pattern(r"[\u3400-\u9fff\uf900-\ufaff]")

MEASURES = "只个位名条头匹张幅座辆架艘棵朵本把顶件盏颗间栋片块根支枚面扇台部所家口尾滴层道轮双对群杯碗副片束排堆串瓶盘壶篮袋锅种场缕丝抹"
_OF = {
    "双": "pair", "对": "pair", "群": "group", "杯": "cup", "碗": "bowl", "束": "bouquet", "排": "row",
    "堆": "pile", "串": "string", "瓶": "bottle", "盘": "plate", "壶": "pot", "篮": "basket", "锅": "pot",
}  # fmt: skip
NUMBERS = {
    "两": "two", "二": "two", "三": "three", "四": "four", "五": "five", "六": "six", "七": "seven",
    "八": "eight", "九": "nine", "十": "ten", "几": "a few", "好几": "several", "数": "several",
}  # fmt: skip
_DETERMINER = Pattern(
    r"(?:(?P<some>一些|一点儿?|些|点儿?(?=[^\d]))|(?P<many>很多|许多|好多|大量|无数|满天|漫天|满地)的?"
    rf"|(?P<the>[这那该]|这个|那个|这些|那些)(?P<the_measure>[{MEASURES}])?(?=.)"
    rf"|(?P<more>另外?)?(?P<number>一|好几|[两二三四五六七八九十几数]|\d+)(?P<big>大|小)?(?P<measure>[{MEASURES}])"
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
PLACES = {
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
        if word in PLACES and size > 1:
            return _Token(word, "somewhere", PLACES[word])
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
            text, "det", "another" if number == "一" else f"{NUMBERS.get(number, number)} more"
        )
    container = _OF.get(measure)
    if container and not (measure in "双对" and number != "一"):
        if number in ("一", "1"):
            return _Token(text, "det", f"a {container} of")
        return _Token(text, "det", f"{NUMBERS.get(number, number)} {container}s of")
    if number in ("一", "1"):
        return _Token(text, "det", "a")
    return _Token(text, "det", NUMBERS.get(number, number))


_LONGEST_PHRASE = 40
"""Words of a phrase that the grammar takes apart; a longer one is put into English word by word."""


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
    elif len(inner) == 1 and last.text + (localiser.text if localiser else "") in PLACES:
        phrase = PLACES[last.text + (localiser.text if localiser else "")]
    elif last.kind == "somewhere" or (last.text in PLACES and localiser is None):
        words = " ".join(
            filter(None, (_nominal(None, inner[:-1]), PLACES.get(last.text, last.english)))
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
    if any(token.kind in ("loc", "somewhere") for token in left) or left[-1].text in PLACES:
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
    if len(tokens) > 1 and tokens[0].text in PLACES and tokens[1].kind != "verb":
        return f"{_nominal(determiner, tokens[1:])} {PLACES[tokens[0].text]}"
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
