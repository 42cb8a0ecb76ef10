"""The SD web UI's API over all hosts together, as one tenant may use it.

What the web UI does for its only user (options, progress, interrupt, the tools beside drawing) is
done here for many: each tenant sees and stops its own work alone, and sets its own defaults.
Drawing itself is ``Robot``'s, and lists are ``Catalog``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from robotchat.art.answers import Detection, DetectRequest, Model, PngInfo, Progress, ProgressState
from robotchat.art.bot import ArtBot, ArtConfig
from robotchat.art.checks import check_options, find_vae
from robotchat.art.fields import Int
from robotchat.art.infotext import parse
from robotchat.art.matching import find_checkpoint, find_listed
from robotchat.art.modules import MODULES, find_modules
from robotchat.art.requests import CHECKPOINT, FORMAT_OPTIONS
from robotchat.clock import Clock
from robotchat.errors import (
    InvalidRequest,
    Misconfigured,
    NotFound,
    NotSupported,
    RobotchatError,
    UnknownCheckpoint,
    UpstreamBusy,
    UpstreamError,
    UpstreamUnavailable,
)
from robotchat.hosts.catalog import Catalog
from robotchat.hosts.options import TenantOptions, same, what_differs
from robotchat.hosts.pool import HostPool
from robotchat.hosts.privacy import shown_options
from robotchat.images import (
    Images,
    decode_base64,
    encode_base64,
    inspect,
    looks_like_url,
    png_text,
)
from robotchat.jobs.job import Job, JobKind, JobStatus
from robotchat.jobs.states import stop_early, watched
from robotchat.jobs.store import Jobs
from robotchat.settings import Settings

T = TypeVar("T")
TimeLeft = Callable[[], float]


class OwnProgress(Progress):
    """How far the caller's own job has got, in the web UI's shape with our fields beside."""

    job_id: str | None = Field(default=None, description="The job that this is about, if any.")
    status: JobStatus | None = Field(default=None, description="Where it stands.")
    eta_estimated: bool = Field(
        default=False, description="The host reports no progress: this is what its speed suggests."
    )


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class _Extras(BaseModel):
    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True, allow_inf_nan=False)

    resize_mode: Int = Field(default=0, ge=0, le=1, description="0 by a factor, 1 to a size.")
    show_extras_results: bool = True
    gfpgan_visibility: float = Field(default=0, ge=0, le=1)
    codeformer_visibility: float = Field(default=0, ge=0, le=1)
    codeformer_weight: float = Field(default=0, ge=0, le=1)
    upscaling_resize: float = Field(default=2, gt=0, le=8, description="The factor.")
    upscaling_resize_w: Int = Field(default=512, ge=1, le=8192, description="Pixels.")
    upscaling_resize_h: Int = Field(default=512, ge=1, le=8192, description="Pixels.")
    upscaling_crop: bool = Field(default=True, description="Cut what does not fit the size.")
    upscaler_1: str = Field(default="None", description="An upscaler of the hosts, by name.")
    upscaler_2: str = Field(default="None", description="A second one, mixed in.")
    extras_upscaler_2_visibility: float = Field(default=0, ge=0, le=1)
    upscale_first: bool = False


class UpscaleRequest(_Extras):
    """A picture to enlarge or to repair."""

    image: str = Field(description="The picture as base64, data URI or https URL.")


class NamedImage(BaseModel):
    """A picture among others."""

    data: str = Field(description="The picture as base64, data URI or https URL.")
    name: str = ""


class UpscaleBatchRequest(_Extras):
    """Pictures to enlarge or to repair in the same way."""

    imageList: list[NamedImage] = Field(min_length=1, max_length=16)


class InterrogateRequest(BaseModel):
    """A picture to find words for."""

    image: str = Field(description="The picture as base64, data URI or https URL.")
    model: Annotated[Literal["clip", "deepdanbooru"], BeforeValidator(_lower)] = "clip"


class PngInfoRequest(BaseModel):
    """A picture to read the text from that the web UI wrote into it."""

    image: str = Field(description="The picture as base64, data URI or https URL.")


class WebuiApi:
    """Everything but drawing and lists, over a pool of hosts and the jobs of its tenants."""

    def __init__(
        self,
        pool: HostPool,
        catalog: Catalog,
        jobs: Jobs,
        images: Images,
        options: TenantOptions,
        clock: Clock,
        settings: Settings,
        config: ArtConfig,
    ) -> None:
        self._pool = pool
        self._catalog = catalog
        self._jobs = jobs
        self._images = images
        self._options = options
        self._clock = clock
        self._settings = settings
        self._config = config

    # --- options ----------------------------------------------------------------------------------

    def get_options(self, tenant: str) -> dict[str, Any]:
        """The options as they hold for the tenant's requests.

        Those of the first host that answers, without what concerns its machine, under those that
        the tenant has set. Raises UpstreamUnavailable when no host answers.
        """
        return self._shown(self._hosts_options(), self._options.get(tenant))

    def set_options(self, options: Mapping[str, Any], tenant: str) -> None:
        """Set the tenant's defaults for its further requests; null takes one back.

        No host's own options change. Only what differs from what ``get_options`` shows is set,
        since clients post back what they read; what is the hosts' own value everywhere is taken
        back instead. The format of pictures may not be set: hosts do not heed it in a request.
        Raises ForbiddenOption, UnknownCheckpoint and InvalidRequest; nothing is set then.
        """
        hosts = self._hosts_options()
        own = self._options.get(tenant)
        changes = what_differs(options, self._shown(hosts, own), own)
        there = {name: value for one in reversed(hosts) for name, value in one.items()}
        allowed = self._config.allowed_options - FORMAT_OPTIONS
        changes |= check_options(changes, allowed=allowed, where="", shown=there)
        if changes.get(CHECKPOINT):
            wanted = str(changes[CHECKPOINT])
            found = find_checkpoint(self._catalog.get_models(), wanted, param=CHECKPOINT)
            changes[CHECKPOINT] = found.alias
        if changes.get("sd_vae"):
            vaes = [vae.model_name for vae in self._catalog.get_vaes()]
            changes["sd_vae"] = find_vae(vaes, str(changes["sd_vae"]), param="sd_vae")
        if changes.get(MODULES):
            listed = self._catalog.get_modules()
            changes[MODULES] = find_modules(changes[MODULES], listed, param=MODULES)
        for name, value in changes.items():
            present = [one[name] for one in hosts if name in one]
            if name != CHECKPOINT and all(same(one, value) for one in present):
                changes[name] = None
        if changes:
            self._options.change(tenant, changes)

    def _shown(self, hosts: Sequence[dict[str, Any]], own: dict[str, Any]) -> dict[str, Any]:
        shown = dict(next(iter(hosts), {}))
        checkpoint = own.get(CHECKPOINT) or self._config.checkpoint or self._home()
        model = self._model(checkpoint) if checkpoint else None
        if checkpoint:
            own = {**own, CHECKPOINT: model.title if model else checkpoint}
        if "sd_checkpoint_hash" in shown and checkpoint:
            shown["sd_checkpoint_hash"] = model.sha256 if model else None
        return {**shown, **own}

    def _hosts_options(self) -> list[dict[str, Any]]:
        """The options of each host that tells them, without what concerns its machine."""
        answers = self._pool.options()
        told = [answer for answer in answers.values() if not isinstance(answer, RobotchatError)]
        if not told and not all(isinstance(one, NotSupported) for one in answers.values()):
            raise _unavailable(list(answers.values()))
        return [shown_options(options) for options in told]

    def _home(self) -> str | None:
        """What is drawn with by default: the first host's own, if they differ."""
        return next((home for home in self._pool.homes().values() if home is not None), None)

    def _model(self, checkpoint: str) -> Model | None:
        """A checkpoint as lists show it; None if it has gone meanwhile."""
        try:
            return find_checkpoint(self._catalog.get_models(), checkpoint)
        except UnknownCheckpoint:
            return None

    # --- progress and stopping --------------------------------------------------------------------

    def progress(self, tenant: str, *, job_id: str | None = None, preview: bool = True) -> Progress:
        """How far the tenant's job has got: the one named, or the one drawing the longest.

        Of a job that is named, an OwnProgress; else nothing but the web UI's fields, since some
        of its clients refuse others. Without any job, the answer is that of an idle host. A
        preview is there from the second look on: it is made only while somebody looks. Raises
        NotFound for a job that is not the tenant's.
        """
        job = self._current(tenant, job_id)
        if job is None:
            return Progress()
        image = None
        if preview and job.status is JobStatus.RUNNING:
            job = self._jobs.change(job.id, watched)
            image = self._preview(job)
        seen = {
            "progress": _shown_progress(job),
            "eta_relative": job.eta or 0.0,
            "state": _state(job, self._clock.now()),
            "current_image": image,
            "textinfo": _textinfo(job),
        }
        if job_id is None:
            return Progress(**seen)
        return OwnProgress(
            **seen, job_id=job.id, status=job.status, eta_estimated=job.eta_estimated
        )

    def interrupt(self, tenant: str, *, job_id: str | None = None) -> None:
        """End the tenant's drawing early: whoever waits for it gets the picture as far as it is.

        The job named, or the one drawing the longest. What waits for a host goes on waiting; that
        is canceled as a job. Raises NotFound for a job that is not the tenant's.
        """
        self._stop(tenant, job_id, "interrupt")

    def skip(self, tenant: str, *, job_id: str | None = None) -> None:
        """End the present batch of the tenant's drawing, in the same way."""
        self._stop(tenant, job_id, "skip")

    def _stop(self, tenant: str, job_id: str | None, how: Literal["interrupt", "skip"]) -> None:
        job = self._current(tenant, job_id)
        if job is not None:
            self._jobs.change(job.id, lambda j, now: stop_early(j, now, how))

    def _current(self, tenant: str, job_id: str | None) -> Job | None:
        if job_id is not None:
            return self._jobs.get(job_id, tenant)
        return next(iter(self._jobs.running(tenant)), None)

    def _preview(self, job: Job) -> str | None:
        if job.preview is None:
            return None
        try:
            return encode_base64(self._images.get(job.preview))
        except NotFound:
            return None

    # --- tools ------------------------------------------------------------------------------------

    def png_info(self, request: PngInfoRequest) -> PngInfo:
        """The text in a picture, and its parts. Raises InvalidImage.

        A host knows more of it than the text says: what is so when it is silent, and which styles
        are in the prompts. When none answers, a PNG of the web UI is read here.
        """
        data = self._decoded(request.image, "image")
        own = _own_info(data)
        try:
            answers = self._pool.ask(lambda bot: bot.png_info(encode_base64(data)))
        except (Misconfigured, UpstreamUnavailable):
            if own is None:
                raise
            return own
        told = [a for a in answers.values() if not isinstance(a, RobotchatError)]
        for answer in told:
            # Older web UIs give no parts.
            if own is None or (answer.info and answer.parameters):
                return answer
        if own is not None:
            return own
        raise _unavailable(list(answers.values()))

    def upscale(self, request: UpscaleRequest, *, time_left: TimeLeft) -> dict[str, Any]:
        """Enlarge a picture on a host of its own: the answer of ``extra-single-image``."""
        body, among = self._extras(request)
        body["image"] = encode_base64(self._decoded(request.image, "image"))
        return self._on_a_host(lambda bot, t: bot.upscale(body, timeout=t), among, time_left)

    def upscale_batch(self, request: UpscaleBatchRequest, *, time_left: TimeLeft) -> dict[str, Any]:
        """Enlarge several pictures: the answer of ``extra-batch-images``."""
        body, among = self._extras(request)
        body["imageList"] = [
            {
                "data": encode_base64(self._decoded(image.data, f"imageList.{index}.data")),
                "name": image.name or f"{index}",
            }
            for index, image in enumerate(request.imageList)
        ]
        return self._on_a_host(lambda bot, t: bot.upscale_batch(body, timeout=t), among, time_left)

    def interrogate(self, request: InterrogateRequest, *, time_left: TimeLeft) -> str:
        """Words for a picture."""
        image = encode_base64(self._decoded(request.image, "image"))
        return self._on_a_host(
            lambda bot, timeout: bot.interrogate(image, model=request.model, timeout=timeout),
            {host.name: None for host in self._pool.hosts},
            time_left,
        )

    def detect_controlnet(self, request: DetectRequest, *, time_left: TimeLeft) -> Detection:
        """Run a ControlNet preprocessor on pictures."""
        images = request.controlnet_input_images
        if not images:
            raise InvalidRequest("No image selected.", param="controlnet_input_images")
        prepared = request.model_copy(
            update={
                name: [
                    encode_base64(self._decoded(text, f"{name}.{index}"))
                    for index, text in enumerate(getattr(request, name))
                ]
                for name in ("controlnet_input_images", "controlnet_masks")
                if name in request.model_fields_set
            }
        )
        module = request.controlnet_module
        names, among = self._having(
            _modules, {} if module.lower() == "none" else {"controlnet_module": module}, _MODULE
        )
        prepared = prepared.model_copy(update=names)
        return self._on_a_host(
            lambda bot, timeout: bot.detect_controlnet(prepared, timeout=timeout), among, time_left
        )

    def _decoded(self, text: str, param: str) -> bytes:
        """The picture that a caller has sent, or has named by its URL."""
        limit = self._settings.max_image_bytes
        if looks_like_url(text):
            from robotchat.net.fetch import fetch_image

            data = fetch_image(
                text.strip(),
                max_bytes=limit,
                timeout=30.0,
                allow_http_loopback=self._settings.local,
                param=param,
            )
        else:
            data = decode_base64(text, max_bytes=limit, param=param)
        inspect(data, max_bytes=limit, max_pixels=self._settings.max_image_pixels, param=param)
        return data

    def _extras(self, request: _Extras) -> tuple[dict[str, Any], dict[str, None]]:
        """The body to send, with the hosts' own names in it, and the hosts that have them."""
        body = {
            name: v for name, v in request.model_dump(exclude_unset=True).items() if v is not None
        }
        wanted: dict[str, str] = {
            name: body[name]
            for name in ("upscaler_1", "upscaler_2")
            if body.get(name, "None").lower() != "none"
        }
        names, among = self._having(
            lambda bot: [upscaler.name for upscaler in bot.get_upscalers()], wanted, "upscaler"
        )
        return body | names, among

    def _having(
        self, question: Callable[[ArtBot], list[str]], wanted: Mapping[str, str], what: str
    ) -> tuple[dict[str, str], dict[str, None]]:
        """The hosts' names of what is wanted, by field, and the hosts whose list has them all.

        Raises InvalidRequest, with near matches, when none of those that answer has.
        """
        answers = self._pool.ask(question)
        lists = {n: a for n, a in answers.items() if not isinstance(a, RobotchatError)}
        if not lists:
            raise _unavailable(list(answers.values()))
        everything = [name for has in lists.values() for name in has]
        names = {
            param: find_listed(name, everything, param, what) for param, name in wanted.items()
        }
        able = {host: None for host, has in lists.items() if set(names.values()) <= set(has)}
        if not able:
            raise InvalidRequest(f"No single SD host has every {what} that is named.")
        return names, able

    def _on_a_host(
        self, work: Callable[[ArtBot, float], T], among: Mapping[str, None], time_left: TimeLeft
    ) -> T:
        """Do work that needs a host for itself; on another one when the first one fails."""
        tried: list[str] = []
        while True:
            patience = min(self._settings.host_patience, max(time_left() - 60.0, 0.0))
            held = False
            try:
                with self._pool.lease(among=among, avoid=tried, patience=patience) as lease:
                    held = True
                    tried.append(lease.host.name)
                    timeout = self._settings.drawing_timeout(time_left())
                    with lease.kept():
                        return work(lease.host.bot, timeout)
            except UpstreamError as error:
                elsewhere = error.retryable or isinstance(error, NotSupported)
                if held and elsewhere and len(tried) < len(among):
                    continue
                if isinstance(error, NotSupported):
                    raise NotFound("No SD host has this function.") from error
                raise


