"""What a client of the web UI observes, asked of the functions over stand-in SD hosts."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from PIL import Image

from dev import sd_host
from dev.checks.openapi import load_handler
from robotchat.aws import wiring
from robotchat.drivers.webui import WebUI
from robotchat.images import decode_base64, encode_base64
from robotchat.lifecycle import heartbeat
from robotchat.settings import Settings
from tests.cases.service import ROOT, Answer, Context, Service

SMALL = {"prompt": "a beach", "steps": 2, "width": 64, "height": 64}


class Surface:
    """The functions over stand-in hosts."""

    def __init__(self, service: Service, hosts: list[sd_host.RunningHost]) -> None:
        self.service = service
        self.hosts = hosts
        self.call = service.call

    @property
    def host(self) -> sd_host.RunningHost:
        return self.hosts[0]

    def txt2img(self, **fields: Any) -> Answer:
        return self.call("sd/text2image", {**SMALL, **fields})

    def img2img(self, **fields: Any) -> Answer:
        return self.call("sd/image2image", {**SMALL, "init_images": [drawn()], **fields})


@pytest.fixture
def over() -> Iterator[Callable[..., Surface]]:
    """Makes the functions over hosts with these options each."""
    with ExitStack() as stack:

        def make(*options: dict[str, Any], settings: Settings | None = None) -> Surface:
            hosts = [stack.enter_context(sd_host.running(**one)) for one in options or ({},)]
            service = stack.enter_context(Service.over([], settings))
            for number, host in enumerate(hosts):
                driver = WebUI(host.url)
                stack.callback(driver.close)
                service.hosts[f"sd-{number}"] = driver  # type: ignore[assignment]
            return Surface(service, hosts)

        yield make


@pytest.fixture
def surface(over: Callable[..., Surface]) -> Surface:
    """The functions over one host."""
    return over()


def drawn(colour: str = "orange", size: tuple[int, int] = (64, 64)) -> str:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return encode_base64(file.getvalue())


def opened(text: str) -> Image.Image:
    assert not text.startswith("data:"), "pictures come without a data URI's head"
    return Image.open(io.BytesIO(decode_base64(text)))


# --- requests -------------------------------------------------------------------------------------


def test_fields_are_read_as_leniently_as_the_web_ui_reads_them(surface: Surface) -> None:
    answer = surface.txt2img(
        width="64", height=64.7, steps=2.0, tiling="yes", nonsense={"a": 1}, cfg_scale="7.5"
    )
    assert answer.status == 200
    assert opened(answer.body["images"][0]).size == (64, 64)
    assert answer.body["parameters"]["tiling"] is True
    assert "nonsense" not in answer.body["parameters"]


def test_every_field_may_be_null(surface: Surface) -> None:
    fields = list(surface.txt2img().body["parameters"])
    nothing = {name: None for name in fields if name not in SMALL}
    assert surface.txt2img(**nothing).status == 200


def test_an_odd_size_comes_back_as_a_multiple_of_eight(surface: Surface) -> None:
    assert opened(surface.txt2img(width=70, height=79).body["images"][0]).size == (64, 72)


def test_a_wrong_field_has_its_place_kind_and_message(surface: Surface) -> None:
    answer = surface.txt2img(steps="many")
    assert answer.status == 422
    (problem,) = answer.body["detail"]
    assert problem["loc"] == ["body", "steps"]
    assert set(problem) == {"loc", "msg", "type"}


def test_a_body_that_is_not_json_is_a_422_with_the_place(surface: Surface) -> None:
    event = json.loads((ROOT / "events/sd/text2image.json").read_text("utf-8"))
    event["body"] = '{"prompt": '
    answer = load_handler(ROOT / "functions/sd/text2image/app.py")(event, Context())
    assert answer["statusCode"] == 422
    (problem,) = json.loads(answer["body"])["detail"]
    assert problem["loc"][0] == "body"
    assert problem["type"] == "value_error.jsondecode"


def test_the_older_name_of_the_sampler_is_understood(surface: Surface) -> None:
    info = json.loads(surface.txt2img(sampler_index="DDIM").body["info"])
    assert info["sampler_name"] == "DDIM"


def test_a_schedule_in_a_samplers_name_is_understood(surface: Surface) -> None:
    answer = surface.txt2img(sampler_name="DPM++ 2M Exponential")
    assert "Schedule type: Exponential" in json.loads(answer.body["info"])["infotexts"][0]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"sampler_name": "Eulr"}, "unknown_sampler"),
        ({"scheduler": "carras"}, "unknown_sampler"),
        ({"override_settings": {"sd_model_checkpoint": "dreamshapper"}}, "unknown_checkpoint"),
        ({"refiner_checkpoint": "none such"}, "unknown_checkpoint"),
        ({"enable_hr": True, "hr_upscaler": "Lanczoz"}, "invalid_request"),
        ({"override_settings": {"outdir_samples": "/tmp"}}, "forbidden_option"),  # noqa: S108
        ({"script_name": "x/y/z plot"}, "unknown_script"),
        ({"alwayson_scripts": {"adetailer": {"args": []}}}, "unknown_script"),
        (
            {"alwayson_scripts": {"controlnet": {"args": [{"enabled": True, "model": "x"}]}}},
            "invalid_request",
        ),
    ],
)
def test_what_a_host_would_replace_or_leave_out_in_silence_is_refused(
    surface: Surface, fields: dict[str, Any], code: str
) -> None:
    answer = surface.txt2img(**fields)
    assert (answer.status, answer.body["error"]) == (422, code)
    assert surface.host.requests("txt2img") == []


# --- answers --------------------------------------------------------------------------------------


def test_an_answer_has_images_parameters_and_info_as_text(surface: Surface) -> None:
    body = surface.txt2img(seed=5, n_iter=2, batch_size=2).body
    assert {"images", "parameters", "info", "job_id", "image_urls", "expires_at"} == set(body)
    info = json.loads(body["info"])
    assert info["all_seeds"] == [5, 6, 7, 8]
    assert (info["index_of_first_image"], len(info["infotexts"])) == (0, 4)
    assert len(body["images"]) == len(body["image_urls"]) == 4
    for text, image in zip(info["infotexts"], body["images"], strict=True):
        assert opened(image).info["parameters"] == text


def test_variations_have_one_seed(surface: Surface) -> None:
    body = surface.txt2img(seed=5, n_iter=2, subseed=9, subseed_strength=0.5).body
    assert json.loads(body["info"])["all_seeds"] == [5, 5]


def test_images_are_left_out_on_request_but_stored(surface: Surface) -> None:
    body = surface.txt2img(send_images=False).body
    assert body["images"] == []
    assert len(body["image_urls"]) == 1


def test_saving_on_the_host_is_not_asked_for_and_brings_no_grid(surface: Surface) -> None:
    body = surface.txt2img(save_images=True, batch_size=2).body
    assert len(body["images"]) == 2
    assert "save_images" not in surface.host.requests("txt2img")[0]["body"]


def test_a_format_that_the_host_does_not_heed_is_made_here(surface: Surface) -> None:
    body = surface.txt2img(override_settings={"samples_format": "jpg"}).body
    assert opened(body["images"][0]).format == "JPEG"
    job = wiring.robot().jobs.get(body["job_id"], "dev")
    assert job.unverified == []
    plain = surface.txt2img().body
    assert opened(plain["images"][0]).format == "PNG", "and is nobody else's"
    refused = surface.call("sd/set_options", {"samples_format": "jpg"})
    assert (refused.status, refused.body["error"]) == (422, "forbidden_option")
    assert surface.call("sd/set_options", {"samples_format": "png"}).status == 200


def test_hires_fix_works_without_the_strength_that_hosts_forget(surface: Surface) -> None:
    body = surface.txt2img(enable_hr=True, hr_scale=2).body
    assert opened(body["images"][0]).size == (128, 128)


@pytest.mark.parametrize("head", ["", "data:image/png;base64,"])
def test_an_image_may_come_bare_or_as_a_data_uri(surface: Surface, head: str) -> None:
    answer = surface.img2img(init_images=[head + drawn()])
    assert answer.status == 200
    assert answer.body["parameters"]["init_images"] is None
    assert answer.body["parameters"]["mask"] is None


def test_the_input_is_repeated_on_request(surface: Surface) -> None:
    body = surface.img2img(include_init_images=True).body
    assert body["parameters"]["init_images"] == [drawn()]


@pytest.mark.parametrize(
    "fields",
    [
        {"init_images": []},
        {"init_images": None},
        {"init_images": ["rubbish"]},
        {"init_images": [""]},
        {"init_images": [drawn(), drawn()]},
        {"init_images": ["/etc/passwd"]},
        {"init_images": ["http://169.254.169.254/latest"]},
        {"init_images": ["https://localhost/x.png"]},
    ],
)
def test_an_image_that_cannot_be_used_is_refused(surface: Surface, fields: dict[str, Any]) -> None:
    assert surface.img2img(**fields).status == 422
    assert surface.host.requests("img2img") == []


def test_several_images_make_a_batch(surface: Surface) -> None:
    body = surface.img2img(init_images=[drawn("red"), drawn("blue")], batch_size=2).body
    assert len(body["images"]) == 2


def test_a_mask_that_masks_nothing_is_no_mask(surface: Surface) -> None:
    assert surface.img2img(mask=drawn("black")).status == 200


def test_maps_of_controlnet_come_behind_the_images_and_apart_in_the_job(
    surface: Surface,
) -> None:
    models = surface.call("controlnet/get_controlnet_model_list").body["model_list"]
    model = next(name for name in models if "canny" in name)
    unit = {"enabled": True, "module": "canny", "model": model, "image": drawn()}
    body = surface.txt2img(n_iter=2, alwayson_scripts={"ControlNet": {"args": [unit]}}).body
    assert len(body["images"]) == len(body["image_urls"]) == 3
    assert len(json.loads(body["info"])["all_seeds"]) == 2
    job = wiring.robot().jobs.get(body["job_id"], "dev")
    assert (len(job.images), len(job.extra_images)) == (2, 1)
    quiet = surface.txt2img(
        alwayson_scripts={"controlnet": {"args": [{**unit, "save_detected_map": False}]}}
    )
    assert len(quiet.body["images"]) == 1


# --- hosts that fail ------------------------------------------------------------------------------


def test_a_host_out_of_memory_is_a_503_without_its_own_words(over: Callable[..., Surface]) -> None:
    surface = over(settings=Settings(max_attempts=1))
    surface.host.set_faults({"kind": "error", "times": None})
    answer = surface.txt2img()
    assert (answer.status, answer.body["error"]) == (503, "upstream_unavailable")
    assert "CUDA" not in json.dumps(answer.body)
    assert "127.0.0.1" not in json.dumps(answer.body)


def test_what_one_host_refuses_in_silence_another_does(over: Callable[..., Surface]) -> None:
    surface = over({}, {}, settings=Settings(retry_base=0.01))
    liar = surface.hosts[0]
    liar.set_faults({"kind": "wrong_sampler", "sampler": "LMS", "times": None})
    for seed in range(3):
        body = surface.txt2img(seed=seed, sampler_name="Euler a").body
        assert json.loads(body["info"])["sampler_name"] == "Euler a"


# --- a bare engine --------------------------------------------------------------------------------


@pytest.fixture
def engine(over: Callable[..., Surface]) -> Surface:
    """The functions over an engine without most of the web UI's API."""
    return over({"personality": "sdcpp", "sdcpp_info": "empty"})


