"""Requests as programs for the web UI send them, to the letter: what each does in a session."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from robotchat.art.capabilities import Capabilities
from robotchat.drivers.fake import FakeArt
from tests.cases.service import Service

OPTIONS = {
    "sd_model_checkpoint": "one.safetensors",
    "sd_checkpoint_hash": "aa",
    "sd_vae": "Automatic",
    "CLIP_stop_at_last_layers": 1.0,
    "samples_format": "png",
    "tiling": False,
    "eta_noise_seed_delta": 0.0,
    "outdir_samples": "",
}


@pytest.fixture
def service() -> Iterator[Service]:
    """The functions over one host with two checkpoints."""
    host = FakeArt(checkpoints=("one.safetensors", "two.safetensors"))
    host.answers |= {
        "sdapi/v1/options": dict(OPTIONS),
        "sdapi/v1/sd-vae": [{"model_name": "vae.pt", "filename": "/models/vae.pt"}],
        "sdapi/v1/latent-upscale-modes": [{"name": "Latent"}],
    }
    with Service.over([host]) as service:
        yield service


# --- Open WebUI (backend/open_webui/routers/images.py) --------------------------------------------


def test_open_webui_chooses_a_model_and_draws(service: Service) -> None:
    assert service.call("sd/get_options").status == 200, "it verifies the address like this"
    models = service.call("sd/get_models").body
    assert {"title", "model_name"} <= models[0].keys()
    options = service.call("sd/get_options").body
    options["sd_model_checkpoint"] = models[1]["title"]
    assert service.call("sd/set_options", options).status == 200
    assert service.robot.options.get("dev") == {"sd_model_checkpoint": "two.safetensors"}
    form = {"prompt": "a cat", "batch_size": 2, "width": 512, "height": 512, "steps": 20}
    answer = service.call("sd/text2image", {**form, "negative_prompt": "dogs"})
    assert (answer.status, len(answer.body["images"])) == (200, 2)
    assert json.loads(answer.body["info"])["sd_model_name"] == "two"
    sent = service.hosts["sd-0"].requests[-1]["override_settings"]
    assert sent == {"sd_model_checkpoint": "two.safetensors"}


# --- SillyTavern (src/endpoints/stable-diffusion.js, and its extension's form) --------------------

FORM: dict[str, Any] = {
    "url": "https://sd.example.org",
    "auth": "any:rk_secret",
    "prompt": "a cat",
    "negative_prompt": "",
    "sampler_name": "Euler a",
    "scheduler": "karras",
    "steps": 20,
    "cfg_scale": 7,
    "width": 512,
    "height": 512,
    "restore_faces": False,
    "enable_hr": False,
    "hr_upscaler": "Latent",
    "hr_scale": 1,
    "denoising_strength": 0.7,
    "hr_second_pass_steps": 0,
    "override_settings": {"CLIP_stop_at_last_layers": 1},
    "override_settings_restore_afterwards": True,
    "clip_skip": 1,
    "save_images": True,
    "send_images": True,
    "do_not_save_grid": False,
    "do_not_save_samples": False,
}


def test_sillytavern_fills_its_lists_and_draws(service: Service) -> None:
    assert service.call("sd/get_options").status == 200, "its ping"
    for function in ("upscalers", "latent_upscale_modes", "vaes", "samplers", "schedulers"):
        assert service.call(f"sd/get_{function}").status == 200
    model = service.call("sd/get_models").body[1]["title"]
    assert service.call("sd/set_options", {"sd_model_checkpoint": model}).status == 200
    idle = service.call("sd/progress").body
    assert (idle["progress"], idle["state"]["job_count"]) == (0, 0), "or it waits for the model"
    answer = service.call("sd/text2image", FORM)
    assert (answer.status, len(answer.body["images"])) == (200, 1)
    assert service.call("sd/interrupt").status == 200, "when its page is left"


def test_sillytaverns_key_is_nowhere(service: Service) -> None:
    answer = service.call("sd/text2image", FORM)
    job = service.robot.jobs.get(answer.body["job_id"], "dev")
    for place in (job.model_dump_json(), answer.body, service.hosts["sd-0"].requests):
        assert "rk_secret" not in str(place)
        assert "sd.example.org" not in str(place)


def test_sillytavern_draws_on_a_host_without_options(service: Service) -> None:
    with Service.over([FakeArt(capabilities=Capabilities(options=False))]) as bare:
        assert bare.call("sd/text2image", FORM).status == 200


# --- others ---------------------------------------------------------------------------------------


def test_php_writes_empty_objects_and_numbers_in_its_own_way(service: Service) -> None:
    form = {"prompt": "a cat", "steps": "20", "width": "64", "height": "64", "seed": "7"}
    empty: dict[str, Any] = {"override_settings": [], "alwayson_scripts": [], "comments": []}
    answer = service.call("sd/text2image", {**form, **empty, "tiling": "0"})
    assert (answer.status, json.loads(answer.body["info"])["seed"]) == (200, 7)
    assert service.call("sd/set_options", []).status == 200


def test_an_image_is_drawn_again_from_its_own_infotext(service: Service) -> None:
    text = "a cat\nSteps: 9, Sampler: Euler a, CFG scale: 7, Seed: 77, Size: 64x64, Model: two"
    answer = service.call("sd/text2image", {"infotext": text})
    assert answer.status == 200
    sent = service.hosts["sd-0"].requests[-1]
    assert (sent["seed"], sent["steps"], sent["width"]) == (77, 9, 64)
    assert sent["override_settings"]["sd_model_checkpoint"] == "two.safetensors"
    assert "infotext" not in sent
