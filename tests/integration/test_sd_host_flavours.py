"""The stand-in's other personalities: what those hosts do otherwise than the A1111 web UI."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from PIL import Image

from dev import sd_host

API = "/sdapi/v1"
FLUX = {"sd_model_checkpoint": "flux1-dev"}
FILES = ["ae.safetensors", "clip_l.safetensors", "t5xxl_fp8_e4m3fn.safetensors"]


@contextmanager
def served(personality: str, **options: Any) -> Iterator[tuple[httpx.Client, sd_host.RunningHost]]:
    checkpoints = ("dreamshaper_8", "flux1-dev")
    with (
        sd_host.running(
            **{"personality": personality, "checkpoints": checkpoints, **options}
        ) as host,
        httpx.Client(base_url=host.url, timeout=20, trust_env=False) as client,
    ):
        yield client, host


@pytest.fixture(scope="module", params=["forge", "forge-neo"])
def forge(request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    with served(request.param) as (client, _):
        yield client


@pytest.fixture(scope="module")
def sdnext() -> Iterator[httpx.Client]:
    with served("sdnext") as (client, _):
        yield client


@pytest.fixture(scope="module")
def kobold() -> Iterator[httpx.Client]:
    with served("koboldcpp") as (client, _):
        yield client


@pytest.fixture(scope="module")
def app() -> Iterator[httpx.Client]:
    with served("drawthings") as (client, _):
        yield client


def draw(web: httpx.Client, path: str = "txt2img", **body: Any) -> httpx.Response:
    wanted = {"prompt": "a cat", "steps": 1, "width": 128, "height": 128, **body}
    return web.post(f"{API}/{path}", json=wanted)


def images(answer: httpx.Response) -> list[Image.Image]:
    assert answer.status_code == 200, answer.text
    return [Image.open(io.BytesIO(base64.b64decode(i))) for i in answer.json()["images"]]


def png(width: int = 128, height: int = 128, colour: str = "red") -> str:
    out = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def infotext(answer: httpx.Response) -> str:
    text: str = json.loads(answer.json()["info"])["infotexts"][0]
    return text


# Forge


def test_forge_lists_modules_instead_of_vaes(forge: httpx.Client) -> None:
    names = [item["model_name"] for item in forge.get(f"{API}/sd-modules").json()]
    assert set(FILES) < set(names)
    for path in (f"{API}/sd-vae", "/controlnet/version", "/controlnet/settings"):
        assert forge.get(path).status_code == 404
    assert "module_detail" not in forge.get("/controlnet/module_list").json()


def test_flux_needs_its_modules_and_draws_black_with_guidance(forge: httpx.Client) -> None:
    answer = draw(forge, override_settings=FLUX)
    assert answer.status_code == 500
    assert answer.json() == {
        "error": "AssertionError",
        "detail": "",
        "body": "",
        "message": "You do not have VAE state dict!",
    }
    with_files = {**FLUX, "forge_additional_modules": FILES}
    black = draw(forge, override_settings=with_files, cfg_scale=7)
    assert images(black)[0].convert("L").getextrema() == (0, 0)
    drawn = draw(forge, override_settings=with_files, cfg_scale=1, scheduler="Simple")
    assert images(drawn)[0].convert("L").getextrema() != (0, 0)
    for words in ("Distilled CFG Scale: 3.5", "Module 1: ae", "Module 2: clip_l", "Schedule type"):
        assert words in infotext(drawn)


def test_modules_that_it_does_not_have_go_unsaid_and_the_others_stay() -> None:
    with served("forge") as (web, _):
        options = {"forge_additional_modules": [*FILES, "not there.safetensors"]}
        assert "Module 3" in infotext(draw(web, override_settings=options))
        # On a new installation the override was never set before, so it is not put back.
        assert "Module 3" in infotext(draw(web))
        assert web.post(f"{API}/options", json={"forge_additional_modules": []}).json() is None
        assert "Module 1" not in infotext(draw(web))
        draw(web, override_settings=options)
        assert web.get(f"{API}/options").json()["forge_additional_modules"] == []


def test_setting_no_modules_where_none_were_ever_set_sets_nothing() -> None:
    with served("forge") as (web, _):
        web.post(f"{API}/options", json={"forge_additional_modules": []})
        draw(web, override_settings={"forge_additional_modules": FILES})
        shown = web.get(f"{API}/options").json()["forge_additional_modules"]
        assert [path.rpartition("/")[2] for path in shown] == FILES


def test_forge_answers_errors_as_plain_fastapi_does(forge: httpx.Client) -> None:
    answer = forge.post(f"{API}/img2img", json={"prompt": "a"})
    assert (answer.status_code, answer.json()) == (404, {"detail": "Init image not found"})
    assert "X-Process-Time" not in answer.headers
    assert draw(forge, override_settings={"no_such": 1}).json()["error"] == "KeyError"


def test_hires_without_its_modules_is_a_type_error(forge: httpx.Client) -> None:
    hires: dict[str, Any] = {"enable_hr": True, "hr_scale": 2, "denoising_strength": 0.5}
    assert draw(forge, **hires).json()["error"] == "TypeError"
    drawn = draw(forge, **hires, hr_additional_modules=["Use same choices"])
    assert images(drawn)[0].size == (256, 256)


def test_a_unit_is_on_unless_it_says_otherwise(forge: httpx.Client) -> None:
    unit = {"module": "canny", "model": "control_v11p_sd15_canny", "image": png()}
    for given, count in ((unit, 2), ({**unit, "enabled": False}, 1)):
        answer = draw(forge, alwayson_scripts={"controlnet": {"args": [given]}})
        assert len(images(answer)) == count


def test_what_neo_has_not() -> None:
    with served("forge-neo") as (web, _):
        for path in ("hypernetworks", "realesrgan-models", "interrogate"):
            assert web.get(f"{API}/{path}").status_code == 404
        assert web.post(f"{API}/reload-checkpoint").status_code == 404
        drawn = draw(web, "img2img", init_images=[png()])
        assert json.loads(drawn.json()["info"])["denoising_strength"] == 0.6
        flux = {**FLUX, "forge_additional_modules": FILES}
        shifted = draw(web, override_settings=flux, cfg_scale=1, distilled_cfg_scale=3)
        assert "Shift: 3" in infotext(shifted)


# SD.Next


def test_sdnexts_defaults_and_account(sdnext: httpx.Client) -> None:
    answer = sdnext.post(f"{API}/txt2img", json={"prompt": "a cat", "seed": 7})
    assert images(answer)[0].size == (1024, 1024)
    info = json.loads(answer.json()["info"])
    assert (info["steps"], info["cfg_scale"], info["sampler_name"]) == (20, 6.0, "Default")
    assert "sd_model_name" not in info
    assert "Model: dreamshaper_8" in info["infotexts"][0]
    assert images(answer)[0].format == "JPEG"


def test_sdnext_answers_204(sdnext: httpx.Client) -> None:
    for name in ("interrupt", "skip", "refresh-checkpoints", "refresh-vae", "reload-checkpoint"):
        answer = sdnext.post(f"{API}/{name}")
        assert (answer.status_code, answer.content) == (204, b"")


def test_sdnexts_lists(sdnext: httpx.Client) -> None:
    assert sdnext.get(f"{API}/embeddings").json() == {"loaded": ["EasyNegative"], "skipped": []}
    samplers = [item["name"] for item in sdnext.get(f"{API}/samplers").json()]
    schedulers = [item["name"] for item in sdnext.get(f"{API}/schedulers").json()]
    assert set(samplers) < set(schedulers)
    assert sdnext.get(f"{API}/sd-models").json()[0]["title"].startswith("dreamshaper_8 [")
    for path in ("latent-upscale-modes", "hypernetworks", "interrogate"):
        assert sdnext.get(f"{API}/{path}").status_code == 404
    assert sdnext.get("/controlnet/model_list").status_code == 404
    assert sdnext.get(f"{API}/version").json()["app"] == "sdnext"
    assert sdnext.get(f"{API}/status").json()["status"] == "idle"


def test_sdnexts_errors(sdnext: httpx.Client) -> None:
    answer = draw(sdnext, sampler_name="DPM++ 2M Karras")
    assert (answer.status_code, answer.json()["detail"]) == (404, "Sampler not found")
    assert set(answer.json()) == {"error", "code", "detail", "body", "errors"}
    assert draw(sdnext, sampler_name="euler A").status_code == 200
    answer = draw(sdnext, "img2img")
    assert (answer.status_code, answer.json()) == (400, {"error": "Init image is none"})
    units = {"controlnet": {"args": [{"enabled": True}]}}
    assert draw(sdnext, alwayson_scripts=units).status_code == 422


def test_sdnext_ignores_what_it_does_not_know(sdnext: httpx.Client) -> None:
    same = [
        images(draw(sdnext, seed=3, **more))[0].tobytes()
        for more in (
            {},
            {"scheduler": "Karras"},
            {"enable_hr": True, "hr_scale": 2.0},
            {"refiner_checkpoint": "flux1-dev"},
            {"script_name": "no such script"},
            {"override_settings": {"no_such": 1, "sd_model_checkpoint": "nor this"}},
        )
    ]
    assert len(set(same)) == 1


def test_sdnext_resizes_only_when_told(sdnext: httpx.Client) -> None:
    wide = png(256, 128)
    for mode, size in ((0, (256, 128)), (1, (128, 128)), (3, (128, 128))):
        answer = draw(sdnext, "img2img", init_images=[wide], resize_mode=mode)
        assert images(answer)[0].size == size


def test_an_interrupted_drawing_of_sdnext_is_its_preview() -> None:
    import threading

    with served("sdnext") as (web, host):
        host.hold()
        answers: list[httpx.Response] = []
        thread = threading.Thread(
            target=lambda: answers.append(draw(web, steps=4, batch_size=2, width=256, height=256))
        )
        thread.start()
        host.wait_for(paused=1)
        assert web.post(f"{API}/interrupt").status_code == 204
        thread.join()
        assert [image.size for image in images(answers[0])] == [(128, 128)]


def test_what_is_beyond_the_limit_is_drawn_and_lost() -> None:
    with served("sdnext", rate_limit=10) as (web, host):
        codes = [draw(web).status_code for _ in range(3)]
        assert codes == [200, 200, 429]
        assert host.stats()["generations_finished"] == 3
        assert web.get(f"{API}/sd-models").status_code == 200


# KoboldCpp


def test_koboldcpp_draws_one_and_says_nothing(kobold: httpx.Client) -> None:
    answer = draw(kobold, batch_size=3, n_iter=2, width=504, height=504)
    assert answer.json()["info"] == ""
    assert [image.size for image in images(answer)] == [(504, 504)]
    assert "Seed: " in images(answer)[0].text["parameters"]  # type: ignore[attr-defined]
    with served("koboldcpp", size_step=64) as (web, _):
        assert images(draw(web, width=504, height=504))[0].size == (448, 448)


def test_koboldcpp_has_few_routes(kobold: httpx.Client) -> None:
    model = kobold.get(f"{API}/sd-models").json()[0]
    assert model["hash"] == "8888888888"
    assert kobold.get("/api/extra/version").json()["result"] == "KoboldCpp"
    for path in ("progress", "interrupt", "loras", "schedulers", "txt2img"):
        answer = kobold.get(f"{API}/{path}")
        assert answer.status_code == 404
        assert "does not exist" in answer.text
    assert kobold.post(f"{API}/interrupt").content == b""


def test_a_failed_drawing_of_koboldcpp_is_200_with_an_empty_image() -> None:
    with served("koboldcpp") as (web, host):
        host.set_faults({"kind": "error"})
        answer = draw(web)
        assert (answer.status_code, answer.json()["images"]) == (200, [""])


def test_koboldcpps_queue_is_short() -> None:
    import threading

    with served("koboldcpp", queue=1) as (web, host):
        host.hold()
        threads = [threading.Thread(target=draw, args=(web,)) for _ in range(2)]
        threads[0].start()
        host.wait_for(paused=1)
        threads[1].start()
        host.wait_for(waiting=1)
        answer = draw(web)
        assert answer.status_code == 503
        assert answer.json()["detail"]["type"] == "service_unavailable"
        host.release()
        for thread in threads:
            thread.join()


def test_koboldcpp_cannot_parse() -> None:
    with served("koboldcpp") as (web, _):
        answer = web.post(f"{API}/txt2img", content=b"{")
        assert (answer.status_code, answer.json()["detail"]["type"]) == (500, "bad_input")


# Draw Things


def test_the_app_shows_its_settings_and_no_lists(app: httpx.Client) -> None:
    shown = app.get("/").json()
    assert shown == app.get(f"{API}/options").json()
    assert (shown["width"], shown["batch_size"]) == (768, 2)
    for path in ("sd-models", "samplers", "loras", "progress", "interrupt"):
        assert app.get(f"{API}/{path}").status_code == 404


def test_the_app_draws_what_it_shows_where_nothing_is_said(app: httpx.Client) -> None:
    answer = app.post(f"{API}/txt2img", json={"prompt": "a cat"})
    assert set(answer.json()) == {"images"}
    assert [image.size for image in images(answer)] == [(768, 512)] * 2


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("txt2img", {"scheduler": "Karras"}, "Unrecognized keys"),
        ("txt2img", {"override_settings": {}}, "Unrecognized keys"),
        ("txt2img", {"width": 64}, "between 128 and 8192"),
        ("txt2img", {"batch_size": 5}, "between 1 and 4"),
        ("txt2img", {"sampler_name": "Euler"}, "Invalid value"),
        ("txt2img", {"sampler_name": "LCM", "sampler": "LCM"}, "More than one key"),
        ("txt2img", {"steps": "20"}, "typeMismatch"),
        ("txt2img", {"model": "none such"}, "Unrecognized model name"),
        ("txt2img", {"init_images": []}, "not supported for text-to-image"),
        ("img2img", {"init_images": [png(128, 192)]}, "doesn't match"),
        ("img2img", {"init_images": ["bm90IGE="]}, "valid image"),
        ("img2img", {"init_images": [png()], "mask": png()}, "Unrecognized keys"),
    ],
)
def test_the_app_refuses(app: httpx.Client, path: str, body: dict[str, Any], says: str) -> None:
    answer = draw(app, path, **body)
    assert answer.status_code == 422
    assert answer.json()["error"] == "HTTPException"
    assert says in answer.json()["detail"]


def test_the_app_cuts_sides_down_to_64(app: httpx.Client) -> None:
    answer = draw(app, width=200, height=130, batch_size=1)
    assert [image.size for image in images(answer)] == [(192, 128)]
    answer = draw(app, "img2img", init_images=[png(200, 130)], width=200, height=130, batch_size=1)
    assert [image.size for image in images(answer)] == [(192, 128)]
