"""Where an OpenAI-compatible API is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Upstream:
    """Where to turn to when those before fail. ``model`` replaces the one asked for."""

    base_url: str
    api_key: str | None = None
    model: str | None = None
