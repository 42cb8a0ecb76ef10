"""What the SD hosts have, taken together: one list of models, one of samplers, and so on.

Every question goes to all hosts side by side. What several hosts have is listed once, in the order
of the hosts; a host that is away is no error as long as another one answers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from pydantic import BaseModel

from robotchat.art.answers import (
    ControlNetModules,
    ControlNetSettings,
    ControlType,
    Embeddings,
    Extension,
    Lora,
    Model,
    PromptStyle,
    Sampler,
    Scheduler,
    ScriptInfo,
    Scripts,
    Upscaler,
    Vae,
)
from robotchat.art.bot import ArtBot
from robotchat.errors import NotFound, NotSupported, RobotchatError
from robotchat.hosts.pool import HostPool
from robotchat.hosts.privacy import harmless, is_public
from robotchat.text import json_size

logger = logging.getLogger(__name__)

MOST_BYTES = 2 * 1024 * 1024
"""Of a list, as JSON: an answer may hold two of them, and Lambda's has at most 6 MB."""

REMEMBERED = 5.0
"""Seconds for which lists that change only with a restart of a host are not asked for again."""

_SIGN_OF_CONTROLNET = "controlnet m2m"
"""Clients take this script's presence for ControlNet's."""

_UNKNOWN_MEMORY = {"error": "unavailable"}
"""How the web UI says that it cannot tell."""

T = TypeVar("T")


