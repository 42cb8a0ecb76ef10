"""What came back from an SD host, and whether it is what was asked for.

Hosts answer 200 with another checkpoint, another sampler, fewer pictures or no ControlNet, so
nothing is believed: ``read_drawing`` takes the answer apart and checks every picture file,
``verify`` compares it with the request. What a host does not tell is listed in
``Drawing.unverified`` instead of being taken for granted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from robotchat.art.answers import Model, Sampler
from robotchat.art.capabilities import Capabilities
from robotchat.art.matching import same_checkpoint, split_sampler, squash
from robotchat.art.modules import MODULES, differs
from robotchat.art.requests import DrawRequest, Image2ImageRequest, Text2ImageRequest
from robotchat.errors import RobotchatError, UpstreamGarbage, WrongResult
from robotchat.images import decode_base64, encode_base64, inspect, measure, png_text
from robotchat.text import read_json

_MAX_ANSWER_BYTES = 128 * 1024 * 1024
_MAX_ANSWER_PIXELS = 16384 * 16384
_MOST_IMAGES = 300
"""Of one answer, grids and maps among them: a job's record holds a line about each."""


@dataclass(frozen=True)
class DrawnImage:
    """One picture file; sizes in pixels. ``infotext`` is the host's account of how it was made."""

    data: bytes = field(repr=False)
    content_type: str
    width: int
    height: int
    seed: int | None = None
    infotext: str = field(default="", repr=False)


Picture = DrawnImage
"""Its earlier name, which programs import."""


@dataclass(frozen=True)
class Missing:
    """A picture of a batch that did not come, not by itself either: its place, and why."""

    index: int
    seed: int | None
    error: RobotchatError


@dataclass(frozen=True)
class Drawing:
    """The result of one request.

    ``extra_images`` are the maps that ControlNet worked from. ``info`` is the host's account,
    empty with hosts that give none. ``unverified`` names what could not be checked. ``holes`` are
    the places of files that cannot be decoded, ``missing`` what was given up of a batch.
    """

    images: list[DrawnImage]
    extra_images: list[DrawnImage]
    parameters: dict[str, Any] = field(repr=False)
    info: dict[str, Any] = field(repr=False)
    checkpoint: str | None
    unverified: list[str] = field(default_factory=list)
    holes: tuple[int, ...] = ()
    missing: list[Missing] = field(default_factory=list)

    @property
    def pictures(self) -> list[DrawnImage]:
        """The earlier name of ``images``, which programs read."""
        return self.images

    @property
    def extra_pictures(self) -> list[DrawnImage]:
        """The earlier name of ``extra_images``."""
        return self.extra_images

    @property
    def info_text(self) -> str:
        """The host's account as JSON text, without what belongs to a grid; see ``to_a1111``."""
        if not self.info:
            return ""
        info = {**self.info}
        texts = _list(info, "infotexts")
        if len(texts) > len(self.images):
            info["infotexts"] = texts[len(texts) - len(self.images) :]
            info["index_of_first_image"] = 0
        return json.dumps(info, ensure_ascii=False)


def read_drawing(
    request: DrawRequest, answer: Mapping[str, Any], *, partial: bool = False
) -> Drawing:
    """A host's answer, taken apart. Raises UpstreamGarbage when it is not one.

    ``request`` must have its seed chosen (see ``effective``): it says which seeds the pictures
    have when the host does not. ``partial``: the host was told to stop early, so that there are
    as many pictures as there are notes about them.
    """
    encoded = answer.get("images")
    if not isinstance(encoded, list):
        raise UpstreamGarbage("The SD host's answer holds no list of images.")
    if len(encoded) > _MOST_IMAGES:
        raise UpstreamGarbage(f"The SD host sent more than {_MOST_IMAGES} pictures.")
    info = _info(answer.get("info"))
    if request.scripted:
        return _read_scripted(encoded, info, answer.get("parameters"))
    seeds = [seed for seed in _list(info, "all_seeds") if isinstance(seed, int)]
    infotexts = _list(info, "infotexts")
    first = info.get("index_of_first_image", 0)
    first = first if isinstance(first, int) and 0 <= first <= len(encoded) else 0
    count = len(seeds) or request.count
    if partial and infotexts:
        count = min(count, len(infotexts) - first)
    unverified = []
    if not seeds:
        unverified.append("seed")
        step = 0 if request.subseed_strength else 1
        seeds = [request.seed + index * step for index in range(count)] if request.seed >= 0 else []

    images, holes = [], []
    for index, text in enumerate(encoded[first : first + count]):
        note = infotexts[first + index] if first + index < len(infotexts) else ""
        seed = seeds[index] if index < len(seeds) else None
        try:
            images.append(_image(text, seed, note if isinstance(note, str) else ""))
        except UpstreamGarbage:
            if request.count == 1:
                raise
            holes.append(index)
    if holes and not images:
        raise UpstreamGarbage("The SD host sent no picture that can be decoded.")
    extra = [_image(text, None, "") for text in encoded[first + count :]]

    parameters = answer.get("parameters")
    return Drawing(
        images=images,
        extra_images=extra,
        parameters=parameters if isinstance(parameters, dict) else {},
        info=info,
        checkpoint=_text(info, "sd_model_name"),
        unverified=unverified,
        holes=tuple(holes),
    )


