"""The stand-in fails as the real host fails: measured on web UI 1.10.1 with ControlNet."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

from dev import sd_host
from dev.sd_host import RunningHost

API = "/sdapi/v1"


@pytest.fixture(scope="module")
def shared_host() -> Iterator[RunningHost]:
    with sd_host.running(checkpoints=("first", "second")) as host:
        yield host


@pytest.fixture
def host(shared_host: RunningHost) -> RunningHost:
    shared_host.reset()
    return shared_host


@pytest.fixture
def web(host: RunningHost) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=host.url, timeout=30) as client:
        yield client


def draw(web: httpx.Client, path: str = "txt2img", **body: Any) -> httpx.Response:
    fields = {"prompt": "a cat", "steps": 1, "width": 64, "height": 64, "seed": 7, **body}
    return web.post(f"{API}/{path}", json=fields)


def drawn(web: httpx.Client, **body: Any) -> tuple[list[str], dict[str, Any]]:
    answer = draw(web, **body)
    assert answer.status_code == 200, answer.text
    return answer.json()["images"], json.loads(answer.json()["info"])


def pixels(text: str) -> bytes:
    return Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB").tobytes()


def raised(answer: httpx.Response) -> str:
    """The class of the exception behind a 500."""
    assert answer.status_code == 500, answer.text
    kind: str = answer.json()["error"]
    return kind


def image(size: tuple[int, int] = (64, 64)) -> str:
    out = io.BytesIO()
    Image.new("RGB", size, "white").save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def controlnet(**changes: Any) -> dict[str, Any]:
    unit = {"enabled": True, "module": "canny", "model": "control_v11p_sd15_canny"}
    return {"controlnet": {"args": [{**unit, "image": image(), **changes}]}}


# --- options --------------------------------------------------------------------------------------


def options(web: httpx.Client) -> dict[str, Any]:
    answer: dict[str, Any] = web.get(f"{API}/options").json()
    return answer


def test_an_option_that_was_never_set_is_not_restored_after_an_override(web: httpx.Client) -> None:
    assert options(web)["CLIP_stop_at_last_layers"] == 1, "a default looks like any other value"
    drawn(web, override_settings={"CLIP_stop_at_last_layers": 2, "samples_format": "jpg"})
    images, info = drawn(web)
    assert info["clip_skip"] == 2
    assert Image.open(io.BytesIO(base64.b64decode(images[0]))).format == "JPEG"
    assert options(web)["CLIP_stop_at_last_layers"] == 2


def test_an_option_that_was_set_once_is_restored(web: httpx.Client) -> None:
    web.post(f"{API}/options", json={"CLIP_stop_at_last_layers": 1})
    drawn(web, override_settings={"CLIP_stop_at_last_layers": 2})
    assert drawn(web)[1]["clip_skip"] == 1


def test_null_for_an_option_that_was_never_set_sets_nothing(web: httpx.Client) -> None:
    web.post(f"{API}/options", json={"upscaler_for_img2img": None})
    drawn(web, override_settings={"upscaler_for_img2img": "Lanczos"})
    assert options(web)["upscaler_for_img2img"] == "Lanczos"
    web.post(f"{API}/options", json={"upscaler_for_img2img": None})
    drawn(web, override_settings={"upscaler_for_img2img": "Lanczos"})
    assert options(web)["upscaler_for_img2img"] is None


def test_a_host_with_a_whole_config_restores_everything() -> None:
    with (
        sd_host.running(config=True) as host,
        httpx.Client(base_url=host.url, timeout=30) as web,
    ):
        drawn(web, override_settings={"CLIP_stop_at_last_layers": 2})
        assert drawn(web)[1]["clip_skip"] == 1


def test_what_was_set_survives_a_restart_unless_the_disk_is_new(
    web: httpx.Client, host: RunningHost
) -> None:
    web.post(f"{API}/options", json={"CLIP_stop_at_last_layers": 1})
    host.restart()
    drawn(web, override_settings={"CLIP_stop_at_last_layers": 2})
    assert drawn(web)[1]["clip_skip"] == 1
    host.restart(new_disk=True)
    drawn(web, override_settings={"CLIP_stop_at_last_layers": 2})
    assert drawn(web)[1]["clip_skip"] == 2


def test_a_clip_skip_deeper_than_the_encoder_stays_and_breaks_every_request(
    web: httpx.Client,
) -> None:
    assert raised(draw(web, override_settings={"CLIP_stop_at_last_layers": 99})) == "IndexError"
    assert raised(draw(web)) == "IndexError"
    web.post(f"{API}/options", json={"CLIP_stop_at_last_layers": 1})
    drawn(web)


@pytest.mark.parametrize(
    "bad", [{"CLIP_stop_at_last_layers": "2"}, {"CLIP_stop_at_last_layers": 2.0}, {"s_churn": "x"}]
)
def test_an_option_of_the_wrong_type_stays_and_breaks_every_request(
    web: httpx.Client, bad: dict[str, Any]
) -> None:
    assert raised(draw(web, override_settings=bad)) == "TypeError"
    assert raised(draw(web)) == "TypeError"


def test_whole_numbers_that_were_set_are_shown_with_a_fraction(web: httpx.Client) -> None:
    assert isinstance(options(web)["CLIP_stop_at_last_layers"], int)
    web.post(f"{API}/options", json={"CLIP_stop_at_last_layers": 1})
    assert isinstance(options(web)["CLIP_stop_at_last_layers"], float)


def test_a_text_for_a_number_makes_the_options_unreadable(web: httpx.Client) -> None:
    web.post(f"{API}/options", json={"CLIP_stop_at_last_layers": "abc"})
    assert raised(web.get(f"{API}/options")) == "ValidationError"


# --- the request's own errors ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"override_settings": {"nonsense": 1}}, "KeyError"),
        ({"script_name": "x/y/z plot", "script_args": []}, "TypeError"),
        ({"script_name": "x/y/z plot", "script_args": [1, "abc", [], *[0] * 15]}, "ValueError"),
        ({"alwayson_scripts": controlnet(weight=9)}, "ValidationError"),
        ({"alwayson_scripts": controlnet(weight="heavy")}, "ValidationError"),
        ({"alwayson_scripts": controlnet(module="nope")}, "ValidationError"),
        ({"alwayson_scripts": controlnet(model="nope")}, "ValidationError"),
        ({"alwayson_scripts": controlnet(resize_mode=1)}, "ValidationError"),
        ({"alwayson_scripts": controlnet(enabled=False, weight=9)}, "ValidationError"),
        ({"alwayson_scripts": controlnet(guidance_start=0.9, guidance_end=0.1)}, "ValidationError"),
        ({"alwayson_scripts": controlnet(module="depth_anything")}, "URLError"),
    ],
)
def test_what_is_wrong_with_a_request_is_a_500(
    web: httpx.Client, body: dict[str, Any], kind: str
) -> None:
    assert raised(draw(web, **body)) == kind
    drawn(web)


def test_an_unknown_upscaler_and_a_preprocessor_without_its_model_are_500s(
    web: httpx.Client,
) -> None:
    extras = {"image": image(), "upscaler_1": "nope"}
    assert raised(web.post(f"{API}/extra-single-image", json=extras)) == "AssertionError"
    detect = {"controlnet_module": "depth_anything", "controlnet_input_images": [image()]}
    assert raised(web.post("/controlnet/detect", json=detect)) == "URLError"


@pytest.mark.parametrize("changes", [{"model": "None"}, {"image": None}, {"image": "rubbish"}])
def test_controlnet_that_cannot_work_is_left_out_and_named_in_the_infotext(
    web: httpx.Client, changes: dict[str, Any]
) -> None:
    images, info = drawn(web, alwayson_scripts=controlnet(**changes))
    assert len(images) == 1
    assert pixels(images[0]) == pixels(drawn(web)[0][0])
    assert "ControlNet 0" in info["infotexts"][0]


def test_a_listed_alias_of_a_sampler_is_drawn_with_another_one(web: httpx.Client) -> None:
    samplers = web.get(f"{API}/samplers").json()
    assert any("k_euler_a" in sampler["aliases"] for sampler in samplers)
    assert drawn(web, sampler_name="k_euler_a")[1]["sampler_name"] == "DPM++ 2M"


# --- after a restart ------------------------------------------------------------------------------


def test_a_host_comes_back_with_other_extensions(web: httpx.Client, host: RunningHost) -> None:
    host.restart(controlnet=False)
    assert web.get("/controlnet/version").status_code == 404
    assert "controlnet" not in web.get(f"{API}/scripts").json()["txt2img"]
    assert draw(web, alwayson_scripts=controlnet()).status_code == 422
    host.restart(controlnet=True)
    assert web.get("/controlnet/version").status_code == 200
    assert len(drawn(web, alwayson_scripts=controlnet())[0]) == 2


# --- scripts --------------------------------------------------------------------------------------


def plot(*, lone_images: bool) -> dict[str, Any]:
    """A plot over three seeds."""
    axes = [1, "7,8,9", [], 0, "", [], 0, "", []]
    args = [*axes, True, lone_images, False, True, False, False, False, 0, False]
    return {"script_name": "X/Y/Z plot", "script_args": args}


def test_a_plot_answers_its_grid_first(web: httpx.Client) -> None:
    images, info = drawn(web, **plot(lone_images=True))
    assert len(images) == 4
    assert info["index_of_first_image"] == 1
    assert info["all_seeds"] == [7, 7, 8, 9], "with one for the grid"
    assert len(info["infotexts"]) == 4
    assert "Seed: 9" in info["infotexts"][3]
    assert images[1] == drawn(web, seed=7)[0][0]


def test_a_plot_may_answer_its_grid_alone(web: httpx.Client) -> None:
    images, info = drawn(web, **plot(lone_images=False))
    assert len(images) == 1
    assert info["index_of_first_image"] == 1
    assert len(info["infotexts"]) == 4


def test_a_matrix_has_seeds_for_its_images_and_texts_for_all(web: httpx.Client) -> None:
    args = [False, False, "positive", "comma", 0]
    images, info = drawn(web, prompt="a cat|red|big", script_name="prompt matrix", script_args=args)
    assert (len(images), len(info["infotexts"]), len(info["all_seeds"])) == (5, 5, 4)


def test_prompts_of_a_text_are_an_image_each_with_its_infotext(web: httpx.Client) -> None:
    args = [True, False, "start", "a dog\na fox\n"]
    images, info = drawn(web, script_name="prompts from file or textbox", script_args=args)
    assert len(images) == 2
    assert info["index_of_first_image"] == 0
    assert info["all_seeds"] == [7, 8]
    assert [text.split("\n")[0] for text in info["infotexts"]] == ["a dog", "a fox"]


def test_a_loop_is_as_many_images_as_it_has_rounds(web: httpx.Client) -> None:
    body = {"script_name": "loopback", "script_args": [3, 0.5, "Linear", "None"]}
    answer = draw(web, "img2img", init_images=[image()], **body).json()
    assert len(answer["images"]) == 3
    assert len(json.loads(answer["info"])["infotexts"]) == 3


# --- tools ----------------------------------------------------------------------------------------


def test_interrogate_without_its_models_answers_an_error_as_caption() -> None:
    with (
        sd_host.running(interrogator=False) as host,
        httpx.Client(base_url=host.url, timeout=30) as web,
    ):
        answer = web.post(f"{API}/interrogate", json={"image": image()})
    assert (answer.status_code, answer.json()) == (200, {"caption": "<error>"})


def test_png_info_tells_what_is_assumed_and_takes_styles_out(web: httpx.Client) -> None:
    images, info = drawn(web, styles=["Watercolor"], negative_prompt="text")
    told = web.post(f"{API}/png-info", json={"image": images[0]}).json()
    assert told["info"] == info["infotexts"][0]
    assert told["info"].startswith("a cat, watercolor\nNegative prompt: text, photo")
    parts = told["parameters"]
    assert (parts["Prompt"], parts["Negative prompt"]) == ("a cat", "text")
    assert parts["Styles array"] == ["Watercolor"]
    assert (parts["Clip skip"], parts["Seed"]) == ("1", "7")
    assert len(parts) > 25
