"""A process with a share of one processor, as Lambda gives it for its memory size.

By a cgroup (version 2 or 1) where this process may make one, which is how Lambda does it too.
Elsewhere by stopping the process for the rest of every period: coarser, and said so.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

FULL_MB = 1769
"""Memory for which Lambda gives a whole processor; less of it in proportion."""
PERIOD = 0.02
"""Seconds of one period of the quota."""

_V2 = Path("/sys/fs/cgroup")
_V1 = Path("/sys/fs/cgroup/cpu")


def share(memory_mb: int) -> float:
    """How much of one processor a function of this memory size has."""
    return min(memory_mb / FULL_MB, 1.0)


def run(
    arguments: Sequence[str], processor: float, *, cwd: Path, env: Mapping[str, str]
) -> tuple[str, str]:
    """The output of a program with such a share, and by what means it had it.

    Raises CalledProcessError when it fails.
    """
    with _group(processor) as group:
        # The program joins the group before it begins.
        joining = (
            "import os,sys; open(sys.argv[1],'w').write('0'); os.execv(sys.argv[2],sys.argv[2:])"
        )
        wrapped = [sys.executable, "-c", joining, str(group / "cgroup.procs")] if group else []
        process = subprocess.Popen(
            [*wrapped, *arguments], cwd=cwd, env=env, stdout=subprocess.PIPE, text=True
        )
        if group is None:
            threading.Thread(target=_throttle, args=(process, processor), daemon=True).start()
        output, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, list(arguments), output)
    return output, "cgroup" if group else "stopped in turn"


@contextmanager
def _group(processor: float) -> Iterator[Path | None]:
    """A control group with a quota, None where none can be made."""
    name = f"robotchat-{os.getpid()}"
    period = int(PERIOD * 1e6)
    quota = int(period * processor)
    files = {
        _V2 / name: {"cpu.max": f"{quota} {period}"},
        _V1 / name: {"cpu.cfs_period_us": str(period), "cpu.cfs_quota_us": str(quota)},
    }
    for folder, values in files.items():
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            if all((folder / file).exists() for file in values):
                for file, value in values.items():
                    (folder / file).write_text(value)
                yield folder
                return
        finally:
            with suppress(OSError):  # it lingers for a moment after its last process
                folder.rmdir()
    yield None


def _throttle(process: subprocess.Popen[str], processor: float) -> None:
    """Let it run for its share of each period, and stop it for the rest."""
    with suppress(ProcessLookupError):
        while process.poll() is None and processor < 1:
            time.sleep(PERIOD * processor)
            process.send_signal(signal.SIGSTOP)
            time.sleep(PERIOD * (1 - processor))
            process.send_signal(signal.SIGCONT)
