"""The stand-in SD host against the A1111 contract: what a client can see over HTTP."""

from __future__ import annotations

import base64
import io
import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from PIL import Image, ImageChops, ImageStat

from dev import sd_host
from dev.sd_host import RunningHost

API = "/sdapi/v1"
INFO_KEYS = {
    "prompt", "all_prompts", "negative_prompt", "all_negative_prompts", "seed", "all_seeds",
    "subseed", "all_subseeds", "subseed_strength", "width", "height", "sampler_name",
    "cfg_scale", "steps", "batch_size", "restore_faces", "face_restoration_model",
    "sd_model_name", "sd_model_hash", "sd_vae_name", "sd_vae_hash", "seed_resize_from_w",
    "seed_resize_from_h", "denoising_strength", "extra_generation_params",
    "index_of_first_image", "infotexts", "styles", "job_timestamp", "clip_skip",
    "is_using_inpainting_conditioning", "version",
}  # fmt: skip
Send = Callable[..., Future[httpx.Response]]


@pytest.fixture(scope="module")
def shared_host() -> Iterator[RunningHost]:
    with sd_host.running(checkpoints=("first", "second", "sub/third")) as running:
        yield running


@pytest.fixture
def host(shared_host: RunningHost) -> RunningHost:
    shared_host.reset()
    return shared_host


@pytest.fixture
def web(host: RunningHost) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=host.url, timeout=20, trust_env=False) as client:
        yield client


@pytest.fixture
def send(web: httpx.Client) -> Iterator[Send]:
    """Post in the background."""
    with ThreadPoolExecutor(48) as pool:

        def post(path: str, **body: Any) -> Future[httpx.Response]:
            return pool.submit(web.post, f"{API}/{path}", json=body)

        yield post


def text2image(web: httpx.Client, **body: Any) -> dict[str, Any]:
    answer = web.post(f"{API}/txt2img", json={"steps": 2, "width": 64, "height": 64, **body})
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


def image2image(web: httpx.Client, *sources: str, **body: Any) -> dict[str, Any]:
    wanted = {"steps": 2, "width": 64, "height": 64, "init_images": list(sources), **body}
    answer = web.post(f"{API}/img2img", json=wanted)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


def decoded(text: str) -> Image.Image:
    image = Image.open(io.BytesIO(base64.b64decode(text)))
    image.load()
    return image


def encoded(image: Image.Image) -> str:
    out = io.BytesIO()
    image.save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def plain(colour: str = "grey", size: tuple[int, int] = (64, 64)) -> str:
    return encoded(Image.new("RGB", size, colour))


def mean(image: Image.Image) -> tuple[int, int, int]:
    red, green, blue = (int(mean) for mean in ImageStat.Stat(image.convert("RGB")).mean)
    return red, green, blue


def info_of(result: dict[str, Any]) -> dict[str, Any]:
    info: dict[str, Any] = json.loads(result["info"])
    return info


# Transport and errors


def test_handled_answers_carry_their_time_and_exceptions_do_not(
    web: httpx.Client, host: RunningHost
) -> None:
    fine = web.get(f"{API}/samplers")
    host.set_faults({"kind": "error"})
    failed = web.post(f"{API}/txt2img", json={})
    assert float(fine.headers["x-process-time"]) >= 0
    assert failed.status_code == 500
    assert "x-process-time" not in failed.headers


def test_long_answers_are_gzipped_for_clients_that_take_it(web: httpx.Client) -> None:
    path = f"{API}/samplers"
    assert web.get(path).headers["content-encoding"] == "gzip"
    assert "content-encoding" not in web.get(path, headers={"accept-encoding": "identity"}).headers
    assert "content-encoding" not in web.get(f"{API}/progress").headers


