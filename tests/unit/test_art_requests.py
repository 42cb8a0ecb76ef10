"""What callers may ask for, and what of it is sent to a host."""

from __future__ import annotations

import math

import pytest

from robotchat.art.input_images import map_images, prepare_images
from robotchat.art.requests import Image2ImageRequest, Text2ImageRequest, effective
from robotchat.drivers.fake import plain_png
from robotchat.errors import ImageTooLarge, InvalidImage, InvalidRequest
from robotchat.images import decode_base64, encode_base64

PNG = encode_base64(plain_png(64, 64))


def test_values_are_read_as_leniently_as_the_web_ui_reads_them() -> None:
    request = Text2ImageRequest.parse(
        {"width": "128", "height": 128.9, "enable_hr": "no", "prompt": 5, "cfg_scale": "7.5"}
    )
    assert (request.width, request.height) == (128, 128)
    assert request.enable_hr is False
    assert request.prompt == "5"
    assert request.cfg_scale == 7.5


def test_null_means_not_set() -> None:
    nulls = dict.fromkeys(Text2ImageRequest.model_fields)
    assert Text2ImageRequest.parse(nulls).body() == {}
    assert Text2ImageRequest.parse(nulls) == Text2ImageRequest()


def test_only_what_was_set_is_sent() -> None:
    request = Text2ImageRequest.parse({"prompt": "a beach", "steps": 50, "distilled_cfg_scale": 3})
    assert request.body() == {"prompt": "a beach", "steps": 50, "distilled_cfg_scale": 3}
    assert "hr_cfg" not in request.echo(), "Forge's fields are told to those who know them"


def test_what_no_web_ui_knows_is_dropped_and_named() -> None:
    # SillyTavern posts its whole form, its server's address and the API key among it.
    fields = {"prompt": "a", "url": "https://sd.example.org", "auth": "user:secret", "clip_skip": 1}
    request = Text2ImageRequest.parse(fields)
    assert request.body() == {"prompt": "a"}
    assert set(request.ignored) == {"url", "auth", "clip_skip"}
    assert "secret" not in repr(request) + str(request.echo())
    assert Text2ImageRequest.parse({"prompt": "a"}).ignored == ()


def test_an_empty_object_may_be_written_as_php_writes_it() -> None:
    empty: dict[str, object] = {"override_settings": [], "alwayson_scripts": [], "comments": []}
    assert Text2ImageRequest.parse(empty).alwayson_scripts == {}
    request = Text2ImageRequest.parse({"alwayson_scripts": {"controlnet": [], "x": {"args": []}}})
    assert request.controlnet_units == []
    units = Text2ImageRequest.parse({"alwayson_scripts": {"controlnet": {"args": [[], {}]}}})
    assert units.controlnet_units == [{"enabled": False}] * 2


@pytest.mark.parametrize(
    "fields",
    [
        {"hr_scale": 0, "hr_second_pass_steps": -1, "denoising_strength": 7, "hr_resize_x": -1},
        {"enable_hr": "false", "hr_scale": 99},
        {"enable_hr": 0, "hr_upscaler": "nonsense", "firstpass_image": "https://example.org/"},
        {"refiner_switch_at": 5},
        {"refiner_checkpoint": "", "refiner_switch_at": -1},
        {"script_args": {"a": 1}},
        {"alwayson_scripts": {"controlnet": {"args": [{"enabled": False, "image": "x"}]}}},
    ],
)
def test_what_is_switched_off_is_not_judged_and_not_sent(fields: dict[str, object]) -> None:
    body = Text2ImageRequest.parse(fields).body()
    unit = {"controlnet": {"args": [{"enabled": False}]}}
    off: dict[str, object] = {
        "enable_hr": False,
        "refiner_checkpoint": "",
        "alwayson_scripts": unit,
    }
    assert body.items() <= off.items()


