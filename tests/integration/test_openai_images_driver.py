"""The driver of OpenAI-images servers, over a stand-in of each."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dev import openai_images
from dev.sd_host import imaging
from dev.sd_host.serving import RunningHost
from robotchat.art.bot import ArtBot
from robotchat.art.requests import DrawRequest, Image2ImageRequest, Text2ImageRequest
from robotchat.art.results import Drawing
from robotchat.drivers.openai_images import OpenAIImages
from robotchat.drivers.webui import Timeouts
from robotchat.errors import (
    NotSupported,
    UpstreamBusy,
    UpstreamGarbage,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from robotchat.images import measure

SEEDED = ("vllm-omni", "sglang", "localai", "sd-server")
CAT = imaging.encode(imaging.drawn("a cat", "", 1, 64, 64))
DOG = imaging.encode(imaging.drawn("a red dog", "", 1, 64, 64))
UNIT = imaging.to_base64(DOG)
DRAWS = "*/images/*"


@pytest.fixture(params=openai_images.PERSONALITIES)
def personality(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def host(personality: str) -> Iterator[RunningHost]:
    with openai_images.running(personality) as running:
        yield running


@pytest.fixture
def driver(host: RunningHost, personality: str) -> OpenAIImages:
    return driver_of(host, personality)


def driver_of(host: RunningHost, flavour: str, **more: Any) -> OpenAIImages:
    return OpenAIImages(f"{host.url}/v1", flavour=flavour, **more)


def words(**fields: Any) -> Text2ImageRequest:
    return Text2ImageRequest.parse({"prompt": "a beach", "width": 128, "height": 64, **fields})


def change(**fields: Any) -> Image2ImageRequest:
    return Image2ImageRequest.parse(
        {"prompt": "make it blue", "width": 64, "height": 64, "init_images": [CAT], **fields}
    )


def draw(driver: OpenAIImages, request: DrawRequest, **more: Any) -> Drawing:
    return driver.draw(request, timeout=60, **more)


def size_of(drawing: Drawing) -> set[tuple[int, int]]:
    return {(image.width, image.height) for image in drawing.images}


def drawn_by(host: RunningHost) -> list[dict[str, Any]]:
    """The bodies of the requests that draw."""
    return [one["body"] for one in host.requests() if "/images/" in one["path"] and "body" in one]


# --- drawing --------------------------------------------------------------------------------------


def test_a_batch_is_drawn_with_a_seed_for_each_image(
    driver: OpenAIImages, host: RunningHost, personality: str
) -> None:
    batch = draw(driver, words(seed=7, batch_size=2, n_iter=2))
    assert size_of(batch) == {(128, 64)}
    assert len(batch.images) == 4
    if personality in SEEDED:
        assert [image.seed for image in batch.images] == [7, 8, 9, 10]
        assert len(drawn_by(host)) == 4
        alone = draw(driver, words(seed=9))
        assert alone.images[0].data == batch.images[2].data
    else:
        assert [image.seed for image in batch.images] == [None] * 4
        assert len(drawn_by(host)) == 1
    told = personality == "sd-server"
    assert ("seed" in batch.unverified) is not told
    assert batch.info.get("all_seeds") == ([7, 8, 9, 10] if told else None)


def test_what_the_host_heeds_is_sent_in_its_words(
    driver: OpenAIImages, host: RunningHost, personality: str
) -> None:
    if personality not in SEEDED:
        pytest.skip("it heeds nothing")
    plain = draw(driver, words(seed=1)).images[0].data
    without = draw(driver, words(seed=1, negative_prompt="water", steps=3))
    assert without.images[0].data != plain
    body = drawn_by(host)[-1]
    if personality == "localai":
        assert (body["prompt"], body["step"]) == ("a beach|water", 3)
    elif personality == "sd-server":
        assert '"sample_params": {"sample_steps": 3}' in body["prompt"]
        assert "num_inference_steps" not in body
    else:
        assert (body["negative_prompt"], body["num_inference_steps"]) == ("water", 3)


def test_what_nobody_asked_for_is_left_to_the_model(
    driver: OpenAIImages, host: RunningHost
) -> None:
    draw(driver, words())
    body = drawn_by(host)[-1]
    assert not {"num_inference_steps", "step", "guidance_scale", "true_cfg_scale"} & set(body)
    assert "sample_params" not in body["prompt"]


def test_a_change_begins_with_the_image(
    driver: OpenAIImages, host: RunningHost, personality: str
) -> None:
    drawing = draw(driver, change(seed=3, denoising_strength=0.5))
    assert size_of(drawing) == {(64, 64)}
    assert drawing.images[0].data != CAT
    heeded = personality in ("vllm-omni", "sd-server")
    assert ("denoising_strength" in drawing.unverified) is not heeded
    assert host.stats()["generations_img2img"] == 1


def test_an_instruction_has_no_strength_and_may_have_more_images(
    driver: OpenAIImages, host: RunningHost
) -> None:
    alone = draw(driver, change(seed=3, instruct=True))
    together = draw(driver, change(seed=3, instruct=True, extra_images=[DOG]))
    assert "denoising_strength" not in {*alone.unverified, *together.unverified}
    assert alone.images[0].data != together.images[0].data
    body = drawn_by(host)[-1]
    assert "strength" not in body
    assert "strength" not in body["prompt"]
    sent = next(body[name] for name in ("image[]", "image", "ref_images") if name in body)
    assert len(sent) == 2


def test_a_mask_is_translated(driver: OpenAIImages, personality: str) -> None:
    from PIL import Image, ImageChops

    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 32, 64))
    request = change(seed=3, mask=imaging.encode(mask), mask_blur=0, prompt="a red house")
    if not driver.capabilities().mask:
        assert personality in ("sglang", "localai")
        return
    assert "mask" not in driver.capabilities().ignores
    new = _opened(draw(driver, request).images[0].data)
    old = _opened(CAT)
    differs = ImageChops.difference(new, old).convert("L")
    # OpenAI draws larger, and what it draws is scaled.
    assert max(differs.crop((34, 0, 64, 64)).tobytes()) < (40 if personality == "openai" else 1)
    assert max(differs.crop((0, 0, 30, 64)).tobytes()) > 60


def _opened(data: bytes) -> Any:
    import io

    from PIL import Image

    return Image.open(io.BytesIO(data)).convert("RGB")


def test_images_of_a_batch_may_each_have_their_own_beginning(driver: OpenAIImages) -> None:
    drawing = draw(driver, change(seed=3, batch_size=2, init_images=[CAT, DOG]))
    first, second = (image.data for image in drawing.images)
    assert first != second


def test_a_bot_draws_changes_and_refuses(
    driver: OpenAIImages, host: RunningHost, personality: str
) -> None:
    bot = ArtBot(driver)
    named = {"sd_model_checkpoint": driver.models()[-1].alias}
    drawing = bot.text2image(
        prompt="a beach", width=128, height=64, seed=5, n_iter=2, override_settings=named
    )
    assert len(drawing.images) == 2
    assert "checkpoint" in drawing.unverified
    changed = bot.image2image(prompt="make it blue", init_images=[CAT], width=64, height=64)
    assert changed.images
    refused: list[dict[str, Any]] = [
        {"sampler_name": "Euler a"},
        {"scheduler": "Karras"},
        {"enable_hr": True},
        {"styles": ["anime"]},
        {"prompt": "a cat <lora:ink:1>"},
        {"override_settings": {"CLIP_stop_at_last_layers": 2}},
        {"alwayson_scripts": {"controlnet": {"args": [{"enabled": True, "image": UNIT}]}}},
    ]
    if personality == "openai":
        refused += [{"steps": 9}, {"negative_prompt": "fog"}]
    if personality in ("sglang", "localai"):
        refused.append({"mask": CAT, "init_images": [CAT]})
    for fields in refused:
        draws: Any = bot.image2image if "init_images" in fields else bot.text2image
        with pytest.raises(NotSupported) as caught:
            draws(**{"prompt": "a cat", **fields})
        assert caught.value.param
    # A web UI's form as it comes, with everything at its default.
    assert bot.text2image(**Text2ImageRequest(prompt="a", width=64, height=64).model_dump()).images


def test_a_batch_of_which_some_fail_is_completed(driver: OpenAIImages, host: RunningHost) -> None:
    host.set_faults({"kind": "disconnect", "path": DRAWS, "after": 1})
    drawing = ArtBot(driver).text2image(prompt="a beach", width=64, height=64, n_iter=3)
    assert len(drawing.images) == 3
    assert not drawing.missing


# --- lists ----------------------------------------------------------------------------------------


def test_models_are_checkpoints(driver: OpenAIImages, host: RunningHost, personality: str) -> None:
    names = [model.alias for model in driver.models()]
    known = list(openai_images.MODELS[personality])
    if personality == "localai":
        assert names[1:] == known  # it lists its language models as well
        driver = driver_of(host, personality, models=known)
        assert [model.alias for model in driver.models()] == known
    else:
        assert names == known
    assert driver.checkpoint() == known[0]  # of those that it is told of, if it lists others
    for ask in (driver.samplers, driver.schedulers):
        with pytest.raises(NotSupported):
            ask()
    assert driver.webui is None
    assert driver.progress() is None


def test_the_named_model_is_asked_for(driver: OpenAIImages, host: RunningHost) -> None:
    wanted = driver.models()[-1].alias
    drawing = draw(driver, words().with_checkpoint(wanted))
    assert drawn_by(host)[-1]["model"] == drawing.checkpoint == wanted
    assert drawing.info.get("sd_model_name") is None


def test_another_model_than_there_is_is_refused(driver: OpenAIImages, personality: str) -> None:
    if personality in ("sglang", "sd-server"):
        pytest.skip("it draws with the one that it has")
    with pytest.raises(UpstreamRejected, match="checkpoint") as caught:
        draw(driver, words().with_checkpoint("no-such-model"))
    assert caught.value.param == "override_settings.sd_model_checkpoint"


# --- failures -------------------------------------------------------------------------------------


def test_a_host_that_is_not_ready_is_asked_again(driver: OpenAIImages, host: RunningHost) -> None:
    host.set_faults({"kind": "refuse", "path": DRAWS, "retry_after": 3})
    with pytest.raises(UpstreamUnavailable) as caught:
        draw(driver, words())
    assert caught.value.retry_after == 3
    assert draw(driver, words()).images
    host.set_faults({"kind": "refuse", "path": DRAWS, "status": 429})
    with pytest.raises(UpstreamBusy):
        draw(driver, words())


def test_a_failing_host_tells_nothing_of_its_machine(
    driver: OpenAIImages, host: RunningHost, personality: str
) -> None:
    host.set_faults(
        {"kind": "error", "path": DRAWS, "errors": "no file /srv/models/x on gpu7.internal:9000"}
    )
    with pytest.raises(UpstreamUnavailable) as caught:
        draw(driver, words())
    told = f"{caught.value.message} {caught.value.details}"
    assert "/srv" not in told
    assert "gpu7" not in told


@pytest.mark.parametrize(
    "what",
    ["html", "broken_json", "not_object", "no_images", "not_base64", "not_image", "empty"],
)
def test_garbage_is_told_as_such(driver: OpenAIImages, host: RunningHost, what: str) -> None:
    host.set_faults({"kind": "garbage", "path": DRAWS, "what": what})
    with pytest.raises(UpstreamGarbage):
        draw(driver, words())
    assert draw(driver, words()).images


def test_a_dropped_connection_and_a_restart(driver: OpenAIImages, host: RunningHost) -> None:
    for fault in ({"kind": "disconnect"}, {"kind": "restart", "seconds": 0}):
        host.set_faults({"path": DRAWS, **fault})
        with pytest.raises(UpstreamUnavailable):
            draw(driver, words())
        assert draw(driver, words()).images


def test_a_host_that_is_gone(driver: OpenAIImages, host: RunningHost) -> None:
    host.stop()
    with pytest.raises(UpstreamUnavailable):
        draw(driver, words().with_checkpoint("any"))
    with pytest.raises(UpstreamUnavailable):
        driver.models()


def test_a_batch_that_breaks_off_keeps_what_came(
    driver: OpenAIImages, host: RunningHost, personality: str
) -> None:
    if personality not in SEEDED:
        pytest.skip("it draws a batch at once")
    host.set_faults({"kind": "disconnect", "path": DRAWS, "after": 2})
    drawing = draw(driver, words(seed=4, n_iter=4))
    assert [image.seed for image in drawing.images] == [4, 5]


def test_more_images_than_were_asked_for_are_garbage(
    driver: OpenAIImages, host: RunningHost
) -> None:
    host.set_faults({"kind": "wrong_count", "count": 2, "path": DRAWS})
    with pytest.raises(UpstreamGarbage, match="2 pictures"):
        draw(driver, words())


def test_a_key_is_sent_and_its_refusal_told(personality: str) -> None:
    with openai_images.running(personality, api_auth="k-123456") as host:
        address = host.url.replace("http://", "http://:k-123456@")
        assert OpenAIImages(address, flavour=personality).models()
        assert driver_of(host, personality, auth=("", "k-123456")).models()
        with pytest.raises(UpstreamUnavailable, match="key"):
            driver_of(host, personality).models()


def test_a_host_that_takes_too_long(host: RunningHost, personality: str) -> None:
    driver = driver_of(host, personality, timeouts=Timeouts(connect=5, answer=5))
    host.hold(path=DRAWS)
    with pytest.raises(UpstreamTimeout):
        driver.draw(words().with_checkpoint(openai_images.MODELS[personality][0]), timeout=0.5)
    host.release()


# --- stopping -------------------------------------------------------------------------------------


def test_a_drawing_is_stopped_by_hanging_up(
    driver: OpenAIImages, host: RunningHost, personality: str
) -> None:
    attempt = str(uuid.uuid4())
    with pytest.raises(NotSupported):
        driver.cancel(attempt)
    host.hold(path=DRAWS)
    with ThreadPoolExecutor(1) as threads:
        drawing = threads.submit(draw, driver, words(n_iter=3), attempt_id=attempt)
        host.wait_for(paused=1)
        assert driver.busy()
        with pytest.raises(NotSupported):
            driver.cancel(str(uuid.uuid4()))
        driver.cancel(attempt)
        if personality in ("sglang", "sd-server"):
            # It notices nothing, so its picture is waited for, and no other asked of it.
            host.release()
            assert len(drawing.result(30).images) == 1
            assert len(drawn_by(host)) == 1
        else:
            with pytest.raises(UpstreamUnavailable) as caught:
                drawing.result(30)
            assert caught.value.details == {"interrupted": True}
            host.wait_for(interrupts=1, generations_failed=1)
    assert driver.busy() is None
    assert draw(driver, words()).images


def test_no_more_is_asked_for_once_it_is_known_to_be_stopped(
    driver: OpenAIImages, host: RunningHost
) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(UpstreamUnavailable) as caught:
        draw(driver, words(n_iter=3), interrupted=stop.is_set)
    assert caught.value.details == {"interrupted": True}
    assert not drawn_by(host)


# --- of one kind alone ----------------------------------------------------------------------------


def test_openai_draws_its_own_sizes_which_are_cut_to_what_was_wanted() -> None:
    with openai_images.running("openai") as host:
        driver = driver_of(host, "openai")
        for model, width, height, asked in (
            ("gpt-image-1", 512, 512, "1024x1024"),
            ("gpt-image-1", 768, 512, "1536x1024"),
            ("gpt-image-2", 512, 512, "816x816"),
            ("gpt-image-2", 2048, 1024, "2048x1024"),
            ("dall-e-2", 300, 300, "512x512"),
            ("dall-e-3", 1024, 576, "1792x1024"),
        ):
            # The real one's links lead to another machine; base64 is asked for.
            drawing = draw(driver, words(width=width, height=height).with_checkpoint(model))
            assert size_of(drawing) == {(width, height)}
            body = drawn_by(host)[-1]
            assert body["size"] == asked
            assert ("response_format" in body) is model.startswith("dall-e")
        with pytest.raises(NotSupported, match="three times"):
            draw(driver, words(width=2048, height=512).with_checkpoint("gpt-image-2"))
        with pytest.raises(UpstreamRejected, match="moderation"):
            draw(driver, words(prompt="forbidden words"))


def test_loras_are_those_that_the_operator_names() -> None:
    for personality, path in (("vllm-omni", ""), ("sd-server", "add_detail.safetensors")):
        with openai_images.running(personality, loras=("add_detail",)) as host:
            driver = driver_of(host, personality, loras={"add_detail": path})
            assert [lora.name for lora in driver.loras()] == ["add_detail"]
            assert draw(driver, words(prompt="a cat <lora:add_detail:0.7>")).images
            body = drawn_by(host)[-1]
            assert "<lora" not in body["prompt"]
            if personality == "vllm-omni":
                assert body["lora"] == {"name": "add_detail", "scale": 0.7}
                assert draw(driver, change(prompt="blue <lora:add_detail>")).images
            with pytest.raises(NotSupported, match="LoRA"):
                draw(driver, words(prompt="a cat <lora:other:1>"))


def test_a_callers_prompt_sets_nothing_on_sd_server() -> None:
    tag = "sd_cpp_extra_args"
    with openai_images.running("sd-server") as host:
        driver = driver_of(host, "sd-server")
        sly = f'a cat <{tag[:4]}<lora:x:1>{tag[4:]}>{{"seed": 1}}</{tag}>'
        request = words(prompt=sly, seed=9, disable_extra_networks=True)
        assert draw(driver, request).images[0].infotext.count("Seed: 9,") == 1
        negative = f'fog</{tag}><{tag}>{{"seed": 2}}</{tag}>'
        drawing = draw(driver, words(negative_prompt=negative, seed=9))
        assert drawing.info["all_seeds"] == [9]


def test_the_end_of_localais_prompt_is_not_the_callers_to_say() -> None:
    with openai_images.running("localai") as host, pytest.raises(NotSupported, match="prompt"):
        draw(driver_of(host, "localai"), words(prompt="a cat|dogs"))


def test_a_link_is_followed_on_the_same_host_alone() -> None:
    with openai_images.running("localai") as host:
        # The generic flavour does not say so in LocalAI's words, but asks for base64 as well.
        drawing = draw(driver_of(host, "openai-images", models=("flux.1-dev",)), words())
        assert measure(drawing.images[0].data) == (128, 64)


def test_nothing_is_drawn_to_find_out_whose_fault_it_was_where_images_are_paid_for() -> None:
    with openai_images.running("openai") as host:
        host.set_faults({"kind": "error", "path": DRAWS, "times": None})
        driver = driver_of(host, "openai", models=("gpt-image-1",))
        with pytest.raises(UpstreamUnavailable):
            ArtBot(driver).text2image(words(width=1024, height=1024))
        assert len(drawn_by(host)) == 1
