"""Keys and limits as an operator sets them, from the command line to the answer of the API."""

from __future__ import annotations

import base64
import threading
from typing import Any

import httpx
import openai
import pytest

from robotchat import cli
from tests.local_stack import RunningStack, wait_until

TURN = {"message": "a beach", "settings": {"steps": 1, "width": 64, "height": 64}}
SHAPES = ("detail", "errors", "error", "code", "retryable", "request_id")


@pytest.fixture
def robotchat(stack: RunningStack, capsys: pytest.CaptureFixture[str]) -> Any:
    """The command, on the running stack; gives what it wrote to standard output."""

    def run(line: str) -> str:
        assert cli.main([*line.split(), "--local", str(stack.state)]) == 0
        return capsys.readouterr().out.strip()

    return run


def get(stack: RunningStack, key: str, path: str = "/v1/jobs", **headers: str) -> httpx.Response:
    headers = headers or {"x-api-key": key}
    return httpx.get(stack.api_url + path, headers=headers, timeout=60)


def test_a_key_opens_what_its_scopes_say_until_it_is_revoked(
    stack: RunningStack, robotchat: Any
) -> None:
    key = robotchat("keys create --tenant narrow --scopes jobs:read --expires 1h")
    assert get(stack, key).status_code == 200
    basic = base64.b64encode(f"anyone:{key}".encode()).decode()
    for authorization in (f"Bearer {key}", f"bearer {key}", f"Basic {basic}"):
        assert get(stack, key, Authorization=authorization).status_code == 200
    refused = httpx.post(
        f"{stack.api_url}/v1/chat/text2image", json=TURN, headers={"x-api-key": key}, timeout=60
    )
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    key_id = robotchat("keys list --tenant narrow").splitlines()[1].split()[0]
    robotchat(f"keys revoke {key_id} --tenant narrow")
    wait_until(lambda: get(stack, key).status_code == 401, "the key to stop working", timeout=60)


def test_a_rotated_key_has_a_successor_at_once(stack: RunningStack, robotchat: Any) -> None:
    old = robotchat("keys create --tenant rotating --scopes jobs:read")
    key_id = robotchat("keys list --tenant rotating").splitlines()[1].split()[0]
    new = robotchat(f"keys rotate {key_id} --tenant rotating --grace 1h")
    assert new != old
    assert [get(stack, key).status_code for key in (old, new)] == [200, 200]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": ""},
        {"x-api-key": "rk_" + "x" * 40},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer rk_../../x"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic " + base64.b64encode(b"no colon").decode()},
        {"Authorization": "Digest x"},
    ],
)
def test_nobody_gets_in_without_a_key(stack: RunningStack, headers: dict[str, str]) -> None:
    for path in ("/v1/jobs", "/sdapi/v1/samplers", "/v1/models", "/v1/config"):
        answer = httpx.get(stack.api_url + path, headers=headers, timeout=60)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Bearer realm="robotchat"'
        everything_said(answer, "unauthenticated", retryable=False)


def test_what_the_gateway_answers_by_itself_can_be_read_by_every_client(
    stack: RunningStack,
) -> None:
    nowhere = httpx.get(f"{stack.api_url}/v2/nothing", headers=stack.headers, timeout=60)
    assert nowhere.status_code == 404
    everything_said(nowhere, "not_found", retryable=False)
    large = httpx.post(
        f"{stack.api_url}/v1/chat/completions",
        content=b" " * (10 * 1024 * 1024 + 1),
        headers={**stack.headers, "content-type": "application/json"},
        timeout=60,
    )
    assert large.status_code == 413
    everything_said(large, "payload_too_large", retryable=False)


