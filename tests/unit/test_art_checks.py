"""What is refused before anything is queued."""

from __future__ import annotations

from typing import Any

import pytest

from robotchat.art.answers import Model, Sampler, Scheduler, Scripts, Upscaler
from robotchat.art.checks import check, check_options
from robotchat.art.requests import Image2ImageRequest, Text2ImageRequest
from robotchat.errors import (
    ForbiddenOption,
    InvalidRequest,
    RobotchatError,
    UnknownCheckpoint,
    UnknownSampler,
    UnknownScript,
)

KNOWN: dict[str, Any] = {
    "models": [Model(title="a.safetensors [0123456789]", model_name="a", hash="0123456789")],
    "samplers": [Sampler(name="DPM++ 2M"), Sampler(name="Euler a", aliases=["k_euler_a"])],
    "schedulers": [Scheduler(name="karras", label="Karras")],
    "upscalers": [Upscaler(name="Lanczos")],
    "vaes": ["vae-ft.pt"],
    "styles": ["Night"],
    "scripts": Scripts(txt2img=["x/y/z plot"], img2img=["x/y/z plot", "sd upscale"]),
    "controlnet_models": ["control_canny [d14c016b]"],
    "controlnet_modules": ["none", "canny"],
    "allowed_scripts": {"X/Y/Z plot", "SD upscale", "Dynamic Prompts"},
}


def units(*many: dict[str, Any]) -> dict[str, Any]:
    return {"alwayson_scripts": {"ControlNet": {"args": list(many)}}}


def test_names_become_those_of_the_hosts() -> None:
    request = Text2ImageRequest.parse(
        {
            "sampler_name": "dpm++ 2m karras",
            "scheduler": "exponential",
            "styles": ["NIGHT", "unknown"],
            "enable_hr": True,
            "hr_upscaler": "LANCZOS",
            "hr_sampler_name": "k_euler_a",
            "hr_checkpoint_name": "A",
            "refiner_checkpoint": "0123456789",
            "override_settings": {"sd_model_checkpoint": "a", "sd_vae": "VAE-FT.pt"},
        }
    )
    checked = check(request, **KNOWN)
    assert (checked.styles, checked.hr_upscaler) == (["Night", "unknown"], "Lanczos")
    assert (checked.sampler_name, checked.scheduler) == ("DPM++ 2M", "Karras")
    assert checked.hr_sampler_name == "Euler a"
    options = {"sd_model_checkpoint": "a.safetensors", "sd_vae": "vae-ft.pt"}
    assert checked.override_settings == options
    assert checked.hr_checkpoint_name == checked.refiner_checkpoint == "a.safetensors"


def test_the_older_name_of_the_sampler_counts_when_the_newer_is_not_given() -> None:
    assert check(Text2ImageRequest(sampler_index="k_euler_a"), **KNOWN).sampler_name == "Euler a"
    both = Text2ImageRequest(sampler_index="nonsense", sampler_name="Euler a")
    assert check(both, **KNOWN).sampler_name == "Euler a"
    assert check(Text2ImageRequest(), **KNOWN).body() == {}


def test_what_is_not_known_is_left_to_the_host() -> None:
    request = Text2ImageRequest.parse(
        {
            "sampler_name": "Foo",
            "scheduler": "Bar",
            "enable_hr": True,
            "hr_upscaler": "Baz",
            "override_settings": {"sd_model_checkpoint": "x"},
            **units({"enabled": True, "model": "m", "module": "n", "image": "aGk="}),
        }
    )
    assert check(request).body() == request.body()


def test_special_names_mean_what_they_say() -> None:
    fields = {
        "hr_checkpoint_name": "Use same checkpoint",
        "hr_sampler_name": "Use same sampler",
        "hr_scheduler": "Use same scheduler",
        "refiner_checkpoint": "None",
        "hr_upscaler": "Latent (nearest)",
        "enable_hr": True,
        "script_name": "None",
        "denoising_strength": 0.5,
    }
    for given, meant in (
        ("latent (NEAREST)", "Latent (nearest)"),
        ("Latent (a fork's)", "Latent (a fork's)"),
    ):
        hires = Text2ImageRequest(enable_hr=True, hr_upscaler=given)
        assert check(hires, **KNOWN).hr_upscaler == meant
    assert check(Text2ImageRequest.parse(fields), **KNOWN).body() == fields


