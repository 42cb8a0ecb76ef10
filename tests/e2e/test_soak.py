"""A small soak: the counts that `make soak` prints are the right ones."""

from __future__ import annotations

from benchmarks.soak import Plan, soak


def test_nothing_is_lost_doubled_or_out_of_order_while_hosts_and_workers_die() -> None:
    outcome = soak(Plan(jobs=40, conversations=8, producers=4, hosts=2, seconds=120))
    assert outcome.right, outcome
    assert outcome.accepted == 40
    assert sum(outcome.ends.values()) == 40
    assert outcome.poisoned >= 10
    assert outcome.dead
    assert outcome.refused
    assert outcome.told >= 40
