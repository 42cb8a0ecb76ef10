"""OpenAI's image endpoints over SD hosts: their requests as ours, and our pictures as theirs.

Bodies and answers are those of ``/v1/images/generations``, ``/edits`` and ``/variations``, as
OpenAI's SDKs send and read them. What has no meaning on an SD host is refused by name when it would
change the picture (a transparent background), and else ignored (moderation, style, user).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.config import JsonDict, JsonValue
from pydantic_core import PydanticCustomError

from robotchat.art.fields import OutputFormat
from robotchat.art.requests import CHECKPOINT, Image2ImageRequest, Text2ImageRequest
from robotchat.art.results import Drawing
from robotchat.errors import InvalidRequest
from robotchat.images import encode_base64, upright_size
from robotchat.prompt.shapes import LARGEST, SMALLEST, budget, shaped
from robotchat.text import no_switch

_OPENAIS_MODELS = re.compile(r"(gpt-image|chatgpt-image|dall-e|gpt-)", re.IGNORECASE)
"""Names that clients send because they must send some: they mean the default checkpoint."""

_SIZE = re.compile(r"([0-9]{2,5})\s*x\s*([0-9]{2,5})", re.IGNORECASE)

_STEPS: Mapping[str, str] = {
    **{name: name for name in ("low", "medium", "high")},
    "standard": "medium",
    "hd": "high",
    "xhigh": "high",
    "max": "high",
}

_NAMES: Mapping[str, str] = {
    "width": "size",
    "height": "size",
    "n_iter": "n",
    "batch_size": "n",
    "denoising_strength": "strength",
    "init_images": "images",
    "extra_images": "images",
}

_PATCH = 32
"""Pixels a side of what counts as one token of a picture."""


class CreateImageRequest(BaseModel):
    """``POST /v1/images/generations``, and what the other two share with it.

    Beside OpenAI's fields stand those that other servers over diffusion models take:
    `negative_prompt`, `seed`, `steps`, `cfg_scale`, `sampler_name`.
    """

    model_config = ConfigDict(frozen=True, protected_namespaces=(), coerce_numbers_to_str=True)

    prompt: str = Field(
        min_length=1,
        max_length=20_000,
        description="What to draw.",
        examples=["a beach at sunset, photo"],
    )
    model: str | None = Field(
        default=None,
        max_length=300,
        description="A checkpoint by any of its names. Left out, or one of OpenAI's own names, it "
        "is the default; the answer's `model` says which.",
    )
    n: int = Field(default=1, ge=1, le=10, description="How many pictures.")
    size: str = Field(
        default="auto",
        description="`WIDTHxHEIGHT` in pixels, rounded down to multiples of 8; `auto` is the "
        "host's default, or the picture's own shape where one is changed.",
        examples=["1024x1024"],
    )
    quality: Literal["auto", "low", "medium", "high", "standard", "hd", "xhigh", "max"] = Field(
        default="auto", description="How many steps to take; what each means is a setting."
    )
    background: Literal["auto", "opaque", "transparent"] = Field(
        default="auto", description="`transparent` is refused: no SD model draws it."
    )
    output_format: OutputFormat = Field(
        default="png", description="The format of the picture files."
    )
    output_compression: int = Field(
        default=100, ge=0, le=100, description="Quality of JPEG and WebP, 100 is the best."
    )
    response_format: Literal["b64_json", "url"] = Field(
        default="b64_json", description="Pictures in the answer, or links to them."
    )
    stream: bool = Field(default=False, description="Answer with events.")
    partial_images: int = Field(
        default=0, ge=0, le=3, description="How many previews a streamed answer may show."
    )
    moderation: str | None = Field(default=None, description="Ignored.")
    style: str | None = Field(default=None, description="Ignored; say it in the prompt.")
    user: str | None = Field(default=None, description="Ignored.")
    safety_identifier: str | None = Field(default=None, description="Given back in the answer.")
    negative_prompt: str = Field(default="", max_length=20_000, description="What to keep out.")
    seed: Annotated[int | None, Field(ge=-1, le=2**63 - 1)] = Field(
        default=None, description="The same seed and request give the same picture."
    )
    steps: Annotated[int | None, Field(ge=1, le=150)] = Field(
        default=None,
        validation_alias=AliasChoices("steps", "num_inference_steps", "step"),
        description="Sampling steps, instead of `quality`.",
    )
    cfg_scale: Annotated[float | None, Field(ge=0, le=100)] = Field(
        default=None,
        validation_alias=AliasChoices("cfg_scale", "guidance_scale"),
        description="How closely to follow the prompt.",
    )
    sampler_name: str | None = Field(default=None, max_length=300, description="A sampler.")

    _numbers = field_validator(
        *("n", "output_compression", "partial_images", "seed", "steps", "cfg_scale"), mode="before"
    )(no_switch)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        """SDKs send null for what was not set."""
        if isinstance(value, Mapping):
            return {name: item for name, item in value.items() if item is not None}
        return value

    @field_validator("size")
    @classmethod
    def _can_be_drawn(cls, size: str) -> str:
        sides = _sides_of(size)
        if size != "auto" and sides is None:
            raise _wrong("size must be auto or like 1024x1024")
        if sides is not None and not all(SMALLEST <= side <= LARGEST for side in sides):
            raise _wrong(f"size must be from {SMALLEST} to {LARGEST} pixels a side")
        return size

    @property
    def sides(self) -> tuple[int, int] | None:
        """Width and height as asked for; None for ``auto``."""
        return _sides_of(self.size)

    @property
    def checkpoint(self) -> str | None:
        """The checkpoint that is asked for; None for the default."""
        if self.model is None or _OPENAIS_MODELS.match(self.model):
            return None
        return self.model


def _sides_of(size: str) -> tuple[int, int] | None:
    found = _SIZE.fullmatch(size.strip())
    return (int(found[1]), int(found[2])) if found else None


def _one_of(*names: str) -> JsonDict:
    """How a schema says that exactly one of these texts is there."""
    there: list[JsonValue] = [
        {"required": [name], "properties": {name: {"type": "string"}}} for name in names
    ]
    return {"oneOf": there}


class ImageSource(BaseModel):
    """A picture: by its URL (https or data), or by the id of an upload."""

    model_config = ConfigDict(frozen=True, json_schema_extra=_one_of("image_url", "file_id"))

    image_url: str | None = Field(default=None, description="An https or data URL.")
    file_id: str | None = Field(default=None, description="The id of an upload.")

    @model_validator(mode="after")
    def _one_of_them(self) -> ImageSource:
        if (self.image_url is None) == (self.file_id is None):
            raise _wrong("exactly one of image_url and file_id must be given")
        if self.file_id is not None and not self.file_id.startswith("upload_"):
            raise _wrong("file_id must be the id of an upload; there is no such file")
        return self

    @property
    def text(self) -> str:
        """The picture as our own requests name one."""
        return self.image_url or self.file_id or ""


class CreateImageEditRequest(CreateImageRequest):
    """``POST /v1/images/edits``, as JSON; of a form, `image` and `image[]` become `images`."""

    images: list[ImageSource] = Field(
        min_length=1,
        max_length=16,
        description="The picture to change, and pictures to take after where a host can do that.",
    )
    mask: ImageSource | None = Field(
        default=None,
        description="A picture of the same size; where it is transparent is drawn anew.",
    )
    input_fidelity: Literal["low", "high"] | None = Field(
        default=None, description="`high` keeps more of the picture."
    )
    strength: Annotated[float | None, Field(ge=0, le=1)] = Field(
        default=None, description="0 keeps the picture, 1 ignores it."
    )

    _more_numbers = field_validator("strength", mode="before")(no_switch)


class CreateImageVariationRequest(CreateImageEditRequest):
    """``POST /v1/images/variations``."""

    prompt: str = Field(default="", max_length=20_000, description="What to draw, if anything.")


def field_of(param: str | None) -> str | None:
    """OpenAI's name for a field of the hosts that an error is about."""
    if param is not None and param.startswith("override_settings"):
        return "model"
    return _NAMES.get(param or "", param)


