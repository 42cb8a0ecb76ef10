"""Which of the programs that have the web UI's API answers at an address."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from robotchat.art.capabilities import Capabilities
from robotchat.art.driver import WebuiRoutes
from robotchat.drivers.drawthings import SHOWN_AT, DrawThings
from robotchat.drivers.flavours import Flavour, Forge, ForgeNeo, SdNext
from robotchat.drivers.koboldcpp import KoboldCpp
from robotchat.drivers.sdcpp import SdCpp
from robotchat.errors import NotSupported, UpstreamGarbage, UpstreamRejected


def has(routes: WebuiRoutes, path: str) -> bool:
    """Whether there is something at a path, found out without setting anything off.

    A GET of something that is there only for POST answers 405, and 404 if it is not there.
    """
    try:
        routes.get(path)
    except NotSupported:
        return False
    except UpstreamRejected as error:
        if error.details.get("upstream_status") != 405:
            raise
    return True


def flavour_of(routes: WebuiRoutes) -> Flavour:
    """The program that answers there. Raises UpstreamErrors when none does."""
    # Every web UI can be interrupted; a host that cannot is a bare engine.
    if not has(routes, "sdapi/v1/interrupt"):
        return _engine(routes)
    found = Capabilities(
        progress=has(routes, "sdapi/v1/progress?skip_current_image=true"),
        refresh_loras=has(routes, "sdapi/v1/refresh-loras"),
    )
    if _listed(routes, "sdapi/v1/sd-modules"):
        found = replace(found, controlnet=has(routes, "controlnet/model_list"))
        older = has(routes, "sdapi/v1/hypernetworks")
        return Forge(routes, found) if older else ForgeNeo(routes, found)
    version = _told(routes, "sdapi/v1/version")
    if isinstance(version, dict) and isinstance(_told(routes, "sdapi/v1/status"), dict):
        return SdNext(routes, found)
    return Flavour(routes, replace(found, controlnet=has(routes, "controlnet/version")))


def _engine(routes: WebuiRoutes) -> Flavour:
    """Which of the programs it is that draw and list, and little else."""
    models = _told(routes, "sdapi/v1/sd-models")
    if models is None:
        for path in SHOWN_AT:
            options = _told(routes, path)
            if isinstance(options, dict) and "model" in options:
                return DrawThings(routes, Capabilities())
    elif _with_placeholders(models):
        version = _told(routes, "api/extra/version")
        called = isinstance(version, dict) and version.get("result") == "KoboldCpp"
        if called or not has(routes, "sdapi/v1/schedulers"):
            return KoboldCpp(routes, Capabilities())
    progress = has(routes, "sdapi/v1/progress?skip_current_image=true")
    refresh_loras = has(routes, "sdapi/v1/refresh-loras")
    controlnet = has(routes, "controlnet/version")
    told = _told(routes, "sdcpp/v1/capabilities")
    features = told.get("features") if isinstance(told, dict) else None
    return SdCpp(
        routes,
        Capabilities(progress=progress, refresh_loras=refresh_loras, controlnet=controlnet),
        hires=isinstance(features, dict) and features.get("hires") is True,
    )


def _with_placeholders(models: object) -> bool:
    """Whether a list's hashes are none: engines with one model have not computed its own."""
    first = models[0] if isinstance(models, list) and models else None
    return isinstance(first, dict) and str(first.get("hash")).startswith("8888")


def _told(routes: WebuiRoutes, path: str) -> Any:
    """What is at a path; None if there is nothing, or nothing that can be read."""
    try:
        return routes.get(path)
    except (NotSupported, UpstreamRejected, UpstreamGarbage):
        return None


def _listed(routes: WebuiRoutes, path: str) -> bool:
    items = _told(routes, path)
    return isinstance(items, list) and all(
        isinstance(item, dict) and "model_name" in item for item in items
    )
