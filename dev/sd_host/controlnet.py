"""The ControlNet extension: its lists, its units in a generation, and POST /controlnet/detect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from dev.sd_host import pictures
from dev.sd_host.catalog import CONTROLNET_UNITS, digest
from dev.sd_host.pictures import BadImage

TYPES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "Canny": (("canny",), ("control_v11p_sd15_canny",)),
    "Depth": (("depth_midas", "depth_zoe", "depth_leres"), ("control_v11f1p_sd15_depth",)),
    "OpenPose": (
        ("openpose", "openpose_face", "openpose_full", "dw_openpose_full"),
        ("control_v11p_sd15_openpose",),
    ),
    "Lineart": (("lineart_realistic", "lineart_coarse"), ("control_v11p_sd15_lineart",)),
    "SoftEdge": (("softedge_hed", "softedge_pidinet"), ("control_v11p_sd15_softedge",)),
    "Scribble": (("scribble_hed", "scribble_xdog"), ("control_v11p_sd15_scribble",)),
    "MLSD": (("mlsd",), ("control_v11p_sd15_mlsd",)),
    "Segmentation": (("seg_ofade20k",), ("control_v11p_sd15_seg",)),
    "Tile": (("tile_resample", "blur_gaussian"), ("control_v11f1e_sd15_tile",)),
    "Inpaint": (("inpaint_only", "inpaint_global_harmonious"), ("control_v11p_sd15_inpaint",)),
    "IP-Adapter": (("ip-adapter-auto", "clip_vision"), ("ip-adapter_sd15",)),
    "Reference": (("reference_only",), ()),
}
MODULES = ["none", "invert (from white bg & black line)"]
MODULES += [module for modules, _ in TYPES.values() for module in modules]
NEEDS_MASK = {"inpaint_only", "inpaint_global_harmonious"}
NOT_DETECTABLE = {"clip_vision", "revision_clipvision", "revision_ignore_prompt", "ip-adapter-auto"}
RESIZE_MODES = ("Just Resize", "Crop and Resize", "Resize and Fill")
CONTROL_MODES = (
    "Balanced",
    "My prompt is more important",
    "ControlNet is more important",
)


def _titled(model: str) -> str:
    return f"{model} [{digest(model)[:8]}]"


MODELS = [_titled(model) for _, models in TYPES.values() for model in models]


class BadUnit(ValueError):
    """A unit cannot be used; the real host raises inside its script hook, which swallows it."""


class DetectRefused(Exception):
    """The 422 of POST /controlnet/detect; the text says which."""


@dataclass(frozen=True)
class Guide:
    """One unit at work: its map, how much it weighs, and what the infotext says of it."""

    index: int
    map: Image.Image
    weight: float
    shown: bool
    described: str


def module_list() -> dict[str, Any]:
    """The answer of GET /controlnet/module_list."""
    resolution = {"name": "Resolution", "value": 512, "min": 64, "max": 2048, "step": 8}
    sliders: dict[str, list[dict[str, Any]]] = {name: [resolution] for name in MODULES}
    sliders["none"] = []
    sliders["canny"] = [
        resolution,
        {"name": "Low Threshold", "value": 100, "min": 1, "max": 255, "step": 1},
        {"name": "High Threshold", "value": 200, "min": 1, "max": 255, "step": 1},
    ]
    detail = {
        name: {"model_free": name.startswith("reference"), "sliders": sliders[name]}
        for name in MODULES
    }
    return {"module_list": MODULES, "module_detail": detail}


def control_types() -> dict[str, Any]:
    """The answer of GET /controlnet/control_types."""
    every = {
        "module_list": MODULES,
        "model_list": ["None", *MODELS],
        "default_option": "none",
        "default_model": "None",
    }
    kinds = {
        name: {
            "module_list": ["none", *modules],
            "model_list": ["None", *map(_titled, models)],
            "default_option": modules[0],
            "default_model": _titled(models[0]) if models else "None",
        }
        for name, (modules, models) in TYPES.items()
    }
    return {"control_types": {"All": every, **kinds}}


def guides(args: Any, init: Image.Image | None, width: int, height: int) -> list[Guide]:
    """The enabled units of a generation's ControlNet arguments; raises `BadUnit`."""
    if not isinstance(args, list):
        raise BadUnit("args is not a list")
    units = []
    for index, unit in enumerate(args[:CONTROLNET_UNITS]):
        if not isinstance(unit, Mapping):
            raise BadUnit(f"unit {index} is not an object")
        if unit.get("enabled", False):
            units.append(_guide(index, unit, init, width, height))
    return units


