"""Webhooks: telling a caller's server that a job has ended, until it has heard it.

    publish ──> a delivery, stored and queued ──> deliver: a signed POST
                        ^                              |  2xx: delivered
                        |                              |  410: disabled, with every other one
                        +── queued again, later  <─────+  anything else: again, for 24 hours

A delivery is a record: what is sent, where to, and how each attempt went. The queue carries only
its id and the version that the message is for. An attempt counts the version up, so that of two
messages for the same attempt only one leads to a next one, however often a queue repeats itself.

Requests are signed as Standard Webhooks (https://www.standardwebhooks.com) has it, with every
secret of the tenant that is valid at that moment.
"""

from __future__ import annotations

import logging
import random
import secrets
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from robotchat.clock import Clock, rfc3339
from robotchat.errors import ForbiddenUrl, NotFound
from robotchat.events.event import Event
from robotchat.ids import id_for_key
from robotchat.jobs.job import EventType, WebhookTarget
from robotchat.net.addresses import check_url, is_loopback
from robotchat.records import Put, Record, Records, Retries, Stale

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger(__name__)

TIMEOUT = 15.0
"""Seconds that a receiver has for its answer."""

PERSISTENCE = timedelta(hours=24)
"""How long a delivery is tried again, from when it was made or asked for anew."""

RETRY_BASE = 5.0
"""Seconds that the first wait may last at most; the bound doubles with each attempt."""

RETRY_CAP = 3 * 3600.0
"""Seconds that a wait lasts at most, unless the receiver asks for more."""

OVERLAP = timedelta(hours=24)
"""How long a replaced secret goes on signing beside its successor."""

LOG_RETENTION = timedelta(days=7)
"""How long a delivery is remembered after its last change."""

ATTEMPTS_KEPT = 20
DISABLED_KEPT = 100


class DeliveryState(StrEnum):
    """Where a delivery stands. ``disabled``: the receiver said that it is gone."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    DISABLED = "disabled"


AttemptError = Literal[
    "timeout", "connect_failed", "broken_connection", "forbidden_url", "invalid_url"
]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class Attempt(_Model):
    """One request to the receiver, and what came of it."""

    at: datetime
    status: int | None = Field(default=None, description="The receiver's status, if it answered.")
    error: AttemptError | None = Field(default=None, description="Why there is no status.")
    duration_ms: int = Field(description="Milliseconds until the answer, or until giving up.")


class Delivery(_Model):
    """The record of a delivery: one event on its way to one URL."""

    id: str
    tenant: str
    event_id: str
    type: EventType
    job_id: str
    url: str
    body: str
    """What is sent, to the letter: a signature covers it."""
    state: DeliveryState = DeliveryState.PENDING
    attempts: list[Attempt] = Field(default_factory=list)
    """The last ones."""
    attempt_count: int = 0
    tries: int = 0
    """Attempts since the delivery was made or asked for anew: what the backoff counts."""
    asked_for: bool = False
    """The tenant asked for it: it goes out although its URL may be disabled."""
    created_at: datetime
    deadline: datetime
    next_attempt_at: datetime | None
    version: int = 0


class Secret(_Model):
    """A signing secret; ``until`` is when a replaced one stops signing."""

    value: str
    until: datetime | None = None


class Disabled(_Model):
    """A URL that answered 410 Gone."""

    url: str
    at: datetime


class TenantWebhook(_Model):
    """What a tenant has settled about webhooks."""

    tenant: str
    target: WebhookTarget | None = None
    """Where jobs are told whose requests name no webhook."""
    secrets: list[Secret] = Field(default_factory=list)
    """The present one first."""
    disabled: list[Disabled] = Field(default_factory=list)
    version: int = 0

    def is_disabled(self, url: str) -> bool:
        return any(gone.url == url for gone in self.disabled)

    def signing(self, now: datetime) -> list[str]:
        """The secrets that sign at this moment."""
        return [s.value for s in self.secrets if s.until is None or now < s.until]


# --- what callers see -----------------------------------------------------------------------------


class DeliveryView(_Model):
    """A delivery as its tenant sees it."""

    id: str = Field(examples=["dlv_mfzwcylcmfrgg43bmzsw4y3ejm"])
    object: Literal["webhook_delivery"] = "webhook_delivery"
    event_id: str = Field(
        description="The `webhook-id` header: the same at every attempt.",
        examples=["evt_mfzwcylcmfrgg43bmzsw4y3ejm"],
    )
    type: EventType
    job_id: str
    url: str = Field(description="Without its query, which may hold a secret.")
    state: DeliveryState
    attempts: list[Attempt] = Field(description="The last 20, oldest first.")
    attempt_count: int
    created_at: datetime
    next_attempt_at: datetime | None

    @classmethod
    def of(cls, delivery: Delivery) -> DeliveryView:
        shown = delivery.model_dump(include=set(cls.model_fields) - {"url", "object"})
        return cls(**shown, url=without_query(delivery.url))


class DeliveryList(_Model):
    """A page of deliveries, newest first."""

    object: Literal["list"] = "list"
    data: list[DeliveryView]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page.")


class DisabledUrl(_Model):
    """A URL to which nothing is sent any more, since it answered 410."""

    url: str = Field(description="Without its query.")
    disabled_at: datetime


class WebhookView(_Model):
    """The tenant's own webhook."""

    object: Literal["webhook"] = "webhook"
    url: str | None = Field(description="Null: only jobs whose requests name a webhook are told.")
    events: list[EventType] | None = Field(description="Null: all of them.")
    disabled: list[DisabledUrl]

    @classmethod
    def of(cls, settled: TenantWebhook) -> WebhookView:
        return cls(
            url=settled.target.url if settled.target else None,
            events=settled.target.events if settled.target else None,
            disabled=[
                DisabledUrl(url=without_query(gone.url), disabled_at=gone.at)
                for gone in settled.disabled
            ],
        )