def test_a_bare_engine_draws_and_what_it_does_not_tell_is_said(engine: Surface) -> None:
    body = engine.txt2img(seed=3, sampler_name="Euler a").body
    assert opened(body["images"][0]).size == (64, 64)
    info = json.loads(body["info"])
    assert (info["seed"], info["prompt"]) == (3, "a beach")
    job = wiring.robot().jobs.get(body["job_id"], "dev")
    assert {"checkpoint", "sampler", "seed"} <= set(job.unverified)


def test_a_bare_engine_rounds_sizes_up_and_that_is_known(engine: Surface) -> None:
    assert opened(engine.txt2img(width=100, height=70).body["images"][0]).size == (128, 128)


def test_what_a_bare_engine_would_pass_over_is_refused(engine: Surface) -> None:
    for fields in ({"enable_hr": True}, {"styles": ["Night"]}, {"subseed_strength": 0.5}):
        assert engine.txt2img(**fields).status == 501
    assert engine.txt2img(alwayson_scripts={"ControlNet": {"args": []}}).status == 200


def test_functions_that_a_bare_engine_lacks_are_not_found(engine: Surface) -> None:
    assert engine.call("sd/interrogate").status == 404
    assert engine.call("sd/get_vaes").body == [], "what can be listed is empty"
    assert engine.call("controlnet/get_controlnet_version").status == 404
    assert engine.call("sd/interrupt").body == {}
    assert engine.call("sd/png_info").status == 200


