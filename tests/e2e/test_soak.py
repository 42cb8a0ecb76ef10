"""A small soak: the counts that `make soak` prints are the right ones."""

from __future__ import annotations

from benchmarks.soak import Plan, soak


def test_nothing_is_lost_doubled_or_out_of_order_while_hosts_and_workers_die() -> None:
    outcome = soak(Plan(jobs=20, conversations=5, producers=4, hosts=2, seconds=400))
    assert outcome.right, outcome
    assert outcome.accepted == 20
    assert sum(outcome.ends.values()) == 20
    assert outcome.poisoned >= 10
    assert outcome.dead
    assert outcome.refused
    assert outcome.told >= 20
