"""Values of the wrong kind, wherever in a request, are the caller's fault: never a 5xx."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from dev import llm, sd_host
from robotchat.settings import Settings
from tests.cases.served import Served, served

ODD: tuple[Any, ...] = (None, True, -1, 1.5, "x", [], {}, [{"a": []}])

ITEMS = [
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
    {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c1", "output": "x"},
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "x"}], "content": []},
]
REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/responses": {
        "input": ITEMS,
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
        "tool_choice": {"type": "function", "name": "f"},
        "text": {"format": {"type": "json_schema", "name": "s", "schema": {"type": "object"}}},
        "reasoning": {"effort": "low"},
        "metadata": {"a": "b"},
        "conversation": None,
        "previous_response_id": None,
        "max_output_tokens": 20,
        "max_tool_calls": 3,
        "include": ["x"],
        "truncation": "auto",
        "stream_options": {},
    },
    "/v1/chat/completions": {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "stream_options": {"include_usage": True},
    },
    "/v1/completions": {"prompt": ["x"], "n": 1, "max_tokens": 5},
    "/v1/embeddings": {"input": ["x"], "model": "m"},
    "/v1/conversations": {"metadata": {"a": "b"}, "items": ITEMS},
    "/v1/images/generations": {"prompt": "x", "size": "64x64", "n": 1, "steps": 1, "seed": 1},
    "/v1/chat/text2image": {
        "message": "a beach",
        "settings": {
            "steps": 1,
            "width": 64,
            "height": 64,
            "alwayson_scripts": {"ControlNet": {"args": [{"module": "none", "model": "None"}]}},
            "override_settings": {"sd_model_checkpoint": "x"},
        },
        "metadata": {"a": 1},
        "webhook": {"url": "https://example.com/x", "events": ["job.succeeded"]},
        "dry_run": True,
    },
    "/sdapi/v1/txt2img": {
        "prompt": "x",
        "steps": 1,
        "width": 64,
        "height": 64,
        "styles": ["a"],
        "override_settings": {"CLIP_stop_at_last_layers": 1},
        "alwayson_scripts": {"ControlNet": {"args": [{"module": "none", "model": "None"}]}},
        "script_name": "prompt matrix",
        "script_args": [True, False, "positive", "comma", 0],
        "dry_run": True,
    },
    "/sdapi/v1/options": {"sd_model_checkpoint": "x", "CLIP_stop_at_last_layers": 1},
    "/controlnet/detect": {"controlnet_module": "none", "controlnet_input_images": ["x"]},
    "/sdapi/v1/extra-batch-images": {"imageList": [{"data": "x", "name": "n"}]},
    "/v1/uploads": {"content_type": "image/png", "size": 5},
}


@pytest.fixture(scope="module")
def api() -> Iterator[Served]:
    with llm.running() as upstream, sd_host.running() as host:
        settings = Settings(
            sd_hosts=(host.url,),
            openai_base_url=upstream.base_url,
            openai_model="stand-in",
            local=True,
        )
        with served(settings) as running:
            yield running


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document, itself included."""
    yield at
    if isinstance(value, (dict, list)):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for name, part in inner:
            yield from places(part, (*at, name))


def changed(document: Any, at: tuple[Any, ...], value: Any) -> Any:
    """The document with another value in one place."""
    if not at:
        return value
    made = copy.deepcopy(document)
    place = made
    for name in at[:-1]:
        place = place[name]
    place[at[-1]] = value
    return made


@pytest.mark.parametrize("path", REQUESTS)
def test_an_odd_value_is_refused_or_taken(api: Served, path: str) -> None:
    failed = []
    with httpx.Client(base_url=api.url, headers={"x-api-key": api.key}, timeout=60) as client:
        for at in places(REQUESTS[path]):
            for value in ODD:
                body = json.dumps(changed(REQUESTS[path], at, value))
                answer = client.post(
                    path, content=body, headers={"content-type": "application/json"}
                )
                if answer.status_code >= 500 and answer.status_code != 501:
                    failed.append((at, value, answer.status_code, answer.text[:200]))
    assert failed == []


CHAT = {"message": "a beach", "dry_run": True}
DRAW = {"prompt": "x", "size": "64x64", "steps": 1}
NUMBERS = [
    ("/v1/chat/text2image", CHAT, ("after_turn",)),
    ("/v1/images/generations", DRAW, ("n", "output_compression", "partial_images", "seed")),
    ("/v1/images/generations", DRAW, ("steps", "cfg_scale")),
    ("/v1/completions", {"prompt": "x"}, ("max_tokens",)),
    ("/v1/tenants/odd/keys", {}, ("expires_in",)),
]


@pytest.mark.parametrize(("path", "body", "fields"), NUMBERS)
@pytest.mark.parametrize("value", [True, False, 2**63, -(2**63) - 1, 10**300])
def test_a_number_is_no_switch_and_no_longer_than_others_can_keep(
    api: Served, path: str, body: dict[str, Any], fields: tuple[str, ...], value: Any
) -> None:
    with httpx.Client(base_url=api.url, headers={"x-api-key": api.key}, timeout=60) as client:
        answers = {
            field: client.post(path, content=json.dumps({**body, field: value})).status_code
            for field in fields
        }
    assert set(answers.values()) <= {400, 422}, answers
