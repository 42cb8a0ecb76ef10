"""The table of what each kind of SD host can do, made from the capabilities that its driver has."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, get_args

from robotchat.art.capabilities import Capabilities, ImagesFlavour
from robotchat.drivers.comfyui.catalog import shipped
from robotchat.drivers.comfyui.client import JOBS_CANCEL
from robotchat.drivers.comfyui.driver import capabilities_of
from robotchat.drivers.drawthings import DrawThings
from robotchat.drivers.flavours import Flavour, Forge, ForgeNeo, SdNext
from robotchat.drivers.koboldcpp import KoboldCpp
from robotchat.drivers.openai_images import OpenAIImages
from robotchat.drivers.sdcpp import SdCpp
from robotchat.errors import NotSupported

DOCUMENT = "docs/hosts.md"
_TABLE = re.compile(r"(<!-- hosts -->\n).*?(<!-- /hosts -->)", re.DOTALL)


class _Nowhere:
    """A host that is never asked."""

    def get(self, path: str, **query: str) -> Any:
        raise NotSupported("There is no host.")

    def post(
        self, path: str, body: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> Any:
        raise NotSupported("There is no host.")


def programs() -> dict[str, Capabilities]:
    """What each program can do, by the name that people call it."""
    bare = Capabilities(progress=False, refresh_loras=False, controlnet=False)
    found: list[Flavour] = [kind(_Nowhere(), Capabilities()) for kind in (Forge, ForgeNeo, SdNext)]
    found += [kind(_Nowhere(), bare) for kind in (KoboldCpp, DrawThings)]
    found.append(SdCpp(_Nowhere(), bare, hires=True))
    comfyui = {f"ComfyUI, {one.name}": capabilities_of(one, JOBS_CANCEL) for one in shipped()}
    images = [
        OpenAIImages("http://a", flavour=one).capabilities() for one in get_args(ImagesFlavour)
    ]
    return {
        "A1111": Capabilities(),
        **{one.name: one.capabilities for one in found},
        **comfyui,
        # stable-diffusion.cpp's server has both APIs.
        **{f"{one.flavour} (images API)": one for one in images},
    }


def _yes(value: bool) -> str:
    return "yes" if value else "-"


def _heeds(*names: str) -> Callable[[Capabilities], str]:
    return lambda can: _yes(not can.ignores & set(names))


def _sides(can: Capabilities) -> str:
    steps = sorted({can.size_step, *can.other_steps})
    listed = ", ".join(map(str, steps[:-1])) + (" or " if steps[1:] else "") + str(steps[-1])
    return f"{'up' if can.rounds_up else 'down'} to {listed}"


def _limits(can: Capabilities) -> str:
    told = {name: limit for name, limit in can.limits.items() if name != "seed"}
    return ", ".join(f"`{n}` {low:g} to {high:g}" for n, (low, high) in told.items()) or "-"


FEATURES: dict[str, Callable[[Capabilities], str]] = {
    "draws over a picture": lambda can: _yes(can.image2image),
    "mask": lambda can: _yes(can.image2image and can.mask),
    "negative prompt": _heeds("negative_prompt"),
    "steps, CFG": _heeds("steps", "cfg_scale"),
    "sampler": _heeds("sampler_name"),
    "schedule": _heeds("scheduler"),
    "hires fix": _heeds("enable_hr"),
    "distilled guidance": lambda can: _yes(
        "distilled_cfg_scale" not in can.ignores and bool(can.flavour) and can.kind != "sdcpp"
    ),
    "modules": lambda can: _yes(can.modules),
    "styles": _heeds("styles"),
    "scripts": _heeds("script_name"),
    "LoRA tags": lambda can: _yes(can.loras),
    "ControlNet": lambda can: _yes(can.controlnet),
    "options": lambda can: _yes(can.options),
    "upscaling, interrogation": lambda can: _yes(can.tools),
    "lists its checkpoints": lambda can: _yes(can.lists),
    "tells how far it is": lambda can: _yes(can.progress),
    "shows previews": lambda can: _yes(can.previews),
    "can be stopped": lambda can: _yes(can.interrupt),
    "sides of a picture": _sides,
    "limits": _limits,
    "verified": lambda can: ", ".join(sorted(can.reports)) or "number, sizes",
}


def table() -> str:
    """A Markdown table: a row for each feature, a column for each program."""
    found = programs()
    rows = [["", *found], ["---"] * (len(found) + 1)]
    rows += [[name, *(tell(can) for can in found.values())] for name, tell in FEATURES.items()]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def written(text: str) -> str:
    """The document with the table as it is now."""
    return _TABLE.sub(lambda found: found[1] + table() + found[2], text)
