"""Reading a request's fields in all the forms in which the web UI takes them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from robotchat.art.infotext import fields_in

_OBJECTS = ("override_settings", "alwayson_scripts", "comments")
"""Fields that are objects: PHP writes an empty one as ``[]``."""

_BUILT_IN = frozenset({"comments", "extra options", "refiner", "sampler", "seed"})
"""Always-on scripts that are part of the web UI's own form. Over the API it does not heed their
arguments: fields of the request say the same."""


def is_true(value: object) -> bool:
    """Whether a switch is on, written as a boolean, a number or a word."""
    if isinstance(value, str):
        return value.strip().lower() in ("1", "true", "t", "yes", "y", "on")
    return bool(value)


def understood(
    value: Mapping[str, Any], known: Collection[str]
) -> tuple[dict[str, Any], list[str]]:
    """The fields that mean something, in the forms that they have here; and what else there is."""
    ignored = [str(name) for name in value if name not in known]
    # In this API null means "not set", and some hosts refuse it altogether.
    fields = {n: item for n, item in value.items() if n in known and item is not None}
    for name in _OBJECTS:
        if fields.get(name) == []:
            fields[name] = {}
    if isinstance(fields.get("infotext"), str):
        said, options = fields_in(fields["infotext"])
        given = fields.get("override_settings") or {}
        fields = {**{n: item for n, item in said.items() if n in known}, **fields}
        if options and isinstance(given, Mapping):
            fields["override_settings"] = {**options, **given}
    scripts = fields.get("alwayson_scripts")
    if isinstance(scripts, Mapping):
        fields["alwayson_scripts"] = kept = {}
        for title, script in scripts.items():
            if str(title).strip().lower() in _BUILT_IN:
                ignored.append(f"alwayson_scripts.{title}")
            else:
                kept[title] = _script(str(title), {} if script == [] else script)
    return fields, ignored


def _script(title: str, script: Any) -> Any:
    """An always-on script; of ControlNet's units, those that are on, and what they need."""
    units = script.get("args") if isinstance(script, Mapping) else None
    if title.lower() != "controlnet" or not isinstance(units, list):
        return script
    return {**script, "args": [_unit(unit) for unit in units]}


def _unit(unit: Any) -> Any:
    if unit == []:
        return {"enabled": False}
    if not isinstance(unit, Mapping):
        return unit
    return {**unit, "enabled": True} if is_true(unit.get("enabled")) else {"enabled": False}
