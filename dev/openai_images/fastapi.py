"""vLLM-Omni and SGLang diffusion: one model a server, in FastAPI's ways."""

from __future__ import annotations

import json
import random
import re
import time
import uuid
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from dev.openai_images import drawing
from dev.openai_images.drawing import Form, Job, Refused
from dev.sd_host.state import Host, HostError
from dev.sd_host.wire import HOST, Handler, json_answer, raise_planted

_SIZE = re.compile(r"(\d+)\s*[xX]\s*(\d+)")
_KINDS: Mapping[str, tuple[type, ...]] = {
    "prompt": (str,),
    "model": (str,),
    "n": (int,),
    "size": (str,),
    "response_format": (str,),
    "negative_prompt": (str,),
    "num_inference_steps": (int,),
    "guidance_scale": (int, float),
    "true_cfg_scale": (int, float),
    "strength": (int, float),
    "seed": (int,),
    "lora": (dict,),
    "output_format": (str,),
}
"""What the schemas know; all else is passed over."""


def unprocessable(name: str, message: str, kind: str = "value_error") -> Refused:
    """The 422 of a field that is wrong."""
    return Refused(
        422, {"detail": [{"loc": ["body", name], "msg": message, "type": kind, "input": None}]}
    )


def refused(status: int, text: str) -> Refused:
    """The answer of an HTTPException."""
    return Refused(status, {"detail": text})


async def _fields(request: web.Request) -> dict[str, Any]:
    """The fields of a JSON body that the schema knows."""
    body = await drawing.read_json(request)
    if not isinstance(body, dict):
        raise unprocessable("", "Input should be a valid dictionary", "model_attributes_type")
    known: dict[str, Any] = {}
    for name, kinds in _KINDS.items():
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise unprocessable(name, f"Input should be a valid {kinds[0].__name__}")
        known[name] = value
    return known


def _form_fields(form: Form) -> dict[str, Any]:
    """The fields of a form, as their types."""
    known: dict[str, Any] = {}
    for name, kinds in _KINDS.items():
        text = form.text(name)
        if text is None:
            continue
        try:
            known[name] = text if kinds[0] in (str, dict) else (kinds[-1])(text)
        except ValueError as error:
            raise unprocessable(name, "Input should be a valid number") from error
    return known


def _within(fields: Mapping[str, Any], name: str, low: float, high: float) -> None:
    value = fields.get(name)
    if value is not None and not low <= value <= high:
        raise unprocessable(name, f"Input should be from {low} to {high}")


def _images(form: Form) -> list[bytes]:
    images = form.named("image", "image[]")
    if not images:
        raise refused(422, "Field 'image' or 'url' is required")
    return images


# --- vLLM-Omni ------------------------------------------------------------------------------------


def _vllm_checked(fields: dict[str, Any], host: Host) -> tuple[int, int] | None:
    """The size asked for. Raises `Refused`."""
    if "prompt" not in fields:
        raise unprocessable("prompt", "Field required", "missing")
    model = host.checkpoints[0].name
    if fields.get("model") not in (None, model):
        given = fields["model"]
        raise refused(
            400, f"Model mismatch: request specifies '{given}' but server is running '{model}'."
        )
    size = fields.get("size")
    if size in (None, "auto"):
        return None
    found = _SIZE.fullmatch(size)
    if not found:
        raise refused(
            400,
            f"Invalid size format: '{size}'. Expected format: 'WIDTHxHEIGHT' (e.g., '1024x1024').",
        )
    return int(found[1]), int(found[2])


def _lora(lora: Any, host: Host) -> None:
    if lora is None:
        return
    if isinstance(lora, str):
        try:
            lora = json.loads(lora)
        except ValueError as error:
            raise refused(400, "Invalid LoRA JSON string") from error
    if not isinstance(lora, dict) or not lora.get("name"):
        raise refused(400, "Invalid lora object: name must be a non-empty string.")
    if lora["name"] not in host.loras_on_disk:
        raise refused(400, f"LoRA adapter '{lora['name']}' is not registered.")


async def vllm_generations(request: web.Request) -> web.StreamResponse:
    host = request.app[HOST]
    fields = await _fields(request)
    _within(fields, "n", 1, 10)
    _within(fields, "num_inference_steps", 1, 200)
    _within(fields, "guidance_scale", 0, 20)
    _within(fields, "true_cfg_scale", 0, 20)
    if fields.get("response_format", "b64_json") not in ("b64_json", "file"):
        raise unprocessable("response_format", "Only 'b64_json' or 'file' is supported")
    size = _vllm_checked(fields, host)
    _lora(fields.get("lora"), host)
    job = _job(fields, size or (1024, 1024), random.randrange(2**32))
    return json_answer(await _drawn(request, job, size=fields.get("size")))


