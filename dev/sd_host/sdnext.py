"""The personality sdnext: the web UI's API over diffusers, with its own defaults, names and errors.

What it does not know it ignores in silence: schedules, hires by the web UI's fields alone, a
refiner, scripts by unknown names, options. Interrupted, it answers the live preview or nothing. It
counts its requests after it has answered them, and keeps what is beyond its limit to itself.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from dev.sd_host import app, catalog, flavours, models, scripts
from dev.sd_host.app import API, Answer, drawing, listed
from dev.sd_host.faults import of_kind
from dev.sd_host.generation import Generation, Rejected, Result
from dev.sd_host.models import Field, Invalid, Model
from dev.sd_host.state import Host, HostError
from dev.sd_host.wire import HOST, Handler, faults_of, json_answer, not_the_hosts

MINUTE = 60.0
COSTS = {f"{API}/txt2img": 5, f"{API}/img2img": 5}


class NoInitImage(Exception):
    """img2img without a picture: not an HTTPException, but an answer of its own."""


class SdNextGeneration(Generation):
    """A drawing of SD.Next."""

    samplers = flavours.SDNEXT_SAMPLERS
    version = "058a7f0cf"

    def __init__(
        self, host: Host, kind: str, fields: dict[str, Any], given: set[str], faults: Any
    ) -> None:
        # Fields of the web UI that it has not, as that would have them when nobody sends them.
        plain = {name: field.default for name, field in models.IMG2IMG.fields.items()}
        plain |= {name: field.default for name, field in models.TXT2IMG.fields.items()}
        super().__init__(host, kind, {**plain, "denoising_strength": None, **fields}, given, faults)
        self.echo = fields

    def resolve_sampler(self) -> tuple[str, str]:
        wanted = self.fields["sampler_name"] or self.fields["sampler_index"]
        if wanted == "Default":
            return "Default", ""
        for sampler in self.samplers:
            if str(wanted).lower() == sampler.name.lower():
                return sampler.name, ""
        raise Rejected(404, "Sampler not found")

    @property
    def clip_skip(self) -> Any:
        return self.fields["clip_skip"]

    def check_scripts(self) -> None:
        if self.kind == "img2img" and self.fields["init_images"] is None:
            raise NoInitImage
        if str(self.fields["script_name"]).lower() not in scripts.ARGUMENTS:
            self.fields["script_name"] = None
        for name in self.fields["alwayson_scripts"]:
            if name.lower() not in catalog.ALWAYS_ON_SCRIPTS:
                raise Rejected(422, f"Always on script not found: {name}")

    def _check_before_queueing(self) -> None:
        if self.kind == "img2img" and self.fields["init_images"] is None:
            raise NoInitImage
        super()._check_before_queueing()

    async def _with_overrides(self) -> Result:
        host, settings = self.host, self.host.settings
        overrides = dict(self.fields["override_settings"] or {})
        if host.find(overrides.get("sd_model_checkpoint")) is None:
            overrides.pop("sd_model_checkpoint", None)
        stored = {key: settings.data[key] for key in overrides if key in settings.data}
        try:
            for key, value in overrides.items():
                settings.set(key, value)
            await host.load_configured(self.faults)
            wrong = of_kind(self.faults, "wrong_model")
            if wrong:
                await self._load_another(wrong)
            result = await self._process()
        finally:
            if self.fields["override_settings_restore_afterwards"]:
                settings.restore(stored)
        self._keep_what_there_is(result)
        return result

    def _check_settings(self) -> None:
        """Nothing: what it computes with are fields."""

    def _prepare(self) -> None:
        super()._prepare()
        mode = self.fields["resize_mode"]
        if self.kind == "img2img" and not mode and not self._masked_part:
            # Not resized at all: as large as the first picture.
            width, height = self.init_images[0].size
            self.width, self.height = width // 8 * 8, height // 8 * 8
            self.final_size = (self.width, self.height)
        # None, Fixed, Crop, Fill: the web UI's three, behind a first of its own.
        self.fields = {**self.fields, "resize_mode": max(0, min((mode or 0) - 1, 2))}

    @property
    def _masked_part(self) -> bool:
        return self.mask is not None and bool(self.fields["inpaint_full_res"])

    def _prepare_hires(self, steps: int) -> None:
        """Nothing is enlarged by the web UI's fields alone."""

    def _keep_what_there_is(self, result: Result) -> None:
        """After an interrupt: the live preview, if there is one, in the place of everything."""
        if not self.host.progress.interrupted:
            return
        shown = bool(self.host.settings["live_previews_enable"]) and bool(result.images)
        result.images = [result.images[0].reduce(2)] if shown else []
        result.infotexts = result.infotexts[:1] if shown else result.infotexts

    def words(self, index: int, result: Result) -> dict[str, Any]:
        fields, varied = self.fields, bool(self.fields["subseed_strength"])
        count = self.batch_size * self.n_iter
        return {
            "Steps": fields["steps"],
            "Size": f"{self.width}x{self.height}",
            "Sampler": None if self.sampler == "Default" else self.sampler,
            "Scheduler": "EulerAncestralDiscreteScheduler",
            "Seed": self.seed_of(index),
            "CFG scale": fields["cfg_scale"],
            "CLiP-skip": fields["clip_skip"] if fields["clip_skip"] > 1 else None,
            "Batch": f"{self.n_iter}x{self.batch_size}" if count > 1 else None,
            "Styles": "; ".join(fields["styles"]) if fields["styles"] else None,
            "App": "SD.Next",
            "Version": self.version,
            "Pipeline": "StableDiffusionPipeline",
            "Operations": self.kind,
            "Model": result.checkpoint.short_name,
            "Model hash": result.checkpoint.short_hash,
            "Variation seed": self.subseed + index if varied else None,
            "Variation strength": fields["subseed_strength"] if varied else None,
            "Denoising strength": self.denoising if self.kind == "img2img" else None,
        }

    def info(self, result: Result) -> dict[str, Any]:
        whole = super().info(result)
        missing = {
            *("sd_model_name", "sd_vae_name", "sd_vae_hash", "version", "restore_faces"),
            *("face_restoration_model", "is_using_inpainting_conditioning"),
        }
        found = {name: value for name, value in whole.items() if name not in missing}
        return {**found, "cfg_end": None, "detailer": False, "detailer_model": None}


