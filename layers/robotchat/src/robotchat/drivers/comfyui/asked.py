"""What a request asks of a workflow: the values for its slots, and the account of it afterwards."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from robotchat.art.answers import Lora
from robotchat.art.matching import near, split_sampler, squash
from robotchat.art.requests import DrawRequest, Image2ImageRequest
from robotchat.art.workflows import Graph, Mode, Nodes, Slots, Workflow, split
from robotchat.drivers.comfyui import graphs, names
from robotchat.drivers.comfyui.graphs import Classes, Values
from robotchat.errors import NotSupported, UpstreamRejected

SIZE_STEP = 8
_LORA_TAG = re.compile(r"<lora:([^:>]+)(?::([-+0-9.]+))?[^>]*>", re.IGNORECASE)

_FIELDS: Mapping[str, tuple[str, ...]] = {
    "negative": ("negative_prompt",),
    "width": ("width",),
    "height": ("height",),
    "steps": ("steps",),
    "cfg": ("cfg_scale",),
    "guidance": ("distilled_cfg_scale",),
    "sampler": ("sampler_name",),
    "scheduler": ("scheduler",),
}
_IMAGE_FIELDS: Mapping[str, tuple[str, ...]] = {
    "image": ("init_images",),
    "denoise": ("denoising_strength",),
    "resize": ("resize_mode",),
}
_MASK_FIELDS: Mapping[str, tuple[str, ...]] = {
    # The whole picture is drawn, with what is under the mask to begin with.
    "mask": ("mask", "inpainting_fill", "inpaint_full_res_padding"),
    "mask_blur": ("mask_blur", "mask_blur_x", "mask_blur_y"),
    "mask_invert": ("inpainting_mask_invert",),
}
_RESIZE = {0: "disabled", 1: "center"}
_FROM_WHAT_IS_THERE = (0, 1)
"""The ways to begin under a mask that SetLatentNoiseMask may stand for."""
LIMITS: Mapping[str, tuple[float, float]] = {
    "resize_mode": (0, 1),
    "inpainting_fill": (0, 1),
    "mask_blur": (0, graphs.LARGEST_BLUR),
}


def heeded(workflow: Workflow) -> set[str]:
    """The fields of a request that have a place in a workflow, in all of its graphs that could."""
    # By itself a subseed changes nothing.
    fields = {"subseed"}
    for table, modes in (
        (_FIELDS, ("text2image", "image2image", "inpaint")),
        (_IMAGE_FIELDS, ("image2image", "inpaint")),
        (_MASK_FIELDS, ("inpaint",)),
    ):
        slots = [graph.slots for mode, graph in workflow.graphs() if mode in modes]
        for slot, named in table.items():
            if slots and all(getattr(one, slot) for one in slots):
                fields |= set(named)
    return fields


def mode_of(request: DrawRequest) -> Mode:
    """What a request draws from."""
    if not isinstance(request, Image2ImageRequest):
        return "text2image"
    return "inpaint" if request.mask else "image2image"


def size_of(request: DrawRequest) -> tuple[int, int]:
    """The size in which it is drawn."""
    width, height = request.size
    return width // SIZE_STEP * SIZE_STEP, height // SIZE_STEP * SIZE_STEP


def values(
    request: DrawRequest,
    index: int,
    graph: Graph,
    classes: Classes,
    *,
    file: str | None,
    loras: Sequence[Lora],
    images: Mapping[str, str],
) -> Values:
    """The values for picture ``index`` of a request. ``images`` are the host's names of those to
    begin with, by slot.

    What the caller left to the service stays as the workflow has it, all but the size. Raises
    NotSupported for what has no place, UpstreamRejected for a LoRA that the host has not.
    """
    width, height = size_of(request)
    prompt = _LORA_TAG.sub("", request.prompt).strip()
    plain: dict[str, str | int | float] = {
        **({"checkpoint": file} if file is not None else {}),
        **images,
        "prompt": prompt,
        "seed": request.seed + index,
        "width": width,
        "height": height,
    }
    if request.negative_prompt:
        plain["negative"] = request.negative_prompt
    given = request.model_fields_set
    if "steps" in given:
        plain["steps"] = request.steps
    if "cfg_scale" in given:
        plain["cfg"] = request.cfg_scale
    if request.distilled_cfg_scale is not None:
        plain["guidance"] = request.distilled_cfg_scale
    plain |= _sampling(request, graph, classes)
    found = [] if request.disable_extra_networks else _loras(request.prompt, loras)
    if not isinstance(request, Image2ImageRequest):
        return Values(plain, found)
    if "denoising_strength" in given and request.denoising_strength is not None:
        plain["denoise"] = request.denoising_strength
    if "resize_mode" in given:
        if request.resize_mode not in _RESIZE:
            raise NotSupported("The workflow stretches or crops pictures.", param="resize_mode")
        plain["resize"] = _RESIZE[request.resize_mode]
    if request.mask is None:
        return Values(plain, found)
    if request.inpainting_fill not in _FROM_WHAT_IS_THERE:
        raise NotSupported(
            "The workflow begins with what is under the mask.", param="inpainting_fill"
        )
    return Values(
        plain,
        found,
        mask_blur=_blur(request),
        mask_invert=bool(request.inpainting_mask_invert),
    )


def _blur(request: Image2ImageRequest) -> float | None:
    given = request.model_fields_set
    if request.mask_blur is not None:
        return float(request.mask_blur)
    if not given & {"mask_blur_x", "mask_blur_y"}:
        return None
    if request.mask_blur_x != request.mask_blur_y:
        raise NotSupported("The workflow blurs masks evenly.", param="mask_blur_x")
    return float(request.mask_blur_x)


def _sampling(request: DrawRequest, graph: Graph, classes: Classes) -> dict[str, str]:
    found: dict[str, str] = {}
    schedule = request.scheduler
    if request.sampler:
        sampler, in_name = split_sampler(request.sampler)
        found["sampler"] = names.comfy_sampler(sampler)
        if not _allowed("sampler", found["sampler"], graph, classes):
            # A sampler of its own that only ends as a schedule does.
            found["sampler"], in_name = names.comfy_sampler(request.sampler), None
        schedule = in_name or schedule
    if schedule and squash(schedule) != "automatic":
        found["scheduler"] = names.comfy_scheduler(schedule)
    for slot, name in found.items():
        if not _allowed(slot, name, graph, classes):
            raise UpstreamRejected(
                f"The SD host does not have the {slot} {name!r}.", param=_FIELDS[slot][0]
            )
    return found


def _allowed(slot: str, name: str, graph: Graph, classes: Classes) -> bool:
    places = getattr(graph.slots, slot)
    known = [graphs.choices(graph, place, classes) for place in places]
    return all(not some or name in some for some in known)


def _loras(prompt: str, loras: Sequence[Lora]) -> list[tuple[str, float]]:
    files: dict[str, str] = {}
    for lora in reversed(loras):
        for name in (lora.path, lora.alias, lora.name):
            files[name.lower()] = lora.path
    found = []
    for name, weight in _LORA_TAG.findall(prompt):
        file = files.get(name.strip().lower())
        if file is None:
            raise UpstreamRejected(
                f"The SD host does not have the LoRA {name!r}.",
                param="prompt",
                details={"near_matches": near(name, [lora.name for lora in loras])},
            )
        try:
            strength = float(weight or 1)
        except ValueError:
            strength = 1.0
        found.append((file, strength))
    return found


# --- afterwards -----------------------------------------------------------------------------------


def account(
    request: DrawRequest, graph: Graph, nodes: Nodes, *, model: str, version: str, index: int
) -> dict[str, Any]:
    """What a drawn prompt was made of, in the words of the web UI's infotext, in its order."""

    def value(slot: str) -> Any:
        places = getattr(graph.slots, slot)
        name, title = (split(places[0]) or ("", "")) if places else ("", "")
        return nodes[name]["inputs"].get(title) if name in nodes else None

    sampler, scheduler = value("sampler"), value("scheduler")
    width, height = size_of(request)
    told = {
        "Steps": value("steps"),
        "Sampler": names.sampler_label(sampler) if isinstance(sampler, str) else None,
        "Schedule type": names.scheduler_label(scheduler) if isinstance(scheduler, str) else None,
        "CFG scale": value("cfg"),
        "Distilled CFG Scale": value("guidance"),
        "Seed": request.seed + index,
        "Size": f"{width}x{height}",
        "Model": model,
        "Denoising strength": value("denoise") if mode_of(request) != "text2image" else None,
        "Version": f"ComfyUI {version}",
    }
    return {name: one for name, one in told.items() if one is not None}