def _read_scripted(encoded: list[Any], info: dict[str, Any], parameters: object) -> Drawing:
    """A script's answer: everything that is told of, in its own file or in the account, grids
    among them; the maps of ControlNet are not.

    What is told of a picture is in its own text. The account's lists run with the pictures, or with
    those behind the grids, or hold one entry for all, as each script likes it.
    """
    infotexts = [text if isinstance(text, str) else "" for text in _list(info, "infotexts")]
    listed = _list(info, "all_seeds")
    first = info.get("index_of_first_image", 0)
    first = first if isinstance(first, int) and 0 <= first < len(encoded) else 0
    if len(listed) < len(infotexts):
        listed = [None] * first + listed
    images, extra = [], []
    for index, text in enumerate(encoded):
        image = _image(text, None, "")
        own = image.infotext or (infotexts[index] if index < len(infotexts) else "")
        if infotexts and not own:
            extra.append(image)
            continue
        found = re.search(r"\bSeed: (\d+)", own)
        seed = listed[index] if index < len(listed) else None
        seed = int(found[1]) if found else seed if isinstance(seed, int) else None
        images.append(replace(image, infotext=own, seed=seed))
    told = {
        **info,
        "infotexts": [image.infotext for image in images],
        "all_seeds": [image.seed for image in images],
        "index_of_first_image": first if first < len(images) else 0,
    }
    return Drawing(
        images=images,
        extra_images=extra,
        parameters=parameters if isinstance(parameters, dict) else {},
        info=told if info else {},
        checkpoint=_text(info, "sd_model_name"),
    )


def _info(value: object) -> dict[str, Any]:
    """The info text as an object: it comes as JSON in a string, and from some hosts empty."""
    if value in (None, ""):
        return {}
    if isinstance(value, str):
        try:
            value = read_json(value)
        except ValueError as error:
            raise UpstreamGarbage(
                "The SD host's info text is not JSON that can be kept."
            ) from error
    if not isinstance(value, dict):
        raise UpstreamGarbage("The SD host's info text is not an object.")
    return value


def _list(info: Mapping[str, Any], name: str) -> list[Any]:
    value = info.get(name)
    return value if isinstance(value, list) else []


def _text(info: Mapping[str, Any], name: str) -> str | None:
    value = info.get(name)
    return value if isinstance(value, str) and value else None


def _image(text: object, seed: int | None, infotext: str) -> DrawnImage:
    if not isinstance(text, str):
        raise UpstreamGarbage("The SD host's answer holds an image that is not text.")
    try:
        data = decode_base64(text, max_bytes=_MAX_ANSWER_BYTES)
        found = inspect(data, max_bytes=_MAX_ANSWER_BYTES, max_pixels=_MAX_ANSWER_PIXELS)
    except RobotchatError as error:
        raise UpstreamGarbage("The SD host sent a picture that cannot be decoded.") from error
    infotext = infotext or png_text(data).get("parameters", "")
    return DrawnImage(data, found.content_type, found.width, found.height, seed, infotext)


# --- verification ---------------------------------------------------------------------------------


_WEBUI = Capabilities()


