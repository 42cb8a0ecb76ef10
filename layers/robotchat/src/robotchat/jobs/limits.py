"""What a tenant may use, and what it uses.

Usage follows from jobs: an open job is an active one, its pictures count on the day on which it
was accepted, its files count until they expire. So nothing is ever reserved or released by itself:
whenever a job is written, the difference that this makes to the tenant's counters is written in
the same transaction (``Ledger.entries``), on the condition that no limit is passed. A crash can
neither leak a reservation nor give it back twice, and a repeated request, which writes no job,
reserves nothing.

One record takes only so many writes a second. So the counters of a tenant that may have thousands
of jobs are divided among several accounts: each job is counted in one of them, which has its share
of the limits; when that is full, the job is tried in the others. What is used is the sum. No limit
is passed by this; of the pictures of a day, a request for several may be refused although they are
left in all, but in no single account.

Work and cost are measured as ``robotchat.jobs.charge`` tells.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar
from zlib import crc32

from pydantic import BaseModel, ConfigDict, Field, field_validator

from robotchat.art.matching import checkpoint_key
from robotchat.clock import Clock
from robotchat.errors import CheckpointNotAllowed, LimitExceeded, WorkTooLarge
from robotchat.jobs.charge import Charge, cost, day_of
from robotchat.jobs.job import Job
from robotchat.jobs.waiting import Waiting
from robotchat.records import Add, LimitReached, Put, Record, Records, Retries, Stale
from robotchat.text import no_switch

if TYPE_CHECKING:
    from robotchat.art.requests import DrawRequest

    Request = TypeVar("Request", bound=DrawRequest)

_REMEMBERED = timedelta(seconds=10)
_MOST_REMEMBERED = 1000
_ACTIVE_AGAIN = 5.0
"""Seconds after which a caller with too many active jobs may look whether one has ended."""
_KEPT = timedelta(days=60)
"""How long the counters of a tenant that does nothing are kept, beyond its longest retention."""
_DAYS_TO_FORGET = 7
_MOST_ACCOUNTS = 32
_ACTIVE_PER_ACCOUNT = 500
_IMAGES_PER_ACCOUNT = 5000
"""The least share of a limit that an account may have."""
_NO_CHECKPOINT = ("", "none", "use same checkpoint")


class Limits(BaseModel):
    """What one tenant may use; null is no limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    active_jobs: int | None = Field(
        default=None,
        ge=0,
        le=2**63 - 1,
        description="Jobs that are queued or running at the same time.",
    )
    waiting_requests: int | None = Field(
        default=None,
        ge=0,
        le=2**63 - 1,
        description="Requests that wait for their answer, or follow a job or a response, at the "
        "same time.",
    )
    images_per_day: int | None = Field(
        default=None, ge=0, le=2**63 - 1, description="Pictures asked for in one day (UTC)."
    )
    work_per_request: int | None = Field(
        default=None,
        ge=1,
        le=2**63 - 1,
        description="Pixels times steps, over all pictures of one request: 5242880 is one of "
        "512x512 in 20 steps.",
    )
    checkpoints: list[str] | None = Field(
        default=None,
        min_length=1,
        description="The only checkpoints that may be used; the first is the default.",
    )
    stored_bytes: int | None = Field(
        default=None,
        ge=0,
        le=2**63 - 1,
        description="Size of all stored pictures and uploads, approximately.",
    )

    _numbers = field_validator(
        *("active_jobs", "waiting_requests", "images_per_day", "work_per_request", "stored_bytes"),
        mode="before",
    )(no_switch)

    def over(self, defaults: Limits) -> Limits:
        """These limits, with the defaults where nothing is said, not even that there is none."""
        return defaults.model_copy(update=self.model_dump(exclude_unset=True))


NO_LIMITS = Limits()


class Quote(BaseModel):
    """What a request would cost, had it been made in earnest."""

    model_config = ConfigDict(frozen=True)

    object: Literal["quote"] = "quote"
    images: int = Field(description="Pictures that it asks for.")
    cost: float = Field(description="In units: 1 is one picture of 512x512 pixels in 20 steps.")
    request: dict[str, Any] = Field(
        description="The A1111 fields that would be drawn, the tenant's options among them."
    )


class UsageNow(BaseModel):
    """What is in use at this moment."""

    active_jobs: int
    waiting_requests: int = Field(
        description="Requests that wait or follow; counted only where there is a limit for them."
    )
    stored_bytes: int = Field(description="Pictures and uploads that have not expired, about.")


