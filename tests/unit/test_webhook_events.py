"""What is told of a job's end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from robotchat.errors import ForbiddenUrl
from robotchat.events.event import Event, accept_target
from robotchat.jobs.job import Job, JobImage, JobKind, JobStatus, WebhookTarget
from tests.cases.clock import FakeClock


def ended(status: JobStatus = JobStatus.SUCCEEDED, **fields: Any) -> Job:
    now = FakeClock().now()
    return Job(
        **{
            "id": "job_1",
            "kind": JobKind.CHAT_TEXT2IMAGE,
            "tenant": "acme",
            "status": status,
            "created_at": now,
            "finished_at": now,
            "expires_at": now + timedelta(days=7),
            **fields,
        }
    )


def test_telling_the_same_end_twice_gives_the_same_event() -> None:
    assert Event.of(ended()) == Event.of(ended())
    # A later touch of the record, such as a link to the next turn, does not change it.
    assert Event.of(ended(version=9, successor="job_2")).id == Event.of(ended()).id


def test_every_end_is_an_event_of_its_own() -> None:
    later = FakeClock().now() + timedelta(seconds=1)
    events = [Event.of(ended(status)) for status in JobStatus if status.final]
    events += [Event.of(ended(finished_at=later)), Event.of(ended(id="job_2"))]
    assert len({event.id for event in events}) == len(events)
    assert [event.type for event in events[:4]] == [
        "job.succeeded",
        "job.failed",
        "job.canceled",
        "job.expired",
    ]


def test_a_job_that_goes_on_has_nothing_to_tell() -> None:
    with pytest.raises(ValueError, match="running"):
        Event.of(ended(JobStatus.RUNNING))


def test_an_event_says_what_happened_but_no_words_and_no_links_to_images() -> None:
    image = JobImage(
        key="tenants/acme/jobs/job_1/0.png",
        width=512,
        height=512,
        content_type="image/png",
        sha256="ab",
        seed=42,
        infotext="a secret beach",
    )
    job = ended(
        message="a secret beach",
        prompt="a secret beach",
        request={"prompt": "a secret beach"},
        reply="a secret beach",
        images=[image],
        conversation_id="conv_1",
        metadata={"order": 7},
    )
    event = Event.of(job)
    text = event.json_text()
    assert "secret" not in text
    assert "tenants/" not in text
    assert event.data.images[0].seed == 42
    assert event.data.metadata == {"order": 7}
    assert event.data.links.self == "/v1/jobs/job_1"
    assert event.data.links.conversation == "/v1/conversations/conv_1"


def test_a_url_alone_is_a_target_for_all_events() -> None:
    target = accept_target("https://example.com/hook", local=False)
    assert target is not None
    assert target.wants("job.failed")
    some = WebhookTarget(url="https://example.com/hook", events=["job.succeeded"])
    assert not some.wants("job.failed")


@pytest.mark.parametrize(
    "url", ["http://example.com/", "https://127.0.0.1/", "https://[::1]/", "https://10.0.0.8/x"]
)
def test_an_inner_or_plain_target_is_refused_when_it_is_given(url: str) -> None:
    with pytest.raises(ForbiddenUrl) as refused:
        accept_target(url, local=False)
    assert refused.value.param == "webhook"


def test_the_local_stack_may_call_this_machine() -> None:
    assert accept_target("http://127.0.0.1:9000/hook", local=True) is not None
    with pytest.raises(ForbiddenUrl):
        accept_target("http://10.0.0.8/hook", local=True)
