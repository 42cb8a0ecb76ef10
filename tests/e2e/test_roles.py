"""What a role allows is used: every function that reaches hosts or a model, where most is needed.

Most suites have one host without a password, and no limit of what waits. Here hosts have
passwords, the language model has a key of the deployment's and one of the configuration's, there
are more hosts than are all read, and a tenant's requests that wait are counted. What the functions
ask of AWS is recorded, and compared with their roles at the end (`dev.checks.privileges`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import boto3
import httpx
import pytest

from dev import llm, sd_host
from dev.checks import privileges
from dev.sd_host import RunningHost
from robotchat.aws.keys import create_key
from robotchat.aws.operator import local_table
from robotchat.drivers.fake import FakeArt
from robotchat.hosts.pulled import CONTROLNET_LISTS, LISTS
from robotchat.hosts.view import LOOKED_AT
from robotchat.ids import new_id
from tests.local_stack import RunningStack, wait_until

IMAGE: str = FakeArt().drawn({"prompt": "x", "width": 64, "height": 64})["images"][0]
IMAGE_URL = {"image_url": f"data:image/png;base64,{IMAGE}"}
SMALL = {"steps": 1, "width": 64, "height": 64}
LATER = {"Prefer": "respond-async"}

GETS = [f"/sdapi/v1/{name}" for name in ("memory", *LISTS)]
GETS += [f"/controlnet/{name}" for name in CONTROLNET_LISTS if "?" not in name]

POSTS: list[tuple[str, dict[str, Any]]] = [
    ("/sdapi/v1/refresh-checkpoints", {}),
    ("/sdapi/v1/refresh-loras", {}),
    ("/sdapi/v1/refresh-vae", {}),
    ("/sdapi/v1/refresh-embeddings", {}),
    ("/sdapi/v1/options", {"CLIP_stop_at_last_layers": 1}),
    ("/sdapi/v1/png-info", {"image": IMAGE}),
    ("/sdapi/v1/interrogate", {"image": IMAGE, "model": "clip"}),
    ("/sdapi/v1/extra-single-image", {"image": IMAGE, "upscaler_1": "Lanczos"}),
    (
        "/sdapi/v1/extra-batch-images",
        {"imageList": [{"data": IMAGE, "name": "a.png"}], "upscaler_1": "Lanczos"},
    ),
    (
        "/controlnet/detect",
        {"controlnet_module": "canny", "controlnet_input_images": [IMAGE]},
    ),
    ("/sdapi/v1/txt2img", {"prompt": "a beach", **SMALL}),
    ("/sdapi/v1/img2img", {"prompt": "a beach", "init_images": [IMAGE], **SMALL}),
    ("/v1/images/generations", {"prompt": "a beach", "size": "64x64"}),
    ("/v1/images/edits", {"prompt": "a beach", "images": [IMAGE_URL], "size": "64x64"}),
    ("/v1/images/variations", {"images": [IMAGE_URL], "size": "64x64"}),
]
"""What draws, or reaches hosts otherwise."""

WORDS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hello"}]}),
    ("/v1/completions", {"prompt": "hello"}),
    ("/v1/embeddings", {"input": "hello"}),
    ("/v1/responses", {"input": "hello"}),
    ("/v1/responses/input_tokens", {"input": "hello"}),
]


@dataclass
class Guarded:
    """The service, and its hosts."""

    stack: RunningStack
    hosts: list[RunningHost]


def done_by(stack: RunningStack, function: str) -> set[tuple[str, str]]:
    """What a function was seen to do so far."""
    return privileges.recorded(stack.recording).get(function, set())


def ended(api: httpx.Client, job_id: str) -> dict[str, Any]:
    """A job at its end."""

    def job() -> dict[str, Any]:
        found: dict[str, Any] = api.get(f"/v1/jobs/{job_id}").json()
        return found

    wait_until(lambda: job()["status"] in ("succeeded", "failed", "canceled"), "the job", 90)
    return job()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A service with passwords and keys, many hosts, and a limit of what waits."""
    with ExitStack() as running:
        upstream = running.enter_context(llm.running())
        hosts = [
            running.enter_context(sd_host.running(api_auth="me:host-password"))
            for _ in range(LOOKED_AT + 1)
        ]
        stack = RunningStack(
            tmp_path_factory.mktemp("guarded"),
            {
                "SD_HOSTS": "http://127.0.0.1:9",
                "OPENAI_BASE_URL": upstream.base_url,
                "OPENAI_API_KEY": "sk-deployed",
                "OPENAI_MODEL": "stand-in",
                "ROBOTCHAT_PARAMETERS": "OpenaiApi=responses WaitingRequests=20",
            },
        ).start()
        running.callback(stack.stop)
        config = {
            "sd_hosts": [
                {"url": host.url, "username": "me", "password": "host-password"} for host in hosts
            ],
            "language_model": {"model": "stand-in", "api_key": "sk-configured"},
        }
        with httpx.Client(base_url=stack.api_url, headers=stack.headers, timeout=60) as api:
            # Before any function has read it: what is read is believed for a while.
            assert api.put("/v1/config", json=config).status_code == 200
        yield Guarded(stack, hosts)


