"""OpenAI's image endpoints, over hosts in this process."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from robotchat.art.capabilities import Capabilities
from robotchat.drivers.fake import FakeArt
from tests.cases.service import Service

DRAW, EDIT, VARY = "gpt/create_image", "gpt/create_image_edit", "gpt/create_image_variation"


@pytest.fixture
def art() -> FakeArt:
    return FakeArt()


@pytest.fixture
def service(art: FakeArt) -> Iterator[Service]:
    with Service.over([art]) as running:
        yield running


def url(
    mode: str = "RGB", colour: tuple[int, ...] = (9, 9, 9), size: tuple[int, int] = (64, 32)
) -> str:
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def source(*args: Any, **kwargs: Any) -> dict[str, str]:
    return {"image_url": url(*args, **kwargs)}


def test_images_come_as_openai_gives_them(service: Service, art: FakeArt) -> None:
    body = {"prompt": "a beach", "model": "gpt-image-1", "n": 2, "size": "128x64", "seed": 7}
    answer = service.call(DRAW, {**body, "quality": "low", "user": None})
    assert answer.status == 200, answer.body
    assert [image["seed"] for image in answer.body["data"]] == [7, 8]
    assert {n: answer.body[n] for n in ("size", "quality", "output_format", "background")} == {
        "size": "128x64",
        "quality": "low",
        "output_format": "png",
        "background": "opaque",
    }
    assert answer.body["usage"]["output_tokens"] == 2 * 4 * 2
    for image in answer.body["data"]:
        assert Image.open(io.BytesIO(base64.b64decode(image["b64_json"]))).size == (128, 64)
    sent = art.requests[0]
    assert (sent["steps"], sent["n_iter"], sent["prompt"]) == (12, 2, "a beach")
    assert "output_format" not in sent


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
def test_files_have_the_format_that_is_asked_for(service: Service, output_format: str) -> None:
    body = {"prompt": "a beach", "size": "64x64", "output_format": output_format}
    answer = service.call(DRAW, {**body, "output_compression": 40})
    data = base64.b64decode(answer.body["data"][0]["b64_json"])
    assert Image.open(io.BytesIO(data)).format == output_format.upper()
    assert answer.body["output_format"] == output_format


def test_links_are_given_when_they_are_asked_for(service: Service) -> None:
    body = {"prompt": "a beach", "size": "64x64", "response_format": "url"}
    (image,) = service.call(DRAW, body).body["data"]
    assert "b64_json" not in image
    assert image["url"]


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"n": 11}, "n"),
        ({"size": "huge"}, None),
        ({"size": "99999x64"}, None),
        ({"background": "transparent"}, "background"),
        ({"output_format": "gif"}, "output_format"),
        ({"model": "no-such-checkpoint"}, "model"),
        ({"sampler_name": "no-such-sampler"}, "sampler_name"),
        ({"size": "6x6"}, "size"),
        ({"size": "\uff16\uff14x064"}, "size"),
    ],
    ids=str,
)
def test_what_cannot_be_drawn_is_refused_as_openai_does(
    service: Service, art: FakeArt, wrong: dict[str, Any], param: str | None
) -> None:
    answer = service.call(DRAW, {"prompt": "a beach", **wrong})
    assert 400 <= answer.status < 500
    assert set(answer.body["error"]) >= {"message", "type", "param", "code"}
    if param is not None:
        assert answer.body["error"]["param"] == param
    assert art.requests == []


def test_an_edit_keeps_the_images_shape(service: Service, art: FakeArt) -> None:
    answer = service.call(EDIT, {"prompt": "make it blue", "images": [source()]})
    assert answer.status == 200, answer.body
    sent = art.requests[0]
    assert 1.9 < sent["width"] / sent["height"] < 2.1
    assert "mask" not in sent


def test_a_checkpoint_that_takes_instructions_is_shown_further_images() -> None:
    art = FakeArt(capabilities=Capabilities(reference_pictures=3))
    with Service.over([art]) as service:
        marked = {"name": "fake", "instruct": True, "reference_pictures": 1}
        config = {"checkpoint": "fake", "checkpoints": [marked]}
        set_ = service.call("admin/set_config", config, headers={"If-Match": "*"})
        assert set_.status == 200, set_.body
        answer = service.call(EDIT, {"prompt": "make it blue", "images": [source()] * 2})
        assert answer.status == 200, answer.body
        sent = art.requests[0]
        assert sent["prompt"] == "make it blue"
        assert len(sent["extra_images"]) == 1
        assert "instruct" not in sent
        more = service.call(EDIT, {"prompt": "make it blue", "images": [source()] * 3})
        assert more.status == 400
        assert more.body["error"]["param"] == "images"
        assert len(art.requests) == 1


def test_what_is_transparent_in_the_mask_is_drawn_anew(service: Service, art: FakeArt) -> None:
    body = {"prompt": "a hat", "images": [source()], "mask": source("RGBA", (0, 0, 0, 0))}
    assert service.call(EDIT, body).status == 200
    sent = art.requests[0]
    mask = Image.open(io.BytesIO(base64.b64decode(sent["mask"])))
    assert (mask.mode, mask.getpixel((0, 0))) == ("L", 255)
    assert (sent["inpainting_fill"], sent["inpaint_full_res"]) == (1, False)


def test_without_a_mask_the_images_own_transparency_is_one(service: Service, art: FakeArt) -> None:
    body = {"prompt": "a sky", "images": [source("RGBA", (1, 2, 3, 0))]}
    assert service.call(EDIT, body).status == 200
    assert art.requests[0]["mask"]


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"images": []}, "images"),
        ({"images": [{}]}, "images.0"),
        ({"images": [{"image_url": "data:image/png;base64,xx"}]}, "images.0"),
        ({"images": [{"image_url": "https://nowhere.invalid/a.png"}]}, "images.0"),
        ({"images": [{"image_url": "http://10.0.0.1/a.png"}]}, "images.0"),
        ({"images": [{"file_id": "upload_nothing"}]}, "images.0"),
        ({"images": [{"file_id": "file-abc"}]}, "images.0"),
        ({"images": [{"file_id": "iVBORw0KGgo="}]}, "images.0"),
        ({"mask": source("RGBA", (0, 0, 0, 255))}, "mask"),
        ({"mask": source("RGBA", (0, 0, 0, 0), (8, 8))}, "mask"),
        ({"images": [source(), source()]}, "images"),
    ],
    ids=[
        *("none", "empty", "garbage", "nowhere", "within", "no upload", "a file of others"),
        *("a file's bytes", "opaque mask", "mask's size", "two"),
    ],
)
def test_an_edit_that_cannot_be_made_is_refused(
    service: Service, art: FakeArt, wrong: dict[str, Any], param: str | None
) -> None:
    answer = service.call(EDIT, {"prompt": "blue", "images": [source()], **wrong})
    assert 400 <= answer.status < 500, answer.body
    if param is not None:
        assert answer.body["error"]["param"] == param
    assert art.requests == []


def test_a_variation_needs_no_words(service: Service, art: FakeArt) -> None:
    assert service.call(VARY, {"images": [source()]}).status == 200
    assert art.requests[0]["init_images"]


def test_the_same_key_draws_once(service: Service, art: FakeArt) -> None:
    body = {"prompt": "a beach", "size": "64x64"}
    keyed = {"Idempotency-Key": "k-1"}
    first, second = (service.call(DRAW, body, headers=keyed).body for _ in range(2))
    assert first["data"] == second["data"]
    assert len(art.requests) == 1
