"""The driver for an SD host, by its address: of the kind that this names or that answers there."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs, urlsplit

from robotchat.art.address import split_kind
from robotchat.art.capabilities import HostKind
from robotchat.art.driver import ArtDriver
from robotchat.drivers.webui import Timeouts, WebUI
from robotchat.errors import (
    Misconfigured,
    NotSupported,
    UpstreamGarbage,
    UpstreamRejected,
)

if TYPE_CHECKING:
    import httpx

    from robotchat.art.workflows import Workflow


def host_driver(
    address: str,
    *,
    auth: tuple[str, str] | None = None,
    timeouts: Timeouts | None = None,
    workflows: Sequence[Workflow] = (),
    transport: httpx.BaseTransport | None = None,
) -> ArtDriver:
    """A driver for the SD host at a URL, which may begin with its kind: ``comfyui+http://...``.

    Without a kind the host is asked for signs of one when it is first used. ``auth``,
    ``timeouts`` and ``transport`` are as for ``WebUI``, ``workflows`` as for ``ComfyUI``. The query
    of an address has what only its kind has: of ``openai-images`` the ``flavour``, ``model``s and
    ``lora``s, as in ``openai-images+http://a/v1?flavour=localai&model=flux.1-dev``. Raises
    Misconfigured.
    """
    kind, url = split_kind(address)
    options: dict[str, Any] = {"auth": auth, "timeouts": timeouts, "transport": transport}
    if kind is None:
        return cast(ArtDriver, _Found(url, options, workflows))
    return _of_kind(kind, url, options, workflows)


def _of_kind(
    kind: HostKind, url: str, options: dict[str, Any], workflows: Sequence[Workflow]
) -> ArtDriver:
    if kind in ("webui", "sdcpp"):
        return WebUI(url, **options)
    if kind == "comfyui":
        from robotchat.drivers.comfyui import ComfyUI

        return ComfyUI(url, workflows=workflows, **options)
    if kind == "openai-images":
        from robotchat.drivers.openai_images import OpenAIImages

        given = parse_qs(urlsplit(url).query)
        if unknown := given.keys() - {"flavour", "model", "lora"}:
            raise Misconfigured(f"An SD host's address has no {min(unknown)}.")
        named = (lora.partition("=") for lora in given.get("lora", ()))
        return OpenAIImages(
            url,
            flavour=given.get("flavour", [None])[-1],
            models=given.get("model", ()),
            loras={name: path for name, _, path in named},
            **options,
        )
    raise Misconfigured(f"There is no driver for {kind}.")


class _Found:
    """A driver of a kind that is found out when it is first used."""

    def __init__(self, url: str, options: dict[str, Any], workflows: Sequence[Workflow]) -> None:
        self._probe = WebUI(url, **options)
        self.base_url = self._probe.base_url
        self._url, self._options, self._workflows = url, options, workflows
        self._lock = threading.Lock()
        self._driver: ArtDriver | None = None

    def __repr__(self) -> str:
        return "host_driver(...)"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._found(), name)

    def _found(self) -> ArtDriver:
        with self._lock:
            if self._driver is None:
                kind = _kind_of(self._probe)
                self._driver = (
                    self._probe
                    if kind == "webui"
                    else _of_kind(kind, self._url, self._options, self._workflows)
                )
            return self._driver

    def close(self) -> None:
        self._probe.close()
        if self._driver is not None and self._driver is not self._probe:
            cast(Any, self._driver).close()


def _kind_of(probe: WebUI) -> HostKind:
    """The kind of host that answers; without any sign, a web UI's, whose errors tell more.

    The web UI's own paths go first: some of these programs imitate the others as well. Not all
    have its lists.
    """
    signs = ("sd-models", "options", "txt2img")
    if any(_answers(probe, f"sdapi/v1/{path}") is not None for path in signs):
        return "webui"
    stats = _answers(probe, "system_stats")
    if isinstance(stats, dict) and "system" in stats and "devices" in stats:
        return "comfyui"
    # The address may be that of the API itself, as its clients are given it.
    own = probe.base_url.endswith("/v1")
    models = _answers(probe, "models" if own else "v1/models")
    if isinstance(models, dict) and isinstance(models.get("data"), list):
        return "openai-images"
    return "webui"


def _answers(probe: WebUI, path: str) -> object:
    """What is at a path: its answer, True if it is there for POST only, None if it is not."""
    try:
        answer: object = probe.get(path)
    except UpstreamRejected as error:
        return True if error.details.get("upstream_status") == 405 else None
    except (NotSupported, UpstreamGarbage):
        return None
    return answer
