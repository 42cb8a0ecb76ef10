"""Forge's modules, and what is configured for single checkpoints."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from robotchat.art.answers import Model, Vae
from robotchat.art.bot import ArtBot
from robotchat.art.capabilities import Capabilities, from_json, to_json
from robotchat.art.checkpoints import CheckpointConfig, config_of, filled_in
from robotchat.art.modules import MODULES, differs, find_modules, resolved, same, vaes_among
from robotchat.art.options import checked
from robotchat.art.requests import Text2ImageRequest
from robotchat.config import ServiceConfig
from robotchat.drivers.fake import FakeArt
from robotchat.errors import ForbiddenOption, InvalidRequest

LISTED = [
    Vae(model_name="ae.safetensors", filename="/srv/models/VAE/ae.safetensors"),
    Vae(model_name="clip_l.safetensors", filename="/srv/models/text_encoder/clip_l.safetensors"),
]
FORGE = Capabilities(modules=True)


def request(**fields: Any) -> Text2ImageRequest:
    return Text2ImageRequest.parse({"prompt": "a", **fields})


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (["a", "b"], ["/x/b", "C:\\y\\a"], True),
        (["a"], ["a", "a"], False),
        ([], [], True),
        ([], None, False),
        (1.0, 1, True),
        ("a", "/x/a", False),
    ],
)
def test_modules_are_compared_by_name(one: object, other: object, alike: bool) -> None:
    assert same(one, other) is alike


def test_names_of_modules_become_the_hosts() -> None:
    assert find_modules(["AE", "/y/clip_l.safetensors"], LISTED, param="m") == [
        "ae.safetensors",
        "clip_l.safetensors",
    ]
    with pytest.raises(InvalidRequest) as unknown:
        find_modules(["ae", "clip"], LISTED, param="m")
    assert unknown.value.details["near_matches"] == ["clip_l.safetensors"]
    for wrong in ("ae", {"ae": 1}, ["ae"] * 9):
        with pytest.raises(InvalidRequest):
            find_modules(wrong, LISTED, param="m")


def test_a_vae_is_one_of_them() -> None:
    assert vaes_among(LISTED) == LISTED[:1]
    options = {"sd_vae": "ae", MODULES: ["clip_l", "ae"]}
    found = resolved(request(override_settings=options), LISTED)
    assert found.override_settings == {MODULES: ["clip_l.safetensors", "ae.safetensors"]}
    found = resolved(request(override_settings={"sd_vae": "Automatic"}), LISTED)
    assert found.override_settings == {}


def test_the_second_pass_has_its_own_or_the_same() -> None:
    hires = {"enable_hr": True, "hr_additional_modules": ["ae"]}
    assert resolved(request(**hires), LISTED).hr_additional_modules == ["ae.safetensors"]
    hires["hr_additional_modules"] = ["Use same choices"]
    assert resolved(request(**hires), LISTED).hr_additional_modules == ["Use same choices"]


def test_what_an_infotext_tells_is_held_against_what_was_asked() -> None:
    asked = {MODULES: ["ae.safetensors", "t5.fp8.gguf"]}
    assert not differs(asked, ["t5.fp8", "ae"])
    assert differs(asked, ["ae"])
    assert not differs({MODULES: []}, [])
    assert differs({MODULES: []}, ["ae"])


def test_the_option_is_a_list_of_names() -> None:
    assert checked(MODULES, ["a"], param="p") == ["a"]
    for wrong in ("a", [1], ["a"] * 9, {"a": 1}, 5):
        with pytest.raises(InvalidRequest):
            checked(MODULES, wrong, param="p")
    with pytest.raises(ForbiddenOption):
        ArtBot(FakeArt()).check(request(override_settings={"forge_preset": "flux"}))


def test_a_checkpoint_is_known_by_any_of_its_names() -> None:
    model = Model(title="flux/flux1-dev.safetensors [0123456789]", hash="0123456789")
    for name in ("flux1-dev", "flux/flux1-dev.safetensors", "0123456789"):
        config = CheckpointConfig(name=name, steps=4)
        assert config_of([CheckpointConfig(name="other"), config], model) is config
    assert config_of([CheckpointConfig(name="flux1-schnell")], model) is None


def test_only_what_a_request_leaves_out_is_filled_in() -> None:
    config = CheckpointConfig(
        name="a", modules=["ae"], sampler_name="Euler", scheduler="Simple", steps=4, cfg_scale=1
    )
    filled = filled_in(request(), config, FORGE)
    assert (filled.sampler_name, filled.scheduler, filled.steps) == ("Euler", "Simple", 4)
    assert filled.override_settings == {MODULES: ["ae"]}
    own = request(steps=9, scheduler="Karras", override_settings={MODULES: []})
    kept = filled_in(own, config, FORGE)
    assert (kept.steps, kept.scheduler, kept.sampler) == (9, "Karras", None)
    assert kept.cfg_scale == 1
    assert kept.override_settings == {MODULES: []}
    plain = filled_in(request(), config, Capabilities(ignores=frozenset({"scheduler"})))
    assert plain.scheduler is None
    assert not plain.override_settings


def test_it_is_part_of_the_configuration() -> None:
    said = ServiceConfig.model_validate({"checkpoints": [{"name": "a", "modules": []}]})
    assert said.checkpoints[0].modules == []
    for wrong in ({"steps": 4}, {"name": ""}, {"name": "a", "stpes": 1}, {"name": "a", "steps": 0}):
        with pytest.raises(ValidationError):
            ServiceConfig.model_validate({"checkpoints": [wrong]})


def test_what_a_host_can_do_survives_being_stored() -> None:
    import json

    told = Capabilities(
        ignores=frozenset({"a"}), limits={"steps": (1, 80)}, other_steps=frozenset({16, 64})
    )
    assert from_json(json.loads(json.dumps(to_json(told)))) == told