class UsageToday(BaseModel):
    """What this day's jobs count for."""

    date: str = Field(description="The day, in UTC.", examples=["2026-01-31"])
    images: int = Field(description="Pictures that were drawn, or are still to be.")
    cost: float = Field(description="Cost units.")
    resets_at: datetime = Field(description="When the next day begins.")


class Usage(BaseModel):
    """A tenant's limits and usage."""

    object: Literal["usage"] = "usage"
    tenant: str
    limits: Limits
    now: UsageNow
    today: UsageToday
    cost_unit: str = Field(
        default="One picture of 512x512 pixels in 20 steps costs 1; cost grows with pixels, steps "
        "and pictures.",
        description="What the numbers called cost mean.",
    )


def cost_of(job: Job) -> float | None:
    """The cost units of a job: estimated while it is open, nothing if it came to nothing."""
    if job.charge is None:
        return None
    return job.charge.cost if not job.status.final or job.status == "succeeded" else 0.0


def usage_of(job: Job | None) -> Counter[str]:
    """What a job, as it stands, adds to its tenant's counters."""
    counters: Counter[str] = Counter()
    if job is None:
        return counters
    if not job.status.final:
        counters["active"] = 1
    if job.charge is not None and (not job.status.final or job.status == "succeeded"):
        counters[f"images_{job.charge.day}"] = job.charge.images
        counters[f"cost_{job.charge.day}"] = round(job.charge.cost * 1000)
    stored = job.input_bytes + sum(image.size for image in [*job.images, *job.extra_images])
    counters[f"bytes_{day_of(job.expires_at)}"] = stored
    return counters


class _Terms(NamedTuple):
    """What is remembered of a tenant for a while: its own limits, and its counters by account as
    they were when the limits were read."""

    until: datetime
    own: Limits
    accounts: Sequence[Mapping[str, int]]


