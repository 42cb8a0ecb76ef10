"""The values that options of the web UI can have.

The web UI checks none of them: a clip skip of 99, or a text for a number, is taken, fails in the
middle of the drawing, and may stay. So what is known of an option is written down here; of others
the type follows from what the host shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from robotchat.errors import InvalidRequest


@dataclass(frozen=True)
class Number:
    """A number within limits, those of the web UI's own settings page."""

    default: float
    low: float
    high: float
    whole: bool = False


@dataclass(frozen=True)
class Flag:
    default: bool = False


@dataclass(frozen=True)
class Text:
    """A text; one of ``choices`` if there are some."""

    default: str | None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Names:
    """A list of names, at most ``most`` of them."""

    most: int
    default: tuple[str, ...] = ()


KNOWN: dict[str, Number | Flag | Text | Names] = {
    "CLIP_stop_at_last_layers": Number(1, 1, 12, whole=True),
    "comma_padding_backtrack": Number(20, 0, 74, whole=True),
    "eta_noise_seed_delta": Number(0, -(2**31), 2**31 - 1, whole=True),
    "jpeg_quality": Number(80, 1, 100, whole=True),
    "eta_ddim": Number(0, 0, 1),
    "eta_ancestral": Number(1, 0, 1),
    "s_churn": Number(0, 0, 100),
    "s_tmin": Number(0, 0, 10),
    "s_tmax": Number(0, 0, 999),
    "s_noise": Number(1, 0, 1.1),
    "s_min_uncond": Number(0, 0, 15),
    "sigma_min": Number(0, 0, 1000),
    "sigma_max": Number(0, 0, 1000),
    "rho": Number(0, 0, 1000),
    "token_merging_ratio": Number(0, 0, 0.9),
    "token_merging_ratio_hr": Number(0, 0, 0.9),
    "token_merging_ratio_img2img": Number(0, 0, 0.9),
    "code_former_weight": Number(0.5, 0, 1),
    "initial_noise_multiplier": Number(1, 0, 1.5),
    "extra_networks_default_multiplier": Number(1, 0, 2),
    "sgm_noise_multiplier": Flag(),
    "always_discard_next_to_last_sigma": Flag(),
    "face_restoration": Flag(),
    "img2img_color_correction": Flag(),
    "img2img_fix_steps": Flag(),
    "use_old_emphasis_implementation": Flag(),
    "webp_lossless": Flag(),
    "tiling": Flag(),
    "control_net_no_detectmap": Flag(),
    "sd_vae": Text("Automatic"),
    "randn_source": Text("GPU", ("GPU", "CPU", "NV")),
    "k_sched_type": Text("Automatic", ("Automatic", "karras", "exponential", "polyexponential")),
    "emphasis": Text("Original", ("None", "Ignore", "Original", "No norm")),
    "samples_format": Text("png", ("png", "jpg", "jpeg", "webp")),
    "face_restoration_model": Text("CodeFormer"),
    "sd_hypernetwork": Text("None"),
    "upscaler_for_img2img": Text(None),
    "forge_additional_modules": Names(8),
}


def checked(name: str, value: Any, *, param: str, shown: Any = None) -> Any:
    """The value as the host computes with it. Raises InvalidRequest.

    ``shown`` is what the host has for an option that is not known here.
    """
    kind = KNOWN.get(name) or _like(shown)
    if isinstance(kind, Flag):
        # Clients in PHP and the like write 0 and 1.
        if value not in (0, 1) or isinstance(value, str):
            raise InvalidRequest(f"The option {name!r} takes true or false.", param=param)
        return bool(value)
    if isinstance(kind, Number):
        return _number(name, value, kind, param)
    if isinstance(kind, Names):
        names = value if isinstance(value, list) else None
        if names is None or len(names) > kind.most or not all(isinstance(n, str) for n in names):
            raise InvalidRequest(
                f"The option {name!r} takes a list of at most {kind.most} names.", param=param
            )
        return names
    if isinstance(kind, Text):
        if not isinstance(value, str):
            raise InvalidRequest(f"The option {name!r} takes a text.", param=param)
        if kind.choices and value not in kind.choices:
            choices = ", ".join(kind.choices)
            raise InvalidRequest(f"{name} must be one of {choices}.", param=param)
        return value
    if not isinstance(value, str | int | float | bool):
        raise InvalidRequest(f"The option {name!r} takes a plain value.", param=param)
    return plain(value)


def _number(name: str, value: Any, kind: Number, param: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest(f"The option {name!r} takes a number.", param=param)
    if not kind.low <= value <= kind.high:
        raise InvalidRequest(
            f"{name} must be a number from {kind.low:.12g} to {kind.high:.12g}.", param=param
        )
    number: float = plain(value)
    if kind.whole and not isinstance(number, int):
        raise InvalidRequest(f"The option {name!r} takes a whole number.", param=param)
    return number


def _like(shown: Any) -> Number | Flag | Text | None:
    if isinstance(shown, bool):
        return Flag()
    if isinstance(shown, int | float):
        return Number(0, float("-inf"), float("inf"))
    return Text(None) if isinstance(shown, str) and shown else None


def plain(value: Any) -> Any:
    """The value with a whole number written as one.

    The web UI shows 1 as 1.0, and cannot count layers by it when it is sent back so.
    """
    return int(value) if isinstance(value, float) and value.is_integer() else value


def is_default(name: str, value: Any) -> bool:
    """Whether this is what a new installation of the web UI has."""
    kind = KNOWN.get(name)
    if isinstance(kind, Names):
        return bool(value == list(kind.default))
    return kind is not None and kind.default == value


def sound(options: Mapping[str, Any]) -> dict[str, Any]:
    """A host's options with the default in place of every value that no request could have."""
    result = {}
    for name, value in options.items():
        try:
            result[name] = value if value is None else checked(name, value, param=name, shown=value)
        except InvalidRequest:
            result[name] = KNOWN[name].default if name in KNOWN else value
    return result
