"""Reading the text that the web UI writes into its pictures: prompt, negative prompt, settings."""

from __future__ import annotations

import json
import re

_SETTING = re.compile(r'\s*([\w][\w \-/()+]*):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
_SIZE = re.compile(r"(\d+)x(\d+)")
_FEWEST_SETTINGS = 3
"""With fewer on its last line, a text has no settings: it is all prompt."""


def parse(text: str) -> dict[str, str]:
    """The parts of an infotext by name, as ``png-info`` gives them.

    A size becomes two parts, as in ``Size-1`` and ``Size-2``. Whatever is not in the web UI's
    form is taken for the prompt.
    """
    *above, last = text.strip().split("\n")
    settings = _SETTING.findall(last)
    if len(settings) < _FEWEST_SETTINGS:
        above, settings = [*above, last], []
    prompt, _, negative = "\n".join(above).partition("Negative prompt:")
    parts = {"Prompt": prompt.strip(), "Negative prompt": negative.strip()}
    for name, value in settings:
        plain = _unquoted(value.strip())
        size = _SIZE.fullmatch(plain)
        if size:
            parts[f"{name}-1"], parts[f"{name}-2"] = size.groups()
        else:
            parts[name] = plain
    return parts


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    try:
        return str(json.loads(value))
    except ValueError:
        return value
