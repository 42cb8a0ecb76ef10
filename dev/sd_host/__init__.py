"""A stand-in Stable Diffusion host: the A1111 web UI's HTTP API without a model.

``personality`` says whose: ``a1111``, ``forge``, ``forge-neo``, ``sdnext``, ``koboldcpp``,
``drawthings`` (the app Draw Things), or ``sdcpp`` for the server of stable-diffusion.cpp.

It answers as the real host does (fields, defaults, errors, one serial lock, progress, silent
substitutions) and draws simple pictures that follow the words of the prompt. It is for
development and tests: nothing it draws comes from a model.

``python -m dev.sd_host --port 7861`` serves until stopped. In a test::

    with sd_host.running(fixed_seconds=0) as host:
        httpx.post(f"{host.url}/sdapi/v1/txt2img", json={"prompt": "a beach"})

`Control` speaks to the control API of any stand-in, also one in another process.

The control API, outside what a real host has (JSON in, JSON out, never subject to faults):

``POST /_control/faults`` ``{"faults": [...]}`` or ``[...]``
    adds faults. ``{"kind": ..., "path": ..., "times": 1, "after": 0, ...}``: ``path`` is a
    glob over the request path (default: ``*2img``, the two that draw), ``times`` how many
    matching requests it hits (null: until cleared), ``after`` how many it lets pass first.
    Kinds, with their own fields:

    =============  ==========================================================================
    refuse         503 before anything (``status``, ``retry_after`` in seconds)
    error          the 500 of an exception (``error``, ``errors``: default an out-of-memory)
    hold           pause until released or interrupted; progress shows the step
    stall          the same, but as a hung GPU: deaf to interrupts (``seconds``: ends itself)
    disconnect     drop the connection; the work goes on (``partial``: after half the answer)
    garbage        answer 200 with rubbish. ``what``: html, broken_json, not_object,
                   no_images, not_base64, not_image, truncated_png, info_not_json, empty
    wrong_model    draw with another checkpoint (``checkpoint``) and say so in ``info``
    wrong_sampler  the same with the sampler (``sampler``)
    wrong_count    return another number of pictures (``count``; default one fewer)
    wrong_size     return pictures of half the size
    slow_load      the model switch takes ``seconds``
    load_error     the checkpoint does not load
    restart        the process dies and comes back: connections drop, state is forgotten
                   (``seconds`` of refusing connections)
    =============  ==========================================================================

    Faults on a request that draws happen in its run, at the ``at_step``-th sampling step
    (default 1; for error, hold, stall, disconnect, restart); on others, before the answer.
``DELETE /_control/faults``
    clears them (what is paused stays paused).
``POST /_control/release``
    resumes everything that is paused: ``{"released": n}``.
``POST /_control/restart`` ``{"seconds": 0}``
    restarts at once. ``controlnet`` (true or false): with or without that extension from then on;
    ``new_disk`` (true): without its ``config.json``.
``POST /_control/loras``, ``/_control/checkpoints`` ``{"name": ...}``
    puts a file on the disk; it is listed after refresh-loras or refresh-checkpoints.
    ``DELETE`` with the same body removes one.
``GET /_control/stats``
    counters, times and what was asked; see `dev.sd_host.stats`.
``GET /_control/wait?<counter>=N&...&timeout=10``
    answers when every named counter has reached N: 200 with the counters, 408 when it takes
    longer. Any counter of the stats can be named, e.g. ``generations_started``, ``waiting``,
    ``paused``, ``interrupts``, ``requests``.
``POST /_control/reset``
    back to the first day: settings, tasks, faults, files, counters; running work is dropped.
"""

from __future__ import annotations

from dev.sd_host.control import Control
from dev.sd_host.options import Options
from dev.sd_host.serving import RunningHost, running

__all__ = ["Control", "Options", "RunningHost", "running"]
