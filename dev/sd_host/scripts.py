"""Scripts: which there are, and what the selectable ones draw instead of one plain picture.

A script draws several times with changed fields and answers as it likes: with a grid in front, with
the grid alone, with seeds and infotexts of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dev.sd_host import catalog, imaging
from dev.sd_host.state import Host, HostError

if TYPE_CHECKING:
    from dev.sd_host.generation import Result

ARGUMENTS = {
    "prompt matrix": 5,
    "prompts from file or textbox": 4,
    "x/y/z plot": 18,
    "loopback": 4,
}
"""How many arguments the scripts take that draw something of their own here."""

_AXES = {1: "seed", 4: "steps", 6: "cfg_scale", 7: "prompt"}
"""The axes of a plot that change something here, by their numbers on the host."""


def always_on(host: Host) -> list[str]:
    return [*catalog.ALWAYS_ON_SCRIPTS, *(["controlnet"] if host.has_controlnet else [])]


def selectable(host: Host, kind: str) -> list[str]:
    own = catalog.IMG2IMG_SCRIPTS if kind == "img2img" else ()
    more = catalog.CONTROLNET_SCRIPTS if host.has_controlnet else ()
    return [*catalog.SELECTABLE_SCRIPTS, *more, *own]


def chosen(fields: Mapping[str, Any]) -> str | None:
    """The selectable script of a request, if it draws something of its own here.

    Raises `HostError` when it lacks arguments, as a Python function does.
    """
    name = str(fields["script_name"] or "").lower()
    if name not in ARGUMENTS:
        return None
    missing = ARGUMENTS[name] - len(fields["script_args"])
    if missing > 0:
        text = f"Script.run() missing {missing} required positional arguments"
        raise HostError("TypeError", text)
    return name


def variants(name: str, fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a script changes from one drawing to the next; raises `HostError`."""
    args, prompt = fields["script_args"], fields["prompt"] or ""
    if name == "prompts from file or textbox":
        lines = [line.strip() for line in str(args[3]).splitlines()]
        step = 1 if args[0] else 0
        return [
            {"prompt": line, "seed": fields["seed"] + index * step}
            for index, line in enumerate(line for line in lines if line)
        ]
    if name == "prompt matrix":
        first, *parts = (part.strip() for part in prompt.split("|"))
        chosen = itertools.product((False, True), repeat=len(parts))
        return [{"prompt": ", ".join([first, *itertools.compress(parts, mask)])} for mask in chosen]
    if name == "loopback":
        return [{"seed": fields["seed"] + index} for index in range(int(args[0]))]
    axes = [_axis(args[index], args[index + 1], prompt) for index in (0, 3, 6)]
    return [{k: v for c in cell for k, v in c.items()} for cell in itertools.product(*axes[::-1])]


def _axis(kind: Any, values: Any, prompt: str) -> list[dict[str, Any]]:
    if not isinstance(kind, int):
        raise HostError("TypeError", "list indices must be integers or slices, not str")
    if kind == 0:
        return [{}]
    words = [word.strip() for word in str(values).split(",")]
    field = _AXES.get(kind)
    if field is None:
        return [{} for _ in words]
    if field == "prompt":
        if words[0] not in prompt:
            raise HostError("RuntimeError", f"Prompt S/R did not find {words[0]} in prompt.")
        return [{"prompt": prompt.replace(words[0], word)} for word in words]
    try:
        return [{field: float(w) if field == "cfg_scale" else int(w)} for w in words]
    except ValueError as error:
        raise HostError("ValueError", str(error)) from error


def joined(name: str, args: list[Any], parts: list[Result]) -> Result:
    """The drawings of a script as its answer has them."""
    first = parts[0]
    first.seeds = [seed for part in parts for seed in part.seeds]
    first.appended = [map_ for part in parts for map_ in part.appended]
    first.infotexts = [text for part in parts for text in part.infotexts]
    first.images = [image for part in parts for image in part.images]
    if name in ("prompt matrix", "x/y/z plot") and first.images:
        grid, text = imaging.grid(first.images), first.infotexts[0]
        first.first_image = 1
        first.infotexts = [text, *first.infotexts]
        first.images = [grid, *first.images]
        if name == "x/y/z plot":
            first.seeds = [first.seeds[0], *first.seeds]
            if not args[10]:
                first.images = [grid]
    return first
