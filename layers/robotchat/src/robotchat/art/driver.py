"""What a driver of a Stable Diffusion host does: the protocol, and what it tells of its host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from robotchat.art.answers import (
    Progress,
)


@dataclass(frozen=True)
class Capabilities:
    """What an SD host can do besides drawing."""

    progress: bool = True
    interrupt: bool = True
    options: bool = True
    """Whether options can be set, for a request or for good."""
    refresh_loras: bool = True
    controlnet: bool = True
    ignores: frozenset[str] = frozenset()
    """Fields of a request that it passes over in silence, although they change the picture."""
    rounds_up_to: int | None = None
    """Sizes are enlarged to a multiple of this; None: cut down to a multiple of 8."""


class ArtDriver(Protocol):
    """One SD host, in the dicts of the web UI's API. Everything raises ``UpstreamError``s."""

    def txt2img(self, body: Mapping[str, Any], *, timeout: float | None = None) -> dict[str, Any]:
        """Draw, and wait for it for ``timeout`` seconds at most."""
        ...

    def img2img(self, body: Mapping[str, Any], *, timeout: float | None = None) -> dict[str, Any]:
        """Draw, and wait for it for ``timeout`` seconds at most."""
        ...

    def progress(self, *, skip_current_image: bool = True) -> Progress | None:
        """How far the host has got; None when it does not tell. Previews cost it time."""
        ...

    def interrupt(self) -> None:
        """End what the host draws now, whoever asked for it. Raises NotSupported."""
        ...

    def skip(self) -> None:
        """End the batch that the host draws now. Raises NotSupported."""
        ...

    def get(self, path: str, **query: str) -> Any:
        """The JSON at a path such as ``sdapi/v1/sd-models``. Raises NotSupported on 404."""
        ...

    def post(
        self, path: str, body: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> Any:
        """The JSON that a POST answers. Raises NotSupported on 404."""
        ...

    def capabilities(self) -> Capabilities:
        """What the host can do; found out once, until it is to be forgotten."""
        ...

    def forget(self) -> None:
        """Find out anew what the host can do, when that is asked for next."""
        ...