def _guide(
    index: int, unit: Mapping[str, Any], init: Image.Image | None, width: int, height: int
) -> Guide:
    module, model = unit.get("module", "none"), unit.get("model", "None")
    resize, control = (
        unit.get("resize_mode", "Crop and Resize"),
        unit.get("control_mode", "Balanced"),
    )
    if module not in MODULES:
        raise BadUnit(f"no such module: {module}")
    if model not in MODELS:
        found = next((m for m in MODELS if m.partition(" [")[0] == model), None)
        if found is None and not str(module).startswith("reference"):
            raise BadUnit(f"no such model: {model}")
        model = found or model
    if resize not in RESIZE_MODES or control not in CONTROL_MODES:
        raise BadUnit("unknown resize_mode or control_mode")
    try:
        weight = float(unit.get("weight", 1.0))
        start, end = float(unit.get("guidance_start", 0)), float(unit.get("guidance_end", 1))
    except (TypeError, ValueError) as error:
        raise BadUnit("weight and guidance are numbers") from error
    if not 0 <= weight <= 2 or start > end:
        raise BadUnit("weight is 0..2 and guidance starts before it ends")
    source = _unit_image(unit.get("image", unit.get("input_image"))) or init
    if source is None:
        raise BadUnit("controlnet is enabled but no input image is given")
    return Guide(
        index=index,
        map=pictures.control_map(source, module, width, height),
        weight=weight,
        shown=bool(unit.get("save_detected_map", True)),
        described=(
            f"Module: {module}, Model: {model}, Weight: {weight}, Resize Mode: {resize}, "
            f"Guidance Start: {start}, Guidance End: {end}, "
            f"Pixel Perfect: {bool(unit.get('pixel_perfect', False))}, Control Mode: {control}"
        ),
    )


def _unit_image(value: Any) -> Image.Image | None:
    """The picture of a unit: base64, ``{image, mask}``, ``[image, mask]`` or a list of those."""
    if isinstance(value, list) and value:
        return _unit_image(value[0])
    if isinstance(value, Mapping):
        return _unit_image(value.get("image"))
    if not value:
        return None
    if not isinstance(value, str):
        raise BadUnit("the image of a unit is base64")
    try:
        return pictures.decode(value)
    except BadImage as error:
        raise BadUnit("the image of a unit does not decode") from error


def detect(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of POST /controlnet/detect; raises `DetectRefused` or `BadImage`."""
    module, images = fields["controlnet_module"], fields["controlnet_input_images"]
    if module not in MODULES:
        raise DetectRefused("Module not available")
    if module in NOT_DETECTABLE:
        raise DetectRefused("Module not supported")
    if not images:
        raise DetectRefused("No image selected")
    if module in NEEDS_MASK and len(fields["controlnet_masks"]) != len(images):
        raise DetectRefused(f"Preprocessor {module} requires `controlnet_masks` param.")
    answer: dict[str, Any] = {"info": "Success"}
    if "openpose" in module:
        answer["poses"] = []
    answer["images"] = []
    for source in images:
        image = pictures.decode(source)
        side = fields["controlnet_processor_res"]
        scale = (side if 64 <= side <= 2048 else 512) / min(image.size)
        size = (max(8, round(image.width * scale)), max(8, round(image.height * scale)))
        if module == "none":
            size = image.size
        made = pictures.control_map(image, module, *size)
        answer["images"].append(pictures.to_base64(pictures.encode(made)))
        if "openpose" in module:
            answer["poses"].append(_pose(*size))
    return answer


def _pose(width: int, height: int) -> dict[str, Any]:
    points = [v for x, y in pictures.POSE for v in (x * width, y * height, 1.0)]
    return {
        "people": [{"pose_keypoints_2d": points}],
        "canvas_width": width,
        "canvas_height": height,
    }


def render_poses(poses: list[Any]) -> dict[str, Any]:
    """The answer of POST /controlnet/render_openpose_json: stick figures, always the same one."""
    if not poses:
        return {"info": "No pose data detected."}
    sizes = [(int(p.get("canvas_width", 512)), int(p.get("canvas_height", 512))) for p in poses]
    images = [pictures.control_map(Image.new("RGB", size), "openpose", *size) for size in sizes]
    return {
        "images": [pictures.to_base64(pictures.encode(image)) for image in images],
        "info": "Success",
    }
