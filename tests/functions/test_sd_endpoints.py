"""Each function of the SD surface, called with its event: A1111's paths, bodies and shapes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from robotchat.drivers.fake import FakeArt, plain_png
from robotchat.errors import UpstreamUnavailable
from robotchat.images import encode_base64
from tests.cases.service import Service

AWAY = UpstreamUnavailable("away")
OPTIONS = {
    "sd_model_checkpoint": "one.safetensors",
    "CLIP_stop_at_last_layers": 1,
    "eta_noise_seed_delta": 0,
    "samples_format": "png",
    "randn_source": "GPU",
    "sd_vae": "Automatic",
    "outdir_samples": "outputs",
    "font": "/usr/share/fonts/a.ttf",
}


def host(**answers: Any) -> FakeArt:
    """An SD host that has everything."""
    made = FakeArt(checkpoints=("one.safetensors", "two.safetensors"))
    made.answers |= {
        "sdapi/v1/options": OPTIONS,
        "sdapi/v1/latent-upscale-modes": [{"name": "Latent"}],
        "sdapi/v1/hypernetworks": [],
        "sdapi/v1/face-restorers": [{"name": "GFPGAN", "cmd_dir": None}],
        "sdapi/v1/realesrgan-models": [{"name": "R-ESRGAN 4x+", "path": "x.pth", "scale": 4}],
        "sdapi/v1/sd-vae": [{"model_name": "vae.pt", "filename": "/models/vae.pt"}],
        "sdapi/v1/sd-modules": [{"model_name": "ae.sft", "filename": "/models/VAE/ae.sft"}],
        "sdapi/v1/embeddings": {"loaded": {}, "skipped": {}},
        "sdapi/v1/prompt-styles": [{"name": "Night", "prompt": "at night", "negative_prompt": ""}],
        "sdapi/v1/cmd-flags": {"xformers": True, "api_auth": "me:secret"},
        "sdapi/v1/memory": {"ram": {"free": 1, "used": 2, "total": 3}},
        "sdapi/v1/scripts": {"txt2img": ["controlnet", "adetailer"], "img2img": ["controlnet"]},
        "sdapi/v1/script-info": [{"name": "controlnet", "is_alwayson": True, "args": []}],
        "sdapi/v1/refresh-checkpoints": None,
        "sdapi/v1/refresh-vae": None,
        "sdapi/v1/refresh-embeddings": None,
        "sdapi/v1/extensions": [
            {
                "name": "sd-webui-controlnet",
                "remote": "https://github.com/Mikubill/x",
                "enabled": True,
            },
            {"name": "ours", "remote": "https://me:secret@git.example.com/x.git", "enabled": False},
        ],
        "sdapi/v1/extra-single-image": {"html_info": "", "image": "aGk="},
        "sdapi/v1/extra-batch-images": {"html_info": "", "images": ["aGk="]},
        "sdapi/v1/interrogate": {"caption": "a grey square"},
        "controlnet/control_types": {"control_types": {"All": {"module_list": ["none"]}}},
        "controlnet/settings": {"control_net_unit_count": 3},
        "controlnet/detect": {"info": "Success", "images": ["aGk="]},
        **answers,
    }
    return made


@pytest.fixture
def service() -> Iterator[Service]:
    """The functions over one host."""
    with Service.over([host()]) as service:
        yield service


LISTS = {
    "sd/get_models": "one.safetensors",
    "sd/get_samplers": "DPM++ 2M",
    "sd/get_schedulers": "automatic",
    "sd/get_upscalers": "None",
    "sd/get_latent_upscale_modes": "Latent",
    "sd/get_face_restorers": "GFPGAN",
    "sd/get_realesrgan_models": "R-ESRGAN 4x+",
    "sd/get_vaes": "vae.pt",
    "sd/get_modules": "ae.sft",
    "sd/get_prompt_styles": "Night",
}


@pytest.mark.parametrize(("function", "first"), LISTS.items())
def test_a_list_is_a_list_of_objects_as_the_web_ui_gives_it(
    service: Service, function: str, first: str
) -> None:
    answer = service.call(function)
    assert answer.status == 200
    name = next(n for n in ("title", "name", "model_name") if n in answer.body[0])
    assert answer.body[0][name] == first


def test_nulls_and_further_fields_of_a_host_are_kept(service: Service) -> None:
    service.hosts["sd-0"].answers["sdapi/v1/upscalers"] = [{"name": "None", "mine": 1}]
    (upscaler,) = service.call("sd/get_upscalers").body
    assert upscaler["model_url"] is None
    assert upscaler["mine"] == 1
    assert service.call("sd/get_models").body[0]["config"] is None


OBJECTS: dict[str, Any] = {
    "sd/get_hypernetworks": [],
    "sd/get_loras": [],
    "sd/get_embeddings": {"loaded": {}, "skipped": {}},
    "sd/get_cmd_flags": {"xformers": True},
    "sd/get_memory": {"ram": {"free": 1, "used": 2, "total": 3}},
    "sd/get_scripts": {"txt2img": ["controlnet"], "img2img": ["controlnet"]},
    "sd/refresh_loras": None,
    "sd/refresh_checkpoints": None,
    "sd/refresh_vaes": None,
    "sd/refresh_embeddings": None,
    "sd/unload_checkpoint": {},
    "sd/reload_checkpoint": {},
    "sd/interrupt": {},
    "sd/skip": None,
    "sd/extra_single_image": {"html_info": "", "image": "aGk="},
    "sd/extra_batch_images": {"html_info": "", "images": ["aGk="]},
    "sd/interrogate": {"caption": "a grey square"},
    "controlnet/get_controlnet_model_list": {"model_list": ["canny [d14c016b]"]},
    "controlnet/get_controlnet_module_list": {
        "module_list": ["none", "canny"],
        "module_detail": {},
    },
    "controlnet/get_controlnet_version": {"version": 3},
    "controlnet/get_controlnet_settings": {"control_net_unit_count": 3},
    "controlnet/get_controlnet_control_types": {
        "control_types": {
            "All": {
                "module_list": ["none"],
                "model_list": [],
                "default_option": "none",
                "default_model": "None",
            }
        }
    },
}


@pytest.mark.parametrize(("function", "body"), OBJECTS.items())
def test_an_answer_is_the_web_uis(service: Service, function: str, body: Any) -> None:
    answer = service.call(function)
    assert (answer.status, answer.body) == (200, body)


def test_detect_answers_as_controlnet_does(service: Service) -> None:
    answer = service.call("controlnet/detect_controlnet")
    assert answer.status == 200
    assert (answer.body["info"], answer.body["images"]) == ("Success", ["aGk="])


def test_an_image_can_be_named_in_the_way_of_older_clients(service: Service) -> None:
    image = encode_base64(plain_png(64, 64))
    body = {"controlnet_module": "canny", "controlnet_images": [f"data:image/png;base64,{image}"]}
    assert service.call("controlnet/detect_controlnet", body).status == 200
    assert (
        service.call("controlnet/detect_controlnet", {"controlnet_module": "canny"}).status == 422
    )


def test_script_info_is_only_of_what_may_be_run(service: Service) -> None:
    (script,) = service.call("sd/get_script_info").body
    assert script["name"] == "controlnet"


def test_a_host_that_is_away_is_a_503_in_the_web_uis_shape(service: Service) -> None:
    service.hosts["sd-0"].answers["sdapi/v1/loras"] = AWAY
    answer = service.call("sd/get_loras")
    assert answer.status == 503
    assert answer.body["error"] == "upstream_unavailable"
    assert {"detail", "body", "errors"} <= set(answer.body)


def test_what_no_host_has_is_a_404_as_without_the_extension(service: Service) -> None:
    del service.hosts["sd-0"].answers["controlnet/version"]
    assert service.call("controlnet/get_controlnet_version").status == 404


NOTHING = {
    "sd/get_loras": [],
    "sd/get_vaes": [],
    "sd/get_modules": [],
    "sd/get_upscalers": [],
    "sd/get_latent_upscale_modes": [],
    "sd/get_schedulers": [],
    "sd/get_hypernetworks": [],
    "sd/get_face_restorers": [],
    "sd/get_realesrgan_models": [],
    "sd/get_prompt_styles": [],
    "sd/get_script_info": [],
    "sd/get_extensions": [],
    "sd/get_embeddings": {"loaded": {}, "skipped": {}},
    "sd/get_scripts": {"txt2img": [], "img2img": []},
    "sd/get_cmd_flags": {},
    "sd/get_memory": {"ram": {"error": "unavailable"}, "cuda": {"error": "unavailable"}},
    "sd/get_options": {},
    "controlnet/get_controlnet_model_list": {"model_list": []},
    "controlnet/get_controlnet_module_list": {"module_list": [], "module_detail": {}},
    "controlnet/get_controlnet_control_types": {"control_types": {}},
}


@pytest.mark.parametrize(("function", "body"), NOTHING.items())
def test_a_list_that_a_kind_of_host_lacks_is_empty(
    service: Service, function: str, body: Any
) -> None:
    service.hosts["sd-0"].answers.clear()
    answer = service.call(function)
    assert (answer.status, answer.body) == (200, body)


def test_extensions_tell_nothing_of_private_places(service: Service) -> None:
    remotes = {one["name"]: one["remote"] for one in service.call("sd/get_extensions").body}
    assert remotes == {"sd-webui-controlnet": "https://github.com/Mikubill/x", "ours": ""}


def test_every_function_wants_the_scope(service: Service) -> None:
    for function in [*LISTS, *OBJECTS, "sd/progress", "sd/get_options", "sd/set_options"]:
        assert service.call(function, scopes="jobs:read").status == 403


# --- options --------------------------------------------------------------------------------------


def test_options_do_not_tell_of_the_machine(service: Service) -> None:
    options = service.call("sd/get_options").body
    assert options["samples_format"] == "png"
    assert not {"outdir_samples", "font"} & set(options)


def test_options_are_set_for_the_tenant_and_go_along_with_its_requests(service: Service) -> None:
    wanted = {"sd_model_checkpoint": "TWO", "CLIP_stop_at_last_layers": 2}
    answer = service.call("sd/set_options", wanted)
    assert (answer.status, answer.body) == (200, None)
    assert answer.headers["x-options-scope"] == "tenant"
    assert service.hosts["sd-0"].posts == [], "the host's are only read"

    shown = service.call("sd/get_options").body
    assert (shown["sd_model_checkpoint"], shown["CLIP_stop_at_last_layers"]) == (
        "two.safetensors",
        2,
    )
    body = service.call("sd/text2image", {"prompt": "a", "width": 64, "height": 64}).body
    assert json.loads(body["info"])["sd_model_name"] == "two"
    sent = service.hosts["sd-0"].requests[-1]
    assert sent["override_settings"] == {
        "sd_model_checkpoint": "two.safetensors",
        "CLIP_stop_at_last_layers": 2,
    }


def test_another_tenant_keeps_its_own_options(service: Service) -> None:
    service.call("sd/set_options", {"CLIP_stop_at_last_layers": 2})
    other = service.call("sd/get_options", tenant="other").body
    assert other["CLIP_stop_at_last_layers"] == 1
    service.call("sd/text2image", {"prompt": "a", "width": 64, "height": 64}, tenant="other")
    sent = service.hosts["sd-0"].requests[-1]["override_settings"]
    assert sent == {"sd_model_checkpoint": "one.safetensors"}


def test_a_request_sets_an_option_over_the_tenants_and_null_takes_one_back(
    service: Service,
) -> None:
    service.call("sd/set_options", {"CLIP_stop_at_last_layers": 2, "randn_source": "CPU"})
    request = {
        "prompt": "a",
        "width": 64,
        "height": 64,
        "override_settings": {"CLIP_stop_at_last_layers": 3},
    }
    service.call("sd/text2image", request)
    assert service.hosts["sd-0"].requests[-1]["override_settings"] == {
        "sd_model_checkpoint": "one.safetensors",
        "CLIP_stop_at_last_layers": 3,
        "randn_source": "CPU",
    }
    service.call("sd/set_options", {"randn_source": None})
    assert service.call("sd/get_options").body["randn_source"] == "GPU"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"outdir_samples": "/etc"}, "forbidden_option"),
        ({"sd_model_checkpoint": "nine"}, "unknown_checkpoint"),
        ({"CLIP_stop_at_last_layers": "many"}, "invalid_request"),
        ({"samples_format": "jpg"}, "forbidden_option"),
        ({"sd_vae": "unknown.pt"}, "invalid_request"),
        ({"CLIP_stop_at_last_layers": {"a": 1}}, "invalid_request"),
    ],
)
def test_options_that_may_not_be_set_are_refused_and_nothing_is_set(
    service: Service, options: dict[str, Any], code: str
) -> None:
    answer = service.call("sd/set_options", {"eta_noise_seed_delta": 31337, **options})
    assert (answer.status, answer.body["error"]) == (422, code)
    assert service.call("sd/get_options").body["eta_noise_seed_delta"] == 0


def test_options_that_are_sent_back_as_they_were_read_set_nothing(service: Service) -> None:
    # Open WebUI reads all options, changes the checkpoint and posts all of them back.
    shown = service.call("sd/get_options").body
    assert service.call("sd/set_options", shown).status == 200
    assert service.robot.options.get("dev") == {}
    service.call("sd/set_options", {**shown, "sd_model_checkpoint": "two.safetensors"})
    assert service.robot.options.get("dev") == {"sd_model_checkpoint": "two.safetensors"}


def test_the_hosts_own_value_takes_a_setting_back(service: Service) -> None:
    service.call("sd/set_options", {"CLIP_stop_at_last_layers": 2})
    service.call("sd/set_options", {"CLIP_stop_at_last_layers": 2.0})
    assert service.robot.options.get("dev") == {"CLIP_stop_at_last_layers": 2}
    assert service.call("sd/set_options", {"CLIP_stop_at_last_layers": 1}).status == 200
    assert service.robot.options.get("dev") == {}


def test_an_option_that_no_host_has_is_refused_by_name(service: Service) -> None:
    answer = service.call("sd/set_options", {"sd_hypernetwork": "None"})
    assert (answer.status, answer.body["error"]) == (422, "invalid_request")
    assert "sd_hypernetwork" in answer.body["detail"]
    assert service.call("sd/set_options", {"sd_hypernetwork": None}).status == 200
    assert service.call("sd/set_options", []).status == 200


def test_a_client_may_send_back_all_options_that_it_has_read(service: Service) -> None:
    shown = service.call("sd/get_options").body
    service.hosts["sd-0"].answers["sdapi/v1/options"] = {**OPTIONS, "quicksettings": "a"}
    shown = service.call("sd/get_options").body
    assert service.call("sd/set_options", {**shown, "CLIP_stop_at_last_layers": 2}).status == 200
    assert service.call("sd/set_options", {"quicksettings": "b"}).status == 422


# --- png-info -------------------------------------------------------------------------------------


def test_the_text_in_a_png_is_read_without_a_host(service: Service) -> None:
    service.hosts.clear()
    answer = service.call("sd/png_info")
    assert answer.status == 200
    assert answer.body["info"].startswith("a grey square\nSteps: 20")
    assert answer.body["parameters"]["Prompt"] == "a grey square"
    assert answer.body["parameters"]["Size-1"] == "64"


def test_a_host_is_asked_first_since_it_knows_more(service: Service) -> None:
    told = {"info": "a", "items": {}, "parameters": {"Clip skip": "1"}}
    service.hosts["sd-0"].answers["sdapi/v1/png-info"] = told
    assert service.call("sd/png_info").body["parameters"] == {"Clip skip": "1"}
    service.hosts["sd-0"].answers["sdapi/v1/png-info"] = {"info": "a", "items": {}}
    assert service.call("sd/png_info").body["parameters"]["Prompt"] == "a grey square"
    service.hosts["sd-0"].answers["sdapi/v1/png-info"] = UpstreamUnavailable("away")
    assert service.call("sd/png_info").body["parameters"]["Prompt"] == "a grey square"


def test_an_image_without_the_text_is_left_to_a_host(service: Service) -> None:
    image = {"image": encode_base64(plain_png(64, 64))}
    assert service.call("sd/png_info", image).status == 404
    service.hosts["sd-0"].answers["sdapi/v1/png-info"] = {"info": "from the host"}
    assert service.call("sd/png_info", image).body["info"] == "from the host"
    assert service.call("sd/png_info", {"image": "rubbish"}).status == 422


# --- tools ----------------------------------------------------------------------------------------


def test_names_are_taken_in_any_case_and_numbers_as_the_web_ui_takes_them(
    service: Service,
) -> None:
    image = encode_base64(plain_png(64, 64))
    fields = {"upscaler_1": "lanczos", "upscaling_resize_w": 100.5, "resize_mode": "1", "x": "y"}
    assert service.call("sd/extra_single_image", {"image": image, **fields}).status == 200
    sent = service.hosts["sd-0"].posts[-1]
    assert (sent["upscaler_1"], sent["upscaling_resize_w"]) == ("Lanczos", 100)
    assert "x" not in sent
    assert service.call("sd/interrogate", {"image": image, "model": "CLIP"}).status == 200


URL_FIELDS = {
    "sd/interrogate": ("image", "https://localhost/cat.png"),
    "sd/png_info": ("image", "https://localhost/cat.png"),
    "sd/extra_single_image": ("image", " HTTPS://localhost/cat.png"),
    "sd/extra_batch_images": ("imageList", [{"data": "https://localhost/cat.png", "name": ""}]),
    "controlnet/detect_controlnet": ("controlnet_input_images", ["https://localhost/cat.png"]),
}


@pytest.mark.parametrize(("function", "given"), URL_FIELDS.items())
def test_a_url_where_an_image_is_expected_is_taken_for_one(
    service: Service, function: str, given: tuple[str, Any]
) -> None:
    answer = service.call(function, dict([given]))
    assert (answer.status, answer.body["error"]) == (422, "forbidden_url")
    assert "base64" not in answer.body["detail"]


@pytest.mark.parametrize(
    ("function", "body"),
    [
        ("sd/extra_single_image", {"image": "-", "upscaler_1": "Lanczoz"}),
        (
            "controlnet/detect_controlnet",
            {"controlnet_input_images": ["-"], "controlnet_module": "caney"},
        ),
    ],
)
def test_an_unknown_tool_is_refused_with_what_was_perhaps_meant(
    service: Service, function: str, body: dict[str, Any]
) -> None:
    image = encode_base64(plain_png(64, 64))
    filled = json.loads(json.dumps(body).replace('"-"', f'"{image}"'))
    answer = service.call(function, filled)
    assert answer.status == 422
    assert answer.body["details"]["near_matches"]


def test_work_goes_to_another_host_when_one_fails() -> None:
    path = "sdapi/v1/interrogate"
    with Service.over([host(**{path: AWAY}), host()]) as service:
        for _ in range(3):
            assert service.call("sd/interrogate").body == {"caption": "a grey square"}


def test_work_that_no_host_can_do_is_not_found(service: Service) -> None:
    del service.hosts["sd-0"].answers["sdapi/v1/interrogate"]
    assert service.call("sd/interrogate").status == 404
    service.hosts["sd-0"].answers["sdapi/v1/interrogate"] = AWAY
    assert service.call("sd/interrogate").status == 503


# --- progress -------------------------------------------------------------------------------------


def test_progress_is_that_of_an_idle_host_when_nothing_is_drawn(service: Service) -> None:
    body = service.call("sd/progress").body
    assert body["progress"] == 0
    assert body["state"]["job_count"] == 0
    assert body["current_image"] is None
    assert set(body) == {"progress", "eta_relative", "state", "current_image", "textinfo"}


def test_progress_of_another_tenants_job_is_not_found(service: Service) -> None:
    drawn = service.call("sd/text2image", {"prompt": "a", "width": 64, "height": 64}).body
    mine = service.call("sd/progress", query={"job_id": drawn["job_id"]})
    assert (mine.status, mine.body["status"]) == (200, "succeeded")
    for function in ("sd/progress", "sd/interrupt", "sd/skip"):
        answer = service.call(function, query={"job_id": drawn["job_id"]}, tenant="other")
        assert answer.status == 404
