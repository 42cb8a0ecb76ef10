"""What the host has installed: checkpoints, samplers, schedulers, settings, ControlNet models.

Names and shapes are the real host's; hashes and paths are made up but stable.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ROOT = "/srv/stable-diffusion-webui"
DEFAULT_CHECKPOINTS = ("dreamshaper_8", "v1-5-pruned-emaonly", "sd_xl_base_1.0")
DEFAULT_LORAS = ("add_detail", "watercolor_style", "lcm-lora-sdv1-5")
VERSION = "v1.10.1"


def digest(text: str) -> str:
    """A stable sha256 in hex for a made-up file."""
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class Checkpoint:
    """One model file. Its hash is known only once it was computed, at the first load."""

    name: str
    hashed: bool = True

    @property
    def file_name(self) -> str:
        return f"{self.name}.safetensors"

    @property
    def model_name(self) -> str:
        return self.name.replace("/", "_").replace("\\", "_")

    @property
    def short_name(self) -> str:
        """The name in infotexts: no folder, no extension."""
        return self.name.rsplit("/", 1)[-1]

    @property
    def sha256(self) -> str:
        return digest(self.file_name)

    @property
    def short_hash(self) -> str:
        return self.sha256[:10]

    @property
    def title(self) -> str:
        return f"{self.file_name} [{self.short_hash}]" if self.hashed else self.file_name

    def aliases(self) -> set[str]:
        """Every name by which a request may mean this file."""
        names = {self.title, self.file_name, self.name, self.model_name, self.short_name}
        legacy = digest(f"legacy {self.file_name}")[:8]
        names |= {legacy, f"{self.name} [{legacy}]"}
        if self.hashed:
            names |= {self.sha256, self.short_hash, f"{self.name} [{self.short_hash}]"}
        return names

    def listed(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "model_name": self.model_name,
            "hash": self.short_hash if self.hashed else None,
            "sha256": self.sha256 if self.hashed else None,
            "filename": f"{ROOT}/models/Stable-diffusion/{self.file_name}",
            "config": None,
        }


def lora(name: str) -> dict[str, Any]:
    """The list entry of a LoRA file."""
    return {
        "name": name,
        "alias": name,
        "path": f"{ROOT}/models/Lora/{name}.safetensors",
        "metadata": {"ss_network_dim": "16", "ss_network_alpha": "8"},
    }


def find_checkpoint(checkpoints: Iterable[Checkpoint], name: object) -> Checkpoint | None:
    """The checkpoint that ``name`` is an alias of."""
    return next((c for c in checkpoints if name in c.aliases()), None)


@dataclass(frozen=True)
class Sampler:
    name: str
    aliases: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def listed(self) -> dict[str, Any]:
        options = {key: str(value) for key, value in self.options.items()}
        return {"name": self.name, "aliases": list(self.aliases), "options": options}


SAMPLERS = (
    Sampler("DPM++ 2M", ("k_dpmpp_2m",), {"scheduler": "karras"}),
    Sampler(
        "DPM++ SDE",
        ("k_dpmpp_sde",),
        {"scheduler": "karras", "second_order": True, "brownian_noise": True},
    ),
    Sampler(
        "DPM++ 2M SDE",
        ("k_dpmpp_2m_sde",),
        {"scheduler": "exponential", "brownian_noise": True},
    ),
    Sampler(
        "DPM++ 2M SDE Heun",
        ("k_dpmpp_2m_sde_heun",),
        {"scheduler": "exponential", "brownian_noise": True, "solver_type": "heun"},
    ),
    Sampler(
        "DPM++ 2S a",
        ("k_dpmpp_2s_a",),
        {"scheduler": "karras", "uses_ensd": True, "second_order": True},
    ),
    Sampler(
        "DPM++ 3M SDE",
        ("k_dpmpp_3m_sde",),
        {"scheduler": "exponential", "discard_next_to_last_sigma": True, "brownian_noise": True},
    ),
    Sampler("Euler a", ("k_euler_a", "k_euler_ancestral"), {"uses_ensd": True}),
    Sampler("Euler", ("k_euler",)),
    Sampler("LMS", ("k_lms",)),
    Sampler("Heun", ("k_heun",), {"second_order": True}),
    Sampler("DPM2", ("k_dpm_2",), {"scheduler": "karras", "second_order": True}),
    Sampler("DPM2 a", ("k_dpm_2_a",), {"scheduler": "karras", "uses_ensd": True}),
    Sampler("DPM fast", ("k_dpm_fast",), {"uses_ensd": True}),
    Sampler("DPM adaptive", ("k_dpm_ad",), {"uses_ensd": True}),
    Sampler("Restart", ("restart",), {"scheduler": "karras", "second_order": True}),
    Sampler("DDIM", ("ddim",)),
    Sampler("DDIM CFG++", ("ddim_cfgpp",)),
    Sampler("PLMS", ("plms",)),
    Sampler("UniPC", ("unipc",)),
    Sampler("LCM", ("k_lcm",)),
)


def scheduler(name: str, label: str, *aliases: str, rho: float = -1.0) -> dict[str, Any]:
    """The list entry of a noise schedule."""
    return {
        "name": name,
        "label": label,
        "aliases": list(aliases) or None,
        "default_rho": rho,
        "need_inner_model": name in {"sgm_uniform", "simple", "normal", "ddim", "beta", "uniform"},
    }


SCHEDULERS = (
    scheduler("automatic", "Automatic"),
    scheduler("uniform", "Uniform"),
    scheduler("karras", "Karras", rho=7.0),
    scheduler("exponential", "Exponential"),
    scheduler("polyexponential", "Polyexponential", rho=1.0),
    scheduler("sgm_uniform", "SGM Uniform", "SGMUniform"),
    scheduler("kl_optimal", "KL Optimal"),
    scheduler("align_your_steps", "Align Your Steps"),
    scheduler("simple", "Simple"),
    scheduler("normal", "Normal"),
    scheduler("ddim", "DDIM"),
    scheduler("beta", "Beta"),
)


def resolve_sampler(
    name: str,
    schedule: str | None,
    samplers: Sequence[Sampler] = SAMPLERS,
    schedulers: Sequence[Mapping[str, Any]] = SCHEDULERS,
) -> tuple[str, str]:
    """The sampler and the schedule label that the host really uses for these names.

    Unknown names silently become the first of their list, and a schedule may hang on the end of
    the sampler's name, as it did before schedules were a field.
    """
    chosen = next((s for s in schedulers if schedule in (s["name"], s["label"])), schedulers[0])
    for candidate in schedulers:
        for word in (candidate["label"], candidate["name"], *(candidate["aliases"] or ())):
            if name.endswith(f" {word}"):
                name, chosen = name.removesuffix(f" {word}"), candidate
                break
    # Only by name: even an alias that the host lists is unknown to it here.
    sampler = next((s for s in samplers if s.name == name), samplers[0])
    if sampler.options.get("scheduler") == chosen["name"]:
        chosen = schedulers[0]
    return sampler.name, str(chosen["label"])


def _upscaler(name: str, scale: float, model: str | None = None) -> dict[str, Any]:
    path = f"{ROOT}/models/{model}.pth" if model else None
    return {
        "name": name,
        "model_name": model,
        "model_path": path,
        "model_url": None,
        "scale": scale,
    }


UPSCALERS = [
    _upscaler("None", 4),
    _upscaler("Lanczos", 4),
    _upscaler("Nearest", 4),
    _upscaler("R-ESRGAN 4x+", 4, "RealESRGAN_x4plus"),
    _upscaler("R-ESRGAN 4x+ Anime6B", 4, "RealESRGAN_x4plus_anime_6B"),
]
LATENT_UPSCALE_MODES = [
    {"name": name}
    for name in (
        "Latent",
        "Latent (antialiased)",
        "Latent (bicubic)",
        "Latent (bicubic antialiased)",
        "Latent (nearest)",
        "Latent (nearest-exact)",
    )
]
VAES = [
    {
        "model_name": "vae-ft-mse-840000-ema-pruned.safetensors",
        "filename": f"{ROOT}/models/VAE/vae-ft-mse-840000-ema-pruned.safetensors",
    }
]
FACE_RESTORERS = [
    {"name": "CodeFormer", "cmd_dir": f"{ROOT}/models/Codeformer"},
    {"name": "GFPGAN", "cmd_dir": None},
]
REALESRGAN_MODELS = [
    {"name": "R-ESRGAN 4x+", "path": f"{ROOT}/models/RealESRGAN_x4plus.pth", "scale": 4}
]
PROMPT_STYLES = [
    {"name": "Watercolor", "prompt": "{prompt}, watercolor", "negative_prompt": "photo"},
    {"name": "Night", "prompt": "at night", "negative_prompt": ""},
]
EMBEDDINGS = {
    "loaded": {
        "EasyNegative": {
            "step": None,
            "sd_checkpoint": None,
            "sd_checkpoint_name": None,
            "shape": 768,
            "vectors": 8,
        }
    },
    "skipped": {},
}
EXTENSIONS = [
    {
        "name": "sd-webui-controlnet",
        "remote": "https://github.com/Mikubill/sd-webui-controlnet",
        "branch": "main",
        "commit_hash": "56cec5b2958edf3b1807b7e7b2b1b5186dbd2f81",
        "commit_date": 1723248000,
        "version": "56cec5b2",
        "enabled": True,
    }
]
ALWAYS_ON_SCRIPTS = ("comments", "extra options", "hypertile", "refiner", "sampler", "seed")
SELECTABLE_SCRIPTS = ("prompt matrix", "prompts from file or textbox", "x/y/z plot")
CONTROLNET_SCRIPTS = ("controlnet m2m",)
IMG2IMG_SCRIPTS = ("img2img alternative test", "loopback", "outpainting mk2", "sd upscale")
CONTROLNET_UNITS = 3
SETTINGS: dict[str, Any] = {
    "samples_save": True,
    "samples_format": "png",
    "samples_filename_pattern": "",
    "save_images_add_number": True,
    "grid_save": True,
    "return_grid": True,
    "grid_format": "png",
    "enable_pnginfo": True,
    "jpeg_quality": 80,
    "webp_lossless": False,
    "img_downscale_threshold": 4.0,
    "outdir_samples": "",
    "outdir_txt2img_samples": "outputs/txt2img-images",
    "outdir_img2img_samples": "outputs/img2img-images",
    "api_enable_requests": True,
    "api_forbid_local_requests": True,
    "api_useragent": "",
    "sd_model_checkpoint": "",
    "sd_checkpoint_hash": "",
    "sd_checkpoints_limit": 1,
    "sd_checkpoints_keep_in_cpu": True,
    "sd_checkpoint_cache": 0,
    "sd_unet": "Automatic",
    "sd_vae": "Automatic",
    "sd_vae_checkpoint_cache": 0,
    "CLIP_stop_at_last_layers": 1,
    "comma_padding_backtrack": 20,
    "enable_quantization": False,
    "eta_ddim": 0.0,
    "eta_ancestral": 1.0,
    "s_churn": 0.0,
    "s_tmin": 0.0,
    "s_tmax": 0.0,
    "s_noise": 1.0,
    "s_min_uncond": 0.0,
    "sgm_noise_multiplier": False,
    "sigma_min": 0.0,
    "sigma_max": 0.0,
    "rho": 0.0,
    "always_discard_next_to_last_sigma": False,
    "token_merging_ratio": 0.0,
    "token_merging_ratio_hr": 0.0,
    "token_merging_ratio_img2img": 0.0,
    "emphasis": "Original",
    "sd_hypernetwork": "None",
    "code_former_weight": 0.5,
    "eta_noise_seed_delta": 0,
    "face_restoration": False,
    "face_restoration_model": "CodeFormer",
    "tiling": False,
    "img2img_fix_steps": False,
    "img2img_color_correction": False,
    "initial_noise_multiplier": 1.0,
    "return_mask": False,
    "return_mask_composite": False,
    "live_previews_enable": True,
    "live_previews_image_format": "png",
    "show_progress_every_n_steps": 10,
    "show_progress_type": "Approx NN",
    "randn_source": "GPU",
    "upscaler_for_img2img": None,
    "ESRGAN_tile": 192,
    "lora_functional": False,
    "extra_networks_default_multiplier": 1.0,
    "control_net_unit_count": CONTROLNET_UNITS,
    "control_net_no_detectmap": False,
    "control_net_model_cache_size": 2,
    "control_net_allow_script_control": False,
}
