"""Folding a conversation into a prompt: by a language model, or by rules without one.

`PromptWriter` asks the model and falls back on `fold`; both take what is drawn so far and one more
message, and give the whole new prompt.
"""

from __future__ import annotations

from robotchat.prompt.models import Fold, PromptState
from robotchat.prompt.writer import CompletesChat, PromptWriter

__all__ = ["CompletesChat", "Fold", "PromptState", "PromptWriter", "fold"]


def fold(current: PromptState | None, message: str, *, editing: bool) -> Fold:
    """Fold one message, English or Chinese, into what the conversation draws so far.

    Deterministic and without a model: additions, corrections, removals, changes of colour, time,
    season, weather, style and size are rules; chit-chat changes nothing. `editing` says that the
    message changes a picture (its own, or the last one) rather than asking for a new one; the
    result then has the mode `edit` and a denoising strength. Never raises for any text.
    """
    from robotchat.prompt import folding

    return folding.fold(current, message, editing=editing)
