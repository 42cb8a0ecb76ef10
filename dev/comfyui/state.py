"""The stand-in's mind: its files, the queue, the history, the sockets, and the one worker."""

from __future__ import annotations

import asyncio
import copy
import json
import random
import struct
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientConnectionResetError, web

from dev.comfyui.nodes import KINDS, described
from dev.sd_host.options import Options as HostOptions
from dev.sd_host.state import Host

Version = tuple[int, ...]
OWN_ID: Version = (0, 3, 45)
"""Versions from which on a caller's prompt_id is taken ..."""
TARGETED: Version = (0, 3, 57)
"""... an interrupt may name a prompt ..."""
JOBS: Version = (0, 6)
"""... there is /api/jobs ..."""
CHECKED_ID: Version = (0, 25)
"""... a prompt_id must be a UUID in lower case ..."""
JOBS_CANCEL: Version = (0, 26)
"""... jobs can be cancelled ..."""
UNIQUE_ID: Version = (0, 34)
"""... and one that is known already is refused."""
SENSITIVE = ("auth_token_comfy_org", "api_key_comfy_org")
HISTORY_KEPT = 10_000


@dataclass(frozen=True)
class Options(HostOptions):
    """Those of every stand-in, with what a ComfyUI has beside."""

    version: str = "0.33.0"
    unets: tuple[str, ...] = ("flux1-dev.safetensors",)
    text_encoders: tuple[str, ...] = ("clip_l.safetensors", "t5xxl_fp16.safetensors")
    vaes: tuple[str, ...] = ("ae.safetensors",)
    lacks: tuple[str, ...] = ()
    """Classes of nodes that it does not have."""
    device: str = "cpu"

    @property
    def number(self) -> Version:
        """The version as numbers."""
        return tuple(int(part) for part in self.version.split("."))


@dataclass(order=True)
class Item:
    """A prompt on its way."""

    number: float
    prompt_id: str = field(compare=False)
    prompt: dict[str, Any] = field(compare=False)
    extra: dict[str, Any] = field(compare=False)
    outputs: list[str] = field(compare=False)

    def shown(self) -> list[Any]:
        return [self.number, self.prompt_id, self.prompt, self.extra, self.outputs]


