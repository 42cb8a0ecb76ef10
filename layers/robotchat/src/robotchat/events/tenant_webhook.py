"""What a tenant has set up for its webhooks: where they go, and the secrets that sign them."""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from robotchat.errors import LimitExceeded
from robotchat.events.delivery import without_query
from robotchat.jobs.job import EventType, WebhookTarget

OVERLAP = timedelta(hours=24)
"""How long a replaced secret goes on signing beside its successor."""

MOST_SECRETS = 30
"""Secrets of a tenant that sign at the same time."""

DISABLED_KEPT = 50
_DISABLED_BYTES = 100_000


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class Secret(_Model):
    """A signing secret; ``until`` is when a replaced one stops signing. ``made_for`` is the
    idempotency key, hashed, of the rotation that made it."""

    value: str
    until: datetime | None = None
    made_for: str | None = None


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


def rotated(settled: TenantWebhook, fresh: Secret, now: datetime) -> TenantWebhook:
    """With a new secret; every one before it signs for 24 hours after it was replaced.

    Unchanged when there is one already that was made for the same idempotency key. Raises
    LimitExceeded when more secrets would sign than a request has room for.
    """
    if made_for(settled, fresh.made_for) is not None:
        return settled
    kept = [
        old.model_copy(update={"until": old.until or now + OVERLAP})
        for old in settled.secrets
        if old.until is None or now < old.until
    ]
    if len(kept) >= MOST_SECRETS:
        ends = min(old.until for old in kept if old.until is not None)
        raise LimitExceeded(
            f"At most {MOST_SECRETS} secrets sign at the same time.",
            retry_after=(ends - now).total_seconds(),
            details={"limit": "webhook_secrets", "maximum": MOST_SECRETS},
        )
    return settled.model_copy(update={"secrets": [fresh, *kept]})


def made_for(settled: TenantWebhook, key: str | None) -> Secret | None:
    """The secret that a rotation with this idempotency key has made."""
    if key is None:
        return None
    return next((secret for secret in settled.secrets if secret.made_for == key), None)


def told(settled: TenantWebhook, shown: Secret, now: datetime) -> WebhookSecret:
    """A secret as its tenant sees it, and until when the one before it signs."""
    (before, *_) = [*settled.secrets[settled.secrets.index(shown) + 1 :], None]
    until = before.until if before is not None else None
    signs = until is not None and now < until
    return WebhookSecret(secret=shown.value, previous_valid_until=until if signs else None)


def enabled(settled: TenantWebhook, url: str) -> TenantWebhook:
    kept = [gone for gone in settled.disabled if gone.url != url]
    return settled.model_copy(update={"disabled": kept})


def disabled(settled: TenantWebhook, url: str, now: datetime) -> TenantWebhook:
    kept = [*enabled(settled, url).disabled, Disabled(url=url, at=now)][-DISABLED_KEPT:]
    while sum(len(gone.url.encode()) for gone in kept) > _DISABLED_BYTES:
        del kept[0]
    return settled.model_copy(update={"disabled": kept})