class Catalog:
    """Lists over all hosts of a pool.

    ``scripts`` are the titles that requests may name besides ControlNet; no others are listed.
    What a kind of host does not list it has none of, so that the list is empty. Every method
    raises UpstreamUnavailable (or what else was wrong) when no host answers; those that ask for
    something else than a list raise NotFound when the hosts that answer do not have the function.
    """

    def __init__(self, pool: HostPool, *, scripts: Collection[str] = ()) -> None:
        self._pool = pool
        self._may = {title.lower() for title in scripts}
        self._lists: dict[str, tuple[float, Any]] = {}
        self._lock = threading.Lock()

    # --- models and what goes with them -----------------------------------------------------------

    def get_models(self) -> list[Model]:
        """The checkpoints. A file that one of the hosts has not hashed yet is listed once."""
        merged: dict[str, list[Model]] = {}
        for model in _flat(self._all(lambda bot: bot.get_models())):
            same = merged.setdefault(model.alias, [])
            twin = next((m for m in same if _twins(m, model)), None)
            if twin is None:
                same.append(model)
            elif not twin.short_hash and model.short_hash:
                same[same.index(twin)] = model
        return list(_flat(merged.values()))

    def get_loras(self) -> list[Lora]:
        """The LoRAs that a prompt may name; without their metadata, where that is too much for one
        answer."""
        found = list(_flat(self._all(lambda bot: bot.get_loras())))
        if sum(json_size(lora.metadata) for lora in found) > MOST_BYTES // 2:
            found = [lora.model_copy(update={"metadata": {}}) for lora in found]
        return _once(found, lambda lora: lora.name)

    def get_vaes(self) -> list[Vae]:
        """The VAEs that ``override_settings.sd_vae`` may name."""
        return _once(_flat(self._all(lambda bot: bot.get_vaes())), lambda vae: vae.model_name)

    def get_modules(self) -> list[Vae]:
        """The VAEs and text encoders of Forge's hosts; other hosts have none."""
        return _once(_flat(self._all(lambda bot: bot.get_modules())), lambda one: one.model_name)

    def get_embeddings(self) -> Embeddings:
        """The learnt words; what is loaded on one host is not among the skipped ones."""
        found = self._all(lambda bot: bot.get_embeddings())
        loaded = _union(one.loaded for one in found)
        skipped = _union(one.skipped for one in found)
        return Embeddings(
            loaded=loaded,
            skipped={name: value for name, value in skipped.items() if name not in loaded},
        )

    def get_prompt_styles(self) -> list[PromptStyle]:
        """The texts that ``styles`` may name."""
        return _once(_flat(self._all(lambda bot: bot.get_prompt_styles())), lambda s: s.name)

    def refresh_models(self) -> None:
        """Have every host look for new checkpoints; each does when it is done with its picture.

        Raises an error only if none of the hosts did it.
        """
        self._told(lambda bot: bot.refresh_models(), patience=None)

    def refresh_loras(self) -> None:
        """The same for LoRAs."""
        self._told(lambda bot: bot.refresh_loras(), patience=None)

    def refresh_vaes(self) -> None:
        """The same for VAEs."""
        self._told(lambda bot: bot.refresh_vaes(), patience=None)

    def refresh_embeddings(self) -> None:
        """The same for embeddings."""
        self._told(lambda bot: bot.refresh_embeddings(), patience=None)

    # --- what a request may name ------------------------------------------------------------------

    def get_samplers(self) -> list[Sampler]:
        """The samplers."""
        return self._remembered("samplers", lambda bot: bot.get_samplers(), lambda s: s.name)

    def get_schedulers(self) -> list[Scheduler]:
        """The noise schedules."""
        return self._remembered("schedulers", lambda bot: bot.get_schedulers(), lambda s: s.name)

    def get_upscalers(self) -> list[Upscaler]:
        """The upscalers, without the latent ones."""
        return self._remembered("upscalers", lambda bot: bot.get_upscalers(), lambda u: u.name)

    def get_named(self, path: str) -> list[dict[str, Any]]:
        """Another list of objects with a ``name``, by its path below ``sdapi/v1``."""
        return self._remembered(path, lambda bot: bot.get_named(path), lambda item: item["name"])

    def get_scripts(self) -> Scripts:
        """The scripts that a request may name, for both ways of drawing."""
        found = self._all(lambda bot: bot.get_scripts())
        return Scripts(
            txt2img=[s for s in _names(one.txt2img for one in found) if self._shown(s)],
            img2img=[s for s in _names(one.img2img for one in found) if self._shown(s)],
        )

    def get_script_info(self) -> list[ScriptInfo]:
        """The same scripts with their arguments."""
        found = _once(
            _flat(self._all(lambda bot: bot.get_script_info())),
            lambda script: (script.name, script.is_img2img),
        )
        return [script for script in found if self._shown(script.name)]

    def _shown(self, title: str) -> bool:
        return title.lower() in {*self._may, "controlnet", _SIGN_OF_CONTROLNET}

    # --- the machines -----------------------------------------------------------------------------

    def get_cmd_flags(self) -> dict[str, Any]:
        """The first host's command-line flags, as far as they concern nobody but it."""
        flags = next(iter(self._all(lambda bot: bot.get_cmd_flags())), {})
        return harmless(flags)

    def get_memory(self) -> dict[str, Any]:
        """Use of memory in bytes, added up over the hosts."""
        total: Any = {}
        for memory in self._all(lambda bot: bot.get_memory()):
            total = _sum(total, memory)
        return cast(dict[str, Any], total or dict.fromkeys(("ram", "cuda"), _UNKNOWN_MEMORY))

    def get_extensions(self) -> list[Extension]:
        """What is installed on the hosts, without where it was got from if that is private."""
        found = _once(_flat(self._all(lambda bot: bot.get_extensions())), lambda one: one.name)
        return [
            one if is_public(one.remote) else one.model_copy(update={"remote": ""}) for one in found
        ]

    # --- ControlNet -------------------------------------------------------------------------------

    def get_controlnet_models(self, *, update: bool = False) -> list[str]:
        """ControlNet's models; ``update`` has the hosts look for new ones."""
        return _names(self._all(lambda bot: bot.get_controlnet_models(update=update)))

    def get_controlnet_modules(self, *, alias_names: bool = False) -> ControlNetModules:
        """ControlNet's preprocessors."""
        found = self._all(lambda bot: bot.get_controlnet_modules(alias_names=alias_names))
        return ControlNetModules(
            module_list=_names(one.module_list for one in found),
            module_detail=_union(one.module_detail for one in found),
        )

    def get_controlnet_control_types(self) -> dict[str, ControlType]:
        """Which preprocessors and models go together, by kind."""
        merged: dict[str, ControlType] = {}
        for kind, one in _pairs(self._all(lambda bot: bot.get_controlnet_control_types())):
            known = merged.setdefault(kind, one)
            default = known if known.default_model.lower() != "none" else one
            merged[kind] = known.model_copy(
                update={
                    "module_list": _names([known.module_list, one.module_list]),
                    "model_list": _names([known.model_list, one.model_list]),
                    "default_model": default.default_model,
                }
            )
        return merged

    def get_controlnet_version(self) -> int:
        """The version of ControlNet's API that all hosts understand."""
        return min(self._told(lambda bot: bot.get_controlnet_version()))

    def get_controlnet_settings(self) -> ControlNetSettings:
        """How many units a request may have, on whichever host it is drawn."""
        found = self._told(lambda bot: bot.get_controlnet_settings())
        return min(found, key=lambda settings: settings.control_net_unit_count)

    # --- asking -----------------------------------------------------------------------------------

    def _remembered(
        self, name: str, question: Callable[[ArtBot], list[T]], key: Callable[[T], Hashable]
    ) -> list[T]:
        with self._lock:
            until, value = self._lists.get(name, (0.0, None))
        if time.monotonic() < until:
            return cast(list[T], value)
        found = _once(_flat(self._all(question)), key)
        with self._lock:
            self._lists[name] = (time.monotonic() + REMEMBERED, found)
        return found

    def _all(self, question: Callable[[ArtBot], T], *, patience: float | None = 3.0) -> list[T]:
        """What the hosts answer that have the function. Raises when none answers."""
        answers = list(self._pool.ask(question, patience=patience).values())
        found = [answer for answer in answers if not isinstance(answer, RobotchatError)]
        errors = [
            answer
            for answer in answers
            if isinstance(answer, RobotchatError) and not isinstance(answer, NotSupported)
        ]
        if errors and not found:
            raise errors[0]
        return found

    def _told(self, question: Callable[[ArtBot], T], *, patience: float | None = 3.0) -> list[T]:
        """The same for what must be there. Raises NotFound when no host has the function."""
        found = self._all(question, patience=patience)
        if not found:
            raise NotFound("No SD host has this function.")
        return found


