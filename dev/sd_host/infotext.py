"""Infotexts: the line of settings under a prompt, written into pictures and read back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from dev.sd_host.catalog import PROMPT_STYLES
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


_ASSUMED = {
    "Clip skip": "1",
    "Hires resize-1": 0,
    "Hires resize-2": 0,
    "Hires sampler": "Use same sampler",
    "Hires schedule type": "Use same scheduler",
    "Hires checkpoint": "Use same checkpoint",
    "Hires prompt": "",
    "Hires negative prompt": "",
    "Mask mode": "Inpaint masked",
    "Masked content": "original",
    "Inpaint area": "Whole picture",
    "Masked area padding": 32,
    "RNG": "GPU",
    "Schedule type": "Automatic",
    "Schedule max sigma": 0,
    "Schedule min sigma": 0,
    "Schedule rho": 0,
    "VAE Encoder": "Full",
    "VAE Decoder": "Full",
    "FP8 weight": "Disable",
    "Cache FP16 weight for LoRA": False,
    "Emphasis": "Original",
    "Refiner switch by sampling steps": False,
}
"""What the host adds to what an infotext says, because it is so when nothing is said."""


def parameters_of(text: str) -> dict[str, Any]:
    """The parts of an infotext as png-info gives them: with what is assumed where it is silent,
    and with the texts of styles taken out of the prompts."""
    found: dict[str, Any] = parse(text)
    styles = []
    for style in PROMPT_STYLES:
        prompt = _without_style(found["Prompt"], style["prompt"])
        negative = _without_style(found["Negative prompt"], style["negative_prompt"])
        if prompt is not None and negative is not None:
            found["Prompt"], found["Negative prompt"] = prompt, negative
            styles.append(style["name"])
    if styles:
        found["Styles array"] = styles
    return {**{key: value for key, value in _ASSUMED.items() if key not in found}, **found}


def _without_style(text: str, style: str) -> str | None:
    """``text`` without a style's own words; None if they are not in it."""
    if "{prompt}" in style:
        left, _, right = style.partition("{prompt}")
        inside = len(text) >= len(left) + len(right)
        if not (inside and text.startswith(left) and text.endswith(right)):
            return None
        return text[len(left) : len(text) - len(right)]
    if not style or text == style:
        return "" if style else text
    return text.removesuffix(f", {style}") if text.endswith(f", {style}") else None


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
