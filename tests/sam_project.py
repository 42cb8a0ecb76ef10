"""A clean clone of this repository, and the SAM CLI called in it as a user would."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SAM = ROOT / ".venv-sam" / "bin" / "sam"
IMAGE = "public.ecr.aws/lambda/python:3.12"


def clone(folder: Path) -> Path:
    """Copy what a clone would have, changes that are not committed included."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    for name in listing.decode().split("\0"):
        source = ROOT / name
        if name and source.is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return folder


@dataclass
class Project:
    """A clone in ``folder``; ``env`` is all that `sam` sees of the environment."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        passed = ("PATH", "HOME", "LANG", "TMPDIR", "DOCKER_HOST", "PIP_FIND_LINKS", "PIP_CERT")
        self.env = {name: os.environ[name] for name in passed if name in os.environ} | {
            "SAM_CLI_TELEMETRY": "0",
            # No credentials of whoever runs the tests, and no waiting for an instance's.
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            **self.env,
        }
        self.env["PATH"] = f"{SAM.parent}{os.pathsep}{self.env['PATH']}"

    def sam(self, *words: str, timeout: float = 240.0, **env: str) -> str:
        """What a `sam` command prints. Fails with its output when it fails."""
        done = subprocess.run(
            ["sam", *words],
            cwd=self.folder,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, f"sam {' '.join(words)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @contextmanager
    def running(self, *command: str, log: Path, env: Mapping[str, str]) -> Iterator[None]:
        """A command that serves until it is stopped."""
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**self.env, **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
