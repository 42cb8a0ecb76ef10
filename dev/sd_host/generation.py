"""One drawing from request to answer, as the real host does it: what it checks and when, what it
silently replaces, what it leaves behind when it fails.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from PIL import Image

from dev.sd_host import catalog, controlnet, imaging, infotext, scripts
from dev.sd_host.catalog import Checkpoint
from dev.sd_host.faults import Fault, of_kind
from dev.sd_host.imaging import BadImage
from dev.sd_host.state import Host, HostError, Progress

MAX_PIXELS = 20_000_000
_NUMBERS = ("eta_ancestral", "eta_noise_seed_delta", "s_churn", "s_tmin", "s_tmax", "s_noise")
"""Settings that every drawing computes with."""
log = logging.getLogger("sd_host")


class Rejected(Exception):
    """An HTTPException of the host: a status and a text."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


@dataclass
class Result:
    """What a run made; ``infotexts`` and ``images`` run in parallel, ``appended`` follows."""

    checkpoint: Checkpoint
    images: list[Image.Image] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    infotexts: list[str] = field(default_factory=list)
    appended: list[Image.Image] = field(default_factory=list)
    extra_params: dict[str, Any] = field(default_factory=dict)
    first_image: int = 0
    clip_skip: Any = 1
    """As it was while it was drawn."""


