"""The web UI driver and ArtBot against the stand-in SD host, over real connections."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from dev import sd_host
from robotchat.art.bot import ArtBot
from robotchat.art.capabilities import Capabilities
from robotchat.art.requests import Text2ImageRequest
from robotchat.art.results import Drawing, to_a1111, verify
from robotchat.drivers.fake import plain_png
from robotchat.drivers.webui import WebUI
from robotchat.errors import (
    InvalidRequest,
    NotSupported,
    UnknownCheckpoint,
    UpstreamError,
    UpstreamGarbage,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
    WrongResult,
)
from robotchat.images import encode_base64

CAT = plain_png(64, 64, "cat")
SMALL: dict[str, Any] = {"prompt": "a beach", "width": 64, "height": 64, "steps": 3}


@pytest.fixture(scope="module")
def running() -> Iterator[sd_host.RunningHost]:
    with sd_host.running() as host:
        yield host


@pytest.fixture
def host(running: sd_host.RunningHost) -> sd_host.RunningHost:
    running.reset()
    return running


Connect = Callable[..., ArtBot]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes bots for addresses; their connections are closed at the end."""
    with ExitStack() as stack:
        yield lambda url, **options: ArtBot(stack.enter_context(WebUI(url, **options)))


@pytest.fixture
def bot(host: sd_host.RunningHost, connect: Connect) -> ArtBot:
    return connect(host.url)


def test_a_host_is_known_by_what_it_can_do(bot: ArtBot) -> None:
    assert bot.driver.capabilities() == Capabilities()


def test_words_become_the_image_that_was_asked_for(bot: ArtBot) -> None:
    names = [model.model_name for model in bot.get_models()]
    for name in (names[-1], names[0]):
        drawing = bot.text2image(
            **SMALL,
            seed=5,
            n_iter=2,
            sampler_name="DPM++ 2M Karras",
            override_settings={"sd_model_checkpoint": name.upper()},
        )
        assert drawing.checkpoint == name
        assert drawing.unverified == []
        assert [image.seed for image in drawing.images] == [5, 6]
        assert "a beach" in drawing.images[1].infotext


def test_the_same_request_gives_the_same_image(bot: ArtBot) -> None:
    first = bot.text2image(**SMALL)
    again = bot.text2image(**SMALL, seed=first.images[0].seed)
    assert again.images[0].data == first.images[0].data


def test_sizes_formats_and_second_passes_are_verified_as_hosts_make_them(bot: ArtBot) -> None:
    odd = bot.text2image(prompt="a", steps=1, width=100, height=70)
    assert (odd.images[0].width, odd.images[0].height) == (96, 64)
    large = bot.text2image(**SMALL, enable_hr=True, hr_scale=1.5)
    assert large.images[0].width == 96
    for kind in ("jpeg", "webp"):
        bot.set_options({"samples_format": kind})
        drawing = bot.text2image(**SMALL)
        assert drawing.images[0].content_type == f"image/{kind}"


def test_an_image_and_a_mask_are_worked_on(bot: ArtBot) -> None:
    mask = plain_png(64, 64, "mask")
    drawing = bot.image2image(**SMALL, init_images=[CAT], mask=mask, denoising_strength=0.5)
    assert drawing.images[0].width == 64
    several = bot.image2image(**SMALL, init_images=[CAT, CAT], batch_size=3)
    assert len(several.images) == 2


def test_controlnet_maps_come_back_apart_and_in_their_place(bot: ArtBot) -> None:
    unit = {"enabled": True, "module": "canny", "image": encode_base64(CAT)}
    model = bot.get_controlnet_models()[0]
    request = Text2ImageRequest.parse(
        {**SMALL, "alwayson_scripts": {"ControlNet": {"args": [{**unit, "model": model}]}}}
    )
    drawing = bot.text2image(request)
    assert (len(drawing.images), len(drawing.extra_images)) == (1, 1)
    images = to_a1111(request, drawing)["images"]
    assert images[1] == encode_base64(drawing.extra_images[0].data)
    quiet = {**unit, "model": model, "save_detected_map": False}
    drawing = bot.text2image(**SMALL, alwayson_scripts={"controlnet": {"args": [quiet]}})
    assert drawing.extra_images == []
    assert drawing.unverified == ["controlnet"], "without its map nothing proves it"


def test_a_bad_controlnet_unit_never_passes_for_a_good_one(bot: ArtBot) -> None:
    unit = {"enabled": True, "module": "canny", "model": "nonsense"}
    with pytest.raises(InvalidRequest):
        bot.text2image(**SMALL, alwayson_scripts={"controlnet": {"args": [unit]}})
    # Unchecked, the host draws without it, and says the contrary in the infotext.
    unit = {**unit, "model": "None", "image": encode_base64(CAT)}
    request = Text2ImageRequest.parse(
        {**SMALL, "seed": 1, "alwayson_scripts": {"controlnet": {"args": [unit]}}}
    )
    drawing = bot.driver.draw(request)
    assert "ControlNet 0" in drawing.images[0].infotext
    with pytest.raises(WrongResult, match="without ControlNet"):
        verify(request, drawing)