class WebhookSettings(BaseModel):
    """Where jobs are to be told whose requests name no webhook."""

    model_config = ConfigDict(extra="forbid")

    url: str | None = Field(
        description="An https URL; null for none.", examples=["https://example.com/hooks/robotchat"]
    )
    events: list[EventType] | None = Field(
        default=None, min_length=1, description="Only these; all of them when left out."
    )

    def target(self) -> WebhookTarget | None:
        """The same as a target."""
        return WebhookTarget(url=self.url, events=self.events) if self.url is not None else None


class WebhookSecret(_Model):
    """What a receiver verifies signatures with."""

    object: Literal["webhook_secret"] = "webhook_secret"
    secret: str = Field(description="Give it to a Standard Webhooks library.")
    previous_valid_until: datetime | None = Field(
        description="Until when requests are also signed with the secret before this one."
    )


def without_query(url: str) -> str:
    """A URL to be shown: what follows its path is left out."""
    return url.partition("#")[0].partition("?")[0]


# --- signing --------------------------------------------------------------------------------------


def new_secret() -> str:
    """An unguessable signing secret, in the form of Standard Webhooks."""
    return "whsec_" + b64encode(secrets.token_bytes(32)).decode()


def signature_headers(
    event_id: str, body: str, now: datetime, signing: Sequence[str]
) -> dict[str, str]:
    """The headers of Standard Webhooks, with one signature for each secret."""
    from standardwebhooks import Webhook

    signatures = [Webhook(secret).sign(event_id, now, body) for secret in signing]
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


# --- delivering -----------------------------------------------------------------------------------


class DeliveryQueue(Protocol):
    """Carries deliveries to whoever makes the attempts, at least once."""

    def send(self, delivery: Delivery, *, delay: float = 0.0) -> None:
        """Have ``Webhooks.deliver`` called with the id and version, after about ``delay`` seconds.

        It may be called sooner: then it sends the rest of the wait.
        """
        ...