def test_without_a_mask_nothing_about_masks_is_judged() -> None:
    fields = {"mask_blur": -4, "inpainting_fill": 9, "inpaint_full_res_padding": -1}
    assert Image2ImageRequest.parse({"init_images": [PNG], **fields}).body() == {
        "init_images": [PNG]
    }
    with pytest.raises(InvalidRequest):
        Image2ImageRequest.parse({"init_images": [PNG], "mask": PNG, **fields})


def test_the_older_first_pass_decides_the_size() -> None:
    fields = {"width": 128, "height": 128, "firstphase_width": 64, "firstphase_height": 80}
    request = Text2ImageRequest.parse({**fields, "steps": 10})
    assert (request.size, request.final_size, request.work) == ((64, 80), (64, 80), 64 * 80 * 10)
    assert request.echo()["width"] == 128
    assert request.body() == {"width": 64, "height": 80, "steps": 10}, "as every host knows it"
    assert Text2ImageRequest.parse({**fields, "enable_hr": True}).final_size == (128, 160)
    with pytest.raises(InvalidRequest, match="together"):
        Text2ImageRequest.parse({"firstphase_width": 64})


def test_arguments_of_built_in_scripts_are_of_no_account() -> None:
    scripts = {"Refiner": {"args": [True, "x", 0.8]}, "SEED": {"args": [7]}, "Mine": {"args": [1]}}
    request = Text2ImageRequest.parse({"alwayson_scripts": scripts})
    assert request.alwayson_scripts == {"Mine": {"args": [1]}}
    assert request.ignored == ("alwayson_scripts.Refiner", "alwayson_scripts.SEED")


INFOTEXT = """a cat, "red"
Negative prompt: blue
Steps: 12, Sampler: Euler a, Schedule type: Karras, CFG scale: 6.5, Seed: 77, Size: 64x128, \
Model hash: 0123456789, Model: cats, VAE: vae.pt, Denoising strength: 0.4, Clip skip: 2, \
Hires upscale: 2, Hires upscaler: Latent, Version: v1.10.1""".replace(
    "\
",
    "",
)


def test_an_infotext_says_what_the_request_does_not() -> None:
    request = Text2ImageRequest.parse({"infotext": INFOTEXT, "steps": 3})
    assert request.body() == {
        "prompt": 'a cat, "red"',
        "negative_prompt": "blue",
        "steps": 3,
        "sampler_name": "Euler a",
        "scheduler": "Karras",
        "cfg_scale": 6.5,
        "seed": 77,
        "width": 64,
        "height": 128,
        "enable_hr": True,
        "denoising_strength": 0.4,
        "hr_scale": 2.0,
        "hr_upscaler": "Latent",
        "override_settings": {
            "sd_model_checkpoint": "0123456789",
            "sd_vae": "vae.pt",
            "CLIP_stop_at_last_layers": 2,
        },
    }
    given = {"sd_model_checkpoint": "dogs"}
    own = Text2ImageRequest.parse({"infotext": INFOTEXT, "override_settings": given})
    assert own.checkpoint == "dogs"
    assert Text2ImageRequest.parse({"infotext": "just words"}).body() == {"prompt": "just words"}


def test_what_is_decided_here_is_not_sent() -> None:
    request = Image2ImageRequest.parse(
        {
            "init_images": [PNG],
            "save_images": True,
            "do_not_save_samples": True,
            "do_not_save_grid": True,
            "send_images": False,
            "include_init_images": True,
            "force_task_id": "mine",
        }
    )
    assert request.body() == {"init_images": [PNG]}
    assert "force_task_id" not in request.sent()


def test_a_checkpoint_stays_loaded_but_no_other_option_outlasts_its_request() -> None:
    def restored(options: dict[str, object]) -> object:
        request = Text2ImageRequest.parse(
            {"override_settings": options, "override_settings_restore_afterwards": True}
        )
        return request.sent().get("override_settings_restore_afterwards")

    assert restored({"sd_model_checkpoint": "a"}) is False
    assert restored({"sd_model_checkpoint": "a", "CLIP_stop_at_last_layers": 2}) is True
    assert restored({"sd_vae": "x"}) is True
    assert restored({}) is None


