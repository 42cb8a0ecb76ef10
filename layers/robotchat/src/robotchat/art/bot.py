"""Drawing on one SD host: ``ArtBot`` and what it needs from a driver.

    bot = ArtBot(WebUI("http://127.0.0.1:7861"))
    drawing = bot.text2image(prompt="a beach", steps=20)
    Path("beach.png").write_bytes(drawing.pictures[0].data)

One call of ``text2image`` is: choose the seed, resolve the names against the host's lists, send,
take the answer apart, check that it is what was asked. The parts are in ``requests`` (what to
draw), ``checks`` and ``matching`` (before), ``results`` (after) and ``answers``
(what hosts say of themselves).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field

from robotchat.art.answers import (
    ControlNetModules,
    ControlNetSettings,
    ControlType,
    Detection,
    DetectRequest,
    Embeddings,
    Lora,
    Model,
    PngInfo,
    Progress,
    PromptStyle,
    Sampler,
    Scheduler,
    ScriptInfo,
    Scripts,
    Upscaler,
    Vae,
    read,
)
from robotchat.art.checks import ALLOWED_OPTIONS, check
from robotchat.art.driver import ArtDriver
from robotchat.art.matching import find_checkpoint
from robotchat.art.requests import (
    CHECKPOINT,
    DrawRequest,
    Image2ImageRequest,
    Text2ImageRequest,
    effective,
    prepare_images,
)
from robotchat.art.results import Drawing, read_drawing, verify
from robotchat.errors import NotSupported, UnknownCheckpoint, UpstreamGarbage, WrongResult
from robotchat.images import MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS

LISTS_TTL = 60.0
"""Seconds for which a host's own lists are believed without asking again."""


