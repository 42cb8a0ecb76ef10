"""Which driver an SD host gets."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
import pytest

from robotchat.art.address import split_kind
from robotchat.art.capabilities import Capabilities, all_but, from_json, to_json
from robotchat.drivers.hosts import host_driver
from robotchat.errors import Misconfigured, UpstreamUnavailable
from robotchat.hosts.lease import host_name


class Place:
    """A host that answers at some paths, and notes what it was asked."""

    def __init__(self, answers: Mapping[str, httpx.Response]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        return self.answers.get(request.url.path, httpx.Response(404, json={"detail": "Not Found"}))

    @property
    def transport(self) -> httpx.BaseTransport:
        return httpx.MockTransport(self)


def test_an_address_may_name_its_kind() -> None:
    assert split_kind("http://a:1/x") == (None, "http://a:1/x")
    assert split_kind(" ComfyUI+https://a ") == ("comfyui", "https://a")
    assert split_kind("openai-images+http://a/v1") == ("openai-images", "http://a/v1")
    for wrong in ("a:7860", "ftp://a", "forge+http://a", "+http://a", "comfyui+a"):
        with pytest.raises(Misconfigured):
            split_kind(wrong)


def test_a_host_keeps_its_name_when_its_kind_is_named() -> None:
    assert host_name("http://a:1") == host_name("webui+http://a:1")


def test_a_host_is_asked_for_its_kind_when_it_is_first_used_and_once() -> None:
    place = Place(
        {
            "/sdapi/v1/sd-models": httpx.Response(200, json=[]),
        }
    )
    driver = host_driver("http://a", transport=place.transport)
    assert place.asked == []
    assert driver.models() == []
    assert driver.models() == []
    assert driver.webui is not None
    assert place.asked == ["/sdapi/v1/sd-models"] * 3


def test_a_host_without_the_lists_is_known_by_its_drawing_call() -> None:
    posted_only = httpx.Response(405, json={"detail": "Method Not Allowed"})
    place = Place({"/sdapi/v1/txt2img": posted_only})
    driver = host_driver("http://a", transport=place.transport)
    assert driver.webui is not None
    paths = ("sd-models", "options", "txt2img")
    assert place.asked == [f"/sdapi/v1/{path}" for path in paths]


def test_a_host_that_is_away_is_asked_again() -> None:
    place = Place({"/sdapi/v1/sd-models": httpx.Response(503)})
    driver = host_driver("http://a", transport=place.transport)
    for _ in range(2):
        with pytest.raises(UpstreamUnavailable):
            driver.models()
    assert place.asked == ["/sdapi/v1/sd-models"] * 2


def test_a_named_kind_is_not_looked_for() -> None:
    place = Place({"/sdapi/v1/sd-models": httpx.Response(200, json=[])})
    assert host_driver("webui+http://a", transport=place.transport).models() == []
    assert place.asked == ["/sdapi/v1/sd-models"]


def test_capabilities_are_told_to_others_who_may_know_more_or_less_of_them() -> None:
    told = Capabilities(kind="comfyui", ignores=all_but("width"), size_step=16, rounds_up=True)
    assert from_json(to_json(told)) == told
    assert from_json({**to_json(told), "of_the_future": 1}) == told
    assert from_json({"kind": "sdcpp"}) == Capabilities(kind="sdcpp")


def test_what_shapes_an_image_is_ignored_unless_it_is_heeded() -> None:
    ignored = all_but("steps", "mask")
    assert {"sampler_name", "enable_hr", "styles", "denoising_strength"} <= ignored
    assert not {"steps", "mask", "prompt", "seed", "send_images", "output_format"} & ignored


def test_sizes_are_rounded_as_the_host_does() -> None:
    assert Capabilities().rounded(70, 79) == (64, 72)
    assert Capabilities(size_step=64, rounds_up=True).rounded(100, 64) == (128, 64)
    assert Capabilities(size_step=1).rounded(101, 99) == (101, 99)


def test_an_address_of_the_images_api_says_what_only_that_kind_has() -> None:
    driver = host_driver(
        "openai-images+http://:key@a:1/v1?flavour=vllm-omni&model=x/y&model=z&lora=ink=/l/ink"
    )
    assert [model.alias for model in driver.models()] == ["x/y", "z"]
    assert [lora.name for lora in driver.loras()] == ["ink"]
    assert driver.capabilities().flavour == "vLLM-Omni"
    assert "key" not in repr(driver)
    for wrong in ("flavour=forge", "models=x"):
        with pytest.raises(Misconfigured):
            host_driver(f"openai-images+http://a/v1?{wrong}")


def test_a_host_with_openais_models_speaks_openais_api() -> None:
    listed = httpx.Response(200, json={"data": [{"id": "m", "object": "model"}]})
    for url in ("http://a", "http://a/v1"):
        driver = host_driver(url, transport=Place({"/v1/models": listed}).transport)
        assert driver.capabilities().kind == "openai-images"
        assert [model.alias for model in driver.models()] == ["m"]
