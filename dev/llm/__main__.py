"""``python -m dev.llm``: serve the stand-in for a language model until SIGINT or SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import sys

from dev.llm.serving import listening, serve


def main() -> int:
    """Serve; the exit code is 1 when the port is taken."""
    arguments = argparse.ArgumentParser(prog="python -m dev.llm", description=__doc__)
    arguments.add_argument("--host", default="127.0.0.1", help="address to listen on")
    arguments.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    given = arguments.parse_args()
    try:
        sock = listening(given.host, given.port)
    except OSError as error:
        print(f"llm: port {given.port} is not free ({error}); try --port", file=sys.stderr)
        return 1
    asyncio.run(_until_signal(sock, given.host))
    return 0


async def _until_signal(sock: socket.socket, address: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    url = f"http://{address}:{sock.getsockname()[1]}/v1"
    await serve(sock, stop, lambda: print(f"llm: serves on {url}", flush=True))


if __name__ == "__main__":
    sys.exit(main())
