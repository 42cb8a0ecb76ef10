"""Stand-ins of servers with OpenAI's images API, beside that of the A1111 web UI (`dev.sd_host`).

Each personality takes and refuses what the real program does, answers in its shapes, passes over in
silence what that passes over, and draws the simple pictures that `dev.sd_host` draws:

=============  ================================================================================
vllm-omni      one model; seeds, strength, masks (white: repaint), a LoRA; stops with the
               connection where it executes step by step (``step_execution``)
sglang         one model; seeds; masks are passed over; links unless base64 is asked for
localai        many models; JSON alone; a size without an x is 512x512; links likewise
sd-server      stable-diffusion.cpp's: everything but prompt and size is in the prompt
openai         unknown fields refused, few sizes, a mask's transparent places are changed
=============  ================================================================================

``python -m dev.openai_images --personality vllm-omni --port 8000`` serves until stopped; the
control API is that of `dev.sd_host`. In a test::

    with openai_images.running("sglang") as host:
        httpx.post(f"{host.url}/v1/images/generations", json={"prompt": "a beach"})
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from dev.openai_images.app import MODELS, PERSONALITIES, application, options
from dev.sd_host.serving import RunningHost

__all__ = ["MODELS", "PERSONALITIES", "application", "options", "running"]


@contextmanager
def running(personality: str, *, port: int = 0, **more: Any) -> Iterator[RunningHost]:
    """A stand-in on a free port for the time of a ``with``; ``more`` is that of `Options`.

    It takes no time unless told to.
    """
    given = options(personality, **{"fixed_seconds": 0.0, "load_seconds": 0.0, **more})
    host = RunningHost(partial(application, given), port=port)
    try:
        yield host
    finally:
        host.stop()