def test_an_unknown_path_and_a_wrong_method_answer_as_starlette(web: httpx.Client) -> None:
    unknown, wrong = web.get("/sdapi/v1/nothing"), web.get(f"{API}/txt2img")
    assert (unknown.status_code, unknown.json()) == (404, {"detail": "Not Found"})
    assert (wrong.status_code, wrong.json()) == (405, {"detail": "Method Not Allowed"})
    assert wrong.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("body", "loc", "msg", "kind"),
    [
        ({"seed": "x"}, ["body", "seed"], "value is not a valid integer", "type_error.integer"),
        ({"seed": "6.5"}, ["body", "seed"], "value is not a valid integer", "type_error.integer"),
        ({"eta": []}, ["body", "eta"], "value is not a valid float", "type_error.float"),
        ({"prompt": {}}, ["body", "prompt"], "str type expected", "type_error.str"),
        ({"tiling": "maybe"}, ["body", "tiling"], "value could not be parsed to a boolean",
         "type_error.bool"),
        ({"styles": "x"}, ["body", "styles"], "value is not a valid list", "type_error.list"),
        ({"styles": [[]]}, ["body", "styles", 0], "str type expected", "type_error.str"),
        ({"alwayson_scripts": 3}, ["body", "alwayson_scripts"], "value is not a valid dict",
         "type_error.dict"),
        ({"send_images": None}, ["body", "send_images"], "none is not an allowed value",
         "type_error.none.not_allowed"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_refused_in_pydantic_v1s_words(
    web: httpx.Client, body: dict[str, Any], loc: list[Any], msg: str, kind: str
) -> None:
    answer = web.post(f"{API}/txt2img", json=body)
    assert answer.status_code == 422
    assert answer.json() == {"detail": [{"loc": loc, "msg": msg, "type": kind}]}


def test_all_wrong_fields_are_named_at_once(web: httpx.Client) -> None:
    detail = web.post(f"{API}/txt2img", json={"steps": "a", "width": "b"}).json()["detail"]
    assert [entry["loc"][1] for entry in detail] == ["steps", "width"]


def test_broken_json_says_where(web: httpx.Client) -> None:
    headers = {"content-type": "application/json"}
    answer = web.post(f"{API}/txt2img", content='{"a": }', headers=headers)
    entry = answer.json()["detail"][0]
    assert answer.status_code == 422
    assert entry["loc"] == ["body", 6]
    assert entry["type"] == "value_error.jsondecode"
    assert entry["ctx"]["pos"] == 6


def test_a_missing_body_and_a_text_body_are_refused(web: httpx.Client) -> None:
    missing = web.post(f"{API}/txt2img").json()["detail"][0]
    text = web.post(f"{API}/txt2img", content="{}", headers={"content-type": "text/plain"})
    assert missing == {"loc": ["body"], "msg": "field required", "type": "value_error.missing"}
    assert text.json()["detail"][0]["msg"] == "value is not a valid dict"


def test_values_are_coerced_and_unknown_fields_ignored(web: httpx.Client) -> None:
    result = text2image(web, width="64", height=72.7, tiling="yes", prompt=5, colour="blue")
    echo = result["parameters"]
    assert (echo["width"], echo["height"], echo["tiling"], echo["prompt"]) == (64, 72, True, "5")
    assert "colour" not in echo


def test_null_is_accepted_where_the_field_is_optional(web: httpx.Client) -> None:
    result = text2image(web, seed=None, styles=None, sampler_name=None, denoising_strength=None)
    assert 0 <= info_of(result)["seed"] <= 4294967293


def test_a_null_that_the_host_cannot_compute_with_is_a_500(web: httpx.Client) -> None:
    answer = web.post(f"{API}/txt2img", json={"width": None})
    assert answer.status_code == 500
    assert answer.json()["error"] == "TypeError"


def test_an_exception_shows_its_class_and_text(web: httpx.Client, host: RunningHost) -> None:
    host.set_faults({"kind": "error"})
    body = web.post(f"{API}/txt2img", json={}).json()
    assert body["error"] == "OutOfMemoryError"
    assert (body["detail"], body["body"]) == ("", "")
    assert body["errors"].startswith("CUDA out of memory")


# Pictures


def test_an_image_comes_back_as_bare_base64_png_with_its_infotext(web: httpx.Client) -> None:
    result = text2image(web, prompt="a cat", negative_prompt="dog", seed=7, sampler_name="Euler a")
    image = decoded(result["images"][0])
    assert set(result) == {"images", "parameters", "info"}
    assert (image.format, image.size) == ("PNG", (64, 64))
    text = image.info["parameters"]
    assert text == info_of(result)["infotexts"][0]
    assert text.startswith(
        "a cat\nNegative prompt: dog\nSteps: 2, Sampler: Euler a, Schedule type: Automatic, "
        "CFG scale: 7.0, Seed: 7, Size: 64x64, Model hash: "
    )
    assert text.endswith("Model: first, Version: v1.10.1")


def test_info_is_a_json_text_with_every_key(web: httpx.Client) -> None:
    info = info_of(text2image(web, prompt="a cat", seed=7))
    assert set(info) == INFO_KEYS
    assert info["sd_model_name"] == "first"
    assert len(info["job_timestamp"]) == 14


def test_parameters_echo_the_whole_request_with_its_defaults(web: httpx.Client) -> None:
    echo = text2image(web, prompt="a cat", alwayson_scripts={"seed": {"args": [1]}})["parameters"]
    assert echo["prompt"] == "a cat"
    assert echo["alwayson_scripts"] == {"seed": {"args": [1]}}
    assert (echo["sampler_index"], echo["n_iter"], echo["cfg_scale"]) == ("Euler", 1, 7.0)
    assert (echo["denoising_strength"], echo["seed"], echo["hr_scale"]) == (None, -1, 2.0)
    assert "init_images" not in echo


def test_defaults_are_those_of_the_contract(web: httpx.Client) -> None:
    echo = web.post(f"{API}/txt2img", json={"send_images": False}).json()["parameters"]
    assert (echo["width"], echo["height"], echo["steps"]) == (512, 512, 50)
    assert echo["override_settings_restore_afterwards"] is True


def test_the_same_seed_prompt_and_size_give_the_same_pixels(web: httpx.Client) -> None:
    def drawn(**body: Any) -> bytes:
        return decoded(text2image(web, prompt="a beach", **body)["images"][0]).tobytes()

    assert drawn(seed=1) == drawn(seed=1, sampler_name="DDIM", steps=5)
    assert drawn(seed=1) != drawn(seed=2)
    assert drawn(seed=1) != drawn(seed=1, width=72)


def test_every_image_has_its_own_seed(web: httpx.Client) -> None:
    result = text2image(web, seed=10, subseed=3, batch_size=2, n_iter=2)
    info = info_of(result)
    assert len(result["images"]) == 4
    assert info["all_seeds"] == [10, 11, 12, 13]
    assert info["all_subseeds"] == [3, 4, 5, 6]
    assert [decoded(i).info["parameters"] for i in result["images"]] == info["infotexts"]
    assert info["index_of_first_image"] == 0


def test_with_a_variation_all_seeds_are_equal(web: httpx.Client) -> None:
    info = info_of(text2image(web, seed=10, subseed=3, subseed_strength=0.5, batch_size=2))
    assert (info["all_seeds"], info["all_subseeds"]) == ([10, 10], [3, 4])


def test_sizes_are_floored_to_a_multiple_of_8(web: httpx.Client) -> None:
    result = text2image(web, width=71, height=65)
    assert decoded(result["images"][0]).size == (64, 64)
    assert (info_of(result)["width"], info_of(result)["height"]) == (64, 64)


def test_the_size_of_a_first_phase_is_the_images_size(web: httpx.Client) -> None:
    first = {"firstphase_width": 64, "firstphase_height": 128}
    result = text2image(web, width=256, height=256, **first)
    assert decoded(result["images"][0]).size == (64, 128)


def test_a_grid_comes_first_only_when_images_are_saved(web: httpx.Client) -> None:
    result = text2image(web, save_images=True, batch_size=2, seed=1)
    info = info_of(result)
    assert [decoded(i).size for i in result["images"]] == [(64, 128), (64, 64), (64, 64)]
    assert info["index_of_first_image"] == 1
    assert (len(info["infotexts"]), info["all_seeds"]) == (3, [1, 2])


def test_no_images_are_sent_on_request(web: httpx.Client) -> None:
    assert text2image(web, send_images=False)["images"] == []


def test_a_hires_pass_makes_it_bigger_and_needs_a_strength(web: httpx.Client) -> None:
    wanted = {"enable_hr": True, "width": 64, "height": 64, "steps": 2}
    result = text2image(web, **wanted, denoising_strength=0.5, hr_upscaler="Latent")
    assert decoded(result["images"][0]).size == (128, 128)
    assert info_of(result)["width"] == 64
    unset = web.post(f"{API}/txt2img", json=wanted)
    unknown = web.post(f"{API}/txt2img", json={**wanted, "hr_upscaler": "X"})
    assert (unset.status_code, unset.json()["error"]) == (500, "TypeError")
    assert unknown.json()["errors"] == "could not find upscaler named X"


def test_the_file_format_follows_the_option(web: httpx.Client) -> None:
    web.post(f"{API}/options", json={"samples_format": "webp"})
    assert decoded(text2image(web)["images"][0]).format == "WEBP"
    web.post(f"{API}/options", json={"samples_format": "bmp"})
    refused = web.post(f"{API}/txt2img", json={"steps": 1})
    assert (refused.status_code, refused.json()["detail"]) == (500, "Invalid image format")


def test_styles_are_applied_to_the_prompt(web: httpx.Client) -> None:
    info = info_of(text2image(web, prompt="a cat", styles=["Watercolor", "unknown"]))
    assert (info["prompt"], info["negative_prompt"]) == ("a cat, watercolor", "photo")


def test_an_infotext_fills_the_fields_that_were_not_sent(web: httpx.Client) -> None:
    text = "a fox\nNegative prompt: snow\nSteps: 3, Sampler: DDIM, Seed: 77, Size: 72x64"
    body = {"infotext": text, "width": 64, "height": 64}
    info = info_of(web.post(f"{API}/txt2img", json=body).json())
    assert (info["prompt"], info["negative_prompt"], info["seed"]) == ("a fox", "snow", 77)
    assert (info["sampler_name"], info["steps"], info["width"]) == ("DDIM", 3, 64)


def test_words_change_the_image(web: httpx.Client) -> None:
    def colour(prompt: str, negative: str = "") -> tuple[int, int, int]:
        body = {"prompt": prompt, "negative_prompt": negative, "seed": 4}
        return mean(decoded(text2image(web, **body, width=128, height=128)["images"][0]))

    red, blue = colour("red"), colour("blue")
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    assert sum(colour("a beach at night")) < sum(colour("a beach"))
    assert colour("海滩 夜晚") != colour("海滩")
    assert colour("a beach") != colour("a beach", "people")


# Silent substitutions


@pytest.mark.parametrize(
    ("sent", "used", "schedule"),
    [
        ({"sampler_name": "Euler a"}, "Euler a", "Automatic"),
        ({"sampler_name": "No Such"}, "DPM++ 2M", "Automatic"),
        ({"sampler_name": "euler a"}, "DPM++ 2M", "Automatic"),
        ({"sampler_index": "DDIM"}, "DDIM", "Automatic"),
        ({}, "Euler", "Automatic"),
        ({"sampler_name": "DPM++ SDE Exponential"}, "DPM++ SDE", "Exponential"),
        ({"sampler_name": "DPM++ 2M Karras"}, "DPM++ 2M", "Automatic"),
        ({"sampler_name": "Euler", "scheduler": "karras"}, "Euler", "Karras"),
        ({"sampler_name": "Euler", "scheduler": "SGM Uniform"}, "Euler", "SGM Uniform"),
        ({"sampler_name": "Euler", "scheduler": "nonsense"}, "Euler", "Automatic"),
    ],
)
def test_samplers_resolve_as_on_the_host(
    web: httpx.Client, sent: dict[str, str], used: str, schedule: str
) -> None:
    info = info_of(text2image(web, **sent))
    assert info["sampler_name"] == used
    assert f"Sampler: {used}, Schedule type: {schedule}," in info["infotexts"][0]


@pytest.mark.parametrize("alias", ["title", "file", "name", "hash", "sha256", "name and hash"])
def test_an_override_takes_any_alias_of_a_checkpoint(web: httpx.Client, alias: str) -> None:
    second = web.get(f"{API}/sd-models").json()[1]
    name = {
        "title": second["title"],
        "file": "second.safetensors",
        "name": "second",
        "hash": second["hash"],
        "sha256": second["sha256"],
        "name and hash": f"second [{second['hash']}]",
    }[alias]
    info = info_of(text2image(web, override_settings={"sd_model_checkpoint": name}))
    assert (info["sd_model_name"], info["sd_model_hash"]) == ("second", second["hash"])


def test_an_unknown_override_checkpoint_is_dropped_silently(web: httpx.Client) -> None:
    info = info_of(text2image(web, override_settings={"sd_model_checkpoint": "no-such"}))
    assert info["sd_model_name"] == "first"


def test_an_override_is_restored_but_its_checkpoint_stays_loaded(
    web: httpx.Client, host: RunningHost
) -> None:
    text2image(web, override_settings={"sd_model_checkpoint": "second"})
    assert web.get(f"{API}/options").json()["sd_model_checkpoint"].startswith("first.")
    text2image(web, override_settings={"sd_model_checkpoint": "second"})
    assert host.stats()["model_switches"] == 1
    assert info_of(text2image(web))["sd_model_name"] == "first"
    assert host.stats()["model_switches"] == 2


def test_an_override_stays_when_asked_to(web: httpx.Client, host: RunningHost) -> None:
    override = {"sd_model_checkpoint": "third"}
    text2image(web, override_settings=override, override_settings_restore_afterwards=False)
    title = web.get(f"{API}/options").json()["sd_model_checkpoint"]
    assert title.startswith("sub/third.safetensors [")
    assert info_of(text2image(web))["sd_model_name"] == "third"
    assert host.stats()["model_switches"] == 1


def test_another_unknown_override_is_a_key_error(web: httpx.Client) -> None:
    answer = web.post(f"{API}/txt2img", json={"override_settings": {"nonsense": 1}})
    assert answer.status_code == 500
    assert (answer.json()["error"], answer.json()["errors"]) == ("KeyError", "'nonsense'")


def test_an_unknown_refiner_is_an_exception(web: httpx.Client) -> None:
    answer = web.post(f"{API}/txt2img", json={"refiner_checkpoint": "nope"})
    assert answer.json()["errors"] == "Could not find checkpoint with name nope"


def test_scripts_are_checked(web: httpx.Client) -> None:
    def detail(**body: Any) -> tuple[int, str]:
        answer = web.post(f"{API}/txt2img", json={"steps": 1, **body})
        return answer.status_code, answer.json().get("detail", "")

    assert detail(script_name="nope") == (422, "Script 'nope' not found")
    assert detail(alwayson_scripts={"nope": {}})[0] == 422
    selectable = detail(alwayson_scripts={"X/Y/Z plot": {}})
    assert selectable == (422, "Cannot have a selectable script in the always on scripts params")
    matrix = [False, False, "positive", "comma", 0]
    assert detail(script_name="Prompt Matrix", script_args=matrix)[0] == 200


# img2img


def test_img2img_needs_an_init_image(web: httpx.Client) -> None:
    for body in ({}, {"init_images": None}):
        answer = web.post(f"{API}/img2img", json=body)
        assert answer.status_code == 404
        assert answer.json() == {
            "error": "HTTPException",
            "detail": "Init image not found",
            "body": "",
            "errors": "",
        }


def test_img2img_hides_its_inputs_unless_asked(web: httpx.Client) -> None:
    source = plain()
    echo = image2image(web, source, mask=source)["parameters"]
    assert (echo["init_images"], echo["mask"]) == (None, None)
    assert echo["denoising_strength"] == 0.75
    shown = image2image(web, source, include_init_images=True)["parameters"]
    assert shown["init_images"] == [source]


def test_an_init_image_may_be_a_data_uri_and_must_decode(web: httpx.Client) -> None:
    image2image(web, f"data:image/png;base64,{plain()}")
    for rubbish in ("rubbish", "aGVsbG8="):
        answer = web.post(f"{API}/img2img", json={"init_images": [rubbish]})
        assert answer.status_code == 500
        assert answer.json()["detail"] == "Invalid encoded image"


def test_an_init_image_by_url_is_guarded(web: httpx.Client) -> None:
    local = web.post(f"{API}/img2img", json={"init_images": ["http://127.0.0.1/x.png"]})
    assert local.json()["detail"] == "Request to local resource not allowed"
    web.post(f"{API}/options", json={"api_enable_requests": False})
    off = web.post(f"{API}/img2img", json={"init_images": ["https://example.com/x.png"]})
    assert off.json()["detail"] == "Requests not allowed"


def test_the_number_of_init_images_decides_the_batch(web: httpx.Client) -> None:
    source = plain()
    assert len(image2image(web, source, batch_size=3)["images"]) == 3
    assert len(image2image(web, source, source, batch_size=3)["images"]) == 2
    answer = web.post(f"{API}/img2img", json={"init_images": [source] * 2})
    assert answer.json()["errors"] == "bad number of images passed: 2; expecting 1 or less"


def test_strength_says_how_far_the_image_moves(web: httpx.Client) -> None:
    source = Image.linear_gradient("L").convert("RGB").resize((64, 64))

    def distance(strength: float) -> float:
        result = image2image(
            web, encoded(source), prompt="blue", denoising_strength=strength, seed=3
        )
        moved = ImageChops.difference(source, decoded(result["images"][0]))
        return sum(mean(moved))

    assert distance(0) == 0
    assert distance(0.2) < distance(0.5) < distance(0.9)


def test_an_image_turns_blue(web: httpx.Client) -> None:
    cat = text2image(web, prompt="a cat", seed=2, width=128, height=128)["images"][0]
    blue = image2image(web, cat, prompt="a blue cat", seed=2, width=128, height=128)["images"][0]
    before, after = mean(decoded(cat)), mean(decoded(blue))
    assert after[2] - after[0] > before[2] - before[0] + 20


def test_only_the_white_part_of_a_mask_is_repainted(web: httpx.Client) -> None:
    source, mask = Image.new("RGB", (64, 64), "grey"), Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 32, 64))
    body = {"prompt": "red", "mask": encoded(mask), "mask_blur": 0, "seed": 1}
    for invert, kept in ((0, (40, 0, 64, 64)), (1, (0, 0, 24, 64))):
        result = image2image(web, encoded(source), **body, inpainting_mask_invert=invert)
        painted = decoded(result["images"][0])
        changed = ImageChops.difference(source, painted)
        assert changed.crop(kept).getbbox() is None
        assert changed.getbbox() is not None