def test_a_second_pass_gets_the_strength_that_hosts_need() -> None:
    assert Text2ImageRequest(enable_hr=True).body()["denoising_strength"] == 0.75
    given = Text2ImageRequest(enable_hr=True, denoising_strength=0.3)
    assert given.body()["denoising_strength"] == 0.3
    assert "denoising_strength" not in Text2ImageRequest().body()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"width": 7}, "width"),
        ({"height": 4097}, "height"),
        ({"steps": 0}, "steps"),
        ({"steps": 151}, "steps"),
        ({"steps": "many"}, "steps"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 8, "n_iter": 5}, None),
        ({"cfg_scale": math.nan}, "cfg_scale"),
        ({"cfg_scale": math.inf}, "cfg_scale"),
        ({"width": math.inf}, "width"),
        ({"seed": -2}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"prompt": "x" * 20_001}, "prompt"),
        ({"prompt": ["a"]}, "prompt"),
        ({"styles": "anime"}, "styles"),
        ({"override_settings": [1]}, "override_settings"),
        ({"alwayson_scripts": {"controlnet": [1]}}, None),
        ({"alwayson_scripts": {"controlnet": {"args": {}}}}, None),
        ({"alwayson_scripts": {"ControlNet": {"args": [1]}}}, None),
        ({"enable_hr": True, "width": 2048, "height": 64, "hr_scale": 3}, None),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(fields: dict[str, object], param: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Text2ImageRequest.parse(fields)
    assert caught.value.param == param
    assert caught.value.details["errors"]
    assert "Value error" not in caught.value.message


@pytest.mark.parametrize(
    "fields",
    [{}, {"init_images": None}, {"init_images": []}, {"init_images": "x"}, {"init_images": [None]}],
)
def test_img2img_needs_an_image(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Image2ImageRequest.parse(fields)
    assert (caught.value.param or "").startswith("init_images")


def test_images_are_counted_as_hosts_count_them() -> None:
    assert Text2ImageRequest(batch_size=2, n_iter=3).count == 6
    assert Image2ImageRequest(init_images=[PNG], batch_size=3).count == 3
    assert Image2ImageRequest(init_images=[PNG, PNG], batch_size=3, n_iter=2).count == 4
    with pytest.raises(InvalidRequest, match="more pictures than batch_size"):
        Image2ImageRequest.parse({"init_images": [PNG, PNG]})


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({}, (640, 512)),
        ({"enable_hr": True}, (1280, 1024)),
        ({"enable_hr": True, "hr_scale": 1.5}, (960, 768)),
        ({"enable_hr": True, "hr_resize_x": 1000}, (1000, 800)),
        ({"enable_hr": True, "hr_resize_y": 1024}, (1280, 1024)),
        ({"enable_hr": True, "hr_resize_x": 900, "hr_resize_y": 1024}, (900, 1024)),
    ],
)
def test_the_second_pass_decides_the_final_size(
    fields: dict[str, object], size: tuple[int, int]
) -> None:
    assert Text2ImageRequest.parse({"width": 640, "height": 512, **fields}).final_size == size


def test_work_is_measured_in_pixel_steps() -> None:
    request = Text2ImageRequest(width=64, height=64, steps=10, batch_size=2)
    assert request.work == 64 * 64 * 10 * 2
    request = Text2ImageRequest(width=64, height=64, steps=10, enable_hr=True)
    assert request.work == 64 * 64 * 10 + 128 * 128 * 10


def test_random_choices_are_made_once() -> None:
    request = effective(Text2ImageRequest(prompt="a"))
    assert 0 <= request.seed < 2**32
    assert effective(request) is request
    assert request.body()["seed"] == request.seed
    assert "subseed" not in request.body()
    varied = effective(Text2ImageRequest(seed=1, subseed_strength=0.5))
    assert varied.seed == 1
    assert varied.subseed >= 0


def test_a_request_survives_being_stored_and_read_again() -> None:
    request = effective(Text2ImageRequest(prompt="a", enable_hr=True).with_checkpoint("x"))
    again = Text2ImageRequest.parse(request.body())
    assert again.body() == request.body()
    assert again.checkpoint == "x"


