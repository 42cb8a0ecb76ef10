"""Loopback ports."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path


def bind(port: int) -> socket.socket:
    """A socket bound to a loopback port, not yet listening. Raises OSError when it is taken."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.set_inheritable(False)
    except OSError:
        listener.close()
        raise
    return listener


def is_free(port: int) -> bool:
    """Whether a loopback port can be bound now."""
    try:
        bind(port).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    """A loopback port that nobody uses at this moment."""
    with bind(0) as listener:
        return int(listener.getsockname()[1])


def remembered_port(note: Path) -> int:
    """The port noted in a file if it is free, else a free one, which is then noted."""
    with suppress(FileNotFoundError, ValueError):
        port = int(note.read_text())
        if is_free(port):
            return port
    port = free_port()
    note.write_text(str(port))
    return port
