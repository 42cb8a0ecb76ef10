"""``python -m dev.openai_images``: one stand-in until it is stopped."""

from __future__ import annotations

import argparse
import sys
from functools import partial

from dev.openai_images.app import PERSONALITIES, application, options
from dev.sd_host.serving import serve_until_signal


def main() -> int:
    """Serve; the exit code is 1 when the port is taken."""
    names = argparse.ArgumentParser(prog="python -m dev.openai_images", description=__doc__)
    names.add_argument("--personality", choices=PERSONALITIES, default=PERSONALITIES[0])
    names.add_argument("--host", default="127.0.0.1")
    names.add_argument(
        "--port", type=int, default=8000, help="port to listen on; 0 takes a free one"
    )
    names.add_argument("--api-key", default="", help="ask for it")
    given = names.parse_args()
    made = partial(application, options(given.personality, api_auth=given.api_key))
    what = f"{given.personality} serves /v1"
    return serve_until_signal("openai_images", made, given.host, given.port, what)


if __name__ == "__main__":
    sys.exit(main())
