"""What a request to draw says of its job: it is the job's, and no SD host's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from robotchat.art.capabilities import Capabilities
from robotchat.drivers.fake import FakeArt, plain_png
from robotchat.errors import UpstreamUnavailable
from robotchat.images import encode_base64
from robotchat.jobs.job import Job
from robotchat.lifecycle.queue_messages import accept
from tests.cases.service import Service

SMALL = {"prompt": "a beach", "width": 64, "height": 64, "steps": 20}
OF_THE_JOB = {
    "webhook": "https://example.com/hook",
    "metadata": {"order": 7},
    "expires_in": 3600,
    "deadline": 600,
}
FUNCTIONS = ["sd/text2image", "sd/image2image"]
LATER = {"Prefer": "respond-async"}


@pytest.fixture
def service() -> Iterator[Service]:
    """The functions over one host that has options."""
    with Service.over([host()]) as service:
        yield service


def host() -> FakeArt:
    made = FakeArt()
    made.answers["sdapi/v1/options"] |= {"CLIP_stop_at_last_layers": 1, "eta_noise_seed_delta": 0}
    return made


def body_for(function: str, **more: Any) -> dict[str, Any]:
    image = {"init_images": [encode_base64(plain_png(64, 64))]}
    return {**SMALL, **(image if function == "sd/image2image" else {}), **more}


def job_of(service: Service, answer: Any) -> Job:
    return service.robot.jobs.get(answer.body.get("job_id") or answer.body["id"], "dev")


@pytest.mark.parametrize("headers", [{}, LATER])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_they_work_over_https_and_never_reach_a_host(
    service: Service, function: str, headers: dict[str, str]
) -> None:
    answer = service.call(function, body_for(function, **OF_THE_JOB), headers=headers)
    assert answer.status in (200, 202)
    job = job_of(service, answer)
    assert job.webhook is not None
    assert (job.webhook.url, job.metadata) == ("https://example.com/hook", {"order": 7})
    assert job.retention == 3600
    lifetime = (job.expires_at - job.created_at).total_seconds()
    assert lifetime == (600 if headers else pytest.approx(3600, abs=60))
    assert not OF_THE_JOB.keys() & job.request.keys()
    assert not OF_THE_JOB.keys() & answer.body.get("parameters", {}).keys()
    for sent in service.hosts["sd-0"].requests:
        assert not OF_THE_JOB.keys() & sent.keys()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_is_wrong_with_them_is_told_before_anything_is_drawn(
    service: Service, function: str
) -> None:
    for wrong in (
        {"webhook": "http://10.0.0.1/"},
        {"expires_in": 5},
        {"deadline": 0},
        {"metadata": "x"},
    ):
        assert service.call(function, body_for(function, **wrong)).status == 422, wrong
    assert service.hosts["sd-0"].requests == []
    nothing: dict[str, Any] = {"webhook": "", "metadata": [], "deadline": None}
    assert service.call(function, body_for(function, **nothing)).status == 200


@pytest.mark.parametrize("headers", [{}, LATER])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_nobody_heeds_is_named_and_kept_nowhere(
    service: Service, function: str, headers: dict[str, str]
) -> None:
    # As SillyTavern posts it, its settings and the API key among the fields.
    form = {"url": "https://localhost:7860", "auth": "user:rk_secret", "clip_skip": 1, "名": 1}
    answer = service.call(function, body_for(function, **form), headers=headers)
    assert answer.status in (200, 202)
    assert answer.headers["x-ignored-fields"] == "url, auth, clip_skip, %E5%90%8D"
    assert "rk_secret" not in str(job_of(service, answer)) + str(answer.body)
    assert "rk_secret" not in str(service.hosts["sd-0"].requests)
    assert "x-ignored-fields" not in service.call(function, body_for(function)).headers


def test_a_turns_unknown_settings_are_named_too(service: Service) -> None:
    body = {"message": "a cat", "settings": {"steps": 5, "auth": "user:rk_secret"}}
    answer = service.call("chat/chat_text2image", body)
    assert (answer.status, answer.headers["x-ignored-fields"]) == (202, "settings.auth")
    assert "rk_secret" not in str(job_of(service, answer))


def test_a_queue_producer_may_say_them_in_either_place(service: Service) -> None:
    request = {**SMALL, "deadline": 60, "metadata": {"order": 1}, "auth": "secret"}
    message = {"kind": "text2image", "tenant": "dev", "metadata": {"order": 2}, "request": request}
    job = accept(service.robot.intake, json.dumps(message), message_id="m-1")
    assert (job.status, job.metadata) == ("queued", {"order": 2})
    assert (job.expires_at - job.created_at).total_seconds() == 60
    assert job.request.keys() == SMALL.keys()
    dry = accept(service.robot.intake, json.dumps({**message, "dry_run": True}), message_id="m-2")
    assert (dry.status, dry.error and dry.error.code) == ("failed", "invalid_request")


def test_a_batch_that_fell_short_is_answered_with_what_there_is(service: Service) -> None:
    def short(body: dict[str, Any]) -> dict[str, Any]:
        answer = FakeArt().drawn(body)
        return {**answer, "images": answer["images"][:2]}

    service.hosts["sd-0"].enqueue([short, UpstreamUnavailable("out of memory")])
    answer = service.call("sd/text2image", {**SMALL, "batch_size": 3, "seed": 7})
    assert (answer.status, len(answer.body["images"])) == (200, 2)
    job = service.call("jobs/get_job", path={"job_id": answer.body["job_id"]}).body
    assert (job["status"], job["attempt"], len(job["images"])) == ("succeeded", 1, 2)
    (missing,) = job["missing"]
    assert (missing["index"], missing["seed"]) == (2, 9)
    assert missing["error"]["code"] == "upstream_unavailable"


# --- dry runs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_dry_run_tells_the_price_and_makes_no_job(service: Service, function: str) -> None:
    body = body_for(function, dry_run=True, batch_size=2, width=512, height=512)
    answer = service.call(function, body)
    assert (answer.status, answer.body["object"]) == (200, "quote")
    assert (answer.body["images"], answer.body["cost"]) == (2, 2.0)
    assert answer.body["request"]["prompt"] == "a beach"
    assert service.robot.jobs.of_tenant("dev") == ([], None)
    assert (service.hosts["sd-0"].requests, service.queued) == ([], [])


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"steps": 0}, "invalid_request"),
        ({"sampler_name": "nonsense"}, "unknown_sampler"),
        ({"override_settings": {"sd_model_checkpoint": "nine"}}, "unknown_checkpoint"),
        ({"init_images": ["https://10.0.0.1/x.png"]}, "forbidden_url"),
    ],
)
def test_a_dry_run_finds_what_is_wrong(service: Service, wrong: dict[str, Any], code: str) -> None:
    body = body_for("sd/image2image", dry_run=True, **wrong)
    answer = service.call("sd/image2image", body)
    assert (answer.status, answer.body["error"]) == (422, code)


def test_a_turn_can_be_tried_without_being_taken(service: Service) -> None:
    body = {
        "message": "a cat",
        "dry_run": True,
        "settings": {"width": 512, "height": 512, "steps": 40},
    }
    answer = service.call("chat/chat_text2image", body)
    assert (answer.status, answer.body["cost"]) == (200, 2.0)
    refused = service.call("chat/chat_image2image", {"message": "make it blue", "dry_run": True})
    assert refused.status == 422
    assert service.robot.jobs.of_tenant("dev") == ([], None)


# --- the tenant's options when hosts change -------------------------------------------------------


def test_an_option_that_no_host_takes_any_more_is_left_out_and_told(service: Service) -> None:
    service.call("sd/set_options", {"CLIP_stop_at_last_layers": 2, "eta_noise_seed_delta": 5})
    queued = service.call("sd/text2image", SMALL, headers=LATER).body["id"]
    plain = FakeArt(capabilities=Capabilities(options=False))
    parts: dict[str, Any] = {"records": service.records, "images": service.images}
    with Service.over([plain], **parts) as changed:
        assert changed.call("sd/text2image", SMALL).status == 200
        assert changed.robot.run(queued).status == "succeeded"
        asked = {**SMALL, "override_settings": {"CLIP_stop_at_last_layers": 2}}
        refused = changed.call("sd/text2image", asked).status
        assert refused == 501, "what a request asks for itself counts"
        job = changed.robot.jobs.get(queued, "dev")
    assert "override_settings.CLIP_stop_at_last_layers" in job.unverified
    for sent in plain.requests:
        assert set(sent.get("override_settings", {})) <= {"sd_model_checkpoint"}


# --- reading jobs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["jobs/get_job", "jobs/list_jobs"])
def test_a_job_that_has_not_changed_is_not_sent_again(service: Service, function: str) -> None:
    job_id = service.call("sd/text2image", SMALL, headers=LATER).body["id"]
    of_one = function == "jobs/get_job"
    path: dict[str, Any] = {"path": {"job_id": job_id}} if of_one else {}

    def read(**headers: str) -> Any:
        return service.call(function, headers=headers, **path)

    first = read()
    tag = first.headers["etag"]
    again = read(**{"If-None-Match": f'"x", {tag}'})
    assert (again.status, again.body, again.headers["etag"]) == (304, None, tag)
    assert "no-store" not in again.headers["cache-control"]
    service.robot.run(job_id)
    changed = read(**{"If-None-Match": tag})
    assert changed.status == 200
    assert changed.headers["etag"] != tag
    assert read(**{"If-None-Match": "*"}).status == 304
    assert service.call(function, tenant="other", **path).status in (404, 200)
