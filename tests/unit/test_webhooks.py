"""Webhooks: signed, tried again, never twice in parallel, and only to whom they may go."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from robotchat.clock import SystemClock
from robotchat.errors import ForbiddenUrl, LimitExceeded, NotFound
from robotchat.events.delivery import Delivery, DeliveryState, DeliveryView
from robotchat.events.event import Event
from robotchat.events.tenant_webhook import MOST_SECRETS, WebhookView
from robotchat.events.webhooks import (
    ATTEMPTS_KEPT,
    LONGEST_WISH,
    PERSISTENCE,
    RETRY_BASE,
    RETRY_CAP,
    Webhooks,
)
from robotchat.jobs.job import Job, JobKind, JobStatus, WebhookTarget
from robotchat.records import MemoryRecords
from tests.cases import hostile
from tests.cases.clock import FakeClock

URL = "https://hooks.example.com/jobs?token=hush"
TARGET = WebhookTarget(url=URL)


class HeldQueue:
    """A queue that keeps its messages until the test hands them out."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, int, float]] = []

    def send(self, delivery: Delivery, *, delay: float = 0.0) -> None:
        self.messages.append((delivery.id, delivery.version, delay))


class Receiver:
    """A caller's server: answers as it is told, and keeps what it got."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.answers: list[httpx.Response | Exception] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.meanwhile()
        answer = self.answers.pop(0) if self.answers else httpx.Response(204)
        if isinstance(answer, Exception):
            raise answer
        return answer


class World:
    """Webhooks over memory, a held queue and a receiver; ``webhooks`` is what is tested."""

    def __init__(self, *, clock: Any = None) -> None:
        self.clock = clock or FakeClock()
        self.queue = HeldQueue()
        self.receiver = Receiver()
        self.records = MemoryRecords()
        self.bounds: list[float] = []
        self.webhooks = Webhooks(
            self.records,
            self.clock,
            self.queue,
            client=lambda _: httpx.Client(transport=httpx.MockTransport(self.receiver)),
            jitter=self._longest,
        )

    def _longest(self, bound: float) -> float:
        self.bounds.append(bound)
        return bound

    def event(self, job_id: str = "job_1") -> Event:
        now = FakeClock().now()
        job = Job(
            id=job_id,
            kind=JobKind.TEXT2IMAGE,
            tenant="acme",
            status=JobStatus.SUCCEEDED,
            created_at=now,
            finished_at=now,
            expires_at=now + timedelta(days=7),
        )
        return Event.of(job)

    def publish(self, target: WebhookTarget | None = TARGET, job_id: str = "job_1") -> Delivery:
        delivery = self.webhooks.publish(self.event(job_id), "acme", target)
        assert delivery is not None
        return delivery

    def hand_out(self, *, again: bool = False) -> Delivery | None:
        """Wait for the next message of the queue and handle it."""
        delivery_id, version, delay = self.queue.messages.pop(0)
        if delay:
            self.clock.advance(delay)
        return self.webhooks.deliver(delivery_id, version, again=again)

    def hand_out_all(self, *, at_most: int = 100) -> None:
        while self.queue.messages and at_most:
            self.hand_out()
            at_most -= 1
        assert not self.queue.messages

    def one(self) -> Delivery:
        found, _ = self.webhooks.of_tenant("acme")
        assert len(found) == 1
        return found[0]


@pytest.fixture
def world() -> World:
    return World()


def test_a_receiver_can_verify_what_it_gets_with_the_public_library() -> None:
    world = World(clock=SystemClock())
    secret = world.webhooks.secret("acme").secret
    world.publish()
    world.hand_out()
    (request,) = world.receiver.requests
    said = Webhook(secret).verify(request.content, dict(request.headers))
    assert said["type"] == "job.succeeded"
    assert said["id"] == request.headers["webhook-id"]
    assert said["data"]["links"]["self"] == "/v1/jobs/job_1"
    assert request.headers["content-type"] == "application/json"
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(request.content + b" ", dict(request.headers))


def test_a_2xx_ends_a_delivery(world: World) -> None:
    world.publish()
    delivery = world.hand_out()
    assert delivery is not None
    assert delivery.state is DeliveryState.DELIVERED
    assert [attempt.status for attempt in delivery.attempts] == [204]
    assert delivery.next_attempt_at is None
    assert world.queue.messages == []


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        (httpx.Response(500), 500, None),
        (httpx.Response(404), 404, None),
        (httpx.Response(302, headers={"location": "https://169.254.169.254/"}), 302, None),
        (httpx.ConnectError("refused"), None, "connect_failed"),
        (httpx.ReadTimeout("slow"), None, "timeout"),
        (httpx.RemoteProtocolError("garbage"), None, "broken_connection"),
    ],
)
def test_anything_but_a_2xx_is_tried_again_as_the_same_event(
    world: World, answer: httpx.Response | Exception, status: int | None, error: str | None
) -> None:
    world.receiver.answers = [answer]
    world.publish()
    delivery = world.hand_out()
    assert delivery is not None
    assert delivery.state is DeliveryState.PENDING
    assert [(a.status, a.error) for a in delivery.attempts] == [(status, error)]
    world.hand_out_all()
    assert world.one().state is DeliveryState.DELIVERED
    first, second = world.receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.content == second.content
    assert first.headers["webhook-timestamp"] != second.headers["webhook-timestamp"]
    # A redirect was not followed.
    assert {str(request.url) for request in world.receiver.requests} == {URL}


def test_waits_double_up_to_a_cap_and_end_after_a_day(world: World) -> None:
    world.receiver.answers = [httpx.Response(500) for _ in range(100)]
    begun = world.clock.now()
    world.publish()
    world.hand_out_all()
    delivery = world.one()
    assert delivery.state is DeliveryState.FAILED
    assert world.bounds[:4] == [RETRY_BASE, RETRY_BASE * 2, RETRY_BASE * 4, RETRY_BASE * 8]
    assert world.bounds[-1] == RETRY_CAP
    assert delivery.attempt_count == len(world.receiver.requests)
    last = delivery.attempts[-1].at - begun
    assert PERSISTENCE - timedelta(seconds=RETRY_CAP) < last <= PERSISTENCE


def test_only_the_last_attempts_are_kept(world: World) -> None:
    world.receiver.answers = [
        httpx.Response(503, headers={"retry-after": "1"}) for _ in range(ATTEMPTS_KEPT + 5)
    ]
    world.webhooks._jitter = lambda _: 1.0
    world.publish()
    world.hand_out_all()
    delivery = world.one()
    assert delivery.attempt_count == ATTEMPTS_KEPT + 6
    assert len(delivery.attempts) == ATTEMPTS_KEPT
    assert delivery.attempts[-1].status == 204


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured_as_seconds_and_as_a_date(world: World, status: int) -> None:
    date = format_datetime(world.clock.now() + timedelta(seconds=700), usegmt=True)
    world.receiver.answers = [
        httpx.Response(status, headers={"retry-after": "600"}),
        httpx.Response(status, headers={"retry-after": date}),
        httpx.Response(status, headers={"retry-after": "soon"}),
    ]
    world.publish()
    world.hand_out()
    assert world.queue.messages[0][2] == 600
    world.hand_out()
    assert world.queue.messages[0][2] == 100
    world.hand_out()
    assert world.queue.messages[0][2] == RETRY_BASE * 4


@pytest.mark.parametrize("wish", hostile.RETRY_AFTER)
def test_an_attempt_is_written_down_whatever_retry_after_says(world: World, wish: str) -> None:
    world.receiver.answers = [httpx.Response(503, headers={b"retry-after": wish.encode()})]
    world.publish()
    world.hand_out()
    delivery = world.one()
    assert (delivery.attempt_count, delivery.state) == (1, DeliveryState.PENDING)
    assert 0 < world.queue.messages[0][2] <= LONGEST_WISH


@pytest.mark.parametrize(
    "trouble", [RuntimeError("?"), RecursionError(), OverflowError(), OSError()]
)
def test_an_attempt_is_written_down_whatever_goes_wrong(world: World, trouble: Exception) -> None:
    world.receiver.answers = [trouble]
    world.publish()
    world.hand_out()
    delivery = world.one()
    assert [attempt.error for attempt in delivery.attempts] == ["unforeseen"]
    assert len(world.queue.messages) == 1, "and the next one is planned"


def test_retry_after_of_other_answers_is_not_heeded(world: World) -> None:
    world.receiver.answers = [httpx.Response(500, headers={"retry-after": "600"})]
    world.publish()
    world.hand_out()
    assert world.queue.messages[0][2] == RETRY_BASE


def test_a_message_that_comes_before_its_time_only_sends_the_rest_of_the_wait(
    world: World,
) -> None:
    world.receiver.answers = [httpx.Response(503, headers={"retry-after": "3000"})]
    world.publish()
    world.hand_out()
    delivery_id, version, delay = world.queue.messages.pop()
    assert delay == 3000
    world.clock.advance(900)  # as long as a queue can hold a message back
    world.webhooks.deliver(delivery_id, version)
    assert len(world.receiver.requests) == 1
    assert world.queue.messages == [(delivery_id, version, 2100)]


def test_410_disables_the_url_for_the_tenant_and_everything_on_its_way_there(
    world: World,
) -> None:
    world.publish(job_id="job_1")
    world.publish(job_id="job_2")
    world.receiver.answers = [httpx.Response(410)]
    world.hand_out_all()
    assert len(world.receiver.requests) == 1
    deliveries, _ = world.webhooks.of_tenant("acme")
    assert {delivery.state for delivery in deliveries} == {DeliveryState.DISABLED}
    view = WebhookView.of(world.webhooks.settled("acme"))
    assert [gone.url for gone in view.disabled] == ["https://hooks.example.com/jobs"]
    # Another tenant's webhook at the same URL is another matter.
    assert world.webhooks.publish(world.event(), "other", TARGET)
    world.hand_out()
    assert len(world.receiver.requests) == 2


def test_a_disabled_url_is_enabled_by_setting_it_anew(world: World) -> None:
    world.receiver.answers = [httpx.Response(410)]
    world.publish()
    world.hand_out()
    world.webhooks.set_target("acme", TARGET)
    world.publish(job_id="job_2")
    assert (delivered := world.hand_out())
    assert delivered.state is DeliveryState.DELIVERED


def test_asking_for_a_disabled_delivery_tries_it_and_its_success_enables_the_url(
    world: World,
) -> None:
    world.receiver.answers = [httpx.Response(410)]
    delivery = world.publish()
    world.hand_out()
    world.webhooks.redeliver(delivery.id, "acme")
    world.hand_out()
    assert world.one().state is DeliveryState.DELIVERED
    assert world.webhooks.settled("acme").disabled == []


def test_redelivery_sends_the_same_event_again_whatever_became_of_it(world: World) -> None:
    delivery = world.publish()
    world.hand_out()
    again = world.webhooks.redeliver(delivery.id, "acme")
    assert again.state is DeliveryState.PENDING
    world.hand_out()
    first, second = world.receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.content == second.content
    assert world.one().attempt_count == 2


def test_redelivery_of_a_waiting_delivery_takes_the_place_of_its_next_attempt(
    world: World,
) -> None:
    world.receiver.answers = [httpx.Response(500)]
    delivery = world.publish()
    world.hand_out()
    world.webhooks.redeliver(delivery.id, "acme")
    waiting, asked_for = world.queue.messages
    world.webhooks.deliver(asked_for[0], asked_for[1])
    world.clock.advance(60)
    world.webhooks.deliver(waiting[0], waiting[1])
    assert len(world.receiver.requests) == 2


def test_another_tenants_delivery_is_not_found(world: World) -> None:
    delivery = world.publish()
    with pytest.raises(NotFound):
        world.webhooks.redeliver(delivery.id, "other")
    with pytest.raises(NotFound):
        world.webhooks.get(delivery.id, "other")
    assert world.webhooks.of_tenant("other") == ([], None)


def test_publishing_twice_makes_one_delivery(world: World) -> None:
    world.publish()
    world.publish()
    world.hand_out_all()
    assert len(world.receiver.requests) == 1
    assert world.one().attempt_count == 1


def test_publishing_again_queues_what_was_stored_but_never_queued(world: World) -> None:
    world.publish()
    world.queue.messages.clear()  # whoever published it died just before
    world.publish()
    world.hand_out_all()
    assert world.one().state is DeliveryState.DELIVERED


def test_a_repeated_message_leads_to_no_second_chain_of_attempts(world: World) -> None:
    world.receiver.answers = [httpx.Response(500), httpx.Response(500)]
    world.publish()
    world.queue.messages *= 2
    world.hand_out()
    world.hand_out()
    assert len(world.receiver.requests) == 1
    assert len(world.queue.messages) == 1


def test_of_two_who_make_the_same_attempt_at_once_one_goes_on(world: World) -> None:
    world.receiver.answers = [httpx.Response(500), httpx.Response(500)]
    delivery = world.publish()

    def meanwhile() -> None:
        world.receiver.meanwhile = lambda: None
        world.webhooks.deliver(delivery.id, delivery.version)

    world.receiver.meanwhile = meanwhile
    assert world.hand_out() is None
    assert len(world.receiver.requests) == 2
    assert world.one().attempt_count == 1
    assert len(world.queue.messages) == 1


def test_an_attempt_whose_maker_died_before_queueing_the_next_is_followed_up(
    world: World,
) -> None:
    world.receiver.answers = [httpx.Response(500)]
    delivery = world.publish()
    message = world.queue.messages[0]
    world.hand_out()
    world.queue.messages.clear()  # it died before this was sent, and its message came back
    world.webhooks.deliver(message[0], message[1], again=True)
    world.hand_out_all()
    assert world.one().state is DeliveryState.DELIVERED
    assert world.one().id == delivery.id


def test_a_message_of_a_delivery_that_is_done_or_gone_does_nothing(world: World) -> None:
    delivery = world.publish()
    world.hand_out()
    assert world.webhooks.deliver(delivery.id, delivery.version, again=True) is None
    assert world.webhooks.deliver("dlv_unknown", 1) is None
    assert len(world.receiver.requests) == 1


def test_a_delivery_whose_message_was_lost_is_found_and_queued_once(world: World) -> None:
    world.receiver.answers = [httpx.Response(500)]
    world.publish()
    world.hand_out()
    (late,) = world.queue.messages
    world.queue.messages.clear()
    assert world.webhooks.requeue_overdue() == 0
    world.clock.advance(3600)
    assert world.webhooks.requeue_overdue() == 1
    assert world.webhooks.requeue_overdue() == 0
    # If it was late and not lost, it is not acted upon any more.
    assert world.webhooks.deliver(late[0], late[1]) is None
    world.hand_out_all()
    assert world.one().state is DeliveryState.DELIVERED


def test_an_inner_address_behind_a_name_ends_a_delivery_at_once(world: World) -> None:
    world.receiver.answers = [ForbiddenUrl("its host is not a public one")]
    world.publish()
    delivery = world.hand_out()
    assert delivery is not None
    assert delivery.state is DeliveryState.FAILED
    assert delivery.attempts[0].error == "forbidden_url"
    assert world.queue.messages == []


def test_a_name_that_no_resolver_may_be_asked_for_ends_a_delivery_at_once(world: World) -> None:
    world.publish(WebhookTarget(url="https://xn--a.com/"))
    delivery = world.hand_out()
    assert delivery is not None
    assert delivery.state is DeliveryState.FAILED
    assert delivery.attempts[0].error == "invalid_url"


def test_a_stored_url_is_checked_again_before_it_is_called(world: World) -> None:
    world.publish(WebhookTarget(url="http://127.0.0.1:9/"))
    delivery = world.hand_out()
    assert delivery is not None
    assert delivery.attempts[0].error == "forbidden_url"
    assert world.receiver.requests == []


def test_events_that_nobody_asked_for_are_not_delivered(world: World) -> None:
    assert world.webhooks.publish(world.event(), "acme", None) is None
    only = WebhookTarget(url=URL, events=["job.failed"])
    assert world.webhooks.publish(world.event(), "acme", only) is None
    assert world.queue.messages == []


def test_the_tenants_own_webhook_stands_in_for_requests_that_name_none(world: World) -> None:
    own = WebhookTarget(url="https://own.example.com/", events=["job.succeeded"])
    world.webhooks.set_target("acme", own)
    world.publish(None, job_id="job_1")
    world.publish(TARGET, job_id="job_2")
    world.hand_out_all()
    assert [str(r.url) for r in world.receiver.requests] == [own.url, URL]
    world.webhooks.set_target("acme", None)
    assert world.webhooks.publish(world.event("job_3"), "acme", None) is None


def test_a_tenants_own_webhook_must_be_a_public_https_url(world: World) -> None:
    with pytest.raises(ForbiddenUrl) as refused:
        world.webhooks.set_target("acme", WebhookTarget(url="http://10.0.0.1/"))
    assert refused.value.param == "url"


def test_two_secrets_sign_while_receivers_are_moved_from_one_to_the_other() -> None:
    world = World(clock=SystemClock())
    old = world.webhooks.secret("acme").secret
    rotated = world.webhooks.rotate_secret("acme")
    assert rotated.secret != old
    assert rotated.previous_valid_until is not None
    world.publish()
    world.hand_out()
    (request,) = world.receiver.requests
    for secret in (old, rotated.secret):
        assert Webhook(secret).verify(request.content, dict(request.headers))


def test_a_replaced_secret_stops_signing_after_a_day(world: World) -> None:
    world.webhooks.secret("acme")
    world.webhooks.rotate_secret("acme")
    world.publish(job_id="job_1")
    world.hand_out()
    world.clock.advance(24 * 3600)
    assert world.webhooks.secret("acme").previous_valid_until is None
    world.publish(job_id="job_2")
    world.hand_out()
    counts = [len(r.headers["webhook-signature"].split()) for r in world.receiver.requests]
    assert counts == [2, 1]


def test_every_replaced_secret_signs_for_the_day_that_it_was_promised() -> None:
    world = World(clock=SystemClock())
    held = [world.webhooks.secret("acme").secret]
    held += [world.webhooks.rotate_secret("acme").secret for _ in range(5)]
    world.publish()
    world.hand_out()
    (request,) = world.receiver.requests
    for secret in held:
        assert Webhook(secret).verify(request.content, dict(request.headers))


def test_a_replaced_secret_keeps_its_end_when_its_successor_is_replaced(world: World) -> None:
    signing = []
    world.webhooks.secret("acme")
    for hours in (0, 10, 10, 10):
        world.clock.advance(hours * 3600)
        world.webhooks.rotate_secret("acme")
        settled = world.webhooks.settled("acme")
        signing.append(len(settled.signing(world.clock.now())))
    assert signing == [2, 3, 4, 4], "the first has ended a day after its first rotation"


def test_a_rotation_that_is_repeated_with_its_key_is_one(world: World) -> None:
    first = world.webhooks.secret("acme").secret
    made = world.webhooks.rotate_secret("acme", idempotency_key="k")
    assert world.webhooks.rotate_secret("acme", idempotency_key="k") == made
    assert world.webhooks.secret("acme") == made
    later = world.webhooks.rotate_secret("acme", idempotency_key="other")
    assert len({first, made.secret, later.secret}) == 3
    assert world.webhooks.rotate_secret("acme", idempotency_key="k") == made
    assert world.webhooks.secret("acme").secret == later.secret
    assert world.webhooks.rotate_secret("other", idempotency_key="k").secret != made.secret


def test_no_more_secrets_sign_than_a_request_has_room_for(world: World) -> None:
    world.webhooks.secret("acme")
    for _ in range(MOST_SECRETS - 1):
        world.clock.advance(60)
        world.webhooks.rotate_secret("acme")
    with pytest.raises(LimitExceeded) as refused:
        world.webhooks.rotate_secret("acme")
    assert refused.value.retry_after is not None
    world.clock.advance(refused.value.retry_after)
    assert world.webhooks.rotate_secret("acme")


def test_a_secret_is_made_once_and_belongs_to_one_tenant(world: World) -> None:
    mine = world.webhooks.secret("acme").secret
    assert mine == world.webhooks.secret("acme").secret
    assert mine.startswith("whsec_")
    assert mine != world.webhooks.secret("other").secret


def test_deliveries_are_listed_newest_first_and_filtered(world: World) -> None:
    for number in range(3):
        world.publish(job_id=f"job_{number}")
        world.clock.advance(1)
    world.hand_out()
    page, cursor = world.webhooks.of_tenant("acme", limit=2)
    assert [delivery.job_id for delivery in page] == ["job_2", "job_1"]
    rest, end = world.webhooks.of_tenant("acme", limit=2, cursor=cursor)
    assert [delivery.job_id for delivery in rest] == ["job_0"]
    assert end is None
    done, _ = world.webhooks.of_tenant("acme", state=DeliveryState.DELIVERED)
    assert [delivery.job_id for delivery in done] == ["job_0"]
    of_job, _ = world.webhooks.of_tenant("acme", job_id="job_1")
    assert [delivery.job_id for delivery in of_job] == ["job_1"]


def test_neither_views_nor_logs_show_a_urls_query_or_what_was_sent(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "robotchat")
    world.publish()
    delivery = world.hand_out()
    assert delivery is not None
    view = json.dumps(DeliveryView.of(delivery).model_dump(mode="json"))
    assert '"url": "https://hooks.example.com/jobs"' in view
    logged = "".join(str(vars(record)) for record in caplog.records if record.name != "httpx")
    assert "hooks.example.com" in logged
    for text in (view, logged):
        assert "hush" not in text
        assert "whsec" not in text
    assert delivery.body not in logged