def test_a_blank_mask_repaints_everything_with_full_res(web: httpx.Client) -> None:
    source = Image.new("RGB", (64, 64), "grey")
    body = {"prompt": "red", "mask": encoded(Image.new("L", (64, 64))), "seed": 1}
    whole = image2image(web, encoded(source), **body)
    nothing = image2image(web, encoded(source), **body, inpaint_full_res=False)
    assert mean(decoded(whole["images"][0])) != mean(source)
    assert mean(decoded(nothing["images"][0])) == mean(source)


# The lock, progress, interrupts


def test_an_idle_host_shows_no_progress(web: httpx.Client) -> None:
    report = web.get(f"{API}/progress").json()
    assert (report["progress"], report["eta_relative"]) == (0, 0)
    assert report["state"]["job_count"] == 0
    assert set(report) == {"progress", "eta_relative", "state", "current_image", "textinfo"}


def test_progress_moves_and_shows_a_preview_every_ten_steps(
    web: httpx.Client, host: RunningHost, send: Send
) -> None:
    host.hold(at_step=5)
    first = send("txt2img", prompt="a cat", steps=20)
    host.wait_for(paused=1)
    early = web.get(f"{API}/progress").json()
    host.release()
    assert first.result().status_code == 200
    host.hold(at_step=15)
    second = send("txt2img", prompt="a cat", steps=20, n_iter=2)
    host.wait_for(paused=1)
    late = web.get(f"{API}/progress").json()
    quiet = web.get(f"{API}/progress", params={"skip_current_image": "true"}).json()
    host.release()
    host.wait_for(paused=1)
    again = web.get(f"{API}/progress").json()
    host.release()
    assert second.result().status_code == 200
    assert early["progress"] == pytest.approx(0.01 + 5 / 20)
    assert early["state"]["job"] == "scripts_txt2img"
    assert early["current_image"] is None
    assert late["progress"] == pytest.approx(0.01 + 15 / 40)
    assert late["state"]["job"] == "Batch 1 out of 2"
    assert (late["state"]["job_count"], late["state"]["sampling_steps"]) == (2, 20)
    assert decoded(late["current_image"]).format == "PNG"
    assert quiet["current_image"] is None
    assert again["progress"] == pytest.approx(0.01 + 1 / 2 + 15 / 40)
    assert web.get(f"{API}/progress").json()["progress"] == 0


