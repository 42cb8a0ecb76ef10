"""Going back: which earlier picture a message means ("the first one but at night", 回到第一张).

Only the picture is found here, and the rest of the message, which says what else is wanted; that
rest is folded like any other message, onto what the earlier picture showed.
"""

# ruff: noqa: E501 (word lists and patterns read best in wide lines)

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from robotchat.prompt.models import Fold, PromptState
from robotchat.prompt.rules import english
from robotchat.prompt.rules.chinese import PUNCTUATION
from robotchat.prompt.rules.lexicon import simplified
from robotchat.prompt.rules.patterns import Pattern, readable
from robotchat.prompt.rules.structure import head_of, stems
from robotchat.prompt.rules.translation import CJK, translate

Earlier = Callable[[], Sequence[PromptState]]
"""What the pictures of a conversation showed, oldest first; asked only when a message goes back."""

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Nth:
    """The picture with this number, from 1; negative numbers count from the last, which is -1."""

    number: int


@dataclass(frozen=True, slots=True)
class Undo:
    """The picture before the last changes."""

    steps: int = 1


@dataclass(frozen=True, slots=True)
class Showing:
    """The last picture that shows something; `before`: the one from before that came in."""

    what: str
    before: bool = False


Which = Nth | Undo | Showing


@dataclass(frozen=True, slots=True)
class Recall:
    """The picture that a message goes back to, and what else the message says."""

    which: Which
    rest: str


def recall(message: str) -> Recall | None:
    """The earlier picture that a message names, if it names one."""
    message = readable(message)
    if CJK.search(message):
        return _recall(_chinese_clauses(message), _chinese)
    return _recall(_english_clauses(message), _english)


def resolve(which: Which, states: Sequence[PromptState], current: PromptState) -> int | None:
    """The place in `states`, oldest first, of the picture that is meant; `None`: there is none.

    `current` is what the conversation draws now: the last picture, unless that came to nothing.
    """
    match which:
        case Nth(number):
            place = number - 1 if number > 0 else len(states) + number
            return place if 0 <= place < len(states) else None
        case Undo(steps):
            line = _line_of(states, current)
            return line[-1 - steps] if steps < len(line) else None
        case Showing(what, before):
            shown = [_shows(state, what) for state in states]
            for place in range(len(states) - 1, -1, -1):
                if not before and shown[place]:
                    return place
                if before and place and shown[place] and not shown[place - 1]:
                    return place - 1
            return None


def _line_of(states: Sequence[PromptState], current: PromptState) -> list[int]:
    """The pictures that led to the present one, as places: what was gone back from is left out."""
    line: list[int] = []
    for place, state in enumerate(states):
        same = next((i for i, earlier in enumerate(line) if states[earlier] == state), None)
        if same is None:
            line.append(place)
        else:
            del line[same + 1 :]
    if not states or _words(states[-1]) != _words(current):
        line.append(len(states))
    return line


def _words(state: PromptState) -> tuple[str, str]:
    return state.prompt, state.negative_prompt


def _shows(state: PromptState, what: str) -> bool:
    head = head_of(what)
    return bool(head) and head in stems(state.prompt)


def fold_back(
    current: PromptState,
    message: str,
    *,
    editing: bool,
    earlier: Earlier,
    fold: Callable[[PromptState, str], tuple[Fold, S]],
    source: S,
) -> tuple[Fold, S] | None:
    """The fold of a message that goes back to an earlier picture; `None` for any other message.

    `fold` folds the rest of the message onto what that picture showed, and says who did so;
    `source` stands for the rules, which did it where there is no rest.
    """
    found = recall(message)
    if found is None:
        return None
    states = earlier()
    place = resolve(found.which, states, current)
    language = "zh" if CJK.search(message) else "en"
    if place is None:
        if isinstance(found.which, Showing):
            return None
        return _reply(current, _NONE[language]), source
    state = states[place]
    if place == len(states) - 1 and _words(state) == _words(current):
        return (
            fold(current, found.rest) if found.rest else (_reply(current, _HERE[language]), source)
        )
    if found.rest:
        answer, who = fold(state, found.rest)
        if answer.mode != "reply":
            return answer.model_copy(update={"turn": place}), who
    shown = Fold(
        mode="edit" if editing else "generate",
        prompt=state.prompt,
        negative_prompt=state.negative_prompt,
        turn=place,
    )
    return shown, source


