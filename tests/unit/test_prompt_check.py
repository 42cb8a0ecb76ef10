"""The check of a language model's fold, over all the conversations of the evaluation."""

from __future__ import annotations

from collections.abc import Iterator

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
