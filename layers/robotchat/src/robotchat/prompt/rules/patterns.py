"""Regular expressions that are compiled when they are first used.

A message is in one language, so that most of the patterns are never needed; compiling them all
takes longer than anything else that the rules do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property


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