def verify(
    request: DrawRequest,
    drawing: Drawing,
    *,
    checkpoint: Model | str | None = None,
    samplers: Sequence[Sampler] | None = None,
    capabilities: Capabilities = _WEBUI,
    partial: bool = False,
) -> Drawing:
    """The drawing, if it is what was asked for; with what could not be checked noted in it.

    ``checkpoint`` is the model that was meant (default: the name in the request), ``samplers``
    the host's list, ``capabilities`` say in which sizes it draws. ``partial``: the host was told
    to stop early, so fewer or smaller pictures will do. Raises WrongResult, saying what is wrong;
    drawing again on another host may help.
    """
    unverified = list(drawing.unverified)
    if request.scripted and not drawing.images:
        raise WrongResult("The SD host drew no picture.")

    def held(what: str, check: Callable[[], list[str]]) -> list[str]:
        """What could not be checked; a selectable script may draw otherwise than was asked."""
        try:
            return check()
        except WrongResult:
            if not request.scripted:
                raise
            return [what]

    if request.scripted:
        unverified += ["count", "size"]
    elif not partial:
        _verify_count(request, drawing)
        _verify_sizes(request, drawing, capabilities)
    wanted = checkpoint if checkpoint is not None else request.checkpoint
    if wanted is not None:
        unverified += held("checkpoint", lambda: _verify_checkpoint(wanted, drawing.info))
    unverified += held("sampler", lambda: _verify_sampler(request, drawing, samplers))
    unverified += held("seed", lambda: _verify_seeds(request, drawing))
    unverified += held("modules", lambda: _verify_modules(request, drawing))
    if not partial:
        unverified += held("controlnet", lambda: _verify_controlnet(request, drawing))
    return replace(drawing, unverified=sorted(set(unverified)))


def _verify_count(request: DrawRequest, drawing: Drawing) -> None:
    if len(drawing.images) + len(drawing.missing) != request.count:
        raise WrongResult(
            f"The SD host drew {len(drawing.images)} of {request.count} pictures.",
            details={"expected": request.count, "actual": len(drawing.images)},
        )


def _verify_sizes(request: DrawRequest, drawing: Drawing, capabilities: Capabilities) -> None:
    width, height = (
        request.final_size
        if isinstance(request, Text2ImageRequest)
        else (request.width, request.height)
    )
    expected = capabilities.sizes(width, height)
    if isinstance(request, Image2ImageRequest) and request.mask and request.inpaint_full_res:
        # The masked part is drawn and put back: the result is as large as the input. (An empty
        # mask falls back to drawing it all.)
        expected |= {measure(decode_base64(given)) for given in request.init_images}
    for image in drawing.images:
        if (image.width, image.height) not in expected:
            raise WrongResult(
                f"The SD host drew {image.width}x{image.height} instead of {width}x{height}.",
                details={"expected": [width, height], "actual": [image.width, image.height]},
            )


def _verify_checkpoint(wanted: Model | str, info: Mapping[str, Any]) -> list[str]:
    name, hash_ = _text(info, "sd_model_name"), _text(info, "sd_model_hash")
    same = same_checkpoint(wanted, name, hash_)
    if same is False:
        raise WrongResult(
            "The SD host drew with another checkpoint than was asked for.",
            details={
                "expected": wanted.title if isinstance(wanted, Model) else wanted,
                "actual": name or hash_,
            },
        )
    return [] if same else ["checkpoint"]


def _verify_sampler(
    request: DrawRequest, drawing: Drawing, samplers: Sequence[Sampler] | None
) -> list[str]:
    unverified = []
    asked = request.sampler
    sampler, in_name = split_sampler(asked) if asked else (None, None)
    actual = _text(drawing.info, "sampler_name")
    actual_sampler, actual_in_name = split_sampler(actual) if actual else (None, None)
    if asked and sampler:
        if actual is None or actual_sampler is None:
            unverified.append("sampler")
        elif squash(actual) != squash(asked) and _canonical(actual_sampler, samplers) != _canonical(
            sampler, samplers
        ):
            raise WrongResult(
                "The SD host used another sampler than was asked for.",
                details={"expected": asked, "actual": actual},
            )
    schedule = in_name or request.scheduler
    if schedule and squash(schedule) != "automatic":
        actual_schedule = actual_in_name or _schedule(drawing)
        default = _default_schedule(actual_sampler, samplers)
        if actual_schedule is None:
            unverified.append("scheduler")
        elif squash(actual_schedule) == "automatic":
            # Newer hosts say so when the schedule is the sampler's default anyway.
            if default is None:
                unverified.append("scheduler")
            elif squash(default) != squash(schedule):
                raise _wrong_schedule(schedule, actual_schedule)
        elif squash(actual_schedule) != squash(schedule):
            raise _wrong_schedule(schedule, actual_schedule)
    return unverified


def _wrong_schedule(expected: str, actual: str) -> WrongResult:
    return WrongResult(
        "The SD host used another noise schedule than was asked for.",
        details={"expected": expected, "actual": actual},
    )


