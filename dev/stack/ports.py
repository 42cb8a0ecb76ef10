"""Ports of this machine: on loopback, unless containers must reach them."""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Address:
    """Where servers of the local stack listen, and the name by which their clients reach them."""

    listen: str = "127.0.0.1"
    name: str = "127.0.0.1"


LOOPBACK = Address()

EVERYWHERE = "0.0.0.0"  # noqa: S104 -- only when somebody asks for it (HOST)


def own_address() -> str:
    """The address by which other machines, and containers here, reach this one; loopback's where
    there is no network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent: only the way there is looked up
        except OSError:
            return LOOPBACK.name
        return str(probe.getsockname()[0])


def bind(port: int, host: str = LOOPBACK.listen) -> socket.socket:
    """A socket bound to a port, not yet listening. Raises OSError when it is taken."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.set_inheritable(False)
    except OSError:
        listener.close()
        raise
    return listener


def is_free(port: int, host: str = LOOPBACK.listen) -> bool:
    """Whether a port can be bound now."""
    try:
        bind(port, host).close()
    except OSError:
        return False
    return True


def free_port(host: str = LOOPBACK.listen) -> int:
    """A port that nobody uses at this moment."""
    with bind(0, host) as listener:
        return int(listener.getsockname()[1])


def remembered_port(note: Path, host: str = LOOPBACK.listen) -> int:
    """The port noted in a file if it is free, else a free one, which is then noted."""
    with suppress(FileNotFoundError, ValueError):
        port = int(note.read_text())
        if is_free(port, host):
            return port
    port = free_port(host)
    note.write_text(str(port))
    return port