class ArtConfig(BaseModel):
    """The basic configuration of an ``ArtBot``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoint: str | None = Field(
        default=None, description="Drawn with when a request names none; null: the host's own."
    )
    allowed_options: frozenset[str] = Field(
        default=ALLOWED_OPTIONS, description="Options that a request may override."
    )
    allowed_scripts: frozenset[str] = Field(
        default=frozenset(), description="Titles of scripts that a request may run."
    )
    timeout: float = Field(default=840.0, gt=0, description="Seconds that one drawing may take.")
    max_image_bytes: int = Field(default=MAX_IMAGE_BYTES, gt=0, description="Of an input image.")
    max_image_pixels: int = Field(default=MAX_IMAGE_PIXELS, gt=0, description="Of an input image.")


D = TypeVar("D", bound=DrawRequest)


class ArtBot:
    """Draws on one SD host, and asks it about itself.

    Keep it as long as the host: it remembers the host's lists for a minute. It may be used from
    several threads at once.
    """

    def __init__(self, driver: ArtDriver, config: ArtConfig | None = None) -> None:
        self.driver = driver
        self._config = config or ArtConfig()
        self._lists: dict[str, tuple[float, Any]] = {}
        self._lock = threading.Lock()
        self.home: str | None = None
        """The checkpoint to draw with when neither request nor configuration names one; None:
        whatever the host has loaded. For programs that share the host with others."""

    def get_config(self) -> ArtConfig:
        """The basic configuration."""
        return self._config

    def set_config(self, config: ArtConfig | Mapping[str, Any]) -> None:
        """Replace the basic configuration."""
        self._config = ArtConfig.model_validate(config)

    # --- drawing ----------------------------------------------------------------------------------

    def text2image(
        self,
        request: Text2ImageRequest | None = None,
        *,
        timeout: float | None = None,
        task_id: str | None = None,
        interrupted: Callable[[], bool] = lambda: False,
        **fields: Any,
    ) -> Drawing:
        """A picture from words: a request, or its fields.

        ``interrupted`` is asked at the end: whether the host was told to stop early, so that
        fewer pictures than were asked for are no error. Raises InvalidRequest and its kin for
        what the caller must change; UpstreamError and its kin for what the host did, WrongResult
        among them when it drew something else.
        """
        request = _request(Text2ImageRequest, request, fields)
        return self._draw(self.driver.txt2img, request, timeout, task_id, interrupted)

    def image2image(
        self,
        request: Image2ImageRequest | None = None,
        *,
        timeout: float | None = None,
        task_id: str | None = None,
        interrupted: Callable[[], bool] = lambda: False,
        **fields: Any,
    ) -> Drawing:
        """A picture from a picture (``init_images``: bytes or base64) and words.

        Raises as ``text2image`` does, and InvalidImage and ImageTooLarge.
        """
        request = _request(Image2ImageRequest, request, fields)
        return self._draw(self.driver.img2img, request, timeout, task_id, interrupted)

    def _draw(
        self,
        send: Callable[..., dict[str, Any]],
        request: DrawRequest,
        timeout: float | None,
        task_id: str | None,
        interrupted: Callable[[], bool],
    ) -> Drawing:
        config = self._config
        request = prepare_images(
            effective(request),
            max_bytes=config.max_image_bytes,
            max_pixels=config.max_image_pixels,
        )
        request = self.check(request)
        model = self._model(request.checkpoint) if request.checkpoint else None
        samplers = self._samplers(request)
        capabilities = self.driver.capabilities()
        answer = send(request.body(task_id=task_id), timeout=timeout or config.timeout)
        partial = interrupted()
        return verify(
            request,
            read_drawing(request, answer, partial=partial),
            checkpoint=model,
            samplers=samplers,
            rounds_up_to=capabilities.rounds_up_to,
            partial=partial,
        )

    def check(self, request: D) -> D:
        """The request with this host's own names in it, before anything is asked of the GPU.

        If it named no checkpoint, it names the configured one, or the host's home. Raises
        UnknownCheckpoint, UnknownSampler, UnknownScript, ForbiddenOption and InvalidRequest;
        NotSupported for what this host would ignore; other UpstreamErrors when it does not tell
        what it has.
        """
        wanted = self._config.checkpoint or self.home
        if request.checkpoint is None and wanted is not None:
            request = request.with_checkpoint(wanted)
        self._check_support(request)
        model = self._model(request.checkpoint) if request.checkpoint else None
        return check(
            request if model is None else request.with_checkpoint(model.alias),
            samplers=self._samplers(request),
            schedulers=self._schedulers(request),
            models=self._other_models(request),
            upscalers=self._upscalers(request),
            vaes=self._vaes(request),
            styles=self._styles(request),
            scripts=self._scripts(request),
            controlnet_models=self._controlnet(request, "models"),
            controlnet_modules=self._controlnet(request, "modules"),
            allowed_options=self._config.allowed_options,
            allowed_scripts=self._config.allowed_scripts,
        )

    def _model(self, wanted: str) -> Model:
        """The model that is meant; a new one may have come since the list was read."""
        try:
            return find_checkpoint(self._listed("models", self.get_models), wanted)
        except UnknownCheckpoint:
            return find_checkpoint(self.get_models(), wanted)

    def known_models(self) -> Sequence[Model] | None:
        """The checkpoints as the host last listed them, however long ago; None if it never did."""
        with self._lock:
            models: Sequence[Model] | None = self._lists.get("models", (0.0, None))[1]
        return models

    def _check_support(self, request: DrawRequest) -> None:
        """Refuse what this host would ignore. Raises NotSupported."""
        capabilities = self.driver.capabilities()
        units = any(unit.get("enabled") for unit in request.controlnet_units)
        if units and not capabilities.controlnet:
            raise NotSupported("No SD host has ControlNet.", param="alwayson_scripts.controlnet")
        if set(request.override_settings or ()) - {CHECKPOINT} and not capabilities.options:
            raise NotSupported("No SD host takes options.", param="override_settings")
        for name in capabilities.ignores & request.model_fields_set:
            value = getattr(request, name)
            if name == "alwayson_scripts":
                value = any(title.lower() != "controlnet" for title in value)
            if value and str(value).lower() != "none":
                raise NotSupported(f"No SD host supports {name}.", param=name)

    def _other_models(self, request: DrawRequest) -> list[Model] | None:
        """The host's checkpoints, if the request names more than the one to draw with."""
        named = request.refiner_checkpoint or getattr(request, "hr_checkpoint_name", None)
        return self._listed("models", self.get_models) if named else None

    def _upscalers(self, request: DrawRequest) -> list[Upscaler] | None:
        """The host's upscalers, if the request enlarges by one of them."""
        if not getattr(request, "hr_upscaler", None):
            return None
        return self._listed("upscalers", self.get_upscalers)

    def _vaes(self, request: DrawRequest) -> list[str] | None:
        """The host's VAEs, if the request names one and the host lists them."""
        if not (request.override_settings or {}).get("sd_vae"):
            return None
        try:
            return self._listed("vaes", lambda: [vae.model_name for vae in self.get_vaes()])
        except NotSupported:
            return None

    def _styles(self, request: DrawRequest) -> list[str] | None:
        """The names of the host's prompt styles, if the request names some."""
        if not any(request.styles or ()):
            return None
        try:
            return self._listed(
                "styles", lambda: [style.name for style in self.get_prompt_styles()]
            )
        except NotSupported:
            return None

    def _scripts(self, request: DrawRequest) -> Scripts | None:
        """The host's scripts, if the request names some besides ControlNet."""
        others = any(title.lower() != "controlnet" for title in request.alwayson_scripts)
        if not others and (request.script_name or "none").lower() == "none":
            return None

        def fetch() -> list[Scripts]:
            try:
                return [self.get_scripts()]
            except NotSupported:
                return []

        return next(iter(self._listed("scripts", fetch)), None)

    def _samplers(self, request: DrawRequest) -> list[Sampler] | None:
        """The host's samplers, if the request names one."""
        if not request.sampler and not getattr(request, "hr_sampler_name", None):
            return None
        return self._listed("samplers", self.get_samplers)

    def _schedulers(self, request: DrawRequest) -> list[Scheduler] | None:
        """The host's schedules, if the request may name one; older hosts have no list."""
        if not request.sampler and not request.scheduler:
            return None

        def fetch() -> list[Scheduler]:
            try:
                return self.get_schedulers()
            except NotSupported:
                return []

        return self._listed("schedulers", fetch)

    def _controlnet(self, request: DrawRequest, what: Literal["models", "modules"]) -> Any:
        """ControlNet's list, if the request uses it. Modules go by their names and aliases."""
        if not any(unit.get("enabled") for unit in request.controlnet_units):
            return None
        if what == "models":
            return self._listed("controlnet models", self.get_controlnet_models)

        def fetch() -> list[str]:
            names = self.get_controlnet_modules().module_list
            return [*names, *self.get_controlnet_modules(alias_names=True).module_list]

        return self._listed("controlnet modules", fetch)

    def _listed(self, name: str, fetch: Callable[[], list[Any]]) -> list[Any]:
        with self._lock:
            until, value = self._lists.get(name, (0.0, None))
        if time.monotonic() < until:
            return cast(list[Any], value)
        value = fetch()
        self._remember(name, value)
        return value

    def _remember(self, name: str, value: Sequence[Any]) -> None:
        with self._lock:
            self._lists[name] = (time.monotonic() + LISTS_TTL, value)

    # --- what the host has ------------------------------------------------------------------------

    def get_models(self) -> list[Model]:
        """The checkpoints that the host can draw with."""
        models = read(list[Model], self.driver.get("sdapi/v1/sd-models"))
        self._remember("models", models)
        return models

    def refresh_models(self) -> None:
        """Have the host look for new checkpoints; waits for what it draws. Raises NotSupported."""
        self.driver.post("sdapi/v1/refresh-checkpoints", timeout=self._config.timeout)

    def get_samplers(self) -> list[Sampler]:
        """The samplers, by name and alias."""
        return read(list[Sampler], self.driver.get("sdapi/v1/samplers"))

    def get_schedulers(self) -> list[Scheduler]:
        """The noise schedules. Raises NotSupported with older hosts."""
        return read(list[Scheduler], self.driver.get("sdapi/v1/schedulers"))

    def get_upscalers(self) -> list[Upscaler]:
        """The upscalers, without the latent ones."""
        return read(list[Upscaler], self.driver.get("sdapi/v1/upscalers"))

    def get_named(self, path: str) -> list[dict[str, Any]]:
        """Another list of objects with a ``name``: ``hypernetworks``, ``face-restorers`` ..."""
        found = read(list[dict[str, Any]], self.driver.get(f"sdapi/v1/{path}"))
        if not all(isinstance(item.get("name"), str) for item in found):
            raise UpstreamGarbage("The SD host's list holds something without a name.")
        return found

    def get_loras(self) -> list[Lora]:
        """The LoRAs that a prompt may name."""
        return read(list[Lora], self.driver.get("sdapi/v1/loras"))

    def refresh_loras(self) -> None:
        """Have the host look for new LoRAs. Raises NotSupported."""
        self.driver.post("sdapi/v1/refresh-loras")

    def get_vaes(self) -> list[Vae]:
        """The VAEs that ``override_settings.sd_vae`` may name."""
        return read(list[Vae], self.driver.get("sdapi/v1/sd-vae"))

    def get_embeddings(self) -> Embeddings:
        """The learnt words that a prompt may use."""
        return read(Embeddings, self.driver.get("sdapi/v1/embeddings"))

    def get_prompt_styles(self) -> list[PromptStyle]:
        """The texts that ``styles`` may name."""
        return read(list[PromptStyle], self.driver.get("sdapi/v1/prompt-styles"))

    def get_scripts(self) -> Scripts:
        """The names of the scripts, for both ways of drawing."""
        return read(Scripts, self.driver.get("sdapi/v1/scripts"))

    def get_script_info(self) -> list[ScriptInfo]:
        """The scripts with their arguments."""
        return read(list[ScriptInfo], self.driver.get("sdapi/v1/script-info"))

    def get_cmd_flags(self) -> dict[str, Any]:
        """The host's command-line flags; secrets of the host may be among them."""
        return read(dict[str, Any], self.driver.get("sdapi/v1/cmd-flags"))

    def get_memory(self) -> dict[str, Any]:
        """Use of the host's memory and of its GPU's, in bytes."""
        return read(dict[str, Any], self.driver.get("sdapi/v1/memory"))

    # --- what the host does -----------------------------------------------------------------------

    def progress(self, *, preview: bool = False) -> Progress | None:
        """How far the host has got with what it draws, or None when it does not tell.

        A preview costs the host time.
        """
        return self.driver.progress(skip_current_image=not preview)

    def interrupt(self) -> None:
        """End what the host draws now, whoever asked for it. Raises NotSupported."""
        self.driver.interrupt()

    def skip(self) -> None:
        """End the batch that the host draws now, whoever asked for it. Raises NotSupported."""
        self.driver.skip()

    def get_options(self) -> dict[str, Any]:
        """The host's settings."""
        return read(dict[str, Any], self.driver.get("sdapi/v1/options"))

    def set_options(self, options: Mapping[str, Any]) -> None:
        """Change the host's settings for everybody who draws on it.

        A new checkpoint is loaded at once, which takes its time. Raises NotSupported,
        UnknownCheckpoint, UpstreamRejected for an unknown option, and WrongResult when the host
        could not load the checkpoint (it says "done" then, and keeps the old one).
        """
        options = dict(options)
        model = None
        if options.get(CHECKPOINT):
            model = find_checkpoint(self.get_models(), str(options[CHECKPOINT]), param=CHECKPOINT)
            options[CHECKPOINT] = model.alias
        self.driver.post("sdapi/v1/options", options, timeout=self._config.timeout)
        if model is not None:
            now = str(self.get_options().get(CHECKPOINT) or "")
            try:
                loaded = find_checkpoint(self.get_models(), now)
            except UnknownCheckpoint as error:
                raise UpstreamGarbage("The SD host names a checkpoint it does not list.") from error
            if loaded.alias != model.alias:
                raise WrongResult("The SD host could not load the checkpoint.")

    def png_info(self, image: str) -> PngInfo:
        """What the host reads out of a picture (base64) that was drawn by the web UI."""
        return read(PngInfo, self.driver.post("sdapi/v1/png-info", {"image": image}))

    def upscale(self, fields: Mapping[str, Any], *, timeout: float | None = None) -> dict[str, Any]:
        """Enlarge one picture: the fields and answer of ``extra-single-image``."""
        timeout = timeout or self._config.timeout
        answer = self.driver.post("sdapi/v1/extra-single-image", fields, timeout=timeout)
        return read(dict[str, Any], answer)

    def upscale_batch(
        self, fields: Mapping[str, Any], *, timeout: float | None = None
    ) -> dict[str, Any]:
        """Enlarge several pictures: the fields and answer of ``extra-batch-images``."""
        timeout = timeout or self._config.timeout
        answer = self.driver.post("sdapi/v1/extra-batch-images", fields, timeout=timeout)
        return read(dict[str, Any], answer)

    def interrogate(self, image: str, *, model: str = "clip", timeout: float | None = None) -> str:
        """Words for a picture (base64), by ``clip`` or ``deepdanbooru``."""
        body = {"image": image, "model": model}
        timeout = timeout or self._config.timeout
        answer = self.driver.post("sdapi/v1/interrogate", body, timeout=timeout)
        return str(read(dict[str, Any], answer).get("caption", ""))

    # --- ControlNet -------------------------------------------------------------------------------

    def get_controlnet_models(self, *, update: bool = False) -> list[str]:
        """ControlNet's models; ``update`` has the host look for new ones. Raises NotSupported."""
        query = {"update": "true"} if update else {}
        answer = self.driver.get("controlnet/model_list", **query)
        return read(dict[str, list[str]], answer).get("model_list", [])

    def get_controlnet_modules(self, *, alias_names: bool = False) -> ControlNetModules:
        """ControlNet's preprocessors. Raises NotSupported."""
        query = {"alias_names": "true"} if alias_names else {}
        return read(ControlNetModules, self.driver.get("controlnet/module_list", **query))

    def get_controlnet_control_types(self) -> dict[str, ControlType]:
        """Which preprocessors and models go together, by kind. Raises NotSupported."""
        answer = read(dict[str, Any], self.driver.get("controlnet/control_types"))
        return read(dict[str, ControlType], answer.get("control_types"))

    def get_controlnet_version(self) -> int:
        """The version of ControlNet's API. Raises NotSupported."""
        return read(dict[str, int], self.driver.get("controlnet/version")).get("version", 0)

    def get_controlnet_settings(self) -> ControlNetSettings:
        """How many units a request may have. Raises NotSupported."""
        return read(ControlNetSettings, self.driver.get("controlnet/settings"))

    def detect_controlnet(
        self, request: DetectRequest | None = None, *, timeout: float | None = None, **fields: Any
    ) -> Detection:
        """Run a preprocessor on pictures. Raises NotSupported and UpstreamRejected."""
        request = request or DetectRequest.model_validate(fields)
        timeout = timeout or self._config.timeout
        body = request.model_dump(exclude_unset=True)
        return read(Detection, self.driver.post("controlnet/detect", body, timeout=timeout))


def _request(kind: type[D], request: D | None, fields: Mapping[str, Any]) -> D:
    if request is None:
        return kind.parse(fields)
    if fields:
        raise TypeError("give a request or its fields, not both")
    return request
