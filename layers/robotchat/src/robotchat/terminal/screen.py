"""What a terminal shows of a job: a line of progress, and the picture itself where it can."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TextIO

Graphics = Literal["kitty", "iterm2"]

_BAR = 24
_CHUNK = 4096
"""Bytes of base64 in one of kitty's escapes; it takes no more."""


class Screen:
    """A terminal to write to; on anything else neither progress nor pictures are drawn.

    ``stream`` is where they go, ``environment`` tells which terminal it is. ``tall`` is how many
    lines a picture is given.
    """

    def __init__(self, stream: TextIO, environment: Mapping[str, str], *, tall: int = 16) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty() and environment.get("TERM") != "dumb"
        self._graphics = graphics(environment) if self._is_terminal else None
        self._tall = tall
        self._drawn = 0

    def progress(self, job: Mapping[str, Any]) -> None:
        """Draw how far a job is, over what was drawn before."""
        if not self._is_terminal:
            return
        done = round(_BAR * job["progress"])
        said = job.get("reason") or job["status"]
        if job.get("queue_position"):
            said = f"{said}, place {job['queue_position']}"
        if job.get("eta") is not None:
            said = f"{said}, {job['eta']:.0f} s"
        line = f"[{'#' * done}{'.' * (_BAR - done)}] {job['progress']:4.0%} {said}"
        line = line[: max(_columns(self._stream) - 1, 10)]
        self._write("\r" + line.ljust(self._drawn))
        self._drawn = len(line)

    def clear(self) -> None:
        """Take the line of progress away."""
        if self._drawn:
            self._write("\r" + " " * self._drawn + "\r")
            self._drawn = 0

    def image(self, data: bytes, *, content_type: str) -> bool:
        """Show a picture file, if the terminal can; says whether it did."""
        if self._graphics is None or (self._graphics == "kitty" and content_type != "image/png"):
            return False
        self._write("".join(_shown(data, self._graphics, self._tall)) + "\n")
        return True

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def graphics(environment: Mapping[str, str]) -> Graphics | None:
    """How a terminal is given pictures, by what it says of itself; None if it cannot, or if
    something stands between that takes the pictures away (tmux, screen)."""
    if environment.get("TMUX") or environment.get("TERM", "").startswith(("tmux", "screen")):
        return None
    program = environment.get("TERM_PROGRAM", "")
    if (
        environment.get("KITTY_WINDOW_ID")
        or "kitty" in environment.get("TERM", "")
        or program == "ghostty"
    ):
        return "kitty"
    if program in ("iTerm.app", "WezTerm", "mintty", "vscode", "rio"):
        return "iterm2"
    return None


def _shown(data: bytes, graphics: Graphics, tall: int) -> Iterator[str]:
    encoded = base64.b64encode(data).decode()
    if graphics == "iterm2":
        size = f"size={len(data)};height={tall};preserveAspectRatio=1"
        yield f"\x1b]1337;File=inline=1;{size}:{encoded}\a"
        return
    for start in range(0, len(encoded), _CHUNK):
        more = int(start + _CHUNK < len(encoded))
        # The first escape says what it is: a PNG file (f=100), shown at once (a=T) in so many rows.
        keys = f"a=T,f=100,r={tall},q=2,m={more}" if start == 0 else f"m={more}"
        yield f"\x1b_G{keys};{encoded[start : start + _CHUNK]}\x1b\\"


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except OSError:  # not a terminal of the system's own, as in tests
        return 80
