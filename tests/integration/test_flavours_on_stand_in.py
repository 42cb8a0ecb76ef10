"""The driver over hosts that have the web UI's API and are not the web UI."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import httpx
import pytest
from PIL import Image

from dev import sd_host
from robotchat.art.bot import ArtBot, ArtConfig
from robotchat.art.checkpoints import CheckpointConfig
from robotchat.art.modules import MODULES
from robotchat.art.results import Drawing
from robotchat.drivers.fake import plain_png
from robotchat.drivers.hosts import host_driver
from robotchat.drivers.webui import WebUI
from robotchat.errors import (
    InvalidRequest,
    NotSupported,
    RobotchatError,
    UnknownCheckpoint,
    UnknownSampler,
    UpstreamBusy,
    UpstreamGarbage,
    UpstreamRejected,
    UpstreamUnavailable,
    WrongResult,
)
from robotchat.images import encode_base64
from robotchat.jobs.job import JobStatus
from robotchat.robot import Robot
from robotchat.settings import Settings

ALL = ("forge", "forge-neo", "sdnext", "koboldcpp", "drawthings")
FORGES = ("forge", "forge-neo")
NAMES = {
    "a1111": "",
    "forge": "Forge",
    "forge-neo": "Forge Neo",
    "sdnext": "SD.Next",
    "koboldcpp": "KoboldCpp",
    "drawthings": "Draw Things",
    "sdcpp": "sd-server",
}
FILES = ["ae.safetensors", "clip_l.safetensors", "t5xxl_fp8_e4m3fn.safetensors"]
SAMPLERS = {"drawthings": "DPM++ 2M Karras"}


@contextmanager
def over(
    personality: str, config: ArtConfig | None = None, **options: Any
) -> Iterator[tuple[ArtBot, sd_host.RunningHost]]:
    checkpoints = ("dreamshaper_8", "flux1-dev")
    given = {"personality": personality, "checkpoints": checkpoints, **options}
    with sd_host.running(**given) as host, WebUI(host.url) as webui:
        yield ArtBot(webui, config), host


@pytest.fixture(params=ALL)
def each(request: pytest.FixtureRequest) -> Iterator[tuple[ArtBot, sd_host.RunningHost, str]]:
    with over(request.param) as (bot, host):
        yield bot, host, request.param


def small(bot: ArtBot, **fields: Any) -> Drawing:
    return bot.text2image(**{"prompt": "a cat", "steps": 2, "width": 128, "height": 128, **fields})


@pytest.mark.parametrize("personality", NAMES)
def test_it_is_known_for_what_it_is(personality: str) -> None:
    with over(personality) as (bot, host):
        assert bot.driver.capabilities().flavour == NAMES[personality]
        assert {seen["method"] for seen in host.requests()} == {"GET"}
        assert len(host.requests()) <= 8


def test_words_and_an_image_become_images(
    each: tuple[ArtBot, sd_host.RunningHost, str],
) -> None:
    bot, _, personality = each
    drawing = small(bot, seed=7, sampler_name=SAMPLERS.get(personality, "Euler a"))
    assert [(one.width, one.height, one.seed) for one in drawing.images] == [(128, 128, 7)]
    told = personality not in ("koboldcpp", "drawthings")
    assert (drawing.checkpoint == "dreamshaper_8") is told
    assert ("sampler" in drawing.unverified) is not told
    again = small(bot, seed=7, sampler_name=SAMPLERS.get(personality, "Euler a"))
    assert again.images[0].data == drawing.images[0].data
    source = plain_png(200, 100)
    edited = bot.image2image(
        init_images=[source], prompt="blue", steps=1, width=128, height=128, seed=7
    )
    assert [(one.width, one.height) for one in edited.images] == [(128, 128)]


def test_what_is_not_said_is_as_promised(each: tuple[ArtBot, sd_host.RunningHost, str]) -> None:
    bot, host, personality = each
    drawing = bot.text2image(prompt="a cat", seed=3)
    assert [(one.width, one.height) for one in drawing.images] == [(512, 512)]
    sent = host.requests("txt2img")[-1]["body"]
    cfg = sent["guidance_scale" if personality == "drawthings" else "cfg_scale"]
    assert (sent["width"], sent["height"], sent["steps"], cfg) == (512, 512, 50, 7.0)
    bot.image2image(init_images=[plain_png(64, 64)], prompt="blue", width=128, height=128)
    sent = host.requests("img2img")[-1]["body"]
    assert sent["strength" if personality == "drawthings" else "denoising_strength"] == 0.75


def test_a_batch_has_seeds_in_order(each: tuple[ArtBot, sd_host.RunningHost, str]) -> None:
    bot, _, _ = each
    together = small(bot, seed=5, batch_size=2, n_iter=2)
    assert [one.seed for one in together.images] == [5, 6, 7, 8]
    alone = small(bot, seed=7)
    assert pixels(together.images[2].data) == pixels(alone.images[0].data)


def pixels(data: bytes) -> bytes:
    return Image.open(io.BytesIO(data)).convert("RGB").tobytes()


def test_a_mask(each: tuple[ArtBot, sd_host.RunningHost, str]) -> None:
    bot, host, personality = each
    source, mask = plain_png(128, 128), plain_png(128, 128)
    fields: dict[str, Any] = {"init_images": [source], "mask": mask, "prompt": "blue", "steps": 1}
    if personality == "drawthings":
        with pytest.raises(NotSupported) as refused:
            bot.image2image(**fields, width=128, height=128)
        assert refused.value.param == "mask"
        return
    drawing = bot.image2image(**fields, width=128, height=128, mask_blur=4)
    assert [(one.width, one.height) for one in drawing.images] == [(128, 128)]
    if personality != "koboldcpp":
        assert host.requests("img2img")[-1]["body"].get("inpaint_full_res", True) is True


def test_garbage_is_told(each: tuple[ArtBot, sd_host.RunningHost, str]) -> None:
    bot, host, _ = each
    small(bot)
    for what in ("html", "not_object", "no_images", "not_image"):
        host.set_faults({"kind": "garbage", "what": what, "path": "*txt2img"})
        with pytest.raises(UpstreamGarbage):
            small(bot)
    host.set_faults({"kind": "wrong_size"})
    with pytest.raises(WrongResult):
        small(bot)


def test_another_checkpoint_than_was_asked_for(
    each: tuple[ArtBot, sd_host.RunningHost, str],
) -> None:
    bot, host, personality = each
    if personality in ("koboldcpp", "drawthings"):
        return  # they do not tell
    host.set_faults({"kind": "wrong_model"})
    expected: tuple[type[RobotchatError], ...] = (WrongResult, UpstreamRejected)
    with pytest.raises(expected):  # Forge cannot even draw with the other, which is Flux
        small(bot, override_settings={"sd_model_checkpoint": "dreamshaper_8"})


def test_a_name_that_it_does_not_have(each: tuple[ArtBot, sd_host.RunningHost, str]) -> None:
    bot, _, _ = each
    with pytest.raises(UnknownCheckpoint):
        small(bot, override_settings={"sd_model_checkpoint": "no such model"})
    with pytest.raises(UnknownSampler):
        small(bot, sampler_name="no such sampler")


def test_what_it_would_ignore_is_refused_by_name(
    each: tuple[ArtBot, sd_host.RunningHost, str],
) -> None:
    bot, _, personality = each
    ignored = {
        "sdnext": ("enable_hr", "refiner_checkpoint", "restore_faces", "scheduler"),
        "koboldcpp": ("enable_hr", "styles", "tiling", "subseed_strength"),
        "drawthings": ("enable_hr", "styles", "tiling", "subseed_strength"),
    }.get(personality, ())
    values = {
        "enable_hr": True,
        "styles": ["Night"],
        "subseed_strength": 0.5,
        "scheduler": "Karras",
        "refiner_checkpoint": "flux1-dev",
    }
    for name in ignored:
        with pytest.raises(NotSupported) as refused:
            small(bot, **{name: values.get(name, True)})
        assert refused.value.param == name
    if personality in ("koboldcpp", "drawthings"):
        with pytest.raises(NotSupported) as refused:
            small(bot, prompt="a cat <lora:add_detail:1>")
        assert refused.value.param == "prompt"
        with pytest.raises(NotSupported) as refused:
            small(bot, cfg_scale=51)
        assert refused.value.param == "cfg_scale"


def test_it_is_stopped(each: tuple[ArtBot, sd_host.RunningHost, str]) -> None:
    bot, host, _ = each
    if not bot.driver.capabilities().interrupt:
        with pytest.raises(NotSupported):
            bot.interrupt()
        return
    host.hold()
    ends: list[Drawing | RobotchatError] = []

    def draw() -> None:
        try:
            ends.append(small(bot, width=256, height=256, batch_size=2, steps=4))
        except RobotchatError as error:
            ends.append(error)

    thread = threading.Thread(target=draw)
    thread.start()
    host.wait_for(paused=1)
    progress = bot.progress()
    assert progress is not None
    assert not progress.idle
    bot.interrupt()
    thread.join()
    assert isinstance(ends[0], Drawing)
    assert len(ends[0].images) in (1, 2)


def test_a_host_that_dies_is_unavailable_and_comes_back(
    each: tuple[ArtBot, sd_host.RunningHost, str],
) -> None:
    bot, host, _ = each
    host.set_faults({"kind": "restart"})
    with pytest.raises(UpstreamUnavailable):
        small(bot)
    assert small(bot).images


@pytest.mark.parametrize("personality", ALL)
def test_a_conversation_draws_and_changes_images(personality: str) -> None:
    with sd_host.running(personality=personality) as host:
        driver = host_driver(host.url)
        robot = Robot(art=driver, settings=Settings(retry_base=0.001))
        beach = robot.chat_text2image("I want to see a photo of a beach", steps=2)
        sunset = robot.chat_text2image("at sunset", beach.conversation_id)
        source = encode_base64(plain_png(300, 200))
        blue = robot.chat_image2image("make it blue", source, steps=2)
        night = robot.chat_image2image("and at night", conversation_id=blue.conversation_id)
        for job in (beach, sunset, blue, night):
            assert (job.status, job.error) == (JobStatus.SUCCEEDED, None)
        cast(Any, driver).close()


# Forge


@pytest.mark.parametrize("personality", FORGES)
def test_modules_are_named_checked_and_not_inherited(personality: str) -> None:
    with over(personality) as (bot, host):
        flux = {"sd_model_checkpoint": "flux1-dev"}
        with pytest.raises(UpstreamRejected) as refused:
            small(bot, override_settings=flux, cfg_scale=1)
        assert refused.value.param == f"override_settings.{MODULES}"
        named = {**flux, MODULES: ["AE", "clip_l", "/srv/x/t5xxl_fp8_e4m3fn.safetensors"]}
        drawing = small(bot, override_settings=named, cfg_scale=1, distilled_cfg_scale=3)
        assert "Module 1: ae" in drawing.images[0].infotext
        sent = host.requests("txt2img")[-1]["body"]
        assert sent["override_settings"][MODULES] == FILES
        assert sent["distilled_cfg_scale"] == 3
        assert bot.get_options()[MODULES] == []
        with pytest.raises(UpstreamRejected):
            small(bot, override_settings=flux, cfg_scale=1)
        with pytest.raises(InvalidRequest) as unknown:
            small(bot, override_settings={**flux, MODULES: ["ae", "nothing"]})
        assert unknown.value.param == f"override_settings.{MODULES}"
        assert [one.model_name for one in bot.get_modules()][1:] == FILES


def test_a_vae_is_a_module_of_forge() -> None:
    with over("forge") as (bot, _):
        assert [one.model_name for one in bot.get_vaes()] == [
            "vae-ft-mse-840000-ema-pruned.safetensors",
            "ae.safetensors",
        ]
        drawing = small(bot, override_settings={"sd_vae": "vae-ft-mse-840000-ema-pruned"})
        assert "Module 1: vae-ft-mse-840000-ema-pruned" in drawing.images[0].infotext
        plain = small(bot, override_settings={"sd_vae": "Automatic"})
        assert "Module 1" not in plain.images[0].infotext
        with pytest.raises(InvalidRequest):
            small(bot, override_settings={"sd_vae": "clip_l"})


def test_a_host_that_drew_with_other_modules_is_found_out() -> None:
    class Dropping(httpx.BaseTransport):
        """Between us and Forge: it loses a module on the way."""

        def __init__(self) -> None:
            self._to = httpx.HTTPTransport()

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            body = request.read().replace(b'"clip_l.safetensors"', b'"gone.safetensors"')
            if request.url.path.endswith("txt2img"):
                headers = {"content-type": "application/json"}
                request = httpx.Request("POST", request.url, content=body, headers=headers)
            return self._to.handle_request(request)

        def close(self) -> None:
            self._to.close()

    with (
        sd_host.running(personality="forge") as host,
        WebUI(host.url, transport=Dropping()) as web,
        pytest.raises(WrongResult, match="modules"),
    ):
        small(ArtBot(web), override_settings={MODULES: ["ae", "clip_l"]})


@pytest.mark.parametrize("personality", FORGES)
def test_a_checkpoint_is_drawn_with_what_is_configured_for_it(personality: str) -> None:
    said = CheckpointConfig(
        name="flux1-dev",
        modules=["ae", "clip_l", "t5xxl_fp8_e4m3fn"],
        scheduler="Simple",
        sampler_name="Euler",
        steps=3,
        cfg_scale=1,
        distilled_cfg_scale=3,
    )
    with over(personality, ArtConfig(checkpoints=(said,))) as (bot, host):
        flux = {"sd_model_checkpoint": "flux1-dev"}
        bot.text2image(prompt="a cat", width=128, height=128, override_settings=flux)
        sent = host.requests("txt2img")[-1]["body"]
        assert (sent["steps"], sent["cfg_scale"], sent["distilled_cfg_scale"]) == (3, 1, 3)
        assert (sent["sampler_name"], sent["scheduler"]) == ("Euler", "Simple")
        assert sent["override_settings"][MODULES] == FILES
        small(bot, override_settings=flux, cfg_scale=2, sampler_name="DPM++ 2M")
        sent = host.requests("txt2img")[-1]["body"]
        assert (sent["steps"], sent["cfg_scale"], sent["sampler_name"]) == (2, 2, "DPM++ 2M")
        assert "scheduler" not in sent
        small(bot)
        assert "distilled_cfg_scale" not in host.requests("txt2img")[-1]["body"]


def test_what_is_configured_does_not_ask_for_what_a_host_ignores() -> None:
    said = CheckpointConfig(name="dreamshaper_8", modules=["ae"], scheduler="Simple", steps=3)
    config = ArtConfig(checkpoints=(said,), checkpoint="dreamshaper_8")
    for personality in ("a1111", "sdnext"):
        with over(personality, config) as (bot, host):
            bot.text2image(prompt="a cat", width=128, height=128)
            sent = host.requests("txt2img")[-1]["body"]
            assert sent["steps"] == 3
            assert MODULES not in sent["override_settings"]
            assert ("scheduler" in sent) is (personality == "a1111")


def test_hires_on_forge() -> None:
    with over("forge") as (bot, host):
        drawing = small(bot, enable_hr=True, hr_scale=2, denoising_strength=0.5, cfg_scale=5)
        assert [(one.width, one.height) for one in drawing.images] == [(256, 256)]
        sent = host.requests("txt2img")[-1]["body"]
        assert (sent["hr_cfg"], sent["hr_additional_modules"]) == (5, ["Use same choices"])


@pytest.mark.parametrize("personality", FORGES)
def test_controlnet_is_built_into_forge(personality: str) -> None:
    with over(personality) as (bot, _):
        unit = {"module": "canny", "model": "control_v11p_sd15_canny", "enabled": True}
        image = encode_base64(plain_png(64, 64))
        for form in ({"image": image}, {"input_image": image}, {"image": {"image": image}}):
            units = {"controlnet": {"args": [{**unit, **form}, {"module": "canny"}]}}
            drawing = small(bot, alwayson_scripts=units)
            assert len(drawing.extra_images) == 1


# SD.Next


def test_sdnexts_quiet_answers_and_odd_lists() -> None:
    with over("sdnext") as (bot, _):
        bot.refresh_models()
        bot.skip()
        bot.interrupt()
        assert bot.get_embeddings().loaded == {"EasyNegative": {}}
        assert [one.label for one in bot.get_schedulers()] == ["Automatic"]
        assert small(bot, sampler_name="euler A", scheduler="Automatic").images
        with pytest.raises(UnknownSampler) as unknown:
            small(bot, sampler_name="DPM++ 2M Karras")
        assert "DPM++ 2M" in unknown.value.details["near_matches"]


def test_an_image_lost_to_the_rate_limit_is_no_dead_host() -> None:
    with over("sdnext", rate_limit=5) as (bot, host):
        small(bot)
        with pytest.raises(UpstreamBusy) as busy:
            small(bot)
        assert busy.value.retry_after
        drawn = host.stats()["generations_finished"]
        with pytest.raises(UpstreamBusy):
            small(bot)
        assert host.stats()["generations_finished"] == drawn  # not drawn for nothing again


def test_sdnext_fits_an_image_as_the_web_ui_does() -> None:
    with over("sdnext") as (bot, host):
        for mode in (0, 1, 2):
            fields: dict[str, Any] = {"prompt": "blue", "steps": 1, "width": 128, "height": 128}
            bot.image2image(init_images=[plain_png(200, 100)], resize_mode=mode, **fields)
            assert host.requests("img2img")[-1]["body"]["resize_mode"] == mode + 1
        with pytest.raises(NotSupported) as refused:
            bot.image2image(init_images=[plain_png(64, 64)], resize_mode=3)
        assert refused.value.param == "resize_mode"


def test_options_are_put_back_on_sdnext() -> None:
    with over("sdnext") as (bot, _):
        small(bot, override_settings={"eta_noise_seed_delta": 31337})
        assert bot.get_options()["eta_noise_seed_delta"] == 0


def test_sdnext_stopped_before_it_shows_anything() -> None:
    with over("sdnext") as (bot, host):
        bot.set_options({"live_previews_enable": False})
        host.hold()
        ends: list[RobotchatError] = []

        def draw() -> None:
            with pytest.raises(UpstreamUnavailable) as stopped:
                small(bot)
            ends.append(stopped.value)

        thread = threading.Thread(target=draw)
        thread.start()
        host.wait_for(paused=1)
        bot.interrupt()
        thread.join()
        assert ends[0].details["interrupted"] is True


# sd-server


def test_the_second_pass_of_a_newer_sd_server() -> None:
    hires = {"enable_hr": True, "denoising_strength": 0.5, "width": 65, "height": 128}
    with over("sdcpp", sdcpp_hires=True) as (bot, host):
        for more, size in (
            ({"hr_scale": 2.0}, (192, 256)),
            ({"hr_resize_x": 192}, (192, 384)),
            ({"hr_resize_x": 128, "hr_resize_y": 320}, (128, 320)),
        ):
            (image,) = small(bot, **hires, **more, hr_second_pass_steps=3).images
            assert (image.width, image.height) == size
        sent = host.requests("txt2img")[-1]["body"]
        assert (sent["hr_upscaler"], sent["hr_steps"]) == ("Latent", 3)
        with pytest.raises(NotSupported) as refused:
            small(bot, **hires, hr_prompt="a dog")
        assert refused.value.param == "hr_prompt"
    with over("sdcpp") as (bot, _), pytest.raises(NotSupported) as refused:
        small(bot, **hires)
    assert refused.value.param == "enable_hr"


# KoboldCpp


@pytest.mark.parametrize("step", [8, 16, 64])
def test_koboldcpps_sizes(step: int) -> None:
    with over("koboldcpp", size_step=step) as (bot, _):
        (image,) = small(bot, width=504, height=504).images
        assert (image.width, image.height) == (504 // step * step,) * 2


def test_one_image_a_call() -> None:
    with over("koboldcpp") as (bot, host):
        small(bot, seed=5, batch_size=3, negative_prompt="dogs", scheduler="karras")
        sent = [request["body"] for request in host.requests("txt2img")]
        assert [body["seed"] for body in sent] == [5, 6, 7]
        assert {body["scheduler"] for body in sent} == {"karras"}
        assert "batch_size" not in sent[0]


def test_a_drawing_that_failed_with_200() -> None:
    with over("koboldcpp") as (bot, host):
        host.set_faults({"kind": "error"})
        with pytest.raises(UpstreamRejected):  # it draws what every host can
            small(bot)
        host.set_faults({"kind": "error", "times": 2})
        with pytest.raises(UpstreamUnavailable):
            small(bot)


def test_a_full_queue_is_busy() -> None:
    with over("koboldcpp", queue=0) as (bot, host):
        small(bot)
        host.hold()
        thread = threading.Thread(target=small, args=(bot,))
        thread.start()
        host.wait_for(paused=1)
        with pytest.raises(UpstreamBusy):
            small(bot)
        host.release()
        thread.join()


# Draw Things


def test_the_app_is_told_everything_and_nothing_else() -> None:
    with over("drawthings") as (bot, host):
        assert [model.title for model in bot.get_models()] == ["dreamshaper_8.safetensors"]
        drawing = small(bot, sampler_name="DPM++ 2M", scheduler="Karras", distilled_cfg_scale=2)
        assert {"seed", "sampler", "checkpoint"} & set(drawing.unverified)
        sent = host.requests("txt2img")[-1]["body"]
        assert (sent["sampler"], sent["guidance_embed"]) == ("DPM++ 2M Karras", 2)
        assert (sent["batch_size"], sent["batch_count"], sent["hires_fix"]) == (1, 1, False)
        small(bot, override_settings={"sd_model_checkpoint": "flux1-dev.safetensors"})
        assert host.requests("txt2img")[-1]["body"]["model"] == "flux1-dev.safetensors"
        (image,) = small(bot, width=200, height=130).images
        assert (image.width, image.height) == (192, 128)
