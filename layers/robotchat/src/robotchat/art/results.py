"""What came back from an SD host, and whether it is what was asked for.

Hosts answer 200 with another checkpoint, another sampler, fewer pictures or no ControlNet, so
nothing is believed: ``read_drawing`` takes the answer apart and checks every picture file,
``verify`` holds it against the request. What a host does not tell is listed in
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
_MOST_PICTURES = 300
"""Of one answer, grids and maps among them: a job's record holds a line about each."""


@dataclass(frozen=True)
class Picture:
    """One picture file; sizes in pixels. ``infotext`` is the host's account of how it was made."""

    data: bytes = field(repr=False)
    content_type: str
    width: int
    height: int
    seed: int | None = None
    infotext: str = field(default="", repr=False)


@dataclass(frozen=True)
class Missing:
    """A picture of a batch that did not come, not by itself either: its place, and why."""

    index: int
    seed: int | None
    error: RobotchatError


@dataclass(frozen=True)
class Drawing:
    """The result of one request.

    ``extra_pictures`` are the maps that ControlNet worked from. ``info`` is the host's account,
    empty with hosts that give none. ``unverified`` names what could not be checked. ``holes`` are
    the places of files that cannot be decoded, ``missing`` what was given up of a batch.
    """

    pictures: list[Picture]
    extra_pictures: list[Picture]
    parameters: dict[str, Any] = field(repr=False)
    info: dict[str, Any] = field(repr=False)
    checkpoint: str | None
    unverified: list[str] = field(default_factory=list)
    holes: tuple[int, ...] = ()
    missing: list[Missing] = field(default_factory=list)

    @property
    def info_text(self) -> str:
        """The host's account as JSON text, without what belongs to a grid; see ``to_a1111``."""
        if not self.info:
            return ""
        info = {**self.info}
        texts = _list(info, "infotexts")
        if len(texts) > len(self.pictures):
            info["infotexts"] = texts[len(texts) - len(self.pictures) :]
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
    images = answer.get("images")
    if not isinstance(images, list):
        raise UpstreamGarbage("The SD host's answer holds no list of images.")
    if len(images) > _MOST_PICTURES:
        raise UpstreamGarbage(f"The SD host sent more than {_MOST_PICTURES} pictures.")
    info = _info(answer.get("info"))
    if request.scripted:
        return _read_scripted(images, info, answer.get("parameters"))
    seeds = [seed for seed in _list(info, "all_seeds") if isinstance(seed, int)]
    infotexts = _list(info, "infotexts")
    first = info.get("index_of_first_image", 0)
    first = first if isinstance(first, int) and 0 <= first <= len(images) else 0
    count = len(seeds) or request.count
    if partial and infotexts:
        count = min(count, len(infotexts) - first)
    unverified = []
    if not seeds:
        unverified.append("seed")
        step = 0 if request.subseed_strength else 1
        seeds = [request.seed + index * step for index in range(count)] if request.seed >= 0 else []

    pictures, holes = [], []
    for index, text in enumerate(images[first : first + count]):
        note = infotexts[first + index] if first + index < len(infotexts) else ""
        seed = seeds[index] if index < len(seeds) else None
        try:
            pictures.append(_picture(text, seed, note if isinstance(note, str) else ""))
        except UpstreamGarbage:
            if request.count == 1:
                raise
            holes.append(index)
    if holes and not pictures:
        raise UpstreamGarbage("The SD host sent no picture that can be decoded.")
    extra = [_picture(text, None, "") for text in images[first + count :]]

    parameters = answer.get("parameters")
    return Drawing(
        pictures=pictures,
        extra_pictures=extra,
        parameters=parameters if isinstance(parameters, dict) else {},
        info=info,
        checkpoint=_text(info, "sd_model_name"),
        unverified=unverified,
        holes=tuple(holes),
    )


