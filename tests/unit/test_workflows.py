"""What an operator's workflow may be, whatever host it is for."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from robotchat.art.workflows import MAX_WORKFLOW_BYTES, Workflow, read_folder
from robotchat.config import ServiceConfig
from robotchat.drivers.comfyui import names
from robotchat.drivers.comfyui.catalog import shipped
from robotchat.errors import Misconfigured


def fields() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shipped()[0].model_dump_json(exclude_unset=True))
    return found | {"name": "mine"}


def refused(workflow: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as error:
        Workflow.model_validate(workflow)
    return str(error.value)


def test_what_is_shipped_is_sound_and_has_every_way_of_drawing() -> None:
    assert [workflow.name for workflow in shipped()] == ["sd", "flux"]
    for workflow in shipped():
        assert [mode for mode, _ in workflow.graphs()] == ["text2image", "image2image", "inpaint"]
        assert workflow.serves_files


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("nodes.6.inputs.clip", ["99", 0], "a link is [id of a node, number of its output]"),
        ("nodes.6.inputs.clip", ["10", -1], "a link is"),
        ("nodes.6.inputs.clip", ["10"], "a link is"),
        ("nodes.6.class_type", 7, "a node is an object with class_type and inputs"),
        ("nodes.6.inputs", [], "inputs: must be an object"),
        ("output", "99", "there is no node '99'"),
        ("slots.prompt", ["6"], "'6' is not of the form node.input"),
        ("slots.prompt", ["6.words"], "there is no input '6.words'"),
        ("slots.prompt", ["3.seed"], "'3.seed' is not an input for a text"),
        ("slots.prompt", ["6.clip"], "'6.clip' is not an input for a text"),
        ("slots.prompt", [], "at least 1 item"),
        ("slots.seed", ["6.text"], "'6.text' is not an input for a number"),
        ("slots.steps", ["3.cfg"], "'3.cfg' is not an input for a number"),
        ("slots.lora", ["99"], "there is no node '99'"),
        ("slots.wish", ["6.text"], "Extra inputs are not permitted"),
        ("slots.image", ["6.text"], "text2image cannot have the slot image"),
        ("slots.checkpoint", [], "the slot checkpoint in some of its graphs only"),
        ("pick", {"9.images": ["*"]}, "'9.images' is not an input for a text"),
        ("pick", {"6.text": []}, "it needs a pattern"),
    ],
)
def test_a_graph_that_cannot_be_meant_is_refused(path: str, value: Any, said: str) -> None:
    workflow = fields()
    *parents, last = path.split(".")
    place = workflow["text2image"]
    for name in parents:
        place = place[name]
    place[last] = value
    assert said in refused(workflow)


def test_an_editors_file_is_told_apart_and_said_so() -> None:
    workflow = fields()
    workflow["text2image"]["nodes"] = {"last_node_id": 9, "nodes": [], "links": []}
    assert "Export (API)" in refused(workflow)


def test_a_way_of_drawing_needs_its_images() -> None:
    workflow = fields()
    workflow["inpaint"]["slots"].pop("mask")
    assert "inpaint needs the slot mask" in refused(workflow)
    assert "has none of" in refused({"name": "mine"})


@pytest.mark.parametrize("name", ["", " mine", "a<b", "a\nb", "x" * 101, "a [1234567890]", "a:b"])
def test_a_name_is_one_that_a_request_can_say(name: str) -> None:
    assert "name" in refused(fields() | {"name": name})


def test_a_workflow_has_its_bounds() -> None:
    workflow = fields()
    workflow["text2image"]["nodes"]["6"]["inputs"]["text"] = "x" * MAX_WORKFLOW_BYTES
    assert "has more than" in refused(workflow)
    workflow["text2image"]["nodes"] = {
        str(number): {"class_type": "A", "inputs": {}} for number in range(201)
    }
    assert "a graph has 1 to 200 nodes" in refused(workflow)


def test_a_configuration_bounds_all_of_them_and_has_each_name_once() -> None:
    workflow = fields()
    workflow["text2image"]["nodes"]["6"]["inputs"]["text"] = "x" * 50_000
    several = [workflow | {"name": f"w{number}"} for number in range(4)]
    assert len(ServiceConfig.model_validate({"workflows": several[:3]}).workflows) == 3
    with pytest.raises(ValidationError, match="bytes together"):
        ServiceConfig.model_validate({"workflows": several})
    with pytest.raises(ValidationError, match="there twice"):
        ServiceConfig.model_validate({"workflows": [fields(), fields()]})


def test_a_folder_holds_a_file_for_each(tmp_path: Path) -> None:
    nameless = copy.deepcopy(fields())
    del nameless["name"]
    (tmp_path / "portrait.json").write_text(json.dumps(nameless), "utf-8")
    (tmp_path / "other.json").write_text(json.dumps(fields()), "utf-8")
    (tmp_path / "notes.txt").write_text("no workflow", "utf-8")
    assert [workflow.name for workflow in read_folder(tmp_path)] == ["mine", "portrait"]
    (tmp_path / "third.json").write_text(json.dumps(fields()), "utf-8")
    with pytest.raises(Misconfigured, match="twice"):
        read_folder(tmp_path)
    (tmp_path / "third.json").write_text("{", "utf-8")
    with pytest.raises(Misconfigured, match=r"third\.json is not JSON"):
        read_folder(tmp_path)
    (tmp_path / "third.json").write_text('{"text2image": 3}', "utf-8")
    with pytest.raises(Misconfigured, match=r"third\.json: text2image"):
        read_folder(tmp_path)
    with pytest.raises(Misconfigured, match="cannot be read"):
        read_folder(tmp_path / "none")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("Euler a", "euler_ancestral"),
        ("euler_ancestral", "euler_ancestral"),
        ("k_dpmpp_2m", "dpmpp_2m"),
        ("DPM++ 2M SDE", "dpmpp_2m_sde"),
        ("dpm++ 2s A", "dpmpp_2s_ancestral"),
        ("UniPC", "uni_pc"),
        ("er_sde", "er_sde"),
    ],
)
def test_samplers_go_by_both_names(ours: str, theirs: str) -> None:
    assert names.comfy_sampler(ours) == theirs


def test_schedules_go_by_both_names() -> None:
    assert names.comfy_scheduler("SGM Uniform") == "sgm_uniform"
    assert names.comfy_scheduler("DDIM") == "ddim_uniform"
    assert names.comfy_scheduler("kl_optimal") == "kl_optimal"
    assert [one.label for one in names.schedulers(["karras", "own"])] == [
        "Automatic",
        "Karras",
        "own",
    ]