@pytest.mark.parametrize(
    ("fields", "error", "param"),
    [
        ({"sampler_name": "Foo"}, UnknownSampler, "sampler_name"),
        ({"scheduler": "Foo"}, UnknownSampler, "scheduler"),
        ({"enable_hr": True, "hr_sampler_name": "Foo"}, UnknownSampler, "hr_sampler_name"),
        ({"override_settings": {"sd_vae": "x.pt"}}, InvalidRequest, "override_settings.sd_vae"),
        (
            {"override_settings": {"sd_model_checkpoint": "b"}},
            UnknownCheckpoint,
            "override_settings.sd_model_checkpoint",
        ),
        ({"refiner_checkpoint": "b"}, UnknownCheckpoint, "refiner_checkpoint"),
        ({"enable_hr": True, "hr_upscaler": "b"}, InvalidRequest, "hr_upscaler"),
        (
            {"override_settings": {"outdir_samples": "/"}},
            ForbiddenOption,
            "override_settings.outdir_samples",
        ),
        ({"script_name": "Custom code"}, UnknownScript, "script_name"),
        ({"script_name": "SD upscale"}, UnknownScript, "script_name"),
        (
            {"alwayson_scripts": {"ADetailer": {"args": []}}},
            UnknownScript,
            "alwayson_scripts.ADetailer",
        ),
        (
            {"alwayson_scripts": {"Dynamic Prompts": {}}},
            UnknownScript,
            "alwayson_scripts.Dynamic Prompts",
        ),
    ],
)
def test_what_a_host_cannot_or_must_not_do_is_refused(
    fields: dict[str, Any], error: type[RobotchatError], param: str
) -> None:
    with pytest.raises(error) as caught:
        check(Text2ImageRequest.parse(fields), **KNOWN)
    assert type(caught.value) is error
    assert caught.value.param == param


def test_scripts_are_looked_up_for_the_way_of_drawing() -> None:
    fields = {"script_name": "SD Upscale", "init_images": ["aGk="]}
    check(Image2ImageRequest.parse(fields), **KNOWN)
    check(Text2ImageRequest(script_name="X/Y/Z Plot"), **KNOWN)


@pytest.mark.parametrize(
    "options",
    [
        {"outdir_samples": "/tmp/x"},  # noqa: S108 - a path that must be refused
        {"samples_save": True},
        {"ad_save_images_dir": "x"},
        {"sd_model_checkpoint": "a", "directories_filename_pattern": "x"},
    ],
)
def test_options_that_touch_paths_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ForbiddenOption) as caught:
        check_options(options)
    assert "sd_model_checkpoint" in caught.value.details["allowed"]


