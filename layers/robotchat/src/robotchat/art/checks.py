"""Refusing, before anything is queued, what a shared SD host must not do, or cannot.

``check`` is the one gate: names are resolved against the hosts' lists, options and scripts
against what is allowed, ControlNet units against its models. What a host would get wrong in
silence (an unknown name, a bad ControlNet unit) becomes an error that says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robotchat.art.answers import Model, Sampler, Scheduler, Scripts, Upscaler
from robotchat.art.matching import (
    find_checkpoint,
    find_listed,
    find_sampler,
    find_scheduler,
    squash,
)
from robotchat.art.options import checked as option_value
from robotchat.art.requests import (
    CHECKPOINT,
    DrawRequest,
    Image2ImageRequest,
    Request,
    Text2ImageRequest,
)
from robotchat.errors import ForbiddenOption, InvalidRequest, UnknownScript

ALLOWED_OPTIONS: frozenset[str] = frozenset(
    {
        *(CHECKPOINT, "sd_vae", "CLIP_stop_at_last_layers"),
        *("eta_noise_seed_delta", "eta_ddim", "eta_ancestral", "randn_source"),
        *("s_churn", "s_tmin", "s_tmax", "s_noise", "s_min_uncond", "sgm_noise_multiplier"),
        *("sigma_min", "sigma_max", "rho", "k_sched_type", "always_discard_next_to_last_sigma"),
        *("token_merging_ratio", "token_merging_ratio_hr", "token_merging_ratio_img2img"),
        *("face_restoration_model", "code_former_weight", "face_restoration"),
        *("img2img_color_correction", "img2img_fix_steps", "initial_noise_multiplier"),
        *("emphasis", "use_old_emphasis_implementation", "comma_padding_backtrack"),
        *("samples_format", "jpeg_quality", "webp_lossless"),
        *("tiling", "sd_hypernetwork", "extra_networks_default_multiplier"),
        *("upscaler_for_img2img", "control_net_no_detectmap", "forge_additional_modules"),
    }
)
"""Options that a request may override: those that shape its own pictures and nothing else."""

_SAME_CHECKPOINT = ("", "none", "use same checkpoint")
_SAME_SAMPLER = ("", "use same sampler", "use same scheduler")

_LATENT_UPSCALERS = (
    *("Latent", "Latent (antialiased)", "Latent (bicubic)", "Latent (bicubic antialiased)"),
    *("Latent (nearest)", "Latent (nearest-exact)"),
)
_RESIZE_MODES = ("Just Resize", "Crop and Resize", "Resize and Fill")
_CONTROL_MODES = ("Balanced", "My prompt is more important", "ControlNet is more important")
_HR_OPTIONS = ("Both", "Low res only", "High res only")
_OLD_RESIZE_MODES = {
    "Scale to Fit (Inner Fit)": "Crop and Resize",
    "Envelope (Outer Fit)": "Resize and Fill",
}


def check(
    request: Request,
    *,
    models: Sequence[Model] | None = None,
    samplers: Sequence[Sampler] | None = None,
    schedulers: Sequence[Scheduler] | None = None,
    upscalers: Sequence[Upscaler] | None = None,
    vaes: Sequence[str] | None = None,
    styles: Sequence[str] | None = None,
    scripts: Scripts | None = None,
    controlnet_models: Sequence[str] | None = None,
    controlnet_modules: Sequence[str] | None = None,
    model_free: Mapping[str, bool] | None = None,
    options: Mapping[str, Any] | None = None,
    option_names: Mapping[str, Sequence[str]] | None = None,
    allowed_options: Collection[str] = ALLOWED_OPTIONS,
    allowed_scripts: Collection[str] = (),
) -> Request:
    """The request with the hosts' own names in it, or an error about the first thing wrong.

    A list that is None is not known, and what it would decide is left to the host. Scripts, both
    selectable and always-on, are allowed by title in any case; ControlNet always is. ``model_free``
    tells which of its modules need no model, ``options`` are the host's own, and ``option_names``
    is what those that name a file may name. Raises UnknownCheckpoint, UnknownSampler,
    UnknownScript, ForbiddenOption or InvalidRequest.
    """
    changes: dict[str, Any] = {}
    overrides = check_options(
        request.override_settings or {}, allowed=allowed_options, shown=options
    )
    for name, names in (option_names or {}).items():
        if overrides.get(name):
            overrides[name] = find_listed(overrides[name], names, f"override_settings.{name}", name)
    if models is not None:
        if request.checkpoint:
            overrides[CHECKPOINT] = find_checkpoint(models, request.checkpoint).alias
        for name in ("refiner_checkpoint", "hr_checkpoint_name"):
            wanted = getattr(request, name, None)
            if wanted and wanted.lower() not in _SAME_CHECKPOINT:
                changes[name] = find_checkpoint(models, wanted, param=name).alias
    if overrides.get("sd_vae") and vaes is not None:
        overrides["sd_vae"] = find_vae(vaes, str(overrides["sd_vae"]))
    if overrides or request.override_settings:
        changes["override_settings"] = overrides
    if request.styles and styles:
        changes["styles"] = [_style(name, styles) for name in request.styles]
    changes |= _samplers(request, samplers, schedulers)
    if isinstance(request, Text2ImageRequest):
        changes |= _upscaler(request, upscalers)
    control = _ControlNet(controlnet_models, controlnet_modules, model_free)
    scripts_changed = _check_scripts(request, scripts, allowed_scripts, control)
    if scripts_changed is not None:
        changes["alwayson_scripts"] = scripts_changed
    return request.model_copy(update=changes) if changes else request


def check_options(
    options: Mapping[str, Any],
    *,
    allowed: Collection[str] = ALLOWED_OPTIONS,
    where: str = "override_settings.",
    shown: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The options, all of them allowed and with values that they can have.

    Also the gate for what a tenant may keep as its defaults. ``where`` goes before the name of
    the option in errors; ``shown`` are the host's options, if they are known. Raises
    ForbiddenOption or InvalidRequest.
    """
    checked: dict[str, Any] = {}
    for name, value in options.items():
        param = f"{where}{name}"
        if name not in allowed:
            raise ForbiddenOption(
                f"The option {name!r} may not be set through this service.",
                param=param,
                details={"allowed": sorted(allowed)},
            )
        if value is None:
            continue
        if shown is not None and name != CHECKPOINT and name not in shown:
            raise InvalidRequest(f"No SD host has the option {name!r}.", param=param)
        now = (shown or {}).get(name)
        checked[name] = option_value(name, value, param=param, shown=now)
    return checked


