"""Webhooks: notifying a caller's server that a job has ended, until it has accepted it.

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
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit
from zlib import crc32

from robotchat.clock import Clock, rfc3339
from robotchat.errors import ForbiddenUrl, NotFound
from robotchat.events.delivery import Attempt, AttemptError, Delivery, DeliveryState
from robotchat.events.event import Event
from robotchat.events.tenant_webhook import (
    Secret,
    TenantWebhook,
    WebhookSecret,
    disabled,
    enabled,
    made_for,
    new_secret,
    rotated,
    signature_headers,
    told,
)
from robotchat.ids import id_for_key
from robotchat.jobs.job import WebhookTarget
from robotchat.net.addresses import check_url, is_loopback
from robotchat.records import PAGE_SIZE, Put, Record, Records, Retries, Stale

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
"""Seconds that a wait lasts at most, unless the receiver asks for more (``LONGEST_WISH``)."""

LOG_RETENTION = timedelta(days=7)
"""How long a delivery is remembered after its last change."""

LONGEST_WISH = 12 * 3600.0
"""Seconds for which a receiver is left alone at most, whatever its Retry-After says: one that asks
for a year must not end a delivery by that."""

ATTEMPTS_KEPT = 20

_DUE_SHARDS = 8
"""Over how many partitions of the index ``due`` deliveries are spread."""


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
            return enabled(changed, target.url) if target else changed

        return self._settle(tenant, with_target)

    def secret(self, tenant: str) -> WebhookSecret:
        """What the tenant's receivers verify signatures with."""
        settled = self.settled(tenant)
        return told(settled, settled.secrets[0], self._clock.now())

    def rotate_secret(self, tenant: str, *, idempotency_key: str | None = None) -> WebhookSecret:
        """Make a new secret; every one before it goes on signing for 24 hours after it was
        replaced, however many there are.

        The same ``idempotency_key`` within that time is one rotation. Raises LimitExceeded when
        more secrets would sign than a request has room for.
        """
        now = self._clock.now()
        key = id_for_key("rotation", tenant, idempotency_key) if idempotency_key else None
        fresh = Secret(value=new_secret(), made_for=key)
        settled = self._settle(tenant, lambda settled: rotated(settled, fresh, now))
        return told(settled, made_for(settled, fresh.made_for) or settled.secrets[0], now)

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
        limit: int = PAGE_SIZE,
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
        overdue = [
            record
            for shard in range(_DUE_SHARDS)
            for record in self._records.query(
                "due", f"delivery#{shard}", up_to=rfc3339(now - grace)
            ).records
        ]
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
                self._settle(delivery.tenant, lambda s: disabled(s, delivery.url, attempt.at))
            elif _heard(attempt) and settled.is_disabled(delivery.url):
                self._settle(delivery.tenant, lambda s: enabled(s, delivery.url))
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
        except Exception:
            # Whatever else a receiver brings about: an attempt that is not written down would be
            # made again and again, without a pause and without an end.
            logger.exception("a webhook attempt failed", extra={"delivery_id": delivery.id})
            error = "unforeseen"
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


def _seconds(retry_after: str | None, now: datetime) -> float:
    """The wait in a Retry-After header, which is a number of seconds or a date; 0 for none."""
    if retry_after is None:
        return 0.0
    text = retry_after[:100].strip()
    if text.isascii() and text.isdecimal():
        return min(float(text), LONGEST_WISH)
    try:
        wish = (parsedate_to_datetime(text) - now).total_seconds()
    except (TypeError, ValueError, OverflowError):  # no date, none that can be, or no time zone
        return 0.0
    return min(max(wish, 0.0), LONGEST_WISH)


def _record(delivery: Delivery, now: datetime) -> Record:
    return Record(
        pk=f"delivery#{delivery.id}",
        sk="delivery",
        data=delivery.model_dump(mode="json", exclude={"version"}),
        version=delivery.version,
        owner=(f"{delivery.tenant}#deliveries", f"{rfc3339(delivery.created_at)}#{delivery.id}"),
        due=_in_due(delivery),
        labels={"state": str(delivery.state), "job": delivery.job_id},
        expires_at=(max(delivery.deadline, now) + LOG_RETENTION).timestamp(),
    )


def _in_due(delivery: Delivery) -> tuple[str, str] | None:
    """Where the sweeper looks for a delivery that is still to be made."""
    if delivery.next_attempt_at is None:
        return None
    shard = crc32(delivery.id.encode()) % _DUE_SHARDS
    return f"delivery#{shard}", rfc3339(delivery.next_attempt_at)


def _delivery(record: Record) -> Delivery:
    return Delivery.model_validate({**record.data, "version": record.version})
