"""Request bodies of the host: field tables, defaults, and validation as pydantic v1 words it.

The real host runs pydantic 1.10, whose coercions (``"64"`` is 64, 64.7 is 64, ``"yes"`` is true)
and messages clients see. They are written out here because the pydantic of today behaves
otherwise.
"""

from __future__ import annotations

import copy
import json
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

TRUE_WORDS = {"1", "on", "t", "true", "y", "yes"}
FALSE_WORDS = {"0", "off", "f", "false", "n", "no"}


class Invalid(Exception):
    """A value does not fit its field; ``msg``, ``type`` and ``ctx`` are pydantic v1's."""

    def __init__(self, msg: str, kind: str, ctx: dict[str, Any] | None = None) -> None:
        super().__init__(msg)
        self.msg, self.kind, self.ctx = msg, kind, ctx


class Unprocessable(Exception):
    """A request body is refused; ``detail`` is the list a 422 answer carries."""

    def __init__(self, detail: list[dict[str, Any]]) -> None:
        super().__init__("the request is not valid")
        self.detail = detail


def to_int(value: Any) -> int:
    """The integer that pydantic v1 makes of ``value``."""
    if isinstance(value, (int, float, str)):
        try:
            return int(value)
        except (ValueError, OverflowError):
            raise Invalid("value is not a valid integer", "type_error.integer") from None
    raise Invalid("value is not a valid integer", "type_error.integer")


def to_float(value: Any) -> float:
    """The float that pydantic v1 makes of ``value``."""
    if isinstance(value, (int, float, str)):
        try:
            return float(value)
        except (ValueError, OverflowError):
            raise Invalid("value is not a valid float", "type_error.float") from None
    raise Invalid("value is not a valid float", "type_error.float")


def to_bool(value: Any) -> bool:
    """The truth value that pydantic v1 makes of ``value``."""
    if isinstance(value, str):
        word = value.lower()
        if word in TRUE_WORDS:
            return True
        if word in FALSE_WORDS:
            return False
    elif isinstance(value, (bool, int, float)) and value in (0, 1):
        return bool(value)
    raise Invalid("value could not be parsed to a boolean", "type_error.bool")


def to_str(value: Any) -> str:
    """The text that pydantic v1 makes of ``value``: numbers become text, containers do not."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)):
        return str(value)
    raise Invalid("str type expected", "type_error.str")


def to_list(value: Any) -> list[Any]:
    """``value`` if it is a list."""
    if isinstance(value, list):
        return value
    raise Invalid("value is not a valid list", "type_error.list")


def to_dict(value: Any) -> dict[str, Any]:
    """The dict that pydantic v1 makes of ``value``; a list of pairs is one."""
    try:
        return dict(value)
    except (TypeError, ValueError):
        raise Invalid("value is not a valid dict", "type_error.dict") from None


Convert = Callable[[Any], Any]
_Rule = tuple[float | None, str, str, Callable[[float, float], bool]]


def within(
    convert: Convert,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
) -> Convert:
    """``convert`` with limits, refused in pydantic v1's words."""
    rules: tuple[_Rule, ...] = (
        (ge, "greater than or equal to", "not_ge", operator.ge),
        (gt, "greater than", "not_gt", operator.gt),
        (le, "less than or equal to", "not_le", operator.le),
    )

    def limited(value: Any) -> Any:
        number = convert(value)
        for limit, words, code, holds in rules:
            if limit is not None and not holds(number, limit):
                raise Invalid(
                    f"ensure this value is {words} {limit}",
                    f"value_error.number.{code}",
                    {"limit_value": limit},
                )
        return number

    return limited


def one_of(*permitted: Any) -> Convert:
    """A field that holds one of ``permitted``, unconverted."""

    def chosen(value: Any) -> Any:
        if value in permitted:
            return value
        words = ", ".join(repr(p) for p in permitted)
        raise Invalid(
            f"unexpected value; permitted: {words}",
            "value_error.const",
            {"given": value, "permitted": list(permitted)},
        )

    return chosen


def list_of_str(value: Any) -> list[Any]:
    """A list of texts; a wrong item is reported at its index."""
    return [_item(to_str, item, index) for index, item in enumerate(to_list(value))]


def list_of_files(value: Any) -> list[Any]:
    """The list of ``{data, name}`` of a batch upscale."""
    fields = {"data": Field(to_str, required=True), "name": Field(to_str, required=True)}
    return [
        _item(lambda entry: Model(fields).parse(entry, ()), item, index)
        for index, item in enumerate(to_list(value))
    ]


class _Nested(Exception):
    """Refusals of the items inside one value."""

    def __init__(self, detail: list[dict[str, Any]]) -> None:
        super().__init__("items of the value are not valid")
        self.detail = detail


