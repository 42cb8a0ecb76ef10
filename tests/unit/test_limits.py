"""Tenants' limits: what may be asked for, what is counted, what is told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from robotchat.art.requests import Image2ImageRequest, Text2ImageRequest
from robotchat.errors import (
    CheckpointNotAllowed,
    LimitExceeded,
    Misconfigured,
    WorkTooLarge,
)
from robotchat.images import encode_base64
from robotchat.jobs.charge import COST_UNIT, cost
from robotchat.jobs.job import JobStatus
from robotchat.jobs.limits import Limits
from robotchat.records import MemoryRecords, Records
from robotchat.settings import Settings
from tests.cases.limits import LimitsCases, Office


class TestLimitsInMemory(LimitsCases):
    @pytest.fixture
    def records(self) -> Records:
        return MemoryRecords()


def office(**limits: Any) -> Office:
    return Office(MemoryRecords(), **limits)


def test_one_image_of_the_usual_size_in_twenty_steps_costs_one() -> None:
    assert cost(Text2ImageRequest(prompt="x", steps=20).work) == 1
    assert cost(Text2ImageRequest(prompt="x", steps=40, width=1024, batch_size=2).work) == 8


def test_every_tenant_has_counters_and_limits_of_its_own() -> None:
    bench = office(active_jobs=1)
    bench.submit("acme")
    bench.submit("other")
    bench.robot.ledger.set_limits("acme", Limits(active_jobs=2))
    bench.submit("acme")
    bench.robot.ledger.set_limits("other", Limits(active_jobs=None))
    for _ in range(3):
        bench.submit("other")
    with pytest.raises(LimitExceeded):
        bench.submit("acme")


def test_a_limit_that_a_tenant_does_not_set_is_the_default() -> None:
    bench = office(active_jobs=7, images_per_day=3)
    bench.robot.ledger.set_limits("acme", Limits(images_per_day=9))
    limits = bench.usage().limits
    assert (limits.active_jobs, limits.images_per_day) == (7, 9)
    assert bench.robot.ledger.own_limits("acme").model_fields_set == {"images_per_day"}


def test_changed_limits_are_seen_by_everyone_within_seconds() -> None:
    records = MemoryRecords()
    here, there = Office(records, active_jobs=1), Office(records, active_jobs=1)
    here.submit()
    there.robot.ledger.set_limits("acme", Limits(active_jobs=9))
    here.clock.advance(11)
    here.submit()


def test_more_work_than_one_request_may_make_is_refused_however_it_is_spelled() -> None:
    bench = office(work_per_request=COST_UNIT * 2)
    with pytest.raises(WorkTooLarge) as refused:
        bench.submit(steps=20, batch_size=3)
    assert refused.value.details["requested"] == COST_UNIT * 3
    for request in (
        Text2ImageRequest(prompt="x", steps=20, enable_hr=True),
        Text2ImageRequest(prompt="x", steps=20, width=1024, height=1024),
        Image2ImageRequest(prompt="x", steps=61, init_images=["-"]),
    ):
        with pytest.raises(WorkTooLarge):
            bench.robot.submit_image(request, tenant="acme")
    assert bench.counted() == (0, 0, 0.0)
    assert bench.robot.jobs.of_tenant("acme") == ([], None)


def test_a_turn_counts_what_it_inherits_from_turns_that_are_still_to_be_drawn() -> None:
    bench = office(images_per_day=12)
    first = bench.submit(batch_size=4, steps=20)
    for _ in range(2):
        from robotchat.conversation import ChatImageRequest

        turn = ChatImageRequest(message="more", conversation_id=first.conversation_id)
        bench.robot.submit_chat_image(turn, tenant="acme")
    assert bench.counted() == (3, 12, 12.0)
    with pytest.raises(LimitExceeded):
        bench.submit()


def test_what_was_really_drawn_is_what_counts_in_the_end() -> None:
    bench = office()
    job = bench.submit(batch_size=2, steps=20)
    bench.art.enqueue([lambda body: bench.art.drawn({**body, "batch_size": 2, "n_iter": 1})])
    done = bench.robot.run(job.id)
    assert done.charge
    assert (done.charge.images, done.charge.cost, done.charge.day) == (2, 2.0, "2026-01-02")


def test_a_message_that_is_only_answered_costs_nothing() -> None:
    from robotchat.conversation import ChatImageRequest

    bench = office()
    first = bench.submit()
    bench.robot.run(first.id)
    before = bench.counted()
    thanks = bench.robot.submit_chat_image(
        ChatImageRequest(message="thanks!", conversation_id=first.conversation_id), tenant="acme"
    )
    done = bench.robot.run(thanks.id)
    assert (done.status, done.images) == (JobStatus.SUCCEEDED, [])
    assert bench.counted() == before


def test_a_canceled_and_an_expired_job_give_back_what_they_held() -> None:
    bench = office(active_jobs=2)
    canceled, expired = bench.submit(), bench.submit()
    bench.robot.cancel(canceled.id, tenant="acme")
    assert bench.counted() == (1, 1, 2.5)
    bench.clock.advance(8 * 24 * 3600)
    bench.robot.sweeper.sweep()
    assert bench.robot.jobs.get(expired.id, "acme").status is JobStatus.EXPIRED
    assert bench.counted() == (0, 0, 0.0)


def test_a_waiting_callers_job_whose_process_died_gives_back_when_it_is_swept_up() -> None:
    from robotchat.jobs.job import JobKind
    from robotchat.jobs.states import claim

    bench = office(active_jobs=1)
    job = bench.robot.intake.new_job(JobKind.TEXT2IMAGE, "acme", inline=True)
    bench.robot.jobs.add(claim(job, bench.clock.now()))
    assert bench.usage().now.active_jobs == 1
    bench.clock.advance(3600)
    bench.robot.sweeper.sweep()
    assert bench.usage().now.active_jobs == 0


def test_a_message_that_was_refused_for_good_never_counted() -> None:
    from robotchat.errors import InvalidRequest
    from robotchat.jobs.job import JobKind

    bench = office(active_jobs=1)
    bench.robot.intake.reject(
        JobKind.TEXT2IMAGE, "acme", InvalidRequest("no"), job_id="job_" + "a" * 20, said="x"
    )
    assert bench.counted() == (0, 0, 0.0)


def test_a_deleted_conversation_gives_back_its_bytes_but_not_the_days_images() -> None:
    bench = office()
    job = bench.submit()
    bench.robot.run(job.id)
    assert bench.usage().now.stored_bytes > 0
    bench.robot.delete_conversation(job.conversation_id or "", tenant="acme")
    assert bench.usage().now.stored_bytes == 0
    assert bench.usage().today.images == 1


def test_images_that_come_with_a_request_are_stored_bytes_too() -> None:
    bench = office()
    cat = bench.art.drawn({"prompt": "a cat"})
    image = cat["images"][0]
    job = bench.robot.submit_image(
        Image2ImageRequest(prompt="blue", init_images=[image]), tenant="acme"
    )
    assert job.input_bytes == bench.usage().now.stored_bytes > 0
    assert len(encode_base64(b"x" * job.input_bytes)) == len(image)


# --- checkpoints ----------------------------------------------------------------------------------

ALLOWED = ["sd15/v1-5-pruned.safetensors", "dreamshaper_8.safetensors"]


def permitted(**fields: Any) -> Text2ImageRequest:
    ledger = office(checkpoints=ALLOWED).robot.ledger
    return ledger.permit(Text2ImageRequest(prompt="x", **fields), "acme")


def test_a_tenant_with_a_list_of_checkpoints_draws_with_the_first_unless_it_says_otherwise() -> (
    None
):
    assert permitted().checkpoint == ALLOWED[0]
    assert permitted(override_settings={"CLIP_stop_at_last_layers": 2}).override_settings == {
        "CLIP_stop_at_last_layers": 2,
        "sd_model_checkpoint": ALLOWED[0],
    }


@pytest.mark.parametrize("name", ["dreamshaper_8", "DreamShaper 8.safetensors [879db523c3]"])
def test_whatever_spelling_of_an_allowed_checkpoint_becomes_the_operators(name: str) -> None:
    assert permitted(override_settings={"sd_model_checkpoint": name}).checkpoint == ALLOWED[1]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        (
            {"override_settings": {"sd_model_checkpoint": "secret-model"}},
            "override_settings.sd_model_checkpoint",
        ),
        (
            {"override_settings": {"sd_model_checkpoint": "6ce0161689"}},
            "override_settings.sd_model_checkpoint",
        ),
        ({"refiner_checkpoint": "secret-model"}, "refiner_checkpoint"),
        ({"enable_hr": True, "hr_checkpoint_name": "secret-model"}, "hr_checkpoint_name"),
    ],
)
def test_no_other_checkpoint_can_be_used_in_any_field(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(CheckpointNotAllowed) as refused:
        permitted(**fields)
    assert refused.value.param == param
    assert refused.value.details == {"limit": "checkpoints", "allowed": ALLOWED}


def test_the_same_checkpoint_for_the_second_pass_is_no_other_one() -> None:
    request = permitted(enable_hr=True, hr_checkpoint_name="Use same checkpoint")
    assert request.hr_checkpoint_name == "Use same checkpoint"


# --- settings -------------------------------------------------------------------------------------


def test_default_limits_come_from_the_environment_and_zero_is_no_limit() -> None:
    env = {"LIMIT_ACTIVE_JOBS": "5", "LIMIT_IMAGES_PER_DAY": "0"}
    assert Settings.from_env(env).limits == Limits(active_jobs=5)
    with pytest.raises(Misconfigured, match="LIMIT_ACTIVE_JOBS"):
        Settings.from_env({"LIMIT_ACTIVE_JOBS": "-1"})


def test_usage_says_when_the_day_ends_and_what_cost_means() -> None:
    usage = office().usage()
    assert usage.today.resets_at == datetime(2026, 1, 3, tzinfo=UTC)
    assert "512x512" in usage.cost_unit
