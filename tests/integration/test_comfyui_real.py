"""The ComfyUI driver against a ComfyUI of your own, at the address in COMFYUI_URL.

    COMFYUI_URL=http://127.0.0.1:8188 pytest tests/integration/test_comfyui_real.py

It is skipped without. It draws pictures of 64x64 pixels with COMFYUI_CHECKPOINT, or the first one
there is, and with COMFYUI_LORA, or the first there is (without a LoRA, that test is skipped). Any
weights will do, also random ones: what is looked at is whose picture comes, of which seed and size,
and what is left. Others may use the same ComfyUI meanwhile: nothing of theirs is touched.
"""

from __future__ import annotations

import io
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import httpx
import pytest
from PIL import Image

from robotchat.art.bot import ArtBot
from robotchat.art.results import Drawing
from robotchat.drivers.comfyui import ComfyUI
from robotchat.drivers.fake import plain_png
from robotchat.drivers.hosts import host_driver
from robotchat.errors import (
    NotSupported,
    UnknownCheckpoint,
    UnknownSampler,
    UpstreamRejected,
    UpstreamUnavailable,
)
from robotchat.images import encode_base64, png_text

URL = os.environ.get("COMFYUI_URL", "")
pytestmark = pytest.mark.skipif(not URL, reason="COMFYUI_URL is not set")

LONG = 150
"""Steps of a drawing that is to be stopped: as many as a request may have."""
DEADLINE = 600.0


@pytest.fixture(scope="module")
def driver() -> Iterator[ComfyUI]:
    with ComfyUI(URL) as driver:
        yield driver


@pytest.fixture(scope="module")
def checkpoint(driver: ComfyUI) -> str:
    return os.environ.get("COMFYUI_CHECKPOINT") or driver.models()[0].alias


@pytest.fixture(scope="module")
def bot(driver: ComfyUI) -> ArtBot:
    return ArtBot(driver)


@pytest.fixture(scope="module")
def fields(checkpoint: str) -> dict[str, Any]:
    return {
        "prompt": "a cat",
        "negative_prompt": "a dog",
        "width": 64,
        "height": 64,
        "steps": 2,
        "seed": 11,
        "sampler_name": "Euler a",
        "scheduler": "Karras",
        "override_settings": {"sd_model_checkpoint": checkpoint},
    }


@pytest.fixture(scope="module")
def first(bot: ArtBot, fields: dict[str, Any]) -> Drawing:
    return bot.text2image(**fields)


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    """Every test ends with nothing of it in the queue, and nothing new in the history."""
    with httpx.Client(base_url=URL, timeout=60) as web:
        before = set(web.get("/history").json())
        yield
        queue = web.get("/queue").json()
        ours = [
            one
            for one in [*queue["queue_running"], *queue["queue_pending"]]
            if "robotchat" in one[3]
        ]
        assert ours == []
        assert set(web.get("/history").json()) <= before


def pixels(drawing: Drawing, index: int = 0) -> Image.Image:
    with Image.open(io.BytesIO(drawing.images[index].data)) as image:
        return image.convert("RGB")


def until(is_so: Callable[[], object]) -> None:
    """Wait until something is so, as long as a slow machine may need."""
    deadline = time.monotonic() + DEADLINE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_it_is_found_by_a_probe() -> None:
    with closing(host_driver(URL)) as found:  # type: ignore[type-var]
        assert found.capabilities().kind == "comfyui"


def test_it_draws_what_was_asked(first: Drawing, checkpoint: str) -> None:
    (image,) = first.images
    assert (image.width, image.height, image.seed) == (64, 64, 11)
    assert first.unverified == []
    assert first.info["sampler_name"] == "Euler a"
    assert first.info["extra_generation_params"]["Schedule type"] == "Karras"
    text = png_text(image.data)
    assert text["parameters"].startswith(
        "a cat\nNegative prompt: a dog\nSteps: 2, Sampler: Euler a"
    )
    assert "prompt" not in text, "the operator's graph is not the caller's to see"


def test_one_seed_is_one_image(bot: ArtBot, fields: dict[str, Any], first: Drawing) -> None:
    again = bot.text2image(**fields)
    other = bot.text2image(**fields | {"seed": 12})
    assert pixels(again).tobytes() == pixels(first).tobytes()
    assert pixels(other).tobytes() != pixels(first).tobytes()


