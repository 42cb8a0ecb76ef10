"""What the servers that speak OpenAI's images API make of it: each takes other fields.

They pass over in silence what they do not know, so that each is told only what it heeds, in its own
words. ``FLAVOURS`` has them by the names that a configuration uses; ``openai-images`` is a server
of which nothing more is known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from robotchat.art.requests import DrawRequest, Image2ImageRequest
from robotchat.drivers.sdcpp import without_extra_args
from robotchat.errors import NotSupported
from robotchat.images import encode_base64

Field = tuple[str, tuple[str, bytes, str]]
"""A file of a form: the field, and the file's name, bytes and content type."""

_MOST = 10
"""Pictures that all these servers draw in one request, but for some models."""

_MASK_FIELDS = (
    *("mask", "mask_blur", "mask_blur_x", "mask_blur_y", "inpainting_mask_invert"),
    *("inpainting_fill", "inpaint_full_res", "inpaint_full_res_padding"),
)
"""Heeded where masks are: the mask is made as they say, and with what the servers begin under it,
and that they draw the whole picture, is what they do."""


@dataclass(frozen=True)
class Asked:
    """One request to a server: some or all of the pictures that are wanted."""

    request: DrawRequest
    model: str | None
    prompt: str
    negative_prompt: str
    count: int
    seed: int
    size: tuple[int, int]
    image: bytes | None = field(default=None, repr=False)
    """What is to be changed."""
    references: tuple[bytes, ...] = field(default=(), repr=False)
    mask: bytes | None = field(default=None, repr=False)
    """A grey PNG of the picture's size, white where it is to be drawn anew."""
    loras: tuple[dict[str, Any], ...] = ()
    """Each with ``name``, ``path`` (if known) and ``scale``."""

    def set(self, name: str) -> Any:
        """A field of the request, if the caller has set it: the models' own defaults are better
        than the web UI's, which were made for others."""
        given = name in self.request.model_fields_set
        return getattr(self.request, name) if given else None


@dataclass(frozen=True)
class Call:
    """What is posted: JSON, or a form when there are files."""

    path: str
    body: dict[str, Any]
    files: tuple[Field, ...] = ()


@dataclass(frozen=True)
class Flavour:
    """A server of which no more is known than that it speaks OpenAI's API."""

    title: str = "OpenAI images"
    heeds: frozenset[str] = frozenset()
    """Fields of a request, beside size, prompt, seed and pictures."""
    seeds: bool = False
    """Whether it takes a seed, so that the pictures of a batch are asked for one by one."""
    strength: bool = False
    """Whether it takes a denoising strength."""
    mask: Literal["transparent", "white"] | None = "transparent"
    """What a mask shows where it is to be drawn anew; None: masks are passed over."""
    loras: bool = False
    """Whether it takes LoRAs with a request."""
    stops: bool = True
    """Whether it notices that a connection is closed; else it draws on for nobody."""
    tells_seed: bool = False
    """Whether the seed can be read in the picture's own text."""
    size_step: int = 8
    rounds_up: bool = False
    references: int = 15
    paid: bool = False
    """Whether every picture is paid for."""
    chooses: bool = False
    """Whether it finds a model that draws itself, of a list that has others as well."""

    def heeded(self) -> tuple[str, ...]:
        """Every field of a request that is heeded, or told as not heeded."""
        mask = _MASK_FIELDS if self.mask is not None else ()
        always = (
            "width",
            "height",
            "init_images",
            "denoising_strength",
            "extra_images",
            "instruct",
        )
        return (*always, *mask, *self.heeds)

    def most(self, model: str | None) -> int:
        """How many pictures can be asked for at a time."""
        return 1 if self.seeds else _MOST

    def sizes(self, model: str | None, width: int, height: int) -> tuple[int, int]:
        """The size to ask for; other than the one that is wanted where that is not drawn."""
        return width, height

    def draws(self, model: str) -> bool:
        """Whether a model of its list can be one that draws."""
        return True

    def call(self, asked: Asked) -> Call:
        """What to post. Raises NotSupported for what cannot be said in its words."""
        body = self.body(asked)
        if asked.image is None:
            return Call("images/generations", {**body, "n": asked.count})
        return Call("images/edits", {**body, "n": asked.count}, self.files(asked))

    def body(self, asked: Asked) -> dict[str, Any]:
        """The fields of both calls."""
        width, height = asked.size
        body: dict[str, Any] = {"prompt": asked.prompt, "size": f"{width}x{height}"}
        if asked.model is not None:
            body["model"] = asked.model
        if not _always_base64(asked.model):
            body["response_format"] = "b64_json"
        return body

    def files(self, asked: Asked) -> tuple[Field, ...]:
        """The pictures of an edit, and the mask."""
        images = [asked.image or b"", *asked.references]
        name = "image[]" if len(images) > 1 else "image"
        files = [_file(name, data, f"image{index}") for index, data in enumerate(images)]
        if asked.mask is not None:
            from robotchat.pixels import transparent_mask

            files.append(_file("mask", transparent_mask(asked.mask), "mask"))
        return tuple(files)


