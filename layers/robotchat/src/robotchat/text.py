"""What text and JSON from outside may be: one rule, whichever door it comes in by.

Requests over HTTPS, messages on a queue, answers of SD hosts and language models, values that a
Python program hands over: all of it is stored, sent on and shown to others, so all of it must be
text that UTF-8 can write, numbers that every reader of JSON has, and nesting that every writer of
JSON survives. Each door says in its own errors what it refuses; here it is a ``ValueError``.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

MAX_DEPTH = 64
"""How deep arrays and objects may be nested in each other."""

_LONGEST_NUMBER = 400  # digits; a double has no use for more

_TOKENS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[][{}]', re.DOTALL)


class Unfit(ValueError):
    """JSON that is not to be kept: says why, in words for whoever sent it."""


def read_json(source: str | bytes) -> Any:
    """The value of a JSON text, which may begin with a byte order mark.

    Raises ValueError: ``json.JSONDecodeError`` for what is no JSON, ``UnicodeError`` for bytes that
    are not UTF-8, and ``Unfit`` for what breaks the rule of this module.
    """
    try:
        value = json.loads(
            _decoded(source), parse_constant=_constant, parse_float=_float, parse_int=_int
        )
    except RecursionError:
        raise _too_deep() from None
    check_json(value)
    return value


def salvage_json(source: str | bytes) -> tuple[Any, str | None]:
    """What can be read of a JSON text, and what is wrong with it, if anything is.

    It is for messages whose sender must be found before he can be told: what is nested too deep is
    left out, and a number that cannot be kept is None. Raises ValueError for what is no JSON.
    """
    text = _decoded(source)
    try:
        return read_json(text), None
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        fault = str(error)
    return mended_json("".join(_within_depth(text))), fault


def mended_json(source: str | bytes) -> Any:
    """The value of a JSON text, with None for the numbers that cannot be kept.

    Half characters stay as they are: it is for those who put texts together from pieces, and mend
    them then. Raises ValueError for what is no JSON, or nested too deep to be read at all.
    """
    text = _decoded(source)
    try:
        return json.loads(text, parse_constant=_none, parse_float=_number, parse_int=_number)
    except RecursionError:
        raise _too_deep() from None


def check_json(value: object) -> None:
    """Raises Unfit unless a value is one that JSON has, and that the rule of this module allows."""
    level: list[object] = [value]
    depth = 0
    while level:
        depth += 1
        below: list[object] = []
        for item in level:
            if depth > MAX_DEPTH and isinstance(item, (dict, list, tuple)):
                raise _too_deep()
            if isinstance(item, dict):
                for name in item:
                    if not isinstance(name, str):
                        raise Unfit("the names in an object must be text")
                    check_text(name)
                below.extend(item.values())
            elif isinstance(item, (list, tuple)):
                below.extend(item)
            elif isinstance(item, str):
                check_text(item)
            elif not isinstance(item, bool) and isinstance(item, (int, float)):
                _finite(item)
            elif item is not None and not isinstance(item, bool):
                raise Unfit(f"a {type(item).__name__} is not a value of JSON")
        level = below


def no_switch(value: object) -> object:
    """Raises Unfit for true and false where a number is asked for: to Python they are 1 and 0."""
    if isinstance(value, bool):
        raise Unfit("a number is needed here, not true or false")
    return value


def check_text(text: str) -> None:
    """Raises Unfit for text with half a character in it, which cannot be stored or sent on."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Unfit("a text holds half a character (a lone surrogate)") from None


def readable(text: str) -> str:
    """The same text with a mark for every half character, so that it can be stored and shown."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def json_size(value: object) -> int:
    """How many bytes a value takes up as JSON, in the form in which it is stored."""
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


def _too_deep() -> Unfit:
    return Unfit(f"arrays and objects are nested more than {MAX_DEPTH} deep")


def _decoded(source: str | bytes) -> str:
    text = source.decode() if isinstance(source, bytes) else source
    return text.removeprefix("\ufeff")


def _constant(name: str) -> Any:
    raise Unfit(f"{name} is not a number that JSON has")


def _int(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise Unfit("a number is too large")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    _finite(number)
    return number


def _finite(number: float) -> None:
    """Raises Unfit for NaN, infinities, and what no double can hold."""
    try:
        finite = math.isfinite(number)
    except OverflowError:
        finite = False
    if not finite:
        raise Unfit("a number is too large, or is none")


def _none(_: str) -> None:
    return None


def _number(digits: str) -> float | None:
    try:
        number = float(digits)
    except OverflowError:
        return None
    if not math.isfinite(number):
        return None
    return int(digits) if digits.lstrip("-").isdigit() else number


def _within_depth(text: str) -> list[str]:
    """The pieces of a JSON text without what is nested too deep, for which null stands."""
    pieces: list[str] = []
    depth = start = 0
    for token in _TOKENS.finditer(text):
        mark = token[0]
        if mark in "[{":
            depth += 1
            if depth == MAX_DEPTH + 1:
                pieces += [text[start : token.start()], "null"]
        elif mark in "]}":
            if depth == MAX_DEPTH + 1:
                start = token.end()
            depth -= 1
    pieces.append(text[start:])
    return pieces


def shown(text: str, longest: int) -> str:
    """A text that others wrote, as it may be shown: cut to so many characters, and with the number
    of every one that a terminal would obey or that changes how others look."""
    cut = text if len(text) <= longest else text[: longest - 1] + "…"
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in cut
    )
