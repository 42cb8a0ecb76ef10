"""KoboldCpp: a server of language models that draws as well, one picture a call.

It takes a few fields of a request and passes over the others, says nothing of what it drew, and
answers a drawing that failed with 200 and an empty picture.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from robotchat.art.answers import Scheduler
from robotchat.art.capabilities import all_but
from robotchat.art.matching import squash
from robotchat.art.requests import Image2ImageRequest
from robotchat.drivers.flavours import SIZE_AND_STEPS, Flavour, of_size, one_by_one, promised
from robotchat.drivers.sdcpp import joined, without_extra_args
from robotchat.errors import UpstreamGarbage, UpstreamUnavailable

_TAKEN = (
    *("prompt", "negative_prompt", "width", "height", "steps", "cfg_scale", "seed"),
    *("sampler_name", "scheduler", "eta", "denoising_strength", "mask"),
    "inpainting_mask_invert",
)
_SCHEDULES = {
    "discrete": "Discrete",
    "karras": "Karras",
    "exponential": "Exponential",
    "ays": "Align Your Steps",
    "gits": "GITS",
    "sgm_uniform": "SGM Uniform",
    "simple": "Simple",
    "smoothstep": "Smoothstep",
    "kl_optimal": "KL Optimal",
}
"""stable-diffusion.cpp's schedules, which it does not list; it draws with its own choice when it is
given any other name."""


class KoboldCpp(Flavour):
    """LostRuins' KoboldCpp."""

    name = "KoboldCpp"
    defaults: Mapping[str, Any] = {**SIZE_AND_STEPS, "seed": -1}
    image_defaults = promised(Image2ImageRequest, "denoising_strength")
    schedules = (
        Scheduler(name="automatic", label="Automatic"),
        *(Scheduler(name=name, label=label) for name, label in _SCHEDULES.items()),
    )

    def differences(self) -> dict[str, Any]:
        off = ("progress", "previews", "interrupt", "partial", "options", "refresh_loras")
        return {
            **dict.fromkeys((*off, "controlnet", "tools", "loras"), False),
            "ignores": all_but(*_TAKEN, "init_images", "distilled_cfg_scale", *_TOLD_OF_MASKS),
            "limits": {"steps": (1, 80), "cfg_scale": (1, 25), "seed": (-1, 2**32 - 1)},
            "size_step": 8,
            "other_steps": frozenset({16, 32, 64}),
            "reports": frozenset(),
        }

    def draw(self, path: str, body: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        image_defaults = self.image_defaults if path.endswith("img2img") else {}
        fields = {**self.defaults, **image_defaults, **body}
        images: list[Any] = []
        info: dict[str, Any] = {}
        for call, left in one_by_one(fields, timeout):
            answer = self.routes.post(path, self.worded(call), timeout=left)
            drawn = answer.get("images") if isinstance(answer, dict) else None
            if not isinstance(drawn, list) or not drawn:
                raise UpstreamGarbage("The SD host's answer holds no list of images.")
            if drawn[0] == "":
                raise UpstreamUnavailable(
                    "The SD host could not draw.",
                    details={"upstream_status": 200, "reason": "it answered without a picture"},
                )
            images.append(drawn[0])
            info = joined(info, answer.get("info"))
        return {"images": images, "parameters": {}, "info": json.dumps(info) if info else ""}

    def worded(self, fields: dict[str, Any]) -> dict[str, Any]:
        call = {name: fields[name] for name in (*_TAKEN, "init_images") if name in fields}
        for name in ("prompt", "negative_prompt"):
            if name in call:
                call[name] = without_extra_args(str(call[name]))
        # By itself it would cut off what is too wide or too high, instead of stretching it.
        if "init_images" in call:
            call["init_images"] = [of_size(image, fields) for image in call["init_images"]]
        if call.get("mask"):
            call["mask"] = of_size(call["mask"], fields)
        schedule = squash(str(call.pop("scheduler", "")))
        for name, label in _SCHEDULES.items():
            if schedule in (squash(name), squash(label)):
                call["scheduler"] = name
        if "distilled_cfg_scale" in fields:
            call["distilled_guidance"] = fields["distilled_cfg_scale"]
        return call


_TOLD_OF_MASKS = ("mask_blur", "mask_blur_x", "mask_blur_y", "inpainting_fill", "inpaint_full_res")
"""Fields of a mask that make a smoother seam, which is not what a picture is refused for."""