def _either(value: Any) -> Any:
    """A number or a text, as it is."""
    if isinstance(value, (int, str)):
        return value
    raise Invalid("value is not a valid integer", "type_error.integer")


def _null(convert: models.Convert, default: Any = None) -> Field:
    return Field(convert, default, nullable=True)


_KEPT = (
    *("prompt", "negative_prompt", "seed", "subseed", "subseed_strength"),
    *("seed_resize_from_h", "seed_resize_from_w", "batch_size", "n_iter", "eta"),
    *("override_settings", "override_settings_restore_afterwards", "styles"),
    *("do_not_save_samples", "do_not_save_grid", "initial_noise_multiplier"),
    *("init_images", "mask", "latent_mask", "inpaint_full_res_padding", "inpainting_mask_invert"),
    *("enable_hr", "hr_scale", "hr_upscaler", "hr_second_pass_steps", "hr_resize_x"),
    *("hr_resize_y", "script_args", "send_images", "save_images", "alwayson_scripts"),
)
"""Fields that it has as the web UI has them."""
_OWN: dict[str, Field] = {
    "sd_model_checkpoint": _null(models.to_str),
    "steps": _null(models.to_int, 20),
    "width": _null(models.to_int, 1024),
    "height": _null(models.to_int, 1024),
    "cfg_scale": _null(models.to_float, 6.0),
    "clip_skip": _null(models.to_int, 1),
    "denoising_strength": _null(models.to_float, 0.3),
    "tiling": _null(models.to_bool, False),
    "resize_mode": _null(models.to_int, 0),
    "mask_blur": _null(models.to_int, 4),
    "inpainting_fill": _null(models.to_int, 1),
    "inpaint_full_res": _null(models.to_bool, False),
    "hr_resize_mode": _null(models.to_int, 0),
    "hr_denoising_strength": _null(models.to_float, 0.0),
    "schedulers_shift": _null(models.to_float),
    "vae_type": _null(models.to_str, "Full"),
    "sampler_index": Field(_either, 0),
    "sampler_name": Field(models.to_str, "Default"),
    "hr_sampler_name": Field(models.to_str, "Same as primary"),
    "script_name": _null(models.to_str, ""),
    "extra": _null(models.to_dict, {}),
}
_BOTH: Mapping[str, Field] = {**models.TXT2IMG.fields, **models.IMG2IMG.fields}
TXT2IMG = Model({**{name: _BOTH[name] for name in _KEPT}, **_OWN})
IMG2IMG = Model(
    {
        **TXT2IMG.fields,
        "denoising_strength": Field(models.to_float, 0.5),
        "include_init_images": Field(models.to_bool, False),
    }
)


def quietly(answer: Answer) -> Answer:
    """The same handler, answering 204."""

    async def done(request: web.Request, host: Host) -> Any:
        await answer(request, host)
        return web.Response(status=204)

    return done


async def set_options(request: web.Request, host: Host) -> Any:
    updated = []
    for key, value in (await app.read_object(request)).items():
        changed = host.settings.set(key, value)
        if key == "sd_model_checkpoint" and changed:
            async with host.turn():
                await host.load_configured(faults_of(request))
        updated.append({key: changed})
    host.saved = dict(host.settings.data)
    return {"updated": updated}


