"""The pictures in a request: where they are, and what of them may reach a host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from robotchat.art.requests import Request
from robotchat.errors import InvalidRequest
from robotchat.images import (
    MAX_IMAGE_BYTES,
    MAX_IMAGE_PIXELS,
    decode_base64,
    encode_base64,
    inspect,
    looks_like_url,
)

_UNIT_IMAGES = ("image", "input_image", "mask", "mask_image", "effective_region_mask")


def map_images(request: Request, convert: Callable[[str, str], str]) -> Request:
    """The request with every input picture replaced by ``convert(text, path of the field)``.

    Those are the pictures and masks of img2img, and those in ControlNet units, which may be
    nested. Empty texts stand for "none" and stay. Programs use it to put large pictures
    elsewhere and bring them back.
    """

    def converted(value: Any, path: str) -> Any:
        if isinstance(value, str):
            return convert(value, path) if value else value
        if isinstance(value, list):
            return [converted(item, f"{path}.{index}") for index, item in enumerate(value)]
        if isinstance(value, dict):
            return {
                name: converted(item, f"{path}.{name}") if name in ("image", "mask") else item
                for name, item in value.items()
            }
        return value

    changes: dict[str, Any] = {}
    for name in ("init_images", "extra_images", "mask", "latent_mask", "firstpass_image"):
        value = getattr(request, name, None)
        if value:
            changes[name] = converted(value, name)
    scripts = dict(request.alwayson_scripts)
    for title, script in scripts.items():
        if title.lower() == "controlnet":
            where = f"alwayson_scripts.{title}.args"
            units = [
                {
                    name: converted(value, f"{where}.{index}.{name}")
                    if name in _UNIT_IMAGES
                    else value
                    for name, value in unit.items()
                }
                for index, unit in enumerate(script.get("args", []))
            ]
            scripts[title] = {**script, "args": units}
            changes["alwayson_scripts"] = scripts
    return request.model_copy(update=changes) if changes else request


def prepare_images(
    request: Request,
    *,
    fetch: Callable[[str], bytes] | None = None,
    max_bytes: int = MAX_IMAGE_BYTES,
    max_pixels: int = MAX_IMAGE_PIXELS,
) -> Request:
    """The request with every input picture fetched, checked and in plain base64.

    A host is never given a URL (it would fetch it from inside the network) nor any text that is
    not a picture (some extensions take such text for a file name). Without ``fetch``, URLs are
    refused. Raises InvalidImage, ImageTooLarge, and what ``fetch`` raises.
    """

    def prepared(text: str, path: str) -> str:
        if looks_like_url(text):
            if fetch is None:
                raise InvalidRequest("Image URLs are not accepted here.", param=path)
            data = fetch(text)
        else:
            data = decode_base64(text, max_bytes=max_bytes, param=path)
        inspect(data, max_bytes=max_bytes, max_pixels=max_pixels, param=path)
        return encode_base64(data)

    return map_images(request, prepared)
