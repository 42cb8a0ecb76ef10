"""What SD hosts answer to questions about themselves: models, samplers, progress and the like.

The shapes are the web UI's; fields that a host adds are kept, fields that it leaves out have
defaults. Anything else is UpstreamGarbage (see ``read``).
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from functools import cache
from typing import Annotated, Any, TypeVar, cast

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
)

from robotchat.art.fields import MAX_SIDE
from robotchat.errors import UpstreamGarbage
from robotchat.text import json_size

MOST_METADATA = 16 * 1024
"""Bytes of a LoRA's metadata, as JSON; what is larger is left out."""


class Answer(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())


class Model(Answer):
    """A checkpoint."""

    title: str = Field(examples=["v1-5-pruned.safetensors [6ce0161689]"])
    model_name: str = Field(default="", examples=["v1-5-pruned"])
    hash: str | None = Field(default=None, description="First ten digits of `sha256`.")
    sha256: str | None = Field(default=None, description="Null until the host has computed it.")
    filename: str = Field(default="", description="Path on the host.")
    config: str | None = None

    @property
    def alias(self) -> str:
        """The name to ask a host for it: its file name below the models folder.

        The title will not do, since it changes once the host has computed the hash.
        """
        return re.sub(r" \[[0-9a-fA-F]+\]$", "", self.title)

    @property
    def short_hash(self) -> str | None:
        """The hash as the web UI prints it into pictures."""
        return self.hash or (self.sha256[:10] if self.sha256 else None)


class Sampler(Answer):
    """A way of taking the noise out, step by step."""

    name: str = Field(examples=["Euler a"])
    aliases: list[str] = []
    options: dict[str, Any] = Field(default={}, description="`scheduler` is its default schedule.")


class Scheduler(Answer):
    """How much noise is left at each step."""

    name: str = Field(examples=["karras"])
    label: str = Field(default="", examples=["Karras"])
    aliases: list[str] | None = None
    default_rho: float = -1.0
    need_inner_model: bool = False


class Upscaler(Answer):
    """A way to enlarge a picture."""

    name: str
    model_name: str | None = None
    model_path: str | None = None
    model_url: str | None = None
    scale: float | None = None


class Lora(Answer):
    """A small addition to a checkpoint, applied by ``<lora:name:weight>`` in the prompt."""

    name: str
    alias: str = ""
    path: str = ""
    metadata: dict[str, Any] = {}

    @field_validator("metadata")
    @classmethod
    def _short(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Trainers write everything there is about their pictures into it: megabytes, at times."""
        return value if json_size(value) <= MOST_METADATA else {}


class Vae(Answer):
    model_name: str
    filename: str = ""


class PromptStyle(Answer):
    """A named text that ``styles`` adds to the prompt."""

    name: str
    prompt: str | None = None
    negative_prompt: str | None = None


class Extension(Answer):
    """Something that is installed beside the web UI."""

    name: str = Field(examples=["sd-webui-controlnet"])
    remote: str = Field(default="", description="Where it comes from.")
    branch: str = ""
    commit_hash: str = ""
    commit_date: int | str | None = Field(default=None, description="Seconds since 1970.")
    version: str = ""
    enabled: bool = True


def _described(names: object) -> object:
    """Embeddings by name; some hosts list the names alone."""
    return {str(name): {} for name in names} if isinstance(names, list) else names


class Embeddings(Answer):
    """Words learnt by textual inversion; ``skipped`` do not fit the loaded checkpoint."""

    loaded: Annotated[dict[str, Any], BeforeValidator(_described)] = {}
    skipped: Annotated[dict[str, Any], BeforeValidator(_described)] = {}


class Scripts(Answer):
    """The names of a host's scripts, in lower case."""

    txt2img: list[str] = []
    img2img: list[str] = []


class ScriptInfo(Answer):
    """A script and its arguments, in their order."""

    name: str
    is_alwayson: bool = False
    is_img2img: bool = False
    args: list[dict[str, Any]] = []


class ProgressState(Answer):
    skipped: bool = False
    interrupted: bool = False
    stopping_generation: bool = False
    job: str = ""
    job_count: int = Field(default=0, description="0 when idle, -1 when a job has just begun.")
    job_timestamp: str = "0"
    job_no: int = 0
    sampling_step: int = 0
    sampling_steps: int = 0


class Progress(Answer):
    """How far a host has got with what it draws now. Done and never begun look the same."""

    progress: float = Field(default=0.0, description="0 to 1.")
    eta_relative: float = Field(default=0.0, description="Seconds to go.")
    state: ProgressState = ProgressState()
    current_image: str | None = Field(default=None, description="A preview, as base64.")
    textinfo: str | None = None

    @property
    def idle(self) -> bool:
        """Whether the host draws nothing now. (A job that has just begun counts as -1.)"""
        return self.state.job_count == 0


class PngInfo(Answer):
    """What a host reads out of a picture it drew once."""

    info: str = ""
    items: dict[str, Any] = {}
    parameters: dict[str, Any] = {}


class ControlType(Answer):
    """The preprocessors and models that go together."""

    module_list: list[str] = []
    model_list: list[str] = []
    default_option: str = "none"
    default_model: str = "None"


class ControlNetModules(Answer):
    """ControlNet's preprocessors."""

    module_list: list[str]
    module_detail: dict[str, Any] = {}


class ControlNetSettings(Answer):
    control_net_unit_count: int = Field(
        default=3,
        validation_alias=AliasChoices("control_net_unit_count", "control_net_max_models_num"),
        description="How many units a request may have.",
    )


class DetectRequest(BaseModel):
    """Pictures to run a ControlNet preprocessor on."""

    model_config = ConfigDict(extra="allow", coerce_numbers_to_str=True)

    controlnet_module: str = Field(default="none", description="The preprocessor.")
    controlnet_input_images: list[str] = Field(
        default=[],
        max_length=8,
        # Some clients write it in the second way, which the extension itself does not know.
        validation_alias=AliasChoices("controlnet_input_images", "controlnet_images"),
        description="Pictures as base64.",
    )
    controlnet_processor_res: int = Field(
        default=-1, ge=-1, le=MAX_SIDE, description="Pixels; -1 for its default."
    )
    controlnet_threshold_a: float = Field(default=-1, description="-1 for its default.")
    controlnet_threshold_b: float = Field(default=-1, description="-1 for its default.")
    controlnet_masks: list[str] = Field(default=[], max_length=8)
    low_vram: bool = False


class Detection(Answer):
    """The maps that a preprocessor made."""

    info: str = ""
    images: list[str] = []
    poses: list[Any] | None = None
    tensor: list[str] | None = None


def read_schedulers(answer: Any) -> list[Scheduler]:
    """The noise schedules that a host lists. SD.Next lists its samplers there once more: a
    schedule is part of them, and the one that can be named is that which each has anyway."""
    if isinstance(answer, list) and any(isinstance(one, dict) and "cls" in one for one in answer):
        return [Scheduler(name="automatic", label="Automatic")]
    return read(list[Scheduler], answer)


T = TypeVar("T")


@cache
def _adapter(shape: Hashable) -> TypeAdapter[Any]:
    # Made on first use: building validators is most of what importing a module of models costs.
    return TypeAdapter(shape)


def read(shape: type[T], answer: Any) -> T:
    """An answer as the given shape. Raises UpstreamGarbage when it is not one."""
    try:
        result: T = _adapter(cast(Hashable, shape)).validate_python(answer)
    except ValidationError as error:
        raise UpstreamGarbage("The SD host's answer does not have the shape it should.") from error
    return result
