"""Tenants' limits and counters, for functions that need no robot."""

from __future__ import annotations

from functools import cache

from robotchat.aws.wiring import records, settings
from robotchat.clock import SystemClock
from robotchat.jobs.limits import Ledger


@cache
def ledger() -> Ledger:
    """The limits and counters in the table, with the configured defaults."""
    return Ledger(records(), SystemClock(), lambda: settings().limits)
