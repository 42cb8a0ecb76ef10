"""What all the personalities share: reading a request, drawing it, and the pictures' files."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from PIL import Image, ImageOps

from dev.sd_host import imaging, infotext
from dev.sd_host.faults import of_kind
from dev.sd_host.state import Host, HostError, Progress
from dev.sd_host.wire import HOST, SEEN, faults_of, json_answer, note_body


class Refused(Exception):
    """An answer other than 200, whole."""

    def __init__(self, status: int, body: Any, **headers: str) -> None:
        super().__init__(status)
        self.answer = json_answer(body, status, **headers)


@dataclass
class Form:
    """A multipart form: texts by name, and files by name, in their order."""

    texts: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, list[bytes]] = field(default_factory=dict)

    def text(self, name: str) -> str | None:
        return self.texts.get(name, [None])[-1]

    def named(self, *names: str) -> list[bytes]:
        """The files under the first of these names that has some."""
        return next((self.files[name] for name in names if self.files.get(name)), [])


async def read_json(request: web.Request) -> Any:
    """The body as JSON, noted for the stats; None when it is none."""
    try:
        value = json.loads(await request.read())
    except ValueError:
        return None
    note_body(request, value)
    return value


async def read_form(request: web.Request) -> Form | None:
    """The body as a form, noted for the stats; None when it is none."""
    if not request.content_type.startswith("multipart/"):
        return None
    form = Form()
    async for part in await request.multipart():
        name = getattr(part, "name", None)
        if name is None:
            continue
        data = bytes(await part.read())  # type: ignore[union-attr]
        if getattr(part, "filename", None):
            form.files.setdefault(name, []).append(data)
        else:
            form.texts.setdefault(name, []).append(data.decode())
    noted: dict[str, Any] = {name: values[-1] for name, values in form.texts.items()}
    for name, files in form.files.items():
        noted[name] = [f"<{len(data)} bytes>" for data in files]
    note_body(request, noted)
    return form


def opened(data: bytes) -> Image.Image:
    """The picture in a file; raises `ValueError`."""
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError("cannot identify image file") from error
    return image


@dataclass
class Job:
    """What is to be drawn. ``mask`` is white where it is to be repainted."""

    prompt: str
    size: tuple[int, int]
    seed: int
    count: int = 1
    negative: str = ""
    steps: int = 4
    strength: float = 0.75
    image: Image.Image | None = None
    references: list[Image.Image] = field(default_factory=list)
    mask: Image.Image | None = None
    annotated: bool = False
    """Whether the PNG tells how it was drawn."""
    cfg: float = 7.0


async def draw(request: web.Request, job: Job, *, stops: bool) -> list[bytes]:
    """The files of a job, drawn one at a time on the host. ``stops``: it ends with its connection.

    Raises `HostError`.
    """
    host, faults = request.app[HOST], faults_of(request)
    kind = "txt2img" if job.image is None else "img2img"
    seeds = [job.seed + index for index in range(job.count)]
    async with host.turn(), _watched(request, host, stops):
        if stops and _gone(request):
            raise HostError("ClientDisconnect", "the client is gone")
        host.stats.add(f"generations_{kind}")
        host.stats.begin()
        host.progress = Progress("images")
        failed = True
        try:
            drawing = asyncio.ensure_future(
                asyncio.to_thread(lambda: [_drawn(job, seed) for seed in seeds])
            )
            try:
                seconds = host.options.duration(job.steps * job.size[0] * job.size[1] * job.count)
                share = await host.sample(job.steps, seconds, faults, drawing)
                images = await drawing
            finally:
                drawing.cancel()
            if share < 1:
                raise HostError("AbortedError", "the request was aborted")
            failed = False
        finally:
            host.progress.end()
            host.stats.end(failed=failed)
    if of_kind(faults, "wrong_size"):
        images = [image.resize((image.width // 2, image.height // 2)) for image in images]
    wrong = of_kind(faults, "wrong_count")
    if wrong:
        count = int(wrong.extra.get("count", len(images) - 1))
        images = [images[index % len(images)] for index in range(count)]
    return [
        imaging.encode(image, "png", _text(host, job, seed) if job.annotated else None)
        for image, seed in zip(images, [*seeds, *range(len(images))], strict=False)
    ]


def _drawn(job: Job, seed: int) -> Image.Image:
    width, height = job.size
    if job.image is None:
        return imaging.drawn(job.prompt, job.negative, seed, width, height)
    old = imaging.fitted(job.image, width, height, 0)
    new = imaging.repainted(old, job.prompt, job.negative, seed, job.strength)
    for reference in job.references:
        # Its colour shows that it was looked at.
        tint = imaging.fitted(reference, width, height, 0).resize((1, 1)).resize((width, height))
        new = Image.blend(new, tint, 0.2)
    if job.mask is None:
        return new
    return imaging.masked(new, old, job.mask, (0, 0), False)


def _text(host: Host, job: Job, seed: int) -> str:
    return infotext.write(
        job.prompt,
        job.negative,
        {
            "Steps": job.steps,
            "CFG scale": job.cfg,
            "Seed": seed,
            "Size": f"{job.size[0]}x{job.size[1]}",
            "Model": host.checkpoints[0].short_name,
            "Version": "stable-diffusion.cpp",
        },
    )


def _gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


@asynccontextmanager
async def _watched(request: web.Request, host: Host, stops: bool) -> AsyncIterator[None]:
    """Interrupts the host when the client hangs up, if it notices that."""

    async def watch() -> None:
        while not _gone(request):
            await asyncio.sleep(0.01)
        request[SEEN]["hung_up"] = True
        host.interrupt()

    if not stops:
        yield
        return
    watching = asyncio.ensure_future(watch())
    try:
        yield
    finally:
        watching.cancel()


def answer(files: list[bytes], **more: Any) -> dict[str, Any]:
    """OpenAI's answer with the pictures in it."""
    data = [{"b64_json": imaging.to_base64(one)} for one in files]
    return {"created": int(time.time()), "data": data, **more}


def alpha_mask(mask: Image.Image) -> Image.Image:
    """OpenAI's mask as ours: white where it is transparent."""
    return ImageOps.invert(mask.convert("RGBA").getchannel("A"))


KEPT: web.AppKey[dict[str, bytes]] = web.AppKey("kept", dict)
"""The pictures that links lead to."""


async def kept(request: web.Request) -> web.StreamResponse:
    """The picture that a link leads to."""
    data = request.app[KEPT].get(request.match_info["key"])
    if data is None:
        raise web.HTTPNotFound
    return web.Response(body=data, content_type="image/png")
