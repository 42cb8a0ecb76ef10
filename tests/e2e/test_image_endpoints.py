"""The four picture interfaces over HTTP, through gateway, authorizer, queue, worker and host."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

from dev.stack.ports import free_port
from tests.local_stack import RunningStack, wait_until

FINAL = ("succeeded", "failed", "canceled", "expired")
SMALL = {"steps": 2, "width": 128, "height": 128}


@pytest.fixture(scope="module")
def api(stack: RunningStack) -> Iterator[httpx.Client]:
    """A client with the dev key."""
    with httpx.Client(base_url=stack.api_url, headers=stack.headers, timeout=60) as client:
        yield client


def image_file(
    colour: str = "orange", size: tuple[int, int] = (64, 64), kind: str = "PNG"
) -> bytes:
    """A picture file of one colour."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind)
    return file.getvalue()


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def say(api: httpx.Client, message: str, **fields: Any) -> dict[str, Any]:
    """Send a turn; gives the accepted job."""
    how = "image2image" if "image" in fields or fields.pop("edit", False) else "text2image"
    body = {"message": message, "settings": SMALL, **fields}
    answer = api.post(f"/v1/chat/{how}", json=body)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    assert answer.headers["location"] == job["links"]["self"]
    assert int(answer.headers["retry-after"]) > 0
    return job


