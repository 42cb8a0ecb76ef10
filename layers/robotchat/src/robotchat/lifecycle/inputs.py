"""Pictures that come with a request: from the caller's words to bytes, and out of the records.

A request may hold pictures as base64 or data URIs, as https URLs, and as ids of uploads; units of
ControlNet hold more of them, deep inside. Before a job is stored, whatever is large is put into
the image store and replaced by a reference, so that records stay small; before it is drawn, every
reference, upload and URL is replaced by base64, since an SD host must never fetch what a caller
names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from robotchat.art.requests import (
    DrawRequest,
    Image2ImageRequest,
    Text2ImageRequest,
)
from robotchat.errors import (
    ForbiddenUrl,
    InvalidImage,
    InvalidRequest,
    JobExpired,
    NotFound,
    PayloadTooLarge,
)
from robotchat.images import (
    Images,
    decode_base64,
    encode_base64,
    inspect,
    looks_like_url,
    upright_size,
)
from robotchat.jobs.job import Job
from robotchat.prompt.shapes import budget, fit, shaped
from robotchat.settings import Settings
from robotchat.text import check_json, json_size

MAX_METADATA_BYTES = 16 * 1024
"""Bytes of the caller's metadata as JSON: they travel with every event."""

MAX_FIELDS_BYTES = 128 * 1024
"""Bytes of a request's A1111 fields as JSON, its pictures not counted."""

_REFERENCE = "robotchat-image:"
_LARGE = 1024
"""Text from this length on is stored apart when it is a picture."""

_IMAGE_FIELDS = frozenset(
    {
        *("init_images", "extra_images", "mask", "latent_mask", "firstpass_image"),
        *("image", "mask_image", "input_image", "effective_region_mask"),
    }
)
"""Fields that hold pictures, in requests and in ControlNet units."""

_SCRIPTS = ("alwayson_scripts", "script_args")
"""Fields whose every text an SD host, or an extension of it, may take for something to fetch."""

_SET_BY_THE_CONVERSATION = ("prompt", "init_images")
_NOT_INHERITED = frozenset(
    {
        *("prompt", "negative_prompt", "denoising_strength", "alwayson_scripts", "instruct"),
        *_IMAGE_FIELDS,
    }
)


def check_settings(settings: Mapping[str, Any], *, editing: bool) -> dict[str, Any]:
    """The A1111 fields of a turn, validated. Raises InvalidRequest, naming the field."""
    for name in _SET_BY_THE_CONVERSATION:
        if name in settings:
            raise InvalidRequest(
                f"settings.{name} is not the caller's to set: it follows from the conversation.",
                param=f"settings.{name}",
            )
    request: DrawRequest
    if editing:
        # The picture comes later; a placeholder stands in for the field that must be there.
        request = Image2ImageRequest.parse({**settings, "init_images": ["-"]})
    else:
        request = Text2ImageRequest.parse(settings)
    # An infotext among the settings has a prompt in it; what is drawn is said by the messages.
    return {n: v for n, v in request.body().items() if n not in _SET_BY_THE_CONVERSATION}


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Raises PayloadTooLarge for metadata that are larger than is stored and told, and
    InvalidRequest for what is no JSON."""
    _check("The metadata", metadata, MAX_METADATA_BYTES, "metadata")


def _check(what: str, value: Mapping[str, Any], most: int, param: str | None) -> None:
    try:
        check_json(value)
    except ValueError as error:
        raise InvalidRequest(f"{what} cannot be kept: {error}.", param=param) from None
    size = json_size(value)
    if size > most:
        raise PayloadTooLarge(
            f"{what} has {size} bytes as JSON; at most {most} are accepted.",
            param=param,
            details={"max_bytes": most, "bytes": size},
        )


def unheeded(settings: Mapping[str, Any], *, editing: bool) -> list[str]:
    """Names of what is among a turn's settings and means nothing."""
    fields = (Image2ImageRequest if editing else Text2ImageRequest).model_fields
    return [f"settings.{name}" for name in settings if name not in fields]


