"""The classes of nodes, as ``/object_info`` describes them, and what they do with pictures.

Types of links are the real ones. What goes over them are small objects: a model is the name of its
file with its LoRAs, a latent is its size with the picture that it came from.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageFilter, ImageOps

from dev.sd_host import imaging

if TYPE_CHECKING:
    from dev.comfyui.execution import Execution

MAX_RESOLUTION = 16384
MAX_SEED = 0xFFFFFFFFFFFFFFFF
SAMPLERS = (
    *("euler", "euler_cfg_pp", "euler_ancestral", "euler_ancestral_cfg_pp", "heun", "heunpp2"),
    *("dpm_2", "dpm_2_ancestral", "lms", "dpm_fast", "dpm_adaptive", "dpmpp_2s_ancestral"),
    *("dpmpp_sde", "dpmpp_sde_gpu", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_2m_sde_gpu"),
    *("dpmpp_3m_sde", "ddpm", "lcm", "ipndm", "deis", "res_multistep", "er_sde", "ddim"),
    *("uni_pc", "uni_pc_bh2"),
)
SCHEDULERS = (
    *("simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal"),
    *("linear_quadratic", "kl_optimal"),
)


@dataclass(frozen=True)
class Weights:
    """A MODEL or a CLIP: where it came from, and what was put on it."""

    file: str
    loras: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Conditioning:
    text: str
    loras: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Latent:
    """``images`` are those that were encoded; None: noise alone."""

    width: int
    height: int
    count: int = 1
    images: tuple[Image.Image, ...] | None = None
    mask: Image.Image | None = None


Images = tuple[Image.Image, ...]
Run = Callable[..., Any]


@dataclass(frozen=True)
class Kind:
    """A class of nodes. ``choices`` names the folder of files that an input chooses from."""

    required: Mapping[str, list[Any]]
    outputs: tuple[str, ...]
    run: Run
    optional: Mapping[str, list[Any]] = field(default_factory=dict)
    output_node: bool = False
    module: str = "nodes"
    validates: tuple[str, ...] = ()
    """The inputs that it checks itself: ranges and choices do not count for them."""
    changes: bool = False
    """Whether it is executed whenever it is asked, as if it had changed."""


def number(kind: str, default: float, least: float, most: float, **more: Any) -> list[Any]:
    return [kind, {"default": default, "min": least, "max": most, **more}]


def _link(kind: str) -> list[Any]:
    return [kind]


def _model_file(run: Execution, folder: str, name: str) -> str:
    if name not in run.host.folder(folder):
        raise FileNotFoundError(f"Model in folder '{folder}' with filename '{name}' not found.")
    return name


async def checkpoint_loader(run: Execution, ckpt_name: str) -> Any:
    _model_file(run, "checkpoints", ckpt_name)
    await run.load(ckpt_name)
    return Weights(ckpt_name), Weights(ckpt_name), ckpt_name


async def unet_loader(run: Execution, unet_name: str, weight_dtype: str) -> Any:
    await run.load(_model_file(run, "diffusion_models", unet_name))
    return (Weights(unet_name),)


async def dual_clip_loader(
    run: Execution, clip_name1: str, clip_name2: str, type: str, device: str = "default"
) -> Any:
    return (Weights(f"{clip_name1}+{clip_name2}"),)


async def vae_loader(run: Execution, vae_name: str) -> Any:
    return (vae_name,)


async def lora_loader(
    run: Execution,
    model: Weights,
    clip: Weights,
    lora_name: str,
    strength_model: float,
    strength_clip: float,
) -> Any:
    put = ((lora_name, strength_model),)
    return replace(model, loras=model.loras + put), replace(clip, loras=clip.loras + put)


async def clip_text_encode(run: Execution, text: str, clip: Weights) -> Any:
    return (Conditioning(text, clip.loras),)


async def flux_guidance(run: Execution, conditioning: Conditioning, guidance: float) -> Any:
    return (conditioning,)


async def empty_latent(run: Execution, width: int, height: int, batch_size: int = 1) -> Any:
    return (Latent(width // 8 * 8, height // 8 * 8, batch_size),)


async def vae_encode(run: Execution, pixels: Images, vae: str) -> Any:
    width, height = (side // 8 * 8 for side in pixels[0].size)
    left, top = (pixels[0].width - width) // 2, (pixels[0].height - height) // 2
    images = tuple(one.crop((left, top, left + width, top + height)) for one in pixels)
    return (Latent(width, height, len(images), images),)


async def vae_encode_for_inpaint(
    run: Execution, pixels: Images, vae: str, mask: Image.Image, grow_mask_by: int = 6
) -> Any:
    (latent,) = await vae_encode(run, pixels, vae)
    return (replace(latent, mask=mask),)


async def set_latent_noise_mask(run: Execution, samples: Latent, mask: Image.Image) -> Any:
    return (replace(samples, mask=mask),)


async def vae_decode(run: Execution, samples: Latent, vae: str) -> Any:
    return (samples.images or (Image.new("RGB", (samples.width, samples.height), "grey"),),)


async def k_sampler(
    run: Execution,
    model: Weights,
    seed: int,
    steps: int,
    cfg: float,
    sampler_name: str,
    scheduler: str,
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    denoise: float = 1.0,
) -> Any:
    latent = latent_image
    words = " ".join([positive.text, *(_words(name) for name, _ in model.loras)])
    told = (words, negative.text if cfg > 1 else "")
    size = (latent.width, latent.height)

    def drawn(index: int) -> Image.Image:
        own = seed + index * 1_000_003  # not the picture of the next seed
        if latent.images is None:
            return imaging.drawn(*told, own, *size)
        old = latent.images[index % len(latent.images)].convert("RGB")
        new = imaging.repainted(old, *told, own, denoise)
        if latent.mask is None:
            return new
        return Image.composite(new, old, latent.mask.resize(size))

    images = tuple(drawn(index) for index in range(latent.count))
    await run.sample(steps, size[0] * size[1] * latent.count * steps, images[0])
    return (replace(latent, images=images),)


def _words(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0].replace("_", " ").replace("-", " ")


async def load_image(run: Execution, image: str) -> Any:
    opened = _opened(run, image)
    alpha = opened.getchannel("A") if "A" in opened.getbands() else Image.new("L", (64, 64), 255)
    pixels = opened.convert("RGB")
    if opened.format == "WEBP" or opened.mode in ("L", "LA"):
        # It reads them by way of a colour space of films, which has no white of 255.
        pixels = pixels.point(lambda value: value * 254 // 255)
    return (pixels,), ImageOps.invert(alpha)


async def load_image_mask(run: Execution, image: str, channel: str) -> Any:
    found = _opened(run, image).convert("RGBA").getchannel(channel[0].upper())
    return (ImageOps.invert(found) if channel == "alpha" else found,)


def _opened(run: Execution, name: str) -> Image.Image:
    opened = Image.open(io.BytesIO(run.host.annotated(name) or b""))
    upright = ImageOps.exif_transpose(opened)
    upright.format = opened.format
    return upright


async def image_scale(
    run: Execution, image: Images, upscale_method: str, width: int, height: int, crop: str
) -> Any:
    if not width and not height:
        return (image,)
    size = (
        width or max(1, round(image[0].width * height / image[0].height)),
        height or max(1, round(image[0].height * width / image[0].width)),
    )
    if crop == "center":
        return (tuple(ImageOps.fit(one, size) for one in image),)
    return (tuple(one.resize(size) for one in image),)


async def image_invert(run: Execution, image: Images) -> Any:
    return (tuple(ImageOps.invert(one.convert("RGB")) for one in image),)


async def image_blur(run: Execution, image: Images, blur_radius: int, sigma: float) -> Any:
    if min(image[0].size) <= blur_radius:
        raise RuntimeError(
            "Argument #4: Padding size should be less than the corresponding input dimension"
        )
    return (tuple(one.filter(ImageFilter.GaussianBlur(sigma)) for one in image),)


async def image_to_mask(run: Execution, image: Images, channel: str) -> Any:
    return (image[0].convert("RGBA").getchannel(channel[0].upper()),)


async def image_composite_masked(
    run: Execution,
    destination: Images,
    source: Images,
    x: int,
    y: int,
    resize_source: bool,
    mask: Image.Image | None = None,
) -> Any:
    result = []
    for index, under in enumerate(destination):
        over = source[index % len(source)].convert("RGB")
        over = over.resize(under.size) if resize_source else over
        through = mask.resize(over.size) if mask else Image.new("L", over.size, 255)
        canvas = under.convert("RGB").copy()
        canvas.paste(over, (x, y), through)
        result.append(canvas)
    return (tuple(result),)


async def save_image(run: Execution, images: Images, filename_prefix: str) -> Any:
    return run.saved("output", filename_prefix, images)


async def preview_image(run: Execution, images: Images) -> Any:
    return run.saved("temp", f"ComfyUI_temp_{run.host.word}", images)


async def save_image_websocket(run: Execution, images: Images) -> Any:
    for index, image in enumerate(run.counted(images)):
        await run.told_step(index, len(images), image, "PNG")
    return {}


_FILES = object()
"""Stands for the names in a folder, which come first in an input's description."""


