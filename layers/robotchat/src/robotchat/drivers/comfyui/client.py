"""ComfyUI's HTTP API, call by call: what is asked and answered, and what goes wrong, in our words.

One client is one host and may be used from several threads. No message holds the host's address,
its paths or its raw text.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from robotchat.drivers.http import KEEP_ALIVE, address_of, failure, json_of, tls_for, whole_body
from robotchat.drivers.webui import Timeouts
from robotchat.errors import (
    NotSupported,
    UpstreamBusy,
    UpstreamError,
    UpstreamGarbage,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from robotchat.text import read_json

if TYPE_CHECKING:
    import httpx

Version = tuple[int, ...]
OLDEST: Version = (0, 3, 45)
"""The first version that takes our id for a prompt: without it a lost answer cannot be asked after,
nor one caller's work be told from another's."""
TARGETED: Version = (0, 3, 57)
"""The first one that interrupts the prompt that is named, instead of whatever runs."""
JOBS: Version = (0, 6)
"""The first one that tells of one prompt by ``/api/jobs/{id}``."""
JOBS_CANCEL: Version = (0, 26)
"""The first one that takes a prompt out of the queue, or stops it, in one step."""


@dataclass(frozen=True)
class Queued:
    """A prompt that waits or runs, whoever sent it."""

    prompt_id: str
    client_id: str
    ours: bool


@dataclass(frozen=True)
class Refusal:
    """Why the host does not take a graph: ``[(node, kind of error, input, value)]``."""

    problems: tuple[tuple[str, str, str, object], ...]


class Refused(Exception):
    """The host does not take a graph."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__("the graph is refused")
        self.refusal = refusal


class Lost(Exception):
    """Whether a call reached the host is not known."""

    def __init__(self, error: UpstreamError) -> None:
        super().__init__(error.message)
        self.error = error


MARK = "robotchat"
"""What the extra data of our prompts holds, so that they are known among others in the queue."""