def infotext(request: DrawRequest, told: Mapping[str, Any]) -> str:
    """The text that the web UI writes into a picture."""
    lines = [request.prompt]
    if request.negative_prompt:
        lines.append(f"Negative prompt: {request.negative_prompt}")
    lines.append(", ".join(f"{name}: {value}" for name, value in told.items()))
    return "\n".join(lines)


def info(
    request: DrawRequest, accounts: Sequence[Mapping[str, Any]], texts: Sequence[str]
) -> dict[str, Any]:
    """The account of a drawing as the web UI gives it."""
    first = accounts[0] if accounts else {}
    width, height = size_of(request)
    known = {
        "sampler_name": first.get("Sampler"),
        "steps": first.get("Steps"),
        "cfg_scale": first.get("CFG scale"),
        "denoising_strength": first.get("Denoising strength"),
    }
    return {
        "prompt": request.prompt,
        "all_prompts": [request.prompt] * len(accounts),
        "negative_prompt": request.negative_prompt,
        "all_negative_prompts": [request.negative_prompt] * len(accounts),
        "seed": first.get("Seed", request.seed),
        "all_seeds": [told["Seed"] for told in accounts],
        "width": width,
        "height": height,
        **{name: value for name, value in known.items() if value is not None},
        "batch_size": 1,
        "sd_model_name": first.get("Model"),
        "extra_generation_params": {
            name: first[name] for name in ("Schedule type",) if name in first
        },
        "index_of_first_image": 0,
        "infotexts": list(texts),
        "version": first.get("Version"),
    }


def sampling_nodes(slots: Slots) -> set[str]:
    """The nodes whose steps are the drawing's: those that are given the seed."""
    return {parts[0] for place in slots.seed if (parts := split(place)) is not None}
