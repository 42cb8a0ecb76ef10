"""``python -m dev.openai_images``: one stand-in until it is stopped."""

from __future__ import annotations

import argparse
import asyncio
import signal

from dev.openai_images.app import PERSONALITIES, application, options
from dev.sd_host.serving import listening, serve


def main() -> None:
    names = argparse.ArgumentParser(prog="python -m dev.openai_images", description=__doc__)
    names.add_argument("--personality", choices=PERSONALITIES, default=PERSONALITIES[0])
    names.add_argument("--host", default="127.0.0.1")
    names.add_argument("--port", type=int, default=8000)
    names.add_argument("--api-key", default="", help="ask for it")
    given = names.parse_args()
    asyncio.run(_until_signal(given))


async def _until_signal(given: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    made = options(given.personality, api_auth=given.api_key)
    sock = listening(given.host, given.port)
    line = f"openai_images: {given.personality} serves on http://{given.host}:{given.port}/v1"
    await serve(made, sock, stop, lambda: print(line, flush=True), application)


if __name__ == "__main__":
    main()