_MODULE = "ControlNet module"


def _modules(bot: ArtBot) -> list[str]:
    names = bot.get_controlnet_modules().module_list
    return [*names, *bot.get_controlnet_modules(alias_names=True).module_list]


def _own_info(data: bytes) -> PngInfo | None:
    """What a PNG of the web UI says by itself."""
    if not data.startswith(b"\x89PNG"):
        return None
    texts = png_text(data)
    if "parameters" not in texts:
        return None
    text = texts.pop("parameters")
    return PngInfo(info=text, items=texts, parameters=parse(text))


def _unavailable(answers: list[Any]) -> RobotchatError:
    """What to say when no host answered a question."""
    errors = [error for error in answers if isinstance(error, RobotchatError)]
    if errors and all(isinstance(error, NotSupported) for error in errors):
        return NotFound("No SD host has this function.")
    others = [error for error in errors if not isinstance(error, NotSupported | UpstreamBusy)]
    return next(iter(others), UpstreamUnavailable("No SD host answers."))


# --- a job as the web UI would tell of it ---------------------------------------------------------


def _shown_progress(job: Job) -> float:
    if job.status is not JobStatus.RUNNING:
        return 0.0
    # The web UI never shows 0 for a job that has begun: 0 means idle to its clients.
    return max(job.progress, 0.01)


