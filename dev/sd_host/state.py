"""The host's mind: settings, loaded checkpoint, the one lock, progress, tasks, faults."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from PIL import Image

from dev.sd_host import catalog
from dev.sd_host.catalog import Checkpoint, find_checkpoint
from dev.sd_host.faults import OUT_OF_MEMORY, Fault, FaultList, of_kind
from dev.sd_host.flavours import CHECKPOINTS
from dev.sd_host.options import Options
from dev.sd_host.settings import OF_PERSONALITY, Settings
from dev.sd_host.stats import Stats

FINISHED_KEPT = 16
AT_STEP = ("hold", "stall", "disconnect", "restart", "error")
"""The faults that happen at a sampling step."""
Render = Callable[[float], str]
"""The preview at a share of the work, as base64."""


class HostError(Exception):
    """An exception inside the host; ``kind`` is the class name that the 500 answer shows."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Progress:
    """What runs now, as GET /sdapi/v1/progress shows it."""

    def __init__(self, job: str = "", preview_id: int = 0) -> None:
        """Idle without ``job``; with one it has just begun, and no interrupt is left over."""
        self.job, self.job_count = job, -1 if job else 0
        self.job_timestamp = f"{datetime.now():%Y%m%d%H%M%S}" if job else "0"
        self.skipped = self.interrupted = False
        self.job_no = self.sampling_step = self.sampling_steps = 0
        self.started = time.monotonic()
        self.preview_step, self.preview_id = 0, preview_id
        self.render: Render | None = None

    def end(self) -> None:
        self.job, self.job_count, self.render = "", 0, None

    def step(self, step: int, every: int) -> None:
        """Sampling reached ``step``; a preview is due every ``every`` steps."""
        self.sampling_step = step
        if every > 0 and step - self.preview_step >= every:
            self.preview_step, self.preview_id = step, self.preview_id + 1

    def share(self) -> float:
        """The share of the running job that is done, without the 0.01 of having begun."""
        done = 0.0
        if self.job_count > 0:
            done = self.job_no / self.job_count
            if self.sampling_steps > 0:
                done += self.sampling_step / self.sampling_steps / self.job_count
        return done

    def preview(self) -> str | None:
        """The newest preview in base64, if one is due and the picture is known."""
        if self.render is None or self.preview_step == 0:
            return None
        return self.render(self.preview_step / max(self.sampling_steps, 1))

    def report(self, *, skip_current_image: bool) -> dict[str, Any]:
        running = self.job_count != 0
        progress = eta = 0.0
        if running:
            elapsed, progress = time.monotonic() - self.started, 0.01 + self.share()
            eta = elapsed / progress - elapsed
        return {
            "progress": min(progress, 1.0),
            "eta_relative": eta,
            "state": {
                "skipped": self.skipped,
                "interrupted": self.interrupted,
                "stopping_generation": False,
                "job": self.job,
                "job_count": self.job_count,
                "job_timestamp": self.job_timestamp,
                "job_no": self.job_no,
                "sampling_step": self.sampling_step,
                "sampling_steps": self.sampling_steps,
            },
            "current_image": self.preview() if running and not skip_current_image else None,
            "textinfo": None,
        }


class Tasks:
    """The ids of the drawings that wait, run and are done."""

    def __init__(self) -> None:
        self.pending: dict[str, float] = {}
        self.current: str | None = None
        self.finished: list[str] = []

    def queue(self, task: str) -> None:
        self.pending[task] = time.monotonic()

    def start(self, task: str) -> None:
        self.pending.pop(task, None)
        self.current = task

    def finish(self, task: str) -> None:
        """Only a success gets here: a failed task stays the current one, as on the real host."""
        if self.current == task:
            self.current = None
        self.finished = [*self.finished, task][-FINISHED_KEPT:]


