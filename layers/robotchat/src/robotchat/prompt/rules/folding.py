"""Folding a message into the prompt without a language model: rules for English and Chinese."""

# ruff: noqa: E501, SIM905 (word lists and patterns read best in wide lines)

from __future__ import annotations

import re
from dataclasses import dataclass

from robotchat.prompt.models import MAX_PROMPT, Fold, PromptState
from robotchat.prompt.rules import chinese, english
from robotchat.prompt.rules.lexicon import articled, bare, category, opposites, singular
from robotchat.prompt.rules.operations import (
    Addition,
    Attach,
    Chat,
    Count,
    Draw,
    Exclude,
    Fewer,
    Not,
    Operation,
    Place,
    Redraw,
    Removal,
    Replace,
    Reset,
    Resize,
    Restyle,
    Set,
)
from robotchat.prompt.rules.patterns import Pattern, readable
from robotchat.prompt.rules.sizes import take_size
from robotchat.prompt.rules.structure import (
    DETERMINERS,
    NUMBERS,
    PREPOSITIONS,
    Piece,
    Scene,
    Shield,
    adjective_group,
    canonical,
    head_of,
    is_adjective,
    is_colour,
    role,
    stems,
    with_article,
    words,
)
from robotchat.prompt.rules.translation import CJK, translate

_SCENES = ("time", "season", "weather")
_LOOKS = ("medium", "style", "palette")
_PEOPLE = frozenset(
    {"person", "human", "anyone", "anybody", "tourist", "crowd", "pedestrian", "figure"}
)
_SCENIC = frozenset(
    "bright dark dim realistic dramatic cinematic colourful colorful detailed moody minimalist simple abstract vivid sharp "
    "blurry warm cold cool cosy cozy romantic spooky epic dreamy mysterious photorealistic stylised stylized cheerful "
    "soft harsh futuristic surreal magical peaceful calm intense gloomy creepy whimsical".split()
)
_QUALITIES = {
    "contrast": "high contrast", "saturation": "saturated", "detail": "detailed", "details": "detailed", "texture": "textured",
    "light": "bright", "brightness": "bright", "shadow": "strong shadows", "shadows": "strong shadows", "sharpness": "sharp",
    "realism": "realistic", "drama": "dramatic", "colour": "colourful", "color": "colourful", "colours": "colourful",
    "colors": "colourful", "warmth": "warm", "atmosphere": "atmospheric", "mood": "moody", "emotion": "emotional",
    "space": "wide shot", "zoom": "close-up", "action": "dynamic", "motion": "dynamic", "movement": "dynamic",
    "energy": "dynamic", "life": "lively", "fun": "playful", "noise": "noisy", "depth": "depth",
}  # fmt: skip
"""What more of something is as an adjective."""
_INTENSITY = Pattern(
    r"^(?:(?P<less>a (?:bit|little)|slightly|somewhat|kind of|a touch)|(?P<more>much|very|really|completely|totally|"
    r"entirely|fully|way|a lot|super)|all|even|rather|just|be|to be|look(?:s|ing)?(?= (?!like))|become|appear|so|now)\s+",
    re.IGNORECASE,
)
_NEGATIVE = Pattern(
    r"(?:negative(?: prompt)?|反向提示词|负面提示词|负向提示词|反向词|负面词)\s*[:=:]\s*(?P<what>[^\n.;。;]+)[\n.;。;]?",
    re.IGNORECASE,
)
_ANAPHORA = Pattern(
    r"\b(?:it|its|him|her|his|them|their|there|the (?:background|foreground|distance|sky|scene|picture|same)|too|as well)\b",
    re.IGNORECASE,
)
_PRONOUNS = frozenset(
    {
        "it",
        "this",
        "that",
        "him",
        "her",
        "them",
        "these",
        "those",
        "everything",
        "he",
        "she",
        "they",
    }
)

_WHERE = frozenset("in on at inside under by near beside behind among above over".split())
# How far an edit of each kind moves from the picture that it starts from.
_COLOUR_STRENGTH, _ADD_STRENGTH, _SCENE_STRENGTH, _STYLE_STRENGTH, _SWAP_STRENGTH, _NEW_STRENGTH = (
    0.6, 0.5, 0.6, 0.7, 0.7, 0.8,
)  # fmt: skip

