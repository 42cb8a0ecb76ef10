"""Folding a message into a prompt by rules, without a language model."""

from __future__ import annotations

from robotchat.prompt.models import Fold, PromptState


def fold(current: PromptState | None, message: str, *, editing: bool) -> Fold:
    """Fold one message, English or Chinese, into what the conversation draws so far.

    Deterministic and without a model: additions, corrections, removals, changes of colour, time,
    season, weather, style and size are rules; chit-chat changes nothing. `editing` says that the
    message changes a picture (its own, or the last one) rather than asking for a new one; the
    result then has the mode `edit` and a denoising strength. Never raises for any text.
    """
    from robotchat.prompt.rules import folding

    return folding.fold(current, message, editing=editing)