@pytest.mark.parametrize(
    "options", [{"sd_vae": ["a"]}, {"sd_vae": {}}, {"samples_format": "exe"}, {"rho": object()}]
)
def test_option_values_must_be_plain(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        check_options(options)


def test_the_operator_says_which_options_there_are() -> None:
    assert check_options({"a": 1, "b": None}, allowed={"a", "b"}) == {"a": 1}


@pytest.mark.parametrize(
    "options",
    [
        {"CLIP_stop_at_last_layers": 0},
        {"CLIP_stop_at_last_layers": 99},
        {"CLIP_stop_at_last_layers": "2"},
        {"CLIP_stop_at_last_layers": 1.5},
        {"CLIP_stop_at_last_layers": True},
        {"s_noise": 7},
        {"s_churn": "much"},
        {"eta_ancestral": -1},
        {"token_merging_ratio": 1},
        {"randn_source": "TPU"},
        {"emphasis": "more"},
        {"face_restoration": "yes"},
        {"img2img_fix_steps": 2},
        {"sd_vae": 1},
    ],
)
def test_a_value_that_an_option_cannot_have_is_refused(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(InvalidRequest) as caught:
        check_options(options)
    assert caught.value.param == f"override_settings.{name}"


def test_values_become_those_that_the_host_computes_with() -> None:
    options = {"CLIP_stop_at_last_layers": 2.0, "eta_ancestral": 0.5, "tiling": 1, "s_tmax": 999}
    checked = check_options(options)
    assert checked == {**options, "tiling": True}
    assert isinstance(checked["CLIP_stop_at_last_layers"], int)


def test_an_option_that_the_host_does_not_have_is_named() -> None:
    shown = {"CLIP_stop_at_last_layers": 1, "ESRGAN_tile": 192.0}
    request = Text2ImageRequest(override_settings={"sd_vae": "None"})
    with pytest.raises(InvalidRequest, match="'sd_vae'"):
        check(request, options=shown)
    allowed = {"ESRGAN_tile"}
    assert check_options({"ESRGAN_tile": 64}, allowed=allowed, shown=shown) == {"ESRGAN_tile": 64}
    with pytest.raises(InvalidRequest, match="a number"):
        check_options({"ESRGAN_tile": "64"}, allowed=allowed, shown=shown)


def test_a_vae_is_one_of_the_hosts() -> None:
    names = {"sd_vae": ["Automatic", "None", "Mse-840000.safetensors"]}
    request = Text2ImageRequest(override_settings={"sd_vae": "mse-840000"})
    checked = check(request, option_names=names)
    assert checked.override_settings == {"sd_vae": "Mse-840000.safetensors"}
    request = Text2ImageRequest(override_settings={"sd_vae": "nonexistent.pt"})
    with pytest.raises(InvalidRequest) as caught:
        check(request, option_names=names)
    assert caught.value.param == "override_settings.sd_vae"


def test_the_format_of_images_is_never_sent() -> None:
    options = {"samples_format": "jpg", "jpeg_quality": 50}
    request = check(Text2ImageRequest(override_settings=options))
    assert "override_settings" not in request.sent()
    request = request.with_checkpoint("x")
    body = request.sent()
    assert body["override_settings"] == {"sd_model_checkpoint": "x"}
    assert body["override_settings_restore_afterwards"] is False


# --- ControlNet -----------------------------------------------------------------------------------


def test_controlnet_units_get_the_hosts_names() -> None:
    fields = units(
        {
            "enabled": True,
            "model": "Control_Canny",
            "module": "Canny",
            "image": "aGk=",
            "resize_mode": 1,
            "control_mode": "balanced",
            "weight": "0.8",
            "processor_res": "512",
            "mask": None,
            "future": 1,
        },
        {"enabled": False, "model": "nonsense", "image": "aGk=", "weight": 9},
        {"enabled": True, "model": None, "image": "aGk="},
        {
            "enabled": "true",
            "resize_mode": "Scale to Fit (Inner Fit)",
            "weight": "0.8",
            "image": "aGk=",
        },
        {"enabled": True, "control_mode": "2", "guidance_end": "1", "image": "aGk="},
    )
    checked = check(Text2ImageRequest.parse(fields), **KNOWN)
    assert checked.controlnet_units == [
        {
            "enabled": True,
            "model": "control_canny [d14c016b]",
            "module": "canny",
            "image": "aGk=",
            "resize_mode": "Crop and Resize",
            "control_mode": "Balanced",
            "weight": 0.8,
            "processor_res": 512,
            "future": 1,
        },
        {"enabled": False},
        {"enabled": True, "image": "aGk="},
        {"enabled": True, "resize_mode": "Crop and Resize", "weight": 0.8, "image": "aGk="},
        {
            "enabled": True,
            "control_mode": "ControlNet is more important",
            "guidance_end": 1.0,
            "image": "aGk=",
        },
    ]


@pytest.mark.parametrize(
    ("unit", "param"),
    [
        ({"model": "depth"}, "model"),
        ({"module": "depth"}, "module"),
        ({"weight": 2.5}, "weight"),
        ({"weight": "much"}, "weight"),
        ({"weight": "inf"}, "weight"),
        ({"weight": "heavy"}, "weight"),
        ({"weight": "nan"}, "weight"),
        ({"weight": True}, "weight"),
        ({"processor_res": "many"}, "processor_res"),
        ({"guidance_end": 1.5}, "guidance_end"),
        ({"guidance_start": 0.8, "guidance_end": 0.2}, "guidance_start"),
        ({"resize_mode": 3}, "resize_mode"),
        ({"control_mode": "Whatever"}, "control_mode"),
        ({"hr_option": "Some"}, "hr_option"),
    ],
)
def test_a_unit_that_hosts_would_drop_in_silence_is_refused(
    unit: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check(Text2ImageRequest.parse(units({"enabled": True, **unit})), **KNOWN)
    assert caught.value.param == f"alwayson_scripts.ControlNet.args.0.{param}"


@pytest.mark.parametrize(
    ("unit", "param"),
    [
        ({"module": "canny", "image": "aGk="}, "model"),
        ({"module": "none", "image": "aGk="}, "model"),
        ({"module": "canny", "model": "control_canny"}, "image"),
        ({"module": "canny", "model": "control_canny", "image": ""}, "image"),
    ],
)
def test_a_unit_without_model_or_image_is_refused(unit: dict[str, Any], param: str) -> None:
    known = {**KNOWN, "model_free": {"none": False, "canny": False}}
    with pytest.raises(InvalidRequest) as caught:
        check(Text2ImageRequest.parse(units({"enabled": True, **unit})), **known)
    assert caught.value.param == f"alwayson_scripts.ControlNet.args.0.{param}"


def test_some_modules_need_no_model_and_an_edit_brings_the_image() -> None:
    known = {
        **KNOWN,
        "controlnet_modules": ["canny", "reference_only"],
        "model_free": {"canny": False, "reference_only": True},
    }
    alone = units({"enabled": True, "module": "reference_only", "image": "aGk="})
    check(Text2ImageRequest.parse(alone), **known)
    unit = {"enabled": True, "module": "canny", "model": "control_canny"}
    check(Image2ImageRequest.parse({"init_images": ["aGk="], **units(unit)}), **known)
