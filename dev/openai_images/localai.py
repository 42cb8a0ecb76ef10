"""LocalAI: many models, JSON for everything, links unless base64 is asked for."""

from __future__ import annotations

import base64
import binascii
import random
import time
import uuid
from typing import Any

from aiohttp import web

from dev.openai_images import drawing
from dev.openai_images.drawing import Form, Job, Refused
from dev.sd_host.state import HostError
from dev.sd_host.wire import HOST, json_answer, raise_planted

LANGUAGE_MODELS = ("llama-3.2-1b-instruct",)
"""Are listed among the others, and draw nothing."""


def refused(status: int, text: str, kind: str = "") -> Refused:
    """An error in its shape: the code is the status."""
    return Refused(status, {"error": {"code": status, "message": text, "type": kind}})


def _model(request: web.Request, name: Any) -> str:
    known = [checkpoint.name for checkpoint in request.app[HOST].checkpoints]
    if not name:
        return known[0]
    if name not in (*known, *LANGUAGE_MODELS):
        text = f'model "{name}" not found. To see available models, call GET /v1/models'
        raise refused(404, text, "invalid_request_error")
    if name in LANGUAGE_MODELS:
        raise refused(500, "rpc error: code = Unimplemented desc = unimplemented")
    return str(name)


def _size(text: Any) -> tuple[int, int]:
    """A text without an x is 512x512; with one it must be two numbers."""
    if "x" not in str(text or ""):
        return 512, 512
    width, _, height = str(text).partition("x")
    try:
        return int(width), int(height)
    except ValueError as error:
        raise refused(500, "invalid value for 'size'") from error


def _image(text: str) -> Any:
    """A picture as bare base64; what is none is passed over."""
    try:
        return drawing.opened(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return None


async def generations(request: web.Request) -> web.StreamResponse:
    body = await drawing.read_json(request)
    if not isinstance(body, dict):
        raise refused(400, "failed parsing request body: code=400, message=Syntax error")
    for name, kind in (("n", int), ("step", int), ("seed", int), ("size", str), ("file", str)):
        if body.get(name) is not None and not isinstance(body[name], kind):
            raise refused(400, f"failed parsing request body: cannot unmarshal into {name}")
    _model(request, body.get("model"))
    positive, _, negative = str(body.get("prompt") or "").partition("|")
    seed = body.get("seed")
    job = Job(
        prompt=positive,
        negative=negative.partition("|")[0],
        size=_size(body.get("size")),
        # It is 32 bits to the backend, and negative for one at random.
        seed=random.randrange(2**31) if seed is None or seed & 0x80000000 else seed & 0x7FFFFFFF,
        steps=body.get("step") or 15,
    )
    references = [found for text in body.get("ref_images") or () if (found := _image(text))]
    job.image = _image(body["file"]) if body.get("file") else None
    if references:
        job.image, job.references = references[0], references[1:]
    files: list[bytes] = []
    try:
        for _ in range(body.get("n") or 1):  # each with the same seed
            files += await drawing.draw(request, job, stops=True)
    except HostError as error:
        raise refused(500, f"rpc error: code = Unknown desc = {error}") from error
    return json_answer(_answer(request, files, link=body.get("response_format") != "b64_json"))


async def inpainting(request: web.Request) -> web.StreamResponse:
    form = await drawing.read_form(request) or Form()
    if not form.text("model") or not form.text("prompt"):
        raise refused(400, "Bad Request")
    for name in ("image", "mask"):
        if not form.files.get(name):
            raise refused(400, f"missing {name} file")
    job = Job(
        prompt=form.text("prompt") or "",
        size=(512, 512),
        seed=0,
        image=drawing.opened(form.files["image"][0]),
        mask=drawing.opened(form.files["mask"][0]).convert("L"),
    )
    try:
        files = await drawing.draw(request, job, stops=True)
    except HostError as error:
        raise refused(500, f"rpc error: code = Unknown desc = {error}") from error
    return json_answer(_answer(request, files, link=True))


def _answer(request: web.Request, files: list[bytes], *, link: bool) -> dict[str, Any]:
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    answer = drawing.answer(files, id=str(uuid.uuid4()), usage=usage)
    if link:
        for one, data in zip(answer["data"], files, strict=True):
            key = f"b64{len(request.app[drawing.KEPT])}.png"
            request.app[drawing.KEPT][key] = data
            del one["b64_json"]
            one["url"] = f"{request.scheme}://{request.host}/generated-images/{key}"
    return answer


async def models(request: web.Request) -> web.StreamResponse:
    raise_planted(request)
    names = [checkpoint.name for checkpoint in request.app[HOST].checkpoints]
    data = [{"id": name, "object": "model"} for name in (*LANGUAGE_MODELS, *names)]
    return json_answer({"object": "list", "data": data, "created": int(time.time())})


def routes(personality: str) -> list[web.RouteDef]:
    """The routes of ``localai``."""
    return [
        web.get("/v1/models", models),
        web.post("/v1/images/generations", generations),
        web.post("/v1/images/inpainting", inpainting),
        web.get("/generated-images/{key}", drawing.kept),
    ]


def unauthorized() -> Refused:
    return refused(401, "An authentication key is required", "invalid_request_error")


def not_found(status: int) -> Refused:
    return refused(status, "Not Found" if status == 404 else "Method Not Allowed")


def failed(error: HostError) -> Refused:
    return refused(500, str(error))
