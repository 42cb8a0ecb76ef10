"""The check of a language model's fold, over all the conversations of the evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from robotchat.prompt import check
from robotchat.prompt.models import Fold, PromptState
from robotchat.prompt.rules.folding import Folded, folded
from tests.evaluation.score import Evaluation

Turn = tuple[PromptState, str, Folded]


def turns() -> Iterator[Turn]:
    """Every turn as the rules fold it: what was drawn before, the message, the fold."""
    for case in Evaluation().cases:
        state = PromptState(prompt="")
        for message in case.turns:
            rules = folded(state, message, editing=case.editing)
            yield state, message, rules
            state = PromptState(
                prompt=rules.fold.prompt, negative_prompt=rules.fold.negative_prompt
            )


def wrong(turn: Turn, prompt: str) -> bool:
    """Whether another prompt than that of the rules is found to be wrong."""
    state, message, rules = turn
    return bool(
        check.problems(state, message, rules.fold.model_copy(update={"prompt": prompt}), rules)
    )


def drawn(fold: Fold) -> bool:
    return fold.mode != "reply"


def test_what_the_rules_make_of_a_message_is_believed_of_a_model_too() -> None:
    assert not [turn for turn in turns() if check.problems(turn[0], turn[1], turn[2].fold, turn[2])]


def test_a_lost_word_is_found() -> None:
    found = [
        wrong(turn, " ".join(other for other in after if other != word))
        for turn in turns()
        if drawn(turn[2].fold)
        for after in [turn[2].fold.prompt.split()]
        for word in set(after) & set(turn[0].prompt.split())
        if word not in ("a", "an", "the", "of", "in", "on", "at", "with", "and", "by", "under")
    ]
    assert len(found) > 250
    assert sum(found) >= 0.95 * len(found)


def test_a_message_that_was_passed_over_is_found() -> None:
    found = [
        wrong(turn, turn[0].prompt)
        for turn in turns()
        if drawn(turn[2].fold) and turn[0].prompt and turn[2].fold.prompt != turn[0].prompt
    ]
    assert len(found) > 90
    assert sum(found) >= 0.95 * len(found)


@pytest.mark.parametrize(
    ("before", "message", "answer", "told"),
    [
        # The shape of a picture is no thing in it.
        (
            "a pond",
            "make it square",
            {"prompt": "a square pond", "width": 624, "height": 624},
            "square",
        ),
        ("a pond", "竖屏的", {"prompt": "a pond, vertical"}, "vertical"),
        # What is excluded, by the message or before, is not drawn.
        ("a pond", "no trees please", {"prompt": "a pond without trees"}, "tree"),
        # A name has no other word for it.
        (
            "a pond",
            "a painting like Hokusai's Great Wave",
            {"prompt": "a painting of a wave"},
            "hokusai",
        ),
        # What it is about is there, not only what describes it.
        ("", "清晨的上海街头", {"prompt": "a morning in Shanghai"}, "street"),
        ("", "一幅山水画", {"prompt": "a photo of a mountain"}, "painting"),
        # Dislike alone is no wish.
        ("a pond", "that's ugly", {"prompt": "a pond", "negative_prompt": "ugly"}, "reply"),
    ],
)
def test_what_small_models_get_wrong_is_told_to_them(
    before: str, message: str, answer: dict[str, Any], told: str
) -> None:
    state = PromptState(prompt=before)
    given = Fold(mode="generate", **answer)
    found = check.problems(state, message, given, folded(state, message, editing=False))
    assert any(told in problem for problem in found), found


@pytest.mark.parametrize(
    ("message", "prompt"),
    [
        ("a man with a pair of sunglasses", "a man wearing sunglasses"),
        ("a picture of a dog", "a photo of a dog"),
        ("a square table in the kitchen", "a square table in the kitchen"),
        ("a cat. Make it fluffy", "a fluffy cat"),
    ],
)
def test_what_is_as_good_is_believed(message: str, prompt: str) -> None:
    state = PromptState(prompt="")
    rules = folded(state, message, editing=False)
    assert not check.problems(state, message, Fold(mode="generate", prompt=prompt), rules)
