"""Whose fault a host's exception is."""

from __future__ import annotations

from typing import Any

import pytest

from robotchat.art.bot import ArtBot
from robotchat.drivers.fake import FakeArt, plain_png
from robotchat.errors import (
    UpstreamError,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
    WrongResult,
)
from robotchat.images import encode_base64


def raised(reason: str) -> UpstreamUnavailable:
    """What the driver makes of a 500 with an exception in it."""
    kind = reason.partition(":")[0]
    details = {"upstream_status": 500, "upstream_error": kind, "reason": reason}
    return UpstreamUnavailable(f"The SD host failed ({kind}).", details=details)


@pytest.mark.parametrize(
    "reason",
    [
        "KeyError: 'nonsense'",
        "AssertionError",
        "IndexError: tuple index out of range",
        "ValidationError: 1 validation error for ControlNetUnit",
        "TypeError: Script.run() missing 3 required positional arguments",
        "ValueError: invalid literal",
        "NansException: A tensor with all NaNs was produced in Unet",
        "URLError: <urlopen error>",
        "RuntimeError: mat1 and mat2 shapes cannot be multiplied",
    ],
)
def test_a_host_that_draws_otherwise_has_refused_the_request(reason: str) -> None:
    host = FakeArt([raised(reason)])
    with pytest.raises(UpstreamRejected) as caught:
        ArtBot(host).text2image(prompt="a")
    assert caught.value.message == f"The SD host refused the request: {reason}"
    assert not caught.value.retryable
    assert len(host.requests) == 2, "the second one is what every sound host draws"
    assert host.requests[1]["steps"] == 1


@pytest.mark.parametrize(
    "then", [raised("IndexError: the same"), UpstreamTimeout("slow"), {"images": []}]
)
def test_a_host_that_does_not_draw_at_all_is_at_fault(then: Any) -> None:
    host = FakeArt([raised("IndexError: tuple index out of range"), then])
    with pytest.raises(UpstreamUnavailable) as caught:
        ArtBot(host).text2image(prompt="a")
    assert caught.value.retryable


def test_no_memory_for_a_large_image_is_the_images_fault() -> None:
    reason = "OutOfMemoryError: CUDA out of memory."
    host = FakeArt([raised(reason)] * 3)
    bot = ArtBot(host)
    with pytest.raises(UpstreamUnavailable):
        bot.text2image(prompt="a", width=1024, height=1024)
    for width, height, several in ((2048, 1024, 1), (512, 512, 8)):
        with pytest.raises(UpstreamRejected, match="smaller"):
            bot.text2image(prompt="a", width=width, height=height, batch_size=several)
    assert len(host.requests) == 3


def test_a_checkpoint_that_does_not_load_is_no_fault_of_the_request() -> None:
    host = FakeArt([raised("RuntimeError: Error(s) in loading state_dict for LatentDiffusion")])
    with pytest.raises(WrongResult, match="could not load"):
        ArtBot(host).text2image(prompt="a")


@pytest.mark.parametrize("error", [UpstreamUnavailable("away"), UpstreamTimeout("slow")])
def test_a_host_that_is_away_is_not_asked_for_a_proof(error: UpstreamError) -> None:
    host = FakeArt([error])
    with pytest.raises(type(error)):
        ArtBot(host).text2image(prompt="a")
    assert len(host.requests) == 1


def test_tools_are_judged_in_the_same_way() -> None:
    host = FakeArt()
    bot = ArtBot(host)
    image = encode_base64(plain_png(8, 8))
    for path in ("sdapi/v1/extra-single-image", "sdapi/v1/interrogate", "controlnet/detect"):
        host.answers[path] = raised("AssertionError: could not find upscaler named X")
    with pytest.raises(UpstreamRejected):
        bot.upscale({"image": image})
    with pytest.raises(UpstreamRejected):
        bot.interrogate(image)
    with pytest.raises(UpstreamRejected):
        bot.detect_controlnet(controlnet_module="canny")
