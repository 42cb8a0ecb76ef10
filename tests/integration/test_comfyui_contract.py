"""The stand-in ComfyUI answers as ComfyUI 0.33 was seen to answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from dev import comfyui
from robotchat.drivers.comfyui.catalog import shipped

ID = "12345678-1234-4234-8234-123456789abc"


@pytest.fixture
def host() -> Iterator[comfyui.RunningComfy]:
    with comfyui.running() as running:
        yield running


def graph(**changes: dict[str, Any]) -> dict[str, Any]:
    """A small picture; ``_3`` changes the inputs of node 3."""
    nodes: dict[str, Any] = json.loads(shipped()[0].model_dump_json())["text2image"]["nodes"]
    del nodes["10"]
    nodes["4"]["inputs"]["ckpt_name"] = "dreamshaper_8.safetensors"
    for name in ("6", "7"):
        nodes[name]["inputs"]["clip"] = ["4", 1]
    nodes["3"]["inputs"] |= {"model": ["4", 0], "steps": 2}
    nodes["5"]["inputs"] |= {"width": 64, "height": 64}
    for name, inputs in changes.items():
        nodes[name[1:]]["inputs"] |= inputs
    return nodes


def post(host: comfyui.RunningComfy, path: str, body: Any) -> httpx.Response:
    return httpx.post(f"{host.url}{path}", json=body, trust_env=False)


def get(host: comfyui.RunningComfy, path: str) -> Any:
    return httpx.get(f"{host.url}{path}", trust_env=False).json()


def drawn(host: comfyui.RunningComfy, prompt: dict[str, Any], **body: Any) -> dict[str, Any]:
    before = host.stats()["generations_finished"]
    answer = post(host, "/prompt", {"prompt": prompt, **body})
    assert answer.status_code == 200, answer.text
    host.wait_for(generations_finished=before + 1)
    name = answer.json()["prompt_id"]
    entry: dict[str, Any] = get(host, f"/history/{name}")[name]
    return entry


def test_what_is_no_prompt(host: comfyui.RunningComfy) -> None:
    bad = httpx.post(f"{host.url}/prompt", content=b"{", trust_env=False)
    assert (bad.status_code, bad.headers["content-type"].partition(";")[0]) == (500, "text/plain")
    editor = {"last_node_id": 9, "nodes": [], "links": []}
    assert post(host, "/prompt", {"prompt": editor}).status_code == 500
    nothing: list[Any] = [{}, []]
    for body in nothing:
        assert post(host, "/prompt", body).json()["error"]["type"] == "no_prompt"
    nodes = graph()
    del nodes["9"]
    assert post(host, "/prompt", {"prompt": nodes}).json()["error"]["type"] == "prompt_no_outputs"


@pytest.mark.parametrize(
    ("changes", "node", "kind"),
    [
        ({"_4": {"ckpt_name": "no"}}, "4", "value_not_in_list"),
        ({"_3": {"sampler_name": "no"}}, "3", "value_not_in_list"),
        ({"_3": {"seed": -1}}, "3", "value_smaller_than_min"),
        ({"_3": {"denoise": 2}}, "3", "value_bigger_than_max"),
        ({"_3": {"steps": "many"}}, "3", "invalid_input_type"),
        ({"_3": {"positive": ["8", 0]}}, "3", "return_type_mismatch"),
        ({"_3": {"positive": ["6"]}}, "3", "bad_linked_input"),
    ],
)
def test_what_is_wrong_with_a_node(
    host: comfyui.RunningComfy, changes: dict[str, Any], node: str, kind: str
) -> None:
    answer = post(host, "/prompt", {"prompt": graph(**changes)})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "prompt_outputs_failed_validation"
    told = answer.json()["node_errors"][node]
    assert (told["errors"][0]["type"], told["dependent_outputs"]) == (kind, ["9"])


def test_outputs_that_are_wrong_are_left_out(host: comfyui.RunningComfy) -> None:
    nodes = graph()
    nodes["20"] = {"class_type": "PreviewImage", "inputs": {}}
    answer = post(host, "/prompt", {"prompt": nodes})
    assert answer.status_code == 200
    assert answer.json()["node_errors"]["20"]["errors"][0]["type"] == "required_input_missing"


def test_values_are_brought_into_their_types_and_sizes_cut_down(
    host: comfyui.RunningComfy,
) -> None:
    entry = drawn(host, graph(_3={"seed": "74", "steps": 2.9}, _5={"width": 100, "height": 70}))
    inputs = entry["prompt"][2]["3"]["inputs"]
    assert (inputs["seed"], inputs["steps"]) == (74, 2)
    (image,) = entry["outputs"]["9"]["images"]
    data = httpx.get(f"{host.url}/view", params=image, trust_env=False).content
    assert data[16:24] == (96).to_bytes(4, "big") + (64).to_bytes(4, "big")


def test_ids(host: comfyui.RunningComfy) -> None:
    for wrong in (ID.upper(), "a word", "", 7):
        refused = post(host, "/prompt", {"prompt": graph(), "prompt_id": wrong})
        assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_prompt_id")
    assert post(host, "/prompt", {"prompt": graph(), "prompt_id": None}).status_code == 200
    with comfyui.running(version="0.40.0") as new:
        drawn(new, graph(), prompt_id=ID)
        again = post(new, "/prompt", {"prompt": graph(), "prompt_id": ID})
        assert (again.status_code, again.json()) == (409, {"error": "prompt_id already exists"})


def test_an_equal_graph_is_answered_with_the_files_of_the_first(
    host: comfyui.RunningComfy,
) -> None:
    first = drawn(host, graph())
    host.lose_files()
    again = drawn(host, graph())
    assert again["outputs"] == first["outputs"]
    (image,) = again["outputs"]["9"]["images"]
    assert httpx.get(f"{host.url}/view", params=image, trust_env=False).status_code == 404
    # An input that the node does not know makes it another one.
    (image,) = drawn(host, graph(_9={"unknown": "anything"}))["outputs"]["9"]["images"]
    assert httpx.get(f"{host.url}/view", params=image, trust_env=False).status_code == 200


def test_a_restart_forgets_all_but_the_output(host: comfyui.RunningComfy) -> None:
    drawn(host, graph())
    host.restart()
    assert get(host, "/history") == {}
    assert host.files()["temp"] == []


def test_pages_of_others_are_kept_out(host: comfyui.RunningComfy) -> None:
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = httpx.get(f"{host.url}/queue", headers=headers, trust_env=False)
        assert answer.status_code == 403