def test_images_of_a_batch_have_seeds_one_after_another(
    bot: ArtBot, fields: dict[str, Any], first: Drawing
) -> None:
    batch = bot.text2image(**fields | {"seed": 10, "batch_size": 3})
    assert [image.seed for image in batch.images] == [10, 11, 12]
    assert pixels(batch, 1).tobytes() == pixels(first).tobytes()


def test_sizes_are_cut_down_to_its_steps(bot: ArtBot, fields: dict[str, Any]) -> None:
    drawing = bot.text2image(**fields | {"width": 100, "height": 70})
    assert pixels(drawing).size == (96, 64)


def test_it_draws_from_an_image(bot: ArtBot, fields: dict[str, Any], first: Drawing) -> None:
    start = encode_base64(plain_png(128, 96, "start"))
    little = bot.image2image(**fields | {"init_images": [start], "denoising_strength": 0.3})
    much = bot.image2image(**fields | {"init_images": [start], "denoising_strength": 0.6})
    assert pixels(little).size == (64, 64)
    assert len({pixels(one).tobytes() for one in (little, much, first)}) == 3


@pytest.mark.parametrize("inverted", [False, True])
def test_what_is_not_masked_stays(bot: ArtBot, fields: dict[str, Any], inverted: bool) -> None:
    start = Image.new("RGB", (64, 64), (200, 30, 40))
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (32, 0, 64, 64))
    drawing = bot.image2image(
        **fields
        | {
            "init_images": [encode_base64(_png(start))],
            "mask": encode_base64(_png(mask)),
            "mask_blur": 0,
            "inpainting_fill": 1,
            "inpainting_mask_invert": int(inverted),
            "denoising_strength": 0.9,
        }
    )
    drawn = pixels(drawing)
    left, right = drawn.crop((0, 0, 32, 64)), drawn.crop((32, 0, 64, 64))
    kept, new = (right, left) if inverted else (left, right)
    assert kept.getcolors() == [(32 * 64, (200, 30, 40))]
    assert new.getcolors() != [(32 * 64, (200, 30, 40))]


def test_a_lora_changes_the_image(
    bot: ArtBot, driver: ComfyUI, fields: dict[str, Any], first: Drawing
) -> None:
    there = os.environ.get("COMFYUI_LORA") or next((one.name for one in driver.loras()), None)
    if there is None:
        pytest.skip("there is no LoRA")
    one = bot.text2image(**fields | {"prompt": f"a cat <lora:{there}:1>"})
    two = bot.text2image(**fields | {"prompt": f"a cat <lora:{there}:0.5><lora:{there}:0.5>"})
    assert pixels(one).tobytes() != pixels(first).tobytes()
    assert pixels(two).tobytes() != pixels(first).tobytes()


def test_what_it_does_not_have_is_refused(bot: ArtBot, fields: dict[str, Any]) -> None:
    with pytest.raises(UnknownCheckpoint):
        bot.text2image(
            **fields | {"override_settings": {"sd_model_checkpoint": "nobody's.safetensors"}}
        )
    with pytest.raises(UnknownSampler):
        bot.text2image(**fields | {"sampler_name": "nobody's"})
    with pytest.raises(UpstreamRejected):
        bot.text2image(**fields | {"prompt": "a cat <lora:nobody's:1>"})
    with pytest.raises(NotSupported):
        bot.text2image(**fields | {"enable_hr": True})


def test_progress_and_previews_are_told(
    driver: ComfyUI, bot: ArtBot, fields: dict[str, Any]
) -> None:
    attempt, seen, over = str(uuid.uuid4()), [], threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            progress = driver.progress(attempt, preview=True)
            if progress is not None and progress.progress:
                seen.append(progress)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        bot.text2image(**fields | {"steps": 20, "seed": _seed()}, attempt_id=attempt)
    finally:
        over.set()
        watcher.join()
    shares = [one.progress for one in seen]
    assert shares
    assert shares == sorted(shares)
    assert any(0 < share < 1 for share in shares)
    assert any(one.state.sampling_steps == 20 for one in seen)
    assert any(one.current_image for one in seen)


