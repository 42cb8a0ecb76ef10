"""What to draw, in the fields of the SD web UI's API.

The field names, defaults and meanings are those of ``/sdapi/v1/txt2img`` and ``img2img``, and
values are read as leniently as the web UI reads them (``"64"`` and ``64.7`` are 64, ``null`` is
"not set", and the fields of a feature that is switched off are not checked). Fields that are not
listed are dropped, as the web UI drops them: clients post whole forms, with keys and addresses of
their own among them. ``ignored`` names them. Only what the caller set is sent: every host has its
own defaults.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Final, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from robotchat.art.fields import (
    MAX_SIDE,
    SMALLEST,
    ImageText,
    Int,
    Name,
    OutputFormat,
    Seed,
    Side,
    TargetSide,
    Text,
    whole,
)
from robotchat.art.leniency import is_true, understood
from robotchat.errors import InvalidRequest
from robotchat.pixels import FileFormat
from robotchat.text import check_json

MAX_IMAGES = 32
"""Most pictures of one request: ``batch_size`` times ``n_iter``."""

CHECKPOINT: Final = "sd_model_checkpoint"

FORMAT_OPTIONS: Final = frozenset({"samples_format", "jpeg_quality", "webp_lossless"})
"""Options that are taken and never sent on: a host does not heed them in a request, or heeds them
for everybody from then on. Files are brought into their format here."""

_FORMATS: Final[Mapping[str, FileFormat]] = {
    "png": "png",
    "jpg": "jpeg",
    "jpeg": "jpeg",
    "webp": "webp",
}

NEVER_SENT: Final = frozenset(
    {
        # Where pictures are kept is decided here, not on the host's disk. A host that saves also
        # puts a grid in front of the pictures.
        *("save_images", "do_not_save_samples", "do_not_save_grid"),
        # The pictures must come back, whether or not the caller wants them in the answer.
        "send_images",
        # The input would come back as well; it is put into the answer from the request.
        "include_init_images",
        # One task at a time is drawn on a host, and two callers might choose the same id.
        "force_task_id",
        # Decided by ``body`` (see there).
        "override_settings_restore_afterwards",
        # The fields that it stands for are sent.
        "infotext",
    }
)
"""Fields that are understood here and not passed on to a host."""


_NOT_THE_WEB_UIS = {
    *("distilled_cfg_scale", "hr_cfg", "hr_distilled_cfg", "hr_additional_modules"),  # Forge's
    *("output_format", "output_compression", "extra_images", "instruct"),
}


def _refused(message: str) -> PydanticCustomError:
    return PydanticCustomError("value_error", "{message}", {"message": message})


class DrawRequest(BaseModel):
    """The fields that both ways of drawing have."""

    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        coerce_numbers_to_str=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )

    prompt: Text = Field(
        default="",
        description="What to draw. `<lora:name:weight>` applies a LoRA.",
        examples=["a beach at sunset, photo"],
    )
    negative_prompt: Text = Field(
        default="", description="What to keep out of the picture.", examples=["people, text"]
    )
    styles: list[Name] | None = Field(
        default=None, max_length=50, description="Names of the host's prompt styles to apply."
    )
    seed: Seed = Field(
        default=-1,
        description="The same seed and request give the same picture; -1 chooses one at random.",
        examples=[42],
    )
    subseed: Seed = Field(default=-1, description="Seed of the variation; -1 chooses one.")
    subseed_strength: float = Field(
        default=0.0, ge=0, le=1, description="How far to go from `seed` towards `subseed`."
    )
    seed_resize_from_h: Int = Field(
        default=-1, ge=-1, le=MAX_SIDE, description="Height whose noise to reuse; -1 for none."
    )
    seed_resize_from_w: Int = Field(
        default=-1, ge=-1, le=MAX_SIDE, description="Width whose noise to reuse; -1 for none."
    )
    sampler_name: Name | None = Field(
        default=None,
        description="A sampler of `GET /sdapi/v1/samplers`; 'DPM++ 2M Karras' also names the "
        "schedule.",
        examples=["Euler a", "DPM++ 2M"],
    )
    sampler_index: Name = Field(
        default="Euler", description="Older name of `sampler_name`, used when that is empty."
    )
    scheduler: Name | None = Field(
        default=None,
        description="A noise schedule of `GET /sdapi/v1/schedulers`, by name or label.",
        examples=["Karras"],
    )
    batch_size: Int = Field(default=1, ge=1, le=8, description="Pictures drawn at the same time.")
    n_iter: Int = Field(
        default=1, ge=1, le=MAX_IMAGES, description="Batches drawn one after the other."
    )
    steps: Int = Field(default=50, ge=1, le=150, description="Sampling steps.", examples=[20])
    cfg_scale: float = Field(
        default=7.0, ge=0, le=100, description="How closely to follow the prompt.", examples=[7.0]
    )
    width: Side = Field(
        default=512, description="Pixels; hosts round down to a multiple of 8.", examples=[512]
    )
    height: Side = Field(
        default=512, description="Pixels; hosts round down to a multiple of 8.", examples=[512]
    )
    restore_faces: bool | None = Field(default=None, description="Repair faces afterwards.")
    tiling: bool | None = Field(default=None, description="Draw a picture that can be tiled.")
    do_not_save_samples: bool = Field(
        default=False, description="Accepted; hosts never save on their own disk."
    )
    do_not_save_grid: bool = Field(
        default=False, description="Accepted; hosts never save on their own disk."
    )
    eta: float | None = Field(default=None, description="Noise multiplier of the sampler.")
    denoising_strength: float | None = Field(
        default=None, ge=0, le=1, description="How much the second pass changes (`enable_hr`)."
    )
    s_min_uncond: float | None = Field(default=None, description="Skips guidance below it.")
    s_churn: float | None = Field(default=None, description="Sampler: churn.")
    s_tmax: float | None = Field(default=None, description="Sampler: highest sigma to churn.")
    s_tmin: float | None = Field(default=None, description="Sampler: lowest sigma to churn.")
    s_noise: float | None = Field(default=None, description="Sampler: noise of the churn.")
    override_settings: dict[str, Any] | None = Field(
        default=None,
        description="Options for this request alone. `sd_model_checkpoint` chooses the "
        "checkpoint: its title, model name, file name or hash.",
        examples=[{"sd_model_checkpoint": "v1-5-pruned.safetensors"}],
    )
    override_settings_restore_afterwards: bool = Field(
        default=True, description="Accepted; no option outlasts its request here."
    )
    refiner_checkpoint: Name | None = Field(
        default=None, description="Checkpoint that takes over at `refiner_switch_at`."
    )
    refiner_switch_at: float | None = Field(
        default=None, ge=0, le=1, description="Share of the steps after which it takes over."
    )
    disable_extra_networks: bool = Field(
        default=False, description="Ignore `<lora:...>` and the like in the prompt."
    )
    firstpass_image: ImageText | None = Field(
        default=None, description="Picture to use as the first pass (`enable_hr`)."
    )
    comments: dict[str, Any] | None = Field(
        default=None, description="Notes for the picture's info text."
    )
    script_name: Name | None = Field(
        default=None, description="A script that the operator allows, run around the drawing."
    )
    script_args: list[Any] = Field(
        default_factory=list, max_length=200, description="The script's arguments, in its order."
    )
    alwayson_scripts: dict[str, Any] = Field(
        default_factory=dict,
        description="Scripts that take part in the drawing, by title: "
        '`{"controlnet": {"args": [unit, ...]}}` and those that the operator allows.',
    )
    send_images: bool = Field(
        default=True, description="Whether the answer holds the pictures themselves."
    )
    save_images: bool = Field(
        default=False, description="Accepted; hosts never save on their own disk."
    )
    force_task_id: Name | None = Field(
        default=None, description="Accepted; a job has an id of its own."
    )
    output_format: OutputFormat | None = Field(
        default=None,
        description="The format of the picture files: `png`, `jpeg` or `webp`. "
        "`override_settings.samples_format` means the same.",
        examples=["webp"],
    )
    output_compression: Int = Field(
        default=100, ge=0, le=100, description="Quality of JPEG and WebP files, 100 is the best."
    )
    infotext: Text | None = Field(
        default=None,
        description="The text of an earlier picture: its settings, where the request sets none.",
    )
    distilled_cfg_scale: float | None = Field(
        default=None, ge=0, le=100, description="Forge: guidance of distilled models (Flux)."
    )

    _ignored: tuple[str, ...] = PrivateAttr(default=())

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Read a request as the web UI reads it."""
        if not isinstance(value, Mapping):
            return handler(value)
        fields, ignored = understood(value, cls.model_fields)
        off = cls._switched_off(fields)
        request = handler({name: item for name, item in fields.items() if name not in off})
        request._ignored = tuple(ignored)
        return request

    @classmethod
    def _switched_off(cls, fields: Mapping[str, Any]) -> set[str]:
        """The fields that nobody reads, since what they belong to is switched off."""
        off: set[str] = set()
        if not fields.get("refiner_checkpoint"):
            off.add("refiner_switch_at")
        if str(fields.get("script_name") or "none").lower() == "none":
            off.add("script_args")
        return off

    @property
    def ignored(self) -> tuple[str, ...]:
        """What the caller sent and nobody heeds: unknown fields, arguments of built-in scripts."""
        return self._ignored

    def ignoring(self, names: Collection[str]) -> Self:
        """The same request, with the names of what its caller sent beside it."""
        request = self.model_copy()
        request._ignored = tuple(names)
        return request

    @model_validator(mode="after")
    def _within_limits(self) -> Self:
        check_json([self.alwayson_scripts, self.script_args, self.override_settings, self.comments])
        if self.count > MAX_IMAGES:
            raise _refused(f"batch_size times n_iter must be at most {MAX_IMAGES}")
        for title, script in self.alwayson_scripts.items():
            if not isinstance(script, dict) or not isinstance(script.get("args", []), list):
                raise _refused(f"alwayson_scripts.{title} must be an object with a list of args")
        if not all(isinstance(unit, dict) for unit in self.controlnet_units):
            raise _refused("the args of ControlNet must be objects")
        return self

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> Self:
        """A request from loose fields. Raises InvalidRequest, naming the first wrong field."""
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            problems = [
                {"loc": list(problem["loc"]), "msg": problem["msg"], "type": problem["type"]}
                for problem in error.errors(include_url=False, include_input=False)
            ]
            where = ".".join(map(str, problems[0]["loc"]))
            raise InvalidRequest(
                f"{where}: {problems[0]['msg']}" if where else str(problems[0]["msg"]),
                param=where or None,
                details={"errors": problems},
            ) from None

    @property
    def count(self) -> int:
        """How many pictures are asked for."""
        return self.batch_size * self.n_iter

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of what is drawn first, before the host's rounding."""
        return self.width, self.height

    @property
    def work(self) -> float:
        """How much there is to do, in pixel-steps: what a host's speed is measured in."""
        width, height = self.size
        return float(width * height * self.steps * self.count)

    @property
    def pixels_at_a_time(self) -> int:
        """What the host's memory must hold at once."""
        width, height = self.size
        return width * height * self.batch_size

    @property
    def sampler(self) -> str | None:
        """The sampler that is asked for, if any is."""
        if self.sampler_name:
            return self.sampler_name
        return self.sampler_index if "sampler_index" in self.model_fields_set else None

    @property
    def scripted(self) -> bool:
        """Whether a selectable script draws: what it likes, in any number and size."""
        return (self.script_name or "none").lower() != "none"

    @property
    def file_format(self) -> FileFormat | None:
        """The format that the files are to have; None for the one that the host draws."""
        named = (self.override_settings or {}).get("samples_format")
        return self.output_format or (_FORMATS.get(str(named).lower()) if named else None)

    @property
    def checkpoint(self) -> str | None:
        """The checkpoint that is asked for, as the caller wrote it."""
        name = (self.override_settings or {}).get(CHECKPOINT)
        return str(name) if name else None

    @property
    def overrides(self) -> dict[str, Any]:
        """The options for this request alone that a host is to set, besides the checkpoint."""
        left_out = {*FORMAT_OPTIONS, CHECKPOINT}
        named = self.override_settings or {}
        return {name: value for name, value in named.items() if name not in left_out}

    def with_checkpoint(self, name: str) -> Self:
        """The same request for a certain checkpoint (best given as ``Model.alias``)."""
        return self.model_copy(
            update={"override_settings": {**(self.override_settings or {}), CHECKPOINT: name}}
        )

    @property
    def controlnet_units(self) -> list[dict[str, Any]]:
        """The ControlNet units, disabled ones included."""
        for title, script in self.alwayson_scripts.items():
            if title.lower() == "controlnet":
                units: list[dict[str, Any]] = script.get("args", [])
                return units
        return []

    def sent(self) -> dict[str, Any]:
        """The JSON to send to a host: the body without what is done here.

        A checkpoint stays chosen on the host, which spares it the way back to another one before
        the next request. With any other option beside it everything is put back, so that nobody's
        CLIP skip or VAE gets into the next caller's pictures.
        """
        fields = self.body()
        for name in ("output_format", "output_compression", "instruct"):
            fields.pop(name, None)
        named = fields.pop("override_settings", None) or {}
        options = {name: value for name, value in named.items() if name not in FORMAT_OPTIONS}
        if options:
            fields["override_settings"] = options
            fields["override_settings_restore_afterwards"] = set(options) != {CHECKPOINT}
        return fields

    def body(self) -> dict[str, Any]:
        """What the caller set, and nothing that is ours to decide: what is kept of a request."""
        fields = self.model_dump(exclude_unset=True, exclude=set(NEVER_SENT))
        fields = {name: value for name, value in fields.items() if value is not None}
        if fields.get("enable_hr"):
            # The web UI documents this default, and fails without it.
            fields.setdefault("denoising_strength", 0.75)
        return fields

    def echo(self) -> dict[str, Any]:
        """Every field with its value or default: ``parameters`` in the web UI's answers."""
        return self.model_dump(exclude=_NOT_THE_WEB_UIS - self.model_fields_set)