def _samplers(
    request: DrawRequest,
    samplers: Sequence[Sampler] | None,
    schedulers: Sequence[Scheduler] | None,
) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    # The schedule in a sampler's name wins over the field, as it does on the host.
    for sampler_field, scheduler_field in (
        ("sampler_name", "scheduler"),
        ("hr_sampler_name", "hr_scheduler"),
    ):
        wanted = getattr(request, sampler_field, None)
        if sampler_field == "sampler_name":
            wanted = request.sampler
        scheduler = getattr(request, scheduler_field, None)
        if wanted and wanted.lower() not in _SAME_SAMPLER and samplers is not None:
            name, in_name = find_sampler(
                samplers, wanted, schedulers=schedulers, param=sampler_field
            )
            changes[sampler_field] = name
            scheduler = in_name or scheduler
            if in_name:
                changes[scheduler_field] = in_name
        if scheduler and scheduler.lower() not in _SAME_SAMPLER and schedulers:
            changes[scheduler_field] = find_scheduler(schedulers, scheduler, param=scheduler_field)
    return changes


def find_vae(vaes: Sequence[str], wanted: str, *, param: str = "override_settings.sd_vae") -> str:
    """The host's name of a VAE; hosts draw without an unknown one, and say nothing.

    Raises InvalidRequest, with near matches.
    """
    return find_listed(wanted, ["Automatic", "None", *vaes], param, "VAE")


def _style(wanted: str, styles: Sequence[str]) -> str:
    """The host's name of a style. Unknown ones are passed over here as they are there."""
    if wanted in styles:
        return wanted
    return next((name for name in styles if name.lower() == wanted.lower()), wanted)


def _upscaler(request: Text2ImageRequest, upscalers: Sequence[Upscaler] | None) -> dict[str, Any]:
    wanted = request.hr_upscaler
    if not wanted or upscalers is None:
        return {}
    names = [*_LATENT_UPSCALERS, *(upscaler.name for upscaler in upscalers)]
    # A host may have latent upscalers of its own, which it lists elsewhere.
    if wanted.lower().startswith("latent") and squash(wanted) not in map(squash, names):
        return {}
    return {"hr_upscaler": find_listed(wanted, names, "hr_upscaler", "upscaler")}