def test_a_wrong_query_is_a_422(web: httpx.Client) -> None:
    answer = web.get(f"{API}/progress", params={"skip_current_image": "perhaps"})
    assert answer.json()["detail"][0]["loc"] == ["query", "skip_current_image"]


def test_an_interrupt_gives_200_with_the_partial_image(
    web: httpx.Client, host: RunningHost, send: Send
) -> None:
    whole = text2image(web, prompt="a cat", seed=1, steps=20)
    host.hold(at_step=8)
    job = send("txt2img", prompt="a cat", seed=1, steps=20, n_iter=3, width=64, height=64)
    host.wait_for(paused=1)
    assert web.post(f"{API}/interrupt").json() == {}
    result = job.result().json()
    assert len(result["images"]) == 1
    assert len(info_of(result)["all_seeds"]) == 3
    assert len(info_of(result)["infotexts"]) == 1
    assert decoded(result["images"][0]).tobytes() != decoded(whole["images"][0]).tobytes()
    assert host.stats()["interrupts_received"][-1]["running"] is True


def test_skip_drops_the_rest_of_the_batch_only(
    web: httpx.Client, host: RunningHost, send: Send
) -> None:
    host.hold(at_step=3)
    job = send("txt2img", steps=10, n_iter=2, width=64, height=64)
    host.wait_for(paused=1)
    answer = web.post(f"{API}/skip")
    host.wait_for(paused=1)
    host.release()
    assert (answer.status_code, answer.json()) == (200, None)
    assert len(job.result().json()["images"]) == 2


