"""What is believed of what a host sends back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from robotchat.art.answers import Model, Sampler
from robotchat.art.capabilities import Capabilities
from robotchat.art.requests import DrawRequest, Image2ImageRequest, Text2ImageRequest
from robotchat.art.results import Drawing, DrawnImage, read_drawing, to_a1111, verify
from robotchat.drivers.fake import plain_png
from robotchat.errors import UpstreamGarbage, WrongResult
from robotchat.images import encode_base64

MODEL = Model(title="a.safetensors [0123456789]", model_name="a", hash="0123456789")
REQUEST = Text2ImageRequest(prompt="a beach", seed=7, width=64, height=64)
SAMPLERS = [
    Sampler(name="DPM++ 2M", aliases=["k_dpmpp_2m"], options={"scheduler": "karras"}),
    Sampler(name="Euler a", aliases=["k_euler_a"]),
]


def image(text: str = "", width: int = 64, height: int = 64, note: str = "") -> str:
    return encode_base64(plain_png(width, height, text, note))


def answer(images: list[Any] | None = None, **info: Any) -> dict[str, Any]:
    made = {
        "seed": 7,
        "all_seeds": [7],
        "sd_model_name": "a",
        "sd_model_hash": "0123456789",
        "sampler_name": "Euler a",
        "infotexts": ["a beach\nSteps: 20, Sampler: Euler a, Schedule type: Automatic, Seed: 7"],
        **info,
    }
    return {
        "images": [image()] if images is None else images,
        "parameters": {},
        "info": json.dumps(made),
    }


def drawn(request: DrawRequest, reply: dict[str, Any], **facts: Any) -> Drawing:
    return verify(request, read_drawing(request, reply), **facts)


def test_a_good_answer_becomes_a_drawing() -> None:
    drawing = drawn(REQUEST, answer(), checkpoint=MODEL)
    assert drawing.images == [
        DrawnImage(plain_png(64, 64), "image/png", 64, 64, 7, drawing.images[0].infotext)
    ]
    assert drawing.images[0].infotext.startswith("a beach")
    assert drawing.checkpoint == "a"
    assert drawing.unverified == []
    assert "data=" not in repr(drawing)


def test_the_earlier_names_of_images_still_lead_to_them() -> None:
    drawing = drawn(REQUEST, answer([image("1"), image("map", 32, 32)]))
    assert drawing.pictures is drawing.images
    assert drawing.extra_pictures is drawing.extra_images


def test_a_grid_in_front_is_left_out() -> None:
    request = REQUEST.model_copy(update={"batch_size": 2})
    reply = answer(
        [image("grid", 128, 64), image("1"), image("2")],
        all_seeds=[7, 8],
        index_of_first_image=1,
        infotexts=["grid", "one", "two"],
    )
    drawing = drawn(request, reply)
    assert [(one.seed, one.infotext) for one in drawing.images] == [(7, "one"), (8, "two")]
    assert drawing.extra_images == []
    told = json.loads(to_a1111(request, drawing)["info"])
    assert told["index_of_first_image"] == 0
    assert told["infotexts"] == ["one", "two"]


def test_the_maps_of_controlnet_are_kept_apart_and_follow_in_answers() -> None:
    request = Text2ImageRequest.parse(
        {
            "seed": 7,
            "width": 64,
            "height": 64,
            "alwayson_scripts": {"controlnet": {"args": [{"enabled": True, "module": "canny"}]}},
        }
    )
    drawing = drawn(request, answer([image("1"), image("map", 32, 32)]))
    assert [one.width for one in drawing.images] == [64]
    assert [(one.width, one.seed) for one in drawing.extra_images] == [(32, None)]
    assert to_a1111(request, drawing)["images"] == [image("1"), image("map", 32, 32)]


def controlled(*units: dict[str, Any], **fields: Any) -> Text2ImageRequest:
    args = [{"enabled": True, "module": "canny", "model": "canny", **unit} for unit in units]
    scripts = {"alwayson_scripts": {"ControlNet": {"args": [{"enabled": False}, *args]}}}
    return Text2ImageRequest.parse({"seed": 7, "width": 64, "height": 64, **scripts, **fields})


def test_controlnet_is_proved_by_its_map_and_not_by_what_is_said() -> None:
    said = {"infotexts": ["a\nSteps: 20, ControlNet 0: Module: canny"]}
    assert drawn(controlled({}), answer([image(), image("map")])).unverified == []
    with pytest.raises(WrongResult, match="without ControlNet"):
        drawn(controlled({}), answer(**said))
    with pytest.raises(WrongResult, match="without ControlNet"):
        drawn(controlled({}, {}), answer([image(), image("map")], **said))


@pytest.mark.parametrize(
    ("unit", "fields"),
    [
        ({"save_detected_map": False}, {}),
        ({"module": "none"}, {}),
        ({"module": "ip-adapter-auto"}, {}),
        ({}, {"override_settings": {"control_net_no_detectmap": True}}),
    ],
)
def test_controlnet_without_its_map_is_not_proved(
    unit: dict[str, Any], fields: dict[str, Any]
) -> None:
    assert drawn(controlled(unit, **fields), answer()).unverified == ["controlnet"]


def test_the_answer_is_what_the_web_ui_would_answer() -> None:
    drawing = drawn(REQUEST, answer())
    told = to_a1111(REQUEST, drawing)
    assert told["images"] == [image()]
    assert told["parameters"]["prompt"] == "a beach"
    assert told["parameters"]["steps"] == 50
    assert isinstance(told["info"], str)
    assert json.loads(told["info"])["all_seeds"] == [7]
    silent = REQUEST.model_copy(update={"send_images": False})
    assert to_a1111(silent, drawing)["images"] == []


def test_a_host_without_an_account_leaves_things_unverified() -> None:
    request = Text2ImageRequest.parse(
        {
            "seed": 7,
            "width": 64,
            "height": 64,
            "n_iter": 2,
            "sampler_name": "DPM++ 2M Karras",
            "override_settings": {"sd_model_checkpoint": "a"},
        }
    )
    images = [image("1", note="a beach\nSteps: 1"), image("2")]
    for info in ("", None):
        drawing = drawn(request, {"images": images, "info": info})
        assert drawing.unverified == ["checkpoint", "sampler", "scheduler", "seed"]
        assert [one.seed for one in drawing.images] == [7, 8]
        assert drawing.images[0].infotext == "a beach\nSteps: 1"
        assert drawing.info_text == ""
        told = json.loads(to_a1111(request, drawing)["info"])
        assert (told["seed"], told["all_seeds"]) == (7, [7, 8])


def test_variations_share_their_seed() -> None:
    request = Text2ImageRequest(seed=7, n_iter=2, subseed_strength=0.5, width=64, height=64)
    drawing = drawn(request, {"images": [image(), image()]})
    assert [one.seed for one in drawing.images] == [7, 7]


@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"images": None},
        {"images": "x"},
        {"images": [1], "info": ""},
        {"images": ["###"], "info": ""},
        {"images": [encode_base64(b"no picture")], "info": ""},
        {"images": [encode_base64(plain_png(64, 64)[:-20])], "info": ""},
        {"images": [], "info": "{"},
        {"images": [], "info": "[]"},
        {"images": [], "info": 5},
    ],
)
def test_an_answer_that_is_none_is_garbage(reply: dict[str, Any]) -> None:
    with pytest.raises(UpstreamGarbage):
        read_drawing(REQUEST, reply)


def test_odd_facts_in_an_account_do_no_harm() -> None:
    odd = answer(index_of_first_image="x", all_seeds=["a"], infotexts=[None], sampler_name=5)
    drawing = drawn(REQUEST, odd)
    assert drawing.unverified == ["seed"]
    assert [one.seed for one in drawing.images] == [7]


@pytest.mark.parametrize(
    ("fields", "reply", "problem"),
    [
        ({}, answer([]), "0 of 1"),
        ({"n_iter": 2}, answer(), "1 of 2"),
        ({"n_iter": 2}, answer(all_seeds=[7, 8]), "1 of 2"),
        ({}, answer([image("", 32, 32)]), "32x32 instead of 64x64"),
        ({"sampler_name": "Euler a"}, answer(sampler_name="DPM++ 2M"), "another sampler"),
        ({"sampler_index": "Euler a"}, answer(sampler_name="DPM++ 2M"), "another sampler"),
        ({"scheduler": "Karras"}, answer(infotexts=["Schedule type: Beta, "]), "noise schedule"),
        (
            {"sampler_name": "DPM++ 2M Karras"},
            answer(sampler_name="DPM++ 2M", extra_generation_params={"Schedule type": "Beta"}),
            "noise schedule",
        ),
        (
            {"sampler_name": "DPM++ 2M", "scheduler": "Beta"},
            answer(sampler_name="DPM++ 2M"),
            "noise schedule",
        ),
        ({"override_settings": {"sd_model_checkpoint": "b"}}, answer(), "another checkpoint"),
        ({"seed": 8}, answer(), "another seed"),
    ],
)
def test_a_result_that_was_not_asked_for_is_wrong(
    fields: dict[str, Any], reply: dict[str, Any], problem: str
) -> None:
    request = Text2ImageRequest.parse({"seed": 7, "width": 64, "height": 64, **fields})
    if "extra_generation_params" in reply["info"]:
        reply = {**reply, "info": reply["info"].replace("Schedule type: Automatic", "")}
    with pytest.raises(WrongResult, match=problem):
        drawn(request, reply, samplers=SAMPLERS)


def test_another_checkpoint_is_told_by_its_hash() -> None:
    with pytest.raises(WrongResult) as caught:
        drawn(REQUEST, answer(sd_model_name="a", sd_model_hash="ffffffffff"), checkpoint=MODEL)
    assert caught.value.details == {"expected": MODEL.title, "actual": "a"}


@pytest.mark.parametrize(
    ("asked", "schedule", "actual", "told"),
    [
        ("k_euler_a", None, "Euler a", "Automatic"),
        ("DPM++ 2M Karras", None, "DPM++ 2M Karras", None),
        ("DPM++ 2M Karras", None, "DPM++ 2M", "Karras"),
        ("DPM++ 2M Karras", None, "DPM++ 2M", "Automatic"),
        ("DPM++ 2M", "karras", "DPM++ 2M", "Karras"),
        ("DPM++ 2M", "sgm_uniform", "DPM++ 2M", "SGM Uniform"),
        ("Euler a", "Automatic", "Euler a", "Whatever"),
        ("euler_a", None, "Euler a", None),
    ],
)
def test_samplers_and_schedules_may_be_named_differently(
    asked: str, schedule: str | None, actual: str, told: str | None
) -> None:
    request = REQUEST.model_copy(update={"sampler_name": asked, "scheduler": schedule})
    note = f"Steps: 1, Schedule type: {told}, Seed: 7" if told else "Steps: 1"
    reply = answer(sampler_name=actual, infotexts=[note])
    assert drawn(request, reply, samplers=SAMPLERS).unverified == []


def test_automatic_is_no_proof_when_the_samplers_default_is_not_known() -> None:
    request = REQUEST.model_copy(update={"sampler_name": "Euler a", "scheduler": "Karras"})
    assert drawn(request, answer()).unverified == ["scheduler"]


def test_hosts_round_sizes_each_in_their_own_way() -> None:
    request = Text2ImageRequest(seed=7, width=100, height=70)
    drawn(request, answer([image("", 96, 64)]))
    drawn(
        request,
        answer([image("", 128, 128)]),
        capabilities=Capabilities(size_step=64, rounds_up=True),
    )
    with pytest.raises(WrongResult):
        drawn(request, answer([image("", 128, 128)]))
    with pytest.raises(WrongResult):
        drawn(
            request,
            answer([image("", 96, 64)]),
            capabilities=Capabilities(size_step=64, rounds_up=True),
        )


def test_a_second_pass_decides_the_size() -> None:
    request = Text2ImageRequest(seed=7, width=64, height=64, enable_hr=True, hr_scale=1.7)
    drawn(request, answer([image("", 104, 104)]))
    with pytest.raises(WrongResult):
        drawn(request, answer())


def test_a_masked_part_is_put_back_into_an_image_of_the_inputs_size() -> None:
    source = image("in", 90, 70)
    fields = {"seed": 7, "width": 64, "height": 64, "init_images": [source], "mask": source}
    request = Image2ImageRequest.parse(fields)
    drawn(request, answer([image("", 90, 70)]))
    drawn(request, answer())
    whole = request.model_copy(update={"inpaint_full_res": False})
    with pytest.raises(WrongResult):
        drawn(whole, answer([image("", 90, 70)]))


PLOT = REQUEST.model_copy(update={"script_name": "X/Y/Z plot"})


def noted(name: str, seed: int) -> str:
    return image(name, note=f"{name}\nSteps: 20, Sampler: Euler a, Seed: {seed}, Size: 64x64")


def test_a_script_draws_what_it_likes_but_something() -> None:
    drawing = drawn(PLOT, answer([image("", 256, 64)]))
    assert drawing.unverified == ["count", "size"]
    with pytest.raises(WrongResult, match="no picture"):
        drawn(PLOT, answer([]))


def test_a_scripts_images_keep_their_order_with_each_its_own_text() -> None:
    images = [noted("grid", 7), noted("one", 7), noted("two", 9)]
    told = answer(images, infotexts=["a"] * 3, all_seeds=[7, 7, 9], index_of_first_image=1)
    drawing = drawn(PLOT, told)
    assert [one.seed for one in drawing.images] == [7, 7, 9]
    assert [one.infotext.split("\n")[0] for one in drawing.images] == ["grid", "one", "two"]
    shown = to_a1111(PLOT, drawing)
    assert shown["images"] == images
    info = json.loads(shown["info"])
    assert info["index_of_first_image"] == 1
    assert info["infotexts"][2].startswith("two")


def test_the_seeds_of_a_script_may_begin_behind_its_grid() -> None:
    images = [image("grid"), image("1"), image("2"), image("map")]
    told = answer(images, infotexts=["g", "1", "2"], all_seeds=[7, 8], index_of_first_image=1)
    drawing = drawn(PLOT, told)
    assert [one.seed for one in drawing.images] == [None, 7, 8]
    assert len(drawing.extra_images) == 1


def test_one_text_for_all_is_not_all_that_was_drawn() -> None:
    images = [image("grid"), noted("one", 7), noted("two", 8), image("map")]
    drawing = drawn(PLOT, answer(images, infotexts=["a loop\nSteps: 20, Seed: 7"], all_seeds=[7]))
    assert [one.seed for one in drawing.images] == [7, 7, 8]
    assert len(drawing.extra_images) == 1


def test_a_grid_alone_is_the_image() -> None:
    told = answer([noted("grid", 7)], infotexts=["g", "1"], index_of_first_image=1)
    drawing = drawn(PLOT, told)
    assert len(drawing.images) == 1
    info = json.loads(to_a1111(PLOT, drawing)["info"])
    assert (info["index_of_first_image"], len(info["infotexts"])) == (0, 1)


def test_a_script_may_choose_its_own_sampler_checkpoint_and_seed() -> None:
    request = PLOT.with_checkpoint("b").model_copy(update={"sampler_name": "DPM++ 2M", "seed": 1})
    drawing = drawn(request, answer())
    assert drawing.unverified == ["checkpoint", "count", "sampler", "seed", "size"]