def test_lists_and_questions_are_answered(bot: ArtBot, host: sd_host.RunningHost) -> None:
    assert "Euler a" in [sampler.name for sampler in bot.get_samplers()]
    assert "Karras" in [scheduler.label for scheduler in bot.get_schedulers()]
    assert bot.get_upscalers()
    assert bot.get_vaes()
    assert bot.get_embeddings().loaded
    assert bot.get_prompt_styles()
    assert "controlnet" in bot.get_scripts().txt2img
    assert bot.get_script_info()
    assert "ram" in bot.get_memory()
    assert bot.get_cmd_flags()
    assert bot.get_controlnet_version() == 3
    assert bot.get_controlnet_settings().control_net_unit_count == 3
    assert "canny" in bot.get_controlnet_modules().module_list
    assert "Canny" in bot.get_controlnet_control_types()
    detection = bot.detect_controlnet(
        controlnet_module="canny", controlnet_input_images=[encode_base64(CAT)]
    )
    assert len(detection.images) == 1
    assert bot.interrogate(encode_base64(CAT))
    assert bot.upscale({"image": encode_base64(CAT), "upscaler_1": "Lanczos"})["image"]
    image = bot.text2image(**SMALL).images[0]
    assert bot.png_info(encode_base64(image.data)).info == image.infotext

    before = [lora.name for lora in bot.get_loras()]
    host.add_lora("new_lora")
    assert [lora.name for lora in bot.get_loras()] == before
    bot.refresh_loras()
    assert "new_lora" in [lora.name for lora in bot.get_loras()]
    host.add_checkpoint("brand_new")
    bot.refresh_models()
    drawing = bot.text2image(**SMALL, override_settings={"sd_model_checkpoint": "brand_new"})
    assert drawing.checkpoint == "brand_new"


def test_options_are_set_and_a_checkpoint_that_does_not_load_is_noticed(
    bot: ArtBot, host: sd_host.RunningHost
) -> None:
    names = [model.model_name for model in bot.get_models()]
    bot.set_options({"sd_model_checkpoint": names[1], "CLIP_stop_at_last_layers": 2})
    assert bot.get_options()["CLIP_stop_at_last_layers"] == 2
    assert names[1] in bot.get_options()["sd_model_checkpoint"]
    host.set_faults({"kind": "load_error", "path": "*/options"})
    with pytest.raises(WrongResult, match="could not load"):
        bot.set_options({"sd_model_checkpoint": names[2]})
    with pytest.raises(UnknownCheckpoint):
        bot.set_options({"sd_model_checkpoint": "nonsense"})
    with pytest.raises(UpstreamRejected):
        bot.set_options({"no_such_option": 1})


def test_one_requests_options_are_gone_with_the_next(bot: ArtBot) -> None:
    before = bot.get_options()["CLIP_stop_at_last_layers"]
    name = bot.get_models()[2].alias
    bot.text2image(
        **SMALL, override_settings={"CLIP_stop_at_last_layers": 2, "sd_model_checkpoint": name}
    )
    assert bot.get_options()["CLIP_stop_at_last_layers"] == before
    bot.text2image(**SMALL, override_settings={"sd_model_checkpoint": name})
    assert name in bot.get_options()["sd_model_checkpoint"]


# --- while it draws -------------------------------------------------------------------------------


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


def test_progress_is_seen_and_an_interrupt_ends_the_work(
    bot: ArtBot, host: sd_host.RunningHost, pool: ThreadPoolExecutor
) -> None:
    host.hold(at_step=2)
    drawing = pool.submit(lambda: bot.text2image(**{**SMALL, "steps": 10}, n_iter=2))
    host.wait_for(paused=1)
    progress = bot.progress()
    assert progress is not None
    assert not progress.idle
    assert 0 < progress.progress < 1
    assert progress.current_image is None
    bot.interrupt()
    assert len(drawing.result(30).images) == 1, "what there is, of two"
    progress = bot.progress()
    assert progress is not None
    assert progress.idle


def test_a_drawing_that_takes_too_long_is_given_up(bot: ArtBot, host: sd_host.RunningHost) -> None:
    host.hold()
    with pytest.raises(UpstreamTimeout):
        bot.text2image(**SMALL, timeout=0.3)
    host.wait_for(paused=1)
    host.release()