def test_an_interrupt_does_not_touch_the_next_job(
    web: httpx.Client, host: RunningHost, send: Send
) -> None:
    host.hold(at_step=3)
    running = send("txt2img", steps=5, n_iter=2, width=64, height=64)
    host.wait_for(paused=1)
    queued = send("txt2img", steps=5, n_iter=2, width=64, height=64)
    host.wait_for(waiting=1)
    web.post(f"{API}/interrupt")
    assert len(running.result().json()["images"]) == 1
    assert len(queued.result().json()["images"]) == 2


def test_requests_run_one_at_a_time_first_come_first_served(
    web: httpx.Client, host: RunningHost, send: Send
) -> None:
    host.hold()
    jobs = [send("txt2img", steps=2, width=64, height=64, prompt="0")]
    host.wait_for(paused=1)
    for number in range(1, 4):
        jobs.append(send("txt2img", steps=2, width=64, height=64, force_task_id=f"t{number}"))
        host.wait_for(waiting=number)
    pending = web.get("/internal/pending-tasks").json()
    asked = web.post("/internal/progress", json={"id_task": "t2"}).json()
    host.release()
    assert all(job.result().status_code == 200 for job in jobs)
    assert pending == {"size": 3, "tasks": ["t1", "t2", "t3"]}
    assert (asked["queued"], asked["textinfo"]) == (True, "In queue: 2/3")
    assert host.stats()["max_waiting"] == 3


