"""The dialect of bare engines such as stable-diffusion.cpp's ``sd-server``.

They answer the web UI's drawing calls and lists, and ignore or refuse much of the rest: ``n_iter``
and the prompt's LoRA tags are ignored, nulls refused, large batches cut. What can be put in their
words is; what would be ignored although it changes the picture is NotSupported.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any

from robotchat.art.answers import Lora, read
from robotchat.art.capabilities import Capabilities
from robotchat.art.driver import WebuiRoutes
from robotchat.art.requests import Text2ImageRequest
from robotchat.drivers.flavours import Flavour, promised
from robotchat.errors import NotSupported, UpstreamGarbage, UpstreamRejected, UpstreamTimeout
from robotchat.text import read_json

_LARGEST_BATCH = 8
_LORA_TAG = re.compile(r"<lora:([^:>]+)(?::([-+0-9.]+))?[^>]*>", re.IGNORECASE)
IGNORED = frozenset(
    {
        *("styles", "subseed_strength", "enable_hr", "refiner_checkpoint"),
        *("script_name", "alwayson_scripts"),
    }
)
"""Fields that change the picture, and that these engines pass over in silence."""
_OF_HIRES = frozenset(
    {
        *("hr_checkpoint_name", "hr_sampler_name", "hr_scheduler", "hr_prompt"),
        *("hr_negative_prompt", "hr_cfg", "hr_distilled_cfg", "firstpass_image"),
    }
)

# Their own defaults differ from those that callers are promised.
_DEFAULTS = promised(Text2ImageRequest, "width", "height", "steps", "cfg_scale", "seed")


_EXTRA_ARGS = re.compile(r"<sd_cpp_extra_args>.*?</sd_cpp_extra_args>", re.DOTALL | re.IGNORECASE)
_EXTRA_ARGS_TAG = re.compile(r"</?sd_cpp_extra_args>", re.IGNORECASE)


def without_extra_args(prompt: str) -> str:
    """A prompt without stable-diffusion.cpp's ``<sd_cpp_extra_args>{json}</sd_cpp_extra_args>``.

    That sets any parameter of its server, so it is never the caller's to write.
    """
    while True:
        stripped = _EXTRA_ARGS_TAG.sub("", _EXTRA_ARGS.sub("", prompt))
        if stripped == prompt:
            return prompt
        prompt = stripped  # what was around may be one now


class SdCpp(Flavour):
    """sd-server, and whatever else answers as it does."""

    name = "sd-server"

    def __init__(
        self, routes: WebuiRoutes, capabilities: Capabilities, *, hires: bool = False
    ) -> None:
        """``hires``: whether it enlarges and draws over, as it does since April 2026."""
        self._ignored = IGNORED - {"enable_hr"} | _OF_HIRES if hires else IGNORED
        super().__init__(routes, capabilities)

    def differences(self) -> dict[str, Any]:
        return {
            "kind": "sdcpp",
            "previews": False,
            "interrupt": False,
            "partial": False,
            "options": False,
            "tools": False,
            "ignores": self._ignored,
            "size_step": 64,
            "rounds_up": True,
        }

    def draw(self, path: str, body: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """One answer in the web UI's shape, put together from as many calls as it takes.

        Raises NotSupported for a request that the engine would do only in part.
        """
        deadline = time.monotonic() + timeout
        fields = self._translated(body)
        wanted = int(fields.pop("batch_size", 1)) * int(fields.pop("n_iter", 1))
        images: list[Any] = []
        info: dict[str, Any] = {}
        while len(images) < wanted:
            left = deadline - time.monotonic()
            if left <= 0:
                raise UpstreamTimeout("The SD host did not answer in time.")
            batch = min(wanted - len(images), _LARGEST_BATCH)
            seed = fields["seed"] + len(images) if fields["seed"] >= 0 else -1
            call = {**fields, "batch_size": batch, "seed": seed}
            answer = self.routes.post(path, call, timeout=left)
            drawn = answer.get("images") if isinstance(answer, dict) else None
            if not isinstance(drawn, list) or len(drawn) < batch:
                raise UpstreamGarbage("The SD host drew fewer pictures than were asked for.")
            images += drawn[:batch]
            info = joined(info, answer.get("info"))
        return {
            "images": images,
            "parameters": {},
            "info": json.dumps(info) if info else "",
        }

    def _translated(self, body: Mapping[str, Any]) -> dict[str, Any]:
        for name in sorted(self._ignored - {"script_name", "alwayson_scripts"}):
            if body.get(name):
                raise NotSupported(f"The SD host does not support {name}.", param=name)
        if str(body.get("script_name") or "none").lower() != "none":
            raise NotSupported("The SD host does not run scripts.", param="script_name")
        for title, script in (body.get("alwayson_scripts") or {}).items():
            units = script.get("args", [])
            if title.lower() != "controlnet" or any(unit.get("enabled") for unit in units):
                raise NotSupported(
                    "The SD host does not run scripts.", param=f"alwayson_scripts.{title}"
                )
        fields = {name: value for name, value in body.items() if value is not None}
        for name in ("alwayson_scripts", "script_name", "script_args", "styles"):
            fields.pop(name, None)
        fields = {**_DEFAULTS, **fields}
        if fields.get("enable_hr"):
            fields |= _second_pass(fields)
        tags = _LORA_TAG.findall(str(fields.get("prompt", "")))
        if tags and not fields.get("disable_extra_networks"):
            fields["prompt"] = _LORA_TAG.sub("", str(fields["prompt"])).strip()
            fields["lora"] = self._loras(tags)
        for name in ("prompt", "negative_prompt"):  # after the tags, which may hide one
            if name in fields:
                fields[name] = without_extra_args(str(fields[name]))
        return fields

    def _loras(self, tags: list[tuple[str, str]]) -> list[dict[str, Any]]:
        """The LoRAs of a prompt as these engines want them: by path."""
        paths: dict[str, str] = {}
        for lora in read(list[Lora], self.routes.get("sdapi/v1/loras")):
            for name in (lora.alias, lora.name):
                paths[name.lower()] = lora.path or lora.name
        result = []
        for name, weight in tags:
            path = paths.get(name.strip().lower())
            if path is None:
                raise UpstreamRejected(
                    f"The SD host does not have the LoRA {name!r}.",
                    param="prompt",
                    details={"near_matches": sorted(paths)[:5]},
                )
            try:
                multiplier = float(weight or 1)
            except ValueError:
                multiplier = 1.0
            result.append({"path": path, "multiplier": multiplier})
        return result


def _second_pass(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The second pass in this server's words: with both sides, since of one it makes a square."""
    width, height = int(fields["width"]), int(fields["height"])
    scale = float(fields.get("hr_scale", 2.0))
    wide, high = int(fields.get("hr_resize_x", 0)), int(fields.get("hr_resize_y", 0))
    if not wide and not high:
        wide, high = int(width * scale), int(height * scale)
    return {
        "hr_resize_x": wide or high * width // height,
        "hr_resize_y": high or wide * height // width,
        "hr_steps": int(fields.get("hr_second_pass_steps", 0)),
        "hr_upscaler": fields.get("hr_upscaler") or "Latent",
    }


def joined(info: dict[str, Any], text: object) -> dict[str, Any]:
    """The info of the first call, with the lists of the further ones behind its own."""
    if not isinstance(text, str) or not text:
        return info
    try:
        more = read_json(text)
    except ValueError as error:
        raise UpstreamGarbage("The SD host's info text is not JSON.") from error
    if not isinstance(more, dict):
        raise UpstreamGarbage("The SD host's info text is not an object.")
    if not info:
        return more
    lists = {
        name: [*info[name], *value]
        for name, value in more.items()
        if isinstance(value, list) and isinstance(info.get(name), list) and name != "styles"
    }
    return {**info, **lists}
