"""What a message asks for, as operations on the picture: the language parsers produce these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ChatKind = Literal[
    "greeting", "thanks", "praise", "complaint", "question", "undo", "statement", "unclear"
]


@dataclass(frozen=True, slots=True)
class Reset:
    """Forget everything drawn so far."""


@dataclass(frozen=True, slots=True)
class Draw:
    """Words for the picture without a verb that says how they relate to what is there.

    `fresh`: the user asked for a picture outright ("draw a castle"), so it is a new one.
    `left_out`: words that were not understood.
    """

    text: str
    fresh: bool = False
    left_out: str = ""


@dataclass(frozen=True, slots=True)
class Addition:
    """Show this as well. `back`: it was there before, and was taken away.

    `left_out`: words that were not understood.
    """

    text: str
    back: bool = False
    left_out: str = ""


@dataclass(frozen=True, slots=True)
class Removal:
    """Do not show this. `verb`: said outright ("remove the dog"), so that a list goes on."""

    text: str
    verb: bool = False


@dataclass(frozen=True, slots=True)
class Fewer:
    """Show less of this, without doing away with it."""

    text: str


@dataclass(frozen=True, slots=True)
class Not:
    """ "not a dog": half of a correction when another half follows, else a removal."""

    text: str


@dataclass(frozen=True, slots=True)
class Replace:
    """Show `new` in place of `old`, or of what is nearest to it in kind."""

    old: str | None
    new: str


@dataclass(frozen=True, slots=True)
class Set:
    """Make the target (the main subject, when `None`) so: a colour, a season, a style, a thing."""

    target: str | None
    value: str


@dataclass(frozen=True, slots=True)
class Attach:
    """Give the target something: "a hat", "wearing a hat"."""

    target: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Place:
    """Put the target somewhere: "in a forest"."""

    target: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Restyle:
    """Draw it in this medium or style. `instead`: and in no other."""

    text: str
    instead: bool = False


@dataclass(frozen=True, slots=True)
class Count:
    """Show so many of a thing (of the main subject, when `None`): "three", "three dogs"."""

    number: str
    what: str | None = None


@dataclass(frozen=True, slots=True)
class Resize:
    """Draw it in this size, in pixels."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Exclude:
    """The negative prompt, given as such."""

    text: str


@dataclass(frozen=True, slots=True)
class Redraw:
    """The same again."""


@dataclass(frozen=True, slots=True)
class Chat:
    """Nothing to draw. `text`: what was not understood."""

    kind: ChatKind
    text: str = ""


Operation = (
    Reset
    | Draw
    | Addition
    | Removal
    | Fewer
    | Not
    | Replace
    | Set
    | Attach
    | Place
    | Restyle
    | Count
    | Resize
    | Exclude
    | Redraw
    | Chat
)