class Client:
    """The API of one host. Raises Misconfigured for a URL that is none."""

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
        self.auth = auth
        self.timeouts = timeouts or Timeouts()
        context = tls_for(address.scheme)
        self.ssl = context if address.scheme == "https" else None
        self._client = httpx.Client(
            base_url=self.base_url,
            auth=auth,
            transport=transport,
            verify=context,
            trust_env=False,
            headers={"user-agent": "robotchat"},
            limits=httpx.Limits(keepalive_expiry=KEEP_ALIVE),
        )

    def close(self) -> None:
        self._client.close()

    # --- what there is ----------------------------------------------------------------------------

    def version(self) -> Version:
        """The host's version. Raises NotSupported for what only looks like ComfyUI, or is too old
        to be told which prompt is ours."""
        stats = self._json("GET", "system_stats")
        system = stats.get("system") if isinstance(stats, dict) else None
        if not isinstance(system, dict):
            raise NotSupported("The SD host is not ComfyUI.")
        devices = stats.get("devices")
        names = [str(d.get("name")) for d in devices or () if isinstance(d, dict)]
        if "koboldcpp" in names:
            raise NotSupported("KoboldCpp only looks like ComfyUI: set the host up as a webui.")
        numbers = re.match(r"v?(\d+(?:\.\d+)*)", str(system.get("comfyui_version") or ""))
        version = tuple(int(part) for part in numbers[1].split(".")) if numbers else ()
        if version < OLDEST:
            oldest = ".".join(map(str, OLDEST))
            raise NotSupported(f"The SD host's ComfyUI is too old: it must be {oldest} or newer.")
        return version

    def node_class(self, name: str) -> dict[str, Any] | None:
        """What the host says of a class of nodes; None if it has none of that name."""
        answer = self._json("GET", f"object_info/{quote(name, safe='')}")
        if not isinstance(answer, dict):
            raise UpstreamGarbage("The SD host's answer is not an object.")
        found = answer.get(name)
        return found if isinstance(found, dict) else None

    # --- prompts ----------------------------------------------------------------------------------

    def submit(self, graph: Mapping[str, Any], *, prompt_id: str, client_id: str) -> None:
        """Queue a graph. Raises Refused, and Lost if it may have been queued or not."""
        body = {
            "prompt": graph,
            "prompt_id": prompt_id,
            "client_id": client_id,
            "extra_data": {MARK: True, "preview_method": "latent2rgb"},
        }
        httpx = self._httpx
        try:
            status, data, _ = self._call("POST", "prompt", None, json=body)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise failure(error) from error
        except httpx.HTTPError as error:
            raise Lost(failure(error)) from error
        except UpstreamTimeout as error:
            raise Lost(error) from error
        if status in (409, 502, 503, 504):
            raise Lost(_failure(status, data))
        if status == 400:
            raise Refused(_refusal(data))
        if status == 500:
            # A text, for what the program did not expect of a graph: no state of the host's health.
            raise Refused(Refusal(()))
        if status != 200:
            raise _failure(status, data)
        try:
            answer = json_of(data)
        except UpstreamGarbage as error:
            raise Lost(error) from error
        if not isinstance(answer, dict) or answer.get("prompt_id") != prompt_id:
            raise Lost(UpstreamGarbage("The SD host does not tell what became of the drawing."))
        if answer.get("node_errors"):
            # It is queued all the same, without the outputs that are wrong.
            raise Refused(_refusal(data))

    def history(self, prompt_id: str) -> dict[str, Any] | None:
        """What came of a prompt; None while it waits or runs, and when it is not known."""
        answer = self._json("GET", f"history/{prompt_id}")
        if not isinstance(answer, dict):
            raise UpstreamGarbage("The SD host's answer is not an object.")
        entry = answer.get(prompt_id)
        if entry is not None and not isinstance(entry, dict):
            raise UpstreamGarbage("The SD host's history is not what it should be.")
        return entry

    def is_open(self, prompt_id: str, version: Version) -> bool:
        """Whether a prompt waits or runs."""
        if version >= JOBS:
            try:
                job = self._json("GET", f"api/jobs/{prompt_id}")
            except NotSupported:
                return False
            return isinstance(job, dict) and job.get("status") in ("pending", "in_progress")
        running, pending = self.queue()
        return any(item.prompt_id == prompt_id for item in (*running, *pending))

    def queue(self) -> tuple[list[Queued], list[Queued]]:
        """What runs and what waits, of all callers."""
        answer = self._json("GET", "queue", timeout=self.timeouts.progress)
        if not isinstance(answer, dict):
            raise UpstreamGarbage("The SD host's answer is not an object.")
        return _queued(answer.get("queue_running")), _queued(answer.get("queue_pending"))

    def forget_prompts(self, prompt_ids: Iterable[str]) -> None:
        """Take prompts out of the history."""
        self._json("POST", "history", json={"delete": list(prompt_ids)})

    # --- stopping ---------------------------------------------------------------------------------

    def dequeue(self, prompt_ids: Iterable[str]) -> None:
        """Take prompts out of the queue that have not begun."""
        self._json("POST", "queue", json={"delete": list(prompt_ids)})

    def interrupt(self, prompt_id: str) -> None:
        """Stop a prompt if it runs; before ``TARGETED``, stop whatever runs."""
        self._json("POST", "interrupt", json={"prompt_id": prompt_id})

    def cancel_job(self, prompt_id: str) -> None:
        """Stop a prompt, or take it out of the queue. From ``JOBS_CANCEL`` on."""
        self._json("POST", f"api/jobs/{prompt_id}/cancel")

    # --- files ------------------------------------------------------------------------------------

    def upload(self, name: str, data: bytes, content_type: str) -> str:
        """Put a picture among the host's temporary files. Gives the name that LoadImage takes."""
        answer = self._json(
            "POST",
            "upload/image",
            data={"type": "temp", "subfolder": MARK, "overwrite": "true"},
            files={"image": (name, data, content_type)},
        )
        told = answer if isinstance(answer, dict) else {}
        file, folder, kind = (told.get(key) for key in ("name", "subfolder", "type"))
        if not isinstance(file, str) or not isinstance(folder, str) or kind != "temp":
            raise UpstreamGarbage("The SD host does not tell where it put the picture.")
        return f"{folder}/{file} [temp]" if folder else f"{file} [temp]"

    def view(self, place: Mapping[str, Any]) -> bytes:
        """A file that a node made. Raises NotSupported when it is gone."""
        query = {key: str(place.get(key, "")) for key in ("filename", "subfolder", "type")}
        return self._bytes("GET", "view", params=query)

    # --- HTTP -------------------------------------------------------------------------------------

    def _json(self, method: str, path: str, *, timeout: float | None = None, **sent: Any) -> Any:
        data = self._bytes(method, path, timeout=timeout, **sent)
        return json_of(data) if data else None

    def _bytes(self, method: str, path: str, *, timeout: float | None = None, **sent: Any) -> bytes:
        try:
            status, data, later = self._call(method, path, timeout, **sent)
        except self._httpx.HTTPError as error:
            raise failure(error) from error
        if status != 200:
            raise _failure(status, data, later)
        return data

    def _call(
        self, method: str, path: str, timeout: float | None, **sent: Any
    ) -> tuple[int, bytes, str]:
        timeout = timeout or self.timeouts.answer
        limits = self._httpx.Timeout(timeout, connect=min(self.timeouts.connect, timeout))
        deadline = time.monotonic() + timeout
        with self._client.stream(method, path, timeout=limits, **sent) as response:
            data = whole_body(response, deadline)
            later = response.headers.get("retry-after", "")
            return response.status_code, data, later


