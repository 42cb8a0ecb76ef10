"""Recognising a body that was not in UTF-8, as far as it still shows once it has been decoded."""

from __future__ import annotations

import re

UNDECODABLE = "\ufffd"
"""What API Gateway makes of a byte that is not UTF-8."""

_RUN = re.compile("[\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02af\u0370-\u07ff]{3,}")
_SCRIPTS = (0x370, 0x400, 0x530, 0x590, 0x600, 0x700, 0x780, 0x7C0)
"""Where the scripts begin whose letters take two bytes: Latin's before the first of them."""
_IDEOGRAPHS = re.compile("[\u4e00-\u9fff]+")


def foreign_at(text: str) -> int:
    """Where a text is not what its author wrote, for want of UTF-8; -1 when there is no sign.

    Chinese in GBK is two bytes a character, and some such pairs are letters in UTF-8: then words
    of Cyrillic, Hebrew and Latin letters in a row come out that nobody has written.
    """
    broken = text.find(UNDECODABLE)
    if broken >= 0:
        return broken
    for run in _RUN.finditer(text):
        scripts = {sum(ord(letter) >= start for start in _SCRIPTS) for letter in run[0]}
        if len(scripts) > 1 and _IDEOGRAPHS.fullmatch(run[0].encode().decode("gbk", "replace")):
            return run.start()
    return -1
