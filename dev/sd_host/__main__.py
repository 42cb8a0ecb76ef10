"""``python -m dev.sd_host``: serve a stand-in SD host until SIGINT or SIGTERM."""

from __future__ import annotations

import argparse
import logging
import sys
from functools import partial

from dev.sd_host.options import Options
from dev.sd_host.serving import PERSONALITIES, application, serve_until_signal


def parser() -> argparse.ArgumentParser:
    """The command line."""
    names = argparse.ArgumentParser(
        prog="python -m dev.sd_host",
        description="A stand-in Stable Diffusion host: the A1111 API without a model.",
    )
    add, default = names.add_argument, Options()
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=int, default=7861, help="port to listen on; 0 takes a free one")
    add("--name", default=default.name, help="shown on its page")
    add("--personality", choices=tuple(PERSONALITIES), default=default.personality)
    add("--sdcpp-info", choices=("json", "empty"), default=default.sdcpp_info)
    add("--checkpoints", default=",".join(default.checkpoints), help="comma-separated names")
    add("--loras", default=",".join(default.loras), help="comma-separated names")
    add("--unhashed", action="store_true", help="checkpoints have no hash before their first load")
    add("--speed", type=float, default=default.speed, help="pixel-steps per second (%(default)s)")
    add("--min-seconds", type=float, default=default.min_seconds, help="least time of a request")
    add("--fixed-seconds", type=float, help="time of every request, whatever its size")
    add("--load-seconds", type=float, default=default.load_seconds, help="time of a model switch")
    add("--api-auth", default="", metavar="USER:PASSWORD", help="ask for HTTP Basic")
    add("--nowebui", action="store_true", help="no /internal/* routes")
    add("--config", action="store_true", help="a full config.json, not a new installation's")
    add("--rate-limit", type=int, default=default.rate_limit, help="of SD.Next, points a minute")
    add("--no-controlnet", action="store_true", help="without the ControlNet extension")
    return names


def main() -> int:
    """Serve; the exit code is 1 when the port is taken."""
    given = parser().parse_args()
    logging.basicConfig(level=logging.WARNING, format="sd_host: %(message)s")
    options = Options(
        name=given.name,
        personality=given.personality,
        checkpoints=tuple(name for name in given.checkpoints.split(",") if name),
        loras=tuple(name for name in given.loras.split(",") if name),
        hashed=not given.unhashed,
        speed=given.speed,
        min_seconds=given.min_seconds,
        fixed_seconds=given.fixed_seconds,
        load_seconds=given.load_seconds,
        api_auth=given.api_auth,
        api_only=given.nowebui,
        config=given.config,
        controlnet=not given.no_controlnet,
        sdcpp_info=given.sdcpp_info,
        rate_limit=given.rate_limit,
    )
    if not options.checkpoints or options.speed <= 0:
        print("sd_host: it needs a checkpoint and a speed above 0", file=sys.stderr)
        return 1
    what = f"{options.name} ({options.personality}) serves"
    made = partial(application, options)
    return serve_until_signal("sd_host", made, given.host, given.port, what)


if __name__ == "__main__":
    sys.exit(main())
