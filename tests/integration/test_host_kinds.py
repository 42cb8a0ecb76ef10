"""What every kind of SD host must do, over a stand-in of each."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from robotchat import Robot, Settings
from robotchat.art.bot import ArtBot
from robotchat.art.capabilities import Capabilities
from robotchat.drivers.fake import plain_png
from robotchat.drivers.hosts import host_driver
from robotchat.errors import (
    InvalidRequest,
    NotSupported,
    UnknownCheckpoint,
    UpstreamError,
    UpstreamGarbage,
    UpstreamRejected,
    UpstreamUnavailable,
)
from robotchat.images import encode_base64
from tests.cases.host_kinds import KINDS, Kind, StandIn

CAT = plain_png(128, 128, "cat")
SMALL: dict[str, Any] = {"prompt": "a red beach", "width": 128, "height": 128, "steps": 4}


@dataclass
class Standing:
    """A stand-in that runs, and a bot on it."""

    kind: Kind
    host: StandIn
    bot: ArtBot

    @property
    def can(self) -> Capabilities:
        return self.bot.driver.capabilities(self.checkpoints[0])

    @property
    def checkpoints(self) -> list[str]:
        return [model.alias for model in self.bot.get_models()]

    def fault(self, kind: str, **extra: Any) -> None:
        self.host.set_faults({"kind": kind, "path": self.kind.draws, **extra})


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def there(request: pytest.FixtureRequest) -> Iterator[Standing]:
    kind: Kind = request.param
    with kind.running() as host:
        driver = host_driver(kind.address(host))
        yield Standing(kind, host, ArtBot(driver))
        driver.close()  # type: ignore[attr-defined]


def size(data: bytes) -> tuple[int, int]:
    with Image.open(BytesIO(data)) as image:
        image.load()
        return image.size


def test_words_become_an_image_and_the_same_words_the_same_one(there: Standing) -> None:
    first, again, other = (there.bot.text2image(**SMALL, seed=seed) for seed in (5, 5, 6))
    assert [size(one.images[0].data) for one in (first, again, other)] == [(128, 128)] * 3
    assert pixels(first.images[0].data) == pixels(again.images[0].data)
    assert pixels(first.images[0].data) != pixels(other.images[0].data)
    for fact in ("checkpoint", "sampler", "seed"):
        if fact in there.can.reports:
            assert fact not in first.unverified


def pixels(data: bytes) -> bytes:
    with Image.open(BytesIO(data)) as image:
        return image.convert("RGB").tobytes()


def test_an_image_is_drawn_over(there: Standing) -> None:
    if not there.can.image2image:
        pytest.skip("it does not draw from pictures, and says so")
    drawing = there.bot.image2image(init_images=[CAT], **SMALL, seed=5)
    assert [size(image.data) for image in drawing.images] == [(128, 128)]
    assert pixels(drawing.images[0].data) != pixels(CAT)


def test_a_mask_keeps_what_it_does_not_cover(there: Standing) -> None:
    mask = Image.new("L", (128, 128), 0)
    mask.paste(255, (64, 0, 128, 128))
    file = BytesIO()
    mask.save(file, "PNG")
    asked = {"init_images": [CAT], "mask": file.getvalue(), "mask_blur": 0, **SMALL, "seed": 5}
    asked["inpaint_full_res"] = False
    if not there.can.mask:
        with pytest.raises(NotSupported) as refused:
            there.bot.image2image(**asked)
        assert refused.value.param in ("mask", "init_images")
        return
    drawing = there.bot.image2image(**asked)
    with Image.open(BytesIO(drawing.images[0].data)) as drawn, Image.open(BytesIO(CAT)) as cat:
        kept, covered = (8, 64), (120, 64)
        assert near(drawn.convert("RGB").getpixel(kept), cat.convert("RGB").getpixel(kept))
        assert not near(
            drawn.convert("RGB").getpixel(covered), cat.convert("RGB").getpixel(covered)
        )


def near(one: Any, other: Any) -> bool:
    return all(abs(a - b) < 24 for a, b in zip(one, other, strict=True))


def test_each_image_of_a_batch_is_the_one_of_its_own_seed(there: Standing) -> None:
    drawing = there.bot.text2image(**SMALL, seed=7, batch_size=2, n_iter=2)
    assert len({pixels(image.data) for image in drawing.images}) == 4
    if "seed" in there.can.reports:
        assert [image.seed for image in drawing.images] == [7, 8, 9, 10]
        alone = there.bot.text2image(**SMALL, seed=9)
        assert pixels(alone.images[0].data) == pixels(drawing.images[2].data)


def test_a_checkpoint_is_drawn_with_if_it_is_there(there: Standing) -> None:
    if there.kind.one_checkpoint:
        pytest.skip("it has one")
    first, second = there.checkpoints[:2]
    for name in (second, first):
        drawing = there.bot.text2image(**SMALL, override_settings={"sd_model_checkpoint": name})
        assert "checkpoint" not in drawing.unverified or "checkpoint" not in there.can.reports


def test_another_checkpoint_is_refused_before_anything_is_drawn(there: Standing) -> None:
    with pytest.raises(UnknownCheckpoint):
        there.bot.text2image(**SMALL, override_settings={"sd_model_checkpoint": "no such one"})


def test_what_would_be_ignored_is_refused_by_its_name(there: Standing) -> None:
    unusual: dict[str, Any] = {
        "sampler_name": "DPM++ 2M",
        "styles": ["one"],
        "tiling": True,
        "enable_hr": True,
        "subseed_strength": 0.5,
        "refiner_checkpoint": "other",
        "negative_prompt": "people",
        "cfg_scale": 3.5,
    }
    ignored = sorted(there.can.ignores & unusual.keys())
    for name in ignored:
        with pytest.raises(NotSupported) as refused:
            there.bot.text2image(**SMALL, **{name: unusual[name]})
        assert refused.value.param == name


def test_it_is_stopped(there: Standing) -> None:
    there.fault("hold", at_step=1)
    attempt = str(uuid.uuid4())
    stopped: list[bool] = []
    with ThreadPoolExecutor() as threads:
        drawing = threads.submit(
            there.bot.text2image,
            **SMALL,
            seed=5,
            attempt_id=attempt,
            interrupted=lambda: bool(stopped),
        )
        there.host.wait_for(paused=1)
        stopped.append(True)
        try:
            there.bot.interrupt(attempt)
        except NotSupported:
            assert not there.can.interrupt
            there.host.release()
            assert len(drawing.result().images) == 1
        else:
            there.host.release()
            if there.can.partial:
                assert len(drawing.result().images) <= 1
            else:
                with pytest.raises(UpstreamError) as ended:
                    drawing.result()
                assert ended.value.details.get("interrupted")
    assert len(there.bot.text2image(**SMALL).images) == 1


def test_a_host_that_dies_while_it_draws_is_an_error_and_no_bug(there: Standing) -> None:
    there.bot.text2image(**SMALL)
    there.fault("hold", at_step=1)
    with ThreadPoolExecutor() as threads:
        drawing = threads.submit(there.bot.text2image, **SMALL)
        there.host.wait_for(paused=1)
        there.host.stop()
        with pytest.raises(UpstreamUnavailable):
            drawing.result()
    with pytest.raises(UpstreamUnavailable):
        there.bot.text2image(**SMALL)


def test_a_host_that_restarts_draws_again(there: Standing) -> None:
    there.bot.text2image(**SMALL)
    there.fault("hold", at_step=1)
    with ThreadPoolExecutor() as threads:
        drawing = threads.submit(there.bot.text2image, **SMALL)
        there.host.wait_for(paused=1)
        there.host.restart()
        with pytest.raises(UpstreamError):
            drawing.result()
    assert len(there.bot.text2image(**SMALL).images) == 1


@pytest.mark.parametrize("what", ["html", "broken_json", "not_object", "empty", "not_image"])
def test_rubbish_is_not_taken_for_an_image(there: Standing, what: str) -> None:
    there.bot.text2image(**SMALL)
    there.fault("garbage", what=what)
    with pytest.raises(UpstreamGarbage):
        there.bot.text2image(**SMALL)
    assert len(there.bot.text2image(**SMALL).images) == 1


def test_a_failure_of_the_host_is_told(there: Standing) -> None:
    there.bot.text2image(**SMALL)
    there.fault("error", times=None)
    with pytest.raises((UpstreamUnavailable, UpstreamRejected)) as failed:
        there.bot.text2image(**SMALL)
    assert there.host.url not in str(failed.value.message)


def test_what_is_wrong_with_a_request_is_no_fault_of_the_host(there: Standing) -> None:
    with pytest.raises(InvalidRequest):
        there.bot.text2image(**{**SMALL, "steps": 0})


def test_a_conversation_is_drawn_and_an_upload_changed(there: Standing) -> None:
    sizes = {name: SMALL[name] for name in ("width", "height")}
    with Robot(art=there.bot.driver, settings=Settings(retry_base=0.01)) as robot:
        beach = robot.chat_text2image("a beach photo", **sizes)
        sunset = robot.chat_text2image("at sunset", beach.conversation_id)
        assert [job.status for job in (beach, sunset)] == ["succeeded"] * 2, sunset.error
        assert "beach" in (sunset.prompt or "")
        assert "sunset" in (sunset.prompt or "")
        assert size(robot.images.get(sunset.images[0].key)) == (128, 128)
        if not there.can.image2image:
            return
        cat = robot.chat_image2image("make it blue", image=encode_base64(CAT))
        assert cat.status == "succeeded", cat.error
        assert robot.images.get(cat.images[0].key) != CAT
