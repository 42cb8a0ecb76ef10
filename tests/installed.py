"""Programs of other people that tests run: installed once for each state of their pins."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def installed(folder: Path, pins: Path, *commands: list[str | Path]) -> None:
    """Run the commands, where the pins lie, unless they were run for these pins before."""
    digest = hashlib.sha256(pins.read_bytes()).hexdigest()
    stamp = folder / ".made-for"
    if stamp.exists() and stamp.read_text("utf-8") == digest:
        return
    for command in commands:
        subprocess.run(command, cwd=pins.parent, check=True, timeout=600)
    stamp.write_text(digest, "utf-8")


def python_with(environment: Path, pins: Path) -> Path:
    """The interpreter of an environment that has what a requirements file pins."""
    interpreter = environment / "bin/python"
    pip: list[str | Path] = [interpreter, "-m", "pip", "--disable-pip-version-check"]
    making: list[str | Path] = [sys.executable, "-m", "venv", "--clear", environment]
    installed(environment, pins, making, [*pip, "install", "-q", "-r", pins])
    return interpreter


def node_with(folder: Path) -> str:
    """Node, with what the lock file of a folder pins; the test is skipped without it, but in CI."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found is None or npm is None:
        if os.environ.get("CI"):
            pytest.fail("Node is not installed")
        pytest.skip("Node is not installed")
    installed(folder / "node_modules", folder / "package-lock.json", [npm, "ci", "--silent"])
    return found