def test_a_client_that_leaves_does_not_cancel_its_job(host: RunningHost) -> None:
    host.hold()
    body = b'{"steps": 2, "width": 64, "height": 64}'
    head = f"POST {API}/txt2img HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", host.port), timeout=10) as leaver:
        leaver.sendall(head.encode() + body)
        host.wait_for(paused=1)
    host.release()
    assert host.wait_for(generations_finished=1)["generations_failed"] == 0


def test_forty_waiting_requests_stall_every_sync_route(host: RunningHost, send: Send) -> None:
    host.hold()
    for number in range(40):
        send("txt2img", steps=1, width=64, height=64, send_images=False)
        if number == 0:
            host.wait_for(paused=1)
    host.wait_for(paused=1, waiting=39)
    with (
        httpx.Client(base_url=host.url, trust_env=False) as client,
        pytest.raises(httpx.ReadTimeout),
    ):
        client.get(f"{API}/progress", timeout=0.2)
    assert httpx.get(f"{host.url}{API}/loras", trust_env=False).status_code == 200
    host.release()
    host.wait_for(generations_finished=40)


def test_a_task_id_is_queued_then_active_then_completed(
    web: httpx.Client, host: RunningHost, send: Send
) -> None:
    def state(task: str) -> dict[str, Any]:
        answer: dict[str, Any] = web.post("/internal/progress", json={"id_task": task}).json()
        return answer

    host.hold(at_step=10)
    job = send("txt2img", steps=20, force_task_id="mine")
    host.wait_for(paused=1)
    active = state("mine")
    host.release()
    job.result()
    assert (active["active"], active["queued"], active["completed"]) == (True, False, False)
    assert active["progress"] == pytest.approx(0.5)
    assert active["eta"] > 0
    assert active["live_preview"].startswith("data:image/png;base64,")
    done, unknown = state("mine"), state("nobody")
    assert (done["active"], done["completed"]) == (False, True)
    assert [unknown[key] for key in ("active", "queued", "completed")] == [False] * 3
    assert unknown["progress"] is None


def test_a_failed_task_stays_active_until_the_next_one(
    web: httpx.Client, host: RunningHost
) -> None:
    host.set_faults({"kind": "error"})
    web.post(f"{API}/txt2img", json={"force_task_id": "bad"})
    state = web.post("/internal/progress", json={"id_task": "bad"}).json()
    assert state["active"] is True
    assert web.get(f"{API}/progress").json()["state"]["job_count"] == 0
    text2image(web)
    assert web.post("/internal/progress", json={"id_task": "bad"}).json()["active"] is False


def test_a_task_with_a_bad_init_image_stays_queued_for_ever(web: httpx.Client) -> None:
    web.post(f"{API}/img2img", json={"init_images": ["rubbish"], "force_task_id": "stuck"})
    assert web.get("/internal/pending-tasks").json() == {"size": 1, "tasks": ["stuck"]}


# Settings, checkpoints, lists


def test_options_name_the_loaded_checkpoint(web: httpx.Client) -> None:
    options, first = web.get(f"{API}/options").json(), web.get(f"{API}/sd-models").json()[0]
    assert (
        options["sd_model_checkpoint"] == first["title"] == f"first.safetensors [{first['hash']}]"
    )
    assert options["sd_checkpoint_hash"] == first["sha256"]


def test_setting_a_checkpoint_loads_it(web: httpx.Client, host: RunningHost) -> None:
    answer = web.post(f"{API}/options", json={"sd_model_checkpoint": "second"})
    assert (answer.status_code, answer.json()) == (200, None)
    assert info_of(text2image(web))["sd_model_name"] == "second"
    assert host.stats()["model_switches"] == 1


def test_setting_a_checkpoint_waits_for_the_running_job(
    web: httpx.Client, host: RunningHost, send: Send
) -> None:
    host.hold()
    job = send("txt2img", steps=2)
    host.wait_for(paused=1)
    change = send("options", sd_model_checkpoint="second")
    host.wait_for(waiting=1)
    host.release()
    assert info_of(job.result().json())["sd_model_name"] == "first"
    assert change.result().status_code == 200


def test_unknown_settings_are_refused_and_earlier_ones_stay(web: httpx.Client) -> None:
    model = web.post(f"{API}/options", json={"sd_model_checkpoint": "nope"})
    assert (model.status_code, model.json()["error"]) == (500, "RuntimeError")
    assert model.json()["errors"] == "model 'nope' not found"
    key = web.post(f"{API}/options", json={"CLIP_stop_at_last_layers": 2, "nonsense": 1})
    assert (key.status_code, key.json()["error"]) == (500, "KeyError")
    assert web.get(f"{API}/options").json()["CLIP_stop_at_last_layers"] == 2


def test_a_checkpoint_that_does_not_load_is_still_200(web: httpx.Client, host: RunningHost) -> None:
    host.set_faults({"kind": "load_error", "path": "*/options"})
    answer = web.post(f"{API}/options", json={"sd_model_checkpoint": "second"})
    assert (answer.status_code, answer.json()) == (200, None)
    assert web.get(f"{API}/options").json()["sd_model_checkpoint"].startswith("first.")


