"""The use cases, over memory and fakes: turns, order, retries, crashes, cancels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import pytest

from robotchat.art.requests import Image2ImageRequest, Text2ImageRequest
from robotchat.conversation import ChatEditRequest, ChatImageRequest
from robotchat.drivers.fake import FakeArt
from robotchat.errors import (
    IdempotencyKeyReused,
    InvalidImage,
    InvalidRequest,
    JobNotRetryable,
    NotFound,
    UnknownCheckpoint,
    UnknownSampler,
    UpstreamRejected,
    UpstreamUnavailable,
)
from robotchat.gpt.responses.items import image_turn
from robotchat.images import decode_base64
from robotchat.jobs import states
from robotchat.jobs.job import Job, JobStatus
from robotchat.lifecycle import heartbeat
from robotchat.lifecycle.run_context import RunContext
from robotchat.prompt.models import Fold, PromptState
from robotchat.records import Put
from robotchat.robot import Robot
from robotchat.settings import Settings
from tests.cases.clock import FakeClock


class Words:
    """A prompt writer that strings everything said together, and only replies to thanks."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.size: tuple[int | None, int | None] = (None, None)

    def write(
        self, current: PromptState | None, message: str, *, editing: bool, earlier: object = None
    ) -> tuple[Fold, Literal["llm", "fallback"]]:
        if self.error is not None:
            raise self.error
        so_far = current.prompt if current else ""
        if message == "thanks":
            return Fold(mode="reply", prompt=so_far, reply="Any time."), "fallback"
        prompt = f"{so_far} + {message}" if so_far else message
        width, height = self.size
        mode: Literal["edit", "generate"] = "edit" if editing else "generate"
        return Fold(mode=mode, prompt=prompt, width=width, height=height), "fallback"

    def describe(self, image: str) -> str | None:
        return None