def _check_scripts(
    request: DrawRequest,
    scripts: Scripts | None,
    allowed: Collection[str],
    control: _ControlNet,
) -> dict[str, Any] | None:
    """Refuse scripts that are not allowed or not there; give the checked always-on scripts."""
    may = {title.lower() for title in allowed}
    there: set[str] | None = None
    if scripts is not None:
        listed = scripts.img2img if isinstance(request, Image2ImageRequest) else scripts.txt2img
        there = {title.lower() for title in listed}

    def refuse_unless_known(title: str, param: str) -> None:
        if title.lower() not in may:
            raise UnknownScript(
                f"The script {title!r} is not allowed here.",
                param=param,
                details={"allowed": sorted(allowed)},
            )
        if there is not None and title.lower() not in there:
            raise UnknownScript(f"No SD host has the script {title!r}.", param=param)

    if request.script_name and request.script_name.lower() != "none":
        refuse_unless_known(request.script_name, "script_name")
    checked: dict[str, Any] = {}
    for title, script in request.alwayson_scripts.items():
        param = f"alwayson_scripts.{title}"
        if title.lower() != "controlnet":
            refuse_unless_known(title, param)
            checked[title] = script
            continue
        units = script.get("args", [])
        checked[title] = {
            **script,
            "args": [
                _checked_unit(
                    unit,
                    f"{param}.args.{index}",
                    control,
                    has_image=isinstance(request, Image2ImageRequest),
                )
                if unit.get("enabled")
                else {"enabled": False}
                for index, unit in enumerate(units)
            ],
        }
    return checked or None


@dataclass(frozen=True)
class _ControlNet:
    """What a host's ControlNet has; None: not known."""

    models: Sequence[str] | None
    modules: Sequence[str] | None
    model_free: Mapping[str, bool] | None


def _checked_unit(
    unit: Mapping[str, Any], param: str, control: _ControlNet, *, has_image: bool
) -> dict[str, Any]:
    """An enabled ControlNet unit; hosts drop ControlNet without a word when one cannot work.

    ``has_image``: the request has a picture, which a unit without its own takes.
    """
    checked = {name: value for name, value in unit.items() if value is not None}
    model = str(checked.get("model", "None"))
    if model.lower() != "none" and control.models is not None:
        checked["model"] = find_listed(model, control.models, f"{param}.model", "ControlNet model")
    module = str(checked.get("module", "none"))
    if module.lower() != "none" and control.modules is not None:
        checked["module"] = find_listed(
            module, control.modules, f"{param}.module", "ControlNet module"
        )
    for name, choices in (
        ("resize_mode", _RESIZE_MODES),
        ("control_mode", _CONTROL_MODES),
        ("hr_option", _HR_OPTIONS),
    ):
        if name in checked:
            checked[name] = _choice(checked[name], choices, f"{param}.{name}")
    numbers = {}
    for name, low, high, default in (
        ("weight", 0.0, 2.0, 1.0),
        ("guidance_start", 0.0, 1.0, 0.0),
        ("guidance_end", 0.0, 1.0, 1.0),
    ):
        value = _number(checked.get(name, default))
        if value is None or not low <= value <= high:
            raise InvalidRequest(
                f"{name} must be a number from {low:g} to {high:g}.", param=f"{param}.{name}"
            )
        numbers[name] = value
        if name in checked:
            checked[name] = value
    for name in ("processor_res", "threshold_a", "threshold_b"):
        if name in checked:
            value = _number(checked[name])
            if value is None:
                raise InvalidRequest(f"{name} must be a number.", param=f"{param}.{name}")
            checked[name] = int(value) if name == "processor_res" else value
    if numbers["guidance_start"] > numbers["guidance_end"]:
        raise InvalidRequest(
            "guidance_start must not be above guidance_end.", param=f"{param}.guidance_start"
        )
    if model.lower() == "none" and not _needs_no_model(checked, control):
        raise InvalidRequest("A ControlNet unit needs a model.", param=f"{param}.model")
    image = checked.get("image", checked.get("input_image"))
    if not image and not has_image and "ipadapter_input" not in checked:
        raise InvalidRequest("A ControlNet unit needs an image.", param=f"{param}.image")
    return checked


def _needs_no_model(unit: Mapping[str, Any], control: _ControlNet) -> bool:
    """Whether a unit's module works by itself; one that is not known is left to the host."""
    module = str(unit.get("module", "none"))
    if module.lower() == "none":
        return control.model_free is None
    return (control.model_free or {}).get(module, True)


def _number(value: Any) -> float | None:
    """A number, or a text that is one, as ControlNet reads them; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _choice(value: Any, choices: Sequence[str], param: str) -> str:
    """One of the choices by name, or by number as older clients write it."""
    if isinstance(value, str) and re.fullmatch(r"\d", value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(choices):
        return choices[value]
    name = _OLD_RESIZE_MODES.get(str(value), str(value))
    for choice in choices:
        if choice.lower() == name.lower():
            return choice
    raise InvalidRequest(f"This must be one of: {', '.join(choices)}.", param=param)