def _state(job: Job, now: datetime) -> ProgressState:
    """The counters of the web UI, as far as they follow from the share that is done."""
    if job.status is not JobStatus.RUNNING:
        return ProgressState()
    request = {**job.request, **(job.effective or {})}
    steps = int(request.get("steps") or 50)
    passes = 2 if request.get("enable_hr") else 1
    count = int(request.get("n_iter") or 1) * passes
    done = int(min(max(job.progress, 0.0), 0.9999) * steps * count)
    editing = job.kind in (JobKind.IMAGE2IMAGE, JobKind.CHAT_IMAGE2IMAGE)
    return ProgressState(
        skipped=job.stop == "skip",
        interrupted=job.stop == "interrupt" or job.cancel_requested,
        job="scripts_img2img" if editing else "scripts_txt2img",
        job_count=count if job.progress > 0 else -1,
        job_timestamp=(job.started_at or now).strftime("%Y%m%d%H%M%S"),
        job_no=done // steps,
        sampling_step=done % steps,
        sampling_steps=steps,
    )


def _textinfo(job: Job) -> str | None:
    if job.status is JobStatus.QUEUED:
        return "In queue"
    if job.status is JobStatus.RUNNING and job.reason == "waiting_for_host":
        return "Waiting for an SD host"
    return None
