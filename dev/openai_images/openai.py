"""OpenAI itself: what it does not know is refused, and few sizes are drawn."""

from __future__ import annotations

import random
import re
import time
from typing import Any

from aiohttp import web

from dev.openai_images import drawing
from dev.openai_images.drawing import Job, Refused
from dev.sd_host.state import HostError
from dev.sd_host.wire import HOST, json_answer, raise_planted

LANGUAGE_MODELS = ("gpt-4o-mini", "text-embedding-3-small")
_SHARED = {"prompt", "model", "n", "size", "quality", "user"}
_GPT_IMAGE = _SHARED | {"background", "output_format", "output_compression", "moderation"}
_DALL_E = _SHARED | {"response_format", "style"}
_SIZES = {
    "dall-e-2": {"256x256", "512x512", "1024x1024"},
    "dall-e-3": {"1024x1024", "1792x1024", "1024x1792"},
    "gpt-image-1": {"1024x1024", "1536x1024", "1024x1536", "auto"},
}
_FORBIDDEN = "forbidden words"
"""What moderation blocks here."""


def refused(
    text: str, param: str | None = None, code: str | None = None, *, status: int = 400
) -> Refused:
    """An error in its shape."""
    kind = "invalid_request_error"
    if code == "moderation_blocked":
        kind = "image_generation_user_error"
    return Refused(status, {"error": {"message": text, "type": kind, "param": param, "code": code}})


def _checked(body: dict[str, Any], known: set[str]) -> tuple[str, tuple[int, int], int]:
    """Prompt, size and count. Raises `Refused`."""
    for name in body:
        if name not in known:
            raise refused(f"Unknown parameter: '{name}'.", name, "unknown_parameter")
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise refused("Missing required parameter: 'prompt'.", "prompt")
    if _FORBIDDEN in prompt:
        text = "Your request was rejected by the safety system."
        raise refused(text, None, "moderation_blocked")
    model = str(body.get("model"))
    count = body.get("n", 1)
    most = 1 if model.startswith("dall-e-3") else 10
    if not isinstance(count, int) or not 1 <= count <= most:
        raise refused(f"Invalid 'n': must be from 1 to {most}.", "n", "integer_above_max_value")
    size = str(body.get("size", "auto"))
    family = next((name for name in _SIZES if model.startswith(name)), None)
    sound = size in _SIZES[family] if family else _any_size(size)
    if not sound:
        raise refused(f"Invalid value: '{size}'.", "size", "invalid_value")
    width, height = (1024, 1024) if size == "auto" else map(int, size.split("x"))
    return prompt, (width, height), count


def _any_size(size: str) -> bool:
    """What GPT Image draws from its second version on."""
    found = re.fullmatch(r"(\d+)x(\d+)", size)
    if not found:
        return size == "auto"
    width, height = int(found[1]), int(found[2])
    return (
        width % 16 == height % 16 == 0
        and max(width, height) <= min(3840, 3 * min(width, height))
        and 655_360 <= width * height <= 8_294_400
    )


def _model(request: web.Request, name: Any) -> str:
    known = [checkpoint.name for checkpoint in request.app[HOST].checkpoints]
    if not isinstance(name, str) or name not in known:
        text = f"The model '{name}' does not exist."
        raise refused(text, "model", "model_not_found", status=404 if name else 400)
    return name


async def generations(request: web.Request) -> web.StreamResponse:
    body = await drawing.read_json(request)
    if not isinstance(body, dict):
        raise refused("We could not parse the JSON body of your request.")
    model = _model(request, body.get("model"))
    known = _DALL_E if model.startswith("dall-e") else _GPT_IMAGE
    prompt, size, count = _checked(body, known)
    job = Job(prompt=prompt, size=size, seed=random.randrange(2**31), count=count)
    return await _answered(request, job, model, body.get("response_format", "url"))


async def edits(request: web.Request) -> web.StreamResponse:
    form = await drawing.read_form(request)
    if form is None:
        raise refused("Unsupported content type.")
    model = _model(request, form.text("model"))
    known = _DALL_E if model.startswith("dall-e") else _GPT_IMAGE | {"input_fidelity"}
    fields: dict[str, Any] = {name: values[-1] for name, values in form.texts.items()}
    if str(fields.get("n", "")).isdigit():
        fields["n"] = int(fields["n"])
    prompt, size, count = _checked(fields, known)
    for name in form.files:
        if name not in ("image", "image[]", "mask"):
            raise refused(f"Unknown parameter: '{name}'.", name, "unknown_parameter")
    files = form.named("image[]", "image")
    if not files or len(files) > 16:
        raise refused("From 1 to 16 images are needed.", "image")
    try:
        images = [drawing.opened(data) for data in files]
        masks = [drawing.opened(data) for data in form.named("mask")]
    except ValueError as error:
        raise refused("Invalid image file.", "image", "invalid_image_file") from error
    job = Job(prompt=prompt, size=size, seed=random.randrange(2**31), count=count)
    job.image, job.references = images[0], images[1:]
    if masks:
        if masks[0].mode not in ("RGBA", "LA") or masks[0].size != images[0].size:
            text = "Invalid mask image format: it needs an alpha channel and the image's size."
            raise refused(text, "mask", "invalid_image_format")
        job.mask = drawing.alpha_mask(masks[0])
    return await _answered(request, job, model, str(fields.get("response_format", "url")))


async def _answered(request: web.Request, job: Job, model: str, wanted: str) -> web.Response:
    try:
        files = await drawing.draw(request, job, stops=True)
    except HostError as error:
        raise failed(error) from error
    answer = drawing.answer(files)
    if model.startswith("dall-e") and wanted == "url":
        for one, data in zip(answer["data"], files, strict=True):
            key = f"img-{len(request.app[drawing.KEPT])}.png"
            request.app[drawing.KEPT][key] = data
            del one["b64_json"]
            # On another machine, as the real one's are.
            one["url"] = f"http://pictures.example/{key}"
    return json_answer(answer)


async def models(request: web.Request) -> web.StreamResponse:
    raise_planted(request)
    names = [checkpoint.name for checkpoint in request.app[HOST].checkpoints]
    now = int(time.time())
    one = {"object": "model", "created": now, "owned_by": "system"}
    data = [{"id": name, **one} for name in (*LANGUAGE_MODELS, *names)]
    return json_answer({"object": "list", "data": data})


def routes(personality: str) -> list[web.RouteDef]:
    """The routes of ``openai``."""
    return [
        web.get("/v1/models", models),
        web.post("/v1/images/generations", generations),
        web.post("/v1/images/edits", edits),
    ]


def unauthorized() -> Refused:
    return refused("Incorrect API key provided.", None, "invalid_api_key", status=401)


def not_found(status: int) -> Refused:
    return refused("Invalid URL.", status=404)


def failed(error: HostError) -> Refused:
    text = "The server had an error while processing your request."
    return Refused(
        500, {"error": {"message": text, "type": "server_error", "param": None, "code": None}}
    )