def to_draw(request: CreateImageRequest, steps: Mapping[str, int]) -> Text2ImageRequest:
    """What the hosts are asked for a picture from words. Raises InvalidRequest and its kin."""
    return Text2ImageRequest.parse({**_fields(request, steps), **_sides(request.sides)})


def to_redraw(
    request: CreateImageEditRequest,
    steps: Mapping[str, int],
    load: Callable[[str, str], bytes],
    *,
    instruct: bool = False,
    references: int = 0,
) -> Image2ImageRequest:
    """What the hosts are asked for a changed picture.

    ``load(text, field)`` gives the bytes of a picture by its URL, data URL or upload id.
    ``instruct``: the checkpoint is told what to change, and may be shown so many ``references``
    besides. Raises InvalidRequest and its kin.
    """
    if len(request.images) > 1 + references:
        raise InvalidRequest(
            f"The checkpoint takes {1 + references} pictures; the first is the one to change."
            if references
            else "One picture can be changed at a time here; send the one to change alone.",
            param="images",
        )
    data = load(request.images[0].text, "images.0")
    fields = _fields(request, steps)
    if instruct:
        fields |= {"instruct": True, "denoising_strength": 1.0}
        further = enumerate(request.images[1:], start=1)
        extra = [encode_base64(load(one.text, f"images.{at}")) for at, one in further]
        if extra:
            fields["extra_images"] = extra
    if request.strength is not None:
        fields["denoising_strength"] = request.strength
    elif request.input_fidelity is not None and not instruct:
        fields["denoising_strength"] = 0.5 if request.input_fidelity == "high" else 0.75
    width, height = upright_size(data)
    fields |= _sides(request.sides or shaped(width, height, budget(request.checkpoint)))
    mask = _mask(request, data, load)
    if mask is not None:
        # The picture itself, not its surroundings, is what a change begins with.
        fields |= {"mask": encode_base64(mask), "inpainting_fill": 1, "inpaint_full_res": False}
    return Image2ImageRequest.parse({**fields, "init_images": [encode_base64(data)]})