@pytest.fixture
def api(guarded: Guarded) -> Iterator[httpx.Client]:
    """A client, when a host has just got another checkpoint: what was noted of it is then removed
    by whichever function sees that first."""
    host, stack = guarded.hosts[0], guarded.stack
    host.add_checkpoint(new_id("new"))
    refresh = f"{host.url}/sdapi/v1/refresh-checkpoints"
    httpx.post(refresh, auth=("me", "host-password"), timeout=60).raise_for_status()
    with httpx.Client(base_url=stack.api_url, headers=stack.headers, timeout=120) as client:
        yield client


@pytest.mark.parametrize(("path", "body"), POSTS, ids=[path for path, _ in POSTS])
def test_hosts_with_passwords_draw_and_all_else(
    api: httpx.Client, path: str, body: dict[str, Any]
) -> None:
    answer = api.post(path, json=body)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("path", GETS)
def test_lists_come_from_hosts_with_passwords(api: httpx.Client, path: str) -> None:
    answer = api.get(path)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(("path", "body"), WORDS, ids=[path for path, _ in WORDS])
def test_a_model_with_a_key_answers(api: httpx.Client, path: str, body: dict[str, Any]) -> None:
    answer = api.post(path, json=body)
    assert answer.status_code == 200, answer.text
    if path == "/v1/responses":
        assert api.delete(f"/v1/responses/{answer.json()['id']}").status_code == 200


def test_models_of_a_server_with_a_key_are_listed(api: httpx.Client) -> None:
    models = api.get("/v1/models").json()["data"]
    assert api.get(f"/v1/models/{models[0]['id']}").status_code == 200


def test_conversations_draw_with_passwords_and_keys(api: httpx.Client, guarded: Guarded) -> None:
    answer = api.post("/v1/chat/text2image", json={"message": "a beach", "settings": SMALL})
    assert answer.status_code == 202, answer.text
    assert ended(api, answer.json()["id"])["status"] == "succeeded"
    answer = api.post(
        "/v1/chat/image2image",
        json={"message": "at sunset", "conversation_id": answer.json()["conversation_id"]},
    )
    assert answer.status_code == 202, answer.text
    assert ended(api, answer.json()["id"])["status"] == "succeeded"
    for variable in ("CONFIG_SECRET_ARN", "OPENAI_SECRET_ARN"):
        assert ("secretsmanager:GetSecretValue", variable) in done_by(guarded.stack, "Worker")


