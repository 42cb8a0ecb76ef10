"""The personality koboldcpp: a server of language models that draws beside, one picture a call.

It has a handful of the web UI's routes, ignores most of a request, tells nothing of what it has
drawn, and answers a drawing that failed with 200 and an empty picture.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from aiohttp import web
from PIL import Image, ImageOps

from dev.sd_host import engine, imaging
from dev.sd_host.imaging import BadImage
from dev.sd_host.state import Host, HostError
from dev.sd_host.wire import (
    HOST,
    Handler,
    faults_of,
    json_answer,
    not_the_hosts,
    note_body,
    raise_planted,
)

API = "/sdapi/v1"
MOST_BYTES = 32 * 1024 * 1024
MOST_STEPS = 80
MOST_PIXELS = 20_000_000
NO_SUCH_PATH = (
    "Error: HTTP Server is running, but this endpoint does not exist. Please check the URL."
)
SAMPLERS = {
    "Euler a": ("k_euler_a", "k_euler_ancestral"),
    "Euler": ("k_euler",),
    "Heun": ("k_heun",),
    "DPM2": ("k_dpm_2",),
    "DPM++ 2M": ("k_dpmpp_2m",),
    "DDIM": ("ddim",),
    "LCM": ("k_lcm",),
    "Default": ("default",),
}


def _told(message: str, kind: str, status: int) -> web.Response:
    return json_answer({"detail": {"msg": message, "type": kind}}, status)


def _number(convert: Callable[[Any], Any], body: dict[str, Any], name: str, default: Any) -> Any:
    """The field as a number, or the default for what is none."""
    try:
        return convert(body.get(name, default))
    except (TypeError, ValueError):
        return default


class _Request:
    """What of a request the server looks at."""

    def __init__(self, host: Host, body: dict[str, Any]) -> None:
        step = host.options.size_step
        self.prompt = str(body.get("prompt", "high quality"))
        self.negative = str(body.get("negative_prompt", ""))
        sides = [_number(int, body, name, 512) for name in ("width", "height")]
        self.size = tuple(max(side, 64) // step * step for side in sides)
        self.steps = min(max(_number(int, body, "steps", 20), 1), MOST_STEPS)
        self.cfg_scale = min(max(_number(float, body, "cfg_scale", 5), 1), 25)
        self.strength = _number(float, body, "denoising_strength", 0.6)
        seed = _number(int, body, "seed", -1)
        self.seed = random.randint(100000, 999999) if seed < 0 else seed
        self.init = _image((body.get("init_images") or [""])[0])
        self.mask = None if self.init is None else _image(body.get("mask") or "")
        if self.mask is not None and body.get("inpainting_mask_invert"):
            self.mask = ImageOps.invert(self.mask.convert("RGB"))

    def words(self, host: Host) -> str:
        width, height = self.size
        return (
            f"Prompt: {self.prompt} | NegativePrompt: {self.negative} | Steps: {self.steps} | "
            f"CFGScale: {self.cfg_scale} | Seed: {self.seed} | Size: {width}x{height} | "
            f"Model: {host.checkpoints[0].file_name} | Version: KoboldCpp"
        )


def _image(text: Any) -> Image.Image | None:
    if not isinstance(text, str) or not text:
        return None
    try:
        return imaging.decode(text)
    except BadImage:
        return None


def _drawing(kind: str) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        host = request.app[HOST]
        raise_planted(request)
        raw = await request.read()
        if len(raw) > MOST_BYTES:
            return _told("Payload is too big. Max payload size is 32MB.", "bad_input", 500)
        if host.lock.locked() and host.stats.counters["waiting"] >= host.options.queue:
            message = "Server is busy; please try again later."
            return _told(message, "service_unavailable", 503)
        async with host.turn():
            try:
                body = json.loads(raw)
            except ValueError:
                body = None
            if not isinstance(body, dict) or not body:
                return _told("Error parsing input.", "bad_input", 500)
            note_body(request, body)
            asked = _Request(host, body)
            try:
                image = await _one(host, kind, asked, request)
            except HostError:
                return json_answer({"images": [""], "parameters": {}, "info": ""})
        data = imaging.encode(image, "png", asked.words(host))
        answer = {"images": [imaging.to_base64(data)], "parameters": {}, "info": ""}
        return json_answer({**answer, "animated": False})

    return handle


async def _one(host: Host, kind: str, asked: _Request, request: web.Request) -> Image.Image:
    width, height = asked.size
    if width * height > MOST_PIXELS:
        raise HostError("KCPP", "out of memory")
    init, mask, strength = asked.init, asked.mask, asked.strength

    def draw() -> list[Image.Image]:
        size = (width, height)
        words = (asked.prompt, asked.negative, asked.seed)
        return [engine.drawn(*words, size, init, mask, strength)]

    made = await engine.run(host, kind, asked.steps, width * height, faults_of(request), draw)
    if not made:
        raise HostError("KCPP", "no picture")
    return made[0]


async def interrogate(request: web.Request) -> web.StreamResponse:
    return _told("No LLaVA model loaded", "service_unavailable", 503)


def _model(host: Host) -> dict[str, Any]:
    """The one model that was loaded at the start; its hashes are placeholders."""
    checkpoint = host.checkpoints[0]
    return {
        "title": checkpoint.short_name,
        "model_name": checkpoint.short_name,
        "hash": "8" * 10,
        "sha256": "8" * 64,
        "filename": f"/srv/models/{checkpoint.file_name}",
        "config": None,
    }


LISTS: dict[str, Callable[[Host], Any]] = {
    f"{API}/sd-models": lambda host: [_model(host)],
    f"{API}/options": lambda host: {
        "samples_format": "png",
        "sd_model_checkpoint": host.checkpoints[0].short_name,
    },
    f"{API}/samplers": lambda host: [
        {"name": name, "aliases": list(aliases), "options": {}}
        for name, aliases in SAMPLERS.items()
    ],
    f"{API}/latent-upscale-modes": lambda host: [],
    f"{API}/upscalers": lambda host: [],
    "/api/extra/version": lambda host: {
        "result": "KoboldCpp",
        "version": "1.102",
        "protected": False,
        "txt2img": True,
    },
}


def routes(host: Host) -> list[web.RouteDef]:
    """The routes of this personality."""

    def listing(make: Callable[[Host], Any]) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            raise_planted(request)
            return json_answer(make(request.app[HOST]))

        return handle

    table = [web.get(path, listing(make)) for path, make in LISTS.items()]
    table += [web.post(f"{API}/{kind}", _drawing(kind)) for kind in ("txt2img", "img2img")]
    return [*table, web.post(f"{API}/interrogate", interrogate)]


@web.middleware
async def dressed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What is not there is a page for a GET, and an empty answer else."""
    if not_the_hosts(request):
        return await handler(request)
    try:
        answer = await handler(request)
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
        text = NO_SUCH_PATH if request.method == "GET" else ""
        answer = web.Response(text=text, status=404, content_type="text/html")
    except HostError as error:
        answer = _told(str(error), "server_error", 500)
    answer.headers["Access-Control-Allow-Origin"] = "*"
    return answer