def _item(convert: Convert, value: Any, index: int) -> Any:
    try:
        return convert(value)
    except Invalid as refused:
        raise _Nested([_entry((index,), refused)]) from refused
    except Unprocessable as refused:
        raise _Nested([{**d, "loc": [index, *d["loc"]]} for d in refused.detail]) from refused


def _entry(loc: tuple[Any, ...], refused: Invalid) -> dict[str, Any]:
    entry = {"loc": list(loc), "msg": refused.msg, "type": refused.kind}
    return entry if refused.ctx is None else {**entry, "ctx": refused.ctx}


@dataclass(frozen=True)
class Field:
    """One field: how it is read, its default, whether null is a value of its own."""

    convert: Convert
    default: Any = None
    nullable: bool = False
    required: bool = False


def as_object(value: Any, loc: tuple[Any, ...] = ("body",)) -> dict[str, Any]:
    """``value`` if it is an object; raises `Unprocessable`."""
    try:
        return to_dict(value)
    except Invalid as refused:
        raise Unprocessable([_entry(loc, refused)]) from refused


@dataclass(frozen=True)
class Model:
    """A request body: its fields in the order in which the host echoes them."""

    fields: Mapping[str, Field]

    def parse(self, value: Any, loc: tuple[Any, ...] = ("body",)) -> dict[str, Any]:
        """Every field with its value or default; unknown fields are ignored.

        Raises `Unprocessable`, naming all fields that are wrong.
        """
        given = as_object(value, loc)
        parsed: dict[str, Any] = {}
        detail: list[dict[str, Any]] = []
        for name, field in self.fields.items():
            here = (*loc, name)
            try:
                parsed[name] = _read(field, name, given)
            except Invalid as refused:
                detail.append(_entry(here, refused))
            except _Nested as refused:
                detail += [{**d, "loc": [*here, *d["loc"]]} for d in refused.detail]
        if detail:
            raise Unprocessable(detail)
        return parsed


def _read(field: Field, name: str, given: Mapping[str, Any]) -> Any:
    if name not in given:
        if field.required:
            raise Invalid("field required", "value_error.missing")
        return copy.copy(field.default)
    value = given[name]
    if value is None:
        if field.nullable:
            return None
        raise Invalid("none is not an allowed value", "type_error.none.not_allowed")
    return field.convert(value)


def read_json(raw: bytes, content_type: str) -> Any:
    """The value a FastAPI 0.94 handler gets from a body; raises `Unprocessable`.

    A body that is not declared as JSON stays bytes, and so is "not a valid dict".
    """
    if not raw:
        raise Unprocessable([_entry(("body",), Invalid("field required", "value_error.missing"))])
    media = content_type.split(";")[0].strip().lower()
    if media and media != "application/json" and not media.endswith("+json"):
        return raw
    try:
        value = json.loads(raw)
    except json.JSONDecodeError as error:
        ctx = {
            "msg": error.msg,
            "doc": error.doc,
            "pos": error.pos,
            "lineno": error.lineno,
            "colno": error.colno,
        }
        refused = Invalid(str(error), "value_error.jsondecode", ctx)
        raise Unprocessable([_entry(("body", error.pos), refused)]) from error
    except UnicodeDecodeError as error:
        raise MalformedBody from error
    if value is None:
        raise Unprocessable([_entry(("body",), Invalid("field required", "value_error.missing"))])
    return value


class MalformedBody(Exception):
    """The body is not text at all; FastAPI answers 400."""


def _nullable(convert: Convert, default: Any = None) -> Field:
    return Field(convert, default, nullable=True)