def _mask(
    request: CreateImageEditRequest, image: bytes, load: Callable[[str, str], bytes]
) -> bytes | None:
    """The web UI's mask; without one, the transparent places of the picture are what to change."""
    from robotchat.pixels import has_transparency, repaint_mask

    if request.mask is not None:
        return repaint_mask(load(request.mask.text, "mask"), image, param="mask")
    if isinstance(request, CreateImageVariationRequest) or not has_transparency(image):
        return None
    return repaint_mask(image, image, param="images.0")


def _fields(request: CreateImageRequest, steps: Mapping[str, int]) -> dict[str, Any]:
    if request.background == "transparent":
        raise InvalidRequest(
            "No SD model draws a transparent background; leave background out.",
            param="background",
        )
    quality = _STEPS.get(request.quality)
    fields: dict[str, Any] = {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt or None,
        "n_iter": request.n if request.n > 1 else None,
        "seed": request.seed,
        "steps": request.steps or (steps[quality] if quality else None),
        "cfg_scale": request.cfg_scale,
        "sampler_name": request.sampler_name,
        "output_format": request.output_format,
        "output_compression": request.output_compression,
    }
    if request.checkpoint is not None:
        fields["override_settings"] = {CHECKPOINT: request.checkpoint}
    return {name: value for name, value in fields.items() if value is not None}


def _sides(sides: tuple[int, int] | None) -> dict[str, int]:
    if sides is None:
        return {}
    return {"width": sides[0] // 8 * 8, "height": sides[1] // 8 * 8}


def images_response(
    request: CreateImageRequest,
    drawing: Drawing,
    *,
    created: int,
    links: Sequence[str],
    revised_prompt: str | None = None,
) -> dict[str, Any]:
    """OpenAI's `ImagesResponse`, with the checkpoint as `model` and the seeds beside."""
    data: list[dict[str, Any]] = []
    for number, image in enumerate(drawing.images):
        one: dict[str, Any] = {}
        if request.response_format == "url":
            one["url"] = links[number]
        else:
            one["b64_json"] = encode_base64(image.data)
        if revised_prompt is not None:
            one["revised_prompt"] = revised_prompt
        if image.seed is not None:
            one["seed"] = image.seed
        data.append(one)
    known = request.safety_identifier
    return {
        "created": created,
        "data": data,
        "model": drawing.checkpoint,
        **as_drawn(request, drawing),
        "usage": usage(
            request.prompt,
            [(image.width, image.height) for image in drawing.images],
            changing=isinstance(request, CreateImageEditRequest),
        ),
        **({"safety_identifier": known} if known is not None else {}),
    }


def as_drawn(request: CreateImageRequest, drawing: Drawing | None) -> dict[str, Any]:
    """The fields that say how pictures are, in answers and events alike."""
    if drawing is not None and drawing.images:
        size = f"{drawing.images[0].width}x{drawing.images[0].height}"
    else:
        size = request.size
    return {
        "background": "opaque",
        "output_format": request.output_format,
        "quality": _STEPS.get(request.quality, "auto"),
        "size": size,
    }


def usage(prompt: str, sizes: Sequence[tuple[int, int]], *, changing: bool) -> dict[str, Any]:
    """OpenAI's usage of images of these ``sizes``: about a token for four letters of the prompt,
    and one for each patch of 32x32 pixels, out, and in where one is changed. An estimate: an SD
    host counts no tokens."""
    text = math.ceil(len(prompt.encode()) / 4)
    out = sum(_patches(*size) for size in sizes)
    taken = _patches(*sizes[0]) if changing and sizes else 0
    return {
        "input_tokens": text + taken,
        "input_tokens_details": {"text_tokens": text, "image_tokens": taken},
        "output_tokens": out,
        "output_tokens_details": {"text_tokens": 0, "image_tokens": out},
        "total_tokens": text + taken + out,
    }


def _patches(width: int, height: int) -> int:
    return math.ceil(width / _PATCH) * math.ceil(height / _PATCH)


def _wrong(message: str) -> PydanticCustomError:
    return PydanticCustomError("value_error", "{message}", {"message": message})
