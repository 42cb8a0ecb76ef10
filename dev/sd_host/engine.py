"""Drawing as bare engines do it: one run with the lock, and neither progress nor interrupts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from PIL import Image

from dev.sd_host import imaging
from dev.sd_host.faults import Fault, of_kind
from dev.sd_host.state import Host, HostError


async def run(
    host: Host,
    kind: str,
    steps: int,
    pixels: int,
    faults: Sequence[Fault],
    draw: Callable[[], list[Image.Image]],
) -> list[Image.Image]:
    """What ``draw`` draws, in the time that so many steps over so many pixels take.

    Raises `HostError` when the drawing fails.
    """
    host.stats.add(f"generations_{kind}")
    host.stats.begin()
    try:
        drawing = asyncio.ensure_future(asyncio.to_thread(draw))
        try:
            await host.sample(steps, host.options.duration(steps * pixels), faults, drawing)
            images = await drawing
        finally:
            drawing.cancel()
    except HostError:
        host.stats.end(failed=True)
        raise
    host.stats.end(failed=False)
    wrong = of_kind(faults, "wrong_count")
    if wrong:
        images = images[: int(wrong.extra.get("count", len(images) - 1))]
    if of_kind(faults, "wrong_size"):
        images = [image.reduce(2) for image in images]
    return images


def drawn(
    prompt: str,
    negative: str,
    seed: int,
    size: tuple[int, int],
    init: Image.Image | None = None,
    mask: Image.Image | None = None,
    strength: float = 0.75,
) -> Image.Image:
    """One picture, drawn anew or over another; ``mask``: only where that is white."""
    if init is None:
        return imaging.drawn(prompt, negative, seed, *size)
    old = imaging.fitted(init, *size, 0)
    new = imaging.repainted(old, prompt, negative, seed, strength)
    return new if mask is None else imaging.masked(new, old, mask, (0, 0), False)