_GENERATION: dict[str, Field] = {
    "prompt": _nullable(to_str, ""),
    "negative_prompt": _nullable(to_str, ""),
    "styles": _nullable(list_of_str),
    "seed": _nullable(to_int, -1),
    "subseed": _nullable(to_int, -1),
    "subseed_strength": _nullable(to_float, 0),
    "seed_resize_from_h": _nullable(to_int, -1),
    "seed_resize_from_w": _nullable(to_int, -1),
    "sampler_name": _nullable(to_str),
    "scheduler": _nullable(to_str),
    "batch_size": _nullable(to_int, 1),
    "n_iter": _nullable(to_int, 1),
    "steps": _nullable(to_int, 50),
    "cfg_scale": _nullable(to_float, 7.0),
    "width": _nullable(to_int, 512),
    "height": _nullable(to_int, 512),
    "restore_faces": _nullable(to_bool),
    "tiling": _nullable(to_bool),
    "do_not_save_samples": _nullable(to_bool, False),
    "do_not_save_grid": _nullable(to_bool, False),
    "eta": _nullable(to_float),
    "denoising_strength": _nullable(to_float),
    "s_min_uncond": _nullable(to_float),
    "s_churn": _nullable(to_float),
    "s_tmax": _nullable(to_float),
    "s_tmin": _nullable(to_float),
    "s_noise": _nullable(to_float),
    "override_settings": _nullable(to_dict),
    "override_settings_restore_afterwards": _nullable(to_bool, True),
    "refiner_checkpoint": _nullable(to_str),
    "refiner_switch_at": _nullable(to_float),
    "disable_extra_networks": _nullable(to_bool, False),
    "firstpass_image": _nullable(to_str),
    "comments": _nullable(to_dict),
}
_TXT2IMG_ONLY: dict[str, Field] = {
    "enable_hr": _nullable(to_bool, False),
    "firstphase_width": _nullable(to_int, 0),
    "firstphase_height": _nullable(to_int, 0),
    "hr_scale": _nullable(to_float, 2.0),
    "hr_upscaler": _nullable(to_str),
    "hr_second_pass_steps": _nullable(to_int, 0),
    "hr_resize_x": _nullable(to_int, 0),
    "hr_resize_y": _nullable(to_int, 0),
    "hr_checkpoint_name": _nullable(to_str),
    "hr_sampler_name": _nullable(to_str),
    "hr_scheduler": _nullable(to_str),
    "hr_prompt": _nullable(to_str, ""),
    "hr_negative_prompt": _nullable(to_str, ""),
}
_IMG2IMG_ONLY: dict[str, Field] = {
    "init_images": _nullable(to_list),
    "resize_mode": _nullable(to_int, 0),
    "denoising_strength": _nullable(to_float, 0.75),
    "image_cfg_scale": _nullable(to_float),
    "mask": _nullable(to_str),
    "mask_blur_x": _nullable(to_int, 4),
    "mask_blur_y": _nullable(to_int, 4),
    "mask_blur": _nullable(to_int),
    "mask_round": _nullable(to_bool, True),
    "inpainting_fill": _nullable(to_int, 0),
    "inpaint_full_res": _nullable(to_bool, True),
    "inpaint_full_res_padding": _nullable(to_int, 0),
    "inpainting_mask_invert": _nullable(to_int, 0),
    "initial_noise_multiplier": _nullable(to_float),
    "latent_mask": _nullable(to_str),
}
_CALL: dict[str, Field] = {
    "force_task_id": _nullable(to_str),
    "infotext": _nullable(to_str),
    "sampler_index": Field(to_str, "Euler"),
    "script_name": _nullable(to_str),
    "script_args": Field(to_list, []),
    "send_images": Field(to_bool, True),
    "save_images": Field(to_bool, False),
    "alwayson_scripts": Field(to_dict, {}),
}

TXT2IMG = Model({**_GENERATION, **_TXT2IMG_ONLY, **_CALL})
IMG2IMG = Model(
    {**_GENERATION, **_IMG2IMG_ONLY, **_CALL, "include_init_images": Field(to_bool, False)}
)

PNG_INFO = Model({"image": Field(to_str, required=True)})
INTERROGATE = Model({"image": Field(to_str, ""), "model": Field(to_str, "clip")})
_SHARE = within(to_float, ge=0, le=1)
_EXTRAS: dict[str, Field] = {
    "resize_mode": Field(one_of(0, 1), 0),
    "show_extras_results": Field(to_bool, True),
    "gfpgan_visibility": Field(_SHARE, 0),
    "codeformer_visibility": Field(_SHARE, 0),
    "codeformer_weight": Field(_SHARE, 0),
    "upscaling_resize": Field(within(to_float, gt=0), 2),
    "upscaling_resize_w": Field(within(to_int, ge=1), 512),
    "upscaling_resize_h": Field(within(to_int, ge=1), 512),
    "upscaling_crop": Field(to_bool, True),
    "upscaler_1": Field(to_str, "None"),
    "upscaler_2": Field(to_str, "None"),
    "extras_upscaler_2_visibility": Field(_SHARE, 0),
    "upscale_first": Field(to_bool, False),
}
EXTRA_SINGLE = Model({**_EXTRAS, "image": Field(to_str, "")})
EXTRA_BATCH = Model({**_EXTRAS, "imageList": Field(list_of_files, required=True)})
INTERNAL_PROGRESS = Model(
    {
        "id_task": _nullable(to_str),
        "id_live_preview": Field(to_int, -1),
        "live_preview": Field(to_bool, True),
    }
)
DETECT = Model(
    {
        "controlnet_module": Field(to_str, "none"),
        "controlnet_input_images": Field(list_of_str, []),
        "controlnet_processor_res": Field(to_int, -1),
        "controlnet_threshold_a": Field(to_float, -1),
        "controlnet_threshold_b": Field(to_float, -1),
        "controlnet_masks": Field(list_of_str, []),
        "low_vram": Field(to_bool, False),
    }
)
