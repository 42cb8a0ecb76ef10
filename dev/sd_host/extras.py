"""Upscaling, captions: what the host does to a picture besides drawing."""

from __future__ import annotations

import asyncio
from typing import Any

from PIL import Image, ImageOps

from dev.sd_host import catalog, imaging, scene
from dev.sd_host.generation import Rejected
from dev.sd_host.state import Host, HostError, Progress


def decoded(source: str) -> Image.Image:
    """The picture in ``source``; raises `Rejected`."""
    try:
        return imaging.decode(source)
    except imaging.BadImage as error:
        raise Rejected(500, "Invalid encoded image") from error


async def upscale(host: Host, fields: dict[str, Any], sources: list[str]) -> tuple[list[str], str]:
    """The pictures made bigger, in base64, and the HTML note; raises `Rejected`, `HostError`."""
    images = [decoded(source) for source in sources]
    known = {upscaler["name"] for upscaler in catalog.UPSCALERS}
    async with host.turn():
        host.progress = Progress("extras", host.progress.preview_id)
        host.stats.add("generations_extras")
        try:
            for name in (fields["upscaler_1"], fields["upscaler_2"]):
                if name not in known:
                    raise HostError("AssertionError", f"could not find upscaler named {name}")
            done = [await asyncio.to_thread(_upscaled, image, fields) for image in images]
        finally:
            host.progress.end()
    note = f"Postprocess upscale by: {fields['upscaling_resize']}"
    return done, f"<div>{note}, Postprocess upscaler: {fields['upscaler_1']}</div>"


def _upscaled(image: Image.Image, fields: dict[str, Any]) -> str:
    infotext, _ = imaging.written_infotext(image)
    if fields["upscaler_1"] != "None":
        if fields["resize_mode"] == 1:
            size = (fields["upscaling_resize_w"], fields["upscaling_resize_h"])
            if fields["upscaling_crop"]:
                image = ImageOps.fit(image, size)
        else:
            factor = fields["upscaling_resize"]
            size = (int(image.width * factor), int(image.height * factor))
        image = imaging.upscaled(image, size, fields["upscaler_1"])
    return imaging.to_base64(imaging.encode(image, "png", infotext or None))


def caption(image: Image.Image) -> str:
    """What the picture shows: its prompt if it carries one, else its main colour."""
    infotext, _ = imaging.written_infotext(image)
    if infotext:
        return infotext.split("\n")[0]
    return f"a picture, mostly {scene.colour_name(image)}"