def test_loras_appear_after_a_refresh(web: httpx.Client, host: RunningHost) -> None:
    def names() -> list[str]:
        return [lora["name"] for lora in web.get(f"{API}/loras").json()]

    host.add_lora("brand_new")
    assert "brand_new" not in names()
    answer = web.post(f"{API}/refresh-loras")
    assert (answer.status_code, answer.json()) == (200, None)
    assert "brand_new" in names()
    entry = web.get(f"{API}/loras").json()[-1]
    assert entry["path"].startswith("/")
    assert set(entry) == {"name", "alias", "path", "metadata"}


def test_checkpoints_appear_after_a_refresh_without_a_hash(
    web: httpx.Client, host: RunningHost
) -> None:
    host.add_checkpoint("fourth")
    assert web.post(f"{API}/refresh-checkpoints").json() is None
    entry = web.get(f"{API}/sd-models").json()[-1]
    assert (entry["title"], entry["hash"], entry["sha256"]) == ("fourth.safetensors", None, None)
    text2image(web, override_settings={"sd_model_checkpoint": "fourth"})
    entry = web.get(f"{API}/sd-models").json()[-1]
    assert entry["title"] == f"fourth.safetensors [{entry['hash']}]"
    assert entry["sha256"].startswith(entry["hash"])


def test_lists_have_the_hosts_shapes(web: httpx.Client) -> None:
    def keys(path: str) -> set[str]:
        return set(web.get(f"{API}/{path}").json()[0])

    assert keys("samplers") == {"name", "aliases", "options"}
    assert keys("schedulers") == {"name", "label", "aliases", "default_rho", "need_inner_model"}
    assert keys("upscalers") == {"name", "model_name", "model_path", "model_url", "scale"}
    assert keys("latent-upscale-modes") == {"name"}
    assert keys("sd-models") == {"title", "model_name", "hash", "sha256", "filename", "config"}
    assert keys("sd-vae") == {"model_name", "filename"}
    assert web.get(f"{API}/hypernetworks").json() == []
    assert keys("face-restorers") == {"name", "cmd_dir"}
    assert keys("realesrgan-models") == {"name", "path", "scale"}
    assert keys("prompt-styles") == {"name", "prompt", "negative_prompt"}
    assert set(web.get(f"{API}/embeddings").json()) == {"loaded", "skipped"}
    assert keys("script-info") == {"name", "is_alwayson", "is_img2img", "args"}
    assert set(web.get(f"{API}/scripts").json()) == {"txt2img", "img2img"}
    assert keys("extensions") >= {"name", "remote", "branch", "enabled"}
    assert set(web.get(f"{API}/memory").json()) == {"ram", "cuda"}
    assert web.get(f"{API}/cmd-flags").json()["api"] is True
    assert web.get("/internal/ping").status_code == 200


def test_samplers_are_those_of_1_10_in_order_with_options_as_text(web: httpx.Client) -> None:
    samplers = web.get(f"{API}/samplers").json()
    assert [s["name"] for s in samplers[:3]] == ["DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE"]
    assert len(samplers) == 20
    assert samplers[1]["options"]["second_order"] == "True"


def test_calls_without_a_body_answer_as_the_host_does(web: httpx.Client) -> None:
    for path in ("refresh-vae", "refresh-embeddings", "refresh-checkpoints"):
        assert web.post(f"{API}/{path}").json() is None
    for path in ("unload-checkpoint", "reload-checkpoint"):
        assert web.post(f"{API}/{path}").json() == {}


# Pictures that exist


def test_png_info_reads_what_was_written(web: httpx.Client) -> None:
    image = text2image(web, prompt="a cat, sitting", seed=9)["images"][0]
    answer = web.post(f"{API}/png-info", json={"image": image}).json()
    assert answer["info"].startswith("a cat, sitting\nSteps: 2")
    assert answer["parameters"]["Prompt"] == "a cat, sitting"
    assert (answer["parameters"]["Seed"], answer["parameters"]["Size-1"]) == ("9", "64")
    assert web.post(f"{API}/png-info", json={"image": plain()}).json()["info"] == ""
    missing = web.post(f"{API}/png-info", json={}).json()["detail"][0]
    assert missing["type"] == "value_error.missing"


def test_extras_make_images_bigger(web: httpx.Client) -> None:
    body = {"upscaler_1": "Lanczos", "upscaling_resize": 3}
    one = web.post(f"{API}/extra-single-image", json={**body, "image": plain()}).json()
    assert decoded(one["image"]).size == (192, 192)
    assert "html_info" in one
    files = [{"data": plain(), "name": "a.png"}, {"data": plain(), "name": "b.png"}]
    many = web.post(f"{API}/extra-batch-images", json={**body, "imageList": files}).json()
    assert [decoded(image).size for image in many["images"]] == [(192, 192)] * 2
    sized = {"resize_mode": 1, "upscaling_resize_w": 100, "upscaling_resize_h": 50}
    fitted = web.post(f"{API}/extra-single-image", json={**body, **sized, "image": plain()}).json()
    assert decoded(fitted["image"]).size == (100, 50)


def test_extras_refuse_what_the_host_refuses(web: httpx.Client) -> None:
    def post(**body: Any) -> httpx.Response:
        return web.post(f"{API}/extra-single-image", json=body)

    assert post().json()["detail"] == "Invalid encoded image"
    assert post(upscaler_1="X", image=plain()).json()["error"] == "AssertionError"
    zero = post(upscaling_resize=0).json()["detail"][0]
    assert zero["msg"] == "ensure this value is greater than 0"
    assert zero["ctx"] == {"limit_value": 0}
    assert post(gfpgan_visibility=2).json()["detail"][0]["type"] == "value_error.number.not_le"
    assert post(resize_mode=5).json()["detail"][0]["type"] == "value_error.const"
    batch = web.post(f"{API}/extra-batch-images", json={"imageList": [{"name": "x"}]})
    assert batch.json()["detail"][0]["loc"] == ["body", "imageList", 0, "data"]