class Comfy(Host):
    """One stand-in; all of it lives on one event loop."""

    options: Options
    worker: asyncio.Task[None] | None = None

    def first_day(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {"output": {}, "input": {}, "temp": {}}
        super().first_day()

    def wake_up(self) -> None:
        """A process that has just started: no queue, no history, no temporary files."""
        super().wake_up()
        self.files["temp"] = {}
        self.word = "".join(random.choices("abcdefghijklmnopqrstupvxyz", k=5))
        self.queue: list[Item] = []
        self.current: Item | None = None
        self.history: dict[str, dict[str, Any]] = {}
        self.cache: dict[Any, tuple[Any, Any]] = {}
        self.in_memory: str | None = None
        self.interrupting = False
        self.count = 0
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self.flags: dict[str, dict[str, Any]] = {}
        self.client_id: str | None = None
        self.last_node: str | None = None
        self.queued = asyncio.Event()
        if self.worker is not None:
            self.worker.cancel()
            self.start()

    def start(self) -> None:
        """Begin to work; the loop must run."""
        self.worker = asyncio.get_running_loop().create_task(self._work())

    # Files

    def folder(self, name: str) -> list[str]:
        """The names of the files in a folder."""
        return sorted(
            {
                "checkpoints": [f"{one}.safetensors" for one in self.checkpoints_on_disk],
                "loras": [f"{one}.safetensors" for one in self.loras_on_disk],
                "diffusion_models": list(self.options.unets),
                "text_encoders": list(self.options.text_encoders),
                "vae": list(self.options.vaes),
                "embeddings": [],
                "input": [one for one in self.files["input"] if "/" not in one],
            }[name]
        )

    def annotated(self, name: str) -> bytes | None:
        """The file that a node means by a name, which may end in `` [temp]``."""
        kind = "input"
        for one in self.files:
            if name.endswith(f"[{one}]"):
                kind, name = one, name[: -len(one) - 2].strip()
        return self.files[kind].get(name)

    def node_info(self, name: str) -> dict[str, Any]:
        known = name in KINDS and name not in self.options.lacks
        return {name: described(name, self.folder)} if known else {}

    # The queue

    def put(self, item: Item) -> None:
        self.queue.append(item)
        self.queue.sort()
        self._queue_changed()
        self.queued.set()

    def delete(self, prompt_id: str) -> bool:
        """Take a prompt that waits out of the queue; whether it was there."""
        left = [item for item in self.queue if item.prompt_id != prompt_id]
        gone = len(left) < len(self.queue)
        self.queue = left
        if gone:
            self._queue_changed()
        return gone

    def clear(self) -> None:
        self.queue = []
        self._queue_changed()

    def interrupt(self) -> None:
        """Stop whatever runs."""
        running = self.current.prompt_id if self.current else None
        self.stats.interrupts.append({"prompt_id": running, "running": running is not None})
        self.stats.add("interrupts")
        self.interrupting = True
        self.release(only_attentive=True)

    def interrupt_if_running(self, prompt_id: str) -> bool:
        if self.current is None or self.current.prompt_id != prompt_id:
            return False
        self.interrupt()
        return True

    def known(self, prompt_id: str) -> bool:
        """Whether a prompt waits, runs or has ended."""
        return prompt_id in self.history or any(
            item.prompt_id == prompt_id for item in self.everything()
        )

    def everything(self) -> Iterator[Item]:
        if self.current is not None:
            yield self.current
        yield from self.queue

    def remaining(self) -> dict[str, Any]:
        return {"exec_info": {"queue_remaining": len(list(self.everything()))}}

    def _queue_changed(self) -> None:
        self.stats.set("waiting", len(self.queue))
        self.tell("status", {"status": self.remaining()})

    async def _work(self) -> None:
        from dev.comfyui.execution import Execution

        while True:
            while not self.queue:
                self.queued.clear()
                await self.queued.wait()
            item = self.queue.pop(0)
            self.current = Item(**copy.deepcopy(vars(item)))
            self._queue_changed()
            self.stats.begin()
            execution = Execution(self, self.current)
            await execution.run()
            self.current = None
            for name in SENSITIVE:
                item.extra.pop(name, None)
            if len(self.history) > HISTORY_KEPT:
                self.history.pop(next(iter(self.history)))
            self.history[item.prompt_id] = execution.entry()
            self.stats.end(failed=not execution.success)
            self._queue_changed()
            if self.client_id is not None:
                over = {"node": None, "prompt_id": item.prompt_id}
                self.tell("executing", over, self.client_id)

    # Sockets

    def tell(self, kind: str, data: Any, sid: str | None = None) -> None:
        """Send an event to a socket; without an id, to all."""
        message = json.dumps({"type": kind, "data": data})
        for socket in self._listeners(sid):
            _send(socket.send_str(message))

    def tell_bytes(self, event: int, data: bytes, sid: str | None) -> None:
        """Send a binary event to a socket; without an id, to all."""
        for socket in self._listeners(sid):
            _send(socket.send_bytes(struct.pack(">I", event) + data))

    def _listeners(self, sid: str | None) -> list[web.WebSocketResponse]:
        if sid is None:
            return list(self.sockets.values())
        return [self.sockets[sid]] if sid in self.sockets else []


_sending: set[asyncio.Task[None]] = set()


def _send(sending: Any) -> None:
    """In the order of the calls, as long as nobody waits: tasks begin in their order."""

    async def sent() -> None:
        try:
            await sending
        except (ConnectionError, ClientConnectionResetError):
            return  # the real one drops what nobody reads as well

    task = asyncio.get_running_loop().create_task(sent())
    _sending.add(task)
    task.add_done_callback(_sending.discard)


def new_id() -> str:
    return str(uuid.uuid4())


def timestamp() -> int:
    return int(time.time() * 1000)
