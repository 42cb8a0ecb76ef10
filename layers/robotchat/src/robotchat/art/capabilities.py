"""What an SD host can do, and what it makes of a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from robotchat.art.requests import NEVER_SENT, Image2ImageRequest, Text2ImageRequest

HostKind = Literal["webui", "sdcpp", "comfyui", "openai-images"]
"""How a host is spoken to: by the web UI's API, or that API as bare engines such as
stable-diffusion.cpp's server have it; by ComfyUI's; by OpenAI's images API."""

ImagesFlavour = Literal["openai", "vllm-omni", "sglang", "localai", "sd-server"]
"""The programs that speak OpenAI's images API, each in its own way."""

HOST_KINDS: tuple[HostKind, ...] = get_args(HostKind)
WEBUI_KINDS: frozenset[HostKind] = frozenset({"webui", "sdcpp"})


@dataclass(frozen=True)
class Capabilities:
    """What an SD host can do, with one of its checkpoints where that matters."""

    kind: HostKind = "webui"
    flavour: str = ""
    """The program, as people call it; empty: nothing is known beyond the kind."""
    progress: bool = True
    """Whether it tells how far it has got."""
    previews: bool = True
    """Whether it shows a picture before that is finished."""
    interrupt: bool = True
    """Whether it can be stopped."""
    targeted: bool = False
    """Whether that stops only what is meant, whatever else it draws."""
    partial: bool = True
    """Whether what was stopped comes back as far as it is."""
    options: bool = True
    """Whether options can be set, for a request or for good."""
    refresh_loras: bool = True
    controlnet: bool = True
    modules: bool = False
    """Whether checkpoints are drawn with modules beside them (``forge_additional_modules``)."""
    tools: bool = True
    """Whether it has the web UI's tools beside drawing: upscaling, interrogation, PNG info."""
    image2image: bool = True
    mask: bool = True
    loras: bool = True
    """Whether ``<lora:name:weight>`` in a prompt has its effect."""
    reference_pictures: int = 0
    """How many further pictures an instruction to change one may refer to."""
    ignores: frozenset[str] = frozenset()
    """Fields of a request that it passes over in silence, although they change the picture."""
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict, hash=False)
    """Numbers of a request that it changes in silence, or refuses, unless within these."""
    lists: bool = True
    """Whether it lists all checkpoints that it has; else it judges their names itself."""
    size_step: int = 8
    """The sides of its pictures are multiples of so many pixels."""
    other_steps: frozenset[int] = frozenset()
    """Or of so many, by the checkpoint."""
    rounds_up: bool = False
    """Whether other sides are enlarged to one; else they are cut down."""
    paid: bool = False
    """Whether every picture is paid for, so that none is drawn to find something out."""
    reports: frozenset[str] = frozenset({"checkpoint", "sampler", "seed"})
    """What it tells of how a picture was drawn, so that it can be checked."""

    def rounded(self, width: int, height: int, step: int | None = None) -> tuple[int, int]:
        """The size in which it draws what is asked for in this one."""
        step = step or self.size_step
        more = step - 1 if self.rounds_up else 0
        return (width + more) // step * step, (height + more) // step * step

    def sizes(self, width: int, height: int) -> set[tuple[int, int]]:
        """The same, with those of all checkpoints that it may have."""
        return {self.rounded(width, height, step) for step in (self.size_step, *self.other_steps)}


def to_json(capabilities: Capabilities) -> dict[str, Any]:
    """The capabilities as an object that can be stored."""
    return {
        name: sorted(value) if isinstance(value, frozenset) else value
        for name, value in vars(capabilities).items()
    }


def from_json(told: Mapping[str, Any]) -> Capabilities:
    """The other way round. What another version has told beside is left out."""
    known = {one.name for one in fields(Capabilities)}
    values: dict[str, Any] = {
        name: frozenset(value) if isinstance(value, list) else value
        for name, value in told.items()
        if name in known
    }
    values["limits"] = {name: (low, high) for name, (low, high) in told.get("limits", {}).items()}
    return Capabilities(**values)


_NEUTRAL = NEVER_SENT | {
    # Seen to before a host is asked, or by fields of their own.
    *("override_settings", "comments", "output_format", "output_compression"),
    *("sampler_index", "disable_extra_networks", "firstphase_width", "firstphase_height"),
    # What they say changes nothing by itself.
    *("mask_round", "seed", "subseed", "batch_size", "n_iter", "prompt"),
}


def all_but(*heeded: str) -> frozenset[str]:
    """For ``Capabilities.ignores``: every field that shapes a picture, but these. The prompt, the
    seed and the number of pictures are what every kind of host heeds."""
    every = {*Text2ImageRequest.model_fields, *Image2ImageRequest.model_fields}
    return frozenset(every - _NEUTRAL - set(heeded))