_OPENAIS = re.compile(r"(?:openai/)?(?:chatgpt-image|gpt-image|dall-e)", re.IGNORECASE)
_SIZES = {
    "dall-e-2": ((256, 256), (512, 512), (1024, 1024)),
    "dall-e-3": ((1024, 1024), (1792, 1024), (1024, 1792)),
    "gpt-image-1": ((1024, 1024), (1536, 1024), (1024, 1536)),
}
_LEAST_PIXELS, _MOST_PIXELS = 655_360, 8_294_400
_STEP, _LONGEST = 16, 3840


def _always_base64(model: str | None) -> bool:
    """Whether a model refuses to be told that its pictures are wanted as base64."""
    return model is not None and bool(
        re.match(r"(?:openai/)?(?:chatgpt|gpt)-image", model, re.IGNORECASE)
    )


@dataclass(frozen=True)
class OpenAI(Flavour):
    """OpenAI itself: unknown fields are refused, and few sizes drawn."""

    title: str = "OpenAI"
    paid: bool = True

    def draws(self, model: str) -> bool:
        return _OPENAIS.match(model) is not None

    def sizes(self, model: str | None, width: int, height: int) -> tuple[int, int]:
        """The smallest that holds the wanted shape: what comes is cut and scaled to it."""
        name = (model or "").lower().removeprefix("openai/")
        fixed = next((sizes for known, sizes in _SIZES.items() if _is(name, known)), None)
        if fixed is not None:
            return min(fixed, key=lambda one: _misfit(one, (width, height)))
        if not min(width, height) * 3 >= max(width, height):
            raise NotSupported("OpenAI draws no picture longer than three times its width.")
        scale = max(1.0, (_LEAST_PIXELS / (width * height)) ** 0.5)
        scale = min(scale, _LONGEST / max(width, height), (_MOST_PIXELS / (width * height)) ** 0.5)
        return _up(width * scale), _up(height * scale)

    def most(self, model: str | None) -> int:
        return 1 if _is((model or "").lower(), "dall-e-3") else _MOST


def _is(name: str, known: str) -> bool:
    """Whether a model is of a family that has these sizes: GPT Image up to 1.5 is one."""
    if known == "gpt-image-1":
        return name.startswith(("gpt-image-1", "chatgpt-image"))
    return name.startswith(known)