def test_interrogate_gives_a_caption(web: httpx.Client) -> None:
    image = text2image(web, prompt="a cat")["images"][0]
    path = f"{API}/interrogate"
    assert web.post(path, json={"image": image}).json() == {"caption": "a cat"}
    assert "red" in web.post(path, json={"image": plain("red")}).json()["caption"]
    unknown = web.post(path, json={"image": image, "model": "other"})
    assert (unknown.status_code, unknown.json()["detail"]) == (404, "Model not found")


# ControlNet


def unit(**changes: Any) -> dict[str, Any]:
    return {
        "enabled": True,
        "module": "canny",
        "model": "control_v11p_sd15_canny",
        "image": plain("white"),
        **changes,
    }


def control(web: httpx.Client, *units: Any) -> dict[str, Any]:
    return text2image(web, seed=1, alwayson_scripts={"ControlNet": {"args": list(units)}})


def test_controlnet_lists(web: httpx.Client) -> None:
    assert web.get("/controlnet/version").json() == {"version": 3}
    models = web.get("/controlnet/model_list").json()["model_list"]
    modules = web.get("/controlnet/module_list").json()
    kinds = web.get("/controlnet/control_types").json()["control_types"]
    assert all(model.endswith("]") for model in models)
    assert {"none", "canny"} <= set(modules["module_list"]) == set(modules["module_detail"])
    assert set(kinds["Canny"]) == {
        "module_list",
        "model_list",
        "default_option",
        "default_model",
    }
    assert kinds["Canny"]["default_model"] in models
    assert web.get("/controlnet/settings").json() == {"control_net_unit_count": 3}


def test_a_control_map_is_appended_after_the_images(web: httpx.Client) -> None:
    result = control(web, unit())
    assert len(result["images"]) == 2
    assert len(info_of(result)["all_seeds"]) == 1
    assert 'ControlNet 0: "Module: canny, Model: control_v11p' in info_of(result)["infotexts"][0]
    assert result["parameters"]["alwayson_scripts"]["ControlNet"]["args"][0]["image"]
    assert len(control(web, unit(save_detected_map=False))["images"]) == 1


def test_a_unit_is_off_by_default_and_takes_any_form_of_image(web: httpx.Client) -> None:
    off = unit()
    del off["enabled"]
    assert len(control(web, off)["images"]) == 1
    image = plain("white")
    for form in ({"image": image, "mask": image}, [image, image], [{"image": image}]):
        assert len(control(web, unit(image=form))["images"]) == 2


def test_detect_answers_with_maps(web: httpx.Client) -> None:
    body = {"controlnet_module": "openpose", "controlnet_input_images": [plain()]}
    answer = web.post("/controlnet/detect", json=body).json()
    assert answer["info"] == "Success"
    assert decoded(answer["images"][0]).size == (512, 512)
    assert answer["poses"][0]["people"]
    drawn = web.post("/controlnet/render_openpose_json", json=answer["poses"]).json()
    assert decoded(drawn["images"][0]).size == (512, 512)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"controlnet_module": "nope"}, "Module not available"),
        ({"controlnet_module": "clip_vision"}, "Module not supported"),
        ({"controlnet_module": "canny"}, "No image selected"),
        (
            {"controlnet_module": "inpaint_only", "controlnet_input_images": ["x"]},
            "Preprocessor inpaint_only requires `controlnet_masks` param.",
        ),
    ],
)
def test_detect_refuses(web: httpx.Client, body: dict[str, Any], detail: str) -> None:
    answer = web.post("/controlnet/detect", json=body)
    assert (answer.status_code, answer.json()["detail"]) == (422, detail)


# Other set-ups


def test_basic_auth_guards_the_api_but_not_the_extensions() -> None:
    with (
        sd_host.running(api_auth="ann:secret,bob:word") as guarded,
        httpx.Client(base_url=guarded.url, trust_env=False) as client,
    ):
        missing = client.post(f"{API}/txt2img", json={"seed": "x"})
        wrong = client.get(f"{API}/samplers", auth=("ann", "word"))
        assert missing.status_code == wrong.status_code == 401
        assert missing.json()["detail"] == "Not authenticated"
        assert wrong.json() == {
            "error": "HTTPException",
            "detail": "Incorrect username or password",
            "body": "",
            "errors": "",
        }
        assert "www-authenticate" not in missing.headers
        assert client.get(f"{API}/samplers", auth=("bob", "word")).status_code == 200
        for path in (f"{API}/loras", "/controlnet/version", "/internal/ping"):
            assert client.get(path).status_code == 200
        flags = client.get(f"{API}/cmd-flags", auth=("ann", "secret")).json()
        assert flags["api_auth"] == "ann:secret,bob:word"


def test_without_the_web_ui_there_are_no_internal_routes() -> None:
    with (
        sd_host.running(api_only=True) as bare,
        httpx.Client(base_url=bare.url, trust_env=False) as client,
    ):
        assert client.get("/internal/ping").status_code == 404
        assert client.get(f"{API}/progress").status_code == 200


def test_a_fresh_installation_has_hashes_only_for_what_it_loaded() -> None:
    with (
        sd_host.running(hashed=False, checkpoints=("a", "b")) as fresh,
        httpx.Client(base_url=fresh.url, trust_env=False) as client,
    ):
        loaded, other = client.get(f"{API}/sd-models").json()
        assert loaded["title"] == f"a.safetensors [{loaded['hash']}]"
        assert (other["title"], other["hash"]) == ("b.safetensors", None)
