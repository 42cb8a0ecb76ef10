"""What operators see and do over HTTP: tenants, their keys, the queues and their dead letters."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from robotchat.aws import keys
from robotchat.aws.dead_letters import DeadLetter, DeadLetters
from robotchat.aws.keys import ApiKey
from robotchat.aws.queues import Counts
from robotchat.aws.wiring import deployment
from robotchat.errors import InvalidRequest
from robotchat.ids import TENANT_RULE, is_tenant
from robotchat.jobs.limits import Usage
from robotchat.text import no_switch

Scope = Literal["images", "chat", "jobs:read", "admin", "*"]
"""What a key may be made for; ``*`` is all of it."""

MOST_LETTERS = 100
"""Dead letters that one request shows or puts back."""

_LONGEST_LIFE = 10 * 365 * 86400
_LONGEST_GRACE = 30 * 86400


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KeyRequest(_Model):
    """A key to make."""

    name: str = Field(default="", max_length=100, description="A note to recognise it by.")
    scopes: list[Scope] = Field(
        default=["images", "chat", "jobs:read"],
        min_length=1,
        description="What it is for: pictures, words, reading jobs, operating; `*` is all of it.",
    )
    expires_in: int | None = Field(
        default=None,
        ge=60,
        le=_LONGEST_LIFE,
        description="Seconds from now until it ends; never when left out.",
        examples=[7776000],
    )

    _number = field_validator("expires_in", mode="before")(no_switch)


class RotationRequest(_Model):
    """How to replace a key."""

    grace: int = Field(
        default=86400,
        ge=0,
        le=_LONGEST_GRACE,
        description="For how many seconds the old key goes on working.",
    )

    _number = field_validator("grace", mode="before")(no_switch)


class KeyView(_Model):
    """A key as operators see it: never its secret."""

    id: str = Field(examples=["key_0123456789abcdef"])
    object: Literal["api_key"] = "api_key"
    tenant: str
    name: str
    scopes: list[str]
    state: Literal["valid", "expired", "revoked"]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, key: ApiKey) -> KeyView:
        now = datetime.now(UTC)
        return cls(
            id=key.key_id,
            tenant=key.tenant,
            name=key.name,
            scopes=list(key.scopes),
            state="valid" if key.valid(now) else "revoked" if key.revoked_at else "expired",
            created_at=key.created_at,
            expires_at=key.expires_at,
            revoked_at=key.revoked_at,
        )


class NewKey(_Model):
    """A key that was just made. This is the only time that its secret is told."""

    key: KeyView
    secret: str = Field(
        description="What its owner sends; it cannot be read again.", examples=["rk_..."]
    )
    replaced: KeyView | None = Field(
        default=None, description="The key that it takes the place of, and until when that works."
    )


class KeyList(_Model):
    """A tenant's keys, oldest first, with those that are not valid any more."""

    object: Literal["list"] = "list"
    data: list[KeyView]


class TenantList(_Model):
    """A page of tenants by name, each with its limits and what it uses of them."""

    object: Literal["list"] = "list"
    data: list[Usage]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page.")


class QueueView(_Model):
    """A queue; the numbers are SQS's estimates."""

    name: Literal["requests", "jobs", "responses", "webhooks", "dead_letters", "event_dead_letters"]
    waiting: int
    delayed: int = Field(description="Backing off.")
    in_work: int


class QueueList(_Model):
    """The queues of work, and how far behind it is."""

    object: Literal["list"] = "list"
    data: list[QueueView]
    oldest_job_at: datetime | None = Field(
        description="When the first of the jobs that have not ended was due: accepted, or planned "
        "to be tried again. Null when there is none."
    )


class DeadLetterView(_Model):
    """A message that no worker could read or finish. What its user wrote is not shown."""

    id: str
    sent_at: datetime
    receives: int = Field(description="How often it was handed to a worker.")
    reason: str
    tenant: str | None
    job_id: str | None

    @classmethod
    def of(cls, letter: DeadLetter) -> DeadLetterView:
        return cls(**vars(letter))


class DeadLetterList(_Model):
    """Dead letters of requests and jobs, at most 100."""

    object: Literal["list"] = "list"
    data: list[DeadLetterView]


class Redriven(_Model):
    """What was put back on the queue of requests."""

    object: Literal["dead_letters.redriven"] = "dead_letters.redriven"
    data: list[DeadLetterView]
    refused: int = Field(description="How many AWS would not take; they stay where they are.")


def tenants(*, limit: int, cursor: str | None) -> TenantList:
    """Those who have a key, by name."""
    records, ledger = deployment().records, deployment().present.ledger
    if cursor is not None:
        _checked(cursor)
    names = list(keys.tenants(records, after=cursor, limit=limit + 1))
    return TenantList(
        data=[ledger.usage(name) for name in names[:limit]],
        next_cursor=names[limit - 1] if len(names) > limit else None,
    )


def keys_of(tenant: str) -> KeyList:
    """A tenant's keys. Raises InvalidRequest for what cannot be a tenant's name."""
    found = keys.list_keys(deployment().records, _checked(tenant))
    return KeyList(data=[KeyView.of(key) for key in found])


def make_key(tenant: str, request: KeyRequest) -> NewKey:
    """A new key of a tenant. Raises InvalidRequest."""
    seconds = request.expires_in
    secret, key = keys.create_key(
        deployment().records,
        tenant,
        scopes=dict.fromkeys(request.scopes),
        name=request.name,
        expires_at=datetime.now(UTC) + timedelta(seconds=seconds) if seconds else None,
    )
    return NewKey(key=KeyView.of(key), secret=secret)


def replace_key(tenant: str, key_id: str, request: RotationRequest) -> NewKey:
    """A new key like another one. Raises NotFound, and Conflict if that is not valid any more."""
    grace = timedelta(seconds=request.grace)
    secret, new, old = keys.rotate_key(deployment().records, _checked(tenant), key_id, grace=grace)
    return NewKey(key=KeyView.of(new), secret=secret, replaced=KeyView.of(old))


def withdraw_key(tenant: str, key_id: str) -> KeyView:
    """A key that is valid no more. Raises NotFound."""
    return KeyView.of(keys.revoke_key(deployment().records, _checked(tenant), key_id))


def queues() -> QueueList:
    """The queues of work, and how far behind it is."""
    here = deployment()
    counted: dict[str, Callable[[], Counts]] = {
        "requests": here.request_queue.counts,
        "jobs": here.job_queue.counts,
        "responses": here.response_queue.counts,
        "webhooks": here.webhook_queue.counts,
        "dead_letters": here.dead_letters.counts,
    }
    found = [QueueView.model_validate({"name": n, **vars(count())}) for n, count in counted.items()]
    return QueueList(data=found, oldest_job_at=here.present.robot.jobs.oldest_open())


def dead_letters() -> DeadLetterList:
    """What no worker could read or finish."""
    found = deployed_letters().look(MOST_LETTERS)
    return DeadLetterList(data=[DeadLetterView.of(letter) for letter in found])


def redrive() -> Redriven:
    """Put dead letters back on the queue of requests."""
    moved, refused = deployed_letters().redrive(MOST_LETTERS)
    return Redriven(data=[DeadLetterView.of(letter) for letter in moved], refused=refused)


def deployed_letters() -> DeadLetters:
    """The dead letters of this deployment."""
    here = deployment()
    return DeadLetters(here.dead_letters, here.request_queue)


def _checked(tenant: str) -> str:
    if not is_tenant(tenant):
        raise InvalidRequest(TENANT_RULE, param="tenant")
    return tenant
