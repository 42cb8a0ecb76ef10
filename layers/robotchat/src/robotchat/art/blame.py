"""Whose fault a failure is: the request's, or that of the host which failed at it.

A web UI answers 500 for what is wrong with a request (a clip skip deeper than the text encoder, a
script without its arguments, sizes that do not go together) just as it does for what is wrong with
itself, and the name of the exception does not tell which. So the host is asked for a picture that
every sound host can draw: if it draws that, the request was at fault.
"""

from __future__ import annotations

import logging
import re

from robotchat.art.driver import ArtDriver
from robotchat.art.requests import Text2ImageRequest
from robotchat.errors import UpstreamError, UpstreamRejected, UpstreamUnavailable, WrongResult

logger = logging.getLogger(__name__)

KNOWN_GOOD = Text2ImageRequest(prompt="a", steps=1, width=64, height=64, seed=1, cfg_scale=1)
"""What every sound host draws, in a moment, with whatever checkpoint it has loaded."""

PATIENCE = 60.0
"""Longest wait, in seconds, for that picture."""

ORDINARY_PIXELS = 1024 * 1024
"""A host whose memory does not suffice for so many pixels at a time is not sound."""

_OUT_OF_MEMORY = re.compile(r"out ?of ?memory|MPS backend", re.IGNORECASE)
_FILES = re.compile(r"loading state_dict|SafetensorError|FileNotFoundError|UnpicklingError")
"""Signs of a file that cannot be loaded."""
_MODULES = re.compile(r"You do not have \w+ state dict")


def verdict(error: UpstreamError, driver: ArtDriver, *, pixels: int = 0) -> UpstreamError:
    """The error as it is to be taken: UpstreamRejected, with the host's reason, if the request was
    at fault; WrongResult if the host cannot load what the request names; else the error itself.

    ``pixels`` is how many the request wants to be drawn at a time.
    """
    reason = error.details.get("reason")
    if not isinstance(error, UpstreamUnavailable) or not isinstance(reason, str):
        return error
    if _OUT_OF_MEMORY.search(reason):
        if pixels <= ORDINARY_PIXELS:
            return error
        return UpstreamRejected(
            "The SD host's memory is too small for this: ask for a smaller picture, or fewer of "
            "them at a time.",
            details=error.details,
        )
    if _MODULES.search(reason):
        return UpstreamRejected(
            "The checkpoint needs a VAE or text encoders from files of their own: name them in "
            "override_settings.forge_additional_modules, or have them configured.",
            param="override_settings.forge_additional_modules",
            details=error.details,
        )
    if _FILES.search(reason):
        return WrongResult(
            f"The SD host could not load what it needs ({reason}).", details=error.details
        )
    if driver.capabilities().paid or not draws(driver):
        return error
    return UpstreamRejected(f"The SD host refused the request: {reason}", details=error.details)


def draws(driver: ArtDriver) -> bool:
    """Whether the host draws a picture that every sound host can draw."""
    try:
        drawing = driver.draw(KNOWN_GOOD, timeout=PATIENCE)
    except UpstreamError as error:
        logger.warning("the host does not draw what every host can: %s", error.message)
        return False
    return bool(drawing.images)