def finished(api: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    """The job when it is final."""
    seen = dict(job)

    def look() -> bool:
        seen.update(api.get(job["links"]["self"]).raise_for_status().json())
        return seen["status"] in FINAL

    wait_until(look, f"job {job['id']} to end", timeout=60)
    return seen


def drawn(job: dict[str, Any]) -> Image.Image:
    """The picture behind the job's link."""
    assert job["status"] == "succeeded", job["error"]
    (image,) = job["images"]
    data = httpx.get(image["url"]).raise_for_status().content
    found = Image.open(io.BytesIO(data))
    assert found.size == (image["width"], image["height"])
    return found


def jobs_so_far(api: httpx.Client) -> list[str]:
    return [job["id"] for job in api.get("/v1/jobs?limit=100").json()["data"]]


# --- conversations --------------------------------------------------------------------------------


def test_a_beach_then_at_sunset(api: httpx.Client) -> None:
    first = finished(api, say(api, "I want to see a photo of a beach"))
    assert first["prompt"] == "a photo of a beach"
    second = say(api, "at sunset", conversation_id=first["conversation_id"])
    second = finished(api, second)
    assert second["prompt"] == "a photo of a beach at sunset"
    assert second["prompt_source"] == "fallback"
    day, evening = drawn(first), drawn(second)
    assert day.size == evening.size == (128, 128)
    assert day.tobytes() != evening.tobytes()
    assert second["turn"] == 2
    assert second["request"]["steps"] == 2


def test_a_conversation_in_chinese(api: httpx.Client) -> None:
    first = say(api, "我想看一张海滩的照片")
    second = finished(api, say(api, "在夕阳下", conversation_id=first["conversation_id"]))
    assert second["prompt"] == "a photo of a beach at sunset"


def test_turns_sent_at_once_are_drawn_in_order(api: httpx.Client) -> None:
    jobs = [say(api, "a beach")]
    conversation = jobs[0]["conversation_id"]
    for message in ("at sunset", "with a red umbrella", "without people"):
        jobs.append(say(api, message, conversation_id=conversation))
    done = [finished(api, job) for job in jobs]
    assert [job["status"] for job in done] == ["succeeded"] * 4
    ends = [job["finished_at"] for job in done]
    assert ends == sorted(ends)
    assert "sunset" in done[-1]["prompt"]
    assert "umbrella" in done[-1]["prompt"]
    assert "people" in done[-1]["negative_prompt"]


def test_a_conversation_can_be_read_listed_and_deleted(api: httpx.Client) -> None:
    first = finished(api, say(api, "a castle", metadata={"order": 7}))
    conversation = first["conversation_id"]
    finished(api, say(api, "in winter", conversation_id=conversation))
    read = api.get(f"/v1/conversations/{conversation}").json()
    assert [turn["message"] for turn in read["turns"]] == ["a castle", "in winter"]
    assert read["title"] == "a castle"
    assert read["turns"][0]["images"][0]["url"]
    listed = api.get("/v1/conversations?limit=100").json()["data"]
    assert listed[0]["id"] == conversation
    assert first["metadata"] == {"order": 7}

    assert api.delete(f"/v1/conversations/{conversation}").json()["deleted"] is True
    assert api.get(f"/v1/conversations/{conversation}").status_code == 404
    assert httpx.get(first["images"][0]["url"]).status_code == 404
    assert api.get(f"/v1/jobs/{first['id']}").json()["images"] == []


def test_a_conversation_can_be_begun_before_anything_is_said(api: httpx.Client) -> None:
    begun = api.post("/v1/conversations", json={"metadata": {"user": "42"}}).json()
    job = finished(api, say(api, "a fox", conversation_id=begun["id"]))
    assert job["conversation_id"] == begun["id"]
    assert api.get(f"/v1/conversations/{begun['id']}").json()["metadata"] == {"user": "42"}


# --- edits ----------------------------------------------------------------------------------------


def uploaded(api: httpx.Client) -> str:
    data = image_file()
    answer = api.post("/v1/uploads", json={"content_type": "image/png", "size": len(data)})
    assert answer.status_code == 201, answer.text
    upload = answer.json()
    httpx.put(upload["url"], headers=upload["headers"], content=data).raise_for_status()
    return str(upload["id"])


@pytest.mark.parametrize(
    "image",
    [
        lambda api: encoded(image_file()),
        lambda api: "data:image/png;base64," + encoded(image_file()),
        lambda api: encoded(image_file(kind="JPEG")),
        lambda api: encoded(image_file(kind="WEBP")),
        uploaded,
    ],
    ids=["base64", "data URI", "JPEG", "WebP", "upload"],
)
def test_an_image_is_made_blue(api: httpx.Client, image: Callable[[httpx.Client], str]) -> None:
    job = finished(api, say(api, "make it blue", image=image(api)))
    _, _, blue = drawn(job).convert("RGB").resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
    assert blue > 100, "orange has no blue in it"
    assert "blue" in job["prompt"]


def test_the_last_image_of_the_conversation_is_edited(api: httpx.Client) -> None:
    first = say(api, "a cat")
    second = say(api, "make it blue", conversation_id=first["conversation_id"], edit=True)
    second = finished(api, second)
    assert second["status"] == "succeeded"
    assert second["prompt"] == "a blue cat"


@pytest.mark.parametrize(
    ("image", "status", "code"),
    [
        ("bm90IGEgcGljdHVyZQ==", 422, "invalid_image"),
        ("not base64!", 422, "invalid_image"),
        (encoded(image_file()[:-20]), 422, "invalid_image"),
        (encoded(image_file(kind="GIF")), 422, "invalid_image"),
        ("http://169.254.169.254/latest/meta-data/", 422, "forbidden_url"),
        ("https://10.0.0.1/cat.png", 422, "forbidden_url"),
        ("file:///etc/passwd", 422, "invalid_image"),
    ],
)
def test_an_image_that_cannot_be_taken_is_refused_and_nothing_is_queued(
    api: httpx.Client, image: str, status: int, code: str
) -> None:
    before = jobs_so_far(api)
    answer = api.post("/v1/chat/image2image", json={"message": "make it blue", "image": image})
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert jobs_so_far(api) == before


def test_an_edit_of_nothing_is_refused(api: httpx.Client) -> None:
    answer = api.post("/v1/chat/image2image", json={"message": "make it blue"})
    assert answer.status_code == 422
    assert answer.json()["param"] == "image"


# --- the caller waits -----------------------------------------------------------------------------


def test_txt2img_answers_as_the_web_ui_does_with_more_beside(api: httpx.Client) -> None:
    request = {"prompt": "a beach", "seed": 5, "batch_size": 2, **SMALL}
    answer = api.post("/sdapi/v1/txt2img", json=request).raise_for_status().json()
    assert len(answer["images"]) == len(answer["image_urls"]) == 2
    assert answer["parameters"]["prompt"] == "a beach"
    assert json.loads(answer["info"])["all_seeds"] == [5, 6]
    first = base64.b64decode(answer["images"][0])
    assert httpx.get(answer["image_urls"][0]).content == first
    job = api.get(f"/v1/jobs/{answer['job_id']}").json()
    assert (job["kind"], job["status"]) == ("text2image", "succeeded")
    assert job["expires_at"][:19] == answer["expires_at"][:19]


def test_img2img_starts_from_the_image(api: httpx.Client) -> None:
    request = {"prompt": "blue", "init_images": [encoded(image_file())], **SMALL}
    answer = api.post("/sdapi/v1/img2img", json=request).raise_for_status().json()
    assert answer["parameters"]["init_images"] is None
    assert Image.open(io.BytesIO(base64.b64decode(answer["images"][0]))).size == (128, 128)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("txt2img", {"steps": "many"}, "steps"),
        ("txt2img", {"width": 100000}, "width"),
        ("img2img", {"prompt": "x"}, "init_images"),
    ],
)
def test_a_wrong_field_is_named_as_the_web_ui_names_it(
    api: httpx.Client, path: str, body: dict[str, Any], field: str
) -> None:
    answer = api.post(f"/sdapi/v1/{path}", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", field]


def test_an_unknown_sampler_is_refused(api: httpx.Client) -> None:
    answer = api.post("/sdapi/v1/txt2img", json={"prompt": "x", "sampler_name": "Nonesuch"})
    assert (answer.status_code, answer.json()["error"]) == (422, "unknown_sampler")


def test_the_same_key_draws_once(api: httpx.Client) -> None:
    headers = {"Idempotency-Key": "draws-once"}
    request = {"prompt": "a beach", **SMALL}
    first, again = (
        api.post("/sdapi/v1/txt2img", json=request, headers=headers).json() for _ in range(2)
    )
    assert (first["job_id"], first["images"]) == (again["job_id"], again["images"])
    other = api.post("/sdapi/v1/txt2img", json={"prompt": "a castle"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


# --- jobs -----------------------------------------------------------------------------------------


def test_jobs_are_listed_newest_first_page_by_page(api: httpx.Client) -> None:
    jobs = [finished(api, say(api, f"a tree, number {number}"))["id"] for number in range(3)]
    page = api.get("/v1/jobs?limit=2&kind=chat_text2image").json()
    assert [job["id"] for job in page["data"]] == jobs[:0:-1]
    rest = api.get(f"/v1/jobs?limit=1&kind=chat_text2image&cursor={page['next_cursor']}").json()
    assert rest["data"][0]["id"] == jobs[0]
    assert api.get("/v1/jobs?cursor=made-up").json()["code"] == "invalid_request"


def test_a_job_is_followed_by_events_to_its_end(api: httpx.Client) -> None:
    job = say(api, "a city at night")
    names: list[str] = []
    with api.stream("GET", f"/v1/jobs/{job['id']}/events") as events:
        assert events.headers["content-type"].startswith("text/event-stream")
        for line in events.iter_lines():
            name, _, value = line.partition(": ")
            if name == "event":
                names.append(value)
            elif name == "data":
                last = json.loads(value)
    assert names[0] == "snapshot"
    assert names[-1] == "done"
    assert last["status"] == "succeeded"
    assert last["images"][0]["url"]


def test_a_finished_job_can_be_deleted_but_not_canceled(api: httpx.Client) -> None:
    job = finished(api, say(api, "a boat"))
    answer = api.post(f"/v1/jobs/{job['id']}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "job_is_final")
    assert api.delete(f"/v1/jobs/{job['id']}").json() == {
        "id": job["id"],
        "object": "job.deleted",
        "deleted": True,
    }
    assert httpx.get(job["images"][0]["url"]).status_code == 404
    emptied = api.get(f"/v1/jobs/{job['id']}").json()
    assert (emptied["status"], emptied["images"], emptied["prompt"]) == ("succeeded", [], None)


@pytest.mark.parametrize("path", ["/v1/jobs/job_none", "/v1/conversations/conv_none"])
def test_what_does_not_exist_is_a_404_with_a_code(api: httpx.Client, path: str) -> None:
    answer = api.get(path)
    assert answer.status_code == 404
    error = answer.json()
    assert (error.get("error") or error)["code"] == "not_found"
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("key", [None, "rk_wrong_0123456789abcdefghij"])
def test_nobody_gets_in_without_a_key(stack: RunningStack, key: str | None) -> None:
    headers = {"x-api-key": key} if key else {}
    answer = httpx.get(f"{stack.api_url}/v1/jobs", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "headers",
    [
        lambda key: {"Authorization": f"Bearer {key}"},
        lambda key: {"x-api-key": key},
        lambda key: {"Authorization": "Basic " + encoded(f"anyone:{key}".encode())},
    ],
    ids=["Bearer", "x-api-key", "Basic"],
)
def test_a_key_may_come_in_three_ways(
    stack: RunningStack, headers: Callable[[str], dict[str, str]]
) -> None:
    answer = httpx.get(f"{stack.api_url}/v1/jobs", headers=headers(stack.api_key))
    assert answer.status_code == 200


# --- a host that is down --------------------------------------------------------------------------


def test_without_a_host_callers_are_told_and_jobs_fail_with_a_code(
    start_stack: Callable[[dict[str, str]], RunningStack],
) -> None:
    stack = start_stack(
        {
            "SD_HOSTS": f"http://127.0.0.1:{free_port()}",
            "ROBOTCHAT_PARAMETERS": "RetryBaseSeconds=0.05",
            "ROBOTCHAT_FUNCTION_ENV": "MAX_ATTEMPTS=2 HOST_PATIENCE_SECONDS=8",
        }
    )
    with httpx.Client(base_url=stack.api_url, headers=stack.headers, timeout=60) as api:
        job = finished(api, say(api, "a beach"))
        assert job["status"] == "failed"
        assert (job["error"]["code"], job["error"]["retryable"]) == ("upstream_unavailable", True)
        assert job["attempt"] == 2
        answer = api.post("/sdapi/v1/txt2img", json={"prompt": "a beach"})
        assert answer.status_code == 503
        assert answer.json()["retryable"] is True
        assert "127.0.0.1" not in answer.text
