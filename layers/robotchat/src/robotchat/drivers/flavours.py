"""Programs that have the web UI's API, and how each of them differs from it.

Each has words of its own for a request, and ways of its own to answer: ``Flavour.draw`` puts both
into the web UI's. ``robotchat.drivers.probe`` finds out which one answers.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from robotchat.art.answers import Scheduler
from robotchat.art.capabilities import Capabilities
from robotchat.art.driver import WebuiRoutes
from robotchat.art.requests import DrawRequest, Image2ImageRequest
from robotchat.errors import (
    NotSupported,
    UpstreamBusy,
    UpstreamGarbage,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from robotchat.images import decode_base64, encode_base64, measure
from robotchat.pixels import stretched
from robotchat.text import read_json


def promised(kind: type[DrawRequest], *names: str) -> dict[str, Any]:
    """What callers are promised for fields that they leave out."""
    return {name: kind.model_fields[name].default for name in names}


NO_CHECKPOINT = "The SD host does not have the checkpoint."
NO_SAMPLER = "The SD host does not have the sampler."
SIZE_AND_STEPS = promised(Image2ImageRequest, "width", "height", "steps", "cfg_scale")


class Flavour:
    """A program with the web UI's API. This one is the web UI itself, A1111's."""

    name = ""
    defaults: Mapping[str, Any] = {}
    """Fields that are always sent, since the program's own defaults are others."""
    image_defaults: Mapping[str, Any] = {}
    """The same when it begins with a picture."""
    schedules: tuple[Scheduler, ...] = ()
    """The noise schedules of a program that does not list its own."""

    def __init__(self, routes: WebuiRoutes, capabilities: Capabilities) -> None:
        self.routes = routes
        self.capabilities = replace(capabilities, flavour=self.name, **self.differences())

    def differences(self) -> dict[str, Any]:
        """What of the capabilities differs from a web UI's."""
        return {}

    def draw(self, path: str, body: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """The answer to this body of a drawing call, as the web UI would give it."""
        image_defaults = self.image_defaults if path.endswith("img2img") else {}
        sent = self.worded({**self.defaults, **image_defaults, **body})
        try:
            answer = self.routes.post(path, sent, timeout=timeout)
        except NotSupported as error:
            raise UpstreamUnavailable(
                "The SD host has no API: is it started with --api?"
            ) from error
        if not isinstance(answer, dict):
            raise UpstreamGarbage("The SD host's answer is not an object.")
        return self.told(answer)

    def worded(self, fields: dict[str, Any]) -> dict[str, Any]:
        """A request in the program's own words."""
        return fields

    def told(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The program's answer in the web UI's words."""
        return answer


class Forge(Flavour):
    """lllyasviel's Forge: checkpoints with modules beside them, and ControlNet built in."""

    name = "Forge"
    defaults = SIZE_AND_STEPS
    image_defaults = promised(Image2ImageRequest, "denoising_strength")

    def differences(self) -> dict[str, Any]:
        return {"modules": True}

    def worded(self, fields: dict[str, Any]) -> dict[str, Any]:
        if fields.get("enable_hr"):
            # Without these the second pass fails, or is drawn with another guidance.
            fields.setdefault("hr_additional_modules", ["Use same choices"])
            fields.setdefault("hr_cfg", fields["cfg_scale"])
            if "distilled_cfg_scale" in fields:
                fields.setdefault("hr_distilled_cfg", fields["distilled_cfg_scale"])
        scripts = fields.get("alwayson_scripts") or {}
        for title, script in scripts.items():
            if title.lower() == "controlnet":
                units = [_forge_unit(unit) for unit in script.get("args", [])]
                fields["alwayson_scripts"] = {**scripts, title: {**script, "args": units}}
        return fields


class ForgeNeo(Forge):
    """Haoming02's Forge Neo."""

    name = "Forge Neo"


_BLURS = promised(Image2ImageRequest, "mask_blur_x", "mask_blur_y")


def _forge_unit(unit: Mapping[str, Any]) -> dict[str, Any]:
    """A ControlNet unit with its pictures where Forge looks for them, and in its words."""
    known = dict(unit)
    if str(known.get("module", "none")).lower() == "none":
        known["module"] = "None"
    image = known.pop("input_image", None)
    mask = known.pop("mask", None)
    pair: Any = known.get("image", image)
    if isinstance(pair, Mapping):
        pair, mask = pair.get("image"), mask or pair.get("mask")
    elif isinstance(pair, list):
        pair, mask = pair[0] if pair else None, mask or (pair[1] if len(pair) > 1 else None)
    known |= {"image": pair} if pair else {}
    return {**known, "mask_image": mask} if mask else known


class SdNext(Flavour):
    """vladmandic's SD.Next: other defaults, no schedules apart from samplers, a rate limit."""

    name = "SD.Next"
    defaults = SIZE_AND_STEPS
    image_defaults = promised(Image2ImageRequest, "denoising_strength", "resize_mode")

    REST = 20.0
    """Seconds to ask it for nothing after it kept back what it had drawn."""

    def __init__(self, routes: WebuiRoutes, capabilities: Capabilities) -> None:
        super().__init__(routes, capabilities)
        self._rest_until = 0.0

    def differences(self) -> dict[str, Any]:
        ignored = (
            *("scheduler", "refiner_checkpoint", "refiner_switch_at", "restore_faces"),
            *("enable_hr", "firstpass_image", "image_cfg_scale", "latent_mask"),
            *("s_min_uncond", "s_churn", "s_tmax", "s_tmin", "s_noise", "distilled_cfg_scale"),
        )
        return {
            "controlnet": False,
            "ignores": frozenset(ignored),
            "limits": {"resize_mode": (0, 2)},
            "reports": frozenset({"checkpoint", "sampler", "seed"}),
        }

    def draw(self, path: str, body: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        left = self._rest_until - time.monotonic()
        if left > 0:
            raise UpstreamBusy("The SD host's rate limit is spent.", retry_after=left)
        try:
            return super().draw(path, body, timeout)
        except UpstreamBusy as error:
            # It counts when it has drawn: asked again at once, it would draw for nothing again.
            self._rest_until = time.monotonic() + self.REST
            raise UpstreamBusy(
                "The SD host drew the picture and kept it back: its rate limit is spent.",
                retry_after=self.REST,
                details=error.details,
            ) from error

    def worded(self, fields: dict[str, Any]) -> dict[str, Any]:
        fields.pop("scheduler", None)  # whatever is left of it is the host's own choice
        scripts = fields.get("alwayson_scripts")
        if scripts:
            # It has no such script, on or off.
            kept = {title: s for title, s in scripts.items() if title.lower() != "controlnet"}
            fields["alwayson_scripts"] = kept
        if "init_images" not in fields:
            return fields
        fields["resize_mode"] += 1  # its own first mode is not to resize at all
        if fields.get("mask"):
            fields.setdefault("inpaint_full_res", True)
            wide, high = (fields.pop(name, usual) for name, usual in _BLURS.items())
            if "mask_blur" not in fields and wide != high:
                raise NotSupported("The SD host blurs both ways alike.", param="mask_blur_x")
            fields.setdefault("mask_blur", wide)
        return fields

    def told(self, answer: dict[str, Any]) -> dict[str, Any]:
        """With the checkpoint where the web UI tells it: it stands in the infotext alone."""
        text = answer.get("info")
        if not isinstance(text, str) or not text:
            return answer
        try:
            info = read_json(text)
        except ValueError:
            return answer  # what is wrong with it is said where it is read
        notes = info.get("infotexts") if isinstance(info, dict) else None
        # In its last line: what is above are the prompts, in which anything may stand.
        line = str(notes[0]).rpartition("\n")[2] if notes else ""
        found = re.search(r"(?:^|, )Model: ([^,]+)", line)
        if found is None or info.get("sd_model_name"):
            return answer
        return {**answer, "info": json.dumps({**info, "sd_model_name": found[1].strip()})}


# --- one picture a call ---------------------------------------------------------------------------


def one_by_one(fields: dict[str, Any], timeout: float) -> Iterator[tuple[dict[str, Any], float]]:
    """The calls for a request's pictures, each with its seed, and with the seconds left for it.

    Raises UpstreamTimeout when there are none left.
    """
    deadline = time.monotonic() + timeout
    images = fields.pop("init_images", None) or []
    batch = int(fields.pop("batch_size", 1))
    count = (len(images) if len(images) > 1 else batch) * int(fields.pop("n_iter", 1))
    for index in range(count):
        left = deadline - time.monotonic()
        if left <= 0:
            raise UpstreamTimeout("The SD host did not answer in time.")
        own = {"init_images": [images[index % len(images)]]} if images else {}
        yield {**fields, **own, "seed": fields["seed"] + index}, left


def of_size(image: str, fields: Mapping[str, Any]) -> str:
    """A picture in base64 at exactly the size of the request, stretched as the web UI does it."""
    data, size = decode_base64(image), (int(fields["width"]), int(fields["height"]))
    return image if measure(data) == size else encode_base64(stretched(data, size))