def _reply(state: PromptState, text: str) -> Fold:
    return Fold(
        mode="reply", prompt=state.prompt, negative_prompt=state.negative_prompt, reply=text
    )


_NONE = {
    "en": "There is no earlier picture of that number to go back to. Tell me what to put back or take out.",
    "zh": "前面没有这样一张图可以退回。请告诉我要加回什么或去掉什么。",
}
_HERE = {
    "en": "That is the picture that we have now. Tell me if anything should change.",
    "zh": "现在就是这一张。想改哪里,告诉我吧。",
}


# ------------------------------------------------------------------------------ both languages


def _recall(clauses: list[str], named: Callable[[str], Recall | None]) -> Recall | None:
    for place, clause in enumerate(clauses):
        found = named(clause)
        if found is not None:
            rest = [found.rest] if found.rest else []
            others = [*clauses[:place], *rest, *clauses[place + 1 :]]
            return Recall(found.which, ", ".join(others))
    return None


# ------------------------------------------------------------------------------ English

_NUMBERS = {
    "first": 1, "1st": 1, "second": 2, "2nd": 2, "third": 3, "3rd": 3, "fourth": 4, "4th": 4, "fifth": 5, "5th": 5,
    "sixth": 6, "6th": 6, "seventh": 7, "7th": 7, "eighth": 8, "8th": 8, "ninth": 9, "9th": 9, "tenth": 10, "10th": 10,
    "original": 1, "initial": 1, "starting": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7,
    "eight": 8, "nine": 9, "ten": 10, "a": 1, "last": -1, "latest": -1, "newest": -1, "previous": -2, "prior": -2,
    "earlier": -2, "older": -2, "penultimate": -2,
}  # fmt: skip
_NOUN = r"(?:one|picture|pic|image|photo|version|attempt|try|result|drawing|turn|draft|render|variant|variation|shot|state|design|idea)"
_ORDINAL = r"(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|\d+(?:st|nd|rd|th)|original|initial|starting|last|latest|newest|previous|prior|earlier|older|penultimate)"
_WHICH = (
    rf"(?:(?:the |that |your |our |my )(?:very )?(?P<ordinal>{_ORDINAL})(?: {_NOUN})?|(?P<ordinal2>{_ORDINAL}) {_NOUN}"
    rf"|(?:the )?{_NOUN} (?:no\.? ?|number |#)?(?P<number>\d{{1,2}}|one|two|three|four|five|six|seven|eight|nine|ten)"
    rf"|(?:the )?(?:number |no\.? ?|#)(?P<number2>\d{{1,2}}|one|two|three|four|five|six|seven|eight|nine|ten)"
    rf"|(?P<previous>the (?:one|version|picture|image) (?:from )?before(?: (?:that|this|it))?|the one from before|what (?:we|you|i|it) (?:had|was|did) before)"
    rf"|(?P<start>the (?:beginning|start|very beginning)|square one|how it (?:was|looked) (?:at first|originally|in the beginning)))"
    r"(?: (?:again|you (?:made|drew|did|showed(?: me)?|gave me)|from (?:before|earlier)|(?:that )?we had|that (?:i|we|you) .{1,30}?|of (?:all|them|these|those)))?"
)
_REST = r"(?P<rest>(?:,|:)? (?:but|with|without|at|in|on|as|and|only|just|except|though|under|by|during)\b.+)?"
_BACK_TO = r"(?:(?:go|come|turn|switch|change|step|move|get|jump|let's go|take (?:me|us|it)|bring (?:me|us|it))(?: all the way)? )?back to|return(?: it)? to|revert(?: it)?(?: back)? to|rewind to|roll(?: it)? ?back to|reset(?: it)? to"
_USE = (
    r"restore|re-?use|use|take|keep|pick|choose|select|want|need|give me|show(?: me)?|bring back|get back|continue (?:with|from)|start (?:again )?from|"
    r"work (?:with|from|on)|stick (?:with|to)|stay with|base (?:it|this) on|go with|build on|have|draw|do|repeat|redo|like|liked|love|loved|prefer|preferred|enjoyed|meant|i'll take|see"
)
_BETTER = (
    r"(?:much |way |far |a lot |even |so |really |actually |just |still |definitely |by far )*(?:better|nicer|best|good|great|perfect|prettier|cooler|more [\w-]+|the best(?: one)?|"
    r"my favou?rite|lovely|fine|right|ok(?:ay)?|closer(?: to .+)?|beautiful|it)"
)
_RECALLS = tuple(
    Pattern(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?P<back>{_BACK_TO}) {_WHICH}{_REST}",
        rf"(?:i |we )?(?:really |still |actually |also |think i |just )*(?:{_USE}) {_WHICH}(?: (?P<better>more|better|best|most|a lot|so much|the (?:most|best)|after all))*{_REST}",
        rf"(?:i think |i guess |i find )?{_WHICH}(?:'s| was| is| looked| looks| turned out| came out| had been| felt)(?: to be)? (?P<better2>{_BETTER})(?: (?:than .+|though|i think|after all|to me|overall))?{_REST}",
        rf"{_WHICH}(?: instead| after all)?{_REST}",
    )
)
_UNDOES = tuple(
    Pattern(pattern, re.IGNORECASE)
    for pattern in (
        r"undo(?: (?:that|it|this|everything since|(?:the|my|your|that|this|those) (?:last |latest |previous )?(?P<steps>two |three |four |five |\d )?(?:change|edit|step|modification|one|thing|update|action)s?(?: (?:you|i|we) (?:made|did))?|(?:the )?last(?: (?:bit|part|message|request))?))?",
        r"(?:go|step|take (?:it|me|us)?|move|roll(?: it)?|turn)? ?back(?: (?:by )?(?P<steps>a|one|two|three|four|five|\d) (?:step|picture|version|turn|change|image|message)s?)?(?: (?:please|again))?",
        r"(?:go|take|step) (?P<steps>a|one|two|three|four|five|\d) (?:step|picture|version|turn|change|image)s? back(?:wards?)?",
        r"(?:revert|rollback|roll back|reverse|cancel|discard|take back)(?: (?:it|that|this|(?:the|my|that|this) (?:last )?(?:change|edit|step|modification|one)s?))?(?: (?:please|again))?",
        r"(?:(?:make|have|put|leave|keep|get|turn|change|bring) (?:it|this|that|everything|the (?:picture|image)) (?:back )?)?(?:back )?(?:to )?(?:like|as|the way|how) (?:it|everything) (?:was|looked)(?: (?:before|earlier|previously))?",
        r"as (?:it was )?before|(?:change|turn|switch|put) (?:it|that|this) back(?: again)?|(?:i )?(?:didn't|don't|do not) (?:want|like) (?:that|this|the (?:last )?) ?(?:change|edit)(?: at all)?|forget (?:the|that) (?:last )?(?:change|edit|step)",
    )
)
_RECALLS_SHOWING = tuple(
    Pattern(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?:{_BACK_TO}|(?:i |we )?(?:really |still |actually )*(?:restore|re-?use|liked|loved|preferred|prefer|like|bring back|take|use|keep)) (?:the |that )(?:one|version|picture|image|photo) (?P<how>from before|before|with(?:out)?(?! the same)|showing|that (?:had|showed)|where (?:there was|it had)|of) (?:(?:you|we|i) (?:added|put in|put|drew|made|changed) )?(?P<what>(?:an? |the |that |my )?[\w' -]+?)(?: (?:better|more|again|best|came(?: in)?|was (?:added|there)|in it))*{_REST.replace('with|without|at|in|on|as|', '')}",
        rf"(?:the |that )(?:one|version|picture|image|photo) (?P<how>with(?:out)?|of|showing) (?P<what>(?:an? |the |that )?[\w' -]+?) (?:was|is|looked|looks) {_BETTER}{_REST}",
        rf"(?:{_BACK_TO}) (?P<how>)(?P<what>(?:an? |the |that |my )?[\w' -]+?){_REST}",
        r"(?:back )?to (?:how it was|the way it was|the time) (?P<how>before) (?:(?:you|we|i) (?:added|put in|put|drew|made|changed) )?(?P<what>(?:an? |the |that )?[\w' -]+)",
    )
)


def _english_clauses(message: str) -> list[str]:
    sentences = re.split(r"(?<=[.!?;…])\s+|\n+", message.replace("’", "'"))
    parts = [part for sentence in sentences for part in english.SPLIT.split(sentence)]
    return [text for text in (part.strip(" \t.!?;,…~") for part in parts) if text]


def _english(clause: str) -> Recall | None:
    bare = english.unwrapped(clause)
    for text in dict.fromkeys((clause, bare)):
        for pattern in _UNDOES:
            if match := pattern.fullmatch(text):
                steps = (match.groupdict().get("steps") or "a").strip().lower()
                return Recall(Undo(int(steps) if steps.isdigit() else _NUMBERS[steps]), "")
        for pattern in _RECALLS:
            if match := pattern.fullmatch(text):
                return Recall(_which(match), _tail(match["rest"]))
        for pattern in _RECALLS_SHOWING:
            if match := pattern.fullmatch(text):
                how, what = match["how"].lower(), match["what"]
                before = "before" in how or how == "without"
                rest = match.groupdict().get("rest")
                return Recall(Showing(what, before), _tail(rest))
    return None


def _which(match: re.Match[str]) -> Which:
    groups = match.groupdict()
    if groups["previous"]:
        return Nth(-2)
    if groups["start"]:
        return Nth(1)
    word = groups["ordinal"] or groups["ordinal2"] or groups["number"] or groups["number2"]
    digits = re.match(r"\d+", word)
    number = int(digits[0]) if digits else _NUMBERS[word.lower()]
    if number == -1 and (groups.get("back") or groups.get("better") or groups.get("better2")):
        number = -2  # said of the picture before this one
    return Nth(number)


def _tail(rest: str | None) -> str:
    return re.sub(
        r"^[,: ]*(?:(?:but|and|only|just|except|though|then|now)\b[, ]*)*",
        "",
        rest or "",
        flags=re.I,
    )


# ------------------------------------------------------------------------------ Chinese

_DIGITS = {c: n for n, c in enumerate("一二三四五六七八九十", start=1)} | {"两": 2}
_ZH_NOUN = r"(?:图片?|图|画面?|照片|版本|样子|状态|结果|效果|作品)"
_ZH_WHICH = (
    rf"(?:第(?P<nth>[一二三四五六七八九十两]|\d+)(?:张|幅|个|版|次|副|种|图)(?:的)?{_ZH_NOUN}?"
    rf"|(?P<first>最初|最开始|最早|一开始|起初|原来|原先|原本|原始|初始|开头|首)(?:的)?(?:那|这)?一?(?:张|幅|个|版|次)?(?:的)?{_ZH_NOUN}?|(?P<first2>原图|原版|原样|原状)"
    rf"|(?P<last2>上上|前面第二|倒数第二)(?:一)?(?:张|幅|个|版|次)(?:的)?{_ZH_NOUN}?"
    rf"|(?P<previous>上一?|前一|之前|刚才|刚刚|前面|先前|方才|上)(?:的)?(?:那|这)?一?(?:张|幅|个|版|次|步)(?:的)?{_ZH_NOUN}?|(?P<previous2>(?:之前|刚才|刚刚|先前)的?{_ZH_NOUN}?)"
    rf"|(?P<latest>最后|最新|最近)(?:的)?(?:那|这)?一?(?:张|幅|个|版|次)(?:的)?{_ZH_NOUN}?)"
)
_ZH_LEAD = r"(?:请|麻烦|我?(?:还是|更|比较|最|很|真的|挺|其实|觉得|感觉|认为|想要?|要|希望|想)|我们?|你|帮我|给我|让我们?|咱们?|那就|那|就|还是|要不|不如|算了|能不能|可以|能|可不可以|再|重新|都|嗯++|不行|不好|,){0,6}+"
_ZH_GO = r"(?:回到|返回到?|退回到?|回退到?|恢复(?:到|成|为|回)?|换回到?|改回到?|变回到?|还原(?:到|成|为)?|撤回到?|切换?回到?|用回|用|要|选择?|保留|采用|使用|基于|按照?|以|在|拿|从|喜欢|看看?|把|将|给|对|来|画)"
_ZH_REST = r"(?P<rest>(?:,|,)?(?:但是?|不过|只是|然后|再|并且?|把|加|改|换|变|只|就把|可是|去掉|不要|弄|调).+)?"
_ZH_GOOD = r"(?:更|比较|还是|要|就|最|挺|很|真|都|反而|其实|看起来|看着|画得|显得|会)*(?:好看|漂亮|好|美|棒|不错|合适|喜欢|满意|行|可以|对|自然|像样|有感觉|强)(?:得?多|一些|一点|些|点|了|呢|啊|呀|吧|的)*"
_ZH_RECALLS = tuple(
    Pattern(pattern)
    for pattern in (
        rf"{_ZH_LEAD}(?P<back>{_ZH_GO})了?{_ZH_WHICH}(?:的?基础上|为基础|为准|开始|继续|上|里)?(?:吧|了|来|去|那样|的?样子)*{_ZH_REST}",
        rf"{_ZH_LEAD}(?P<better>){_ZH_WHICH}{_ZH_GOOD}{_ZH_REST}",
        rf"{_ZH_LEAD}{_ZH_WHICH}(?:吧|呢|就行|就好|即可)?{_ZH_REST}",
    )
)
_ZH_STEPS = r"(?P<steps>[一两二三四五]|\d)?"
_ZH_UNDOES = tuple(
    Pattern(_ZH_LEAD + pattern + r"(?:吧|了|一下|好了|啊|呀|,)*")
    for pattern in (
        rf"(?:撤销|撤回|取消|回退|倒回|回滚)(?:掉)?(?:刚才|刚刚|上一?|上次|这次|之前|最近|最后|前面|这个|那个|上面)?的?{_ZH_STEPS}(?:步|次|个)?的?(?:修改|改动|操作|更改|变化|改变|编辑|步骤|调整)?",
        rf"(?:退回?|返回|后退|往回退|倒退)(?:去|到?上)?{_ZH_STEPS}(?:步|张|个版本|版)?(?:去)?",
        r"(?:改|变|换|调|弄|退|转)回(?:去|来)|回去|还原|恢复|复原",
        r"(?:不要|不喜欢|去掉|放弃|忽略)(?:刚才|刚刚|上一?次?|这次|这个|那个|最后)的?(?:修改|改动|改变|更改|变化|操作)",
        r"(?:变|改|恢复|弄|做|换)(?:成|得|回)?(?:和|跟|像|与|同)(?:之前|刚才|原来|先前)(?:的)?(?:一样|那样|一致)|当我没说",
    )
)
_ZH_SHOWING = (
    Pattern(
        rf"{_ZH_LEAD}(?:回到|返回到?|退回到?|恢复到?|换回|改回|用|选|要|保留|喜欢)(?P<showing>有|带|没有|没)(?P<what>.+?)的?(?:那|这)一?(?:张|幅|个|版)(?:图片?|画|版本)?(?:吧|了)*{_ZH_REST}"
    ),
    Pattern(
        rf"{_ZH_LEAD}(?P<showing>有|带|没有|没)(?P<what>[^,]+?)的?(?:那|这)一?(?:张|幅|个|版)(?:图片?|画|版本)?{_ZH_GOOD}{_ZH_REST}"
    ),
)


def _chinese_clauses(message: str) -> list[str]:
    text = message.translate(PUNCTUATION).translate(simplified())
    parts = re.split(r"[.!?;,\n~…]+\s*|(?<=.)(?=但是|不过|可是|只不过)", text)
    return [part.strip() for part in parts if part.strip()]


def _chinese(clause: str) -> Recall | None:
    for pattern in _ZH_UNDOES:
        if match := pattern.fullmatch(clause):
            steps = match.groupdict().get("steps")
            number = 1 if not steps else int(steps) if steps.isdigit() else _DIGITS.get(steps, 2)
            return Recall(Undo(number), "")
    for pattern in _ZH_RECALLS:
        if match := pattern.fullmatch(clause):
            bare = match["previous2"] in ("之前", "刚才", "刚刚", "先前")
            if bare and "better" not in match.groupdict():
                continue  # "just now", said of something else
            return Recall(_chinese_which(match), _chinese_tail(match["rest"]))
    for pattern in _ZH_SHOWING:
        if match := pattern.fullmatch(clause):
            before = match["showing"].startswith("没")
            return Recall(Showing(translate(match["what"]), before), _chinese_tail(match["rest"]))
    return None


def _chinese_which(match: re.Match[str]) -> Which:
    groups = match.groupdict()
    if nth := groups["nth"]:
        return Nth(int(nth) if nth.isdigit() else _DIGITS[nth])
    if groups["first"] or groups["first2"]:
        return Nth(1)
    if groups["last2"]:
        return Nth(-3 if groups["last2"] == "上上" else -2)
    if groups["latest"]:
        return Nth(-1)
    return Nth(-2)


def _chinese_tail(rest: str | None) -> str:
    return re.sub(r"^[,,]*(?:但是?|不过|只是|然后|可是|并且?|就(?=把))*", "", rest or "")
