"""Regular expressions that are compiled when they are first used, and the text they read.

A message is in one language, so that most of the patterns are never needed; compiling them all
takes longer than anything else that the rules do.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

from robotchat.prompt.models import MAX_MESSAGE


class Pattern:
    """A regular expression with the methods of `re.Pattern` that the rules use."""

    def __init__(self, source: str, flags: int = 0) -> None:
        self._source = source
        self._flags = flags

    @cached_property
    def compiled(self) -> re.Pattern[str]:
        """The compiled expression."""
        return re.compile(self._source, self._flags)

    @property
    def groupindex(self) -> Mapping[str, int]:
        """The groups that have a name."""
        return self.compiled.groupindex

    def match(self, text: str, start: int = 0) -> re.Match[str] | None:
        """A match that begins where the text does, or at `start`."""
        return self.compiled.match(text, start)

    def fullmatch(self, text: str) -> re.Match[str] | None:
        """A match of the whole text."""
        return self.compiled.fullmatch(text)

    def search(self, text: str) -> re.Match[str] | None:
        """The first match anywhere."""
        return self.compiled.search(text)

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        """All matches."""
        return self.compiled.finditer(text)

    def findall(self, text: str) -> list[str]:
        """The texts of all matches; for an expression of one group at most."""
        return self.compiled.findall(text)

    def split(self, text: str) -> list[str]:
        """The text between the matches."""
        return self.compiled.split(text)

    def sub(
        self, replacement: str | Callable[[re.Match[str]], str], text: str, count: int = 0
    ) -> str:
        """The text with its matches replaced."""
        return self.compiled.sub(replacement, text, count)


def readable(text: str) -> str:
    """As much of a message as is read, without control, private and surrogate characters, with
    plain quotation marks and single spaces: expressions that look for spaces around a word need
    time with the square of the spaces in a row, and more."""
    text = "".join(
        " " if char.isspace() and char != "\n" else char
        for char in text[:MAX_MESSAGE]
        if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Co", "Cs", "Cn")
    )
    text = re.sub(r"[ \t]+", " ", text.replace("’", "'").replace("‘", "'")).strip()
    return re.sub(r" ?\n\s*", "\n", text)