def _failure(status: int, data: bytes, later: str = "") -> UpstreamError:
    """What an answer other than 200 means."""
    details: dict[str, Any] = {"upstream_status": status}
    retry_after = float(later) if re.fullmatch(r"\d{1,6}", later) else None
    if status in (401, 403):
        return UpstreamUnavailable("The SD host refuses us access.", details=details)
    if status == 404:
        return NotSupported("The SD host does not have this.", details=details)
    if status == 429:
        return UpstreamBusy("The SD host is busy.", retry_after=retry_after, details=details)
    if status in (502, 503, 504):
        return UpstreamUnavailable(
            "The SD host is not available.", retry_after=retry_after, details=details
        )
    if status >= 500:
        return UpstreamUnavailable("The SD host failed.", details=details)
    if status >= 400:
        return UpstreamRejected("The SD host refused the request.", details=details)
    return UpstreamGarbage("The SD host's answer has an unexpected status.", details=details)


def _refusal(data: bytes) -> Refusal:
    """What is wrong with a graph, as the host says it."""
    try:
        answer = read_json(data)
    except ValueError:
        return Refusal(())
    nodes = answer.get("node_errors") if isinstance(answer, dict) else None
    problems = []
    for name, told in (nodes if isinstance(nodes, dict) else {}).items():
        for error in told.get("errors") or () if isinstance(told, dict) else ():
            if isinstance(error, dict):
                extra = error.get("extra_info")
                extra = extra if isinstance(extra, dict) else {}
                value = extra.get("received_value")
                problems.append(
                    (name, str(error.get("type")), str(extra.get("input_name") or ""), value)
                )
    return Refusal(tuple(problems))


def _queued(items: object) -> list[Queued]:
    """Entries of the queue: ``[number, id, graph, extra data, outputs, ...]``."""
    if not isinstance(items, list):
        raise UpstreamGarbage("The SD host's queue is not what it should be.")
    found = []
    for item in items:
        if not isinstance(item, list) or len(item) < 4 or not isinstance(item[3], dict):
            raise UpstreamGarbage("The SD host's queue is not what it should be.")
        extra = item[3]
        client = str(extra.get("client_id") or "")
        found.append(Queued(str(item[1]), client, extra.get(MARK) is True))
    return found
