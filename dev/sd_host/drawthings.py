"""The personality drawthings: the app Draw Things with its HTTP server.

It draws, and shows what the app is set to, which is also what holds for every field that a request
leaves out. It has no lists, and refuses what it does not know; every refusal is a 422.
"""

from __future__ import annotations

import base64
import binascii
import json
import random
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from PIL import Image

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
STEP = 64
SAMPLERS = (
    *("DPM++ 2M Karras", "Euler a", "DDIM", "UniPC", "DPM++ SDE Karras", "PLMS", "LCM"),
    *("Euler A Substep", "DPM++ SDE Substep", "TCD", "TCD Trailing", "Euler A Trailing"),
    *("DPM++ SDE Trailing", "DPM++ 2M AYS", "Euler A AYS", "DPM++ SDE AYS"),
    *("DPM++ 2M Trailing", "DDIM Trailing", "UniPC Trailing", "UniPC AYS"),
)
OTHER_NAMES = {
    "cfg_scale": "guidance_scale",
    "n_iter": "batch_count",
    "sampler_name": "sampler",
    "sampler_index": "sampler",
    "denoising_strength": "strength",
    "enable_hr": "hires_fix",
    "firstphase_width": "hires_fix_width",
    "firstphase_height": "hires_fix_height",
    "upscaler_scale_factor": "upscaler_scale",
}
"""The web UI's names for the app's own; only one of the two may be sent."""
RANGES: Mapping[str, tuple[float, float]] = {
    "width": (128, 8192),
    "height": (128, 8192),
    "seed": (-1, 2**32 - 1),
    "guidance_scale": (0, 50),
    "steps": (1, 150),
    "batch_count": (1, 100),
    "batch_size": (1, 4),
    "strength": (0, 1),
    "clip_skip": (1, 23),
    "guidance_embed": (0, 25),
    "shift": (0.1, 8),
    "mask_blur": (0, 25),
    "image_guidance": (0, 25),
    "hires_fix_width": (128, 2048),
    "hires_fix_height": (128, 2048),
    "hires_fix_strength": (0, 1),
    "refiner_start": (0, 1),
    "sharpness": (0, 30),
    "upscaler_scale": (0, 4),
}


class Unprocessable(Exception):
    """The one refusal there is; the text says why."""


def shown_by_the_app(host: Host) -> dict[str, Any]:
    """What the app is set to: the fields there are, and what they are when nobody sends them."""
    return {
        "model": host.checkpoints[0].file_name,
        "width": 768,
        "height": 512,
        "seed": 4068211935,
        "guidance_scale": 4.5,
        "seed_mode": "Scale Alike",
        "steps": 8,
        "batch_count": 1,
        "batch_size": 2,
        "sampler": "DPM++ 2M Karras",
        "strength": 0.7,
        "clip_skip": 1,
        "image_guidance": 1.5,
        "mask_blur": 1.5,
        "prompt": "what the app has in its box",
        "negative_prompt": "",
        "hires_fix": False,
        "hires_fix_width": 512,
        "hires_fix_height": 512,
        "hires_fix_strength": 0.7,
        "refiner_model": None,
        "refiner_start": 0.85,
        "sharpness": 0.0,
        "shift": 1.0,
        "guidance_embed": 3.5,
        "speed_up_with_guidance_embed": True,
        "upscaler": None,
        "upscaler_scale": 0,
        "loras": [],
        "controls": [],
        "tiled_decoding": False,
        "preserve_original_after_inpaint": True,
    }


def _typed(name: str, value: Any, default: Any) -> Any:
    """A value as Swift decodes it: no text for a number, nor the other way round."""
    if value is None:
        return default
    kind: Any = (bool, list, str)
    if default is None or isinstance(default, str):
        kind = str
    elif isinstance(default, bool):
        kind = bool
    elif isinstance(default, (int, float)):
        kind = (int, float)
    elif isinstance(default, list):
        kind = list
    fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if isinstance(default, int) and not isinstance(default, bool) and isinstance(value, float):
        fits = value.is_integer()
    if not fits:
        raise Unprocessable(f'typeMismatch(CodingKeys(stringValue: "{name}"))')
    return int(value) if isinstance(default, int) and not isinstance(default, bool) else value


