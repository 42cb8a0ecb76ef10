"""Drawing on one SD host: ``ArtBot`` and what it needs from a driver.

    bot = ArtBot(WebUI("http://127.0.0.1:7861"))
    drawing = bot.text2image(prompt="a beach", steps=20)
    Path("beach.png").write_bytes(drawing.images[0].data)

One call of ``text2image`` is: choose the seed, resolve the names against the host's lists, send,
take the answer apart, check that it is what was asked. The parts are in ``requests`` (what to
draw), ``checks`` and ``matching`` (before), ``results`` (after) and ``answers``
(what hosts say of themselves).
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field

from robotchat.art.answers import (
    Model,
    Progress,
    Sampler,
    Scheduler,
    Scripts,
    Upscaler,
)
from robotchat.art.baseline import Baseline
from robotchat.art.blame import verdict
from robotchat.art.capabilities import Capabilities
from robotchat.art.checkpoints import CheckpointConfig, config_of, filled_in
from robotchat.art.checks import ALLOWED_OPTIONS, check
from robotchat.art.completing import completed, fell_short
from robotchat.art.driver import ArtDriver
from robotchat.art.input_images import prepare_images
from robotchat.art.matching import find_checkpoint, squash
from robotchat.art.modules import names_something, resolved
from robotchat.art.options import is_default
from robotchat.art.requests import (
    CHECKPOINT,
    DrawRequest,
    Image2ImageRequest,
    Text2ImageRequest,
    effective,
)
from robotchat.art.results import Drawing, verify
from robotchat.art.tools import Tools
from robotchat.errors import (
    InvalidRequest,
    NotSupported,
    UnknownCheckpoint,
    UpstreamError,
    UpstreamRejected,
    UpstreamUnavailable,
)
from robotchat.images import MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS

LISTS_TTL = 60.0
"""Seconds for which what a host told of itself is believed without asking again."""

FRESH = 0.05
"""Seconds for which it is believed even when a request is to be refused for it: so few that a host
that comes back with more is known at once, and enough to spare it the questions of a caller who
sends nothing but mistakes."""


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
    checkpoints: tuple[CheckpointConfig, ...] = Field(
        default=(), description="How single checkpoints are drawn with when a request is silent."
    )
    timeout: float = Field(default=840.0, gt=0, description="Seconds that one drawing may take.")
    max_image_bytes: int = Field(default=MAX_IMAGE_BYTES, gt=0, description="Of an input image.")
    max_image_pixels: int = Field(default=MAX_IMAGE_PIXELS, gt=0, description="Of an input image.")


D = TypeVar("D", bound=DrawRequest)


class ArtBot(Tools):
    """Draws on one SD host, and asks it about itself.

    Keep it as long as the host: it remembers what the host told of itself for a minute, and sees
    to it that no request's options outlast it. It may be used from several threads at once.
    """

    def __init__(self, driver: ArtDriver, config: ArtConfig | None = None) -> None:
        self.driver = driver
        self._config = config or ArtConfig()
        self._lists: dict[str, tuple[float, Any]] = {}
        self._lock = threading.Lock()
        self._stops = 0
        self._drawing: dict[str, str] = {}
        self.baseline = Baseline(driver, lambda: self._config.allowed_options)
        """The host's options as they are when no request overrides them."""
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
        attempt_id: str | None = None,
        interrupted: Callable[[], bool] = lambda: False,
        **fields: Any,
    ) -> Drawing:
        """A picture from words: a request, or its fields.

        ``attempt_id`` is a UUID by which this can be watched and stopped, never used before.
        ``interrupted`` is asked at the end: whether the host was told to stop early, so that
        fewer pictures than were asked for are no error. Raises InvalidRequest and its kin for
        what the caller must change; UpstreamError and its kin for what the host did, WrongResult
        among them when it drew something else.
        """
        request = _request(Text2ImageRequest, request, fields)
        return self._draw(request, timeout, attempt_id, interrupted)

    def image2image(
        self,
        request: Image2ImageRequest | None = None,
        *,
        timeout: float | None = None,
        attempt_id: str | None = None,
        interrupted: Callable[[], bool] = lambda: False,
        **fields: Any,
    ) -> Drawing:
        """A picture from a picture (``init_images``: bytes or base64) and words.

        Raises as ``text2image`` does, and InvalidImage and ImageTooLarge.
        """
        request = _request(Image2ImageRequest, request, fields)
        return self._draw(request, timeout, attempt_id, interrupted)

    def _draw(
        self,
        request: DrawRequest,
        timeout: float | None,
        attempt_id: str | None,
        interrupted: Callable[[], bool],
    ) -> Drawing:
        config = self._config
        request = prepare_images(
            effective(request),
            max_bytes=config.max_image_bytes,
            max_pixels=config.max_image_pixels,
        )
        request = self.check(request)
        stops = self._stops
        told = interrupted
        # Also what was stopped through this object is no batch that fell short.
        interrupted = lambda: told() or self._stops != stops  # noqa: E731

        model = self._model(request.checkpoint) if request.checkpoint else None
        samplers = self._samplers(request)
        capabilities = self._capabilities(model.alias if model else None)
        attempt = attempt_id or str(uuid.uuid4())
        calls = 0

        def drawn(asked: DrawRequest) -> Drawing:
            nonlocal calls
            # What is drawn again, of a batch, is another drawing to the host.
            own = str(uuid.uuid4()) if calls else attempt
            calls += 1
            self._drawing[attempt] = own
            return self._sent(asked, own, timeout or config.timeout, interrupted)

        def checked(asked: DrawRequest, drawing: Drawing) -> Drawing:
            return verify(
                asked,
                drawing,
                checkpoint=model,
                samplers=samplers,
                capabilities=capabilities,
                partial=interrupted(),
            )

        try:
            drawing = drawn(request)
            if fell_short(request, drawing) and not interrupted():
                drawing = completed(request, drawing, lambda one: checked(one, drawn(one)))
        finally:
            self._drawing.pop(attempt, None)
        return checked(request, drawing)

    def _sent(
        self,
        request: DrawRequest,
        attempt_id: str,
        timeout: float,
        interrupted: Callable[[], bool],
    ) -> Drawing:
        """What the host draws, with its options as they were before; its failures judged."""
        overrides = request.overrides

        def once() -> Drawing:
            with self.baseline.kept(overrides) if overrides else nullcontext():
                return self.driver.draw(
                    request, attempt_id=attempt_id, timeout=timeout, interrupted=interrupted
                )

        try:
            try:
                return once()
            except UpstreamUnavailable as error:
                # What somebody else left set on the host is not what this request asked for.
                if "reason" not in error.details or not self._was_mended():
                    raise
            return once()
        except UpstreamError as error:
            self._learn_from(error)
            judged = verdict(error, self.driver, pixels=request.pixels_at_a_time)
            if judged is error:
                raise
            raise judged from error

    def _was_mended(self) -> bool:
        try:
            return self.baseline.mend()
        except UpstreamError:
            return False

    def _learn_from(self, error: UpstreamError) -> None:
        """A host that was away, or refuses what it should take, may be another than before."""
        away = isinstance(error, UpstreamUnavailable) and "reason" not in error.details
        if away:
            self.baseline.forget_safety()
        if away or isinstance(error, UpstreamRejected | NotSupported):
            self._forget()

    @property
    def _patience(self) -> float:
        return self._config.timeout

    def _tool(self, path: str, body: Mapping[str, Any], timeout: float | None) -> Any:
        try:
            return self._webui.post(path, body, timeout=timeout or self._patience)
        except UpstreamError as error:
            self._learn_from(error)
            judged = verdict(error, self.driver)
            if judged is error:
                raise
            raise judged from error

    def check(self, request: D) -> D:
        """The request with this host's own names in it, before anything is asked of the GPU.

        If it named no checkpoint, it names the configured one, or the host's home. Raises
        UnknownCheckpoint, UnknownSampler, UnknownScript, ForbiddenOption and InvalidRequest;
        NotSupported for what this host would ignore; other UpstreamErrors when it does not tell
        what it has.
        """
        try:
            return self._checked(request)
        except (InvalidRequest, NotSupported):
            # A host that was restarted may have by now what it had not.
            if not self._forget(older_than=FRESH):
                raise
        return self._checked(request)

    def _checked(self, request: D) -> D:
        wanted = self._config.checkpoint or self.home
        if request.checkpoint is None and wanted is not None:
            request = request.with_checkpoint(wanted)
        model = self._model(request.checkpoint) if request.checkpoint else None
        capabilities = self._capabilities(model.alias if model else None)
        config = config_of(self._config.checkpoints, model) if model else None
        if config is not None:
            request = filled_in(request, config, capabilities)
        request = self._supported(request, model)
        if capabilities.modules and names_something(request):
            request = resolved(request, self._listed("modules", self.get_modules))
        checked = check(
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
            model_free=self._model_free(request),
            options=self._options(request),
            option_names=self._option_names(request),
            allowed_options=self._config.allowed_options,
            allowed_scripts=self._config.allowed_scripts,
        )
        self._heeded(checked, capabilities)  # a sampler's name may have held a schedule
        return checked

    def _model(self, wanted: str) -> Model:
        """The model that is meant; a new one may have come since the list was read."""
        try:
            return find_checkpoint(self._listed("models", self.get_models), wanted)
        except UnknownCheckpoint:
            try:
                return find_checkpoint(self.get_models(), wanted)
            except UnknownCheckpoint:
                if self._capabilities(None).lists:
                    raise
                return Model(title=wanted, model_name=wanted)

    def get_models(self) -> list[Model]:
        models = super().get_models()
        self._remember("models", models)
        return models

    def known_models(self) -> Sequence[Model] | None:
        """The checkpoints as the host last listed them, however long ago; None if it never did."""
        with self._lock:
            models: Sequence[Model] | None = self._lists.get("models", (0.0, None))[1]
        return models

    def _supported(self, request: D, model: Model | None) -> D:
        """The request, if this host would ignore nothing of it. Raises NotSupported.

        Fields with the values that they have anyway ask for nothing, and neither do options with
        those that every host begins with.
        """
        capabilities = self._capabilities(model.alias if model else None)
        if isinstance(request, Image2ImageRequest):
            if not capabilities.image2image:
                raise NotSupported("No SD host draws from a picture.", param="init_images")
            if request.mask and not capabilities.mask:
                raise NotSupported("No SD host takes a mask.", param="mask")
            if len(request.extra_images or ()) > capabilities.reference_pictures:
                raise NotSupported("No SD host takes so many pictures.", param="extra_images")
        tagged = "<lora:" in request.prompt.lower() and not request.disable_extra_networks
        if tagged and not capabilities.loras:
            raise NotSupported("No SD host has LoRAs.", param="prompt")
        units = any(unit.get("enabled") for unit in request.controlnet_units)
        if units and not capabilities.controlnet:
            raise NotSupported("No SD host has ControlNet.", param="alwayson_scripts.controlnet")
        options = request.override_settings or {}
        if options and not capabilities.options:
            options = {n: v for n, v in options.items() if n == CHECKPOINT or not is_default(n, v)}
            if set(options) - {CHECKPOINT}:
                raise NotSupported("No SD host takes options.", param="override_settings")
            request = request.model_copy(update={"override_settings": options})
        self._heeded(request, capabilities)
        return request

    @staticmethod
    def _heeded(request: DrawRequest, capabilities: Capabilities) -> None:
        """Raises NotSupported for what the host would ignore, or change in silence."""
        for name, (low, high) in capabilities.limits.items():
            number = getattr(request, name, None)
            if number is not None and not low <= number <= high:
                raise NotSupported(f"No SD host takes {number} for {name}.", param=name)
        for name in sorted(capabilities.ignores & request.model_fields_set):
            value = getattr(request, name)
            if name == "alwayson_scripts":
                value = any(title.lower() != "controlnet" for title in value)
            default = type(request).model_fields[name].default
            if value and value != default and str(value).lower() not in ("none", "automatic"):
                raise NotSupported(f"No SD host supports {name}.", param=name)

    def _capabilities(self, checkpoint: str | None) -> Capabilities:
        self._listed("capabilities", lambda: [self.driver.capabilities()])
        return self.driver.capabilities(checkpoint)

    def _options(self, request: DrawRequest) -> dict[str, Any] | None:
        """The host's options, if the request overrides some."""
        if not set(request.override_settings or ()) - {CHECKPOINT}:
            return None

        def fetch() -> list[dict[str, Any] | None]:
            try:
                return [self.get_options()]
            except UpstreamUnavailable as error:
                if "reason" not in error.details:
                    raise
                return [None]  # one has a value that the host cannot show; it is seen to later

        return cast(dict[str, Any] | None, self._listed("options", fetch)[0])

    def _option_names(self, request: DrawRequest) -> dict[str, list[str]]:
        """What options that name a file may name, for those that the request overrides."""
        found = {}
        for option, (others, fetch) in {
            "upscaler_for_img2img": ([], self._upscaler_names),
            "face_restoration_model": ([], lambda: self._names_of("face-restorers")),
            "sd_hypernetwork": (["None"], lambda: self._names_of("hypernetworks")),
        }.items():
            if option in (request.override_settings or ()):
                try:
                    found[option] = [*others, *self._listed(f"names of {option}", fetch)]
                except NotSupported:
                    continue  # a host without the list must know best
        return found

    def _upscaler_names(self) -> list[str]:
        return [upscaler.name for upscaler in self.get_upscalers()]

    def _names_of(self, path: str) -> list[str]:
        return [item["name"] for item in self.get_named(path)]

    def _model_free(self, request: DrawRequest) -> dict[str, bool] | None:
        """Which of ControlNet's preprocessors need no model, if the request uses it."""
        if not any(unit.get("enabled") for unit in request.controlnet_units):
            return None

        def fetch() -> list[dict[str, bool]]:
            known: dict[str, bool] = {}
            for alias_names in (False, True):
                detail = self.get_controlnet_modules(alias_names=alias_names).module_detail
                for name, one in detail.items():
                    if isinstance(one, dict) and isinstance(one.get("model_free"), bool):
                        known[name] = one["model_free"]
            return [known]

        return cast(dict[str, bool], self._listed("controlnet modules without model", fetch)[0])

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
        wanted = (request.override_settings or {}).get("sd_vae")
        if not wanted:
            return None
        try:
            names = self._listed("vaes", self._vae_names)
            if squash(str(wanted)) not in map(squash, names):
                names = self._vae_names()  # a new one may have come since the list was read
                self._remember("vaes", names)
        except NotSupported:
            return None
        return names

    def _vae_names(self) -> list[str]:
        return [vae.model_name for vae in self.get_vaes()]

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
        """The host's samplers, if the request names one and the host lists them."""
        if not request.sampler and not getattr(request, "hr_sampler_name", None):
            return None
        try:
            return self._listed("samplers", self.get_samplers)
        except NotSupported:
            return None

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
        if name == "capabilities":
            self.driver.forget()
        value = fetch()
        self._remember(name, value)
        return value

    def _remember(self, name: str, value: Sequence[Any]) -> None:
        with self._lock:
            self._lists[name] = (time.monotonic() + LISTS_TTL, value)

    def _forget(self, *, older_than: float = 0.0) -> bool:
        """Ask the host anew for all that it told of itself before. Whether there was any."""
        before = time.monotonic() + LISTS_TTL - older_than
        with self._lock:
            old = [name for name, (until, _) in self._lists.items() if 0 < until <= before]
            for name in old:
                self._lists[name] = (0.0, self._lists[name][1])
        if "capabilities" in old:
            self.driver.forget()
        return bool(old)

    # --- watching ---------------------------------------------------------------------------------

    def progress(self, attempt_id: str | None = None, *, preview: bool = False) -> Progress | None:
        """How far the host has got with an attempt, or with what it draws, or None when it does
        not tell.

        A preview costs the host time.
        """
        return self.driver.progress(self._own(attempt_id), preview=preview)

    def interrupt(self, attempt_id: str | None = None) -> None:
        """End an attempt, or what the host draws now; hosts that cannot tell these from each other
        end what they draw, whoever asked for it. Raises NotSupported."""
        self._stops += 1
        self.driver.cancel(self._own(attempt_id))

    def _own(self, attempt_id: str | None) -> str | None:
        """An attempt by the id that the host knows it by at present."""
        return attempt_id and self._drawing.get(attempt_id, attempt_id)

    def skip(self) -> None:
        """End the batch that the host draws now, whoever asked for it. Raises NotSupported."""
        self._stops += 1
        self._webui.post("sdapi/v1/skip")


def _request(kind: type[D], request: D | None, fields: Mapping[str, Any]) -> D:
    if request is None:
        return kind.parse(fields)
    if fields:
        raise TypeError("give a request or its fields, not both")
    return request
