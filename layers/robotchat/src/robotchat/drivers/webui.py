"""An SD host that speaks the web UI's HTTP API: AUTOMATIC1111, Forge, SD.Next, sd-server ...

One instance is one host and may be used from several threads. What goes wrong is translated here,
at the edge: nothing above sees an ``httpx`` exception, and no message holds the host's address,
its paths or its raw text.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from robotchat.art.answers import Model, Progress, Scheduler, read
from robotchat.art.capabilities import Capabilities
from robotchat.art.driver import WebuiDriver
from robotchat.drivers.drawthings import DrawThings, settings
from robotchat.drivers.flavours import NO_CHECKPOINT, NO_SAMPLER, Flavour
from robotchat.drivers.http import KEEP_ALIVE, address_of, failure, json_of, tls_for, whole_body
from robotchat.drivers.probe import flavour_of
from robotchat.errors import (
    NotSupported,
    UpstreamBusy,
    UpstreamError,
    UpstreamGarbage,
    UpstreamRejected,
    UpstreamUnavailable,
)
from robotchat.text import read_json

if TYPE_CHECKING:
    import httpx


@dataclass(frozen=True)
class Timeouts:
    """Longest waits, in seconds. Drawing calls bring their own."""

    connect: float = 5.0
    answer: float = 30.0
    """For questions that the host answers from memory."""
    progress: float = 5.0
    """For its progress: who asks must show life meanwhile."""
    draw: float = 840.0
    """For drawing, when the caller does not say."""


class WebUI(WebuiDriver):
    """One SD host.

    ``auth`` is the user name and password of the host's ``--api-auth``; they may also be in the
    URL (``http://user:password@host:7861``). ``transport`` replaces the network in tests. Raises
    Misconfigured for a URL that is none.
    """

    def __init__(
        self,
        base_url: str,
        *,
        auth: tuple[str, str] | None = None,
        timeouts: Timeouts | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        import httpx

        self._httpx = httpx
        address, auth = address_of(base_url, auth)
        self.base_url = address.geturl().rstrip("/")
        """The host's address, without its password; not for callers' eyes."""
        self._timeouts = timeouts or Timeouts()
        self._client = httpx.Client(
            base_url=self.base_url,
            auth=auth,
            transport=transport,
            verify=tls_for(address.scheme),
            trust_env=False,
            headers={"user-agent": "robotchat"},
            limits=httpx.Limits(keepalive_expiry=KEEP_ALIVE),
        )
        self._lock = threading.Lock()
        self._flavour: Flavour | None = None

    def __repr__(self) -> str:
        return "WebUI(...)"

    def close(self) -> None:
        """Close the connections. The driver can also be used in a ``with``."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- drawing ----------------------------------------------------------------------------------

    def txt2img(self, body: Mapping[str, Any], *, timeout: float | None = None) -> dict[str, Any]:
        return self._draw("sdapi/v1/txt2img", body, timeout)

    def img2img(self, body: Mapping[str, Any], *, timeout: float | None = None) -> dict[str, Any]:
        return self._draw("sdapi/v1/img2img", body, timeout)

    def _draw(self, path: str, body: Mapping[str, Any], timeout: float | None) -> dict[str, Any]:
        return self._known().draw(path, body, timeout or self._timeouts.draw)

    # --- watching ---------------------------------------------------------------------------------

    def progress(self, attempt_id: str | None = None, *, preview: bool = False) -> Progress | None:
        if not self.capabilities().progress:
            return None
        flag = "false" if preview else "true"
        path = f"sdapi/v1/progress?skip_current_image={flag}"
        return read(Progress, self._request("GET", path, None, self._timeouts.progress))

    def capabilities(self, checkpoint: str | None = None) -> Capabilities:
        return self._known().capabilities

    def forget(self) -> None:
        with self._lock:
            self._flavour = None

    def _known(self) -> Flavour:
        """The program that answers there; found out once, until it is to be forgotten."""
        with self._lock:
            if self._flavour is None:
                self._flavour = flavour_of(self)
            return self._flavour

    # --- lists that not all have ------------------------------------------------------------------

    def models(self) -> list[Model]:
        try:
            return super().models()
        except NotSupported:
            shown = self.checkpoint() if isinstance(self._known(), DrawThings) else None
            if shown is None:
                raise
            return [Model(title=shown, model_name=shown)]

    def checkpoint(self) -> str | None:
        try:
            return super().checkpoint() or self._shown()
        except NotSupported:
            shown = self._shown()
            if shown is None:
                raise
            return shown

    def schedulers(self) -> list[Scheduler]:
        try:
            return super().schedulers()
        except NotSupported:
            if not self._known().schedules:
                raise
            return list(self._known().schedules)

    def _shown(self) -> str | None:
        """The checkpoint that an app is set to which lists none."""
        if not isinstance(self._known(), DrawThings):
            return None
        return str(settings(self).get("model") or "") or None

    # --- HTTP -------------------------------------------------------------------------------------

    def get(self, path: str, **query: str) -> Any:
        params = "&".join(f"{name}={value}" for name, value in query.items())
        return self._request("GET", f"{path}?{params}" if params else path, None, None)

    def post(
        self, path: str, body: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> Any:
        return self._request("POST", path, {} if body is None else body, timeout)

    def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None, timeout: float | None
    ) -> Any:
        timeout = timeout or self._timeouts.answer
        limits = self._httpx.Timeout(timeout, connect=min(self._timeouts.connect, timeout))
        deadline = time.monotonic() + timeout
        httpx = self._httpx
        try:
            with self._client.stream(method, path, json=body, timeout=limits) as response:
                data = whole_body(response, deadline)
        except httpx.HTTPError as error:
            raise failure(error) from error
        if response.status_code == 200:
            return json_of(data)
        if response.status_code == 204:
            return None
        raise _error(response, data)


# --- errors ---------------------------------------------------------------------------------------

_REJECTED = (
    ("Invalid encoded image", "The SD host cannot decode an image."),
    ("Invalid image url", "The SD host cannot decode an image."),
    ("Requests not allowed", "The SD host does not fetch image URLs."),
    ("Request to local resource not allowed", "The SD host does not fetch image URLs."),
    ("Invalid image format", "The SD host does not know the image format."),
    ("Init image not found", "init_images is missing."),
    ("Image not found", "The image is missing."),
    ("Model not found", "The SD host does not have the model."),
    ("Sampler not found", NO_SAMPLER),
    ("could not find upscaler", "The SD host does not have the upscaler."),
    ("Could not find checkpoint", NO_CHECKPOINT),
    ("bad number of images", "init_images holds more pictures than batch_size."),
    ("always on script", "The SD host does not have the always-on script."),
    ("selectable script", "A selectable script was given among the always-on ones."),
    ("Script '", "The SD host does not have the script."),
    ("Module not available", "The SD host does not have the ControlNet module."),
    ("Module not supported", "The SD host cannot run this ControlNet module by itself."),
    ("No image selected", "An image is missing."),
    ("requires `controlnet_masks`", "The ControlNet module needs controlnet_masks."),
    ("prompt required", "The SD host needs a prompt."),
    ("width and height must be positive", "Width and height must be positive."),
    ("invalid lora path", "The SD host does not have the LoRA."),
    ("lora.path required", "The SD host does not have the LoRA."),
    ("invalid params", "The SD host does not accept the parameters."),
    ("server_error", "The SD host does not accept the request's types."),
    ("Init image is none", "init_images is missing."),
    ("Always on script", "The SD host does not have the always-on script."),
    ("Selectable script", "A selectable script was given among the always-on ones."),
    ("Payload is too big", "The pictures are too large for the SD host."),
    ("Unrecognized model name", NO_CHECKPOINT),
    ("Missing files for model", NO_CHECKPOINT),
    ("Invalid value for sampler", NO_SAMPLER),
    ("Unrecognized keys", "The SD host does not know a field of the request."),
    ("init_images height", "The SD host draws over pictures of the size asked for alone."),
    ("init_images width", "The SD host draws over pictures of the size asked for alone."),
)
"""Texts of refusals that will be the same next time, and how they are said here."""

_RETRY_LATER = (429, 502, 503, 504)


def _error(response: httpx.Response, data: bytes) -> UpstreamError:
    """What an answer other than 200 means. Hosts have four shapes for it, or send no JSON."""
    status = response.status_code
    try:
        body = read_json(data)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        body = {}
    details: dict[str, Any] = {"upstream_status": status}
    kind = body.get("error")
    if isinstance(kind, str) and kind.isidentifier() and kind != "HTTPException":
        details["upstream_error"] = kind
    detail = body.get("detail")

    if status in (401, 403):
        return UpstreamUnavailable(
            "The SD host refuses the configured user name and password.", details=details
        )
    if status in _RETRY_LATER:
        later = _retry_after(response)
        if status == 429 or _queue_is_full(status, detail):
            return UpstreamBusy("The SD host is busy.", retry_after=later, details=details)
        return UpstreamUnavailable(
            "The SD host is not available.", retry_after=later, details=details
        )
    if status == 422 and isinstance(detail, list):
        return _validation_error(detail, details)
    texts = " ".join(
        str(body[name]) for name in ("detail", "errors", "error", "message") if body.get(name)
    )
    for text, message in _REJECTED:
        if text in texts:
            return UpstreamRejected(message, details=details)
    if status == 404:
        return NotSupported("The SD host does not have this function.", details=details)
    if 400 <= status < 500:
        return UpstreamRejected("The SD host refused the request.", details=details)
    if status >= 500:
        name = f" ({details['upstream_error']})" if "upstream_error" in details else ""
        if texts:
            # An exception of the host's program, not a proxy's page: see ``robotchat.art.blame``.
            details["reason"] = _reason(details.get("upstream_error"), texts, body)
        return UpstreamUnavailable(f"The SD host failed{name}.", details=details)
    return UpstreamGarbage("The SD host's answer has an unexpected status.", details=details)


def _queue_is_full(status: int, detail: object) -> bool:
    """Whether that is KoboldCpp's way to say that enough are waiting."""
    return status == 503 and isinstance(detail, dict) and detail.get("type") is not None


_OF_THE_MACHINE = re.compile(
    r"""\S*(?:[/\\]|://)\S*                        # paths and URLs
    |host='[^']*'
    |\b[\w-]+(?:\.[\w-]+)*:\d{2,5}\b             # addresses with their port
    |\b\d{1,3}(?:\.\d{1,3}){3}\b
    |\b[A-Za-z][\w-]*(?:\.[A-Za-z][\w-]*)+\b(?!\()  # names of machines and files""",
    re.VERBOSE,
)
_LONGEST_REASON = 200


def _reason(kind: str | None, texts: str, body: Mapping[str, Any]) -> str:
    """What the host says of an exception, without what it tells of its machine."""
    text = str(body.get("errors") or body.get("message") or (texts if kind is None else ""))
    return ": ".join(part for part in (kind, plain(text)) if part)


def plain(text: str) -> str:
    """The beginning of a host's own words, without what they tell of its machine."""
    return " ".join(_OF_THE_MACHINE.sub("...", text).split())[:_LONGEST_REASON]


def _validation_error(problems: list[Any], details: dict[str, Any]) -> UpstreamRejected:
    """The fields that a host does not accept: ``[{loc, msg, type}, ...]``."""
    fields = [
        {"loc": [str(part) for part in problem.get("loc", [])], "msg": str(problem.get("msg", ""))}
        for problem in problems
        if isinstance(problem, dict) and isinstance(problem.get("loc", []), list)
    ]
    names = [".".join(field["loc"][1:]) for field in fields]
    first = names[0] if names else ""
    return UpstreamRejected(
        f"The SD host does not accept {first or 'the request'}.",
        param=first or None,
        details={**details, "errors": fields},
    )


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("retry-after", "")
    return float(value) if re.fullmatch(r"\d{1,6}", value) else None