class Webhooks:
    """Targets, secrets and deliveries in a document store.

    ``local`` lets webhooks be called on this machine. ``client`` makes an HTTP client for so many
    seconds, and ``jitter`` a wait up to so many; both are there for tests.
    """

    def __init__(
        self,
        records: Records,
        clock: Clock,
        queue: DeliveryQueue,
        *,
        local: bool = False,
        client: Callable[[float], httpx.Client] | None = None,
        jitter: Callable[[float], float] = lambda bound: random.uniform(0, bound),  # noqa: S311
    ) -> None:
        self._records = records
        self._clock = clock
        self._queue = queue
        self._local = local
        self._client = client or self._guarded_client
        self._jitter = jitter

    # What a tenant has settled.

    def settled(self, tenant: str) -> TenantWebhook:
        """The tenant's webhook; its secret is made when it is first asked for."""

        def with_secret(settled: TenantWebhook) -> TenantWebhook:
            if settled.secrets:
                return settled
            return settled.model_copy(update={"secrets": [Secret(value=new_secret())]})

        return self._settle(tenant, with_secret)

    def set_target(self, tenant: str, target: WebhookTarget | None) -> TenantWebhook:
        """Set where jobs are told whose requests name no webhook. A disabled URL is so enabled.

        Raises ForbiddenUrl.
        """
        if target is not None:
            check_url(target.url, allow_http_loopback=self._local, param="url")

        def with_target(settled: TenantWebhook) -> TenantWebhook:
            changed = settled.model_copy(update={"target": target})
            return _enabled(changed, target.url) if target else changed

        return self._settle(tenant, with_target)

    def secret(self, tenant: str) -> WebhookSecret:
        """What the tenant's receivers verify signatures with."""
        return self._secret(self.settled(tenant))

    def rotate_secret(self, tenant: str) -> WebhookSecret:
        """Make a new secret; the one before it goes on signing for 24 hours."""
        until = self._clock.now() + OVERLAP
        fresh = Secret(value=new_secret())

        def rotated(settled: TenantWebhook) -> TenantWebhook:
            replaced = [old.model_copy(update={"until": until}) for old in settled.secrets[:1]]
            return settled.model_copy(update={"secrets": [fresh, *replaced]})

        return self._secret(self._settle(tenant, rotated))

    def _secret(self, settled: TenantWebhook) -> WebhookSecret:
        present, *replaced = settled.secrets
        untils = [old.until for old in replaced if old.until and self._clock.now() < old.until]
        return WebhookSecret(
            secret=present.value, previous_valid_until=untils[0] if untils else None
        )

    def _settle(
        self, tenant: str, change: Callable[[TenantWebhook], TenantWebhook]
    ) -> TenantWebhook:
        retries = Retries()
        while True:
            record = self._records.get(f"webhook#{tenant}", "webhook")
            found = (
                TenantWebhook.model_validate({**record.data, "version": record.version})
                if record
                else TenantWebhook(tenant=tenant)
            )
            changed = change(found)
            if changed == found:
                return found
            data = changed.model_dump(mode="json", exclude={"version"})
            try:
                self._records.commit(
                    Put(Record(f"webhook#{tenant}", "webhook", data, version=found.version))
                )
            except Stale:
                retries.spend()
                continue
            return changed.model_copy(update={"version": found.version + 1})

    # Deliveries.

    def publish(self, event: Event, tenant: str, target: WebhookTarget | None) -> Delivery | None:
        """Have an event told to ``target``, or else to the tenant's own, if there is one.

        Idempotent: the same event to the same URL is one delivery.
        """
        target = target or self._settle(tenant, lambda settled: settled).target
        if target is None or not target.wants(event.type):
            return None
        now = self._clock.now()
        delivery = Delivery(
            id=id_for_key("dlv", tenant, f"{event.id} {target.url}"),
            tenant=tenant,
            event_id=event.id,
            type=event.type,
            job_id=event.data.id,
            url=target.url,
            body=event.json_text(),
            created_at=now,
            deadline=now + PERSISTENCE,
            next_attempt_at=now,
        )
        stored = self._write(delivery)
        if stored is None:
            # Told before; but perhaps whoever did it died before it was queued.
            stored = self.find(delivery.id)
        if stored is not None and stored.state is DeliveryState.PENDING:
            self._send(stored)
        return stored

    def deliver(self, delivery_id: str, version: int, *, again: bool = False) -> Delivery | None:
        """Make the attempt that a message of the queue is for, and queue the next if need be.

        ``again`` says that the message was handed out before, to somebody who may have died at
        any point. Gives the delivery as it is then, or None when there was nothing to do.
        """
        delivery = self.find(delivery_id)
        if delivery is None or delivery.state is not DeliveryState.PENDING:
            return None
        if delivery.version != version:
            # The attempt was made. Whoever made it also queued the next one, unless it died.
            if again:
                self._send(delivery)
            return None
        if delivery.next_attempt_at and self._clock.now() < delivery.next_attempt_at:
            self._send(delivery)
            return delivery
        return self._attempt(delivery)

    def redeliver(self, delivery_id: str, tenant: str) -> Delivery:
        """Send a delivery again, now, whatever became of it: the same event with the same id.

        Raises NotFound, also for another tenant's id.
        """
        while True:
            delivery = self.get(delivery_id, tenant)
            now = self._clock.now()
            changed = delivery.model_copy(
                update={
                    "state": DeliveryState.PENDING,
                    "tries": 0,
                    "asked_for": True,
                    "deadline": now + PERSISTENCE,
                    "next_attempt_at": now,
                }
            )
            stored = self._write(changed)
            if stored is not None:
                self._send(stored)
                return stored

    def find(self, delivery_id: str) -> Delivery | None:
        """The delivery as it is now, whoever it belongs to."""
        record = self._records.get(f"delivery#{delivery_id}", "delivery")
        return _delivery(record) if record else None

    def get(self, delivery_id: str, tenant: str) -> Delivery:
        """The tenant's delivery. Raises NotFound, also for another tenant's id."""
        delivery = self.find(delivery_id)
        if delivery is None or delivery.tenant != tenant:
            raise NotFound("There is no such delivery.", param="delivery_id")
        return delivery

    def of_tenant(
        self,
        tenant: str,
        *,
        job_id: str | None = None,
        state: DeliveryState | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> tuple[list[Delivery], str | None]:
        """A tenant's deliveries, newest first, and the cursor of the next page."""
        asked = {"job": job_id, "state": state}
        labels = {name: str(value) for name, value in asked.items() if value is not None}
        page = self._records.query(
            "owner",
            f"{tenant}#deliveries",
            labels=labels,
            descending=True,
            limit=limit,
            cursor=cursor,
        )
        return [_delivery(record) for record in page.records], page.cursor

    def requeue_overdue(self, *, grace: timedelta = timedelta(minutes=20)) -> int:
        """Queue deliveries whose message was lost, and say how many there were.

        ``grace`` is how late an attempt may be before its message counts as lost. One that was
        only late does no harm: it is for a version that is no longer the present one.
        """
        now = self._clock.now()
        overdue = self._records.query("due", "delivery", up_to=rfc3339(now - grace)).records
        queued = 0
        for delivery in map(_delivery, overdue):
            if delivery.state is not DeliveryState.PENDING:
                continue  # the index lagged behind
            stored = self._write(delivery.model_copy(update={"next_attempt_at": now}))
            if stored is not None:
                self._send(stored)
                queued += 1
        return queued

    def _attempt(self, delivery: Delivery) -> Delivery | None:
        settled = self.settled(delivery.tenant)
        if settled.is_disabled(delivery.url) and not delivery.asked_for:
            changed = _ended(delivery, DeliveryState.DISABLED)
        else:
            attempt, retry_after = self._post(delivery, settled)
            if attempt.status == 410:
                self._settle(delivery.tenant, lambda s: _disabled(s, delivery.url, attempt.at))
            elif _heard(attempt) and settled.is_disabled(delivery.url):
                self._settle(delivery.tenant, lambda s: _enabled(s, delivery.url))
            changed = self._after(delivery, attempt, retry_after)
            logger.info(
                "webhook attempt",
                extra={
                    "delivery_id": delivery.id,
                    "job_id": delivery.job_id,
                    "event_type": delivery.type,
                    "receiver": urlsplit(delivery.url).hostname,
                    "attempt": changed.attempt_count,
                    "answer": attempt.status,
                    "error": attempt.error,
                    "duration_ms": attempt.duration_ms,
                    "state": changed.state,
                },
            )
        stored = self._write(changed)
        if stored is not None and stored.state is DeliveryState.PENDING:
            self._send(stored)
        return stored

    def _after(self, delivery: Delivery, attempt: Attempt, retry_after: float) -> Delivery:
        """What an attempt makes of a delivery."""
        counted = delivery.model_copy(
            update={
                "attempts": [*delivery.attempts, attempt][-ATTEMPTS_KEPT:],
                "attempt_count": delivery.attempt_count + 1,
                "tries": delivery.tries + 1,
            }
        )
        if _heard(attempt):
            return _ended(counted, DeliveryState.DELIVERED)
        if attempt.status == 410:
            return _ended(counted, DeliveryState.DISABLED)
        if attempt.error in ("forbidden_url", "invalid_url"):
            return _ended(counted, DeliveryState.FAILED)
        bound = min(RETRY_BASE * 2.0 ** min(delivery.tries, 30), RETRY_CAP)
        wait = max(self._jitter(bound), retry_after, 1.0)
        following = self._clock.now() + timedelta(seconds=wait)
        if following > counted.deadline:
            return _ended(counted, DeliveryState.FAILED)
        return counted.model_copy(update={"next_attempt_at": following})

    def _post(self, delivery: Delivery, settled: TenantWebhook) -> tuple[Attempt, float]:
        """Send the request. Gives how it went, and for how long the receiver asks to be left."""
        import httpx

        now = self._clock.now()
        headers = {
            "content-type": "application/json",
            **signature_headers(delivery.event_id, delivery.body, now, settled.signing(now)),
        }
        status: int | None = None
        error: AttemptError | None = None
        retry_after = 0.0
        started = time.monotonic()
        try:
            check_url(delivery.url, allow_http_loopback=self._local)
            with (
                self._client(TIMEOUT) as client,
                client.stream(
                    "POST", delivery.url, content=delivery.body.encode(), headers=headers
                ) as response,
            ):
                # The status is all that counts: the body is not read, however long it is.
                status = response.status_code
                if status in (429, 503):
                    retry_after = _seconds(response.headers.get("retry-after"), now)
        except ForbiddenUrl:
            error = "forbidden_url"
        except httpx.TimeoutException:
            error = "timeout"
        except httpx.ConnectError:
            error = "connect_failed"
        except httpx.TransportError:
            error = "broken_connection"
        except (httpx.InvalidURL, UnicodeError):  # UnicodeError: a name that IDNA forbids
            error = "invalid_url"
        duration = round((time.monotonic() - started) * 1000)
        return Attempt(at=now, status=status, error=error, duration_ms=duration), retry_after

    def _write(self, delivery: Delivery) -> Delivery | None:
        """Store a delivery, or give None when somebody else did so since it was read."""
        try:
            self._records.commit(Put(_record(delivery, self._clock.now())))
        except Stale:
            return None
        return delivery.model_copy(update={"version": delivery.version + 1})

    def _send(self, delivery: Delivery) -> None:
        following = delivery.next_attempt_at or self._clock.now()
        wait = (following - self._clock.now()).total_seconds()
        self._queue.send(delivery, delay=max(wait, 0.0))

    def _guarded_client(self, timeout: float) -> httpx.Client:
        from robotchat.net.guarded import guarded_client

        return guarded_client(timeout=timeout, allow=is_loopback if self._local else None)


def _heard(attempt: Attempt) -> bool:
    return attempt.status is not None and 200 <= attempt.status < 300


def _ended(delivery: Delivery, state: DeliveryState) -> Delivery:
    return delivery.model_copy(update={"state": state, "next_attempt_at": None})


def _enabled(settled: TenantWebhook, url: str) -> TenantWebhook:
    kept = [gone for gone in settled.disabled if gone.url != url]
    return settled.model_copy(update={"disabled": kept})


def _disabled(settled: TenantWebhook, url: str, now: datetime) -> TenantWebhook:
    kept = [*_enabled(settled, url).disabled, Disabled(url=url, at=now)]
    return settled.model_copy(update={"disabled": kept[-DISABLED_KEPT:]})


def _seconds(retry_after: str | None, now: datetime) -> float:
    """The wait in a Retry-After header, which is a number of seconds or a date; 0 for none."""
    if retry_after is None:
        return 0.0
    text = retry_after.strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        return max((parsedate_to_datetime(text) - now).total_seconds(), 0.0)
    except (TypeError, ValueError):  # not a date, or one without a time zone
        return 0.0


def _record(delivery: Delivery, now: datetime) -> Record:
    return Record(
        pk=f"delivery#{delivery.id}",
        sk="delivery",
        data=delivery.model_dump(mode="json", exclude={"version"}),
        version=delivery.version,
        owner=(f"{delivery.tenant}#deliveries", f"{rfc3339(delivery.created_at)}#{delivery.id}"),
        due=("delivery", rfc3339(delivery.next_attempt_at)) if delivery.next_attempt_at else None,
        labels={"state": str(delivery.state), "job": delivery.job_id},
        expires_at=(max(delivery.deadline, now) + LOG_RETENTION).timestamp(),
    )


def _delivery(record: Record) -> Delivery:
    return Delivery.model_validate({**record.data, "version": record.version})