def _misfit(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[float, float]:
    """How far a size is from a wanted one: by its shape, then by what would be enlarged."""
    shape = (size[0] / size[1]) / (wanted[0] / wanted[1])
    enlarged = max(wanted[0] / size[0], wanted[1] / size[1], 1.0)
    return max(shape, 1 / shape) * enlarged, float(size[0] * size[1])


def _up(side: float) -> int:
    return min(-int(-side // _STEP) * _STEP, _LONGEST)


@dataclass(frozen=True)
class _Diffusion(Flavour):
    """What vLLM-Omni and SGLang have in common."""

    seeds: bool = True
    heeds: frozenset[str] = frozenset(
        {"negative_prompt", "steps", "cfg_scale", "distilled_cfg_scale"}
    )

    def body(self, asked: Asked) -> dict[str, Any]:
        # A guidance of distilled models is theirs alone; else it is the one that there is.
        cfg, distilled = asked.set("cfg_scale"), asked.set("distilled_cfg_scale")
        more = {
            "negative_prompt": asked.negative_prompt or None,
            "num_inference_steps": asked.set("steps"),
            "guidance_scale": cfg if distilled is None else distilled,
            "true_cfg_scale": cfg,
            "seed": asked.seed,
            "output_format": "png",
        }
        return {**super().body(asked), **_given(more)}

    def files(self, asked: Asked) -> tuple[Field, ...]:
        images = [asked.image or b"", *asked.references]
        return tuple(_file("image", data, f"image{index}") for index, data in enumerate(images))


@dataclass(frozen=True)
class VllmOmni(_Diffusion):
    """vLLM-Omni: one model a server; a drawing ends when nobody waits for it any more."""

    title: str = "vLLM-Omni"
    strength: bool = True
    mask: Literal["transparent", "white"] | None = "white"
    loras: bool = True

    def body(self, asked: Asked) -> dict[str, Any]:
        body = super().body(asked)
        if asked.image is not None:
            body |= _given({"strength": _strength(asked)})
        if asked.loras:
            if len(asked.loras) > 1:
                raise NotSupported("The SD host takes one LoRA at a time.", param="prompt")
            # In a form it is JSON in a text.
            lora = asked.loras[0]
            body["lora"] = lora if asked.image is None else json.dumps(lora)
        return body

    def files(self, asked: Asked) -> tuple[Field, ...]:
        mask = () if asked.mask is None else (_file("mask_image", asked.mask, "mask"),)
        return (*super().files(asked), *mask)


@dataclass(frozen=True)
class SGLang(_Diffusion):
    """SGLang diffusion: one model a server; masks are passed over, and LoRAs are the server's."""

    title: str = "SGLang"
    mask: Literal["transparent", "white"] | None = None
    stops: bool = False


_SEEDS = 0x7FFFFFFF


@dataclass(frozen=True)
class LocalAI(Flavour):
    """LocalAI: many models; everything is in JSON, and there is no ``/v1/images/edits``.

    It has ``/v1/images/inpainting``, which draws 512x512 with one seed, whatever is wanted.
    """

    title: str = "LocalAI"
    seeds: bool = True
    heeds: frozenset[str] = frozenset({"negative_prompt", "steps"})
    chooses: bool = True
    mask: Literal["transparent", "white"] | None = None

    def call(self, asked: Asked) -> Call:
        if "|" in asked.prompt + asked.negative_prompt:
            raise NotSupported(
                "The SD host takes | for the end of the prompt: leave it out.", param="prompt"
            )
        body = {**self.body(asked), "n": asked.count, "seed": asked.seed & _SEEDS}
        if asked.negative_prompt:
            body["prompt"] = f"{asked.prompt}|{asked.negative_prompt}"
        body |= _given({"step": asked.set("steps")})
        if asked.image is not None:
            image, *references = map(encode_base64, [asked.image, *asked.references])
            if _instruct(asked.request) or references:
                body["ref_images"] = [image, *references]
            else:
                body["file"] = image
        return Call("images/generations", body)


@dataclass(frozen=True)
class SdServer(Flavour):
    """stable-diffusion.cpp's server by its OpenAI routes, which take most in the prompt."""

    title: str = "sd-server"
    seeds: bool = True
    strength: bool = True
    heeds: frozenset[str] = frozenset(
        {"negative_prompt", "steps", "cfg_scale", "distilled_cfg_scale"}
    )
    mask: Literal["transparent", "white"] | None = "white"
    loras: bool = True
    stops: bool = False
    tells_seed: bool = True
    size_step: int = 64
    rounds_up: bool = True

    def body(self, asked: Asked) -> dict[str, Any]:
        guidance = _given(
            {
                "txt_cfg": asked.set("cfg_scale"),
                "distilled_guidance": asked.set("distilled_cfg_scale"),
            }
        )
        sample = _given({"sample_steps": asked.set("steps"), "guidance": guidance or None})
        loras = [
            {"path": lora.get("path", lora["name"]), "multiplier": lora["scale"]}
            for lora in asked.loras
        ]
        extra = {
            "negative_prompt": asked.negative_prompt,
            "seed": asked.seed,
            "strength": _strength(asked) if asked.image is not None else None,
            "sample_params": sample or None,
            "lora": loras or None,
        }
        tag = "sd_cpp_extra_args"
        # In one line: its pattern ends at the first line break.
        prompt = f"{asked.prompt} <{tag}>{json.dumps(_given(extra))}</{tag}>"
        return {**super().body(asked), "prompt": prompt, "output_format": "png"}

    def files(self, asked: Asked) -> tuple[Field, ...]:
        images = [asked.image or b"", *asked.references]
        files = [_file("image[]", data, f"image{index}") for index, data in enumerate(images)]
        if asked.mask is not None:
            files.append(_file("mask", asked.mask, "mask"))
        return tuple(files)


FLAVOURS: Mapping[str, Flavour] = {
    "openai-images": Flavour(),
    "openai": OpenAI(),
    "vllm-omni": VllmOmni(),
    "sglang": SGLang(),
    "localai": LocalAI(),
    "sd-server": SdServer(),
}


_LORA_TAG = re.compile(r"<lora:([^:>]+)(?::([-+0-9.]+))?[^>]*>", re.IGNORECASE)


def words(
    request: DrawRequest, known: Mapping[str, str], *, takes_loras: bool
) -> tuple[str, str, tuple[dict[str, Any], ...]]:
    """The prompt and the negative prompt as these servers take them, and the LoRAs they name.

    ``known`` has the LoRAs that the operator has named, with their paths on the server. Raises
    NotSupported for one where none have an effect, or that is not known.
    """
    prompt, loras = request.prompt, []
    if not request.disable_extra_networks:
        paths = {name.lower(): (name, path) for name, path in known.items()}
        for name, weight in _LORA_TAG.findall(prompt):
            if not takes_loras or name.strip().lower() not in paths:
                raise NotSupported(
                    f"The SD host does not have the LoRA {name.strip()!r}.", param="prompt"
                )
            title, path = paths[name.strip().lower()]
            lora = {"name": title, "scale": _number(weight)}
            loras.append({**lora, "path": path} if path else lora)
    prompt = _LORA_TAG.sub("", prompt).strip()
    negative = _LORA_TAG.sub("", request.negative_prompt).strip()
    return without_extra_args(prompt), without_extra_args(negative), tuple(loras)


def _number(weight: str) -> float:
    try:
        return float(weight or 1)
    except ValueError:
        return 1.0


def _instruct(request: DrawRequest) -> bool:
    return isinstance(request, Image2ImageRequest) and request.instruct


def _strength(asked: Asked) -> float | None:
    """What is to be sent as the denoising strength: nothing to a model that takes instructions."""
    return None if _instruct(asked.request) else asked.request.denoising_strength


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _file(field: str, data: bytes, name: str) -> Field:
    from robotchat.images import inspect

    kind = inspect(data, max_bytes=len(data), max_pixels=1 << 40).content_type
    return field, (f"{name}.{kind.rpartition('/')[2]}", data, kind)