def test_the_echo_holds_every_default_and_no_input_image() -> None:
    request = Image2ImageRequest.parse({"init_images": [PNG], "mask": PNG, "other": 1})
    echo = request.echo()
    assert (echo["steps"], echo["width"], echo["denoising_strength"]) == (50, 512, 0.75)
    assert echo["sampler_index"] == "Euler"
    assert echo["init_images"] is None
    assert echo["mask"] is None
    assert "other" not in echo
    told = request.model_copy(update={"include_init_images": True}).echo()
    assert told["init_images"] == [PNG]


# --- input pictures -------------------------------------------------------------------------------

UNIT = {
    "enabled": True,
    "image": {"image": PNG, "mask": PNG},
    "mask_image": PNG,
    "input_image": "",
    "model": "canny",
}


def everywhere(text: str) -> Image2ImageRequest:
    return Image2ImageRequest.parse(
        {
            "init_images": [text],
            "mask": text,
            "latent_mask": text,
            "firstpass_image": text,
            "alwayson_scripts": {
                "other": {"args": [text]},
                "ControlNet": {
                    "args": [
                        UNIT,
                        {"enabled": "True", "image": [text, text]},
                        {"enabled": 1, "image": text},
                        {"enabled": "false", "image": text},
                    ]
                },
            },
        }
    )


def test_every_input_image_is_found() -> None:
    paths: list[str] = []

    def note(text: str, path: str) -> str:
        paths.append(path)
        return f"<{text}>"

    request = map_images(everywhere(PNG), note)
    where = "alwayson_scripts.ControlNet.args"
    assert paths == [
        "init_images.0",
        "mask",
        "latent_mask",
        "firstpass_image",
        f"{where}.0.image.image",
        f"{where}.0.image.mask",
        f"{where}.0.mask_image",
        f"{where}.1.image.0",
        f"{where}.1.image.1",
        f"{where}.2.image",
    ]
    assert request.init_images == [f"<{PNG}>"]
    assert request.controlnet_units[0]["input_image"] == ""
    assert request.controlnet_units[0]["model"] == "canny"
    assert request.alwayson_scripts["other"] == {"args": [PNG]}


def test_images_reach_hosts_in_plain_base64_only() -> None:
    loose = "data:image/png;base64," + PNG.rstrip("=").replace("+", "-").replace("/", "_")
    request = prepare_images(Image2ImageRequest(init_images=[loose]))
    assert request.init_images == [PNG]
    assert prepare_images(Text2ImageRequest(prompt="a")).body() == {"prompt": "a"}


@pytest.mark.parametrize("text", ["/etc/passwd", "cat.png", encode_base64(b"no picture")])
@pytest.mark.parametrize("field", ["mask", "alwayson_scripts"])
def test_text_that_is_no_image_never_reaches_a_host(field: str, text: str) -> None:
    value: object = {"controlnet": {"args": [{"enabled": True, "image": text}]}}
    fields = {"init_images": [PNG], field: text if field == "mask" else value}
    with pytest.raises(InvalidImage) as caught:
        prepare_images(Image2ImageRequest.parse(fields))
    assert (caught.value.param or "").startswith(field)


def test_urls_are_fetched_here_and_never_by_a_host() -> None:
    request = Image2ImageRequest(init_images=["https://example.com/cat.png"])
    with pytest.raises(InvalidRequest, match="not accepted"):
        prepare_images(request)
    prepared = prepare_images(request, fetch=lambda url: plain_png(64, 64, url))
    assert decode_base64(prepared.init_images[0]) == plain_png(64, 64, request.init_images[0])


def test_input_images_are_within_the_limits() -> None:
    with pytest.raises(ImageTooLarge) as caught:
        prepare_images(Image2ImageRequest(init_images=[PNG]), max_pixels=64 * 63)
    assert caught.value.param == "init_images.0"


def test_programs_may_give_an_image_as_bytes() -> None:
    request = Image2ImageRequest.parse({"init_images": [plain_png(64, 64)]})
    assert request.init_images == [PNG]
