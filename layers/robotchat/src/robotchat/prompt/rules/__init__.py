"""Folding a message into a prompt by rules, without a language model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from robotchat.prompt.models import Fold, PromptState


def fold(
    current: PromptState | None,
    message: str,
    *,
    editing: bool,
    earlier: Callable[[], Sequence[PromptState]] = tuple,
) -> Fold:
    """Fold one message, English or Chinese, into what the conversation draws so far.

    Deterministic and without a model: additions, corrections, removals, changes of colour, time,
    season, weather, style, number and size are rules; chit-chat changes nothing, and neither does
    what the rules do not understand: `reply` says so. `editing` says that the message changes a
    picture (its own, or the last one) rather than asking for a new one; the result then has the
    mode `edit` and a denoising strength. `earlier` gives what the pictures so far showed, oldest
    first, for messages that go back to one of them. Never raises for any text.
    """
    from robotchat.prompt.rules import folding, recall

    if current is not None:
        back = recall.fold_back(
            current,
            message,
            editing=editing,
            earlier=earlier,
            fold=lambda state, rest: (folding.fold(state, rest, editing=editing), None),
            source=None,
        )
        if back is not None:
            return back[0]
    return folding.fold(current, message, editing=editing)
