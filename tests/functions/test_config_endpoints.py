"""GET and PUT /v1/config, and that running functions follow."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from dev import comfyui
from robotchat.art.workflows import Workflow
from robotchat.aws import wiring
from robotchat.drivers.comfyui.catalog import shipped
from robotchat.drivers.fake import FakeArt
from tests.cases.service import Service


@pytest.fixture
def now() -> list[float]:
    """The time in seconds, which tests put forward."""
    return [1000.0]


@pytest.fixture
def service(now: list[float]) -> Iterator[Service]:
    """The functions over a host with two checkpoints."""
    host = FakeArt(checkpoints=("one.ckpt", "two.ckpt"))
    with Service.over([host], monotonic=lambda: now[0]) as service:
        yield service


def test_the_version_is_the_etag_and_can_be_demanded(service: Service) -> None:
    read = service.call("admin/get_config")
    assert (read.status, read.headers["etag"]) == (200, '"0"')
    written = service.call("admin/set_config", {"checkpoint": "two"}, headers={"If-Match": '"0"'})
    assert (written.status, written.headers["etag"]) == (200, '"1"')
    stale = service.call("admin/set_config", {}, headers={"If-Match": '"0"'})
    assert (stale.status, stale.body["code"]) == (412, "stale_version")
    assert service.call("admin/set_config", {}, headers={"If-Match": '"x"'}).status == 412
    assert service.call("admin/set_config", {}, headers={"If-Match": "*"}).headers["etag"] == '"2"'


def test_only_operators_may(service: Service) -> None:
    for function in ("admin/get_config", "admin/set_config"):
        assert service.call(function, scopes="images chat jobs").status == 403


def test_a_wrong_configuration_is_refused_without_an_echo_of_secrets(service: Service) -> None:
    body = {"sd_hosts": [{"url": "http://me:hunter2@gpu"}]}
    answer = service.call("admin/set_config", body, headers={"If-Match": "*"})
    assert answer.status == 422
    assert answer.body["errors"][0]["pointer"] == "/sd_hosts/0/url"
    assert "hunter2" not in str(answer.body)


def test_a_running_function_follows_the_configuration(service: Service, now: list[float]) -> None:
    request = {"prompt": "a", "width": 64, "height": 64}
    host = service.hosts["sd-0"]

    service.call("sd/text2image", request)
    assert host.requests[-1]["override_settings"] == {"sd_model_checkpoint": "one.ckpt"}
    before = wiring.robot()
    service.call("admin/set_config", {"checkpoint": "two"}, headers={"If-Match": "*"})
    now[0] += wiring.CONFIG_AGE - 1
    assert wiring.robot() is before
    now[0] += 2
    assert wiring.robot() is not before
    service.call("sd/text2image", request)
    assert host.requests[-1]["override_settings"] == {"sd_model_checkpoint": "two.ckpt"}
    now[0] += wiring.CONFIG_AGE + 1
    present = wiring.robot()
    now[0] += wiring.CONFIG_AGE + 1
    assert wiring.robot() is present, "the same version builds nothing anew"


def test_limits_of_the_configuration_hold(service: Service, now: list[float]) -> None:
    limits = {"limits": {"work_per_request": 1000}}
    service.call("admin/set_config", limits, headers={"If-Match": "*"})
    now[0] += wiring.CONFIG_AGE + 1
    answer = service.call("sd/text2image", {"prompt": "a"})
    assert 400 <= answer.status < 500
    assert answer.body["details"]["limit"] == "work_per_request"


def test_a_workflow_is_held_against_the_hosts_that_would_draw_it(service: Service) -> None:
    workflow = json.loads(shipped()[0].model_dump_json(exclude_unset=True)) | {"name": "mine"}
    wrong = json.loads(json.dumps(workflow))
    wrong["text2image"]["nodes"]["6"]["class_type"] = "NoSuchNode"
    with comfyui.running() as host:
        hosts = [{"url": host.url}, {"url": "http://127.0.0.1:9", "kind": "comfyui"}]
        body = {"sd_hosts": hosts, "workflows": [workflow]}
        assert service.call("admin/set_config", body, headers={"If-Match": "*"}).status == 200
        read = service.call("admin/get_config").body["config"]
        (kept,) = read["workflows"]
        assert Workflow.model_validate(kept) == Workflow.model_validate(workflow)

        body = {"sd_hosts": hosts, "workflows": [wrong | {"name": "wrong"}]}
        refused = service.call("admin/set_config", body, headers={"If-Match": "*"})
        assert (refused.status, refused.body["code"]) == (422, "invalid_request")
        assert "node 6: there is no class 'NoSuchNode'" in refused.body["detail"]
        assert service.call("admin/get_config").body["config"] == read
    # While nobody can be asked, nobody is kept from writing.
    assert service.call("admin/set_config", body, headers={"If-Match": "*"}).status == 200


def test_a_workflow_that_cannot_be_meant_is_refused_where_it_is_wrong(service: Service) -> None:
    workflow = json.loads(shipped()[0].model_dump_json(exclude_unset=True)) | {"name": "mine"}
    workflow["inpaint"]["output"] = "99"
    answer = service.call("admin/set_config", {"workflows": [workflow]}, headers={"If-Match": "*"})
    assert answer.status == 422
    assert answer.body["errors"][0]["pointer"] == "/workflows/0/inpaint"