def read(host: Host, body: Mapping[str, Any]) -> dict[str, Any]:
    """All fields of a request; raises `Unprocessable`."""
    defaults = shown_by_the_app(host)
    fields, rest = dict(defaults), dict(body)
    for name, default in defaults.items():
        sent = [
            key
            for key in (name, *(o for o, own in OTHER_NAMES.items() if own == name))
            if key in rest
        ]
        if not sent:
            continue
        if len(sent) > 1:
            raise Unprocessable(f"More than one key for {name} specified (must only specify one)")
        value = _typed(sent[0], rest.pop(sent[0]), default)
        low, high = RANGES.get(name, (float("-inf"), float("inf")))
        if isinstance(value, (int, float)) and not low <= value <= high:
            text = f"between {low} and {high}, inclusive (was {value})"
            raise Unprocessable(f"Value for {name} must be {text}")
        if name == "sampler" and value not in SAMPLERS:
            raise Unprocessable(f"Invalid value for {sent[0]} (options: {list(SAMPLERS)})")
        fields[name] = value
    fields["restore_faces"] = _typed("restore_faces", rest.pop("restore_faces", False), False)
    fields["init_images"] = rest.pop("init_images", None)
    if rest:
        raise Unprocessable(f"Unrecognized keys: {sorted(rest)}")
    checkpoint = fields["model"]
    if not any(checkpoint in (c.file_name, c.name) for c in host.checkpoints):
        text = "(see --help for a list of available models)"
        raise Unprocessable(f'Unrecognized model name "{checkpoint}" {text}')
    return fields


def _init(fields: Mapping[str, Any], kind: str) -> Image.Image | None:
    """The picture to begin with; raises `Unprocessable`."""
    sources = fields["init_images"]
    if kind == "txt2img":
        if sources is not None:
            raise Unprocessable("init_images is not supported for text-to-image")
        return None
    if sources is None:
        return Image.new("RGB", (fields["width"], fields["height"]), "grey")  # the app's canvas
    if not isinstance(sources, list) or not all(isinstance(s, str) for s in sources):
        raise Unprocessable('typeMismatch(CodingKeys(stringValue: "init_images"))')
    try:
        images = [_decoded(source) for source in sources]
    except BadImage as error:
        raise Unprocessable("Data in init_images did not represent a valid image") from error
    if len(images) != 1:
        return Image.new("RGB", (fields["width"], fields["height"]), "grey")
    for side, size in zip(("width", "height"), images[0].size, strict=True):
        if size != fields[side]:
            text = f"doesn't match {size} from the parameter {fields[side]}"
            raise Unprocessable(f"init_images {side} {text}")
    return images[0]


def _decoded(text: str) -> Image.Image:
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise Unprocessable("dataCorrupted: Encountered Data is not valid Base64.") from error
    return imaging.decode(text)


def _drawing(kind: str) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        host = request.app[HOST]
        raise_planted(request)
        try:
            body = json.loads(await request.read())
        except ValueError as error:
            raise Unprocessable("dataCorrupted: The given data was not valid JSON.") from error
        if not isinstance(body, dict):
            raise Unprocessable("typeMismatch: Expected to decode Dictionary<String, Any>")
        note_body(request, body)
        fields = read(host, body)
        init = _init(fields, kind)
        width, height = fields["width"] // STEP * STEP, fields["height"] // STEP * STEP
        count = fields["batch_size"] * fields["batch_count"]
        first = fields["seed"] if fields["seed"] >= 0 else random.randrange(2**32)
        strength = fields["strength"] if kind == "img2img" else 1.0
        words = (fields["prompt"], fields["negative_prompt"])

        def draw() -> list[Image.Image]:
            # Only the first picture's seed is the one that was asked for.
            seeds = [first, *(random.Random(first).sample(range(2**32), count - 1))]
            return [
                engine.drawn(*words, seed, (width, height), init, None, strength) for seed in seeds
            ]

        pixels = width * height * count
        async with host.turn():
            images = await engine.run(host, kind, fields["steps"], pixels, faults_of(request), draw)
        data = [imaging.to_base64(imaging.encode(image)) for image in images]
        return json_answer({"images": data})

    return handle


def routes(host: Host) -> list[web.RouteDef]:
    """The routes of this personality."""

    async def welcome(request: web.Request) -> web.StreamResponse:
        raise_planted(request)
        return json_answer(shown_by_the_app(request.app[HOST]))

    return [
        web.get("/", welcome),
        web.get(f"{API}/options", welcome),
        *(web.post(f"{API}/{kind}", _drawing(kind)) for kind in ("txt2img", "img2img")),
    ]


@web.middleware
async def dressed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every refusal is a 422, and what is not there a plain 404."""
    if not_the_hosts(request):
        return await handler(request)
    try:
        return await handler(request)
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
        return web.Response(text="Not Found", status=404)
    except (Unprocessable, HostError) as error:
        body = {"error": "HTTPException", "detail": str(error), "body": "", "errors": ""}
        return json_answer(body, 422)
