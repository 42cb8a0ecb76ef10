"""Where an OpenAI-compatible API is reached, with which key, and for which model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Upstream:
    """One API of several, tried when those before fail. ``model`` replaces the one asked for."""

    base_url: str
    api_key: str | None = None
    model: str | None = None
