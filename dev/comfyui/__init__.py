"""A stand-in ComfyUI: its HTTP API and socket without a model.

It takes graphs, validates and queues them, answers from its cache, tells its progress, keeps its
files and forgets its history as the real program does, and draws the pictures of `dev.sd_host`.
It knows the nodes of the workflows that come with the package, and a few more.

``python -m dev.comfyui --port 8188`` serves until stopped. In a test::

    with comfyui.running(fixed_seconds=0) as host:
        httpx.post(f"{host.url}/prompt", json={"prompt": {...}})

`Options` adds the version, which decides what it can do (see `dev.comfyui.state`), to the options
of `dev.sd_host`. The control API and its faults are those of `dev.sd_host`; those with the
path `DRAWING`, which their default path fits, happen while a prompt is executed. Beside theirs:

``wrong_model``, ``wrong_sampler``
    the prompt is changed as it comes, as a custom node may do.
``wrong_count``
    the nodes that give pictures give another number of them.
``garbage``
    on a drawing: the files of its pictures (``not_image``, ``truncated_png``; ``no_images``: the
    history tells of none); on other paths: the answer.
``lose_file`` (of ``POST /_control/lose_files``)
    deletes all pictures that were made, as somebody on that machine may do.
"""

from __future__ import annotations

from dev.comfyui.execution import DRAWING
from dev.comfyui.serving import RunningComfy, running
from dev.comfyui.state import Options

__all__ = ["DRAWING", "Options", "RunningComfy", "running"]
