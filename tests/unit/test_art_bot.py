"""ArtBot over a scripted host."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from robotchat.art.bot import ArtBot, ArtConfig
from robotchat.art.capabilities import Capabilities
from robotchat.art.requests import Image2ImageRequest, Text2ImageRequest
from robotchat.art.results import Drawing
from robotchat.drivers.fake import FakeArt, plain_png
from robotchat.errors import (
    ForbiddenOption,
    InvalidImage,
    InvalidRequest,
    NotSupported,
    UnknownCheckpoint,
    UnknownSampler,
    UpstreamGarbage,
    UpstreamTimeout,
    UpstreamUnavailable,
    WrongResult,
)
from robotchat.images import encode_base64

SOURCE = encode_base64(plain_png(64, 64))


def test_words_become_an_image() -> None:
    host = FakeArt()
    drawing = ArtBot(host).text2image(prompt="a beach", width=64, height=64)
    (image,) = drawing.images
    assert (image.content_type, image.width, image.height) == ("image/png", 64, 64)
    assert image.seed == host.requests[0]["seed"]
    assert image.infotext.startswith("a beach")
    assert drawing.unverified == []
    assert host.calls == []


def test_an_image_and_words_become_an_image() -> None:
    host = FakeArt()
    source = plain_png(64, 64)
    ArtBot(host).image2image(init_images=[source], prompt="blue")
    assert host.requests[0]["init_images"] == [encode_base64(source)]


def test_a_request_or_its_fields_but_not_both() -> None:
    bot = ArtBot(FakeArt())
    assert bot.text2image(Text2ImageRequest(prompt="a", width=64)).images[0].width == 64
    with pytest.raises(TypeError):
        bot.text2image(Text2ImageRequest(), prompt="a")
    with pytest.raises(InvalidRequest):
        bot.text2image(width=1)
    with pytest.raises(InvalidImage):
        bot.image2image(Image2ImageRequest(init_images=["cat.png"]))


def test_names_are_resolved_against_the_hosts_lists_once() -> None:
    host = FakeArt(checkpoints=("one.safetensors", "two.safetensors"))
    bot = ArtBot(host)
    for _ in range(2):
        drawing = bot.text2image(
            prompt="a",
            sampler_name="dpm++ 2m karras",
            override_settings={"sd_model_checkpoint": "TWO"},
        )
        assert drawing.checkpoint == "two"
    assert sorted(host.calls) == ["sdapi/v1/samplers", "sdapi/v1/schedulers", "sdapi/v1/sd-models"]
    sent = host.requests[1]
    assert (sent["sampler_name"], sent["scheduler"]) == ("DPM++ 2M", "Karras")
    assert sent["override_settings"] == {"sd_model_checkpoint": "two.safetensors"}
    assert sent["override_settings_restore_afterwards"] is False


def test_a_checkpoint_that_is_not_in_the_remembered_list_is_looked_up_anew() -> None:
    host = FakeArt()
    bot = ArtBot(host)
    bot.text2image(prompt="a", override_settings={"sd_model_checkpoint": "fake"})
    with pytest.raises(UnknownCheckpoint):
        bot.text2image(prompt="a", override_settings={"sd_model_checkpoint": "new"})
    host.answers["sdapi/v1/sd-models"] = FakeArt(checkpoints=("new.ckpt",)).answers[
        "sdapi/v1/sd-models"
    ]
    drawing = bot.text2image(prompt="a", override_settings={"sd_model_checkpoint": "new"})
    assert drawing.checkpoint == "new"


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"sampler_name": "Foo"}, UnknownSampler),
        ({"override_settings": {"outdir_samples": "x"}}, ForbiddenOption),
    ],
)
def test_nothing_is_sent_that_a_host_would_get_wrong(
    fields: dict[str, Any], error: type[Exception]
) -> None:
    host = FakeArt()
    with pytest.raises(error):
        ArtBot(host).text2image(**fields)
    assert host.requests == []


def test_an_older_host_without_a_list_of_schedules_is_no_obstacle() -> None:
    host = FakeArt()
    del host.answers["sdapi/v1/schedulers"]
    ArtBot(host).text2image(sampler_name="Euler a")
    assert host.requests[0]["sampler_name"] == "Euler a"


def test_another_image_than_was_asked_for_is_an_error() -> None:
    host = FakeArt(checkpoints=("one.safetensors", "two.safetensors"))
    host.enqueue([lambda body: host.drawn({**body, "override_settings": {}})])
    with pytest.raises(WrongResult, match="another checkpoint"):
        ArtBot(host).text2image(override_settings={"sd_model_checkpoint": "two"})


def test_what_a_host_does_wrong_is_passed_on() -> None:
    host = FakeArt([UpstreamTimeout("slow"), {"images": "rubbish"}])
    bot = ArtBot(host)
    with pytest.raises(UpstreamTimeout):
        bot.text2image(prompt="a")
    with pytest.raises(UpstreamGarbage):
        bot.text2image(prompt="a")


def test_a_host_that_rounds_up_is_believed_when_it_does() -> None:
    host = FakeArt(capabilities=Capabilities(size_step=64, rounds_up=True))
    host.enqueue([lambda body: host.drawn({**body, "width": 128, "height": 128})])
    drawing = ArtBot(host).text2image(width=100, height=70)
    assert drawing.images[0].width == 128


def test_the_configuration_is_applied_and_can_be_changed() -> None:
    host = FakeArt(checkpoints=("one.safetensors", "two.safetensors"))
    bot = ArtBot(host, ArtConfig(checkpoint="two"))
    assert bot.text2image().checkpoint == "two"
    bot.set_config({"allowed_options": ["sd_vae"], "allowed_scripts": ["X/Y/Z plot"]})
    assert bot.get_config().checkpoint is None
    with pytest.raises(ForbiddenOption):
        bot.text2image(override_settings={"CLIP_stop_at_last_layers": 2})
    bot.text2image(script_name="x/y/z plot", override_settings={"sd_vae": "None"})


def test_controlnet_is_checked_against_the_hosts_lists() -> None:
    host = FakeArt()
    bot = ArtBot(host)

    def unit(**fields: Any) -> dict[str, Any]:
        return {"controlnet": {"args": [{"enabled": True, "image": SOURCE, **fields}]}}

    bot.text2image(alwayson_scripts=unit(model="Canny", module="canny"))
    (sent,) = host.requests[0]["alwayson_scripts"]["controlnet"]["args"]
    named = {"model": "canny [d14c016b]", "module": "canny"}
    assert sent == {"enabled": True, "image": SOURCE, **named}
    with pytest.raises(InvalidRequest):
        bot.text2image(alwayson_scripts=unit(model="depth"))
    del host.answers["controlnet/model_list"]
    with pytest.raises(NotSupported):
        ArtBot(host).text2image(alwayson_scripts=unit(model="canny"))
    assert len(host.requests) == 1


def test_what_a_host_was_restarted_with_is_found_out_at_once() -> None:
    host = FakeArt()
    bot = ArtBot(host)
    fields = {"enabled": True, "model": "canny", "module": "canny", "image": SOURCE}
    scripts = {"controlnet": {"args": [fields]}}
    host.able = Capabilities(controlnet=False)
    bot.text2image(prompt="a")
    bot._forget(older_than=-60)  # as if a while had gone by
    with pytest.raises(NotSupported):
        bot.text2image(alwayson_scripts=scripts)
    host.able = Capabilities()
    assert bot._forget()
    bot.text2image(alwayson_scripts=scripts)


def test_the_same_question_is_not_asked_again_for_every_refusal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("robotchat.art.bot.FRESH", 60.0)
    host = FakeArt()
    bot = ArtBot(host)
    for _ in range(3):
        with pytest.raises(UnknownSampler):
            bot.text2image(sampler_name="Foo")
    assert host.calls.count("sdapi/v1/samplers") == 1


# --- questions ------------------------------------------------------------------------------------


def test_a_host_is_asked_about_itself() -> None:
    host = FakeArt()
    bot = ArtBot(host)
    host.answers |= {
        "sdapi/v1/loras": [{"name": "ink", "alias": "ink", "path": "/l/ink.pt", "metadata": {}}],
        "sdapi/v1/sd-vae": [{"model_name": "vae", "filename": "/v/vae.pt"}],
        "sdapi/v1/embeddings": {"loaded": {"bad": {"step": None}}, "skipped": {}},
        "sdapi/v1/prompt-styles": [{"name": "anime", "prompt": None, "negative_prompt": None}],
        "sdapi/v1/scripts": {"txt2img": ["x/y/z plot"], "img2img": []},
        "sdapi/v1/script-info": [{"name": "x/y/z plot", "is_alwayson": False, "args": []}],
        "sdapi/v1/cmd-flags": {"listen": True},
        "sdapi/v1/memory": {"ram": {"free": 1}, "cuda": {}},
        "sdapi/v1/png-info": {"info": "a", "items": {}, "parameters": {"Steps": "20"}},
        "sdapi/v1/interrogate": {"caption": "a cat"},
        "sdapi/v1/extra-single-image": {"html_info": "", "image": "x"},
        "sdapi/v1/refresh-checkpoints": None,
        "controlnet/control_types": {"control_types": {"Canny": {"default_model": "canny"}}},
        "controlnet/settings": {"control_net_unit_count": 4},
        "controlnet/detect": {"info": "Success", "images": ["x"]},
    }
    assert [model.title for model in bot.get_models()] == ["fake.safetensors"]
    assert bot.get_samplers()[1].name == "Euler a"
    assert bot.get_schedulers()[1].label == "Karras"
    assert bot.get_upscalers()[1].name == "Lanczos"
    assert bot.get_loras()[0].path == "/l/ink.pt"
    assert bot.get_vaes()[0].model_name == "vae"
    assert list(bot.get_embeddings().loaded) == ["bad"]
    assert bot.get_prompt_styles()[0].name == "anime"
    assert bot.get_scripts().txt2img == ["x/y/z plot"]
    assert bot.get_script_info()[0].name == "x/y/z plot"
    assert bot.get_cmd_flags() == {"listen": True}
    assert bot.get_memory()["ram"] == {"free": 1}
    assert bot.png_info("x").parameters == {"Steps": "20"}
    assert bot.interrogate("x") == "a cat"
    host.answers["sdapi/v1/interrogate"] = {"caption": "<error>"}
    with pytest.raises(WrongResult):
        bot.interrogate("x")
    assert bot.upscale({"image": "x"})["image"] == "x"
    assert bot.get_controlnet_models(update=True) == ["canny [d14c016b]"]
    assert bot.get_controlnet_modules(alias_names=True).module_list == ["none", "canny"]
    assert bot.get_controlnet_control_types()["Canny"].default_model == "canny"
    assert bot.get_controlnet_version() == 3
    assert bot.get_controlnet_settings().control_net_unit_count == 4
    assert bot.detect_controlnet(controlnet_module="canny").images == ["x"]
    bot.refresh_loras()
    bot.refresh_models()
    assert host.calls[-2:] == ["sdapi/v1/refresh-loras", "sdapi/v1/refresh-checkpoints"]


def test_an_answer_of_another_shape_is_garbage() -> None:
    host = FakeArt()
    bot = ArtBot(host)
    host.answers["sdapi/v1/samplers"] = {"samplers": []}
    host.answers["controlnet/version"] = {"version": "three"}
    with pytest.raises(UpstreamGarbage):
        bot.get_samplers()
    with pytest.raises(UpstreamGarbage):
        bot.get_controlnet_version()


def test_what_a_host_does_not_have_is_said_so() -> None:
    bot = ArtBot(FakeArt(capabilities=Capabilities(progress=False, interrupt=False)))
    assert bot.progress() is None
    for ask in (bot.interrupt, bot.skip, bot.get_memory, bot.get_controlnet_settings):
        with pytest.raises(NotSupported):
            ask()


def test_progress_and_interrupt_reach_the_host() -> None:
    host = FakeArt()
    bot = ArtBot(host)
    progress = bot.progress(preview=True)
    assert progress is not None
    assert progress.idle
    bot.interrupt()
    assert host.interrupted.is_set()


def test_a_checkpoint_set_as_an_option_must_have_been_loaded() -> None:
    host = FakeArt(checkpoints=("one.safetensors", "two.safetensors"))
    bot = ArtBot(host)
    assert bot.get_options()["sd_model_checkpoint"] == "one.safetensors"
    bot.set_options({"CLIP_stop_at_last_layers": 2})
    bot.set_options({"sd_model_checkpoint": "one"})
    with pytest.raises(WrongResult, match="could not load"):
        bot.set_options({"sd_model_checkpoint": "two"})
    with pytest.raises(UnknownCheckpoint):
        bot.set_options({"sd_model_checkpoint": "three"})
    host.answers["sdapi/v1/options"] = {"sd_model_checkpoint": "gone"}
    with pytest.raises(UpstreamGarbage):
        bot.set_options({"sd_model_checkpoint": "two"})


# --- batches that fall short ----------------------------------------------------------------------


def cut(count: int, broken: int | None = None) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A host that draws a batch in part."""

    def script(body: dict[str, Any]) -> dict[str, Any]:
        answer = FakeArt().drawn(body)
        answer["images"] = answer["images"][:count]
        if broken is not None:
            answer["images"][broken] = encode_base64(b"no picture")
        return answer

    return script


