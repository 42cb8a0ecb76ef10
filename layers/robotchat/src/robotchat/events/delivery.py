"""A delivery: one event on its way to one URL, and what its tenant sees of it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from robotchat.jobs.job import EventType


class DeliveryState(StrEnum):
    """Where a delivery stands. ``disabled``: the receiver said that it is gone."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    DISABLED = "disabled"


AttemptError = Literal[
    "timeout", "connect_failed", "broken_connection", "forbidden_url", "invalid_url", "unforeseen"
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
    """The exact body that is sent, which the signature covers."""
    state: DeliveryState = DeliveryState.PENDING
    attempts: list[Attempt] = Field(default_factory=list)
    """The most recent ones."""
    attempt_count: int = 0
    tries: int = 0
    """Attempts since the delivery was made or asked for anew: what the backoff counts."""
    asked_for: bool = False
    """The tenant asked for it: it goes out although its URL may be disabled."""
    created_at: datetime
    deadline: datetime
    next_attempt_at: datetime | None
    version: int = 0


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


def without_query(url: str) -> str:
    """A URL without its query and fragment, so that it may be shown."""
    return url.partition("#")[0].partition("?")[0]