async def progress(request: web.Request, host: Host) -> Any:
    skip = app.query_flag(request, "skip_current_image", False)
    report = host.progress.report(skip_current_image=skip)
    report["state"].pop("stopping_generation")
    if report["state"]["job_count"] == -1:
        report["state"]["job_count"] = 1
    return {"id": host.tasks.current or "", **report}


def _status(host: Host) -> dict[str, Any]:
    running = host.running
    return {
        "status": "running" if running else "idle",
        "task": host.progress.job,
        "current": host.tasks.current or "",
        "queued": len(host.tasks.pending),
        "step": host.progress.sampling_step,
        "steps": host.progress.sampling_steps,
        "uptime": 60,
    }


def _schedulers(host: Host) -> list[dict[str, Any]]:
    """The samplers once more, and what only divides their list."""
    rows: list[dict[str, Any]] = [{"name": "Default", "cls": None, "options": {}}]
    rows.append({"name": flavours.SEPARATOR, "cls": None, "options": {}})
    return [
        *rows,
        *(
            {"name": s.name, "cls": "DiffusionSampler", "options": {}}
            for s in flavours.SDNEXT_SAMPLERS
        ),
    ]


_VERSION = {"app": "sdnext", "updated": "2026-07-23", "commit": "058a7f0cf", "branch": "master"}
_GONE = {
    *(f"{API}/hypernetworks", f"{API}/realesrgan-models", f"{API}/latent-upscale-modes"),
    "/internal/pending-tasks",
}
_GETS: dict[str, Answer] = {
    **{
        path: answer
        for path, answer in app.GETS.items()
        if path not in _GONE and not path.startswith("/controlnet/")
    },
    f"{API}/progress": progress,
    f"{API}/version": listed(lambda host: _VERSION),
    f"{API}/status": listed(_status),
    f"{API}/history": listed(lambda host: []),
    f"{API}/samplers": listed(
        lambda host: [{"name": s.name, "options": {}} for s in flavours.SDNEXT_SAMPLERS]
    ),
    f"{API}/schedulers": listed(_schedulers),
    f"{API}/embeddings": listed(lambda host: {"loaded": ["EasyNegative"], "skipped": []}),
    f"{API}/prompt-styles": listed(
        lambda host: [
            {**style, "extra": "", "filename": "", "preview": ""} for style in catalog.PROMPT_STYLES
        ]
    ),
    f"{API}/face-restorers": listed(lambda host: [{"name": "face-yolo8n", "path": None}]),
    f"{API}/extensions": listed(lambda host: []),
}
_QUIET = ("interrupt", "skip", "refresh-checkpoints", "refresh-vae", "unload-checkpoint")
_POSTS: dict[str, Answer] = {
    **{
        path: answer
        for path, answer in app.POSTS.items()
        if not path.startswith("/controlnet/")
        and path not in (f"{API}/interrogate", f"{API}/refresh-embeddings")
    },
    **{f"{API}/{name}": quietly(app.POSTS[f"{API}/{name}"]) for name in _QUIET},
    f"{API}/reload-checkpoint": quietly(app.reload_checkpoint),
    f"{API}/options": set_options,
    f"{API}/txt2img": drawing("txt2img", TXT2IMG, SdNextGeneration),
    f"{API}/img2img": drawing("img2img", IMG2IMG, SdNextGeneration),
}
routes = app.table(_GETS, _POSTS)


def _error(kind: str, status: int, detail: str, errors: str) -> web.Response:
    body = {"error": kind, "code": status, "detail": detail, "body": "", "errors": errors}
    return json_answer(body, status)


def _rejected(error: Rejected) -> web.Response:
    return _error("HTTPException", error.status, error.detail, f"{error.status}: {error.detail}")


@web.middleware
async def dressed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Its error shapes; and its limit, which is looked at once the answer is there."""
    if not_the_hosts(request):
        return await handler(request)
    started = time.monotonic()
    try:
        answer = await app.answered(request, handler, _rejected)
    except NoInitImage:
        answer = json_answer({"error": "Init image is none"}, 400)
    except HostError as error:
        answer = _error(error.kind, 500, "", str(error))
    if not _granted(request):
        text = f"{request.remote}:{request.path}: rate limit exceeded"
        return _error("HTTPException", 429, text, f"429: {text}")
    answer.headers["X-Process-Time"] = str(round(time.monotonic() - started, 4))
    return answer


def _granted(request: web.Request) -> bool:
    """Whether the client's minute still has what this request costs, which is then spent."""
    host = request.app[HOST]
    limit = host.options.rate_limit
    if limit <= 0:
        return True
    now = time.monotonic()
    spent = host.spent.setdefault(f"{request.remote} {request.path}", deque())
    while spent and spent[0][0] < now - MINUTE:
        spent.popleft()
    cost = COSTS.get(request.path, 1)
    if sum(points for _, points in spent) + cost > limit:
        return False
    spent.append((now, cost))
    return True