_REPLIES = {
    "en": {
        "greeting": "Hello! Tell me what you would like to see.",
        "thanks": "You're welcome! Tell me if anything should change.",
        "praise": "Glad you like it! Tell me if anything should change.",
        "complaint": "Sorry that it is not right yet. Tell me what should change, or ask for another one.",
        "question": "I turn your words into pictures. Tell me what to draw, or what to change.",
        "undo": "There is nothing to go back to yet. Tell me what to put back or take out.",
        "statement": "All right. Tell me what to draw, or what to change.",
        "unclear": "Tell me in a few words what you would like to see.",
        "kept": "I did not understand “{}”, so I left the picture as it was. Tell me in other words what to change.",
        "left_out": "I did not understand “{}” and left it out.",
        "empty": "Let's start afresh. What would you like to see?",
    },
    "zh": {
        "greeting": "你好!想看什么画面,告诉我吧。",
        "thanks": "不客气!想改哪里,随时告诉我。",
        "praise": "很高兴你喜欢!想改哪里,随时告诉我。",
        "complaint": "抱歉还不合你的意。告诉我要改哪里,或者让我再画一张。",
        "question": "我可以把你的描述变成图片。告诉我想画什么,或者想改哪里。",
        "undo": "前面还没有可以退回的图,请告诉我要加回什么或去掉什么。",
        "statement": "好的。告诉我想画什么,或者想改哪里。",
        "unclear": "请用几个词告诉我你想看到什么。",
        "kept": "我没看懂“{}”,所以画面没有改动。请换个说法告诉我要改什么。",
        "left_out": "我没看懂“{}”,这部分没有画进去。",
        "empty": "好的,重新开始。你想看什么?",
    },
}


@dataclass(frozen=True, slots=True)
class Folded:
    """A fold, with what the rules found the message to ask for."""

    fold: Fold
    operations: list[Operation]
    understood: bool
    """Whether rules cover all of the message."""


def fold(current: PromptState | None, message: str, *, editing: bool) -> Fold:
    """Fold one message into what the conversation draws so far; see `robotchat.prompt.fold`."""
    return folded(current, message, editing=editing).fold


def folded(current: PromptState | None, message: str, *, editing: bool) -> Folded:
    """`fold`, with what led to it."""
    kept = current or PromptState(prompt="")
    text = readable(message)
    language = "zh" if CJK.search(text) else "en"
    shield = Shield()
    hidden, size = take_size(shield.hide(text), kept)
    folder = _Folder(
        Scene.parse(shield.hide(readable(kept.prompt[: 2 * MAX_PROMPT]))),
        [
            item.strip()
            for item in shield.hide(readable(kept.negative_prompt)).split(",")
            if item.strip()
        ],
    )
    parse = chinese.operations if language == "zh" else english.operations
    hidden, excluded = _take_negative(hidden)
    found: list[Operation] = [Exclude(excluded)] if excluded else []
    found += parse(hidden, folder.knows) if re.search(r"\w|[\ue000-\uf8ff]", hidden) else []
    for operation in found:
        folder.apply(operation)

    chats = [operation for operation in found if isinstance(operation, Chat)]
    unclear = [shield.show(chat.text) for chat in chats if chat.text]
    unclear += [
        shield.show(operation.left_out)
        for operation in found
        if isinstance(operation, Draw | Addition) and operation.left_out
    ]
    replies = _REPLIES[language]
    understood = not (unclear or folder.guessed) and (bool(found) or size is not None)
    if not folder.changed and size is None:
        kind = chats[-1].kind if chats else "unclear"
        reply = _told(replies["kept"], unclear) if unclear and kept.prompt else replies[kind]
        answer = Fold(
            mode="reply",
            prompt=kept.prompt[:MAX_PROMPT],
            negative_prompt=kept.negative_prompt[:MAX_PROMPT],
            reply=reply,
        )
        return Folded(answer, found, understood)
    prompt = _bounded(shield.show(folder.scene.render()))
    negative = _bounded(shield.show(", ".join(folder.negative)))
    if not prompt and not (editing and negative):
        answer = Fold(mode="reply", prompt="", negative_prompt=negative, reply=replies["empty"])
        return Folded(answer, found, understood)
    answer = Fold(
        mode="edit" if editing else "generate",
        prompt=prompt,
        negative_prompt=negative,
        denoising_strength=folder.strength() if editing else None,
        width=size.width if size else None,
        height=size.height if size else None,
        reply=_told(replies["left_out"], unclear) if unclear else None,
    )
    return Folded(answer, found, understood)