class Ledger:
    """The limits and counters of all tenants, over a document store.

    ``defaults`` are the limits of tenants that have none of their own. A tenant's limits are
    remembered for some seconds; a change of them takes that long.
    """

    def __init__(self, records: Records, clock: Clock, defaults: Limits = NO_LIMITS) -> None:
        self._records = records
        self._clock = clock
        self._defaults = defaults
        self.waiting = Waiting(records, clock, lambda tenant: self.limits(tenant).waiting_requests)
        self._remembered: dict[str, _Terms] = {}
        self._stored_lately: dict[str, tuple[datetime, int]] = {}

    # --- limits -----------------------------------------------------------------------------------

    def limits(self, tenant: str) -> Limits:
        """What the tenant may use: its own limits, and the defaults where it has none."""
        return self._terms(tenant).own.over(self._defaults)

    def _terms(self, tenant: str) -> _Terms:
        now = self._clock.now()
        terms = self._remembered.get(tenant)
        if terms is None or now >= terms.until:
            keys = [(f"tenant#{tenant}", "limits"), *_account_keys(tenant)]
            limits, *accounts = self._records.get_all(keys)
            terms = _Terms(
                now + _REMEMBERED,
                Limits.model_validate(limits.data if limits else {}),
                [account.data if account else {} for account in accounts],
            )
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[tenant] = terms
        return terms

    def own_limits(self, tenant: str) -> Limits:
        """The tenant's own limits; only those fields are set that it has."""
        record = self._records.get(f"tenant#{tenant}", "limits")
        return Limits.model_validate(record.data if record else {})

    def set_limits(self, tenant: str, limits: Limits) -> None:
        """Give the tenant limits of its own, of which only the fields that are set count."""
        data = limits.model_dump(exclude_unset=True)
        retries = Retries()
        while True:
            present = self._records.get(f"tenant#{tenant}", "limits")
            version = present.version if present else 0
            try:
                self._records.commit(Put(Record(f"tenant#{tenant}", "limits", data, version)))
            except Stale:
                retries.spend()
                continue
            self._remembered.pop(tenant, None)
            return

    def permit(self, request: Request, tenant: str) -> Request:
        """The request, if the tenant may have it drawn at all.

        A tenant with a list of checkpoints gets the first of them when it names none. Raises
        WorkTooLarge and CheckpointNotAllowed.
        """
        limits = self.limits(tenant)
        if limits.work_per_request is not None and request.work > limits.work_per_request:
            raise WorkTooLarge(
                "This is more work than one request may make: fewer pixels, steps or pictures.",
                details={
                    "limit": "work_per_request",
                    "maximum": limits.work_per_request,
                    "requested": int(request.work),
                },
            )
        if limits.checkpoints is None:
            return request
        # The name is replaced by the operator's, so that it does not matter what else a host
        # might find under the caller's spelling of it.
        allowed = {checkpoint_key(name): name for name in limits.checkpoints}
        changes = {}
        for field in ("refiner_checkpoint", "hr_checkpoint_name"):
            name = getattr(request, field, None)
            if name is not None and name.lower() not in _NO_CHECKPOINT:
                changes[field] = _among(allowed, name, field)
        chosen = limits.checkpoints[0]
        if request.checkpoint is not None:
            chosen = _among(allowed, request.checkpoint, "override_settings.sd_model_checkpoint")
        return request.model_copy(update=changes).with_checkpoint(chosen)

    def check_storage(self, tenant: str, *, more: int = 0) -> None:
        """Raises LimitExceeded when ``more`` bytes do not fit into what the tenant may store.

        It looks at what is stored now and reserves nothing, so that work that is under way may
        pass the limit a little.
        """
        limit = self.limits(tenant).stored_bytes
        if limit is None:
            return
        now = self._clock.now()
        more = max(more, 1)  # a new job will store something
        until, used = self._stored_lately.get(tenant, (now, 0))
        if now >= until or used + more > limit:
            used = self._stored(self._counters(tenant))
            if len(self._stored_lately) >= _MOST_REMEMBERED:
                self._stored_lately.clear()
            self._stored_lately[tenant] = (now + _REMEMBERED, used)
        if used + more > limit:
            raise self._exceeded("stored_bytes", limit, used, "The storage of this tenant is full.")

    # --- usage ------------------------------------------------------------------------------------

    def charge(self, *, images: int, work: float) -> Charge:
        """What so many pictures and pixel-steps count for, today."""
        return Charge(images=images, cost=cost(work), day=day_of(self._clock.now()))

    def entries(self, before: Job | None, after: Job) -> list[Add]:
        """What a write of a job does to its tenant's counters, for the same transaction.

        The commit raises LimitReached when a job that is begun passes a limit; ``refusal`` tells
        what that means. A job that ends passes none. Raises LimitExceeded when a job is begun
        while the tenant's storage is full.
        """
        difference = usage_of(after)
        difference.subtract(usage_of(before))
        today = self._clock.now()
        # What nobody will ask for any more is not counted, lest it comes back from the dead.
        kept = {day_of(today - timedelta(days=1)), day_of(today)}
        amounts = {
            name: amount
            for name, amount in difference.items()
            if amount and _kept(name, kept, day_of(today))
        }
        if not amounts:
            return []
        at_most: dict[str, int] = {}
        forget: tuple[str, ...] = ()
        if not after.status.final and amounts.get("active", 0) > 0:
            self.check_storage(after.tenant)
            shares = self._shares(after.tenant, after.account)
            at_most = {name: share for name, share in shares.items() if amounts.get(name, 0) > 0}
            forget = _forgotten(today)
        last = max(after.expires_at, today)
        return [
            Add(
                *_account_key(after.tenant, after.account),
                amounts,
                at_most,
                expires_at=(last + _KEPT).timestamp(),
                forget=forget,
            )
        ]

    def accounts(self, job: Job) -> Iterator[int]:
        """In which of its tenant's accounts a job may be counted that is begun, in this order."""
        count = _accounts(self.limits(job.tenant))
        first = crc32(job.id.encode()) % count
        return ((first + further) % count for further in range(count))

    def _shares(self, tenant: str, account: int) -> dict[str, int]:
        """What an account has of the limits, by the names of the counters."""
        limits, terms = self.limits(tenant), self._terms(tenant)
        count = _accounts(limits)
        shares: dict[str, int] = {}
        for name, limit in (
            ("active", limits.active_jobs),
            (f"images_{day_of(self._clock.now())}", limits.images_per_day),
        ):
            if limit is not None:
                # More accounts were in use when the limits were higher: what is still counted
                # there only becomes less.
                elsewhere = sum(counters.get(name, 0) for counters in terms.accounts[count:])
                left = max(limit - max(elsewhere, 0), 0)
                shares[name] = left // count + (account < left % count)
        return shares

    def uploading(self, tenant: str, size: int, *, until: datetime) -> None:
        """Count a file that the tenant is going to upload. Raises LimitExceeded."""
        self.check_storage(tenant, more=size)
        expires_at = (until + _KEPT).timestamp()
        amounts = {f"bytes_{day_of(until)}": size}
        account = random.randrange(_accounts(self.limits(tenant)))  # noqa: S311 - to spread them
        key = _account_key(tenant, account)
        self._records.commit(Add(*key, amounts, expires_at=expires_at))

    def refusal(self, tenant: str, reached: LimitReached) -> LimitExceeded:
        """What the caller is told when a counter is at its limit in every account."""
        limits = self.limits(tenant)
        used = max(self._counters(tenant).get(reached.counter, 0), 0)
        if reached.counter == "active":
            limit = limits.active_jobs or 0
            said = f"At most {limit} jobs may be queued or running at the same time."
            return self._exceeded("active_jobs", limit, used, said)
        limit = limits.images_per_day or 0
        said = f"At most {limit} pictures may be asked for in one day (UTC)."
        return self._exceeded("images_per_day", limit, used, said)

    def usage(self, tenant: str) -> Usage:
        """The tenant's limits, and what it uses of them."""
        counters = self._counters(tenant)
        now = self._clock.now()
        return Usage(
            tenant=tenant,
            limits=self.limits(tenant),
            now=UsageNow(
                active_jobs=max(counters.get("active", 0), 0),
                waiting_requests=self.waiting.count(tenant),
                stored_bytes=self._stored(counters),
            ),
            today=UsageToday(
                date=day_of(now),
                images=max(counters.get(f"images_{day_of(now)}", 0), 0),
                cost=max(counters.get(f"cost_{day_of(now)}", 0), 0) / 1000,
                resets_at=_midnight(now),
            ),
        )

    def _exceeded(self, limit: str, maximum: int, used: int | None, said: str) -> LimitExceeded:
        """The error for a limit: when to come again, and the facts for programs."""
        now = self._clock.now()
        details: dict[str, Any] = {"limit": limit, "maximum": maximum}
        if used is not None:
            details["used"] = used
        wait = _ACTIVE_AGAIN
        if limit != "active_jobs":
            # Days are counted in UTC, and files expire by the day.
            details["resets_at"] = _midnight(now).isoformat().replace("+00:00", "Z")
            wait = math.ceil((_midnight(now) - now).total_seconds())
        return LimitExceeded(said, retry_after=wait, details=details)

    def _counters(self, tenant: str) -> Mapping[str, int]:
        total: Counter[str] = Counter()
        for record in self._records.get_all(_account_keys(tenant)):
            total.update(record.data if record else {})
        return total

    def _stored(self, counters: Mapping[str, int]) -> int:
        today = f"bytes_{day_of(self._clock.now())}"
        alive = (n for name, n in counters.items() if name.startswith("bytes_") and name >= today)
        return max(sum(alive), 0)


