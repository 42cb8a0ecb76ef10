"""``python -m dev.comfyui``: serve a stand-in ComfyUI until SIGINT or SIGTERM."""

from __future__ import annotations

import argparse
import sys
from functools import partial

from dev.comfyui.serving import application
from dev.comfyui.state import Options
from dev.sd_host.serving import serve_until_signal


def parser() -> argparse.ArgumentParser:
    """The command line."""
    names = argparse.ArgumentParser(
        prog="python -m dev.comfyui", description="A stand-in ComfyUI: its API without a model."
    )
    add, default = names.add_argument, Options()
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=int, default=8188, help="port to listen on; 0 takes a free one")
    add("--version", default=default.version, help="the version that it is (%(default)s)")
    add("--checkpoints", default=",".join(default.checkpoints), help="comma-separated names")
    add("--loras", default=",".join(default.loras), help="comma-separated names")
    add("--speed", type=float, default=default.speed, help="pixel-steps per second (%(default)s)")
    add("--min-seconds", type=float, default=default.min_seconds, help="least time of a prompt")
    add("--fixed-seconds", type=float, help="time of every prompt, whatever its size")
    add("--load-seconds", type=float, default=default.load_seconds, help="time of a model switch")
    return names


def main() -> int:
    """Serve; the exit code is 1 when the port is taken."""
    given = parser().parse_args()
    options = Options(
        name="ComfyUI",
        personality="comfyui",
        version=given.version,
        checkpoints=tuple(name for name in given.checkpoints.split(",") if name),
        loras=tuple(name for name in given.loras.split(",") if name),
        speed=given.speed,
        min_seconds=given.min_seconds,
        fixed_seconds=given.fixed_seconds,
        load_seconds=given.load_seconds,
    )
    if not options.checkpoints or options.speed <= 0:
        print("comfyui: it needs a checkpoint and a speed above 0", file=sys.stderr)
        return 1
    what = f"a stand-in ({options.version}) serves"
    made = partial(application, options)
    return serve_until_signal("comfyui", made, given.host, given.port, what)


if __name__ == "__main__":
    sys.exit(main())
