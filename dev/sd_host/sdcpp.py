"""The sdcpp personality: stable-diffusion.cpp's server, a second kind of A1111-shaped host.

It draws and lists, and that is all: no progress, no interrupt, no settings to change. Much of an
A1111 request is ignored in silence, and null where a value is typed is an error.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

from aiohttp import web
from PIL import Image

from dev.sd_host import catalog, engine, imaging, infotext
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
MOST_PIXELS = 20_000_000
MOST_IN_A_BATCH = 8
SAMPLERS = {
    "euler": "euler",
    "euler a": "euler_a",
    "heun": "heun",
    "dpm2": "dpm2",
    "dpm++ 2m": "dpm++2m",
    "lcm": "lcm",
    "ddim": "ddim_trailing",
}
"""A1111's name in lower case, and the server's own, which is accepted too."""
SCHEDULERS = ("discrete", "karras", "exponential", "ays", "gits", "sgm_uniform", "simple")
_EXTRA_ARGS = re.compile(r"<sd_cpp_extra_args>(.*?)</sd_cpp_extra_args>", re.DOTALL)
_JSON_NAMES = {bool: "boolean", int: "number", float: "number", str: "string", list: "array"}


class Refused(Exception):
    """A 400 with a text."""


class ServerError(Exception):
    """A 500; ``body`` is the whole answer."""

    def __init__(self, body: dict[str, str]) -> None:
        super().__init__(body["error"])
        self.body = body


def _json_error(code: str, text: str) -> ServerError:
    message = f"[json.exception.{code}] {text}"
    return ServerError({"error": "server_error", "message": message})


def _typed(body: dict[str, Any], name: str, default: Any) -> Any:
    """The field, which must be of its default's type: null and other types are a 500."""
    if name not in body:
        return default
    value = body[name]
    number = isinstance(default, (int, float)) and isinstance(value, (int, float))
    if number:
        return type(default)(value)
    if isinstance(value, type(default)):
        return value
    kind = _JSON_NAMES.get(type(value), "null" if value is None else "object")
    wanted = _JSON_NAMES[type(default)]
    raise _json_error("type_error.302", f"type must be {wanted}, but is {kind}")


def _parse(raw: bytes) -> dict[str, Any]:
    if not raw:
        raise Refused("empty body")
    try:
        body = json.loads(raw)
    except ValueError as error:
        text = "parse error at line 1, column 1: syntax error while parsing value"
        raise _json_error("parse_error.101", text) from error
    if not isinstance(body, dict):
        raise _json_error("type_error.306", "cannot use value() with array")
    return body