def everything_said(answer: httpx.Response, code: str, *, retryable: bool) -> None:
    """The gateway does not know the family of a path: its answers are all of them."""
    body = answer.json()
    assert set(SHAPES) <= set(body)
    assert (body["code"], body["retryable"], body["status"]) == (
        code,
        retryable,
        answer.status_code,
    )
    assert (body["error"]["code"], body["error"]["retryable"]) == (code, retryable)
    assert body["request_id"] == answer.headers["x-request-id"] == body["error"]["request_id"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert "amz" not in answer.text.lower()


def test_a_tenant_gets_as_many_jobs_as_it_may_and_is_told_when_to_come_again(
    stack: RunningStack, robotchat: Any
) -> None:
    key = robotchat("keys create --tenant small --scopes images,jobs:read")
    robotchat("tenants set small --images-per-day 5 --active-jobs 50 --work-per-request 100000")
    answers: list[httpx.Response] = []

    def send() -> None:
        answers.append(
            httpx.post(
                f"{stack.api_url}/v1/chat/text2image",
                json=TURN,
                headers={"x-api-key": key},
                timeout=120,
            )
        )

    threads = [threading.Thread(target=send) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [202] * 5 + [429] * 7
    refused = next(answer for answer in answers if answer.status_code == 429)
    body = refused.json()
    assert (body["code"], body["retryable"]) == ("limit_exceeded", True)
    assert body["details"]["limit"] == "images_per_day"
    assert 0 < int(refused.headers["retry-after"]) <= 24 * 3600
    assert refused.headers["x-ratelimit-limit"] == "5"
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert refused.headers["x-ratelimit-reset"] == refused.headers["retry-after"]

    def usage() -> dict[str, Any]:
        found: dict[str, Any] = get(stack, key, "/v1/usage").json()
        return found

    wait_until(lambda: usage()["now"]["active_jobs"] == 0, "the jobs to end", timeout=120)
    assert usage()["limits"]["images_per_day"] == 5
    assert usage()["today"]["images"] == 5
    assert usage()["now"]["stored_bytes"] > 0
    job = get(stack, key, "/v1/jobs?limit=1").json()["data"][0]
    assert job["cost"] == round(64 * 64 / (512 * 512 * 20), 3)


def test_more_than_one_request_may_make_is_refused_in_the_words_of_its_family(
    stack: RunningStack, robotchat: Any
) -> None:
    key = robotchat("keys create --tenant tiny --scopes images")
    robotchat("tenants set tiny --work-per-request 4096 --checkpoints nonesuch")
    large = {"prompt": "x", "steps": 2, "width": 64, "height": 64}
    headers = {"x-api-key": key}
    answer = httpx.post(
        f"{stack.api_url}/sdapi/v1/txt2img", json=large, headers=headers, timeout=60
    )
    assert (answer.status_code, answer.json()["error"]) == (422, "work_too_large")
    other = {**large, "steps": 1, "override_settings": {"sd_model_checkpoint": "v1-5"}}
    answer = httpx.post(
        f"{stack.api_url}/sdapi/v1/txt2img", json=other, headers=headers, timeout=60
    )
    assert (answer.status_code, answer.json()["error"]) == (403, "checkpoint_not_allowed")


def test_a_tenants_limit_counts_images_whichever_way_they_are_asked_for(
    stack: RunningStack, robotchat: Any
) -> None:
    key = robotchat("keys create --tenant sparing --scopes images,chat")
    robotchat("tenants set sparing --images-per-day 3")
    forced: Any = {
        "tools": [{"type": "image_generation", "size": "64x64", "quality": "low"}],
        "tool_choice": {"type": "image_generation"},
    }
    with openai.OpenAI(base_url=f"{stack.api_url}/v1", api_key=key, max_retries=0) as client:

        def draw(n: int = 1) -> Any:
            return client.images.generate(prompt="a cat", size="64x64", quality="low", n=n)

        def call() -> Any:
            response = client.responses.create(model="none", input="a red cat", **forced)
            (item,) = (item for item in response.output if item.type == "image_generation_call")
            return item

        (first,) = draw().data
        assert call().status == "completed"
        with pytest.raises(openai.RateLimitError) as refused:
            draw(2)
        assert refused.value.code == "limit_exceeded"
        cat = base64.b64decode(first.b64_json)
        client.images.edit(image=cat, prompt="a blue cat", size="64x64", quality="low")
        for surface in (draw, lambda: client.images.edit(image=cat, prompt="blue", size="64x64")):
            with pytest.raises(openai.RateLimitError):
                surface()
        failed = call()
        assert (failed.status, failed.error.code) == ("failed", "limit_exceeded")
        with pytest.raises(openai.RateLimitError):
            client.images.generate(prompt="a cat", size="64x64", stream=True)
