"""The host's settings as the real one keeps them: what was set, over defaults that it only shows.

The difference matters. An option that was overridden for one request is put back only if it had
been set before; a default that nobody ever set is shown by ``GET options``, and lost with the first
override of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dev.sd_host import catalog


class Settings:
    """All settings; ``data`` holds those that were set, as in ``config.json``."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = dict(data)

    def __contains__(self, key: str) -> bool:
        return key in catalog.SETTINGS

    def __getitem__(self, key: str) -> Any:
        return self.data[key] if key in self.data else catalog.SETTINGS[key]

    def set(self, key: str, value: Any) -> bool:
        """Set an option; whether that changed anything. Raises `KeyError` for an unknown one.

        Null for an option that was never set changes nothing: it stays unset.
        """
        if self.data.get(key) == value:
            return False
        if key not in catalog.SETTINGS:
            raise KeyError(key)
        self.data[key] = value
        return True

    def shown(self) -> dict[str, Any]:
        """What ``GET options`` answers. Raises `TypeError` when a value has the wrong type.

        As pydantic v1 reads them against the types of the defaults: whole numbers that were set
        come out with a fraction, and a default that is null, false, 0 or empty has no type.
        """
        return {**catalog.SETTINGS, **{key: _read(key, v) for key, v in self.data.items()}}


def _read(key: str, value: Any) -> Any:
    default = catalog.SETTINGS.get(key)
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