def _told(sentence: str, unclear: list[str]) -> str:
    """A reply that names what was not understood."""
    return sentence.format("”, “".join(text[:100] for text in unclear[:3]))


def _take_negative(message: str) -> tuple[str, str]:
    """The message without a negative prompt given as such, and that negative prompt in English."""
    match = _NEGATIVE.search(message)
    if match is None:
        return message, ""
    items = [translate(item) for item in re.split(r"\s*[,,、]\s*", match["what"])]
    return message[: match.start()] + message[match.end() :], ", ".join(filter(None, items))


def _bounded(prompt: str) -> str:
    """The prompt cut to its bound, at a comma or a space where there is one."""
    if len(prompt) <= MAX_PROMPT:
        return prompt
    cut = prompt[:MAX_PROMPT]
    for mark in (",", " "):
        place = cut.rfind(mark)
        if place > MAX_PROMPT // 2:
            return cut[:place].rstrip(" ,")
    return cut


class _Folder:
    """The picture while operations change it."""

    def __init__(self, scene: Scene, negative: list[str]) -> None:
        self.scene = scene
        self.negative = negative
        self.changed = False
        self.guessed = False
        """What a message names is not in the picture, so that something else was changed."""
        self._strengths: list[float] = []
        self._nudge = 0.0

    def knows(self, phrase: str) -> bool:
        """Whether the picture shows what a phrase names; anything at all, for no phrase."""
        if not phrase:
            return bool(self.scene.pieces or self.scene.medium)
        kind = role(phrase)
        return self.scene.find(phrase) is not None or any(
            kind is not None and piece.role() == kind for piece in self.scene.pieces
        )

    def strength(self) -> float | None:
        """How far an edit should move from its picture: as far as its boldest change."""
        if not self._strengths:
            return None
        return round(min(max(max(self._strengths) + self._nudge, 0.3), 0.9), 2)

    def apply(self, operation: Operation) -> None:
        """Change the picture as one operation asks."""
        match operation:
            case Chat():
                return
            case Reset():
                self.scene, self.negative = Scene(), []
                self._moved(_NEW_STRENGTH)
            case Redraw():
                self.changed = self.changed or bool(self.scene.pieces or self.scene.medium)
            case Resize():
                self.changed = True
            case Exclude(text):
                self._exclude(*re.split(r"\s*,\s*", text))
                self.changed = True
            case Draw(text, fresh, _):
                self._draw(text, fresh)
            case Addition(text, back, _):
                self._add(_indefinite(text) if back else text, explicit=True)
            case Fewer(text):
                self._thin_out(text)
            case Removal(text) | Not(text):
                self._remove(text)
            case Replace(old, new):
                self._replace(old, new)
            case Set(target, value):
                self._set(target, value)
            case Attach(target, text):
                self._attach(target, text)
            case Place(target, text):
                self._place(target, text)
            case Restyle(text, instead):
                self._restyle(text, instead)
            case Count(number, what):
                self._count(number, what)

    def _moved(self, strength: float) -> None:
        self.changed = True
        self._strengths.append(strength)

    # ------------------------------------------------------------------ words for the picture

    def _draw(self, text: str, fresh: bool) -> None:
        text = _trimmed(text)
        if not text:
            return
        drawn = Scene.parse(text)
        main = self.scene.main()
        first = words(text)[0] if words(text) else ""
        if not self.scene.pieces and not self.scene.medium:
            self.scene = drawn
            self._allow(text)
            self._moved(_NEW_STRENGTH if fresh else _ADD_STRENGTH)
            return
        follows = bool(_ANAPHORA.search(text)) or first in PREPOSITIONS or first.endswith("ing")
        new_main = drawn.main()
        if not follows and new_main is not None:
            if main is not None and head_of(new_main.text) == head_of(main.text) and not fresh:
                if first in NUMBERS:
                    self._count(first, new_main.text)
                elif stems(main.text) < stems(new_main.text):
                    main.text = new_main.text
                self._moved(_ADD_STRENGTH)
                text = " ".join(str(piece) for piece in drawn.pieces if piece is not new_main)
                self._add(text, explicit=False)
                return
            if fresh:
                self.scene = drawn
                self._allow(text)
                self._moved(_NEW_STRENGTH)
                return
            same_kind = (
                main is not None and category(new_main.text) == category(main.text) is not None
            )
            single = first in ("a", "an") or (
                len(words(new_main.text)) == 1
                and singular(first) == first
                and first not in DETERMINERS
            )
            if same_kind and single and main is not None:
                self._replace(main.text, text)
                return
        self._add(text, explicit=False)

    def _add(self, text: str, *, explicit: bool) -> None:
        text = _trimmed(text)
        if not text:
            return
        self._allow(text)
        for part in _parts(text):
            self._add_part(part, explicit=explicit)

    def _add_part(self, part: str, *, explicit: bool) -> None:
        kind = role(part)
        if kind in _LOOKS:
            self._restyle(part, False)
            return
        if kind in _SCENES:
            self._scene(part, kind, replace=not (explicit and kind == "weather"))
            return
        if re.match(r"(?:with|in|on|at|against|under)\b", part, re.IGNORECASE):
            inner = role(part.split(" ", 1)[-1])
            if inner in _SCENES and kind is None and " " in part:
                self._scene(part.split(" ", 1)[1], inner, replace=False)
                return
        self.scene.add(part)
        self._moved(_ADD_STRENGTH)

    def _scene(self, text: str, kind: str, *, replace: bool) -> None:
        if replace:
            self.scene.forget(kind)
        self.scene.add(canonical(text))
        self._moved(_SCENE_STRENGTH)

    def _count(self, number: str, what: str | None) -> None:
        """Show another number of a thing; its adjectives stay unless others are given."""
        piece = self.scene.find(what) if what else self.scene.main()
        if piece is None:
            return
        described = [word for word in words(what or "")[:-1] if is_adjective(word)]
        for adjective in described:
            self.scene.describe(piece, adjective)
        self.scene.count(piece, number)
        self._moved(_SWAP_STRENGTH)

    # ------------------------------------------------------------------ taking away

    def _remove(self, text: str) -> None:
        text = _bare_target(text)
        if not text or text.lower() in _PRONOUNS:
            return
        kind = role(text)
        if kind in (*_SCENES, *_LOOKS):
            self._forget(kind)
        wanted = stems(text)
        head = head_of(text)
        if head == "background" and wanted <= {"background"}:
            self.scene.add("plain background")
            self._moved(_SWAP_STRENGTH)
            return
        everyone = head in _PEOPLE and len(wanted) == 1
        for _ in range(len(self.scene.pieces)):
            piece = self.scene.find(text)
            if piece is None and everyone:
                piece = next((p for p in self.scene.pieces if category(p.text) == "person"), None)
            if piece is None:
                break
            self._drop(piece, head)
        if is_adjective(head) and len(wanted) == 1:
            for piece in self.scene.pieces:
                parts = piece.text.split()
                if len(parts) > 1 and head in (part.lower() for part in parts[:-1]):
                    piece.text = with_article(
                        " ".join(part for part in parts if part.lower() != head)
                    )
        self._exclude(text)
        self._moved(_SCENE_STRENGTH)

    def _thin_out(self, text: str) -> None:
        """Show less of something: a few where there were many."""
        text = _bare_target(text)
        if not text:
            return
        piece = self.scene.find(text)
        if piece is not None and piece is not self.scene.main():
            self.scene.replace(
                piece,
                f"a few {bare(text)}"
                if text.endswith("s") or head_of(text) == "person"
                else f"a little {text}",
            )
        crowd = head_of(text) in _PEOPLE
        self._exclude("crowd" if crowd else f"many {text}")
        self._moved(_SCENE_STRENGTH)

    def _drop(self, piece: Piece, head: str) -> None:
        """Take a thing out; as an attribute of another thing, only the attribute goes."""
        found = words(piece.text)
        names = [singular(word) for word in found]
        owner = re.search(r"^(.*?)\s+of\s+", piece.text)
        if (
            head in names[:-1]
            and not owner
            and len(found) > 2
            and " in the " not in f" {piece.text} "
        ):
            piece.text = with_article(
                " ".join(part for part in piece.text.split() if singular(part.lower()) != head)
            )
            if head not in piece.stems():
                return
        self.scene.remove(piece)

    def _forget(self, kind: str) -> None:
        self.scene.forget(kind)
        if kind == "medium":
            self.scene.medium = ""

    def _exclude(self, *phrases: str) -> None:
        for phrase in phrases:
            phrase = "people" if phrase.strip() == "person" else phrase.strip()
            if phrase and phrase.lower() not in (item.lower() for item in self.negative):
                self.negative.append(phrase)

    def _allow(self, text: str) -> None:
        """What is asked for is no longer excluded."""
        wanted = stems(text)
        people = any(category(word) == "person" for word in wanted)
        self.negative = [
            item
            for item in self.negative
            if not (
                stems(item) <= wanted
                or (people and head_of(item) in _PEOPLE)
                or head_of(item) in wanted
            )
        ]

    # ------------------------------------------------------------------ changing

    def _replace(self, old: str | None, new: str) -> None:
        new = _trimmed(new)
        if not new:
            return
        kind = role(new)
        if kind in (*_SCENES, *_LOOKS) and (
            old is None or role(old) is not None or self.scene.find(old) is None
        ):
            self._set(None, new)
            return
        self._allow(new)
        drawn = Scene.parse(new)
        head, *rest = drawn.pieces or [Piece("", "", new)]
        if old is None and next(iter(words(str(head))), "") in _WHERE:
            self._place(None, new)
            return
        piece = self._meant(old, new)
        if piece is None and head.link:
            self._place(None, new)
            return
        if piece is None:
            self.scene.add(articled(new))
        elif head.link:
            self.scene.replace(piece, head.text)
            piece.link = head.link
        else:
            self.scene.replace(piece, str(head))
        if piece is not None:
            place = self.scene.pieces.index(piece) + 1
            self.scene.pieces[place:place] = rest
        self._moved(_SWAP_STRENGTH)

    def _meant(self, old: str | None, new: str) -> Piece | None:
        if old is not None and old.lower() not in _PRONOUNS:
            found = self.scene.find(old) or self.scene.alike(old)
            if found:
                return found
            self.guessed = True
        return self.scene.alike(new) or self.scene.main()

    def _set(self, target: str | None, value: str) -> None:
        value = self._plain(value)
        if not value:
            return
        if target == "background":
            self._background(value)
            return
        if target is not None and (
            target.lower() in _PRONOUNS
            or re.fullmatch(
                r"(?:the|this|that|my) (?:whole )?(?:photo|picture|image|scene|drawing|thing|photograph)",
                target,
                re.IGNORECASE,
            )
        ):
            target = None
        parts = re.split(r"\s+and\s+", value) if role(value) is None else [value]
        if (
            len(parts) > 1
            and all(english.is_value(part) for part in parts)
            and not all(map(is_colour, parts))
        ):
            for part in parts:
                self._set(target, part)
            return
        kind = role(value)
        if kind in _LOOKS or (target is None and _is_look(value)):
            self._restyle(value, True)
        elif kind in _SCENES:
            self._scene(value, kind, replace=True)
        elif match := re.match(
            r"(?:looks? )?(?:like|into|as)\s+(?P<what>.+)", value, re.IGNORECASE
        ):
            self._restyle(value, True) if target is None else self._replace(target, match["what"])
        elif match := re.fullmatch(r"(?P<how>less|more)\s+(?P<what>.+)", value, re.IGNORECASE):
            self._graded(target, match["how"].lower(), match["what"])
        elif (
            is_colour(words(value)[-1]) and words(value)[0] not in DETERMINERS
            if words(value)
            else False
        ):
            colour = re.sub(r"^in\s+(?:the colou?r\s+)?", "", value, flags=re.IGNORECASE)
            self._describe(target, colour, _COLOUR_STRENGTH)
        elif (stem := english.comparative(value.lower())) or is_adjective(value.lower()):
            self._adjective(target, stem or value.lower())
        elif words(value) and words(value)[0] in PREPOSITIONS:
            first, *others = _parts(value)
            self._place(target, first)
            for part in others:
                self._add_part(part, explicit=True)
        elif words(value) and words(value)[0].endswith("ing"):
            self._attach(target, value)
        elif words(value) and (words(value)[0] in DETERMINERS or category(value) is not None):
            self._replace(target, value)
        else:
            self._adjective(target, value)

    def _plain(self, value: str) -> str:
        value = _trimmed(value)
        value = re.sub(
            r"\s+(?:instead|again|please|now|overall|in colou?r|colou?red)$",
            "",
            value,
            flags=re.IGNORECASE,
        )
        for _ in range(4):
            match = _INTENSITY.match(value)
            if not match:
                break
            self._nudge += -0.1 if match["less"] else 0.1 if match["more"] else 0.0
            value = value[match.end() :]
        return value

    def _graded(self, target: str | None, how: str, what: str) -> None:
        what = _QUALITIES.get(what.lower(), what)
        if how == "less":
            lowered = what.lower()
            opposite = opposites().get(lowered)
            if opposite is None:
                self._remove(what)
                return
            what = opposite
        self._adjective(target, what)

    def _adjective(self, target: str | None, adjective: str) -> None:
        if " " in adjective or (target is None and adjective in _SCENIC):
            group = adjective_group(adjective)
            for piece in list(self.scene.pieces):
                if piece.text.lower() in group:
                    self.scene.remove(piece)
            self.scene.add(adjective)
            self._moved(_SCENE_STRENGTH)
            return
        self._describe(target, adjective, _COLOUR_STRENGTH)

    def _describe(self, target: str | None, adjective: str, strength: float) -> None:
        self._allow(adjective)
        if target is not None:
            piece = self.scene.find(target) or self.scene.alike(target)
            if piece is None:
                piece = Piece("", "", _indefinite(target))
                self.scene.add(str(piece))
                piece = self.scene.find(target) or piece
        else:
            piece = self._coloured(adjective) or self.scene.main()
        if piece is None:
            self.scene.add(adjective)
        else:
            self.scene.describe(piece, adjective)
        self._moved(strength)

    def _coloured(self, adjective: str) -> Piece | None:
        """The piece that has a colour already, if only one has: it is the one to recolour."""
        if not is_colour(adjective.lower().split()[-1]):
            return None
        found = [
            piece
            for piece in self.scene.pieces
            if any(is_colour(word) for word in words(piece.text)) and piece.role() is None
        ]
        main = self.scene.main()
        if main is not None and any(piece is main for piece in found):
            return main
        for piece in found:
            if all(is_adjective(word) for word in words(piece.text)):
                return piece
        return None

    def _attach(self, target: str | None, text: str) -> None:
        text = _trimmed(text)
        self._allow(text)
        piece = None
        if target is not None and target.lower() not in _PRONOUNS:
            piece = self.scene.find(target)
            if piece is None and not self.scene.main():
                self.scene.add(_indefinite(target))
                piece = self.scene.find(target)
        piece = piece or self.scene.main()
        if piece is None:
            self.scene.add(text)
        else:
            self.scene.attach(piece, text)
        self._moved(_ADD_STRENGTH)

    def _place(self, target: str | None, where: str) -> None:
        """Put the subject elsewhere; the place where it was goes."""
        kind = role(where)
        if kind in _SCENES:
            self._scene(where, kind, replace=True)
            return
        self._allow(where)
        main = self.scene.main()
        for piece in list(self.scene.pieces):
            preposition = piece.link.split()[-1].lower() if piece.link else ""
            located = preposition in (
                "in",
                "on",
                "at",
                "inside",
                "under",
                "by",
                "near",
                "beside",
                "behind",
            ) or (piece.link.lower() in ("in front of", "next to", "on top of"))
            if located and piece.role() is None and piece is not main:
                self.scene.remove(piece)
        if main is None and target is not None and target.lower() not in _PRONOUNS:
            self.scene.add(_indefinite(target))
        self.scene.add(where)
        self._moved(_SWAP_STRENGTH)

    def _background(self, value: str) -> None:
        for piece in list(self.scene.pieces):
            if "background" in piece.stems() and len(piece.stems()) > 1:
                self.scene.remove(piece)
        self._allow(value)
        if role(value) in _SCENES:
            self._scene(value, role(value) or "time", replace=True)
            return
        single = len(words(value)) == 1 and (
            is_colour(value.lower()) or is_adjective(value.lower())
        )
        self.scene.add(f"{value} background" if single else f"with {value} in the background")
        self._moved(_SWAP_STRENGTH)

    def _restyle(self, text: str, instead: bool) -> None:
        text = re.sub(r"^(?:looks?(?:ing)? |be )", "", _trimmed(text), flags=re.IGNORECASE)
        text = re.sub(r"\s+(?:instead|please|now|again)$", "", text, flags=re.IGNORECASE)
        text = re.sub(r"^(?:as|into|to)\s+(?=an?\b)", "", text, flags=re.IGNORECASE)
        if match := re.fullmatch(
            r"(?P<medium>.*?)\s*\b(?:like|similar to)\s+(?P<whom>.+)", text, re.IGNORECASE
        ):
            whom = match["whom"]
            if role(whom) == "medium":
                text = whom
            else:
                text = f"{match['medium']} in the style of {whom}".strip()
        kind = role(text)
        if kind == "palette":
            self._forget("palette")
            coloured = re.search(r"\bcolou?r$", text, re.IGNORECASE)
            if not coloured:
                self.scene.add(re.sub(r"^(?:in )?(?:an? )?", "", text, flags=re.IGNORECASE))
            elif not self.scene.pieces:
                self.scene.add("in full colour")
            self._moved(_STYLE_STRENGTH)
            return
        medium, _, style = text.partition(" in the style of ")
        if not style:
            medium = re.sub(
                r"^in\s+(?:the\s+)?(?:style of\s+)?|[\s-](?:style|form)$",
                "",
                text,
                flags=re.IGNORECASE,
            )
            if role(medium) != "medium":
                medium, style = "", text
        if medium.lower().startswith("in the style of "):
            medium, style = "", medium[len("in the style of ") :]
        if medium:
            self._medium(medium, keep_style=not instead)
        if style:
            self.scene.forget("style")
            if not medium and re.fullmatch(
                r"an? (?:photo|photograph|picture|image)", self.scene.medium, re.IGNORECASE
            ):
                self._forget("medium")
            phrase = (
                style
                if re.match(r"in |inspired ", style, re.IGNORECASE)
                or style.endswith(("style", "look", "vibe", "vibes", "aesthetic", "aesthetics"))
                else f"in the style of {style}"
            )
            self.scene.pieces.append(Piece(", " if self.scene.pieces else " ", "", phrase))
        self._moved(_STYLE_STRENGTH)

    def _medium(self, medium: str, *, keep_style: bool) -> None:
        self._forget("medium")
        if not keep_style:
            self.scene.forget("style")
        noun = bare(medium)
        if noun == medium and re.fullmatch(
            r"(?:anime|manga|pixel(?:ated)? art|low poly|graffiti|claymation|origami|.* art|made of .*|embroidery|flat design)",
            medium,
            re.IGNORECASE,
        ):
            self.scene.pieces.append(Piece(", ", "", medium))
            return
        first = self.scene.pieces[0] if self.scene.pieces else None
        self.scene.medium = medium if noun != medium else with_article(f"a {medium}")
        if first is not None:
            first.joiner = " " if first.link else " of " if first.role() is None else ", "