class Text2ImageRequest(DrawRequest):
    """A picture from words."""

    enable_hr: bool = Field(
        default=False, description="Draw small, then enlarge and draw over it (hires fix)."
    )
    firstphase_width: TargetSide = Field(default=0, description="Older form of hires fix.")
    firstphase_height: TargetSide = Field(default=0, description="Older form of hires fix.")
    hr_scale: float = Field(default=2.0, ge=1, le=8, description="By how much to enlarge.")
    hr_upscaler: Name | None = Field(
        default=None, description="An upscaler of the host; null is its latent upscaler."
    )
    hr_second_pass_steps: Int = Field(
        default=0, ge=0, le=150, description="Steps of the second pass; 0 for as many as `steps`."
    )
    hr_resize_x: TargetSide = Field(default=0, description="Final width, instead of `hr_scale`.")
    hr_resize_y: TargetSide = Field(default=0, description="Final height, instead of `hr_scale`.")
    hr_checkpoint_name: Name | None = Field(
        default=None, description="Checkpoint of the second pass."
    )
    hr_sampler_name: Name | None = Field(default=None, description="Sampler of the second pass.")
    hr_scheduler: Name | None = Field(default=None, description="Schedule of the second pass.")
    hr_prompt: Text = Field(default="", description="Prompt of the second pass.")
    hr_negative_prompt: Text = Field(default="", description="Negative prompt of the second pass.")
    hr_additional_modules: list[Name] | None = Field(
        default=None, max_length=8, description="Forge: modules of the second pass."
    )
    hr_cfg: float | None = Field(
        default=None, ge=0, le=100, description="Forge: `cfg_scale` of the second pass."
    )
    hr_distilled_cfg: float | None = Field(
        default=None, ge=0, le=100, description="Forge: `distilled_cfg_scale` of the second pass."
    )

    @classmethod
    def _switched_off(cls, fields: Mapping[str, Any]) -> set[str]:
        off = super()._switched_off(fields)
        if not is_true(fields.get("enable_hr")):
            off |= {name for name in cls.model_fields if name.startswith("hr_")}
            off |= {"denoising_strength", "firstpass_image"}
        return off

    @model_validator(mode="after")
    def _final_size_within_limits(self) -> Self:
        if min(self.size) < SMALLEST:
            raise _refused("firstphase_width and firstphase_height must be given together")
        width, height = self.final_size
        if max(width, height) > MAX_SIDE:
            raise _refused(f"the enlarged picture must be at most {MAX_SIDE} pixels a side")
        return self

    @property
    def work(self) -> float:
        """As for every request, with the second pass."""
        if not self.enable_hr:
            return super().work
        width, height = self.final_size
        steps = self.hr_second_pass_steps or self.steps
        return super().work + float(width * height * steps * self.count)

    @property
    def size(self) -> tuple[int, int]:
        """The size of the first pass, if one is named, goes before the other, hires or not."""
        if self.firstphase_width or self.firstphase_height:
            return self.firstphase_width, self.firstphase_height
        return super().size

    @property
    def pixels_at_a_time(self) -> int:
        """As for every request, of the larger pass."""
        width, height = self.final_size
        return max(super().pixels_at_a_time, width * height * self.batch_size)

    def body(self) -> dict[str, Any]:
        """As for every request, with the first pass in the fields that all hosts know."""
        fields = super().body()
        if self.size != (self.width, self.height):
            fields["width"], fields["height"] = self.size
        return {name: v for name, v in fields.items() if not name.startswith("firstphase_")}

    @property
    def final_size(self) -> tuple[int, int]:
        """Width and height after the second pass, before the host's rounding."""
        width, height = self.size
        if not self.enable_hr:
            return width, height
        if self.hr_resize_x and self.hr_resize_y:
            return self.hr_resize_x, self.hr_resize_y
        if self.hr_resize_x:
            return self.hr_resize_x, self.hr_resize_x * height // width
        if self.hr_resize_y:
            return self.hr_resize_y * width // height, self.hr_resize_y
        return int(width * self.hr_scale), int(height * self.hr_scale)