def _twins(one: Model, other: Model) -> bool:
    """Whether two models of the same file name may be the same file."""
    return not one.short_hash or not other.short_hash or one.short_hash == other.short_hash


def _flat(lists: Iterable[Iterable[T]]) -> Iterable[T]:
    for items in lists:
        yield from items


def _once(items: Iterable[T], key: Callable[[T], Hashable]) -> list[T]:
    found: dict[Hashable, T] = {}
    for item in items:
        found.setdefault(key(item), item)
    return _fitting(found.values())


def _names(lists: Iterable[Iterable[str]]) -> list[str]:
    return _fitting(dict.fromkeys(_flat(lists)))


def _union(objects: Iterable[Mapping[str, T]]) -> dict[str, T]:
    merged: dict[str, T] = {}
    for one in objects:
        for name, value in one.items():
            merged.setdefault(name, value)
    return dict(_fitting(merged.items()))


def _fitting(items: Iterable[T]) -> list[T]:
    """The first of these, as many as have room in an answer."""
    room = MOST_BYTES
    kept: list[T] = []
    for item in items:
        room -= json_size(_plain(item)) + 1
        if room < 0:
            logger.warning("a list of the SD hosts is cut", extra={"kept": len(kept)})
            break
        kept.append(item)
    return kept


def _plain(item: object) -> object:
    if isinstance(item, tuple):
        return [_plain(part) for part in item]
    return item.model_dump(mode="json") if isinstance(item, BaseModel) else item


def _pairs(objects: Sequence[Mapping[str, T]]) -> Iterable[tuple[str, T]]:
    for one in objects:
        yield from one.items()


def _sum(one: Any, other: Any) -> Any:
    """Two objects of numbers as one, number by number; a text such as an error stays as it is."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {
            name: _sum(one[name], other[name])
            if name in one and name in other
            else one.get(name, other.get(name))
            for name in dict.fromkeys([*one, *other])
        }
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one + other
    return one