class Generation:
    """One txt2img or img2img request. ``fields`` are complete, ``given`` names those sent."""

    samplers: Sequence[catalog.Sampler] = catalog.SAMPLERS
    schedulers: Sequence[Mapping[str, Any]] = catalog.SCHEDULERS
    version = catalog.VERSION

    def __init__(
        self,
        host: Host,
        kind: str,
        fields: dict[str, Any],
        given: set[str],
        faults: Sequence[Fault],
    ) -> None:
        self.host, self.kind, self.faults = host, kind, faults
        self.echo = fields
        self.fields = infotext.filled(fields, given)
        self.task = fields["force_task_id"] or _task_id(kind)

    async def run(self) -> dict[str, Any]:
        """The body of the answer; raises `Rejected` or `HostError`."""
        self._check_before_queueing()
        self.host.tasks.queue(self.task)
        async with self.host.turn():
            self.init_images = [
                _decoded(self.host, source) for source in self.fields.get("init_images") or ()
            ]
            result = await self._run_now()
        return await self._answer(result)

    # Before the queue

    def _check_before_queueing(self) -> None:
        fields = self.fields
        mask = None
        if self.kind == "img2img":
            if fields["init_images"] is None:
                raise Rejected(404, "Init image not found")
            if fields["mask"]:
                mask = _decoded(self.host, fields["mask"])
        self.mask = mask
        self.check_scripts()
        self.sampler, self.schedule = self.resolve_sampler()
        wrong = of_kind(self.faults, "wrong_sampler")
        if wrong:
            others = [s.name for s in self.samplers if s.name != self.sampler]
            self.sampler = wrong.extra.get("sampler", others[0])

    @property
    def clip_skip(self) -> Any:
        """How many of the text encoder's last layers are left out."""
        return self.host.settings["CLIP_stop_at_last_layers"]

    def resolve_sampler(self) -> tuple[str, str]:
        """The sampler and the schedule that are really used; raises `Rejected`."""
        fields = self.fields
        return catalog.resolve_sampler(
            fields["sampler_name"] or fields["sampler_index"],
            fields["scheduler"],
            self.samplers,
            self.schedulers,
        )

    def check_scripts(self) -> None:
        """Refuse scripts that the host does not have; raises `Rejected`."""
        check_scripts(self.host, self.kind, self.fields)

    # With the lock

    async def _run_now(self) -> Result:
        host = self.host
        host.progress = Progress(f"scripts_{self.kind}", host.progress.preview_id)
        host.tasks.start(self.task)
        host.stats.add(f"generations_{self.kind}")
        host.stats.begin()
        try:
            result = await self._with_overrides()
        except (HostError, Rejected):
            host.stats.end(failed=True)
            raise
        else:
            host.tasks.finish(self.task)
            host.stats.end(failed=False)
        finally:
            host.progress.end()
        return result

    async def _with_overrides(self) -> Result:
        host, settings = self.host, self.host.settings
        overrides = dict(self.fields["override_settings"] or {})
        # What was never set, and is only shown with its default, is not put back.
        stored = {key: settings.data[key] for key in overrides if key in settings.data}
        try:
            if host.find(overrides.get("sd_model_checkpoint")) is None:
                overrides.pop("sd_model_checkpoint", None)
                await host.load_configured(self.faults)
            for key, value in overrides.items():
                try:
                    settings.set(key, value)
                except KeyError as error:
                    raise HostError("KeyError", repr(key)) from error
                if key == "sd_model_checkpoint":
                    await host.load_configured(self.faults)
            wrong = of_kind(self.faults, "wrong_model")
            if wrong:
                await self._load_another(wrong)
            return await self._process()
        finally:
            if self.fields["override_settings_restore_afterwards"]:
                settings.restore(stored)

    async def _load_another(self, wrong: Fault) -> None:
        host = self.host
        others = [c for c in host.checkpoints if host.loaded is None or c.name != host.loaded.name]
        another = host.find(wrong.extra.get("checkpoint")) or (others or host.checkpoints)[0]
        await host.load(another)

    def _prepare(self) -> None:
        """Sizes, counts, seeds and steps, checked when the real host checks them."""
        fields = self.fields
        for name in ("width", "height", "batch_size", "n_iter", "steps", "cfg_scale"):
            if fields[name] is None:
                raise HostError("TypeError", f"unsupported operand type(s): 'NoneType' ({name})")
        self._check_settings()
        width, height = fields["width"], fields["height"]
        first = (fields.get("firstphase_width") or 0, fields.get("firstphase_height") or 0)
        if any(first):  # whether or not there is a second phase
            width, height = first
        self.width, self.height = width // 8 * 8, height // 8 * 8
        self.batch_size, self.n_iter = max(1, fields["batch_size"]), max(1, fields["n_iter"])
        if self.width <= 0 or self.height <= 0:
            raise HostError("RuntimeError", "Given input size: (4x0x0). Output size is too small")
        if self.width * self.height * self.batch_size > MAX_PIXELS:
            raise HostError("OutOfMemoryError", "CUDA out of memory. Tried to allocate 976.56 GiB.")
        self.seed = _fixed(fields["seed"])
        self.subseed = _fixed(fields["subseed"])
        self.denoising = fields["denoising_strength"]
        self.final_size = (self.width, self.height)
        steps = max(1, fields["steps"])
        self.passes = [(steps, self.width * self.height)]
        if self.kind == "img2img":
            self._prepare_img2img(steps)
        elif fields["enable_hr"]:
            self._prepare_hires(steps)
        refiner = fields["refiner_checkpoint"]
        if refiner not in (None, "", "None", "none") and self.host.find(refiner) is None:
            raise HostError("Exception", f"Could not find checkpoint with name {refiner}")

    def _check_settings(self) -> None:
        """What the host computes with, and finds to be wrong only then."""
        settings = self.host.settings
        for name in _NUMBERS:
            if not isinstance(settings[name], (int, float)):
                kind = type(settings[name]).__name__
                raise HostError("TypeError", f"must be real number, not {kind}")
        skip = settings["CLIP_stop_at_last_layers"]
        if not isinstance(skip, (int, float)):
            kind = type(skip).__name__
            text = f"'>' not supported between instances of '{kind}' and 'int'"
            raise HostError("TypeError", text)
        if skip > 1 and not isinstance(skip, int):
            raise HostError("TypeError", "tuple indices must be integers or slices, not float")
        if skip > self.host.options.encoder_layers + 1:
            raise HostError("IndexError", "tuple index out of range")

    def _prepare_img2img(self, steps: int) -> None:
        count = len(self.init_images)
        if count == 0:
            raise HostError("IndexError", "list index out of range")
        if count > self.batch_size:
            text = f"bad number of images passed: {count}; expecting {self.batch_size} or less"
            raise HostError("RuntimeError", text)
        if count > 1:
            self.batch_size = count
        if self.denoising is None:
            raise HostError("TypeError", "'<' not supported between 'NoneType' and 'float'")
        self.denoising = min(max(self.denoising, 0.0), 1.0)
        if not self.host.settings["img2img_fix_steps"]:
            steps = int(min(self.denoising, 0.999) * steps) + 1
        self.passes = [(steps, self.width * self.height)]

    def _prepare_hires(self, steps: int) -> None:
        fields = self.fields
        upscaler = fields["hr_upscaler"]
        known = {u["name"] for u in [*catalog.LATENT_UPSCALE_MODES, *catalog.UPSCALERS]}
        if upscaler is not None and upscaler not in known:
            raise HostError("Exception", f"could not find upscaler named {upscaler}")
        second = fields["hr_checkpoint_name"]
        if second not in (None, "", "Use same checkpoint") and self.host.find(second) is None:
            raise HostError("Exception", f"Could not find checkpoint with name {second}")
        if self.denoising is None:
            raise HostError("TypeError", "'<' not supported between 'NoneType' and 'float'")
        wide, high = fields["hr_resize_x"] or 0, fields["hr_resize_y"] or 0
        scale = fields["hr_scale"] or 2.0
        if wide or high:
            scale = max(wide / self.width, high / self.height)
        goal = (wide or int(self.width * scale), high or int(self.height * scale))
        self.final_size = (goal[0] // 8 * 8, goal[1] // 8 * 8)
        again = fields["hr_second_pass_steps"] or steps
        self.passes.append((again, self.final_size[0] * self.final_size[1]))

    async def _process(self) -> Result:
        script = scripts.chosen(self.fields)
        if script is None:
            return await self._process_once()
        fields = self.fields
        fields = {**fields, "seed": _fixed(fields["seed"]), "subseed": _fixed(fields["subseed"])}
        parts = []
        for changes in scripts.variants(script, fields):
            self.fields = {**fields, **changes}
            parts.append(await self._process_once())
        if not parts:
            raise HostError("IndexError", "list index out of range")
        return scripts.joined(script, fields["script_args"], parts)

    async def _process_once(self) -> Result:
        self._prepare()
        host, progress = self.host, self.host.progress
        if host.loaded is None:  # unloaded by another call in this very moment
            raise HostError("AttributeError", "'NoneType' object has no attribute 'sd_model_hash'")
        result = Result(host.loaded, clip_skip=self.clip_skip)
        self._apply_styles()
        units = self._control_units(result)
        work = sum(steps * pixels for steps, pixels in self.passes) * self.batch_size * self.n_iter
        seconds = host.options.duration(work)
        progress.job_count = self.n_iter * len(self.passes)
        for batch in range(self.n_iter):
            progress.skipped = False
            if progress.interrupted:
                break
            if self.n_iter > 1:
                progress.job = f"Batch {batch + 1} out of {self.n_iter}"
            drawing = asyncio.ensure_future(asyncio.to_thread(self._draw_batch, batch, units))
            drawing.add_done_callback(self._offer_preview)
            try:
                share = await self._sample_batch(seconds * self.batch_size / work, batch, drawing)
                images = await drawing
            finally:
                drawing.cancel()
            for offset, image in enumerate(images):
                index = batch * self.batch_size + offset
                made = imaging.partial(image, share, self.seed_of(index))
                result.images.append(made)
                result.infotexts.append(self.infotext(index, result))
        if not result.infotexts:
            result.infotexts.append(self.infotext(0, result))
        result.seeds = [self.seed_of(index) for index in range(self.batch_size * self.n_iter)]
        self._add_grid(result)
        return result

    async def _sample_batch(
        self,
        seconds_per_pixel_step: float,
        batch: int,
        drawing: asyncio.Future[list[Image.Image]],
    ) -> float:
        progress, share = self.host.progress, 1.0
        for number, (steps, pixels) in enumerate(self.passes):
            progress.job_no = batch * len(self.passes) + number
            seconds = seconds_per_pixel_step * steps * pixels
            share = await self.host.sample(steps, seconds, self.faults, drawing)
            if progress.interrupted or progress.skipped:
                break
        progress.job_no = (batch + 1) * len(self.passes)
        progress.sampling_step = 0
        return share

    def _offer_preview(self, drawing: asyncio.Future[list[Image.Image]]) -> None:
        if drawing.cancelled() or drawing.exception() is not None or not self.host.running:
            return
        small = drawing.result()[0].copy()
        small.thumbnail((256, 256))
        self.host.progress.render = lambda share: imaging.to_base64(
            imaging.encode(imaging.partial(small, share, self.seed))
        )

    # The pictures

    def _apply_styles(self) -> None:
        prompt, negative = self.fields["prompt"] or "", self.fields["negative_prompt"] or ""
        for name in self.fields["styles"] or ():
            style = next((s for s in catalog.PROMPT_STYLES if s["name"] == name), None)
            if style is not None:
                prompt = _styled(prompt, style["prompt"])
                negative = _styled(negative, style["negative_prompt"])
        self.prompt, self.negative = prompt, negative

    def units(self, args: Any) -> Any:
        """ControlNet's units as the extension is to read them."""
        return args

    def _control_units(self, result: Result) -> list[controlnet.Guide]:
        """The ControlNet units at work; raises `HostError`.

        One that cannot work is only logged, and the infotext tells of it all the same.
        """
        script: Any = next(
            (v for k, v in self.fields["alwayson_scripts"].items() if k.lower() == "controlnet"), {}
        )
        args = script.get("args", []) if isinstance(script, dict) else []
        init = self.init_images[0] if self.init_images else None
        try:
            wanted = controlnet.read_units(self.units(args))
        except controlnet.BadUnit as error:
            raise HostError("ValidationError", str(error)) from error
        for index, wanted_unit in wanted.items():
            result.extra_params[f"ControlNet {index}"] = controlnet.described(wanted_unit)
        try:
            units = controlnet.guides(wanted, init, self.width, self.height)
        except controlnet.ModelMissing as error:
            raise HostError("URLError", str(error)) from error
        except controlnet.UnitFailed as error:
            log.warning("controlnet failed and is left out: %s", error)
            return []
        for unit in units:
            if unit.shown and not self.host.settings["control_net_no_detectmap"]:
                result.appended.append(unit.map)
        if self.mask is not None and self.host.settings["return_mask"]:
            result.appended.append(self.mask.convert("RGB"))
        return units

    def _draw_batch(self, batch: int, units: list[controlnet.Guide]) -> list[Image.Image]:
        images = []
        for offset in range(self.batch_size):
            index = batch * self.batch_size + offset
            image = self._draw(offset, self.seed_of(index), self.subseed + index)
            for unit in units:
                image = imaging.guided(image, unit.map, unit.weight)
            images.append(image.resize(self.final_size) if image.size != self.final_size else image)
        return images

    def _draw(self, offset: int, seed: int, subseed: int) -> Image.Image:
        fields, prompt, negative = self.fields, self.prompt, self.negative
        if fields["subseed_strength"]:
            seed += round(subseed * fields["subseed_strength"])
        if self.kind == "txt2img":
            return imaging.drawn(prompt, negative, seed, self.width, self.height)
        source = self.init_images[offset % len(self.init_images)]
        old = imaging.fitted(source, self.width, self.height, fields["resize_mode"] or 0)
        new = imaging.repainted(old, prompt, negative, seed, self.denoising)
        invert = bool(fields["inpainting_mask_invert"])
        if self.mask is None or (
            fields["inpaint_full_res"] and imaging.is_blank(self.mask, invert=invert)
        ):
            return new
        both = fields["mask_blur"]
        blur = (fields["mask_blur_x"] or 0, fields["mask_blur_y"] or 0)
        mask = imaging.fitted(self.mask, self.width, self.height, fields["resize_mode"] or 0)
        return imaging.masked(new, old, mask, blur if both is None else (both, both), invert)

    def _add_grid(self, result: Result) -> None:
        settings = self.host.settings
        wanted = settings["return_grid"] or settings["grid_save"]
        if not self.fields["save_images"] or not wanted or len(result.images) < 2:
            return
        if settings["return_grid"]:
            result.infotexts.insert(0, self.infotext(0, result))
            result.images.insert(0, imaging.grid(result.images))
            result.first_image = 1

    # The words about them

    def seed_of(self, index: int) -> int:
        return self.seed + (0 if self.fields["subseed_strength"] else index)

    def infotext(self, index: int, result: Result) -> str:
        return infotext.write(self.prompt, self.negative, self.words(index, result))

    def words(self, index: int, result: Result) -> dict[str, Any]:
        """What the infotext says of one picture, besides the prompts."""
        fields, settings = self.fields, self.host.settings
        varied = bool(fields["subseed_strength"])
        hires = self.kind == "txt2img" and bool(fields["enable_hr"])
        skip = settings["CLIP_stop_at_last_layers"]
        return {
            "Steps": fields["steps"],
            "Sampler": self.sampler,
            "Schedule type": self.schedule,
            "CFG scale": fields["cfg_scale"],
            "Seed": self.seed_of(index),
            "Size": f"{self.width}x{self.height}",
            "Model hash": result.checkpoint.short_hash,
            "Model": result.checkpoint.short_name,
            "Variation seed": self.subseed + index if varied else None,
            "Variation seed strength": fields["subseed_strength"] if varied else None,
            "Denoising strength": self.denoising,
            "Clip skip": skip if skip > 1 else None,
            "Hires upscale": fields["hr_scale"] if hires else None,
            "Hires upscaler": (fields["hr_upscaler"] or "Latent") if hires else None,
            **result.extra_params,
            "Version": self.version,
        }

    def info(self, result: Result) -> dict[str, Any]:
        fields, count = self.fields, self.batch_size * self.n_iter
        subseeds = [self.subseed + index for index in range(count)]
        return {
            "prompt": self.prompt,
            "all_prompts": [self.prompt] * count,
            "negative_prompt": self.negative,
            "all_negative_prompts": [self.negative] * count,
            "seed": result.seeds[0],
            "all_seeds": result.seeds,
            "subseed": self.subseed,
            "all_subseeds": subseeds,
            "subseed_strength": fields["subseed_strength"] or 0,
            "width": self.width,
            "height": self.height,
            "sampler_name": self.sampler,
            "cfg_scale": fields["cfg_scale"],
            "steps": fields["steps"],
            "batch_size": self.batch_size,
            "restore_faces": bool(fields["restore_faces"]),
            "face_restoration_model": None,
            "sd_model_name": result.checkpoint.short_name,
            "sd_model_hash": result.checkpoint.short_hash,
            "sd_vae_name": None,
            "sd_vae_hash": None,
            "seed_resize_from_w": fields["seed_resize_from_w"],
            "seed_resize_from_h": fields["seed_resize_from_h"],
            "denoising_strength": self.denoising,
            "extra_generation_params": result.extra_params,
            "index_of_first_image": result.first_image,
            "infotexts": result.infotexts,
            "styles": fields["styles"] or [],
            "job_timestamp": f"{datetime.now():%Y%m%d%H%M%S}",
            "clip_skip": result.clip_skip,
            "is_using_inpainting_conditioning": False,
            "version": self.version,
        }

    async def _answer(self, result: Result) -> dict[str, Any]:
        fields = self.fields
        kind = str(self.host.settings["samples_format"]).lower()
        images: list[str] = []
        if fields["send_images"]:
            if kind not in imaging.FORMATS:
                raise Rejected(500, "Invalid image format")
            images = await asyncio.to_thread(self._encoded, result, kind)
        echo = dict(self.echo)
        if self.kind == "img2img" and not fields["include_init_images"]:
            echo["init_images"] = echo["mask"] = None
        return {"images": images, "parameters": echo, "info": json.dumps(self.info(result))}

    def _encoded(self, result: Result, kind: str) -> list[str]:
        made = list(zip(result.images, result.infotexts, strict=False))
        made += [(image, result.infotexts[0]) for image in result.appended]
        wrong = of_kind(self.faults, "wrong_count")
        if wrong:
            count = int(wrong.extra.get("count", len(made) - 1))
            made = (made * (count // max(len(made), 1) + 1))[:count]
        if of_kind(self.faults, "wrong_size"):
            made = [(image.reduce(2), text) for image, text in made]
        return [imaging.to_base64(imaging.encode(image, kind, text)) for image, text in made]


def check_scripts(host: Host, kind: str, fields: dict[str, Any]) -> None:
    """Refuse scripts that the host does not have; raises `Rejected`."""
    selectable = scripts.selectable(host, kind)
    name = fields["script_name"]
    if name and name.lower() not in selectable:
        raise Rejected(422, f"Script '{name}' not found")
    for always in fields["alwayson_scripts"]:
        if always.lower() in selectable:
            text = "Cannot have a selectable script in the always on scripts params"
            raise Rejected(422, text)
        if always.lower() not in scripts.always_on(host):
            raise Rejected(422, f"Script '{always}' not found")


def _decoded(host: Host, source: Any) -> Image.Image:
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        if not host.settings["api_enable_requests"]:
            raise Rejected(500, "Requests not allowed")
        address = source.partition("://")[2].partition("/")[0].partition(":")[0]
        local = address == "localhost" or address.startswith(("127.", "10.", "192.168."))
        if local and host.settings["api_forbid_local_requests"]:
            raise Rejected(500, "Request to local resource not allowed")
        raise Rejected(500, "Invalid image url")  # the stand-in fetches nothing
    try:
        return imaging.decode(source)
    except (BadImage, TypeError, AttributeError) as error:
        raise Rejected(500, "Invalid encoded image") from error


def _styled(text: str, style: str | None) -> str:
    if not style:
        return text
    if "{prompt}" in style:
        return style.replace("{prompt}", text)
    return ", ".join(part for part in (text, style) if part)


def _fixed(seed: int | None) -> int:
    return random.randrange(4294967294) if seed is None or seed == -1 else seed


def _task_id(kind: str) -> str:
    letters = random.choices(string.ascii_uppercase + string.digits, k=7)
    return f"task({kind}-{''.join(letters)})"
