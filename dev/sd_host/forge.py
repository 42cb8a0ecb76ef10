"""The personalities forge and forge-neo: the web UI's children, with modules beside checkpoints.

A checkpoint may need a VAE and text encoders from other files. They are an option, whose unknown
names go unsaid, and which stays; without them a Flux checkpoint does not load, and with another
guidance than 1 it draws black. ControlNet is built in, and does not tell its version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web
from PIL import Image

from dev.sd_host import app, catalog, controlnet, flavours, models
from dev.sd_host.app import API, Answer, drawing, listed
from dev.sd_host.generation import Generation, Rejected, Result
from dev.sd_host.imaging import BadImage
from dev.sd_host.models import Field, Model
from dev.sd_host.state import Host, HostError
from dev.sd_host.wire import Handler, json_answer, not_the_hosts


class ForgeGeneration(Generation):
    """A drawing of Forge."""

    samplers = flavours.FORGE_SAMPLERS
    schedulers = flavours.FORGE_SCHEDULERS
    version = "f2.0.1v1.10.1-previous-669-gdfdcbab6"

    @property
    def modules(self) -> list[str]:
        """The names of the files beside the checkpoint, without their endings."""
        paths = self.host.settings[flavours.MODULES]
        return [path.rpartition("/")[2].removesuffix(".safetensors") for path in paths]

    @property
    def distilled(self) -> bool:
        """Whether the checkpoint that is loaded wants its own kind of guidance."""
        return self.host.loaded is not None and flavours.is_flux(self.host.loaded)

    async def _process_once(self) -> Result:
        if self.distilled:
            for what, name in flavours.NEEDED_BY_FLUX.items():
                if not any(module.startswith(name) for module in self.modules):
                    raise HostError("AssertionError", f"You do not have {what} state dict!")
        return await super()._process_once()

    def _prepare_hires(self, steps: int) -> None:
        super()._prepare_hires(steps)
        if self.fields["hr_additional_modules"] is None:
            text = "argument of type 'NoneType' is not iterable"
            raise HostError("TypeError", text)

    def _draw(self, offset: int, seed: int, subseed: int) -> Image.Image:
        if self.distilled and self.fields["cfg_scale"] != 1:
            return Image.new("RGB", (self.width, self.height))
        return super()._draw(offset, seed, subseed)

    def words(self, index: int, result: Result) -> dict[str, Any]:
        found = super().words(index, result)
        version = found.pop("Version")
        if self.distilled:
            found["Distilled CFG Scale"] = self.fields["distilled_cfg_scale"]
        numbered = {f"Module {number}": name for number, name in enumerate(self.modules, 1)}
        return {**found, **self.more_words(), **numbered, "Version": version}

    def more_words(self) -> dict[str, Any]:
        """What else this kind of Forge tells."""
        return {}

    def units(self, args: Any) -> Any:
        """Its ControlNet is on unless told otherwise, and knows a mask by one name only."""
        if not isinstance(args, list):
            return args
        return [_unit(unit) if isinstance(unit, Mapping) else unit for unit in args]


def _unit(unit: Mapping[str, Any]) -> dict[str, Any]:
    known = {"enabled": True, **unit}
    for name in ("mask", "input_image", "effective_region_mask", "advanced_weighting"):
        known.pop(name, None)
    module = str(known.get("module", "None"))
    if module == "none":
        known["model"] = "None"  # by that name it has no preprocessor: the unit fails
    return {**known, "module": "none" if module == "None" else module}


class NeoGeneration(ForgeGeneration):
    """A drawing of Forge Neo: the guidance of distilled models is the shift of those that flow."""

    version = "neo-2.9"

    def more_words(self) -> dict[str, Any]:
        return {"Shift": self.fields["distilled_cfg_scale"]} if self.distilled else {}


_GUIDANCE: dict[str, Field] = {
    "distilled_cfg_scale": Field(models.to_float, 3.5, nullable=True),
}
_HIRES: dict[str, Field] = {
    "hr_additional_modules": Field(models.to_list, None, nullable=True),
    "hr_cfg": Field(models.to_float, 1.0, nullable=True),
    "hr_distilled_cfg": Field(models.to_float, 3.5, nullable=True),
}
TXT2IMG = Model({**models.TXT2IMG.fields, **_GUIDANCE, **_HIRES})
IMG2IMG = Model({**models.IMG2IMG.fields, **_GUIDANCE})
NEO_IMG2IMG = Model(
    {**IMG2IMG.fields, "denoising_strength": Field(models.to_float, 0.6, nullable=True)}
)


async def module_list(request: web.Request, host: Host) -> Any:
    if not host.has_controlnet:
        raise web.HTTPNotFound
    return {"module_list": controlnet.MODULES}


async def detect(request: web.Request, host: Host) -> Any:
    fields = await app.read(request, models.DETECT)
    try:
        return controlnet.detect({**fields, "controlnet_masks": []})
    except controlnet.DetectRefused as refused:
        raise Rejected(422, str(refused)) from refused
    except controlnet.ModelMissing as missing:
        raise HostError("URLError", str(missing)) from missing
    except BadImage as error:
        raise Rejected(500, "Invalid encoded image") from error


_GONE = {f"{API}/sd-vae", "/controlnet/version", "/controlnet/settings"}
_GETS: dict[str, Answer] = {
    **{path: answer for path, answer in app.GETS.items() if path not in _GONE},
    f"{API}/sd-modules": listed(
        lambda host: [
            {"model_name": name, "filename": path} for name, path in flavours.MODULE_FILES.items()
        ]
    ),
    f"{API}/samplers": listed(lambda host: [s.listed() for s in flavours.FORGE_SAMPLERS]),
    f"{API}/schedulers": listed(lambda host: flavours.FORGE_SCHEDULERS),
    f"{API}/extensions": listed(lambda host: []),
    f"{API}/embeddings": listed(lambda host: catalog.EMBEDDINGS),
    "/controlnet/module_list": module_list,
}
_POSTS: dict[str, Answer] = {
    **{path: a for path, a in app.POSTS.items() if path != "/controlnet/render_openpose_json"},
    f"{API}/txt2img": drawing("txt2img", TXT2IMG, ForgeGeneration),
    f"{API}/img2img": drawing("img2img", IMG2IMG, ForgeGeneration),
    "/controlnet/detect": detect,
}
_NOT_NEOS = {
    *(f"{API}/interrogate", f"{API}/hypernetworks", f"{API}/realesrgan-models"),
    f"{API}/reload-checkpoint",
}

forge_routes = app.table(_GETS, _POSTS)
neo_routes = app.table(
    {path: answer for path, answer in _GETS.items() if path not in _NOT_NEOS},
    {
        **{path: answer for path, answer in _POSTS.items() if path not in _NOT_NEOS},
        f"{API}/txt2img": drawing("txt2img", TXT2IMG, NeoGeneration),
        f"{API}/img2img": drawing("img2img", NEO_IMG2IMG, NeoGeneration),
    },
)


@web.middleware
async def dressed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors as plain FastAPI answers them: the API's own middleware is switched off."""
    if not_the_hosts(request):
        return await handler(request)
    try:
        return await app.answered(
            request, handler, lambda error: json_answer({"detail": error.detail}, error.status)
        )
    except HostError as error:
        body = {"error": error.kind, "detail": "", "body": "", "message": str(error)}
        return json_answer(body, 500)
