"""Whether a language model's fold can be believed.

Small models lose words of the prompt that a message never touched, leave in what it removes, or
miss a size. The rules fold the same message, which tells what must have become of each word. Where
they do not understand the message, only what holds for any message is asked: that nothing is lost
unless something of its kind takes its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from robotchat.prompt.models import Fold, PromptState
from robotchat.prompt.rules.folding import Folded
from robotchat.prompt.rules.lexicon import category
from robotchat.prompt.rules.operations import Chat, Count
from robotchat.prompt.rules.structure import (
    FOREIGN,
    Piece,
    Scene,
    adjective_group,
    is_adjective,
    is_colour,
    stems,
    words,
)

_SIZE = re.compile(
    r"\d|\b(?:wide|tall|high|vertical|horizontal|portrait|landscape|square|banner|wallpaper|poster|"
    r"cover|thumbnail|avatar|icon|format|size|ratio|bigger|larger|smaller|resolution|screen|phone|"
    r"desktop)|[竖横方宽高窄长大小]|尺寸|比例|壁纸|屏|头像|封面|海报|分辨率",
    re.IGNORECASE,
)
_FORMAT = frozenset(
    [
        *("square", "portrait", "landscape", "vertical", "horizontal", "banner", "wallpaper"),
        *("thumbnail", "avatar", "icon", "format", "size", "ratio", "resolution", "screen"),
        *("phone", "desktop", "wide", "tall"),
    ]
)
_PHOTO = frozenset(["photo", "photograph", "picture", "image", "shot"])
_REQUEST = frozenset(["please", "instead", "remove", "change", "user", "message", "prompt"])
_MOST_INVENTED = 10
"""Words of its own that a fold may have; more is a picture that nobody asked for."""
_NO_CHANGE = ("greeting", "thanks", "praise", "question")


def problems(state: PromptState, message: str, answer: Fold, rules: Folded) -> list[str]:
    """What is wrong with a fold, as sentences for the model that made it; empty when nothing is.

    `state` is what was drawn before the message, `rules` what the rules make of it.
    """
    return list(dict.fromkeys(_problems(state, message, answer, rules)))


def _problems(state: PromptState, message: str, answer: Fold, rules: Folded) -> Iterator[str]:
    drawn = rules.fold.mode != "reply"
    if answer.mode == "reply":
        if rules.understood and drawn:
            yield "The message asks for a change, so the mode is not reply."
        return
    if rules.understood and not drawn:
        kinds = {item.kind for item in rules.operations if isinstance(item, Chat)}
        same = not answer.width and _content(answer.prompt) == _content(state.prompt)
        if kinds and (kinds <= set(_NO_CHANGE) or same):
            yield "The message asks for no change: the mode is reply."
            return
    if FOREIGN.search(answer.prompt + answer.negative_prompt) and not FOREIGN.search(state.prompt):
        yield "The prompt is not in English."
    before, after = _content(state.prompt), _content(answer.prompt)
    by_rules = _content(rules.fold.prompt)
    invented = {word for word in after if not _among(word, before)}
    lost = {word for word in before & by_rules if not _among(word, after)}
    if not rules.understood:
        replaced = {word for word in lost if any(_alike(word, other) for other in invented)}
        lost -= replaced | _describing(replaced, state.prompt)
    for word in sorted(lost):
        yield f'"{word}" of the current prompt is missing; the message does not change it.'
    if rules.understood and drawn:
        for word in sorted(before - by_rules):
            if word in after:
                yield f'"{word}" must be gone from the prompt.'
        for word in sorted(_content(rules.fold.negative_prompt) - by_rules):
            if word in invented:
                yield f'"{word}" is excluded; it must not be in the prompt.'
        if rules.fold.width:
            for word in sorted(_FORMAT & invented - by_rules):
                yield f'"{word}" is the shape of the picture, and not to be seen in it.'
        for word in sorted(_names(message) & by_rules - after):
            yield f'"{word}" is missing in the prompt.'
        for piece in _new_pieces(state, rules.fold):
            if not _shown(piece, after, invented - by_rules, before):
                yield f'"{piece}" is missing in the prompt.'
        for operation in rules.operations:
            if isinstance(operation, Count) and operation.number not in words(answer.prompt):
                yield f'There must be "{operation.number}" of it.'
    for word in sorted(_REQUEST & invented - by_rules):
        yield f'"{word}" is no part of a picture.'
    asked = _content(message)
    added = {word for word in invented if not (_among(word, by_rules) or _among(word, asked))}
    if rules.understood and len(added) > _MOST_INVENTED:
        yield "The prompt has things that nobody asked for."


def corrected(state: PromptState, message: str, answer: Fold, rules: Folded) -> Fold:
    """A fold without problems, with what need not be asked again put right.

    What is removed is excluded, what is wanted is not; the size is the one that was asked for, and
    none where none was; an edit has a strength.
    """
    if answer.mode == "reply":
        return answer
    changes: dict[str, object] = {}
    if rules.fold.width and rules.fold.height:
        changes |= {"width": rules.fold.width, "height": rules.fold.height}
    elif answer.width and answer.height and not _plausible(answer.width, answer.height, message):
        changes |= {"width": None, "height": None}
    if rules.understood and rules.fold.mode != "reply":
        changes["negative_prompt"] = _excluded(answer, state, rules.fold)
    strength = answer.denoising_strength
    if answer.mode == "edit" and (strength is None or not 0.2 <= strength <= 0.95):
        changes["denoising_strength"] = rules.fold.denoising_strength or 0.6
    return answer.model_copy(update=changes)


def _plausible(width: int, height: int, message: str) -> bool:
    return bool(_SIZE.search(message)) and 1 / 4 <= width / height <= 4


def _excluded(answer: Fold, state: PromptState, rules: Fold) -> str:
    """The negative prompt: what the rules exclude, then what the model does, as far as the picture
    does not show it."""
    found = _items(rules.negative_prompt)
    wanted = _content(rules.prompt) | _content(answer.prompt)
    back = set(_items(state.negative_prompt)) - set(found)
    for item in _items(answer.negative_prompt):
        if item not in found and item not in back and not _content(item) & wanted:
            found.append(item)
    return ", ".join(found)


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _content(text: str) -> set[str]:
    """The words that say what is to be seen, in the singular."""
    return {word for word in stems(text) if len(word) > 1 and word not in ("and", "of", "or")}


def _among(word: str, others: set[str]) -> bool:
    """Whether one of the words is this one, in another form perhaps: "snowy" for "snow"."""
    return word in others or any(_same_root(word, other) for other in others)


def _same_root(one: str, other: str) -> bool:
    length = max(4, min(len(one), len(other)) - 1)
    return one[:length] == other[:length]


def _alike(one: str, other: str) -> bool:
    """Whether one word can stand for another of its kind: a colour, an animal, a time of day."""
    if is_adjective(one) and is_adjective(other):
        return one in adjective_group(other) or (is_colour(one) and is_colour(other))
    kind = category(one)
    return kind is not None and kind == category(other)


def _describing(nouns: set[str], prompt: str) -> set[str]:
    """The adjectives of the pieces that some nouns are about: they go with them."""
    return {
        word
        for piece in Scene.parse(prompt).pieces
        if piece.stems() & nouns
        for word in piece.stems()
        if is_adjective(word)
    }


def _names(message: str) -> set[str]:
    """The words of a message that are names of somebody or something: nothing stands for them."""
    return _content(" ".join(re.findall(r"(?<=[^.!?\s]\s)[A-Z][\w'’-]*[a-z]", message)))


def _new_pieces(state: PromptState, rules: Fold) -> list[Piece]:
    """What the rules have put into the picture."""
    before = _content(state.prompt)
    drawn = Scene.parse(rules.prompt)
    pieces = [*drawn.pieces, *([Piece("", "", drawn.medium)] if drawn.medium else [])]
    return [piece for piece in pieces if _content(str(piece)) - before]


def _shown(piece: Piece, after: set[str], invented: set[str], before: set[str]) -> bool:
    """Whether a new piece is in the prompt: by what it is about, or something of its kind."""
    new = _content(str(piece)) - before
    if colours := {word for word in new if is_colour(word)}:
        return colours <= after
    kind = piece.role()
    if kind is None:
        # "a pair of sunglasses" and "a flower bed" are about either, "a Shanghai street" is not.
        said = re.sub(r"\b[A-Z][\w-]*", "", piece.text)
        heads = {word for word in _content(said) & new if not is_adjective(word)} or new
        return any(
            _among(word, after) or any(_alike(word, other) for other in invented) for word in heads
        )
    if any(_among(word, after) for word in new):
        return True
    if kind == "medium":
        return bool(new & _PHOTO and after & _PHOTO)
    return any(Piece("", "", word).role() == kind for word in invented)