async def vllm_edits(request: web.Request) -> web.StreamResponse:
    host = request.app[HOST]
    form = await drawing.read_form(request) or Form()
    fields = _form_fields(form)
    size = _vllm_checked(fields, host)
    if fields.get("response_format", "b64_json") != "b64_json":
        raise refused(400, "Only response_format 'b64_json' is supported now.")
    _lora(fields.get("lora"), host)
    try:
        images = [drawing.opened(data) for data in _images(form)]
        mask = [drawing.opened(data) for data in form.named("mask_image")]
    except ValueError as error:
        raise refused(400, f"Failed to open uploaded file: {error}") from error
    job = _job(fields, size or images[0].size, random.randrange(2**32))
    job.image, job.references = images[0].convert("RGB"), images[1:]
    job.strength = float(fields.get("strength", 0.75))
    job.mask = mask[0] if mask else None
    width, height = job.size
    return json_answer(await _drawn(request, job, size=f"{width}x{height}"))


async def _drawn(request: web.Request, job: Job, *, size: str | None) -> dict[str, Any]:
    try:
        files = await drawing.draw(request, job, stops=request.app[HOST].options.step_execution)
    except HostError as error:
        raise refused(500, f"Image generation failed: {error}") from error
    return drawing.answer(files, output_format="png", size=size)


def _job(fields: Mapping[str, Any], size: tuple[int, int], seed: int) -> Job:
    return Job(
        prompt=fields["prompt"],
        negative=fields.get("negative_prompt", ""),
        size=size,
        seed=fields.get("seed", seed),
        count=fields.get("n", 1),
        steps=fields.get("num_inference_steps", 4),
    )


# --- SGLang ---------------------------------------------------------------------------------------


async def sglang_generations(request: web.Request) -> web.StreamResponse:
    fields = await _fields(request)
    if "prompt" not in fields:
        raise unprocessable("prompt", "Field required", "missing")
    return json_answer(await _sglang(request, fields, [], "url"))


async def sglang_edits(request: web.Request) -> web.StreamResponse:
    form = await drawing.read_form(request) or Form()
    fields = _form_fields(form)
    if "prompt" not in fields:
        raise unprocessable("prompt", "Field required", "missing")
    return json_answer(await _sglang(request, fields, _images(form), "b64_json"))


async def _sglang(
    request: web.Request, fields: Mapping[str, Any], files: list[bytes], default: str
) -> dict[str, Any]:
    """Masks, strengths and LoRAs are not looked at, and a size that is none is the default."""
    wanted = fields.get("response_format", default).lower()
    found = _SIZE.fullmatch(fields.get("size", ""))
    job = _job(fields, (int(found[1]), int(found[2])) if found else (1024, 1024), 1024)
    job.count = min(max(job.count, 1), 10)
    try:
        images = [drawing.opened(data) for data in files]
    except ValueError as error:
        raise refused(400, f"Failed to process image source: {error}") from error
    if images:
        job.image, job.references = images[0], images[1:]
    try:
        drawn = await drawing.draw(request, job, stops=False)
    except HostError as error:
        raise refused(500, str(error)) from error
    if wanted not in ("b64_json", "url"):
        raise refused(400, f"response_format={wanted} is not supported")
    answer = drawing.answer(drawn, id=str(uuid.uuid4()))
    for one, data in zip(answer["data"], drawn, strict=True):
        one["revised_prompt"] = job.prompt
        if wanted == "url":
            key = f"{answer['id']}-{len(request.app[drawing.KEPT])}"
            request.app[drawing.KEPT][key] = data
            del one["b64_json"]
            one["url"] = f"/v1/images/{key}/content"
    return answer


# --- both -----------------------------------------------------------------------------------------


def _models(owner: str) -> Handler:
    async def models(request: web.Request) -> web.StreamResponse:
        raise_planted(request)
        name = request.app[HOST].checkpoints[0].name
        one = {"id": name, "object": "model", "created": int(time.time()), "owned_by": owner}
        return json_answer({"object": "list", "data": [{**one, "root": name, "parent": None}]})

    return models


async def _health(request: web.Request) -> web.StreamResponse:
    return web.Response()


def routes(personality: str) -> list[web.RouteDef]:
    """The routes of ``vllm-omni`` or ``sglang``."""
    vllm = personality == "vllm-omni"
    return [
        web.get("/health", _health),
        web.get("/v1/models", _models("vllm" if vllm else "sglang")),
        web.post("/v1/images/generations", vllm_generations if vllm else sglang_generations),
        web.post("/v1/images/edits", vllm_edits if vllm else sglang_edits),
        *([] if vllm else [web.get("/v1/images/{key}/content", drawing.kept)]),
    ]


def unauthorized() -> Refused:
    return Refused(401, {"error": "Unauthorized"})


def not_found(status: int) -> Refused:
    return Refused(status, {"detail": "Not Found" if status == 404 else "Method Not Allowed"})


def failed(error: HostError) -> Refused:
    return Refused(500, {"detail": str(error)})