class Image2ImageRequest(DrawRequest):
    """A picture from a picture and words."""

    init_images: list[ImageText] = Field(
        min_length=1,
        max_length=8,
        description="The picture to start from, as base64, data URI or https URL; with several, "
        "each is one picture of the batch.",
    )
    resize_mode: Int = Field(
        default=0,
        ge=0,
        le=3,
        description="How to fit it to the size: 0 stretch, 1 crop, 2 fill, 3 stretch in latents.",
    )
    denoising_strength: float | None = Field(
        default=0.75, ge=0, le=1, description="0 keeps the picture, 1 ignores it."
    )
    image_cfg_scale: float | None = Field(
        default=None, description="How closely to follow the picture (instruct models)."
    )
    mask: ImageText | None = Field(
        default=None, description="Picture as base64 or URL; what is white is drawn anew."
    )
    mask_blur_x: Int = Field(default=4, ge=0, le=512, description="Pixels.")
    mask_blur_y: Int = Field(default=4, ge=0, le=512, description="Pixels.")
    mask_blur: Annotated[int | None, Field(ge=0, le=512), BeforeValidator(whole)] = Field(
        default=None, description="Sets both."
    )
    mask_round: bool = Field(default=True, description="Make the mask either black or white.")
    inpainting_fill: Int = Field(
        default=0,
        ge=0,
        le=3,
        description="What to begin with under the mask: 0 its surroundings, 1 the picture, "
        "2 latent noise, 3 nothing.",
    )
    inpaint_full_res: bool = Field(
        default=True, description="Draw only the masked part, at full size."
    )
    inpaint_full_res_padding: Int = Field(default=0, ge=0, le=512, description="Pixels around it.")
    inpainting_mask_invert: Int = Field(
        default=0, ge=0, le=1, description="1 draws what is black anew."
    )
    initial_noise_multiplier: float | None = Field(default=None, description="Noise to add.")
    latent_mask: ImageText | None = Field(default=None, description="Mask for the latents alone.")
    include_init_images: bool = Field(
        default=False, description="Whether the answer repeats the input."
    )
    extra_images: list[ImageText] | None = Field(
        default=None,
        max_length=15,
        description="Further pictures that the prompt refers to, for checkpoints that take them "
        "(Qwen-Image-Edit, Kontext).",
    )
    instruct: bool = Field(
        default=False,
        description="Whether the prompt says what to change, and not what to see then: for "
        "checkpoints that take instructions.",
    )

    @classmethod
    def _switched_off(cls, fields: Mapping[str, Any]) -> set[str]:
        off = super()._switched_off(fields)
        if not fields.get("mask"):
            off |= {name for name in cls.model_fields if name.startswith(("mask_", "inpaint"))}
        return off

    @model_validator(mode="after")
    def _not_more_images_than_the_batch(self) -> Self:
        if len(self.init_images) > self.batch_size:
            raise _refused("init_images must not hold more pictures than batch_size")
        return self

    @property
    def count(self) -> int:
        """How many pictures are asked for: one of each input picture, if there are several."""
        batch = len(self.init_images) if len(self.init_images) > 1 else self.batch_size
        return batch * self.n_iter

    def echo(self) -> dict[str, Any]:
        fields = super().echo()
        if not self.include_init_images:
            fields["init_images"] = fields["mask"] = None
            if "extra_images" in fields:
                fields["extra_images"] = None
        return fields


Request = TypeVar("Request", bound=DrawRequest)


def effective(request: Request) -> Request:
    """The request with its random choices made, so that drawing it again gives the same picture."""
    chosen: dict[str, int] = {}
    if request.seed == -1:
        chosen["seed"] = secrets.randbelow(_SEEDS)
    if request.subseed == -1 and request.subseed_strength:
        chosen["subseed"] = secrets.randbelow(_SEEDS)
    return request.model_copy(update=chosen) if chosen else request


_SEEDS = 4294967294
"""The web UI chooses seeds below this."""
