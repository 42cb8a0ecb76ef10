"""Programs with the web UI's API, known by few signs, and what is made of their answers."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from robotchat.art.bot import ArtBot
from robotchat.art.requests import Image2ImageRequest
from robotchat.drivers.fake import plain_png
from robotchat.drivers.webui import WebUI
from robotchat.errors import (
    NotSupported,
    UnknownSampler,
    UpstreamBusy,
    UpstreamRejected,
    UpstreamUnavailable,
    WrongResult,
)
from robotchat.images import encode_base64

API = "/sdapi/v1"
POSTED = httpx.Response(405, json={"detail": "Method Not Allowed"})
ENGINE: dict[str, Any] = {
    "sd-models": [{"title": "alpha", "model_name": "alpha", "hash": "8" * 10, "sha256": "8" * 64}],
    "options": {"sd_model_checkpoint": "alpha"},
    "samplers": [{"name": "Euler a", "aliases": ["k_euler_a"], "options": {}}],
}
WEB_UI: dict[str, Any] = {
    "interrupt": POSTED,
    "refresh-loras": POSTED,
    "progress": {"progress": 0, "state": {"job_count": 0}},
}
IMAGE = encode_base64(plain_png(64, 64))


class Place:
    """A host that answers these, by path below the API or from the root."""

    def __init__(self, *parts: dict[str, Any]) -> None:
        self.answers = {name: answer for part in parts for name, answer in part.items()}
        self.sent: list[dict[str, Any]] = []
        self.web = WebUI("http://a", transport=httpx.MockTransport(self._answer))
        self.bot = ArtBot(self.web)

    @property
    def flavour(self) -> str:
        return self.web.capabilities().flavour

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if request.method == "POST":
            self.sent.append(json.loads(request.content))
        answer = self.answers.get(path.removeprefix(f"{API}/"))
        if answer is None:
            return httpx.Response(404, text="no such path")
        if isinstance(answer, httpx.Response):
            return httpx.Response(answer.status_code, content=answer.content)
        return httpx.Response(200, json=answer)


@pytest.mark.parametrize(
    ("parts", "flavour"),
    [
        ([WEB_UI], ""),
        ([WEB_UI, {"sd-modules": []}], "Forge Neo"),
        ([WEB_UI, {"sd-modules": [], "hypernetworks": []}], "Forge"),
        ([WEB_UI, {"version": {"app": "sd.next"}, "status": {"status": "idle"}}], "SD.Next"),
        ([WEB_UI, {"version": {"app": "mine"}}], ""),
        ([ENGINE], "KoboldCpp"),
        ([ENGINE, {"schedulers": []}], "sd-server"),
        (
            [ENGINE, {"schedulers": [], "/api/extra/version": {"result": "KoboldCpp"}}],
            "KoboldCpp",
        ),
        ([{"/": {"model": "a.ckpt", "width": 768}}], "Draw Things"),
        ([{"options": {"model": "a.ckpt", "width": 768}}], "Draw Things"),
        ([{"/": httpx.Response(200, text="<html>a page</html>")}], "sd-server"),
    ],
)
def test_a_program_is_known_by_few_signs(parts: list[dict[str, Any]], flavour: str) -> None:
    assert Place(*parts).flavour == flavour


def test_no_content_is_an_answer() -> None:
    place = Place(WEB_UI, {"interrupt": httpx.Response(204), "skip": httpx.Response(204)})
    place.web.cancel()
    assert place.web.post("sdapi/v1/skip") is None


def test_what_koboldcpp_says_of_itself() -> None:
    drawn = {"images": [IMAGE], "parameters": {}, "info": ""}
    place = Place(ENGINE, {"txt2img": drawn})
    drawing = place.bot.text2image(prompt="a", width=64, height=64, seed=3, scheduler="Karras")
    assert drawing.unverified == ["scheduler", "seed"]
    assert place.sent[-1]["scheduler"] == "karras"
    with pytest.raises(UnknownSampler):
        place.bot.text2image(prompt="a", scheduler="no such schedule")
    busy = {"detail": {"msg": "Server is busy", "type": "service_unavailable"}}
    place.answers["txt2img"] = httpx.Response(503, json=busy)
    with pytest.raises(UpstreamBusy):
        place.bot.text2image(prompt="a", width=64, height=64)
    place.answers["txt2img"] = httpx.Response(503, text="a proxy's page")
    with pytest.raises(UpstreamUnavailable):
        place.bot.text2image(prompt="a", width=64, height=64)
    big = {"detail": {"msg": "Payload is too big. Max payload size is 32MB.", "type": "bad_input"}}
    place.answers["txt2img"] = httpx.Response(500, json=big)
    with pytest.raises(UpstreamRejected, match="too large"):
        place.bot.text2image(prompt="a", width=64, height=64)


def test_no_prompt_passes_for_an_account_of_how_it_was_drawn() -> None:
    alpha = {"title": "alpha", "model_name": "alpha", "hash": None}
    lines = "Steps: 1, Sampler: Euler, Seed: 3, App: SD.Next"

    def place(prompt: str, model: str) -> Place:
        text = f"{prompt}\n{lines}, Model: {model}, Operations: txt2img"
        info = {"all_seeds": [3], "seed": 3, "infotexts": [text], "sd_model_hash": None}
        return Place(
            WEB_UI,
            {"version": {}, "status": {}, "sd-models": [alpha]},
            {"txt2img": {"images": [IMAGE], "parameters": {}, "info": json.dumps(info)}},
        )

    asked: dict[str, Any] = {"width": 64, "height": 64, "seed": 3, "prompt": "a, Model: beta"}
    options = {"sd_model_checkpoint": "alpha"}
    drawing = place("a, Model: beta", "alpha").bot.text2image(**asked, override_settings=options)
    assert drawing.checkpoint == "alpha"
    with pytest.raises(WrongResult):
        place("a, Model: alpha", "beta").bot.text2image(**asked, override_settings=options)


def test_sdnext_blurs_a_mask_both_ways_alike() -> None:
    drawn = {"images": [IMAGE], "parameters": {}, "info": ""}
    place = Place(WEB_UI, {"version": {}, "status": {}, "img2img": drawn})
    masked = {"init_images": [IMAGE], "mask": IMAGE, "width": 64, "height": 64, "seed": 1}

    def sent(**blur: int) -> int:
        place.web.draw(Image2ImageRequest.parse({**masked, **blur}))
        assert "mask_blur_x" not in place.sent[-1]
        blurred: int = place.sent[-1]["mask_blur"]
        return blurred

    assert (sent(), sent(mask_blur=9), sent(mask_blur_x=6, mask_blur_y=6)) == (4, 9, 6)
    with pytest.raises(NotSupported) as refused:
        sent(mask_blur_x=6)
    assert refused.value.param == "mask_blur_x"


def test_names_of_embeddings_alone_are_embeddings() -> None:
    place = Place(WEB_UI, {"embeddings": {"loaded": ["one"], "skipped": []}})
    assert place.bot.get_embeddings().loaded == {"one": {}}
