"""What stable-diffusion.cpp's server is sent, and what never."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from robotchat.art.capabilities import Capabilities
from robotchat.drivers.sdcpp import SdCpp, without_extra_args

TAG = "sd_cpp_extra_args"


@pytest.mark.parametrize(
    ("prompt", "left"),
    [
        ("a cat", "a cat"),
        (f'a cat <{TAG}>{{"seed": 1}}</{TAG}>', "a cat "),
        (f'a cat <{TAG}>{{"seed":\n1}}</{TAG}> at night', "a cat  at night"),
        (f"<{TAG}>{{}}</{TAG}>a<{TAG}>{{}}</{TAG}>", "a"),
        (f'a <{TAG.upper()}>{{"seed": 1}}</{TAG}>', "a "),
        (f"<{TAG[:6]}<{TAG}></{TAG}>{TAG[6:]}>1</{TAG}>", "1"),
        (f"<{TAG[:6]}<{TAG}>{TAG[6:]}>1</{TAG}>", "<sd_cpp"),
        (f"a <{TAG}> never closed", "a  never closed"),
    ],
)
def test_a_callers_prompt_sets_no_parameters_of_the_server(prompt: str, left: str) -> None:
    assert without_extra_args(prompt) == left


def test_no_tag_within_a_tag_is_left_in_what_is_sent() -> None:
    sent: list[Mapping[str, Any]] = []

    class Routes:
        def get(self, path: str, **query: str) -> Any:
            return [{"name": "x", "path": "x.safetensors"}]

        def post(
            self, path: str, body: Mapping[str, Any] | None = None, *, timeout: float | None = None
        ) -> Any:
            sent.append(body or {})
            return {"images": ["-"], "info": ""}

    hidden = f'a cat <{TAG[:5]}<lora:x:1>{TAG[5:]}>{{"seed": 1}}</{TAG}>'
    body = {"prompt": hidden, "negative_prompt": f'dogs<{TAG}>{{"seed": 1}}</{TAG}>', "seed": 4}
    SdCpp(Routes(), Capabilities()).draw("sdapi/v1/txt2img", body, 10.0)
    assert sent[0]["prompt"].strip() == "a cat"
    assert sent[0]["negative_prompt"] == "dogs"
