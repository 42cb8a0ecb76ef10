"""The ControlNet extension: its lists, its units in a generation, and POST /controlnet/detect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from dev.sd_host import imaging
from dev.sd_host.catalog import CONTROLNET_UNITS, digest
from dev.sd_host.imaging import BadImage
from dev.sd_host.models import Invalid, to_bool, to_float

TYPES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "Canny": (("canny",), ("control_v11p_sd15_canny",)),
    "Depth": (
        ("depth_midas", "depth_zoe", "depth_leres", "depth_anything"),
        ("control_v11f1p_sd15_depth",),
    ),
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
NOT_THERE = {"depth_anything"}
"""Preprocessors whose model would have to be downloaded, which is not possible."""
RESIZE_MODES = ("Just Resize", "Crop and Resize", "Resize and Fill")
CONTROL_MODES = (
    "Balanced",
    "My prompt is more important",
    "ControlNet is more important",
)
HR_OPTIONS = ("Both", "Low res only", "High res only")


def _titled(model: str) -> str:
    return f"{model} [{digest(model)[:8]}]"


MODELS = [_titled(model) for _, models in TYPES.values() for model in models]


class BadUnit(ValueError):
    """A unit has a value that it cannot have: the 500 of a pydantic v1 model."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"1 validation error for ControlNetUnit\n{field}\n  {problem}")


class UnitFailed(Exception):
    """A unit cannot work; the real host raises inside its script hook, which swallows it."""


class ModelMissing(Exception):
    """The preprocessor's own model cannot be downloaded."""


class DetectRefused(Exception):
    """The 422 of POST /controlnet/detect; the text says which."""


@dataclass(frozen=True)
class Guide:
    """One unit at work: its map, how much it weighs, and whether the map is answered."""

    map: Image.Image
    weight: float
    shown: bool


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


def read_units(args: Any) -> dict[int, dict[str, Any]]:
    """The enabled units of a generation's arguments by number; raises `BadUnit` for any unit."""
    if not isinstance(args, list):
        raise BadUnit("__root__", "value is not a valid list (type=type_error.list)")
    units = {}
    for index, unit in enumerate(args[:CONTROLNET_UNITS]):
        if not isinstance(unit, Mapping):
            raise BadUnit("__root__", "value is not a valid dict (type=type_error.dict)")
        read = _read_unit(unit)
        if read["enabled"]:
            units[index] = read
    return units


def _read_unit(given: Mapping[str, Any]) -> dict[str, Any]:
    """A unit as the extension's pydantic v1 model reads it."""
    unit = {
        "enabled": False,
        "module": "none",
        "model": "None",
        "resize_mode": "Crop and Resize",
        "control_mode": "Balanced",
        "hr_option": "Both",
        "pixel_perfect": False,
        "save_detected_map": True,
        "image": given.get("input_image"),
        **given,
    }
    for name, low, high, usual in (
        ("weight", 0.0, 2.0, 1.0),
        ("guidance_start", 0.0, 1.0, 0.0),
        ("guidance_end", 0.0, 1.0, 1.0),
    ):
        unit[name] = _number(name, given.get(name, usual), low, high)
    for name in ("enabled", "pixel_perfect", "save_detected_map"):
        try:
            unit[name] = to_bool(unit[name])
        except Invalid as error:
            raise BadUnit(name, f"{error.msg} (type={error.kind})") from error
    for name in ("processor_res", "threshold_a", "threshold_b"):
        _number(name, given.get(name, -1), None, None)
    if unit["module"] not in MODULES:
        text = f"module({unit['module']}) not found in supported modules. (type=value_error)"
        raise BadUnit("module", text)
    if unit["model"] not in ("None", *MODELS):
        found = next((m for m in MODELS if m.partition(" [")[0] == unit["model"]), None)
        if found is None:
            text = f"model({unit['model']}) not found in supported models. (type=value_error)"
            raise BadUnit("model", text)
        unit["model"] = found
    for name, choices in (
        ("resize_mode", RESIZE_MODES),
        ("control_mode", CONTROL_MODES),
        ("hr_option", HR_OPTIONS),
    ):
        if unit[name] not in choices:
            raise BadUnit(name, "value is not a valid enumeration member (type=type_error.enum)")
    if unit["guidance_start"] > unit["guidance_end"]:
        text = f"guidance_start({unit['guidance_start']}) > guidance_end({unit['guidance_end']})"
        raise BadUnit("__root__", f"{text} (type=value_error)")
    return unit


