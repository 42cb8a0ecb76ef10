"""What servers with OpenAI's images API are asked, and what their answers mean."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any, get_args

import httpx
import pytest
from PIL import Image

from robotchat.art.capabilities import ImagesFlavour
from robotchat.art.requests import Image2ImageRequest, Text2ImageRequest
from robotchat.drivers.image_flavours import FLAVOURS
from robotchat.drivers.openai_images import OpenAIImages
from robotchat.errors import (
    Misconfigured,
    NotSupported,
    RobotchatError,
    UpstreamBusy,
    UpstreamGarbage,
    UpstreamRejected,
    UpstreamUnavailable,
)
from robotchat.images import encode_base64


def _image() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "orange").save(file, "PNG")
    return file.getvalue()


IMAGE = _image()
ANSWER = {"created": 1, "data": [{"b64_json": encode_base64(IMAGE)}]}
WORDS = Text2ImageRequest(prompt="a beach", width=64, height=64, seed=5)


def driver(
    answer: Callable[[httpx.Request], httpx.Response], flavour: str | None = None, **more: Any
) -> OpenAIImages:
    return OpenAIImages(
        "http://sd.internal:8000",
        flavour=flavour,
        models=("m",),
        transport=httpx.MockTransport(answer),
        **more,
    )


def _always(body: Any) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: httpx.Response(200, json=body)


def test_every_flavour_can_be_configured() -> None:
    assert set(get_args(ImagesFlavour)) == set(FLAVOURS) - {"openai-images"}
    with pytest.raises(Misconfigured):
        OpenAIImages("http://a", flavour="forge")
    with pytest.raises(Misconfigured):
        OpenAIImages("ftp://a")
    assert OpenAIImages("https://api.openai.com/v1").capabilities().flavour == "OpenAI"
    assert OpenAIImages("http://a").base_url == "http://a/v1"
    assert OpenAIImages("http://:k@a/api/v1/").base_url == "http://a/api/v1"


def test_the_key_goes_along_and_is_shown_nowhere() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=ANSWER)

    for auth in (("", "s3cret-key"), ("s3cret-key", "")):
        bot = driver(answer, auth=auth)
        bot.draw(WORDS)
        assert "s3cret" not in f"{bot!r} {bot.base_url}"
    assert {request.headers["authorization"] for request in seen} == {"Bearer s3cret-key"}


@pytest.mark.parametrize(
    ("flavour", "body"),
    [
        (
            "openai-images",
            {"prompt": "a beach", "model": "m", "size": "64x64", "n": 1}
            | {"response_format": "b64_json"},
        ),
        (
            "vllm-omni",
            {"prompt": "a beach", "model": "m", "size": "64x64", "n": 1, "seed": 5}
            | {"response_format": "b64_json", "output_format": "png", "negative_prompt": "fog"}
            | {"num_inference_steps": 9, "guidance_scale": 3.5, "true_cfg_scale": 4.0},
        ),
        (
            "localai",
            {"prompt": "a beach|fog", "model": "m", "size": "64x64", "n": 1, "seed": 5}
            | {"response_format": "b64_json", "step": 9},
        ),
    ],
)
def test_what_is_sent(flavour: str, body: dict[str, Any]) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=ANSWER)

    request = WORDS
    if flavour != "openai-images":
        fields = {"negative_prompt": "fog", "steps": 9, "cfg_scale": 4.0}
        request = Text2ImageRequest(**WORDS.body(), **fields, distilled_cfg_scale=3.5)
    driver(answer, flavour).draw(request)
    assert seen[0].url.path == "/v1/images/generations"
    assert json.loads(seen[0].content) == body


def test_seeds_beyond_31_bits_are_no_random_ones_to_localai() -> None:
    bodies: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return httpx.Response(200, json=ANSWER)

    bot = driver(answer, "localai")
    bot.draw(WORDS.model_copy(update={"seed": 2**32 - 2, "n_iter": 2}))
    assert [body["seed"] for body in bodies] == [2**31 - 2, 2**31 - 1]


def test_an_edit_is_a_form() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=ANSWER)

    image = encode_base64(IMAGE)
    change = Image2ImageRequest(
        prompt="make it blue", init_images=[image], width=64, height=64, seed=5
    )
    fields = {"vllm-omni": b'name="strength"\r\n\r\n0.75', "openai-images": b'name="size"'}
    for flavour, part in fields.items():
        driver(answer, flavour).draw(change)
        sent = seen[-1].content
        assert seen[-1].url.path == "/v1/images/edits"
        assert b'name="image"; filename="image0.png"\r\nContent-Type: image/png' in sent
        assert part in sent
    told = change.model_copy(update={"instruct": True, "extra_images": [image]})
    driver(answer, "vllm-omni").draw(told)
    assert b"strength" not in seen[-1].content
    assert seen[-1].content.count(b'name="image"') == 2
    driver(answer, "openai-images").draw(told)
    assert seen[-1].content.count(b'name="image[]"') == 2
    driver(answer, "localai").draw(told)
    assert len(json.loads(seen[-1].content)["ref_images"]) == 2


@pytest.mark.parametrize(
    ("status", "body", "kind", "param"),
    [
        (401, {"error": {"message": "no", "code": "invalid_api_key"}}, UpstreamUnavailable, None),
        (401, {"error": "Unauthorized"}, UpstreamUnavailable, None),
        (429, {"error": {"message": "slow down"}}, UpstreamBusy, None),
        (429, {"error": {"code": "insufficient_quota"}}, UpstreamUnavailable, None),
        (503, {"detail": "Diffusion engine not initialized."}, UpstreamUnavailable, None),
        (502, "<html>Bad Gateway</html>", UpstreamUnavailable, None),
        (500, {"error": "generate_image returned no results"}, UpstreamUnavailable, None),
        (500, {"error": "server_error", "message": "[json.exc"}, UpstreamUnavailable, None),
        (404, {"detail": "Not Found"}, NotSupported, None),
        (405, {"detail": "Method Not Allowed"}, NotSupported, None),
        (400, {"detail": "Model mismatch: request specifies 'x'"}, UpstreamRejected, "CHECKPOINT"),
        (
            404,
            {"error": {"code": 404, "message": 'model "x" not found.', "type": "x"}},
            UpstreamRejected,
            "CHECKPOINT",
        ),
        (
            404,
            {"error": {"code": "model_not_found", "message": "The model 'x' does not exist"}},
            UpstreamRejected,
            "CHECKPOINT",
        ),
        (
            403,
            {"error": {"code": 403, "message": "disabled", "type": "model_disabled"}},
            UpstreamRejected,
            "CHECKPOINT",
        ),
        (
            400,
            {"error": {"code": "moderation_blocked", "message": "rejected", "param": None}},
            UpstreamRejected,
            "prompt",
        ),
        (
            400,
            {"error": {"code": "unknown_parameter", "message": "Unknown", "param": "style"}},
            UpstreamRejected,
            "style",
        ),
        (
            422,
            {"detail": [{"loc": ["body", "guidance_scale"], "msg": "too large", "type": "x"}]},
            UpstreamRejected,
            "cfg_scale",
        ),
        (400, {"error": "invalid params"}, UpstreamRejected, None),
        (418, "teapot", UpstreamRejected, None),
    ],
)
def test_errors_of_every_shape(
    status: int, body: Any, kind: type[RobotchatError], param: str | None
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if isinstance(body, str):
            return httpx.Response(status, text=body)
        return httpx.Response(status, json=body, headers={"Retry-After": "7"})

    with pytest.raises(RobotchatError) as caught:
        driver(answer).draw(WORDS)
    assert type(caught.value) is kind
    wanted = "override_settings.sd_model_checkpoint" if param == "CHECKPOINT" else param
    assert caught.value.param == wanted
    assert "sd.internal" not in f"{caught.value.message} {caught.value.details}"
    if status == 429 and kind is UpstreamBusy:
        assert caught.value.retry_after == 7


@pytest.mark.parametrize(
    "data",
    [
        [],
        [{}],
        [{"b64_json": None, "url": None}],
        ["text"],
        [{"url": "http://elsewhere.example/x.png"}],
        [{"url": "//elsewhere.example/x.png"}],
        [{"url": "http://sd.internal:9/x.png"}],
        [{"url": "file:///etc/passwd"}],
        [{"b64_json": encode_base64(IMAGE)}] * 2,
        [{"b64_json": "bm8gcGljdHVyZQ=="}],
    ],
)
def test_answers_without_the_image(data: list[Any]) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/images/generations", "nothing else may be asked"
        return httpx.Response(200, json={"data": data})

    with pytest.raises(UpstreamGarbage):
        driver(answer).draw(WORDS)


@pytest.mark.parametrize("url", ["/v1/images/1/content", "http://sd.internal:8000/x/1.png"])
def test_a_link_is_followed_where_it_leads_to_the_host_itself(url: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            assert request.headers["authorization"] == "Bearer key-1"
            return httpx.Response(200, content=IMAGE)
        return httpx.Response(200, json={"data": [{"url": url}]})

    drawing = driver(answer, auth=("", "key-1")).draw(WORDS)
    assert drawing.images[0].data == IMAGE


def test_a_data_url_is_an_image_as_well() -> None:
    text = f"data:image/png;base64,{encode_base64(IMAGE)}"
    for one in ({"url": text}, {"b64_json": text}):
        drawing = driver(_always({"data": [one]})).draw(WORDS)
        assert drawing.images[0].data == IMAGE


def test_a_link_that_leads_on_is_not_followed() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(302, headers={"location": "http://169.254.169.254/"})
        return httpx.Response(200, json={"data": [{"url": "/x.png"}]})

    with pytest.raises(UpstreamGarbage):
        driver(answer).draw(WORDS)


def test_models_that_are_no_list() -> None:
    bodies: list[Any] = [[], {"data": None}, {"models": []}]
    for body in bodies:
        bot = OpenAIImages("http://a", transport=httpx.MockTransport(_always(body)))
        with pytest.raises(UpstreamGarbage):
            bot.models()