def _canonical(name: str, samplers: Sequence[Sampler] | None) -> str:
    for sampler in samplers or ():
        if squash(name) in {squash(alias) for alias in (sampler.name, *sampler.aliases)}:
            return squash(sampler.name)
    return squash(name)


def _default_schedule(name: str | None, samplers: Sequence[Sampler] | None) -> str | None:
    """The sampler's own schedule: ``automatic`` if it has none, None if that is not known."""
    for sampler in samplers or ():
        if name and squash(sampler.name) == squash(name):
            return str(sampler.options.get("scheduler", "automatic"))
    return None


def _schedule(drawing: Drawing) -> str | None:
    for image in drawing.images:
        found = re.search(r"Schedule type: ([^,\n]+)", image.infotext)
        if found:
            return found[1].strip()
    extra = drawing.info.get("extra_generation_params")
    return _text(extra, "Schedule type") if isinstance(extra, dict) else None


def _verify_seeds(request: DrawRequest, drawing: Drawing) -> list[str]:
    actual = drawing.info.get("seed")
    if request.seed >= 0 and isinstance(actual, int) and actual != request.seed:
        raise WrongResult(
            "The SD host drew from another seed than was asked for.",
            details={"expected": request.seed, "actual": actual},
        )
    return []


_MODULE = re.compile(r"(?<!Hires )\bModule \d+: \"?([^,\"]+)")


def _verify_modules(request: DrawRequest, drawing: Drawing) -> list[str]:
    """Forge drops modules that it does not know, and says in the infotext which it had."""
    options = request.overrides
    if MODULES not in options or not drawing.images:
        return []
    line = drawing.images[0].infotext.rpartition("\n")[2]
    if not line:
        return ["modules"]
    told = _MODULE.findall(line)
    if differs(options, told):
        raise WrongResult(
            "The SD host drew with other modules than were asked for.",
            details={"expected": options[MODULES], "actual": told},
        )
    return []


_WITHOUT_MAP = re.compile(
    r"^none$|ip-adapter|clip|revision|face_id|instant_id|pulid", re.IGNORECASE
)
"""Preprocessors that make no picture of what they found."""


def _verify_controlnet(request: DrawRequest, drawing: Drawing) -> list[str]:
    """A host logs an error in a unit, draws on without it, and writes it into the infotext all the
    same: only the maps that it worked from prove anything."""
    units = [unit for unit in request.controlnet_units if unit.get("enabled")]
    if not units:
        return []
    shown = not (request.override_settings or {}).get("control_net_no_detectmap")
    proving = [unit for unit in units if shown and _shows_map(unit)]
    if len(drawing.extra_images) < len(proving):
        raise WrongResult(
            "The SD host drew without ControlNet.",
            details={"expected": len(proving), "actual": len(drawing.extra_images)},
        )
    return [] if len(proving) == len(units) else ["controlnet"]


def _shows_map(unit: Mapping[str, Any]) -> bool:
    module = str(unit.get("module") or "none")
    return unit.get("save_detected_map", True) is not False and not _WITHOUT_MAP.search(module)


# --- answers --------------------------------------------------------------------------------------


def to_a1111(request: DrawRequest, drawing: Drawing) -> dict[str, Any]:
    """The drawing as the web UI's API answers it: the pictures, then the maps of ControlNet."""
    images = [*drawing.images, *drawing.extra_images] if request.send_images else []
    return {
        "images": [encode_base64(image.data) for image in images],
        "parameters": request.echo(),
        "info": drawing.info_text or json.dumps(_told(request, drawing), ensure_ascii=False),
    }


def _told(request: DrawRequest, drawing: Drawing) -> dict[str, Any]:
    """An info text for hosts that give none: what is known, so that clients find their fields."""
    seeds = [image.seed for image in drawing.images]
    return {
        "prompt": request.prompt,
        "all_prompts": [request.prompt] * len(drawing.images),
        "negative_prompt": request.negative_prompt,
        "all_negative_prompts": [request.negative_prompt] * len(drawing.images),
        "seed": request.seed,
        "all_seeds": seeds,
        "width": request.width,
        "height": request.height,
        "sampler_name": request.sampler,
        "cfg_scale": request.cfg_scale,
        "steps": request.steps,
        "batch_size": request.batch_size,
        "index_of_first_image": 0,
        "infotexts": [image.infotext for image in drawing.images],
    }
