"""Which of the free hosts a job takes, how long it waits for a better one, how often it asks."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from robotchat.hosts.lease import (
    HostState,
    same_checkpoint,
)

SWITCH_PATIENCE = timedelta(seconds=2)
"""How long a host stays free before a job may take it whose checkpoint is loaded on another host.

Loading a checkpoint costs seconds. While jobs for the loaded one keep coming, the host is never
free for that long, so that two checkpoints over two hosts are not loaded to and fro.
"""

LOAD_PATIENCE = timedelta(seconds=0.3)
"""The same for a job whose checkpoint is loaded nowhere: time enough for waiting jobs that need
no switch to go first."""

LONGEST_DEFERRAL = timedelta(seconds=20)
"""A job that has waited for so long switches the next free host, whatever others want of it."""

REQUESTS_PER_SECOND = 3.0
"""How often whoever waits asks the store, on average over a long wait."""

SAVED_REQUESTS = 24.0
"""How many requests may be saved up, for the moment at which a host is expected."""

_SWITCH = 2
_SHORTEST, _LONGEST = 0.008, 0.5
_AT_ANY_TIME = 0.05
_SAVING = 0.6


class Choice:
    """Which hosts a job may take right now, and when to look again.

    ``states`` are those hosts that were looked at. Of the others it may be known that one of them
    has the checkpoint ``loaded``, and when one of them is ``expected`` to come free.
    """

    def __init__(
        self,
        states: Sequence[HostState],
        wanted: Mapping[str, str | None],
        now: datetime,
        *,
        waited: timedelta,
        loaded: bool = False,
        expected: datetime | None = None,
    ) -> None:
        self._states = states
        self._wanted = wanted
        self._now = now
        self._expected = expected
        loaded_somewhere = loaded or any(
            same_checkpoint(state.checkpoint, wanted[state.name]) and not state.cooling(now)
            for state in states
        )
        self._patience = SWITCH_PATIENCE if loaded_somewhere else LOAD_PATIENCE
        if waited >= LONGEST_DEFERRAL:
            self._patience = timedelta(0)

    def candidates(self) -> list[str]:
        """The hosts that may be taken, the best first."""
        return [name for _, _, name in self._ranked()]

    def has_best(self) -> bool:
        """Whether there is none better than the first: it need not load another checkpoint."""
        return any(rank < _SWITCH for rank, _, _ in self._ranked())

    def _ranked(self) -> list[tuple[int, float, str]]:
        ranked: list[tuple[int, float, str]] = []
        for state in self._states:
            if state.held(self._now) or state.cooling(self._now) or self._deferral(state) > 0:
                continue
            rank = 1 if state.checkpoint is None else _SWITCH if self._switches(state) else 0
            ranked.append((rank, random.random(), state.name))  # noqa: S311 - to spread the load
        return sorted(ranked)

    def until_expected(self) -> float:
        """When to look again for the sake of those hosts of which it is known when they come
        free, in seconds; infinite if there are none."""
        moments = [self._expected, *(s.ends_at for s in self._states if s.held(self._now))]
        waits = [_closing_in((m - self._now).total_seconds()) for m in moments if m is not None]
        return max(min(waits, default=math.inf), _SHORTEST)

    def until_worth_it(self) -> float:
        """The same for the others: a host may come free at any time, a cool-down ends, or a host
        was left to others for long enough."""
        waits = [self._until_free(state) for state in self._states]
        return min(max(min(waits, default=_AT_ANY_TIME), _SHORTEST), _LONGEST)

    def _switches(self, state: HostState) -> bool:
        """Whether the host would have to load another checkpoint."""
        wanted = self._wanted[state.name]
        loaded = state.checkpoint
        return wanted is not None and loaded is not None and not same_checkpoint(loaded, wanted)

    def _deferral(self, state: HostState) -> float:
        """For how many seconds a free host is still left to those whose checkpoint it has."""
        if state.free_since is None or not self._switches(state):
            return 0.0
        return (self._patience - (self._now - state.free_since)).total_seconds()

    def _until_free(self, state: HostState) -> float:
        """A good moment, in seconds from now, to look at this host again."""
        if state.held(self._now):
            return _AT_ANY_TIME if state.ends_at is None else _LONGEST
        if state.cooling(self._now) and state.cool_down_until is not None:
            return (state.cool_down_until - self._now).total_seconds()
        return max(self._deferral(state), 0.02)


def _closing_in(left: float) -> float:
    """When to look again for what is expected in so many seconds, or was, if it is late: closing
    in on the moment by halves, and then backing off slowly."""
    return left / 2 if left > 0 else -left / 4


class Pace:
    """How often one who waits asks, whatever the number of hosts.

    He asks as often as it seems worth while, as long as he has requests to spend: he begins with
    some, and gets ``REQUESTS_PER_SECOND``. Half of them he keeps for the moment at which a host is
    expected.
    """

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._left = SAVED_REQUESTS

    def pause(self, choice: Choice, now: datetime, *, spent: int) -> float:
        """How long to wait before the next look, having made so many requests since the last."""
        gained = (now - self._now).total_seconds() * REQUESTS_PER_SECOND
        self._now = now
        self._left = min(self._left + gained, SAVED_REQUESTS) - spent
        otherwise = choice.until_worth_it()
        if self._left < SAVED_REQUESTS / 2:
            otherwise = max(otherwise, _SAVING)
        lacking = max(1.0 - self._left, 0.0) / REQUESTS_PER_SECOND
        wait = max(min(choice.until_expected(), otherwise), lacking)
        return wait * random.uniform(0.9, 1.2)  # noqa: S311 - so that not all ask at once
