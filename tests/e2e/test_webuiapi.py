"""The PyPI client of the SD web UI, as it is, against this service: what its examples do.

The client signs in by user name and password; the password is the API key. It works for a tenant
of its own, since it sets options.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import boto3
import httpx
import pytest
import webuiapi  # type: ignore[import-untyped]
from PIL import Image, ImageDraw

from dev.sd_host import Control
from robotchat.aws.keys import create_key
from robotchat.aws.stores import DynamoRecords
from tests.local_stack import RunningStack

SIZE = {"width": 128, "height": 128, "steps": 4}


@pytest.fixture(scope="module")
def key(stack: RunningStack) -> str:
    """A key of a tenant that only these tests use."""
    session = boto3.Session("test", "test", region_name=stack.region)
    client = session.client("dynamodb", endpoint_url=stack.aws_endpoint_url)
    secret, _ = create_key(DynamoRecords(client, stack.table), "webuiapi")
    return secret


@pytest.fixture
def api(stack: RunningStack, key: str) -> Iterator[webuiapi.WebUIApi]:
    """The client, made as its documentation makes it."""
    client = webuiapi.WebUIApi(
        baseurl=f"{stack.api_url}/sdapi/v1", username="anyone", password=key, steps=4
    )
    yield client
    client.set_options({"sd_model_checkpoint": None})
    client.session.close()


@pytest.fixture
def host(stack: RunningStack) -> Iterator[Control]:
    """The stand-in SD host behind the service."""
    with Control(stack.sd_hosts[0]) as control:
        yield control
        control.clear_faults()
        control.release()


def cat() -> Image.Image:
    """Something to begin with."""
    image = Image.new("RGB", (128, 128), "tan")
    ImageDraw.Draw(image).ellipse((32, 32, 96, 96), fill="orange")
    return image


def test_words_become_an_image(api: webuiapi.WebUIApi) -> None:
    result = api.txt2img(
        prompt="cute squirrel",
        negative_prompt="ugly, out of frame",
        seed=1003,
        styles=["Night"],
        cfg_scale=7,
        sampler_index="DDIM",
        **SIZE,
    )
    assert result.image.size == (128, 128)
    assert result.info["seed"] == 1003
    assert "cute squirrel" in result.info["prompt"]
    assert result.info["sampler_name"] == "Euler a", "the client's own default wins over the index"
    assert result.parameters["prompt"] == "cute squirrel"
    assert result.json["job_id"].startswith("job_")
    assert result.image.info["parameters"].startswith("cute squirrel")


def test_hires_fix_and_several_images(api: webuiapi.WebUIApi) -> None:
    result = api.txt2img(
        prompt="cute squirrel",
        seed=7,
        batch_size=2,
        n_iter=2,
        enable_hr=True,
        hr_scale=2,
        hr_upscaler=webuiapi.HiResUpscaler.Latent,
        hr_second_pass_steps=4,
        denoising_strength=0.4,
        **SIZE,
    )
    assert [image.size for image in result.images] == [(256, 256)] * 4
    assert result.info["all_seeds"] == [7, 8, 9, 10]


def test_an_image_becomes_another(api: webuiapi.WebUIApi) -> None:
    first = api.txt2img(prompt="cute squirrel", seed=1, **SIZE)
    result = api.img2img(
        images=[first.image],
        prompt="cute cat",
        seed=5555,
        cfg_scale=6.5,
        denoising_strength=0.6,
        **SIZE,
    )
    assert result.image.size == (128, 128)
    assert result.info["seed"] == 5555
    assert result.image.tobytes() != first.image.tobytes()
    assert result.parameters["init_images"] is None


def test_only_what_is_masked_is_painted_anew(api: webuiapi.WebUIApi) -> None:
    source = cat()
    mask = Image.new("RGB", source.size, "black")
    ImageDraw.Draw(mask).rectangle((64, 0, 128, 128), fill="white")
    result = api.img2img(
        images=[source],
        mask_image=mask,
        mask_blur=0,
        inpainting_fill=1,
        inpaint_full_res=False,
        prompt="a night sky",
        seed=5555,
        denoising_strength=0.9,
        **SIZE,
    )
    old, new = source.crop((0, 0, 56, 128)), result.image.convert("RGB").crop((0, 0, 56, 128))
    assert old.tobytes() == new.tobytes()
    assert source.tobytes() != result.image.convert("RGB").tobytes()


def test_images_are_enlarged(api: webuiapi.WebUIApi) -> None:
    one = api.extra_single_image(
        image=cat(), upscaler_1=webuiapi.Upscaler.Lanczos, upscaling_resize=1.5
    )
    assert one.image.size == (192, 192)
    several = api.extra_batch_images(
        images=[cat(), cat()], upscaler_1=webuiapi.Upscaler.Lanczos, upscaling_resize=2
    )
    assert [image.size for image in several.images] == [(256, 256)] * 2


def test_an_image_tells_how_it_was_drawn(api: webuiapi.WebUIApi) -> None:
    drawn = api.txt2img(prompt="cute squirrel", seed=42, **SIZE)
    told = api.png_info(drawn.image)
    assert told.info.startswith("cute squirrel")
    assert (told.parameters["Seed"], told.parameters["Sampler"]) == ("42", "Euler a")


@pytest.mark.parametrize("model", ["clip", "deepdanbooru"])
def test_words_are_found_for_an_image(api: webuiapi.WebUIApi, model: str) -> None:
    assert api.interrogate(image=cat(), model=model).info


def test_options_are_the_tenants_own(
    api: webuiapi.WebUIApi, stack: RunningStack, host: Control
) -> None:
    before = api.get_options()
    other = next(n for n in api.util_get_model_names() if n != before["sd_model_checkpoint"])
    assert api.set_options({"sd_model_checkpoint": other}) is None
    assert api.get_options()["sd_model_checkpoint"] == other
    assert (
        api.txt2img(prompt="a", **SIZE).info["sd_model_name"] == other.partition(".safetensors")[0]
    )
    theirs = httpx.get(f"{stack.api_url}/sdapi/v1/options", headers=stack.headers).json()
    assert theirs["sd_model_checkpoint"] != other or theirs == before
    assert all(request["method"] == "GET" for request in host.requests("/sdapi/v1/options"))


def test_a_checkpoint_is_chosen_by_a_name_like_it(api: webuiapi.WebUIApi) -> None:
    names = api.util_get_model_names()
    assert names == sorted(names)
    assert len(names) > 1
    for wanted in names:
        api.util_set_model(wanted.partition(".safetensors")[0])
        assert api.util_get_current_model() == wanted
    drawn = api.txt2img(prompt="a", **SIZE)
    assert drawn.info["sd_model_name"] == names[-1].partition(".safetensors")[0]


def test_what_there_is(api: webuiapi.WebUIApi) -> None:
    assert {"title", "model_name", "hash", "sha256", "filename"} <= set(api.get_sd_models()[0])
    assert "Euler a" in api.util_get_sampler_names()
    assert "karras" in api.util_get_scheduler_names()
    assert {"name", "label"} <= set(api.get_schedulers()[0])
    assert "Lanczos" in [one["name"] for one in api.get_upscalers()]
    assert "Latent" in [one["name"] for one in api.get_latent_upscale_modes()]
    assert api.get_sd_vae()[0]["model_name"]
    assert isinstance(api.get_hypernetworks(), list)
    assert api.get_face_restorers()[0]["name"]
    assert api.get_realesrgan_models()[0]["name"]
    assert {"name", "prompt", "negative_prompt"} <= set(api.get_prompt_styles()[0])
    assert {"loaded", "skipped"} <= set(api.get_embeddings())
    assert {"ram", "cuda"} <= set(api.get_memory())
    assert "api_auth" not in api.get_cmd_flags()
    assert "controlnet" in api.get_scripts()["txt2img"]
    assert api.has_controlnet


def test_new_files_are_found_after_a_refresh(api: webuiapi.WebUIApi, host: Control) -> None:
    host.add_lora("brand_new_lora")
    host.add_checkpoint("brand_new_model")
    try:
        assert "brand_new_lora" not in [lora["name"] for lora in api.get_loras()]
        api.session.post(f"{api.baseurl}/refresh-loras")
        assert "brand_new_lora" in [lora["name"] for lora in api.get_loras()]
        assert api.refresh_checkpoints() is None
        (title,) = [name for name in api.util_get_model_names() if "brand_new" in name]
        options = {"sd_model_checkpoint": title}
        drawn = api.txt2img(prompt="<lora:brand_new_lora:1>", override_settings=options, **SIZE)
        assert drawn.info["sd_model_name"] == "brand_new_model"
    finally:
        host.remove_lora("brand_new_lora")
        host.remove_checkpoint("brand_new_model")
        api.session.post(f"{api.baseurl}/refresh-loras")
        api.refresh_checkpoints()


def test_progress_and_interrupt_are_of_ones_own_work(
    api: webuiapi.WebUIApi, stack: RunningStack, key: str, host: Control
) -> None:
    api.util_wait_for_ready(check_interval=0.2)
    assert api.get_progress()["state"]["job_count"] == 0
    assert api.interrupt() == {}
    assert api.skip() is None

    host.hold(at_step=4)
    results: list[Any] = []

    def draw() -> None:
        results.append(api.txt2img(prompt="a beach", n_iter=3, steps=8, width=128, height=128))

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        host.wait_for(paused=1, timeout=20)
        mine = _until(api.get_progress, lambda seen: seen["progress"] > 0.01)
        assert 0 < mine["progress"] < 1
        assert mine["state"]["sampling_steps"] == 8
        seen = _until(api.get_progress, lambda seen: seen["state"]["job_count"] == 3)
        assert seen["state"]["job"] == "scripts_txt2img"
        with httpx.Client(base_url=stack.api_url, headers=stack.headers, timeout=60) as others:
            theirs = others.get("/sdapi/v1/progress").json()
            assert theirs["state"]["job_count"] == 0
            assert others.post("/sdapi/v1/interrupt").json() == {}
            mine_only = {"x-api-key": key}
            with httpx.Client(base_url=stack.api_url, headers=mine_only, timeout=60) as own:
                job = own.get("/v1/jobs").json()["data"][0]["id"]
            assert others.post("/sdapi/v1/interrupt", params={"job_id": job}).is_error
    finally:
        # Also where something is wrong: its host is not to be held for the tests after this one.
        interrupted = api.interrupt()
        thread.join(30)
    assert interrupted == {}
    (result,) = results
    assert len(result.images) == 1, "the first of three, as far as it was"
    assert host.stats()["interrupts_received"]


def _until(look: Any, enough: Any) -> Any:
    """What is seen, once it is enough; each look is a request, so that this does not spin."""
    for _ in range(2000):
        seen = look()
        if enough(seen):
            return seen
    raise AssertionError(f"never seen: {seen}")


def test_controlnet(api: webuiapi.WebUIApi) -> None:
    assert api.controlnet_version() >= 2
    model = next(name for name in api.controlnet_model_list() if "canny" in name)
    assert "canny" in api.controlnet_module_list()
    detected = api.controlnet_detect(images=[cat()], module="canny", processor_res=128)
    assert len(detected.images) == 1

    unit = webuiapi.ControlNetUnit(image=cat(), module="canny", model=model)
    result = api.txt2img(prompt="a cat", controlnet_units=[unit], alwayson_scripts={}, **SIZE)
    assert len(result.images) == 2, "the picture, then the map"
    assert "ControlNet 0" in result.image.info["parameters"]
    unit = webuiapi.ControlNetUnit(module="canny", model=model)
    again = api.img2img(
        images=[cat()], prompt="a cat", controlnet_units=[unit], alwayson_scripts={}, **SIZE
    )
    assert len(again.images) == 2
    without = api.txt2img(prompt="a cat", alwayson_scripts={}, **SIZE)
    assert len(without.images) == 1


def test_a_wrong_controlnet_model_is_an_error_and_not_left_out_in_silence(
    api: webuiapi.WebUIApi,
) -> None:
    unit = webuiapi.ControlNetUnit(image=cat(), module="canny", model="control_caney")
    with pytest.raises(RuntimeError) as refusal:
        api.txt2img(prompt="a cat", controlnet_units=[unit], alwayson_scripts={}, **SIZE)
    assert refusal.value.args[0] == 422
    assert "canny" in refusal.value.args[1]


def test_a_script_that_is_not_allowed_is_refused(api: webuiapi.WebUIApi) -> None:
    with pytest.raises(RuntimeError) as refusal:
        api.txt2img(prompt="a cat", script_name="X/Y/Z plot", script_args=[], **SIZE)
    assert refusal.value.args[0] == 422


@pytest.mark.filterwarnings("ignore:.*[Aa]uth.*:DeprecationWarning")  # the client's own
def test_several_images_asynchronously(api: webuiapi.WebUIApi) -> None:
    async def draw() -> list[Any]:
        return list(
            await asyncio.gather(
                *(api.txt2img(prompt="a", seed=n, use_async=True, **SIZE) for n in range(3))
            )
        )

    results = asyncio.run(draw())
    assert sorted(result.info["seed"] for result in results) == [0, 1, 2]


def test_a_wrong_password_is_refused(stack: RunningStack) -> None:
    client = webuiapi.WebUIApi(
        baseurl=f"{stack.api_url}/sdapi/v1", username="anyone", password="rk_" + "x" * 30
    )
    try:
        with pytest.raises(RuntimeError) as refusal:
            client.txt2img(prompt="a")
    finally:
        client.session.close()
    assert refusal.value.args[0] == 401