class _Request:
    """What of a request the server looks at."""

    def __init__(self, host: Host, body: dict[str, Any]) -> None:
        self.prompt: str = _typed(body, "prompt", "")
        self.negative: str = _typed(body, "negative_prompt", "")
        self.asked = (_typed(body, "width", 512), _typed(body, "height", 512))
        self.steps: int = _typed(body, "steps", 20)
        self.cfg_scale: float = _typed(body, "cfg_scale", 7.0)
        seed: int = _typed(body, "seed", -1)
        self.batch = min(max(_typed(body, "batch_size", 1), 1), MOST_IN_A_BATCH)
        sampler = _typed(body, "sampler_name", "").lower()
        _typed(body, "scheduler", "")
        self.strength: float = _typed(body, "denoising_strength", 0.75)
        self.sampler = SAMPLERS.get(sampler, sampler if sampler in SAMPLERS.values() else "NONE")
        if not self.prompt:
            raise Refused("prompt required")
        if min(self.asked) <= 0:
            raise Refused("width and height must be positive")
        for extra in _EXTRA_ARGS.findall(self.prompt):
            try:
                json.loads(extra)
            except ValueError as error:
                raise Refused("invalid sd_cpp_extra_args") from error
        self._check_loras(host, body)
        self.seed = random.randrange(2**31) if seed < 0 else seed
        self.steps = max(self.steps, 1)
        self.size = (-(-self.asked[0] // 64) * 64, -(-self.asked[1] // 64) * 64)
        self.final_size = self._final_size(host, body)
        if self.size[0] * self.size[1] > MOST_PIXELS:
            raise ServerError({"error": "generate_image returned no results"})

    def _final_size(self, host: Host, body: dict[str, Any]) -> tuple[int, int]:
        if not host.options.sdcpp_hires or not _typed(body, "enable_hr", False):
            return self.size
        wide, high = _typed(body, "hr_resize_x", 0), _typed(body, "hr_resize_y", 0)
        if wide or high:
            goal = (wide or high, high or wide)  # the one that is missing is like the other
        else:
            scale = _typed(body, "hr_scale", 2.0)
            goal = (round(self.size[0] * scale), round(self.size[1] * scale))
        return (-(-goal[0] // 64) * 64, -(-goal[1] // 64) * 64)

    @staticmethod
    def _check_loras(host: Host, body: dict[str, Any]) -> None:
        known = {_lora(lora)["path"] for lora in host.loras}
        for item in _typed(body, "lora", []):
            path = item.get("path") if isinstance(item, dict) else None
            if not path:
                raise Refused("lora.path required")
            if path not in known:
                raise Refused(f"invalid lora path: {path}")

    def words(self, host: Host, seed: int) -> str:
        return infotext.write(
            self.prompt,
            self.negative,
            {
                "Steps": self.steps,
                "CFG scale": self.cfg_scale,
                "Seed": seed,
                "Size": f"{self.size[0]}x{self.size[1]}",
                "Model": host.checkpoints[0].short_name,
                "Sampler": self.sampler,
                "Version": "stable-diffusion.cpp",
            },
        )


def _drawing(kind: str) -> Callable[[web.Request, Host], Any]:
    async def draw(request: web.Request, host: Host) -> web.Response:
        body = _parse(await request.read())
        note_body(request, body)
        asked = _Request(host, body)
        init = _first_image(body.get("init_images")) if kind == "img2img" else None
        mask = _first_image([body.get("mask")]) if init is not None else None
        faults = faults_of(request)
        seeds = [asked.seed + index for index in range(asked.batch)]

        def draw_all() -> list[Image.Image]:
            words = (asked.prompt, asked.negative)
            drawn = [
                engine.drawn(*words, seed, asked.size, init, mask, asked.strength) for seed in seeds
            ]
            if kind == "img2img" or asked.final_size == asked.size:
                return drawn
            return [image.resize(asked.final_size) for image in drawn]

        pixels = asked.size[0] * asked.size[1] * asked.batch
        async with host.turn():
            try:
                images = await engine.run(host, kind, asked.steps, pixels, faults, draw_all)
            except HostError as error:
                raise ServerError({"error": "generate_image returned no results"}) from error
        files = [
            imaging.encode(image, "png", asked.words(host, asked.seed + index))
            for index, image in enumerate(images)
        ]
        return json_answer(
            {
                "images": [imaging.to_base64(data) for data in files],
                "parameters": body,
                "info": _info(host, asked) if host.options.sdcpp_info == "json" else "",
            }
        )

    return draw


def _first_image(sources: Any) -> Image.Image | None:
    """The first picture, or none: what does not decode is ignored."""
    if not isinstance(sources, list) or not sources or not isinstance(sources[0], str):
        return None
    try:
        return imaging.decode(sources[0])
    except BadImage:
        return None


def _info(host: Host, asked: _Request) -> str:
    seeds = [asked.seed + index for index in range(asked.batch)]
    return json.dumps(
        {
            "prompt": asked.prompt,
            "all_prompts": [asked.prompt] * asked.batch,
            "negative_prompt": asked.negative,
            "all_negative_prompts": [asked.negative] * asked.batch,
            "seed": asked.seed,
            "all_seeds": seeds,
            "width": asked.asked[0],
            "height": asked.asked[1],
            "sampler_name": asked.sampler,
            "cfg_scale": asked.cfg_scale,
            "steps": asked.steps,
            "batch_size": asked.batch,
            "sd_model_name": host.checkpoints[0].short_name,
            "infotexts": [asked.words(host, seed) for seed in seeds],
            "index_of_first_image": 0,
            "version": "stable-diffusion.cpp",
        }
    )


def _lora(entry: dict[str, Any]) -> dict[str, Any]:
    return {"name": entry["name"], "path": f"{entry['name']}.safetensors"}


def _model(host: Host) -> dict[str, Any]:
    """The one model that was loaded at the start; its hashes are placeholders."""
    checkpoint = host.checkpoints[0]
    return {
        "title": checkpoint.name,
        "model_name": checkpoint.name,
        "filename": checkpoint.file_name,
        "hash": "8" * 10,
        "sha256": "8" * 64,
        "config": None,
    }


LISTS: dict[str, Callable[[Host], Any]] = {
    "loras": lambda host: [_lora(lora) for lora in host.loras],
    "upscalers": lambda host: catalog.UPSCALERS[:3],
    "latent-upscale-modes": lambda host: catalog.LATENT_UPSCALE_MODES[:1],
    "samplers": lambda host: [
        {"name": name, "aliases": [name], "options": {}} for name in SAMPLERS.values()
    ],
    "schedulers": lambda host: [{"name": name, "label": name} for name in SCHEDULERS],
    "sd-models": lambda host: [_model(host)],
    "options": lambda host: {
        "samples_format": "png",
        "sd_model_checkpoint": host.checkpoints[0].name,
    },
}


def routes(host: Host) -> list[web.RouteDef]:
    """The routes of this personality."""

    def listing(make: Callable[[Host], Any]) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            raise_planted(request)
            return json_answer(make(request.app[HOST]))

        return handle

    def drawing(kind: str) -> Handler:
        draw = _drawing(kind)

        async def handle(request: web.Request) -> web.StreamResponse:
            answer: web.Response = await draw(request, request.app[HOST])
            return answer

        return handle

    table = [web.get(f"{API}/{name}", listing(make)) for name, make in LISTS.items()]
    features = {"features": {"init_image": True, "hires": True, "cancel_generating": False}}
    if host.options.sdcpp_hires:
        table.append(web.get("/sdcpp/v1/capabilities", listing(lambda host: features)))
    return [*table, *(web.post(f"{API}/{k}", drawing(k)) for k in ("txt2img", "img2img"))]


@web.middleware
async def dressed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors in the server's shapes, CORS for everybody; what is not 200 closes the connection."""
    if not_the_hosts(request):
        return await handler(request)
    try:
        answer = await handler(request)
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
        answer = web.Response(status=404)
    except Refused as error:
        answer = json_answer({"error": str(error)}, 400)
    except ServerError as error:
        answer = json_answer(error.body, 500)
    except HostError as error:
        answer = json_answer({"error": "server_error", "message": str(error)}, 500)
    if answer.status >= 300:
        answer.force_close()
    origin = request.headers.get("Origin")
    if origin:
        answer.headers["Access-Control-Allow-Origin"] = origin
    return answer
