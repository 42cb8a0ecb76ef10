"""Samplers and schedules by the web UI's names and by ComfyUI's.

What ComfyUI has and the web UI has not goes by ComfyUI's name, and is listed with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from robotchat.art.answers import Sampler, Scheduler
from robotchat.art.matching import squash

_SAMPLERS: Mapping[str, tuple[str, ...]] = {
    "euler": ("Euler", "k_euler"),
    "euler_ancestral": ("Euler a", "k_euler_a", "k_euler_ancestral"),
    "heun": ("Heun", "k_heun"),
    "dpm_2": ("DPM2", "k_dpm_2"),
    "dpm_2_ancestral": ("DPM2 a", "k_dpm_2_a"),
    "lms": ("LMS", "k_lms"),
    "dpm_fast": ("DPM fast", "k_dpm_fast"),
    "dpm_adaptive": ("DPM adaptive", "k_dpm_ad"),
    "dpmpp_2s_ancestral": ("DPM++ 2S a", "k_dpmpp_2s_a"),
    "dpmpp_sde": ("DPM++ SDE", "k_dpmpp_sde"),
    "dpmpp_2m": ("DPM++ 2M", "k_dpmpp_2m"),
    "dpmpp_2m_sde": ("DPM++ 2M SDE", "k_dpmpp_2m_sde"),
    "dpmpp_2m_sde_heun": ("DPM++ 2M SDE Heun", "k_dpmpp_2m_sde_heun"),
    "dpmpp_3m_sde": ("DPM++ 3M SDE", "k_dpmpp_3m_sde"),
    "ddpm": ("DDPM",),
    "lcm": ("LCM", "k_lcm"),
    "ddim": ("DDIM",),
    "uni_pc": ("UniPC", "unipc"),
    "ipndm": ("IPNDM",),
    "deis": ("DEIS",),
    "res_multistep": ("Res Multistep",),
}
"""ComfyUI's names, each with the web UI's and its aliases there."""

_SCHEDULERS: Mapping[str, tuple[str, ...]] = {
    "normal": ("Normal", "uniform"),
    "karras": ("Karras",),
    "exponential": ("Exponential",),
    "sgm_uniform": ("SGM Uniform",),
    "simple": ("Simple",),
    "ddim_uniform": ("DDIM",),
    "beta": ("Beta",),
    "kl_optimal": ("KL Optimal",),
    "linear_quadratic": ("Linear Quadratic",),
}

AUTOMATIC = Scheduler(name="automatic", label="Automatic")
"""The schedule of the workflow."""


def samplers(names: Iterable[str]) -> list[Sampler]:
    """A host's samplers, by the web UI's names where it has one."""
    result = []
    for name in names:
        label, *aliases = _SAMPLERS.get(name, (name,))
        aliases += [name] if name != label else []
        result.append(Sampler(name=label, aliases=aliases))
    return result


def schedulers(names: Iterable[str]) -> list[Scheduler]:
    """A host's schedules, by the web UI's names where it has one."""
    result = [AUTOMATIC]
    for name in names:
        label, *aliases = _SCHEDULERS.get(name, (name,))
        result.append(Scheduler(name=name, label=label, aliases=aliases or None))
    return result


def comfy_sampler(name: str) -> str:
    """ComfyUI's name of a sampler."""
    return _theirs(name, _SAMPLERS)


def comfy_scheduler(name: str) -> str:
    """ComfyUI's name of a schedule."""
    return _theirs(name, _SCHEDULERS)


def sampler_label(name: str) -> str:
    """The web UI's name of one of ComfyUI's samplers."""
    return _SAMPLERS.get(name, (name,))[0]


def scheduler_label(name: str) -> str:
    """The web UI's name of one of ComfyUI's schedules."""
    return _SCHEDULERS.get(name, (name,))[0]


def _theirs(name: str, table: Mapping[str, tuple[str, ...]]) -> str:
    for theirs, ours in table.items():
        if squash(name) in {squash(theirs), *(squash(one) for one in ours)}:
            return theirs
    return name
