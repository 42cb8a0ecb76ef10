"""The stand-in's second personality: what stable-diffusion.cpp's server does differently."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

from dev import sd_host

API = "/sdapi/v1"


@pytest.fixture(scope="module")
def web() -> Iterator[httpx.Client]:
    with (
        sd_host.running(personality="sdcpp") as host,
        httpx.Client(base_url=host.url, timeout=20, trust_env=False) as client,
    ):
        yield client


def draw(web: httpx.Client, path: str = "txt2img", **body: Any) -> httpx.Response:
    wanted = {"prompt": "a cat", "steps": 2, "width": 64, "height": 64, **body}
    return web.post(f"{API}/{path}", json=wanted)


def images(answer: httpx.Response) -> list[Image.Image]:
    assert answer.status_code == 200, answer.text
    return [Image.open(io.BytesIO(base64.b64decode(i))) for i in answer.json()["images"]]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/sdapi/v1/progress"),
        ("POST", "/sdapi/v1/interrupt"),
        ("POST", "/sdapi/v1/options"),
        ("POST", "/sdapi/v1/refresh-loras"),
        ("GET", "/controlnet/version"),
        ("POST", "/internal/progress"),
        ("GET", "/sdapi/v1/txt2img"),
        ("GET", "/sdapi/v1/cmd-flags"),
    ],
)
def test_what_it_lacks_is_an_empty_404(web: httpx.Client, method: str, path: str) -> None:
    answer = web.request(method, path)
    assert (answer.status_code, answer.content) == (404, b"")
    assert answer.headers["connection"] == "close"


def test_it_lists_a_little(web: httpx.Client) -> None:
    for path in ("loras", "upscalers", "latent-upscale-modes", "samplers", "schedulers"):
        assert isinstance(web.get(f"{API}/{path}").json(), list)
    assert len(web.get(f"{API}/sd-models").json()) == 1
    assert len(web.get(f"{API}/options").json()) == 2


def test_sizes_are_rounded_up_to_64_while_info_says_what_was_asked(web: httpx.Client) -> None:
    answer = draw(web, width=100, height=70)
    info = json.loads(answer.json()["info"])
    assert images(answer)[0].size == (128, 128)
    assert (info["width"], info["height"]) == (100, 70)


@pytest.mark.parametrize("field", ["seed", "prompt", "sampler_name", "width", "negative_prompt"])
def test_null_is_a_server_error(web: httpx.Client, field: str) -> None:
    nothing: Any = {field: None}
    answer = draw(web, **nothing)
    assert answer.status_code == 500
    assert answer.json()["error"] == "server_error"
    assert "but is null" in answer.json()["message"]


@pytest.mark.parametrize(
    ("content", "status", "error"),
    [
        (b"", 400, "empty body"),
        (b"{", 500, "server_error"),
        (b"[]", 500, "server_error"),
        (b"{}", 400, "prompt required"),
        (b'{"prompt": "x", "width": 0}', 400, "width and height must be positive"),
        (b'{"prompt": "x", "lora": [{}]}', 400, "lora.path required"),
        (b'{"prompt": "x", "lora": [{"path": "y"}]}', 400, "invalid lora path: y"),
        (b'{"prompt": "x", "seed": "1"}', 500, "server_error"),
        (b'{"prompt": "x", "width": 100000}', 500, "generate_image returned no results"),
        (b'{"prompt": "<sd_cpp_extra_args>{</sd_cpp_extra_args>"}', 400,
         "invalid sd_cpp_extra_args"),
    ],
)  # fmt: skip
def test_errors_have_its_shapes(web: httpx.Client, content: bytes, status: int, error: str) -> None:
    answer = web.post(f"{API}/txt2img", content=content)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.headers["connection"] == "close"


def test_much_is_accepted_in_silence(web: httpx.Client) -> None:
    answer = draw(
        web,
        sampler_name="DPM++ 2M Karras",
        n_iter=4,
        steps=0,
        batch_size=20,
        override_settings={"sd_model_checkpoint": "other"},
        send_images=False,
        alwayson_scripts={"nope": {}},
    )
    assert len(images(answer)) == 8
    assert json.loads(answer.json()["info"])["sampler_name"] == "NONE"
    assert json.loads(draw(web, sampler_name="Euler a").json()["info"])["sampler_name"] == "euler_a"


def test_img2img_without_an_image_draws_one(web: httpx.Client) -> None:
    for sources in (None, ["rubbish"], []):
        assert len(images(draw(web, "img2img", init_images=sources))) == 1


def test_the_same_seed_gives_the_same_bytes(web: httpx.Client) -> None:
    first, again = (draw(web, seed=3).json()["images"] for _ in range(2))
    assert first == again


def test_cors_is_open_and_nothing_is_gzipped(web: httpx.Client) -> None:
    answer = web.get(f"{API}/samplers", headers={"Origin": "http://page"})
    assert answer.headers["access-control-allow-origin"] == "http://page"
    assert "content-encoding" not in draw(web).headers


def test_info_may_be_empty() -> None:
    with (
        sd_host.running(personality="sdcpp", sdcpp_info="empty") as host,
        httpx.Client(base_url=host.url, trust_env=False) as client,
    ):
        assert draw(client).json()["info"] == ""
