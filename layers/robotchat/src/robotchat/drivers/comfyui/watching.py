"""What a ComfyUI host tells over its socket while it draws: steps, previews, and that it is done.

The socket only tells sooner and more than the host's answers do: if it cannot be had, or breaks,
the drawing goes on without it. One is opened for each attempt, by the id that its prompts carry,
since a second socket of the same id silences the first.
"""

from __future__ import annotations

import base64
import json
import logging
import struct
import threading
import time
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from robotchat.art.answers import Progress, ProgressState
from robotchat.errors import UpstreamUnavailable, WrongResult

if TYPE_CHECKING:
    import ssl

    from websockets.sync.client import ClientConnection

logger = logging.getLogger(__name__)

_LARGEST_MESSAGE = 128 * 1024 * 1024
_PREVIEW, _PREVIEW_WITH_METADATA = 1, 4
_ENDS = ("execution_success", "execution_error", "execution_interrupted")


class Watch:
    """One attempt, as far as its host tells of it.

    ``prompts`` are the ids of its prompts in order, ``sampling`` the nodes whose steps are the
    drawing's, ``saving`` the node whose pictures come over the socket, if it is of that kind.
    """

    def __init__(
        self, prompts: Sequence[str], sampling: Collection[str], saving: str | None = None
    ) -> None:
        self._prompts = list(prompts)
        self._sampling = set(sampling)
        self._saving = saving
        self._changed = threading.Condition()
        self._ended: set[str] = set()
        self._done: set[str] = set()
        self._node: str | None = None
        self._current: str | None = None
        self._steps: dict[str, tuple[int, int]] = {}
        self._preview: bytes | None = None
        self._since = time.monotonic()
        self._stopped = False
        self._opened = ExitStack()
        self._socket: ClientConnection | None = None
        self._thread: threading.Thread | None = None
        self.images: dict[str, list[bytes]] = {}
        """Files that came over the socket, by prompt."""

    # --- the socket -------------------------------------------------------------------------------

    def listen(
        self,
        base_url: str,
        client_id: str,
        *,
        auth: tuple[str, str] | None,
        context: ssl.SSLContext | None,
        timeout: float,
    ) -> bool:
        """Open the socket and follow it in a thread; False when it cannot be had."""
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect

        parts = urlsplit(base_url)
        scheme = "wss" if parts.scheme == "https" else "ws"
        address = f"{scheme}://{parts.netloc}{parts.path}/ws?clientId={quote(client_id, safe='')}"
        headers = {}
        if auth is not None:
            token = base64.b64encode(":".join(auth).encode()).decode()
            headers["Authorization"] = f"Basic {token}"
        try:
            opened = connect(
                address,
                ssl=context,
                additional_headers=headers,
                user_agent_header="robotchat",
                compression=None,
                proxy=None,
                open_timeout=timeout,
                close_timeout=1,
                max_size=_LARGEST_MESSAGE,
            )
            self._socket = self._opened.enter_context(opened)
            flags = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
            self._socket.send(json.dumps(flags))
        except (OSError, ValueError, WebSocketException) as error:
            logger.warning("an SD host's socket cannot be had: %s", type(error).__name__)
            self.close()
            return False
        self._thread = threading.Thread(
            target=self._follow, args=(self._socket,), name="comfyui", daemon=True
        )
        self._thread.start()
        return True

    def _follow(self, socket: ClientConnection) -> None:
        from websockets.exceptions import WebSocketException

        try:
            for message in socket:
                if isinstance(message, bytes):
                    self._binary(message)
                else:
                    self._text(message)
        except (OSError, WebSocketException) as error:
            logger.info("an SD host's socket broke: %s", type(error).__name__)
        finally:
            with self._changed:
                self._socket = None
                self._changed.notify_all()

    @property
    def listening(self) -> bool:
        """Whether the socket is open."""
        return self._socket is not None

    def close(self) -> None:
        """Close the socket."""
        self._opened.close()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _text(self, message: str) -> None:
        try:
            told = json.loads(message)
        except ValueError:
            return
        kind = told.get("type") if isinstance(told, dict) else None
        data = told.get("data") if isinstance(told, dict) else None
        if isinstance(kind, str) and isinstance(data, dict):
            self._told(kind, data)

    def _told(self, kind: str, data: dict[str, Any]) -> None:
        prompt = data.get("prompt_id")
        if prompt not in self._prompts:
            return
        with self._changed:
            if kind == "execution_start":
                if self._current is None:
                    self._since = time.monotonic()
                self._current, self._steps, self._node = prompt, {}, None
            elif kind == "executing":
                self._node = data.get("node")
                if self._node is None:
                    self._end(prompt)
            elif kind == "progress":
                self._step(str(data.get("node")), data.get("value"), data.get("max"))
            elif kind == "progress_state" and isinstance(data.get("nodes"), dict):
                for name, state in data["nodes"].items():
                    if isinstance(state, dict):
                        self._step(str(name), state.get("value"), state.get("max"))
            elif kind in _ENDS:
                if kind == "execution_success":
                    self._done.add(prompt)
                self._end(prompt)

    def _step(self, node: str, value: object, most: object) -> None:
        numbers = isinstance(value, int | float) and isinstance(most, int | float)
        if numbers and most > 1 and node in self._sampling:  # type: ignore[operator]
            self._steps[node] = (int(value), int(most))  # type: ignore[call-overload]

    def _end(self, prompt: str) -> None:
        self._ended.add(prompt)
        self._changed.notify_all()

    def _binary(self, message: bytes) -> None:
        if len(message) < 8:
            return
        (kind, head) = struct.unpack_from(">II", message)
        metadata: dict[str, Any] = {}
        image = message[8:]
        if kind == _PREVIEW_WITH_METADATA:
            image = message[8 + head :]
            try:
                told = json.loads(message[8 : 8 + head])
            except ValueError:
                return
            metadata = told if isinstance(told, dict) else {}
            if metadata.get("prompt_id") not in (None, *self._prompts):
                return
        elif kind != _PREVIEW:
            return
        with self._changed:
            node = metadata.get("node_id") or self._node
            if node == self._saving and self._current is not None:
                prompt = metadata.get("prompt_id") or self._current
                self.images.setdefault(prompt, []).append(bytes(image))
            else:
                self._preview = bytes(image)

    # --- for those who wait -----------------------------------------------------------------------

    def stop(self) -> None:
        """The attempt is to end: wake who waits for it."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    @property
    def stopped(self) -> bool:
        """Whether the attempt is to end."""
        return self._stopped

    def wait(self, prompt: str, seconds: float) -> bool:
        """Wait until a prompt has ended, the attempt is to end or the socket breaks, at most so
        long; whether the prompt has ended."""
        stopped, listened = self._stopped, self.listening

        def is_over() -> bool:
            changed = self._stopped != stopped or self.listening != listened
            return prompt in self._ended or changed

        with self._changed:
            self._changed.wait_for(is_over, seconds)
            return prompt in self._ended

    def ended(self, prompt: str) -> bool:
        """Whether a prompt has ended, as far as was told."""
        return prompt in self._ended

    def image(self, prompt: str) -> bytes:
        """The file of a prompt that has ended, which came over the socket before that was told.

        Raises UpstreamUnavailable when none came, WrongResult when there are several.
        """
        files = self.images.get(prompt, [])
        if not files:
            raise UpstreamUnavailable("The SD host's picture was lost on the way.")
        if len(files) != 1:
            raise WrongResult(
                f"The SD host drew {len(files)} of 1 pictures.",
                details={"expected": 1, "actual": len(files)},
            )
        return files[0]

    def finished(self, prompt: str) -> None:
        """A prompt is known to be done."""
        with self._changed:
            self._done.add(prompt)
            self._ended.add(prompt)

    def progress(self, *, preview: bool) -> Progress:
        """How far it has got, in the web UI's shape."""
        with self._changed:
            done = len(self._done)
            steps = list(self._steps.values())
            step, most = steps[-1] if steps else (0, 0)
            share = 0.0
            if self._current is not None and self._current not in self._done and self._sampling:
                share = sum(value / total for value, total in steps) / len(self._sampling)
            image = self._preview if preview else None
        total = max(len(self._prompts), 1)
        progress = min((done + min(share, 1.0)) / total, 1.0)
        elapsed = time.monotonic() - self._since
        return Progress(
            progress=progress,
            eta_relative=elapsed / progress - elapsed if progress else 0.0,
            state=ProgressState(
                job="robotchat",
                job_count=total,
                job_no=min(done, total - 1),
                sampling_step=step,
                sampling_steps=most,
                interrupted=self._stopped,
            ),
            current_image=base64.b64encode(image).decode() if image else None,
        )
