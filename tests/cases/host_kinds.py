"""Stand-ins of every kind of SD host, as the suite that all kinds must pass uses them.

A stand-in is told what to do in words that each kind understands in its own way: ``draw`` names the
requests that draw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from dev import comfyui, openai_images, sd_host


class StandIn(Protocol):
    """A running stand-in: see `dev.sd_host.Control`."""

    url: str

    def set_faults(self, *faults: dict[str, Any]) -> None: ...
    def release(self) -> int: ...
    def restart(self, seconds: float = 0) -> None: ...
    def wait_for(self, timeout: float = 10, **counters: int) -> dict[str, int]: ...
    def stop(self) -> None: ...


@dataclass(frozen=True)
class Kind:
    """A kind of host and how its stand-in is started."""

    name: str
    running: Callable[[], AbstractContextManager[StandIn]]
    """Starts one that has at least two checkpoints, unless ``one_checkpoint``."""
    draws: str
    """A glob over the paths of the requests that draw."""
    prefix: str = ""
    """What an address says of the kind; empty: it is found out."""
    path: str = ""
    """What is behind the host in its address."""
    one_checkpoint: bool = False

    def address(self, host: StandIn) -> str:
        return f"{self.prefix}{host.url}{self.path}"


def _webui(**options: Any) -> Callable[[], AbstractContextManager[StandIn]]:
    @contextmanager
    def running() -> Iterator[StandIn]:
        with sd_host.running(**options) as host:
            yield host

    return running


@contextmanager
def _comfyui() -> Iterator[StandIn]:
    with comfyui.running() as host:
        yield host


def _images(flavour: str) -> Callable[[], AbstractContextManager[StandIn]]:
    @contextmanager
    def running() -> Iterator[StandIn]:
        with openai_images.running(flavour) as host:
            yield host

    return running


_MODELS = "".join(f"&model={name}" for name in openai_images.MODELS["localai"])

KINDS: tuple[Kind, ...] = (
    Kind("webui", _webui(), draws="*2img"),
    Kind("sdcpp", _webui(personality="sdcpp"), draws="*2img", one_checkpoint=True),
    Kind("forge", _webui(personality="forge"), draws="*2img"),
    Kind("forge-neo", _webui(personality="forge-neo"), draws="*2img"),
    Kind("sdnext", _webui(personality="sdnext"), draws="*2img"),
    Kind("koboldcpp", _webui(personality="koboldcpp"), draws="*2img", one_checkpoint=True),
    Kind("drawthings", _webui(personality="drawthings"), draws="*2img", one_checkpoint=True),
    Kind("comfyui", _comfyui, draws=comfyui.DRAWING),
    *(
        Kind(
            flavour,
            _images(flavour),
            draws="*/images/*",
            prefix="openai-images+",
            path=f"/v1?flavour={flavour}{_MODELS if flavour == 'localai' else ''}",
            one_checkpoint=flavour != "localai",
        )
        for flavour in ("vllm-omni", "sglang", "localai", "sd-server")
    ),
)
