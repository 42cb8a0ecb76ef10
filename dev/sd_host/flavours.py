"""What Forge, Forge Neo and SD.Next have otherwise than the web UI: samplers, schedules, settings.

Names and shapes are the real hosts'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dev.sd_host.catalog import (
    CONTROLNET_UNITS,
    ROOT,
    SAMPLERS,
    SCHEDULERS,
    SETTINGS,
    Checkpoint,
    Sampler,
    scheduler,
)

# Forge

FORGE_SAMPLERS = (
    *(s for s in SAMPLERS if s.name not in ("DDIM", "DDIM CFG++", "PLMS", "UniPC", "LCM")),
    Sampler("HeunPP2", ("heunpp2",)),
    Sampler("IPNDM", ("ipndm",)),
    Sampler("IPNDM_V", ("ipndm_v",)),
    Sampler("DEIS", ("deis",)),
    *(s for s in SAMPLERS if s.name in ("DDIM", "DDIM CFG++", "PLMS", "UniPC", "LCM")),
    Sampler("DDPM", ("ddpm",)),
    Sampler("[Forge] Flux Realistic", ("flux_realistic",)),
)
FORGE_SCHEDULERS = (
    *SCHEDULERS,
    scheduler("turbo", "Turbo"),
    scheduler("align_your_steps_GITS", "Align Your Steps GITS"),
    scheduler("align_your_steps_11", "Align Your Steps 11"),
    scheduler("align_your_steps_32", "Align Your Steps 32"),
)
MODULES = "forge_additional_modules"
MODULE_FILES: Mapping[str, str] = {
    "vae-ft-mse-840000-ema-pruned.safetensors": (
        f"{ROOT}/models/VAE/vae-ft-mse-840000-ema-pruned.safetensors"
    ),
    "ae.safetensors": f"{ROOT}/models/VAE/ae.safetensors",
    "clip_l.safetensors": f"{ROOT}/models/text_encoder/clip_l.safetensors",
    "t5xxl_fp8_e4m3fn.safetensors": f"{ROOT}/models/text_encoder/t5xxl_fp8_e4m3fn.safetensors",
}
"""The VAEs and text encoders, by the names that `MODULES` may hold."""
NEEDED_BY_FLUX = {"VAE": "ae", "CLIP": "clip_l", "T5": "t5xxl"}
"""What a Flux checkpoint cannot be loaded without, and how the files' names begin."""
FORGE_SETTINGS: Mapping[str, Any] = {
    **SETTINGS,  # sd_vae among them, which is shown and has no effect
    MODULES: [],
    "forge_unet_storage_dtype": "Automatic",
    "forge_inference_memory": 1024,
    "forge_async_loading": "Queue",
    "forge_pin_shared_memory": "CPU",
    "forge_preset": "sd",
}


def is_flux(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint is of that family, by its name."""
    return "flux" in checkpoint.name.lower()


# SD.Next

SEPARATOR = "── Euler ──"
"""The first of the rows that only divide the list: no sampler, and no class behind it."""
SDNEXT_SAMPLERS = tuple(
    Sampler(name, ())
    for name in (
        *("Euler", "Euler a", "Euler SGM", "Euler EDM", "Euler FlowMatch"),
        *("DPM++", "DPM++ 2M", "DPM++ 3M", "DPM++ 1S", "DPM++ SDE", "DPM++ 2M SDE", "DPM SDE"),
        *("UniPC", "DEIS", "SA Solver", "DC Solver", "Heun", "Heun FlowMatch", "KDPM2", "KDPM2 a"),
        *("DDIM", "DDPM", "PNDM", "IPNDM", "LMSD", "LCM", "TCD"),
    )
)
SDNEXT_SETTINGS: Mapping[str, Any] = {
    "sd_model_checkpoint": "",
    "sd_checkpoint_hash": "",
    "sd_model_refiner": "None",
    "sd_vae": "Automatic",
    "sd_unet": "Default",
    "sd_text_encoder": "Default",
    "samples_save": True,
    "samples_format": "jpg",
    "jpeg_quality": 90,
    "grid_save": True,
    "return_grid": True,
    "keep_incomplete": True,
    "sequential_seed": True,
    "eta_noise_seed_delta": 0,
    "initial_noise_multiplier": 1.0,
    "schedulers_shift": 3,
    "img2img_color_correction": False,
    "img2img_fix_steps": False,
    "return_mask": False,
    "api_enable_requests": False,
    "mask_apply_overlay": True,
    "live_previews_enable": True,
    "show_progress_every_n_steps": 1,
    "server_rate_limit": 300,
    "control_net_unit_count": CONTROLNET_UNITS,
}


@dataclass
class SdNextCheckpoint(Checkpoint):
    """A checkpoint as SD.Next names it: without the ending of its file."""

    @property
    def title(self) -> str:
        return f"{self.name} [{self.short_hash}]" if self.hashed else self.name

    def aliases(self) -> set[str]:
        names = {self.name, self.title, self.listed()["filename"]}
        return {*names, self.short_hash} if self.hashed else names

    def listed(self) -> dict[str, Any]:
        return {**super().listed(), "model_name": self.name, "type": "safetensors"}


CHECKPOINTS: Mapping[str, type[Checkpoint]] = {"sdnext": SdNextCheckpoint}
"""How the checkpoints of a personality are named; those of the others as the web UI's."""