# --- faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "refuse"}, UpstreamUnavailable),
        ({"kind": "error"}, UpstreamUnavailable),
        ({"kind": "error", "error": "KeyError", "errors": "'x'"}, UpstreamRejected),
        ({"kind": "disconnect"}, UpstreamUnavailable),
        ({"kind": "disconnect", "partial": True}, UpstreamUnavailable),
        ({"kind": "wrong_model"}, WrongResult),
        ({"kind": "wrong_sampler"}, WrongResult),
        ({"kind": "wrong_count", "count": 0}, WrongResult),
        ({"kind": "wrong_count", "count": 3}, None),
        ({"kind": "wrong_size"}, WrongResult),
        ({"kind": "load_error"}, (WrongResult, UpstreamError)),
        *(
            ({"kind": "garbage", "what": what}, UpstreamGarbage)
            for what in (
                *("html", "broken_json", "not_object", "no_images", "not_base64", "not_image"),
                *("truncated_png", "info_not_json", "empty"),
            )
        ),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_every_fault_is_noticed_and_the_next_call_works(
    bot: ArtBot, host: sd_host.RunningHost, fault: dict[str, Any], error: Any
) -> None:
    wanted = bot.get_models()[1].alias

    def draw() -> Drawing:
        options = {"sd_model_checkpoint": wanted}
        return bot.text2image(**SMALL, sampler_name="Euler a", override_settings=options)

    host.set_faults(fault)
    if error is None:
        # More pictures than were asked for: those that were asked for are there.
        assert len(draw().images) >= 1
    else:
        with pytest.raises(error) as caught:
            draw()
        assert "127.0.0.1" not in str(caught.value)
        assert str(host.port) not in str(caught.value)
    assert draw().checkpoint is not None


def test_a_host_that_restarts_is_used_again(connect: Connect) -> None:
    with sd_host.running() as host:
        bot = connect(host.url)
        host.set_faults({"kind": "restart"})
        with pytest.raises(UpstreamUnavailable):
            bot.text2image(**SMALL)
        assert bot.text2image(**SMALL).images
        host.stop()
        with pytest.raises(UpstreamUnavailable):
            bot.text2image(**SMALL)


def test_a_host_may_ask_for_a_password(connect: Connect) -> None:
    with sd_host.running(api_auth="me:s3cret") as host:
        address = host.url.replace("http://", "http://me:s3cret@")
        assert connect(address).text2image(**SMALL).images
        assert connect(host.url, auth=("me", "s3cret")).get_models()
        with pytest.raises(UpstreamUnavailable, match="password"):
            connect(host.url).text2image(**SMALL)


def test_a_fresh_host_has_no_hashes_before_it_loads_a_checkpoint(connect: Connect) -> None:
    with sd_host.running(hashed=False) as host:
        bot = connect(host.url)
        for model in bot.get_models():
            options = {"sd_model_checkpoint": model.model_name}
            drawing = bot.text2image(**SMALL, override_settings=options)
            assert drawing.checkpoint == model.model_name
            assert "checkpoint" not in drawing.unverified


# --- bare engines ---------------------------------------------------------------------------------


@pytest.mark.parametrize("info", ["json", "empty"])
def test_a_bare_engine_draws_what_it_can(info: str, connect: Connect) -> None:
    with sd_host.running(personality="sdcpp", sdcpp_info=info) as host:
        bot = connect(host.url)
        model = bot.get_models()[0]
        drawing = bot.text2image(
            prompt="a cat <lora:add_detail:0.7>",
            steps=2,
            width=100,
            height=64,
            batch_size=3,
            n_iter=3,
            sampler_name="Euler a",
            seed=4,
            override_settings={"sd_model_checkpoint": model.model_name},
        )
        assert [image.seed for image in drawing.images] == list(range(4, 13))
        assert (drawing.images[0].width, drawing.images[0].height) == (128, 64)
        expected = [] if info == "json" else ["checkpoint", "sampler", "seed"]
        assert drawing.unverified == expected
        assert bot.progress() is None
        assert bot.image2image(**SMALL, init_images=[CAT]).images
        refused: list[Callable[[], object]] = [
            bot.interrupt,
            bot.refresh_loras,
            bot.get_controlnet_version,
            lambda: bot.set_options({"CLIP_stop_at_last_layers": 2}),
            lambda: bot.text2image(**SMALL, styles=["anime"]),
        ]
        for ask in refused:
            with pytest.raises(NotSupported):
                ask()


def test_one_driver_serves_many_threads(bot: ArtBot) -> None:
    barrier = threading.Barrier(6)

    def draw(seed: int) -> int | None:
        barrier.wait(30)
        return bot.text2image(**SMALL, seed=seed).images[0].seed

    with ThreadPoolExecutor(6) as executor:
        assert list(executor.map(draw, range(6))) == list(range(6))
