"""What an operator says of single checkpoints: how they are drawn with when a request does not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from robotchat.art.answers import Model
from robotchat.art.capabilities import Capabilities
from robotchat.art.matching import find_checkpoint
from robotchat.art.modules import MODULES, MOST, names_something
from robotchat.art.requests import Request
from robotchat.errors import UnknownCheckpoint

Name = Annotated[str, Field(min_length=1, max_length=300)]


class CheckpointConfig(BaseModel):
    """One checkpoint; a field that is null or left out changes nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    name: Name = Field(
        description="Its title, model name, file name or hash.", examples=["flux1-dev"]
    )
    modules: list[Name] | None = Field(
        default=None,
        max_length=MOST,
        description="Forge: the VAE and the text encoders to draw with, as `GET "
        "/sdapi/v1/sd-modules` names them. An empty list: none beside the checkpoint.",
        examples=[["ae.safetensors", "clip_l.safetensors", "t5xxl_fp8_e4m3fn.safetensors"]],
    )
    sampler_name: Name | None = Field(default=None, description="Drawn with when none is named.")
    scheduler: Name | None = Field(default=None, description="The same for the noise schedule.")
    steps: int | None = Field(default=None, ge=1, le=150, description="The same for the steps.")
    cfg_scale: float | None = Field(
        default=None, ge=0, le=100, description="The same for the guidance; 1 for Flux."
    )
    distilled_cfg_scale: float | None = Field(
        default=None, ge=0, le=100, description="The same for that of distilled models."
    )
    instruct: bool = Field(
        default=False,
        description="It takes instructions (Qwen-Image-Edit, Kontext): an edit is sent what the "
        'user says ("make it blue") instead of a prompt that describes the picture.',
    )
    reference_pictures: int = Field(
        default=0,
        ge=0,
        le=15,
        description="How many further pictures such an instruction may refer to.",
    )


def config_of(configs: Iterable[CheckpointConfig], model: Model) -> CheckpointConfig | None:
    """What is said of a checkpoint, if anything is."""
    for config in configs:
        try:
            find_checkpoint([model], config.name)
        except UnknownCheckpoint:
            continue
        return config
    return None


def config_named(configs: Iterable[CheckpointConfig], name: str | None) -> CheckpointConfig | None:
    """What is said of the checkpoint that a request names, if anything is."""
    return config_of(configs, Model(title=name, model_name=name)) if name else None


def filled_in(request: Request, config: CheckpointConfig, capabilities: Capabilities) -> Request:
    """The request with what its checkpoint is drawn with, where it says nothing itself and the
    host can heed it."""
    changes: dict[str, Any] = {}
    for name in ("sampler_name", "scheduler", "steps", "cfg_scale", "distilled_cfg_scale"):
        value = getattr(config, name)
        named = name in request.model_fields_set
        if name in ("sampler_name", "scheduler"):
            named = bool(request.sampler) or bool(request.scheduler)  # the two go together
        if value is not None and not named and name not in capabilities.ignores:
            changes[name] = value
    if config.modules is not None and capabilities.modules and not names_something(request):
        options = {**(request.override_settings or {}), MODULES: config.modules}
        changes["override_settings"] = options
    return request.model_copy(update=changes) if changes else request
