"""Child processes that cannot outlive this one.

Each child is the leader of its own session, so that a Ctrl-C in the terminal reaches only us and a
child is stopped together with everything it started. A reaper process (``dev/stack/reaper.py``)
ends the children when we are killed without the chance to do so ourselves.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

REAPER = Path(__file__).with_name("reaper.py")


START_TIMEOUT = 60.0


class ChildError(Exception):
    """A child did not start; says where to look."""


class Child:
    """A running child process and its process group."""

    def __init__(
        self, name: str, process: asyncio.subprocess.Process, grace: float, log: Path
    ) -> None:
        self.name = name
        self.log = log
        self.grace = grace
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while the process runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait for the end and return the exit status."""
        return await self._process.wait()

    async def wait_until_listening(self, port: int, host: str = "127.0.0.1") -> None:
        """Wait until it accepts connections on a port. Raises ChildError."""
        deadline = asyncio.get_running_loop().time() + START_TIMEOUT
        while asyncio.get_running_loop().time() < deadline:
            if self.returncode is not None:
                raise ChildError(f"{self.name} ended at once; see {self.log}.")
            try:
                _, writer = await asyncio.open_connection(host, port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return
        raise ChildError(
            f"{self.name} did not listen within {START_TIMEOUT:.0f} s; see {self.log}."
        )

    def kill(self) -> None:
        """SIGKILL the whole group, now."""
        self._signal(signal.SIGKILL)

    async def stop(self) -> int:
        """SIGTERM, and after the grace period SIGKILL, to the whole group; wait for the end."""
        if self.grace > 0:
            self._signal(signal.SIGTERM)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.wait(), self.grace)
        self.kill()
        return await self.wait()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


class Children:
    """Starts children and guarantees their end. ``async with`` stops all that still run."""

    def __init__(self) -> None:
        self._running: dict[int, Child] = {}
        self._watchers: set[asyncio.Task[None]] = set()
        self._reaper: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Children:
        self._reaper = subprocess.Popen(
            [sys.executable, "-S", "-E", str(REAPER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            bufsize=0,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(child.stop() for child in list(self._running.values())))
        await asyncio.gather(*self._watchers)
        if self._reaper is not None and self._reaper.stdin is not None:
            self._reaper.stdin.close()
            await asyncio.to_thread(self._reaper.wait)

    async def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        log: Path,
        cwd: Path | None = None,
        grace: float = 0.0,
    ) -> Child:
        """Start a program whose output is appended to ``log``.

        ``grace`` is how long, in seconds, it may take to end after SIGTERM; with 0 it is killed at
        once. Raises OSError when the program cannot be started.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *argv,
                cwd=cwd,
                env=dict(env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        child = Child(name, process, grace, log)
        self._running[child.pid] = child
        self._tell_reaper(f"+{child.pid} {grace}\n")
        watcher = asyncio.create_task(self._forget_when_gone(child))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)
        return child

    async def _forget_when_gone(self, child: Child) -> None:
        await child.wait()
        child.kill()  # what the process may have left behind in its group
        self._running.pop(child.pid, None)
        self._tell_reaper(f"-{child.pid}\n")

    def _tell_reaper(self, line: str) -> None:
        if self._reaper is None or self._reaper.stdin is None:
            raise RuntimeError("children are started inside `async with Children()`")
        with suppress(BrokenPipeError):  # killed by hand: the ordinary stop still works
            self._reaper.stdin.write(line.encode())
