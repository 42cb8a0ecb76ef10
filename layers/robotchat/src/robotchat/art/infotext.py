"""Reading the text that the web UI writes into its pictures: prompt, negative prompt, settings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_NAME = re.compile(r"\w[\w \-/()+]*")
_NO_NAME = re.compile(r"[^\w \-/()+]")
_VALUE = re.compile(r'\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
_SIZE = re.compile(r"(\d+)x(\d+)")
_FEWEST_SETTINGS = 3
"""With fewer on its last line, a text has no settings: it is all prompt."""

_FIELDS = {
    "Prompt": "prompt",
    "Negative prompt": "negative_prompt",
    "Steps": "steps",
    "Sampler": "sampler_name",
    "Schedule type": "scheduler",
    "CFG scale": "cfg_scale",
    "Distilled CFG Scale": "distilled_cfg_scale",
    "Seed": "seed",
    "Size-1": "width",
    "Size-2": "height",
    "Denoising strength": "denoising_strength",
    "Variation seed": "subseed",
    "Variation seed strength": "subseed_strength",
    "Seed resize from-1": "seed_resize_from_w",
    "Seed resize from-2": "seed_resize_from_h",
    "Tiling": "tiling",
    "Hires upscale": "hr_scale",
    "Hires upscaler": "hr_upscaler",
    "Hires steps": "hr_second_pass_steps",
    "Hires resize-1": "hr_resize_x",
    "Hires resize-2": "hr_resize_y",
    "Hires checkpoint": "hr_checkpoint_name",
    "Hires sampler": "hr_sampler_name",
    "Hires schedule type": "hr_scheduler",
    "Hires prompt": "hr_prompt",
    "Hires negative prompt": "hr_negative_prompt",
    "Refiner": "refiner_checkpoint",
    "Refiner switch at": "refiner_switch_at",
    "Mask blur": "mask_blur",
}
"""Parts of an infotext, and the fields of a request that they came from."""

_OPTIONS: dict[str, tuple[str, type]] = {
    "VAE": ("sd_vae", str),
    "Clip skip": ("CLIP_stop_at_last_layers", int),
    "ENSD": ("eta_noise_seed_delta", int),
    "RNG": ("randn_source", str),
    "NGMS": ("s_min_uncond", float),
    "Sigma churn": ("s_churn", float),
    "Sigma tmin": ("s_tmin", float),
    "Sigma tmax": ("s_tmax", float),
    "Sigma noise": ("s_noise", float),
    "Token merging ratio": ("token_merging_ratio", float),
    "Token merging ratio hr": ("token_merging_ratio_hr", float),
    "Emphasis": ("emphasis", str),
}
"""Parts that came from options, and the kinds of their values."""

_SIGNS_OF_HIRES = ("Hires upscale", "Hires upscaler", "Hires resize-1")


def fields_in(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of a request, and its options, that an infotext tells of.

    The checkpoint goes by its hash, as in the web UI, or by its name where there is none.
    """
    parts = {name: value for name, value in parse(text).items() if value}
    fields: dict[str, Any] = {
        field: parts[name] for name, field in _FIELDS.items() if name in parts
    }
    if "Denoising strength" in parts and any(sign in parts for sign in _SIGNS_OF_HIRES):
        fields["enable_hr"] = True
    options: dict[str, Any] = {}
    for name, (option, kind) in _OPTIONS.items():
        if name in parts:
            try:
                options[option] = kind(parts[name])
            except ValueError:
                continue  # not one that the web UI wrote
    checkpoint = parts.get("Model hash") or parts.get("Model")
    if checkpoint:
        options["sd_model_checkpoint"] = checkpoint
    return fields, options


def parse(text: str) -> dict[str, str]:
    """The parts of an infotext by name, as ``png-info`` gives them.

    A size becomes two parts, as in ``Size-1`` and ``Size-2``. Whatever is not in the web UI's
    form is taken for the prompt.
    """
    *above, last = text.strip().split("\n")
    settings = list(_settings(last))
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


def _settings(line: str) -> Iterator[tuple[str, str]]:
    """The ``name: value`` pairs of a line, divided by commas.

    It looks from colon to colon, since searching for names takes the square of a line's length.
    """
    position = 0
    while (colon := line.find(":", position)) >= 0:
        words = _NO_NAME.split(line[position:colon])[-1]
        name = _NAME.search(words)
        position = colon + 1
        if name is not None and (value := _VALUE.match(line, position)) is not None:
            yield name[0], value[1]
            position = value.end()


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    try:
        return str(json.loads(value))
    except ValueError:
        return value
