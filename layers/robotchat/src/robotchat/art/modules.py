"""Forge's modules: files with a VAE or text encoders that a checkpoint is drawn with.

They are an option of the host, by their files' names. It drops a name that it does not know, and
shows the paths of those that it has, so that names are compared without their folders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from robotchat.art.answers import Vae
from robotchat.art.matching import find_listed, squash
from robotchat.art.requests import Request
from robotchat.errors import InvalidRequest

MODULES: Final = "forge_additional_modules"
_HIRES: Final = "hr_additional_modules"
_SAME: Final = ("use same choices", "built in")
MOST = 8


def base_name(name: str) -> str:
    """The name of a file without its folders."""
    return name.replace("\\", "/").rpartition("/")[2]


def same(one: Any, other: Any) -> bool:
    """Whether two values of an option are the same; of the modules, in whatever order and form."""
    if isinstance(one, list) and isinstance(other, list):
        return sorted(map(base_name, map(str, one))) == sorted(map(base_name, map(str, other)))
    return bool(one == other)


def vaes_among(modules: Sequence[Vae]) -> list[Vae]:
    """Those that lie where VAEs do."""
    return [one for one in modules if "text_encoder" not in one.filename.replace("\\", "/")]


def names_something(request: Request) -> bool:
    """Whether a request says with which modules to draw."""
    options = request.override_settings or {}
    return any(options.get(name) is not None for name in (MODULES, "sd_vae")) or bool(
        getattr(request, _HIRES, None)
    )


def resolved(request: Request, listed: Sequence[Vae]) -> Request:
    """The request with the host's names of its modules; the VAE that it names is one of them.

    Raises InvalidRequest, with near matches, for one that is not listed.
    """
    options = dict(request.override_settings or {})
    where = f"override_settings.{MODULES}"
    changes: dict[str, Any] = {}
    wanted = options.get(MODULES)
    if wanted is not None:
        options[MODULES] = find_modules(wanted, listed, param=where)
    vae = options.pop("sd_vae", None)
    if vae and squash(str(vae)) not in ("automatic", "none"):
        names = [one.model_name for one in vaes_among(listed)]
        name = find_listed(str(vae), names, "override_settings.sd_vae", "VAE")
        options[MODULES] = [*(n for n in options.get(MODULES, []) if n != name), name]
    if options != (request.override_settings or {}):
        changes["override_settings"] = options
    again = getattr(request, _HIRES, None)
    if again:
        kept = [name for name in again if name.lower() in _SAME]
        changes[_HIRES] = kept or find_modules(again, listed, param=_HIRES)
    return request.model_copy(update=changes) if changes else request


def find_modules(wanted: Any, listed: Sequence[Vae], *, param: str) -> list[str]:
    """The host's names of modules, which may be named with folders and without extension.

    Raises InvalidRequest, with near matches, for one that is not listed.
    """
    if not isinstance(wanted, list) or len(wanted) > MOST:
        raise InvalidRequest(f"This is a list of at most {MOST} names of modules.", param=param)
    names = [one.model_name for one in listed]
    return [find_listed(base_name(str(name)), names, param, "module") for name in wanted]


def differs(options: Mapping[str, Any], told: Sequence[str]) -> bool:
    """Whether a picture was drawn with other modules than its request names, by those that its
    infotext tells."""

    def plain(name: str) -> str:
        return squash(base_name(name).rpartition(".")[0] or name)

    return sorted(plain(str(name)) for name in options[MODULES]) != sorted(
        squash(name) for name in told
    )