def test_a_response_in_the_background_is_made_with_the_key(api: httpx.Client) -> None:
    made = api.post("/v1/responses", json={"input": "hello", "background": True}).json()

    def response() -> dict[str, Any]:
        found: dict[str, Any] = api.get(f"/v1/responses/{made['id']}").json()
        return found

    wait_until(lambda: response()["status"] not in ("queued", "in_progress"), "the response", 60)
    assert response()["status"] == "completed"


def test_what_a_record_has_no_room_for_is_put_into_files(api: httpx.Client) -> None:
    long = {"type": "message", "role": "user", "content": "word " * 50_000}
    made = api.post("/v1/conversations", json={"items": [long]})
    assert made.status_code == 200, made.text
    items = f"/v1/conversations/{made.json()['id']}/items"
    added = api.post(items, json={"items": [long, {**long, "content": "a word " * 40_000}]})
    assert added.status_code == 200, added.text
    one = f"{items}/{added.json()['data'][0]['id']}"
    assert api.get(one).status_code == 200
    assert api.delete(one).status_code == 200
    assert len(api.get(items).json()["data"]) == 2

    first = api.post("/v1/responses", json={"input": "word " * 50_000}).json()
    further = {"input": "and", "previous_response_id": first["id"]}
    assert api.post("/v1/responses/input_tokens", json=further).status_code == 200
    assert api.get(f"/v1/responses/{first['id']}/input_items").status_code == 200

    later = {"input": "word " * 50_000, "background": True}
    made = api.post("/v1/responses", json=later)
    assert api.post(f"/v1/responses/{made.json()['id']}/cancel").status_code == 200
    made = api.post("/v1/responses", json=later)
    path = f"/v1/responses/{made.json()['id']}"
    wait_until(lambda: api.get(path).json()["status"] == "completed", "the response", 60)
    assert api.delete(path).status_code == 200


def test_long_jobs_are_read_stopped_repeated_and_deleted(api: httpx.Client) -> None:
    long = {"prompt": "海滩" * 9_000, "negative_prompt": "水印" * 9_000, **SMALL}
    made = api.post("/sdapi/v1/txt2img", json=long, headers=LATER)
    assert made.status_code == 202, made.text
    path = f"/v1/jobs/{made.json()['id']}"
    ended(api, made.json()["id"])
    for action in ("cancel", "retry"):
        assert api.post(f"{path}/{action}").status_code == 409
    assert api.delete(path).status_code == 200

    beach = {"message": "a beach", "settings": SMALL}
    turn = api.post("/v1/chat/text2image", json=beach).json()
    ended(api, turn["id"])
    conversation = f"/v1/conversations/{turn['conversation_id']}"
    items = api.get(f"{conversation}/items").json()["data"]
    assert api.get(f"{conversation}/items/{items[0]['id']}").status_code == 200
    assert api.delete(conversation).status_code == 200


def test_a_tenants_secret_is_made_when_it_is_first_asked_for(guarded: Guarded) -> None:
    stack = guarded.stack
    key, _ = create_key(local_table(stack.state), "newcomer")
    with httpx.Client(base_url=stack.api_url, headers={"x-api-key": key}, timeout=60) as newcomer:
        first = newcomer.get("/v1/webhook-secret").json()["secret"]
        rotated = newcomer.post("/v1/webhook-secret/rotate").json()["secret"]
    assert first != rotated


def test_a_message_is_drawn_by_hosts_with_passwords(api: httpx.Client, guarded: Guarded) -> None:
    stack = guarded.stack
    sqs = boto3.Session("test", "test", region_name=stack.region).client(
        "sqs", endpoint_url=stack.aws_endpoint_url
    )
    job_id = new_id("job")
    message = {
        "tenant": stack.tenant,
        "job_id": job_id,
        "kind": "text2image",
        "request": {"prompt": "a beach", **SMALL},
    }
    sqs.send_message(QueueUrl=stack.queue_url, MessageBody=json.dumps(message))
    wait_until(lambda: api.get(f"/v1/jobs/{job_id}").status_code == 200, "the job", 60)
    assert ended(api, job_id)["status"] == "succeeded"