def test_a_cancel_stops_only_its_own(driver: ComfyUI, bot: ArtBot, fields: dict[str, Any]) -> None:
    """One runs, two wait, one of them from somebody else; ours are stopped."""
    running, waiting = str(uuid.uuid4()), str(uuid.uuid4())
    theirs = driver_of_somebody_else(fields)
    with ThreadPoolExecutor() as pool:
        long = {**fields, "steps": LONG, "seed": _seed()}
        first = pool.submit(bot.text2image, **long, attempt_id=running)
        until(lambda: _progress(driver, running))
        second = pool.submit(bot.text2image, **long | {"seed": _seed()}, attempt_id=waiting)
        until(lambda: len(_ours()) == 2)
        other = theirs()
        driver.cancel(waiting)
        with pytest.raises(UpstreamUnavailable) as stopped:
            second.result(DEADLINE)
        assert stopped.value.details["interrupted"] is True
        assert not first.done()
        driver.cancel(running)
        with pytest.raises(UpstreamUnavailable) as stopped:
            first.result(DEADLINE)
        assert stopped.value.details["interrupted"] is True
        driver.cancel()
    until(lambda: _history(other))
    assert _history(other)["status"]["status_str"] == "success"
    httpx.post(f"{URL}/history", json={"delete": [other]})


def test_somebody_elses_prompt_goes_on(driver: ComfyUI, fields: dict[str, Any]) -> None:
    theirs = driver_of_somebody_else(fields, steps=30)()
    driver.cancel()
    driver.cancel(str(uuid.uuid4()))
    assert driver.busy() is False
    until(lambda: _history(theirs))
    assert _history(theirs)["status"]["status_str"] == "success"
    httpx.post(f"{URL}/history", json={"delete": [theirs]})


class Loses(httpx.HTTPTransport):
    """Sends prompts, and loses the answer on the way."""

    sent = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        if request.method == "POST" and request.url.path.endswith("/prompt"):
            self.sent += 1
            response.read()
            raise httpx.ReadError("the connection broke", request=request)
        return response


def test_a_lost_answer_is_asked_after(fields: dict[str, Any], first: Drawing) -> None:
    transport = Loses()
    with ComfyUI(URL, transport=transport) as driver:
        drawing = ArtBot(driver).text2image(**fields)
    assert transport.sent == 1
    assert pixels(drawing).tobytes() == pixels(first).tobytes()


# --- somebody else --------------------------------------------------------------------------------


def driver_of_somebody_else(fields: dict[str, Any], steps: int = 2) -> Callable[[], str]:
    """Queues a prompt of another program's; gives its id."""
    name = fields["override_settings"]["sd_model_checkpoint"]
    size = {"width": 64, "height": 64, "batch_size": 1}
    settings = {"steps": steps, "cfg": 7.0, "denoise": 1.0}
    names = {"sampler_name": "euler", "scheduler": "normal"}
    links = {
        "model": ["1", 0],
        "positive": ["2", 0],
        "negative": ["2", 0],
        "latent_image": ["3", 0],
    }

    def node(kind: str, **inputs: Any) -> dict[str, Any]:
        return {"class_type": kind, "inputs": inputs}

    def queue() -> str:
        prompt = {
            "1": node("CheckpointLoaderSimple", ckpt_name=name),
            "2": node("CLIPTextEncode", text="theirs", clip=["1", 1]),
            "3": node("EmptyLatentImage", **size),
            "4": node("KSampler", seed=_seed(), **settings, **names, **links),
            "5": node("VAEDecode", samples=["4", 0], vae=["1", 2]),
            "6": node("PreviewImage", images=["5", 0]),
        }
        body = {"prompt": prompt, "client_id": uuid.uuid4().hex}
        return str(httpx.post(f"{URL}/prompt", json=body, timeout=60).json()["prompt_id"])

    return queue


def _history(prompt: str) -> dict[str, Any]:
    return dict(httpx.get(f"{URL}/history/{prompt}", timeout=60).json().get(prompt, {}))


def _ours() -> list[object]:
    queue = httpx.get(f"{URL}/queue", timeout=60).json()
    entries = [*queue["queue_running"], *queue["queue_pending"]]
    return [one for one in entries if "robotchat" in one[3]]


def _progress(driver: ComfyUI, attempt: str) -> float:
    progress = driver.progress(attempt)
    return progress.progress if progress is not None else 0.0


def _seed() -> int:
    return uuid.uuid4().int % 2**31


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