def inherited(effective: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a turn takes over from the turn before: size, steps, sampler, checkpoint, seed ..."""
    return {k: v for k, v in (effective or {}).items() if k not in _NOT_INHERITED}


def reference(key: str) -> str:
    """What stands in a record for the picture under a key."""
    return _REFERENCE + key


def store_images(
    body: Mapping[str, Any], job: Job, images: Images, settings: Settings
) -> tuple[dict[str, Any], int]:
    """The body with every picture in it checked, stored and replaced by a reference.

    Gives also how many bytes were stored. URLs and ids of uploads stay as they are; they are
    resolved when the job runs. Raises InvalidImage, ImageTooLarge and ForbiddenUrl, and
    PayloadTooLarge for a body that is too large even so; then nothing was stored.
    """
    found: dict[str, tuple[bytes, str]] = {}

    def store(text: str, field: str) -> str:
        if text.startswith(_REFERENCE):
            # References are made here only: a caller's own could lead to anybody's picture.
            raise InvalidImage(
                "An image must be base64, a data URI, an https URL or an upload id.", param=field
            )
        if looks_like_url(text):
            if field not in _IMAGE_FIELDS:
                raise ForbiddenUrl("Only fields for pictures may hold URLs.", param=field)
            from robotchat.net.addresses import check_url

            return check_url(text.strip(), allow_http_loopback=settings.local, param=field)
        if not _is_image(text, field):
            return text
        data = decode_base64(text, max_bytes=settings.max_image_bytes)
        info = inspect(
            data, max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels
        )
        key = f"{job.images_prefix}input-{hashlib.sha256(data).hexdigest()[:32]}"
        found[key] = (data, info.content_type)
        return reference(key)

    result = _map_images(body, store)
    _check("The request, without its pictures,", result, MAX_FIELDS_BYTES, None)
    for key, (data, content_type) in found.items():
        images.put(key, data, content_type)
    return result, sum(len(data) for data, _ in found.values())


def load_images(
    body: Mapping[str, Any], tenant: str, images: Images, settings: Settings
) -> dict[str, Any]:
    """The body with every reference, upload and URL replaced by the picture itself, as base64.

    Raises InvalidImage, ImageTooLarge and ForbiddenUrl for what the caller must change, and
    JobExpired for a picture that is no longer stored.
    """

    def load(text: str, field: str) -> str:
        if text.startswith(_REFERENCE):
            key = text.removeprefix(_REFERENCE)
            if not key.startswith(f"tenants/{tenant}/"):
                raise InvalidImage("That is not a picture of this tenant.", param=field)
            try:
                return encode_base64(images.get(key))
            except NotFound as error:
                raise JobExpired("An input picture of this job is no longer stored.") from error
        if field in _IMAGE_FIELDS and text.startswith("upload_"):
            try:
                data = images.get(upload_key(tenant, text))
            except NotFound as error:
                raise InvalidImage("There is no such upload.", param=field) from error
        elif field in _IMAGE_FIELDS and looks_like_url(text):
            from robotchat.net.fetch import fetch_image

            data = fetch_image(
                text,
                max_bytes=settings.max_image_bytes,
                timeout=30.0,
                allow_http_loopback=settings.local,
            )
        else:
            return text
        inspect(data, max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels)
        return encode_base64(data)

    return _map_images(body, load)


def size_like_image(body: Mapping[str, Any]) -> dict[str, int]:
    """The sides that an edit does not name, after the shape of its picture.

    `body` is the request with its pictures loaded. With neither side named, the picture is
    scaled to what the checkpoint draws well; with one, the other follows from it.
    """
    width, height = body.get("width"), body.get("height")
    if width and height:
        return {}
    image = body["init_images"][0]
    across, down = upright_size(decode_base64(image, max_bytes=len(image)))
    if width:
        return {"height": fit(width, width * down / across)[1]}
    if height:
        return {"width": fit(height * across / down, height)[0]}
    checkpoint = (body.get("override_settings") or {}).get("sd_model_checkpoint")
    return dict(zip(("width", "height"), shaped(across, down, budget(checkpoint)), strict=True))


def upload_key(tenant: str, upload_id: str) -> str:
    """Where an upload is in the image store. Raises InvalidRequest for a made-up id."""
    if not re.fullmatch(r"upload_[a-z0-9]{1,64}", upload_id):
        raise InvalidRequest("There is no such upload.", param="image")
    return f"tenants/{tenant}/uploads/{upload_id}"


def with_references(body: Mapping[str, Any], recorded: Mapping[str, Any]) -> dict[str, Any]:
    """What was really sent, for the record: pictures stay the references that they were."""
    return {
        name: recorded[name]
        if name in recorded and (name in _SCRIPTS or name in _IMAGE_FIELDS)
        else value
        for name, value in body.items()
    }


def _is_image(text: str, field: str) -> bool:
    if text.startswith("upload_"):
        return False
    if not text and field != "init_images":
        return False  # clients write "none" like this, in units of ControlNet above all
    if field in _IMAGE_FIELDS or text.startswith("data:image/"):
        return True
    if len(text) < _LARGE:
        return False
    # A long text somewhere in a script's arguments: a picture if it is base64 of one.
    try:
        head = decode_base64(text[:64], max_bytes=64)
    except InvalidImage:
        return False
    return head.startswith((b"\x89PNG", b"\xff\xd8\xff")) or head[8:12] == b"WEBP"


def _map_images(body: Mapping[str, Any], change: Callable[[str, str], str]) -> dict[str, Any]:
    """The body with every text changed that may be a picture: words and names never are."""
    return {
        name: _map_texts(value, change, name)
        if name in _SCRIPTS or name in _IMAGE_FIELDS
        else value
        for name, value in body.items()
    }


def _map_texts(value: Any, change: Callable[[str, str], str], field: str = "") -> Any:
    """A copy of a JSON value with every text changed; ``field`` is the name it stands under."""
    if isinstance(value, str):
        return change(value, field)
    if isinstance(value, Mapping):
        return {name: _map_texts(item, change, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_map_texts(item, change, field) for item in value]
    return value