class Host:
    """One stand-in host; all of it lives on one event loop."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.faults = FaultList()
        self.open: dict[asyncio.Task[Any], Callable[[], None]] = {}
        """The work under way, with what drops its connection."""
        self.down_until = 0.0
        self._settings_class = OF_PERSONALITY.get(options.personality, Settings)
        self._checkpoint_class = CHECKPOINTS.get(options.personality, Checkpoint)
        self.first_day()

    def first_day(self) -> None:
        """Forget everything, also what was saved to the disk."""
        self.stats = Stats()
        self.spent: dict[str, deque[tuple[float, int]]] = {}
        """What clients have spent of what a limit of requests grants: when, and how much."""
        self.faults.clear()
        defaults = self._settings_class.defaults
        self.saved: dict[str, Any] = dict(defaults) if self.options.config else {}
        """The content of ``config.json``; a new installation has none."""
        self.has_controlnet = self.options.controlnet
        self.checkpoints_on_disk = list(self.options.checkpoints)
        self.loras_on_disk = list(self.options.loras)
        self._hashed = set(self.options.checkpoints) if self.options.hashed else set()
        self.wake_up()

    def wake_up(self) -> None:
        """The state of a process that has just started: saved settings, nothing else."""
        self.lock = asyncio.Lock()
        self.threads = asyncio.Semaphore(self.options.threads)
        self.progress, self.tasks = Progress(), Tasks()
        self._paused: dict[asyncio.Future[None], bool] = {}
        for gauge in ("waiting", "paused", "sampling_step"):
            self.stats.set(gauge, 0)
        self.list_checkpoints()
        self.list_loras()
        self.settings = self._settings_class(self.saved)
        self.loaded: Checkpoint | None = None
        self._adopt(self.find(self.settings["sd_model_checkpoint"]) or self.checkpoints[0])

    # Files

    def list_checkpoints(self) -> None:
        self.checkpoints = [
            self._checkpoint_class(name, hashed=name in self._hashed)
            for name in self.checkpoints_on_disk
        ]

    def list_loras(self) -> None:
        self.loras = [catalog.lora(name) for name in self.loras_on_disk]

    def find(self, name: object) -> Checkpoint | None:
        return find_checkpoint(self.checkpoints, name)

    def _adopt(self, checkpoint: Checkpoint) -> None:
        """``checkpoint`` is in memory: its hash is known and the settings name it."""
        self._hashed.add(checkpoint.name)
        checkpoint.hashed = True
        self.loaded = checkpoint
        self.settings.data["sd_model_checkpoint"] = checkpoint.title
        self.settings.data["sd_checkpoint_hash"] = checkpoint.sha256

    async def load(self, checkpoint: Checkpoint, faults: Sequence[Fault] = ()) -> None:
        """Bring ``checkpoint`` into memory; raises `HostError` when it does not load."""
        if self.loaded is not None and self.loaded.name == checkpoint.name:
            return
        slow = of_kind(faults, "slow_load")
        started = time.monotonic()
        await asyncio.sleep(
            float(slow.extra.get("seconds", 5)) if slow else self.options.load_seconds
        )
        self.stats.load_seconds += time.monotonic() - started
        if of_kind(faults, "load_error"):
            raise HostError(
                "RuntimeError", f"Error(s) in loading state_dict for {checkpoint.file_name}"
            )
        self.stats.add("model_switches")
        self._adopt(checkpoint)

    async def load_configured(self, faults: Sequence[Fault] = ()) -> None:
        """Bring the checkpoint of the settings into memory."""
        await self.load(
            self.find(self.settings["sd_model_checkpoint"]) or self.checkpoints[0], faults
        )

    # The one lock

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for the lock, first come, first served."""
        waits = self.lock.locked()
        if waits:
            self.stats.add("waiting")
            waiting = self.stats.counters["waiting"]
            self.stats.set("max_waiting", max(waiting, self.stats.counters["max_waiting"]))
        lock, stats = self.lock, self.stats
        try:
            await lock.acquire()
        finally:
            if waits and lock is self.lock:
                stats.add("waiting", -1)
        try:
            yield
        finally:
            lock.release()

    # Pauses and interrupts

    async def pause(self, *, deaf: bool, seconds: float | None = None) -> None:
        """Stand still until released (or, unless ``deaf``, interrupted), at most ``seconds``."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._paused[future] = deaf
        self.stats.set("paused", len(self._paused))
        try:
            await asyncio.wait([future], timeout=seconds)
        finally:
            self._paused.pop(future, None)
            self.stats.set("paused", len(self._paused))

    def release(self, *, only_attentive: bool = False) -> int:
        """End the pauses; how many there were."""
        released = [f for f, deaf in self._paused.items() if not (deaf and only_attentive)]
        for future in released:
            if not future.done():
                future.set_result(None)
        return len(released)

    def interrupt(self) -> None:
        """Stop whatever runs now after its present step."""
        self.stats.interrupts.append(
            {"job": self.progress.job, "task_id": self.tasks.current, "running": self.running}
        )
        self.stats.add("interrupts")
        self.progress.interrupted = True
        self.release(only_attentive=True)

    def skip(self) -> None:
        """Stop the present batch only."""
        self.progress.skipped = True
        self.release(only_attentive=True)

    @property
    def running(self) -> bool:
        return self.progress.job_count != 0

    # Sampling

    async def sample(
        self,
        steps: int,
        seconds: float,
        faults: Sequence[Fault],
        drawing: asyncio.Future[list[Image.Image]],
    ) -> float:
        """Go through ``steps`` steps in ``seconds``; the share that was done when it stopped.

        A pause begins when ``drawing`` is done, so that who looks then finds the preview.
        """
        clock = asyncio.get_running_loop().time
        started, paused = clock(), 0.0
        due = {kind: of_kind(faults, kind) for kind in AT_STEP}
        progress, every = self.progress, self.settings["show_progress_every_n_steps"]
        previews = every if self.settings["live_previews_enable"] else 0
        progress.sampling_steps, progress.sampling_step, progress.preview_step = steps, 0, 0
        for step in range(1, steps + 1):
            await asyncio.sleep(max(0.0, started + paused + seconds * step / steps - clock()))
            progress.step(step, previews)
            self.stats.set("sampling_step", step)
            hit = {
                kind: fault
                for kind, fault in due.items()
                if fault is not None and step == min(fault.at_step, steps)
            }
            if "disconnect" in hit and not hit["disconnect"].extra.get("partial"):
                self.drop_connection()
            before = clock()
            if hit:
                await asyncio.wait([drawing])
            if "hold" in hit:
                await self.pause(deaf=False)
            if "stall" in hit:
                await self.pause(deaf=True, seconds=hit["stall"].extra.get("seconds"))
            paused += clock() - before
            if "restart" in hit:
                self.restart(float(hit["restart"].extra.get("seconds", 0)))
                await asyncio.sleep(0)
            if "error" in hit:
                raise planted_error(hit["error"])
            if progress.interrupted or progress.skipped:
                return step / steps
        return 1.0

    # Death and rebirth

    def drop_connection(self) -> None:
        """Drop the connection of the request that is being worked on in this task."""
        task = asyncio.current_task()
        if task is not None and task in self.open:
            self.open[task]()

    def restart(
        self, seconds: float = 0.0, *, controlnet: bool | None = None, new_disk: bool = False
    ) -> None:
        """Die and come back: connections drop, work is lost, what was not saved is forgotten.

        ``controlnet``: with or without that extension from now on. ``new_disk``: as a container
        comes back, without what was saved.
        """
        if controlnet is not None:
            self.has_controlnet = controlnet
        if new_disk:
            self.saved = {}
        self.down_until = time.monotonic() + seconds
        self.drop_work()
        if self.stats.running_since is not None:
            self.stats.end(failed=True)
        self.stats.add("restarts")
        self.wake_up()

    def reset(self) -> None:
        """Drop what runs and begin again at the first day."""
        self.down_until = 0.0
        self.drop_work()
        self.first_day()

    def drop_work(self) -> None:
        """Drop every connection with work under way, and the work."""
        for task, drop in list(self.open.items()):
            drop()
            task.cancel()
        self.open.clear()


def planted_error(fault: Fault) -> HostError:
    """The exception an error fault stands for."""
    return HostError(
        str(fault.extra.get("error", "OutOfMemoryError")),
        str(fault.extra.get("errors", OUT_OF_MEMORY)),
    )