def _accounts(limits: Limits) -> int:
    """Among how many accounts a tenant's counters are divided."""
    shares = [_MOST_ACCOUNTS]
    if limits.active_jobs is not None:
        shares.append(limits.active_jobs // _ACTIVE_PER_ACCOUNT)
    if limits.images_per_day is not None:
        shares.append(limits.images_per_day // _IMAGES_PER_ACCOUNT)
    return max(min(shares), 1)


def _account_key(tenant: str, account: int) -> tuple[str, str]:
    # A part of the key by which records are spread, so that accounts are not all in one place.
    if account == 0:
        return f"tenant#{tenant}", "usage"
    return f"tenant#{tenant}#{account}", "usage"


def _account_keys(tenant: str) -> list[tuple[str, str]]:
    return [_account_key(tenant, account) for account in range(_MOST_ACCOUNTS)]


def _among(allowed: Mapping[str, str], name: str, param: str) -> str:
    found = allowed.get(checkpoint_key(name))
    if found is None:
        raise CheckpointNotAllowed(
            f"This tenant may not use the checkpoint {name!r}.",
            param=param,
            details={"limit": "checkpoints", "allowed": list(allowed.values())},
        )
    return found


def _kept(name: str, recent: set[str], today: str) -> bool:
    kind, _, day = name.partition("_")
    if kind == "bytes":
        return day >= today
    return not day or day in recent


def _forgotten(today: datetime) -> tuple[str, ...]:
    """Counters of days gone by, whose names the record need not carry on."""
    gone = [day_of(today - timedelta(days=ago)) for ago in range(1, _DAYS_TO_FORGET + 2)]
    return tuple(
        [f"bytes_{day}" for day in gone[:-1]]
        + [f"{kind}_{day}" for kind in ("images", "cost") for day in gone[1:]]
    )


def _midnight(now: datetime) -> datetime:
    """When the day (UTC) ends."""
    day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day + timedelta(days=1)