def _file(folder: str) -> list[Any]:
    return [_FILES, folder]


def _upload() -> list[Any]:
    return [_FILES, "input", {"image_upload": True}]


_SIDE = number("INT", 512, 16, MAX_RESOLUTION, step=8)
_SCALED = number("INT", 512, 0, MAX_RESOLUTION, step=1)
_BATCH = number("INT", 1, 1, 4096)
_STRENGTH = number("FLOAT", 1.0, -100.0, 100.0, step=0.01)
_METHODS = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]
_CHANNELS = ["alpha", "red", "green", "blue"]
_EXTRAS = "comfy_extras.nodes_"

KINDS: dict[str, Kind] = {
    "CheckpointLoaderSimple": Kind(
        {"ckpt_name": _file("checkpoints")}, ("MODEL", "CLIP", "VAE"), checkpoint_loader
    ),
    "UNETLoader": Kind(
        {
            "unet_name": _file("diffusion_models"),
            "weight_dtype": [["default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"]],
        },
        ("MODEL",),
        unet_loader,
    ),
    "DualCLIPLoader": Kind(
        {
            "clip_name1": _file("text_encoders"),
            "clip_name2": _file("text_encoders"),
            "type": [["sdxl", "sd3", "flux", "hunyuan_video", "hidream"]],
        },
        ("CLIP",),
        dual_clip_loader,
        optional={"device": [["default", "cpu"], {"advanced": True}]},
    ),
    "VAELoader": Kind({"vae_name": _file("vae")}, ("VAE",), vae_loader),
    "LoraLoader": Kind(
        {
            "model": _link("MODEL"),
            "clip": _link("CLIP"),
            "lora_name": _file("loras"),
            "strength_model": _STRENGTH,
            "strength_clip": _STRENGTH,
        },
        ("MODEL", "CLIP"),
        lora_loader,
    ),
    "CLIPTextEncode": Kind(
        {"text": ["STRING", {"multiline": True, "dynamicPrompts": True}], "clip": _link("CLIP")},
        ("CONDITIONING",),
        clip_text_encode,
    ),
    "FluxGuidance": Kind(
        {
            "conditioning": _link("CONDITIONING"),
            "guidance": number("FLOAT", 3.5, 0.0, 100.0, step=0.1),
        },
        ("CONDITIONING",),
        flux_guidance,
        module=f"{_EXTRAS}flux",
    ),
    "EmptyLatentImage": Kind(
        {"width": _SIDE, "height": _SIDE, "batch_size": _BATCH}, ("LATENT",), empty_latent
    ),
    "EmptySD3LatentImage": Kind(
        {
            "width": number("INT", 1024, 16, MAX_RESOLUTION, step=16),
            "height": number("INT", 1024, 16, MAX_RESOLUTION, step=16),
            "batch_size": _BATCH,
        },
        ("LATENT",),
        empty_latent,
        module=f"{_EXTRAS}sd3",
    ),
    "KSampler": Kind(
        {
            "model": _link("MODEL"),
            "seed": number("INT", 0, 0, MAX_SEED, control_after_generate=True),
            "steps": number("INT", 20, 1, 10000),
            "cfg": number("FLOAT", 8.0, 0.0, 100.0, step=0.1, round=0.01),
            "sampler_name": [list(SAMPLERS), {}],
            "scheduler": [list(SCHEDULERS), {}],
            "positive": _link("CONDITIONING"),
            "negative": _link("CONDITIONING"),
            "latent_image": _link("LATENT"),
            "denoise": number("FLOAT", 1.0, 0.0, 1.0, step=0.01),
        },
        ("LATENT",),
        k_sampler,
    ),
    "VAEDecode": Kind({"samples": _link("LATENT"), "vae": _link("VAE")}, ("IMAGE",), vae_decode),
    "VAEEncode": Kind({"pixels": _link("IMAGE"), "vae": _link("VAE")}, ("LATENT",), vae_encode),
    "VAEEncodeForInpaint": Kind(
        {
            "pixels": _link("IMAGE"),
            "vae": _link("VAE"),
            "mask": _link("MASK"),
            "grow_mask_by": number("INT", 6, 0, 64, step=1),
        },
        ("LATENT",),
        vae_encode_for_inpaint,
    ),
    "SetLatentNoiseMask": Kind(
        {"samples": _link("LATENT"), "mask": _link("MASK")}, ("LATENT",), set_latent_noise_mask
    ),
    "LoadImage": Kind({"image": _upload()}, ("IMAGE", "MASK"), load_image, validates=("image",)),
    "LoadImageMask": Kind(
        {"image": _upload(), "channel": [_CHANNELS]},
        ("MASK",),
        load_image_mask,
        validates=("image",),
    ),
    "ImageScale": Kind(
        {
            "image": _link("IMAGE"),
            "upscale_method": [_METHODS],
            "width": _SCALED,
            "height": _SCALED,
            "crop": [["disabled", "center"]],
        },
        ("IMAGE",),
        image_scale,
    ),
    "ImageInvert": Kind({"image": _link("IMAGE")}, ("IMAGE",), image_invert),
    "ImageBlur": Kind(
        {
            "image": _link("IMAGE"),
            "blur_radius": number("INT", 1, 1, 31, step=1),
            "sigma": number("FLOAT", 1.0, 0.1, 10.0, step=0.1),
        },
        ("IMAGE",),
        image_blur,
        module=f"{_EXTRAS}post_processing",
    ),
    "ImageToMask": Kind(
        {
            "image": _link("IMAGE"),
            "channel": ["COMBO", {"options": ["red", "green", "blue", "alpha"]}],
        },
        ("MASK",),
        image_to_mask,
        module=f"{_EXTRAS}mask",
    ),
    "ImageCompositeMasked": Kind(
        {
            "destination": _link("IMAGE"),
            "source": _link("IMAGE"),
            "x": number("INT", 0, 0, MAX_RESOLUTION, step=1),
            "y": number("INT", 0, 0, MAX_RESOLUTION, step=1),
            "resize_source": ["BOOLEAN", {"default": False}],
        },
        ("IMAGE",),
        image_composite_masked,
        optional={"mask": _link("MASK")},
        module=f"{_EXTRAS}mask",
    ),
    "SaveImage": Kind(
        {"images": _link("IMAGE"), "filename_prefix": ["STRING", {"default": "ComfyUI"}]},
        (),
        save_image,
        output_node=True,
    ),
    "PreviewImage": Kind({"images": _link("IMAGE")}, (), preview_image, output_node=True),
    "SaveImageWebsocket": Kind(
        {"images": _link("IMAGE")},
        (),
        save_image_websocket,
        output_node=True,
        module="custom_nodes.websocket_image_save",
        changes=True,
    ),
}


def described(name: str, folder: Callable[[str], list[str]]) -> dict[str, Any]:
    """A class as ``/object_info`` describes it; ``folder`` gives the names in one."""
    kind = KINDS[name]
    inputs = {
        category: {title: spec_of(spec, folder) for title, spec in group.items()}
        for category, group in (("required", kind.required), ("optional", kind.optional))
        if group
    }
    return {
        "input": inputs,
        "input_order": {category: list(group) for category, group in inputs.items()},
        "is_input_list": False,
        "output": list(kind.outputs),
        "output_is_list": [False] * len(kind.outputs),
        "output_name": list(kind.outputs),
        "name": name,
        "display_name": name,
        "description": "",
        "python_module": kind.module,
        "category": "sd",
        "output_node": kind.output_node,
    }


def spec_of(spec: list[Any], folder: Callable[[str], list[str]]) -> list[Any]:
    """An input's description, with the names of files where it chooses from them."""
    return [folder(spec[1]), *spec[2:]] if spec[0] is _FILES else spec
