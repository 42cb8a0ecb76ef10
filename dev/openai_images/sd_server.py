"""stable-diffusion.cpp's server by its ``/v1/images`` routes: most goes by the prompt."""

from __future__ import annotations

import json
import random
import re
from typing import Any

from aiohttp import web

from dev.openai_images import drawing
from dev.openai_images.drawing import Form, Job, Refused
from dev.sd_host.state import HostError
from dev.sd_host.wire import HOST, json_answer, raise_planted

EXTRA_ARGS = re.compile(r"<sd_cpp_extra_args>(.*?)</sd_cpp_extra_args>")
"""As the server looks for them: within one line."""
MOST_PIXELS = 20_000_000


def refused(text: str) -> Refused:
    return Refused(400, {"error": text})


def _server_error(text: str) -> Refused:
    return Refused(500, {"error": "server_error", "message": f"[json.exception.{text}"})


def _typed(body: dict[str, Any], name: str, default: Any) -> Any:
    """A field, whose type must be its default's: null and other types are a 500."""
    value = body.get(name, default)
    if type(value) is not type(default):
        raise _server_error(f"type_error.302] type must be {type(default).__name__}")
    return value


def _job(host: Any, prompt: str, count: int, size: tuple[int, int]) -> Job:
    """What is to be drawn, as the extra arguments in the prompt say it. Raises `Refused`."""
    found = EXTRA_ARGS.search(prompt)
    prompt = EXTRA_ARGS.sub("", prompt)
    try:
        extra = json.loads(found[1]) if found else {}
    except ValueError as error:
        raise refused("invalid sd_cpp_extra_args") from error
    known = {f"{name}.safetensors" for name in host.loras_on_disk}
    for lora in extra.get("lora", []):
        if not isinstance(lora, dict) or lora.get("path") not in known:
            raise refused("invalid sd_cpp_extra_args")
    seed = extra.get("seed", -1)
    sample = extra.get("sample_params", {})
    # Sides are enlarged to multiples of 64.
    width, height = (-(-side // 64) * 64 for side in size)
    if not 0 < width * height <= MOST_PIXELS:
        raise Refused(500, {"error": "generate_image returned no results"})
    return Job(
        prompt=extra.get("prompt", prompt).strip(),
        negative=extra.get("negative_prompt", ""),
        size=(width, height),
        seed=random.randrange(2**31) if seed < 0 else seed,
        count=max(1, count),
        steps=max(1, sample.get("sample_steps", 20)),
        cfg=sample.get("guidance", {}).get("txt_cfg", 7.0),
        strength=extra.get("strength", 0.75),
        annotated=True,
    )


def _size(text: str, default: tuple[int, int]) -> tuple[int, int]:
    """Two numbers; anything else is the default."""
    width, _, height = text.partition("x")
    try:
        return int(width), int(height)
    except ValueError:
        return default


async def generations(request: web.Request) -> web.StreamResponse:
    host = request.app[HOST]
    if not await request.read():
        raise refused("empty body")
    body = await drawing.read_json(request)
    if not isinstance(body, dict):
        raise _server_error("parse_error.101] parse error at line 1, column 1")
    prompt = _typed(body, "prompt", "")
    if not prompt:
        raise refused("prompt required")
    size = _size(_typed(body, "size", ""), (512, 512))
    return await _answered(request, _job(host, prompt, _typed(body, "n", 1), size))


async def edits(request: web.Request) -> web.StreamResponse:
    host = request.app[HOST]
    form = await drawing.read_form(request)
    if form is None:
        raise refused("Content-Type must be multipart/form-data")
    prompt = form.text("prompt")
    if not prompt:
        raise refused("prompt required")
    files = form.named("image[]", "image")
    if not files:
        raise refused("at least one image[] required")
    images = []
    for data in files:
        try:
            images.append(drawing.opened(data))
        except ValueError:
            continue  # it is passed over
    text = form.text("n") or "1"
    size = _size(form.text("size") or "", images[0].size if images else (512, 512))
    job = _job(host, prompt, int(text) if text.isdigit() else 1, size)
    if images:
        job.image, job.references = images[0], images[1:]
    mask = (form or Form()).files.get("mask")
    job.mask = drawing.opened(mask[0]).convert("L") if mask else None
    return await _answered(request, job)


async def _answered(request: web.Request, job: Job) -> web.StreamResponse:
    try:
        files = await drawing.draw(request, job, stops=False)
    except HostError as error:
        raise Refused(500, {"error": "generate_image returned no results"}) from error
    return json_answer(drawing.answer(files, output_format="png"))


async def models(request: web.Request) -> web.StreamResponse:
    raise_planted(request)
    return json_answer({"data": [{"id": "sd-cpp-local", "object": "model", "owned_by": "local"}]})


def routes(personality: str) -> list[web.RouteDef]:
    """The routes of ``sd-server``."""
    return [
        web.get("/v1/models", models),
        web.post("/v1/images/generations", generations),
        web.post("/v1/images/edits", edits),
    ]


def unauthorized() -> Refused:
    return Refused(401, {"error": "Unauthorized"})  # a proxy's: it has no keys itself


def not_found(status: int) -> Refused:
    return Refused(404, {"error": "not found"})


def failed(error: HostError) -> Refused:
    return Refused(500, {"error": "server_error", "message": str(error)})