def _number(name: str, value: Any, low: float | None, high: float | None) -> float:
    try:
        number = to_float(value)
    except Invalid as error:
        raise BadUnit(name, f"{error.msg} (type={error.kind})") from error
    if low is not None and high is not None and not low <= number <= high:
        word, limit = ("greater", low) if number < low else ("less", high)
        raise BadUnit(name, f"ensure this value is {word} than or equal to {limit}")
    return number


def described(unit: Mapping[str, Any]) -> str:
    """What the infotext says of a unit, whether or not it works."""
    return (
        f"Module: {unit['module']}, Model: {unit['model']}, Weight: {unit['weight']}, "
        f"Resize Mode: {unit['resize_mode']}, Guidance Start: {unit['guidance_start']}, "
        f"Guidance End: {unit['guidance_end']}, Pixel Perfect: {unit['pixel_perfect']}, "
        f"Control Mode: {unit['control_mode']}"
    )


def guides(
    units: Mapping[int, Mapping[str, Any]], init: Image.Image | None, width: int, height: int
) -> list[Guide]:
    """The units at work; raises `UnitFailed` and `ModelMissing`."""
    return [_guide(unit, init, width, height) for unit in units.values()]


def _guide(unit: Mapping[str, Any], init: Image.Image | None, width: int, height: int) -> Guide:
    module = unit["module"]
    if module in NOT_THERE:
        raise ModelMissing("<urlopen error [Errno -3] Temporary failure in name resolution>")
    if unit["model"] == "None" and not module.startswith("reference"):
        raise UnitFailed("You have not selected any ControlNet Model.")
    source = _unit_image(unit["image"]) or init
    if source is None:
        raise UnitFailed("controlnet is enabled but no input image is given")
    return Guide(
        map=imaging.control_map(source, module, width, height),
        weight=unit["weight"],
        shown=unit["save_detected_map"],
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
        raise UnitFailed("the image of a unit is base64")
    try:
        return imaging.decode(value)
    except BadImage as error:
        raise UnitFailed("the image of a unit does not decode") from error


def detect(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of POST /controlnet/detect.

    Raises `DetectRefused`, `ModelMissing` and `BadImage`.
    """
    module, images = fields["controlnet_module"], fields["controlnet_input_images"]
    if module not in MODULES:
        raise DetectRefused("Module not available")
    if module in NOT_DETECTABLE:
        raise DetectRefused("Module not supported")
    if not images:
        raise DetectRefused("No image selected")
    if module in NEEDS_MASK and len(fields["controlnet_masks"]) != len(images):
        raise DetectRefused(f"Preprocessor {module} requires `controlnet_masks` param.")
    if module in NOT_THERE:
        raise ModelMissing("<urlopen error [Errno -3] Temporary failure in name resolution>")
    answer: dict[str, Any] = {"info": "Success"}
    if "openpose" in module:
        answer["poses"] = []
    answer["images"] = []
    for source in images:
        image = imaging.decode(source)
        side = fields["controlnet_processor_res"]
        scale = (side if 64 <= side <= 2048 else 512) / min(image.size)
        size = (max(8, round(image.width * scale)), max(8, round(image.height * scale)))
        if module == "none":
            size = image.size
        made = imaging.control_map(image, module, *size)
        answer["images"].append(imaging.to_base64(imaging.encode(made)))
        if "openpose" in module:
            answer["poses"].append(_pose(*size))
    return answer


def _pose(width: int, height: int) -> dict[str, Any]:
    points = [v for x, y in imaging.POSE for v in (x * width, y * height, 1.0)]
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
    images = [imaging.control_map(Image.new("RGB", size), "openpose", *size) for size in sizes]
    return {
        "images": [imaging.to_base64(imaging.encode(image)) for image in images],
        "info": "Success",
    }
