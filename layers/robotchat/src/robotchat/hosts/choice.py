"""Which of the free hosts a job takes, and how long it waits for a better one."""

from __future__ import annotations

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


class Choice:
    """Which hosts a job may take right now, and when to look again."""

    def __init__(
        self,
        states: Sequence[HostState],
        wanted: Mapping[str, str | None],
        now: datetime,
        *,
        waited: timedelta,
    ) -> None:
        self._states = states
        self._wanted = wanted
        self._now = now
        loaded_somewhere = any(
            same_checkpoint(state.checkpoint, wanted[state.name]) and not state.cooling(now)
            for state in states
        )
        self._patience = SWITCH_PATIENCE if loaded_somewhere else LOAD_PATIENCE
        if waited >= LONGEST_DEFERRAL:
            self._patience = timedelta(0)

    def candidates(self) -> list[str]:
        """The hosts that may be taken, the best first."""
        ranked: list[tuple[int, float, str]] = []
        for state in self._states:
            if state.held(self._now) or state.cooling(self._now) or self._deferral(state) > 0:
                continue
            rank = 1 if state.checkpoint is None else 2 if self._switches(state) else 0
            ranked.append((rank, random.random(), state.name))  # noqa: S311 - to spread the load
        return [name for _, _, name in sorted(ranked)]

    def pause(self) -> float:
        """How long to wait before looking again: the shorter, the sooner a host is expected."""
        wait = min((self._until_free(state) for state in self._states), default=0.25)
        return min(max(wait, 0.004), 0.5) * random.uniform(0.8, 1.2)  # noqa: S311

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
            if state.ends_at is None:
                return 0.05
            left = (state.ends_at - self._now).total_seconds()
            # Close in on the expected end by thirds; when it is late, back off slowly.
            return left / 3 if left > 0 else -left / 10
        if state.cooling(self._now) and state.cool_down_until is not None:
            return (state.cool_down_until - self._now).total_seconds()
        return max(self._deferral(state), 0.02)