def _bare_target(text: str) -> str:
    return re.sub(
        r"^(?:(?:the|any|all|of|those|these|that|this|its|his|her|their|a|an|so many|many|some|every|more)\s+)+",
        "",
        _trimmed(text),
        flags=re.IGNORECASE,
    )


def _is_look(text: str) -> bool:
    """Whether a text is a medium with more to it: "a painting like Van Gogh's Starry Night"."""
    medium, like, _ = re.sub(r"\s(?:like|similar to|in the style of)\s", "\0", text).partition("\0")
    return bool(like) and role(medium) == "medium"


def _trimmed(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip(" ,.;:!?-")


def _indefinite(target: str) -> str:
    """ "this cat" as one that the prompt has not named yet: "a cat"."""
    plain = re.sub(
        r"^(?:the|this|that|my|your|his|her|its|their)\s+", "", target, flags=re.IGNORECASE
    )
    if plain == target:
        return re.sub(r"^(?:these|those|all the|all)\s+", "", target, flags=re.IGNORECASE)
    if singular(plain.split()[-1].lower()) != plain.split()[-1].lower() or plain.endswith(
        ("hair", "s")
    ):
        return plain
    if plain.split()[-1].lower() in (
        "sky",
        "sea",
        "sun",
        "moon",
        "ocean",
        "grass",
        "snow",
        "background",
        "water",
    ):
        return plain
    return with_article(f"a {plain}")


def _parts(text: str) -> list[str]:
    """The parts of an addition that each have a role of their own."""
    scene = Scene.parse(text)
    if scene.medium:
        return [text]
    parts: list[str] = []
    for piece in scene.pieces:
        if (
            parts
            and (piece.joiner == ", " or (piece.role() is not None and role(parts[-1]) is None))
        ) or (parts and piece.joiner == " and " and role(parts[-1]) is not None):
            parts.append(str(piece))
        elif parts:
            parts[-1] += f"{piece.joiner}{piece}"
        else:
            parts.append(str(piece))
    return parts
