"""What a driver of an SD host does, whatever kind of host it is.

A driver draws, lists what there is, tells how far it has got, and stops: that is ``ArtDriver``.
Hosts of the web UI's kind can be asked much more, by the paths of its API: ``WebuiRoutes``.
``WebuiDriver`` makes an ``ArtDriver`` of a host that has those.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from robotchat.art.answers import (
    Lora,
    Model,
    Progress,
    Sampler,
    Scheduler,
    read,
    read_schedulers,
)
from robotchat.art.capabilities import Capabilities
from robotchat.art.requests import CHECKPOINT, DrawRequest, Image2ImageRequest
from robotchat.art.results import Drawing, read_drawing
from robotchat.errors import NotSupported, UpstreamUnavailable


class WebuiRoutes(Protocol):
    """The web UI's own API, by its paths. Everything raises ``UpstreamError``s."""

    def get(self, path: str, **query: str) -> Any:
        """The JSON at a path such as ``sdapi/v1/sd-models``. Raises NotSupported on 404."""
        ...

    def post(
        self, path: str, body: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> Any:
        """The JSON that a POST answers. Raises NotSupported on 404."""
        ...


class ArtDriver(Protocol):
    """One SD host. Everything raises ``UpstreamError``s; NotSupported is what the host has not."""

    def draw(
        self,
        request: DrawRequest,
        *,
        attempt_id: str | None = None,
        timeout: float | None = None,
        interrupted: Callable[[], bool] = ...,
    ) -> Drawing:
        """Draw, and wait for it for ``timeout`` seconds at most.

        The request has been checked against what the host can do and has, and its seed is chosen.
        ``attempt_id`` is a UUID under which this can be watched and stopped. ``interrupted`` tells
        whether the host was told to stop meanwhile. What ``Drawing.info`` says is known to be so:
        whoever asked holds it against the request. Raises UpstreamUnavailable, ``interrupted``
        among its details, when it was stopped before there was a picture.
        """
        ...

    def models(self) -> list[Model]:
        """The checkpoints that it can draw with."""
        ...

    def checkpoint(self) -> str | None:
        """The one that it draws with when none is named; None if it has none of its own choice."""
        ...

    def samplers(self) -> list[Sampler]:
        """The samplers that a request may name."""
        ...

    def schedulers(self) -> list[Scheduler]:
        """The noise schedules that a request may name."""
        ...

    def loras(self) -> list[Lora]:
        """The LoRAs that a prompt may name."""
        ...

    def progress(self, attempt_id: str | None = None, *, preview: bool = False) -> Progress | None:
        """How far it has got with an attempt, or with whatever it draws; None when it does not
        tell. A preview costs it time."""
        ...

    def cancel(self, attempt_id: str | None = None) -> None:
        """Stop an attempt; None: all that it draws for us, such as a dead holder's work. Hosts
        that cannot tell one from the other stop what they draw now, whoever asked for it."""
        ...

    def busy(self) -> bool | None:
        """Whether it draws something for us; None when it does not tell."""
        ...

    def capabilities(self, checkpoint: str | None = None) -> Capabilities:
        """What it can do, with a checkpoint (an alias of its models) where that matters; found out
        once, until it is to be forgotten."""
        ...

    def forget(self) -> None:
        """Find out anew what it can do, when that is asked for next."""
        ...

    @property
    def webui(self) -> WebuiRoutes | None:
        """The web UI's API; None for hosts of another kind."""
        ...


def webui_of(driver: ArtDriver) -> WebuiRoutes:
    """The web UI's API of a host. Raises NotSupported when it is of another kind."""
    routes = driver.webui
    if routes is None:
        raise NotSupported("The SD host does not have this function.")
    return routes


class WebuiLists(ABC):
    """What an ``ArtDriver`` tells, from the web UI's API."""

    @abstractmethod
    def get(self, path: str, **query: str) -> Any: ...

    @abstractmethod
    def post(
        self, path: str, body: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> Any: ...

    @abstractmethod
    def progress(
        self, attempt_id: str | None = None, *, preview: bool = False
    ) -> Progress | None: ...

    @abstractmethod
    def capabilities(self, checkpoint: str | None = None) -> Capabilities: ...

    @property
    def webui(self) -> WebuiRoutes | None:
        return self

    def models(self) -> list[Model]:
        return read(list[Model], self.get("sdapi/v1/sd-models"))

    def checkpoint(self) -> str | None:
        options = read(dict[str, Any], self.get("sdapi/v1/options"))
        return str(options.get(CHECKPOINT) or "") or None

    def samplers(self) -> list[Sampler]:
        return read(list[Sampler], self.get("sdapi/v1/samplers"))

    def schedulers(self) -> list[Scheduler]:
        return read_schedulers(self.get("sdapi/v1/schedulers"))

    def loras(self) -> list[Lora]:
        return read(list[Lora], self.get("sdapi/v1/loras"))

    def cancel(self, attempt_id: str | None = None) -> None:
        self.post("sdapi/v1/interrupt")

    def busy(self) -> bool | None:
        seen = self.progress()
        return None if seen is None else not seen.idle


class WebuiDriver(WebuiLists):
    """An ``ArtDriver`` that also draws by the web UI's API."""

    @abstractmethod
    def txt2img(self, body: Mapping[str, Any], *, timeout: float | None = None) -> dict[str, Any]:
        """The answer to this body of a drawing call."""

    @abstractmethod
    def img2img(self, body: Mapping[str, Any], *, timeout: float | None = None) -> dict[str, Any]:
        """The same for one that begins with pictures."""

    def draw(
        self,
        request: DrawRequest,
        *,
        attempt_id: str | None = None,
        timeout: float | None = None,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> Drawing:
        send = self.img2img if isinstance(request, Image2ImageRequest) else self.txt2img
        answer = send(request.sent(), timeout=timeout)
        stopped = interrupted()
        if stopped and answer.get("images") == []:
            raise UpstreamUnavailable(
                "The drawing was stopped before there was a picture.", details={"interrupted": True}
            )
        return read_drawing(request, answer, partial=stopped)
