"""Draw Things, the app for Apple's machines, with its HTTP server.

What a request leaves out is as the app is set at the moment, so everything is sent that shapes a
picture. What the app does not know it refuses; its names for fields are the command line's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robotchat.art.answers import read
from robotchat.art.capabilities import all_but
from robotchat.art.driver import WebuiRoutes
from robotchat.art.requests import CHECKPOINT, Image2ImageRequest
from robotchat.drivers.flavours import (
    NO_CHECKPOINT,
    NO_SAMPLER,
    SIZE_AND_STEPS,
    Flavour,
    of_size,
    one_by_one,
    promised,
)
from robotchat.errors import (
    NotSupported,
    RobotchatError,
    UnknownCheckpoint,
    UnknownSampler,
    UpstreamGarbage,
    UpstreamRejected,
)

_NAMES = {
    "cfg_scale": "guidance_scale",
    "denoising_strength": "strength",
    "sampler_name": "sampler",
    "n_iter": "batch_count",
    "distilled_cfg_scale": "guidance_embed",
}
"""The app's own names; it takes the web UI's as well, but shows only these."""

SHOWN_AT = ("sdapi/v1/options", "")
"""Where the app shows its settings; the second is its front page."""

_OFF: Mapping[str, Any] = {
    "hires_fix": False,
    "upscaler": None,
    "refiner_model": None,
    "loras": [],
    "controls": [],
}
"""What the app may be set to that no request asks for, and how to have none of it."""


class DrawThings(Flavour):
    """The app Draw Things."""

    name = "Draw Things"
    defaults: Mapping[str, Any] = {
        **SIZE_AND_STEPS,
        "seed": -1,
        "prompt": "",
        "negative_prompt": "",
    }
    image_defaults = promised(Image2ImageRequest, "denoising_strength")

    def differences(self) -> dict[str, Any]:
        off = ("progress", "previews", "interrupt", "partial", "options", "refresh_loras")
        heeded = (
            *("negative_prompt", "width", "height", "steps", "cfg_scale", "sampler_name"),
            *("scheduler", "denoising_strength", "init_images", "distilled_cfg_scale"),
            "restore_faces",
        )
        side = (128, 8192)
        return {
            **dict.fromkeys((*off, "controlnet", "tools", "loras", "mask", "lists"), False),
            "ignores": all_but(*heeded),
            "limits": {
                "width": side,
                "height": side,
                "steps": (1, 150),
                "cfg_scale": (0, 50),
                "distilled_cfg_scale": (0, 25),
                "seed": (-1, 2**32 - 1),
            },
            "size_step": 64,
            "reports": frozenset(),
        }

    def draw(self, path: str, body: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        image_defaults = self.image_defaults if path.endswith("img2img") else {}
        known = frozenset(settings(self.routes))
        images: list[Any] = []
        for call, left in one_by_one({**self.defaults, **image_defaults, **body}, timeout):
            try:
                answer = self.routes.post(path, _worded(call, known), timeout=left)
            except UpstreamRejected as error:
                raise _judged(error) from error
            drawn = answer.get("images") if isinstance(answer, dict) else None
            if not isinstance(drawn, list) or len(drawn) != 1:
                raise UpstreamGarbage("The SD host drew another number of pictures than one.")
            images += drawn
        return {"images": images, "parameters": {}, "info": ""}


def settings(routes: WebuiRoutes) -> dict[str, Any]:
    """What the app is set to. Raises NotSupported when it does not show that."""
    try:
        shown = routes.get(SHOWN_AT[0])
    except NotSupported:
        shown = routes.get(SHOWN_AT[1])
    return read(dict[str, Any], shown)


def _judged(error: UpstreamRejected) -> RobotchatError:
    """A refusal of a name, which nobody could check before, as that of any other host."""
    if error.message == NO_CHECKPOINT:
        return UnknownCheckpoint(
            error.message, param=f"override_settings.{CHECKPOINT}", details=error.details
        )
    if error.message == NO_SAMPLER:
        return UnknownSampler(error.message, param="sampler_name", details=error.details)
    return error


def _worded(fields: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """One picture's request in the app's words; ``known`` are the fields that it shows."""
    names = ("prompt", "negative_prompt", "seed", "width", "height", "steps", *_NAMES)
    asked = {name: fields[name] for name in names if name in fields}
    asked |= {"batch_size": 1, "n_iter": 1}
    schedule = str(fields.get("scheduler") or "automatic")
    if "sampler_name" in asked and schedule.lower() != "automatic":
        asked["sampler_name"] = f"{asked['sampler_name']} {schedule}"
    call = {
        _NAMES[name] if _NAMES.get(name) in known else name: value
        for name, value in asked.items()
        if name != "distilled_cfg_scale" or "guidance_embed" in known
    }
    call |= {name: value for name, value in _OFF.items() if name in known}
    checkpoint = (fields.get("override_settings") or {}).get(CHECKPOINT)
    if checkpoint:
        call["model"] = checkpoint
    if fields.get("restore_faces"):
        call["restore_faces"] = True
    if "init_images" in fields:
        # It takes none of another size.
        call["init_images"] = [of_size(image, fields) for image in fields["init_images"]]
    return call
