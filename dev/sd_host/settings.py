"""The host's settings as the real one keeps them: what was set, over defaults that it only shows.

The difference matters. An option that was overridden for one request is put back only if it had
been set before; a default that nobody ever set is shown by ``GET options``, and lost with the first
override of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dev.sd_host import catalog, flavours


class Settings:
    """All settings; ``data`` holds those that were set, as in ``config.json``."""

    defaults: Mapping[str, Any] = catalog.SETTINGS

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = dict(data)

    def __contains__(self, key: str) -> bool:
        return key in self.defaults

    def __getitem__(self, key: str) -> Any:
        return self.data[key] if key in self.data else self.defaults[key]

    def set(self, key: str, value: Any) -> bool:
        """Set an option; whether that changed anything. Raises `KeyError` for an unknown one.

        Null for an option that was never set changes nothing: it stays unset.
        """
        if self.data.get(key) == value:
            return False
        if key not in self.defaults:
            raise KeyError(key)
        self.data[key] = value
        return True

    def restore(self, stored: Mapping[str, Any]) -> None:
        """Put back what a request has overridden, as far as it had been set before."""
        self.data.update(stored)

    def shown(self) -> dict[str, Any]:
        """What ``GET options`` answers. Raises `TypeError` when a value has the wrong type.

        As pydantic v1 reads them against the types of the defaults: whole numbers that were set
        come out with a fraction, and a default that is null, false, 0 or empty has no type.
        """
        read = {key: _read(key, v, self.defaults.get(key)) for key, v in self.data.items()}
        return {**self.defaults, **read}


class ForgeSettings(Settings):
    """Forge's: its modules are paths of files that it has, and names of others go unsaid."""

    defaults = flavours.FORGE_SETTINGS

    def set(self, key: str, value: Any) -> bool:
        if key != flavours.MODULES or self.data.get(key) == value:
            return super().set(key, value)
        names = [str(name).rpartition("/")[2] for name in value]
        paths = [flavours.MODULE_FILES[name] for name in names if name in flavours.MODULE_FILES]
        if sorted(paths) == sorted(self.data.get(key, [])):
            return False  # not even when it was never set: then it stays so
        self.data[key] = paths
        return True

    def restore(self, stored: Mapping[str, Any]) -> None:
        for key, value in stored.items():
            self.set(key, value)


class SdNextSettings(Settings):
    """SD.Next's: every option is set from the start, and unknown ones are nobody's."""

    defaults = flavours.SDNEXT_SETTINGS

    def __init__(self, data: Mapping[str, Any]) -> None:
        super().__init__({**self.defaults, **data})

    def set(self, key: str, value: Any) -> bool:
        return key in self.defaults and super().set(key, value)

    def shown(self) -> dict[str, Any]:
        return dict(self.data)


OF_PERSONALITY: Mapping[str, type[Settings]] = {
    "forge": ForgeSettings,
    "forge-neo": ForgeSettings,
    "sdnext": SdNextSettings,
}
"""Those of the others are the web UI's."""


def _read(key: str, value: Any, default: Any) -> Any:
    if not default or value is None:
        return value
    if isinstance(default, bool):
        return bool(value)
    if isinstance(default, (int, float)):
        try:
            return float(value)
        except (TypeError, ValueError):
            raise TypeError(f"1 validation error for Options: {key}") from None
    return str(value)
