"""A small soak: the counts that `make soak` prints are the right ones."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from benchmarks.soak import MOST_REQUESTS, Outcome, Plan, judge_letters, soak


def test_nothing_is_lost_doubled_or_out_of_order_while_hosts_and_workers_die() -> None:
    outcome = soak(Plan(jobs=20, conversations=5, producers=4, hosts=2, seconds=400))
    assert outcome.right, outcome
    assert outcome.accepted == 20
    assert sum(outcome.ends.values()) == 20
    assert outcome.poisoned >= 10
    assert outcome.dead
    assert outcome.refused
    assert outcome.told >= 20


POISON = {"refused": '{"job_id": "refused"', "cut": '{"job_id"', "deep": "[[", "deep too": "[["}


def letter(number: int, body: str, first: str | None = None) -> dict[str, Any]:
    attributes = {"first_id": {"DataType": "String", "StringValue": first}} if first else {}
    return {"MessageId": f"m{number}", "Body": body, "MessageAttributes": attributes}


def judged(*letters: dict[str, Any]) -> Outcome:
    outcome = Outcome(poisoned=len(POISON))
    judge_letters(POISON, {"refused"}, letters, outcome)
    return outcome


def test_a_letter_that_came_again_is_one_message() -> None:
    right = [letter(1, "[[", "a"), letter(2, "[[", "b"), letter(3, '{"job_id"', "c")]
    outcome = judged(*right)
    assert (outcome.refused, outcome.dead, outcome.letters_again) == (1, 3, 0)
    assert outcome.right
    outcome = judged(*right, letter(4, "[[", "a"))
    assert (outcome.refused, outcome.dead, outcome.letters_again) == (1, 3, 1)
    assert outcome.right


def test_a_message_that_is_refused_and_dead_is_wrong_and_so_is_a_letter_of_no_poison() -> None:
    right = [letter(1, "[[", "a"), letter(2, "[[", "b"), letter(3, '{"job_id"', "c")]
    assert not judged(*right, letter(4, POISON["refused"], "d")).right
    assert judged(*right, letter(4, POISON["refused"], "d")).both == 1
    assert not judged(*right, letter(4, "{}", "d")).right
    assert judged(*right, letter(4, "{}", "d")).strangers == 1
    # One that is both does not stand for one that is neither.
    assert not judged(*right[:2], letter(4, POISON["refused"], "d")).right


def test_too_many_requests_are_wrong_and_it_is_told_who_made_them() -> None:
    asked = Counter({("Worker", "PutItem job"): 30, ("Intake", "GetItem job"): 10})
    within = Outcome(requests=MOST_REQUESTS, asked=asked)
    assert within.right
    assert not replace(within, requests=MOST_REQUESTS + 0.1).right
    assert within.breakdown(jobs=10).splitlines() == [
        "    3.00  Worker",
        "        3.00  PutItem job",
        "    1.00  Intake",
        "        1.00  GetItem job",
    ]