def test_progress_of_a_bare_engine_is_estimated_and_marked(
    engine: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "INTERVAL", 0.01)
    engine.txt2img()
    engine.txt2img()  # the first one may have loaded the model: this one measures
    engine.host.hold()
    seen: list[dict[str, Any]] = []

    def look() -> None:
        engine.host.wait_for(paused=1)
        (job,) = wiring.robot().jobs.running("dev")
        while not any(one["eta_estimated"] for one in seen):
            seen.append(engine.call("sd/progress", query={"job_id": job.id}).body)
        engine.host.release()

    watcher = threading.Thread(target=look)
    watcher.start()
    answer = engine.txt2img(steps=100)
    watcher.join()
    assert answer.status == 200
    assert seen[-1]["progress"] > 0
    assert seen[-1]["job_id"] == answer.body["job_id"]


# --- Forge ----------------------------------------------------------------------------------------


def test_modules_can_be_a_tenants_default_and_tell_no_paths(over: Callable[..., Surface]) -> None:
    forge = over({"personality": "forge"}, {})
    modules = forge.call("sd/get_modules").body
    assert [one["model_name"] for one in modules][1] == "ae.safetensors"
    name = "forge_additional_modules"
    assert forge.call("sd/set_options", {name: ["ae"]}).status == 200
    assert forge.call("sd/get_options").body[name] == ["ae.safetensors"]
    answer = forge.txt2img()
    assert "Module 1: ae" in json.loads(answer.body["info"])["infotexts"][0]
    assert forge.call("sd/set_options", {name: ["no such file"]}).status == 422
    assert forge.call("sd/set_options", {name: "ae"}).status == 422
    own = {"override_settings": {name: ["clip_l"]}}
    forge.txt2img(**own)
    assert forge.call("sd/get_options", tenant="other").body[name] == []


def test_what_only_one_of_the_hosts_heeds_is_drawn_there(over: Callable[..., Surface]) -> None:
    both = over(
        {"personality": "koboldcpp", "checkpoints": ("alpha",)}, {"checkpoints": ("alpha",)}
    )
    for _ in range(3):
        assert both.txt2img(styles=["Night"], sampler_name="Euler a").status == 200
    assert both.hosts[0].requests("txt2img") == []
    alone = over({"personality": "koboldcpp"})
    refused = alone.txt2img(styles=["Night"])
    assert refused.status == 501
    assert "styles" in json.dumps(refused.body)