def batch(host: FakeArt) -> Drawing:
    return ArtBot(host).text2image(prompt="a", width=64, height=64, seed=7, batch_size=2, n_iter=2)


@pytest.mark.parametrize(("script", "redrawn"), [(cut(3), [10]), (cut(4, broken=1), [8])])
def test_only_what_is_missing_of_a_batch_is_drawn_again(
    script: Callable[[dict[str, Any]], dict[str, Any]], redrawn: list[int]
) -> None:
    host = FakeArt([script])
    drawing = batch(host)
    assert [image.seed for image in drawing.images] == [7, 8, 9, 10]
    assert drawing.missing == []
    again = [(sent["seed"], sent["batch_size"], sent["n_iter"]) for sent in host.requests[1:]]
    assert again == [(seed, 1, 1) for seed in redrawn]
    whole = batch(FakeArt())
    assert [one.data for one in drawing.images] == [one.data for one in whole.images]
    assert len(json.loads(drawing.info_text)["infotexts"]) == 4


def test_what_came_of_a_batch_is_kept_when_the_rest_does_not() -> None:
    host = FakeArt([cut(2), UpstreamUnavailable("out of memory")])
    drawing = batch(host)
    assert [image.seed for image in drawing.images] == [7, 8]
    assert [(one.index, one.seed) for one in drawing.missing] == [(2, 9), (3, 10)]
    assert len(host.requests) == 2, "a host that has failed is not asked for each of them"
    with pytest.raises(WrongResult):
        batch(FakeArt([cut(0)]))