def _read_scripted(images: list[Any], info: dict[str, Any], parameters: object) -> Drawing:
    """A script's answer: everything that is told of, in its own file or in the account, grids
    among them; the maps of ControlNet are not.

    What is told of a picture is in its own text. The account's lists run with the pictures, or with
    those behind the grids, or hold one entry for all, as each script likes it.
    """
    infotexts = [text if isinstance(text, str) else "" for text in _list(info, "infotexts")]
    listed = _list(info, "all_seeds")
    first = info.get("index_of_first_image", 0)
    first = first if isinstance(first, int) and 0 <= first < len(images) else 0
    if len(listed) < len(infotexts):
        listed = [None] * first + listed
    pictures, extra = [], []
    for index, image in enumerate(images):
        picture = _picture(image, None, "")
        own = picture.infotext or (infotexts[index] if index < len(infotexts) else "")
        if infotexts and not own:
            extra.append(picture)
            continue
        found = re.search(r"\bSeed: (\d+)", own)
        seed = listed[index] if index < len(listed) else None
        seed = int(found[1]) if found else seed if isinstance(seed, int) else None
        pictures.append(replace(picture, infotext=own, seed=seed))
    told = {
        **info,
        "infotexts": [picture.infotext for picture in pictures],
        "all_seeds": [picture.seed for picture in pictures],
        "index_of_first_image": first if first < len(pictures) else 0,
    }
    return Drawing(
        pictures=pictures,
        extra_pictures=extra,
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


def _picture(text: object, seed: int | None, infotext: str) -> Picture:
    if not isinstance(text, str):
        raise UpstreamGarbage("The SD host's answer holds an image that is not text.")
    try:
        data = decode_base64(text, max_bytes=_MAX_ANSWER_BYTES)
        found = inspect(data, max_bytes=_MAX_ANSWER_BYTES, max_pixels=_MAX_ANSWER_PIXELS)
    except RobotchatError as error:
        raise UpstreamGarbage("The SD host sent a picture that cannot be decoded.") from error
    infotext = infotext or png_text(data).get("parameters", "")
    return Picture(data, found.content_type, found.width, found.height, seed, infotext)


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
    if request.scripted and not drawing.pictures:
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
    if len(drawing.pictures) + len(drawing.missing) != request.count:
        raise WrongResult(
            f"The SD host drew {len(drawing.pictures)} of {request.count} pictures.",
            details={"expected": request.count, "actual": len(drawing.pictures)},
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
        expected |= {measure(decode_base64(image)) for image in request.init_images}
    for picture in drawing.pictures:
        if (picture.width, picture.height) not in expected:
            raise WrongResult(
                f"The SD host drew {picture.width}x{picture.height} instead of {width}x{height}.",
                details={"expected": [width, height], "actual": [picture.width, picture.height]},
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
    for picture in drawing.pictures:
        found = re.search(r"Schedule type: ([^,\n]+)", picture.infotext)
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
    if MODULES not in options or not drawing.pictures:
        return []
    line = drawing.pictures[0].infotext.rpartition("\n")[2]
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
    if len(drawing.extra_pictures) < len(proving):
        raise WrongResult(
            "The SD host drew without ControlNet.",
            details={"expected": len(proving), "actual": len(drawing.extra_pictures)},
        )
    return [] if len(proving) == len(units) else ["controlnet"]


def _shows_map(unit: Mapping[str, Any]) -> bool:
    module = str(unit.get("module") or "none")
    return unit.get("save_detected_map", True) is not False and not _WITHOUT_MAP.search(module)


# --- answers --------------------------------------------------------------------------------------


def to_a1111(request: DrawRequest, drawing: Drawing) -> dict[str, Any]:
    """The drawing as the web UI's API answers it: the pictures, then the maps of ControlNet."""
    pictures = [*drawing.pictures, *drawing.extra_pictures] if request.send_images else []
    return {
        "images": [encode_base64(picture.data) for picture in pictures],
        "parameters": request.echo(),
        "info": drawing.info_text or json.dumps(_told(request, drawing), ensure_ascii=False),
    }


def _told(request: DrawRequest, drawing: Drawing) -> dict[str, Any]:
    """An info text for hosts that give none: what is known, so that clients find their fields."""
    seeds = [picture.seed for picture in drawing.pictures]
    return {
        "prompt": request.prompt,
        "all_prompts": [request.prompt] * len(drawing.pictures),
        "negative_prompt": request.negative_prompt,
        "all_negative_prompts": [request.negative_prompt] * len(drawing.pictures),
        "seed": request.seed,
        "all_seeds": seeds,
        "width": request.width,
        "height": request.height,
        "sampler_name": request.sampler,
        "cfg_scale": request.cfg_scale,
        "steps": request.steps,
        "batch_size": request.batch_size,
        "index_of_first_image": 0,
        "infotexts": [picture.infotext for picture in drawing.pictures],
    }
