"""Infotexts: the line of settings under a prompt, written into pictures and read back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from dev.sd_host.models import IMG2IMG

_PAIR = re.compile(r'\s*([\w /()+-]+):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
_SIZE = re.compile(r"(\d+)x(\d+)")
_REQUEST_FIELDS = {
    "Prompt": "prompt",
    "Negative prompt": "negative_prompt",
    "Steps": "steps",
    "Sampler": "sampler_name",
    "Schedule type": "scheduler",
    "CFG scale": "cfg_scale",
    "Seed": "seed",
    "Size-1": "width",
    "Size-2": "height",
    "Denoising strength": "denoising_strength",
}


def quoted(value: object) -> str:
    """``value`` as it stands after its name; quoted if it would break the line."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if re.search(r"[,:\n]", text) else text


def write(prompt: str, negative: str, settings: Mapping[str, Any]) -> str:
    """The infotext; settings that are None are left out."""
    line = ", ".join(f"{key}: {quoted(v)}" for key, v in settings.items() if v is not None)
    middle = f"\nNegative prompt: {negative}" if negative else ""
    return f"{prompt}{middle}\n{line}"


def parse(text: str) -> dict[str, str]:
    """The parts of an infotext by name; a size becomes ``Size-1`` and ``Size-2``."""
    *above, last = text.strip().split("\n")
    pairs = _PAIR.findall(last)
    if len(pairs) < 3:
        above, pairs = [*above, last], []
    prompt, _, negative = "\n".join(above).partition("Negative prompt:")
    found = {"Prompt": prompt.strip(), "Negative prompt": negative.strip()}
    for key, value in pairs:
        plain = json.loads(value) if value.startswith('"') else value
        size = _SIZE.fullmatch(plain)
        if size:
            found[f"{key}-1"], found[f"{key}-2"] = size.groups()
        else:
            found[key] = plain
    return found


def filled(fields: dict[str, Any], given: set[str]) -> dict[str, Any]:
    """``fields`` with what their ``infotext`` says, except for the fields that were given."""
    if not fields["infotext"]:
        return fields
    said = parse(fields["infotext"])
    found = {
        name: IMG2IMG.fields[name].convert(said[key])
        for key, name in _REQUEST_FIELDS.items()
        if key in said and name not in given
    }
    return {**fields, **found}