class HeldQueue:
    """A queue that keeps what is sent until the test runs it."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, float]] = []
        self.waiting = 0

    def send(self, job: Job, *, delay: float = 0.0) -> None:
        self.sent.append((job.id, delay))

    def backlog(self) -> int:
        return self.waiting

    def take(self) -> str:
        return self.sent.pop(0)[0]


class Bench:
    """A robot over fakes, and what they saw."""

    def __init__(self, *, run_at_once: bool = True, **settings: Any) -> None:
        self.art = FakeArt()
        self.clock = FakeClock()
        self.words = Words()
        self.queue = HeldQueue()
        self.robot = Robot(
            art=self.art,
            writer=self.words,  # type: ignore[arg-type]
            queue=None if run_at_once else self.queue,
            settings=Settings(**settings),
            clock=self.clock,
        )

    @property
    def prompts(self) -> list[str]:
        """The prompts that were really drawn."""
        return [body["prompt"] for body in self.art.requests]

    def submit(self, message: str, conversation_id: str | None = None, **more: Any) -> Job:
        request = ChatImageRequest(message=message, conversation_id=conversation_id, **more)
        return self.robot.submit_chat_image(request)


@pytest.fixture
def bench() -> Bench:
    """A robot that runs jobs as they are submitted."""
    return Bench()


@pytest.fixture
def held() -> Bench:
    """A robot whose jobs wait until the test runs them."""
    return Bench(run_at_once=False)


# --- conversations --------------------------------------------------------------------------------


def test_a_second_turn_draws_what_both_turns_said(bench: Bench) -> None:
    first = bench.robot.chat_text2image("a beach")
    second = bench.robot.chat_text2image("at sunset", first.conversation_id)
    assert (first.status, second.status) == (JobStatus.SUCCEEDED, JobStatus.SUCCEEDED)
    assert bench.prompts == ["a beach", "a beach + at sunset"]
    assert (first.turn, second.turn) == (1, 2)
    assert second.prompt_source == "fallback"


def test_a_turn_keeps_the_seed_and_settings_of_the_turn_before(bench: Bench) -> None:
    first = bench.robot.chat_text2image("a beach", steps=7, width=640)
    bench.robot.chat_text2image("at sunset", first.conversation_id, steps=9)
    before, after = bench.art.requests
    assert (before["steps"], after["steps"]) == (7, 9)
    assert after["width"] == 640
    assert after["seed"] == before["seed"] >= 0


def test_the_callers_negative_prompt_stays_with_the_conversation(bench: Bench) -> None:
    first = bench.robot.chat_text2image("a beach", negative_prompt="text")
    bench.robot.chat_text2image("at sunset", first.conversation_id)
    assert bench.art.requests[1]["negative_prompt"] == "text"


def test_the_image_of_a_turn_is_stored_and_described(bench: Bench) -> None:
    job = bench.robot.chat_text2image("a beach", width=128, height=64)
    (image,) = job.images
    assert (image.width, image.height, image.content_type) == (128, 64, "image/png")
    assert image.seed == bench.art.requests[0]["seed"]
    assert bench.robot.images.get(image.key).startswith(b"\x89PNG")
    assert job.picture == image.key
    assert job.checkpoint == "fake"
    assert job.timings.run is not None


def test_an_edit_starts_from_the_conversations_last_image(bench: Bench) -> None:
    first = bench.robot.chat_text2image("a cat")
    second = bench.robot.chat_image2image("make it blue", conversation_id=first.conversation_id)
    assert second.status is JobStatus.SUCCEEDED
    sent = decode_base64(bench.art.requests[1]["init_images"][0])
    assert sent == bench.robot.images.get(first.images[0].key)


def test_an_edit_starts_from_the_image_that_is_sent(bench: Bench) -> None:
    cat = bench.robot.drawing(bench.robot.chat_text2image("a cat")).images[0].data
    from robotchat.images import encode_base64

    for image in (encode_base64(cat), "data:image/png;base64," + encode_base64(cat)):
        job = bench.robot.chat_image2image("make it blue", image=image)
        assert job.status is JobStatus.SUCCEEDED
        assert decode_base64(bench.art.requests[-1]["init_images"][0]) == cat
    assert len(str(job.request)) < 1000, "the record holds a reference, not the picture"


def _uploaded(width: int, height: int) -> str:
    drawn = FakeArt().drawn({"prompt": "a cat", "width": width, "height": height})["images"][0]
    return str(drawn)


@pytest.mark.parametrize(
    ("uploaded", "settings", "size"),
    [
        ((512, 256), {}, (888, 440)),
        ((64, 128), {}, (440, 888)),
        ((512, 256), {"width": 256, "height": 256}, (256, 256)),
        ((512, 256), {"width": 256}, (256, 128)),
        ((512, 256), {"height": 256}, (512, 256)),
    ],
)
def test_an_edited_upload_keeps_its_shape_unless_asked_otherwise(
    bench: Bench,
    uploaded: tuple[int, int],
    settings: dict[str, Any],
    size: tuple[int, int],
) -> None:
    job = bench.robot.chat_image2image("make it blue", image=_uploaded(*uploaded), **settings)
    assert (job.images[0].width, job.images[0].height) == size
    after = bench.robot.chat_image2image("bluer", conversation_id=job.conversation_id)
    assert (after.images[0].width, after.images[0].height) == size


def test_an_upload_in_a_conversation_has_its_own_shape(bench: Bench) -> None:
    first = bench.robot.chat_text2image("a beach", width=256, height=256)
    job = bench.robot.chat_image2image(
        "make it blue", image=_uploaded(512, 256), conversation_id=first.conversation_id
    )
    assert (job.images[0].width, job.images[0].height) == (888, 440)


def test_a_size_that_the_message_asks_for_comes_before_the_uploads_shape(bench: Bench) -> None:
    bench.words.size = (256, 512)
    job = bench.robot.chat_image2image("make it tall", image=_uploaded(512, 256))
    assert (job.images[0].width, job.images[0].height) == (256, 512)


def test_an_edit_of_nothing_is_refused_and_leaves_nothing_behind(bench: Bench) -> None:
    with pytest.raises(InvalidRequest, match="no picture"):
        bench.robot.chat_image2image("make it blue")
    assert bench.robot.jobs.of_tenant("local") == ([], None)


def test_an_edit_of_an_undecodable_image_is_refused(bench: Bench) -> None:
    with pytest.raises(InvalidImage):
        bench.robot.chat_image2image("make it blue", image="bm90IGEgcGljdHVyZQ==")
    assert bench.robot.jobs.of_tenant("local") == ([], None)


def test_small_talk_is_answered_and_draws_nothing(bench: Bench) -> None:
    first = bench.robot.chat_text2image("a beach", steps=7)
    thanks = bench.robot.chat_text2image("thanks", first.conversation_id)
    assert (thanks.status, thanks.reply, thanks.images) == (JobStatus.SUCCEEDED, "Any time.", [])
    third = bench.robot.chat_image2image("bluer", conversation_id=first.conversation_id)
    assert third.prompt == "a beach + bluer"
    assert bench.art.requests[-1]["steps"] == 7
    assert len(bench.prompts) == 2


def test_a_branch_builds_on_an_earlier_turn(bench: Bench) -> None:
    first = bench.robot.chat_text2image("a beach")
    bench.robot.chat_text2image("at night", first.conversation_id)
    branch = bench.submit("at sunset", first.conversation_id, after_turn=1)
    assert (branch.turn, branch.prompt) == (3, "a beach + at sunset")
    with pytest.raises(InvalidRequest, match="no such turn"):
        bench.submit("at dawn", first.conversation_id, after_turn=9)


def test_a_failed_turn_was_still_said_and_a_canceled_one_was_taken_back(bench: Bench) -> None:
    bench.words.error = UpstreamRejected("no")
    failed = bench.robot.chat_text2image("a beach")
    assert failed.status is JobStatus.FAILED
    bench.words.error = None
    second = bench.robot.chat_text2image("at sunset", failed.conversation_id)
    assert second.prompt == "a beach + at sunset"


def test_a_canceled_turn_was_taken_back(held: Bench) -> None:
    first = held.submit("a beach")
    second = held.submit("with a whale", first.conversation_id)
    third = held.submit("at sunset", first.conversation_id)
    held.robot.cancel(second.id)
    held.robot.run(held.queue.take())
    held.robot.run(held.queue.take())
    assert held.robot.jobs.find(third.id).prompt == "a beach + at sunset"  # type: ignore[union-attr]


@pytest.fixture
def drawn() -> Bench:
    """A robot with the rules as its writer, which runs jobs as they are submitted."""
    bench = Bench()
    bench.robot = Robot(art=bench.art)
    return bench


def test_going_back_draws_the_earlier_image_again(drawn: Bench) -> None:
    first = drawn.robot.chat_text2image("a cat", steps=7)
    talk = first.conversation_id
    drawn.robot.chat_text2image("make it blue", talk, steps=9)
    back = drawn.robot.chat_text2image("go back to the first one", talk)
    assert back.prompt == "a cat"
    assert drawn.art.requests[-1] == drawn.art.requests[0]
    assert back.images[0].sha256 == first.images[0].sha256
    after = drawn.robot.chat_text2image("at night", talk)
    assert after.prompt == "a cat at night"
    assert drawn.art.requests[-1]["steps"] == 7


def test_a_change_to_an_earlier_image_starts_from_that_image(drawn: Bench) -> None:
    first = drawn.robot.chat_text2image("a cat", width=256, height=128)
    talk = first.conversation_id
    drawn.robot.chat_image2image("make it a dog", conversation_id=talk)
    edit = drawn.robot.chat_image2image("the first one, but blue", conversation_id=talk)
    assert edit.prompt == "a blue cat"
    sent = decode_base64(drawn.art.requests[-1]["init_images"][0])
    assert sent == drawn.robot.images.get(first.images[0].key)


def test_an_edit_that_is_gone_back_to_is_drawn_from_what_it_was_drawn_from(drawn: Bench) -> None:
    edit = drawn.robot.chat_image2image("make it blue", image=_uploaded(128, 64))
    talk = edit.conversation_id
    drawn.robot.chat_image2image("make it red", conversation_id=talk)
    for again in (
        drawn.robot.chat_image2image("undo", conversation_id=talk),
        drawn.robot.chat_text2image("回到第一张", talk),
    ):
        assert again.images[0].sha256 == edit.images[0].sha256
        assert drawn.art.requests[-1] == drawn.art.requests[0]


def test_turns_that_drew_nothing_do_not_count_as_images(drawn: Bench) -> None:
    hello = drawn.robot.chat_text2image("hello")
    talk = hello.conversation_id
    drawn.robot.chat_text2image("a cat", talk)
    drawn.robot.chat_text2image("thanks", talk)
    drawn.robot.chat_text2image("make it blue", talk)
    assert drawn.robot.chat_text2image("the first picture was better", talk).prompt == "a cat"


def test_another_one_is_another_image(drawn: Bench) -> None:
    first = drawn.robot.chat_text2image("a cat")
    drawn.robot.chat_text2image("another one", first.conversation_id)
    drawn.robot.chat_text2image("再来一张", first.conversation_id, seed=5)
    seeds = [body["seed"] for body in drawn.art.requests]
    assert seeds[1] != seeds[0]
    assert seeds[2] == 5


def test_a_bigger_image_is_bigger_than_the_last_one(drawn: Bench) -> None:
    first = drawn.robot.chat_text2image("a cat", width=128, height=64)
    bigger = drawn.robot.chat_text2image("bigger picture", first.conversation_id)
    assert (bigger.images[0].width, bigger.images[0].height) == (192, 96)


def test_what_is_left_out_of_an_image_is_told_with_it(drawn: Bench) -> None:
    job = drawn.robot.chat_text2image("画一只胖墩墩的猫")
    assert job.images
    assert "墩墩" in str(job.reply)
    assert [item["type"] for item in image_turn(job)] == [
        "message",
        "image_generation_call",
        "message",
    ]


@pytest.mark.parametrize("name", ["prompt", "init_images"])
def test_settings_that_the_conversation_decides_are_refused(bench: Bench, name: str) -> None:
    with pytest.raises(InvalidRequest, match=name):
        bench.submit("a beach", settings={name: "x"})


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"steps": 1000}, InvalidRequest),
        ({"width": "wide"}, InvalidRequest),
        ({"sampler_name": "Nonesuch"}, UnknownSampler),
        ({"override_settings": {"sd_model_checkpoint": "nonesuch"}}, UnknownCheckpoint),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_queued(
    held: Bench, settings: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        held.submit("a beach", settings=settings)
    assert held.queue.sent == []
    assert held.robot.jobs.of_tenant("local") == ([], None)


def test_a_host_that_cannot_be_asked_does_not_keep_a_turn_from_being_accepted(held: Bench) -> None:
    held.art.answers["sdapi/v1/samplers"] = UpstreamUnavailable("away")
    assert held.submit("a beach", settings={"sampler_name": "Euler a"}).status is JobStatus.QUEUED


def test_an_unknown_conversation_and_another_tenants_are_the_same(bench: Bench) -> None:
    first = bench.robot.chat_text2image("a beach")
    with pytest.raises(NotFound):
        bench.submit("more", "conv_nonesuch")
    request = ChatImageRequest(message="more", conversation_id=first.conversation_id)
    with pytest.raises(NotFound):
        bench.robot.submit_chat_image(request, tenant="other")


def test_a_deleted_conversation_takes_its_turns_and_images_with_it(bench: Bench) -> None:
    job = bench.robot.chat_text2image("a beach")
    assert job.conversation_id
    bench.robot.delete_conversation(job.conversation_id)
    with pytest.raises(NotFound):
        bench.robot.conversations.get(job.conversation_id, "local")
    with pytest.raises(NotFound):
        bench.robot.images.get(job.images[0].key)
    emptied = bench.robot.jobs.get(job.id, "local")
    assert (emptied.message, emptied.prompt, emptied.images) == (None, None, [])


# --- order ----------------------------------------------------------------------------------------


def test_turns_run_in_order_however_fast_they_are_sent(held: Bench) -> None:
    first = held.submit("one")
    for message in ("two", "three"):
        job = held.submit(message, first.conversation_id)
        assert (job.status, job.reason) == (JobStatus.QUEUED, "waiting_for_turn")
    assert [job for job, _ in held.queue.sent] == [first.id], "later turns are not even queued"
    for _ in range(3):
        held.robot.run(held.queue.take())
    assert held.prompts == ["one", "one + two", "one + two + three"]
    assert held.queue.sent == []


def test_a_turn_that_is_delivered_before_its_time_waits(held: Bench) -> None:
    first = held.submit("one")
    second = held.submit("two", first.conversation_id)
    assert held.robot.run(second.id).status is JobStatus.QUEUED
    held.robot.run(first.id)
    assert held.prompts == ["one"]


def test_a_turn_after_a_finished_one_is_queued_at_once(held: Bench) -> None:
    first = held.submit("one")
    held.robot.run(held.queue.take())
    second = held.submit("two", first.conversation_id)
    assert held.queue.take() == second.id


def test_a_crash_between_the_end_and_the_next_turn_is_repaired_by_redelivery(held: Bench) -> None:
    first = held.submit("one")
    second = held.submit("two", first.conversation_id)
    held.queue.sent.clear()
    claimed = held.robot.jobs.change(first.id, states.claim)
    held.robot.jobs.change(first.id, lambda j, now: states.succeed(j, claimed.attempt, now))
    held.robot.run(first.id)
    assert held.queue.take() == second.id


def test_a_canceled_turn_lets_the_next_one_go(held: Bench) -> None:
    first = held.submit("one")
    second = held.submit("two", first.conversation_id)
    held.queue.sent.clear()
    held.robot.cancel(first.id)
    assert held.queue.take() == second.id


def test_conversations_do_not_wait_for_each_other(held: Bench) -> None:
    jobs_ = [held.submit(message) for message in ("a", "b", "c")]
    assert [job for job, _ in held.queue.sent] == [job.id for job in jobs_]


# --- attempts -------------------------------------------------------------------------------------


def test_a_duplicate_delivery_draws_nothing(held: Bench) -> None:
    job = held.submit("one")
    held.robot.run(job.id)
    assert held.robot.run(job.id).status is JobStatus.SUCCEEDED
    assert len(held.prompts) == 1


def test_a_transient_failure_is_tried_again_later_with_the_same_seed(bench: Bench) -> None:
    bench.art.enqueue([UpstreamUnavailable("away"), UpstreamUnavailable("away")])
    job = bench.robot.chat_text2image("a beach")
    job = bench.robot.jobs.get(job.id, "local")
    assert (job.status, job.attempt, job.error) == (JobStatus.SUCCEEDED, 3, None)
    assert len({body["seed"] for body in bench.art.requests}) == 1


def test_a_permanent_failure_is_not_tried_again(bench: Bench) -> None:
    bench.art.enqueue([UpstreamRejected("no such thing")])
    job = bench.robot.chat_text2image("a beach")
    assert (job.status, job.attempt) == (JobStatus.FAILED, 1)
    assert job.error
    assert (job.error.code, job.error.message) == ("upstream_rejected", "no such thing")


def test_a_failed_job_can_be_run_again_under_the_same_id(bench: Bench) -> None:
    bench.art.enqueue([UpstreamRejected("no")])
    failed = bench.robot.chat_text2image("a beach")
    bench.robot.retry(failed.id)
    again = bench.robot.jobs.get(failed.id, "local")
    assert (again.status, again.error) == (JobStatus.SUCCEEDED, None)
    with pytest.raises(JobNotRetryable):
        bench.robot.retry(failed.id)


def test_attempts_end_with_a_clear_code() -> None:
    bench = Bench(max_attempts=3)
    bench.art.enqueue([UpstreamUnavailable("away")] * 3)
    job = bench.robot.chat_text2image("a beach")
    assert (job.status, job.attempt) == (JobStatus.FAILED, 3)
    assert job.error
    assert (job.error.code, job.error.retryable) == ("upstream_unavailable", True)


def test_a_bug_ends_the_job_where_its_caller_can_read_it() -> None:
    held = Bench(run_at_once=False, max_attempts=2)
    held.words.error = ZeroDivisionError("a secret detail")
    job = held.submit("a beach")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            held.robot.run(held.queue.take())
        held.clock.advance(10)
    failed = held.robot.jobs.get(job.id, "local")
    assert failed.status is JobStatus.FAILED
    assert failed.error
    assert failed.error.code == "internal_error"
    assert "secret" not in failed.error.message


def test_what_a_store_that_is_away_for_a_moment_has_spoiled_is_tried_again(held: Bench) -> None:
    held.words.error = OSError("the image store is away")
    job = held.submit("a beach")
    with pytest.raises(OSError, match="away"):
        held.robot.run(held.queue.take())
    held.words.error = None
    held.clock.advance(10)
    assert held.robot.run(held.queue.take()).status is JobStatus.SUCCEEDED
    assert held.robot.jobs.get(job.id, "local").error is None


def test_a_wrong_image_is_drawn_again(bench: Bench) -> None:
    def other(body: dict[str, Any]) -> Any:
        return bench.art.drawn({**body, "sampler_name": "Heun"})

    bench.art.enqueue([other])
    job = bench.robot.chat_text2image("a beach", sampler_name="Euler a")
    assert (job.status, job.attempt) == (JobStatus.SUCCEEDED, 2)


def test_an_attempt_that_was_superseded_writes_nothing(held: Bench) -> None:
    job = held.submit("a beach")

    def the_worker_hangs_meanwhile(body: dict[str, Any]) -> Any:
        held.clock.advance(100)
        held.robot.jobs.change(job.id, states.claim)
        return held.art.drawn(body)

    held.art.enqueue([the_worker_hangs_meanwhile])
    with pytest.raises(states.StillRunning):
        held.robot.run(job.id)
    after = held.robot.jobs.get(job.id, "local")
    assert (after.status, after.attempt, after.images) == (JobStatus.RUNNING, 2, [])


def test_a_running_job_is_interrupted_by_a_cancel(
    held: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "INTERVAL", 0.01)
    job = held.submit("a beach")

    def until_interrupted(body: dict[str, Any]) -> Any:
        held.robot.cancel(job.id)
        assert held.art.interrupted.wait(10)
        return held.art.drawn(body)

    held.art.enqueue([until_interrupted])
    after = held.robot.run(job.id)
    assert (after.status, after.images) == (JobStatus.CANCELED, [])


# --- the caller waits -----------------------------------------------------------------------------


def test_text2image_gives_the_finished_job_and_its_image(bench: Bench) -> None:
    job = bench.robot.text2image(Text2ImageRequest(prompt="a beach", steps=5))
    assert (job.status, job.prompt_source) == (JobStatus.SUCCEEDED, "caller")
    stored = bench.robot.images.get(job.images[0].key)
    assert bench.robot.drawing(job).images[0].data == stored
    sent = dict(bench.art.requests[0])
    assert sent.pop("override_settings_restore_afterwards") is False
    assert bench.robot.jobs.get(job.id, "local").effective == sent


def test_image2image_sends_the_image_and_records_a_reference(bench: Bench) -> None:
    from robotchat.images import encode_base64

    first = bench.robot.text2image(Text2ImageRequest(prompt="a cat"))
    cat = encode_base64(bench.robot.images.get(first.images[0].key))
    job = bench.robot.image2image(Image2ImageRequest(prompt="blue", init_images=[cat]))
    assert bench.art.requests[1]["init_images"] == [cat]
    assert job.effective
    assert job.effective["init_images"][0].startswith("robotchat-image:")


def test_the_waiting_caller_gets_the_error_and_the_job_keeps_it(bench: Bench) -> None:
    bench.art.enqueue([UpstreamRejected("no such thing")])
    with pytest.raises(UpstreamRejected, match="no such thing") as error:
        bench.robot.text2image(Text2ImageRequest(prompt="a beach"))
    job = bench.robot.jobs.get(error.value.details["job_id"], "local")
    assert job.status is JobStatus.FAILED


def test_a_transient_failure_is_hidden_from_the_waiting_caller(bench: Bench) -> None:
    bench.art.enqueue([UpstreamUnavailable("away")])
    assert bench.robot.text2image(Text2ImageRequest(prompt="x")).attempt == 2


def test_the_waiting_caller_is_told_when_time_is_up(bench: Bench) -> None:
    bench.art.enqueue([UpstreamUnavailable("away")])
    with pytest.raises(UpstreamUnavailable):
        bench.robot.text2image(
            Text2ImageRequest(prompt="x"), context=RunContext(time_left=lambda: 5.0)
        )
    (job,), _ = bench.robot.jobs.of_tenant("local")
    assert job.status is JobStatus.FAILED


# --- idempotency ----------------------------------------------------------------------------------


def same_key(bench: Bench) -> Callable[[str], Job]:
    def send(message: str) -> Job:
        return bench.robot.submit_chat_image(
            ChatImageRequest(message=message), idempotency_key="key-1"
        )

    return send


def test_the_same_key_and_request_give_the_same_job_and_one_image(bench: Bench) -> None:
    send = same_key(bench)
    first, again = send("a beach"), send("a beach")
    assert first.id == again.id
    assert len(bench.prompts) == 1
    assert bench.robot.conversations.get(first.conversation_id or "", "local").turns == 1


def test_the_same_key_for_another_request_is_refused(bench: Bench) -> None:
    send = same_key(bench)
    send("a beach")
    with pytest.raises(IdempotencyKeyReused):
        send("a castle")


def test_a_repeated_request_queues_what_a_crash_left_unqueued(held: Bench) -> None:
    send = same_key(held)
    first = send("a beach")
    held.queue.sent.clear()
    send("a beach")
    assert held.queue.take() == first.id


def test_a_waiting_callers_repetition_gives_the_first_image(bench: Bench) -> None:
    request = Text2ImageRequest(prompt="a beach")
    first = bench.robot.text2image(request, idempotency_key="k")
    again = bench.robot.text2image(request, idempotency_key="k")
    assert (first.id, first.images) == (again.id, again.images)
    assert len(bench.prompts) == 1


def test_an_edit_is_not_the_same_as_a_turn(bench: Bench) -> None:
    first = bench.robot.chat_text2image("a cat")
    edit = ChatEditRequest(message="blue", conversation_id=first.conversation_id)
    bench.robot.submit_chat_image(edit, idempotency_key="k")
    turn = ChatImageRequest(message="blue", conversation_id=first.conversation_id)
    with pytest.raises(IdempotencyKeyReused):
        bench.robot.submit_chat_image(turn, idempotency_key="k")


# --- what else may go wrong -----------------------------------------------------------------------


def test_a_repeated_request_gives_its_job_even_when_it_would_be_refused_today(held: Bench) -> None:
    settings = {"override_settings": {"sd_model_checkpoint": "fake.safetensors"}}
    request = ChatImageRequest(message="a beach", settings=settings)
    first = held.robot.submit_chat_image(request, idempotency_key="k")
    held.art.answers["sdapi/v1/sd-models"] = []
    assert held.robot.submit_chat_image(request, idempotency_key="k").id == first.id


def test_a_turn_canceled_before_its_turn_does_not_let_the_next_one_overtake(held: Bench) -> None:
    first = held.submit("one")
    second = held.submit("two", first.conversation_id)
    third = held.submit("three", first.conversation_id)
    held.queue.sent.clear()
    held.robot.cancel(second.id)
    assert held.queue.sent == [], "the third still waits for the first"
    fourth = held.submit("four", first.conversation_id)
    held.robot.run(first.id)
    assert held.queue.take() == third.id
    held.robot.run(third.id)
    assert held.queue.take() == fourth.id


def test_a_turn_after_a_canceled_one_waits_for_the_turn_before_that(held: Bench) -> None:
    first = held.submit("one")
    second = held.submit("two", first.conversation_id)
    held.robot.cancel(second.id)
    third = held.submit("three", first.conversation_id)
    assert (third.reason, third.predecessor) == ("waiting_for_turn", first.id)
    held.queue.sent.clear()
    held.robot.run(first.id)
    assert held.queue.take() == third.id


def test_a_waiting_callers_repetition_runs_a_job_again_that_failed_for_a_while(
    bench: Bench,
) -> None:
    request = Text2ImageRequest(prompt="a beach")
    bench.art.enqueue([UpstreamUnavailable("away")] * 5)
    with pytest.raises(UpstreamUnavailable):
        bench.robot.text2image(request, idempotency_key="k")
    bench.clock.advance(120)
    assert bench.robot.text2image(request, idempotency_key="k").status is JobStatus.SUCCEEDED


def test_a_job_that_was_waited_for_is_retried_by_the_queue(held: Bench) -> None:
    held.art.enqueue([UpstreamRejected("no")])
    with pytest.raises(UpstreamRejected) as error:
        held.robot.text2image(Text2ImageRequest(prompt="a beach"))
    job_id = error.value.details["job_id"]
    held.robot.retry(job_id)
    held.art.enqueue([UpstreamUnavailable("away")])
    assert held.robot.run(held.queue.take()).reason == "backing_off"
    assert held.queue.take() == job_id, "nobody else would run it"


def test_an_image_that_another_holder_may_have_interrupted_is_drawn_again(held: Bench) -> None:
    job = held.submit("a beach")

    def the_lease_runs_out_meanwhile(body: dict[str, Any]) -> Any:
        held.clock.advance(40)
        with held.robot.hosts.lease(patience=0):
            return held.art.drawn(body)

    held.art.enqueue([the_lease_runs_out_meanwhile])
    after = held.robot.run(job.id)
    assert (after.status, after.reason, after.images) == (JobStatus.QUEUED, "backing_off", [])


def test_a_checkpoint_that_has_gone_since_is_waited_for(held: Bench) -> None:
    settings = {"override_settings": {"sd_model_checkpoint": "fake.safetensors"}}
    job = held.submit("a beach", settings=settings)
    other = FakeArt(checkpoints=["other.safetensors"])
    held.art.answers["sdapi/v1/sd-models"] = other.answers["sdapi/v1/sd-models"]
    fresh = Robot(
        art=held.art,
        writer=held.words,  # type: ignore[arg-type]
        records=held.robot.records,
        images=held.robot.images,
        queue=held.queue,
        clock=held.clock,
    )
    after = fresh.run(job.id)
    assert (after.status, after.attempt, after.reason) == (
        JobStatus.QUEUED,
        0,
        "no_host_has_model",
    )
    held.clock.advance(1000)
    assert fresh.run(job.id).status is JobStatus.FAILED


def test_another_attempts_image_cannot_take_the_place_of_the_finished_jobs(held: Bench) -> None:
    job = held.submit("a beach")
    done = held.robot.run(job.id)
    kept = held.robot.images.get(done.images[0].key)
    other = held.art.drawn({**held.art.requests[0], "seed": 7})
    image = held.robot.drawing(done).images[0]
    late = dataclasses.replace(image, data=decode_base64(other["images"][0]))
    held.robot._runner._store(done, [late], "")
    assert held.robot.images.get(done.images[0].key) == kept


# --- the sweeper ----------------------------------------------------------------------------------


def test_the_sweeper_does_not_take_a_long_queue_for_a_loss(held: Bench) -> None:
    job = held.submit("a beach")
    held.clock.advance(600)
    held.queue.waiting = 1
    assert held.robot.sweeper.sweep() == []
    held.clock.advance(3600)
    assert [found.id for found in held.robot.sweeper.sweep()] == [job.id], "lost for certain"
    held.clock.advance(600)
    held.queue.waiting = 0
    assert len(held.robot.sweeper.sweep()) == 1
    assert held.robot.sweeper.sweep() == [], "it is given time"


def test_one_job_that_cannot_be_repaired_does_not_keep_others_from_it(held: Bench) -> None:
    broken, job = held.submit("one"), held.submit("two")
    record = held.robot.records.get(f"job#{broken.id}", "job")
    assert record
    odd = dataclasses.replace(record, data={**record.data, "status": "odd"})
    held.robot.records.commit(Put(odd))
    held.clock.advance(600)
    assert [found.id for found in held.robot.sweeper.sweep()] == [job.id]


def test_many_turns_that_rightly_wait_do_not_hide_a_lost_one(held: Bench) -> None:
    first = held.submit("one")
    for number in range(120):
        held.submit(f"turn {number}", first.conversation_id)
    lost = held.submit("another conversation")
    held.robot.jobs.change(first.id, states.claim)
    held.clock.advance(599)
    held.robot.jobs.change(first.id, lambda j, now: states.update(j, 1, now))
    held.clock.advance(1)
    assert [found.id for found in held.robot.sweeper.sweep()] == [lost.id]


def test_what_was_drawn_on_a_host_that_another_had_meanwhile_is_drawn_again(bench: Bench) -> None:
    draw = bench.art.txt2img
    taken: list[str] = []

    def overtaken(body: Mapping[str, Any], *, timeout: float | None = None) -> dict[str, Any]:
        answer = draw(body, timeout=timeout)
        if not taken:
            bench.clock.sleep(bench.robot.settings.lease_ttl + 1)
            with bench.robot.hosts.lease(patience=0) as other:
                taken.append(other.host.name)
        return answer

    bench.art.txt2img = overtaken  # type: ignore[method-assign]
    job = bench.robot.chat_text2image("a beach")
    assert taken
    assert (job.status, job.attempt) == (JobStatus.SUCCEEDED, 2)
    assert len(bench.prompts) == 2
