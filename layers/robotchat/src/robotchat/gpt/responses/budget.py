"""How much of a conversation fits into the model's context."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from robotchat.errors import ContextLengthExceeded
from robotchat.gpt.driver import Body
from robotchat.gpt.responses.tools import CALLS, OUTPUTS
from robotchat.gpt.responses.translation import chat_messages, led_by_one_system_message

IMAGE_TOKENS = 1000
"""What a picture, a file or a sound is taken to cost."""

MESSAGE_TOKENS = 4
"""What a message costs beside its text."""


def estimate_tokens(text: str) -> int:
    """About how many tokens a text has, without the model's tokenizer.

    Four ASCII characters make a token, one Chinese, Japanese or Korean character makes one, and
    so do two of any other script. Meant to be a little too high rather than too low.
    """
    weight = 0.0
    for character in text:
        code = ord(character)
        weight += 0.25 if code < 0x80 else 0.5 if code < 0x2E80 else 1.0
    return math.ceil(weight)


def message_tokens(message: Mapping[str, Any]) -> int:
    """About how many tokens a chat message has."""
    content = message.get("content") or ""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    tokens = MESSAGE_TOKENS + estimate_tokens(message.get("reasoning_content") or "")
    for part in parts:
        text = part.get("text", part.get("refusal"))
        tokens += IMAGE_TOKENS if text is None else estimate_tokens(text)
    for call in message.get("tool_calls", ()):
        function = call["function"]
        tokens += estimate_tokens(function["name"]) + estimate_tokens(function["arguments"])
    return tokens


def fit(
    turns: Sequence[Sequence[Body]],
    new: Sequence[Body],
    *,
    instructions: str | None,
    window: int | None,
    reserve: int,
    auto: bool,
    halvings: int = 0,
    draws: bool = False,
) -> list[Body]:
    """The messages to send: instructions, the turns so far, and the new items.

    They must fit ``window`` tokens with ``reserve`` left for the answer (None: no limit is
    known). When they do not, the oldest turns are dropped if ``auto``; if that does not help, or
    may not be done, ContextLengthExceeded is raised. ``halvings`` drops more of the past: half of
    it, three quarters, and so on, for an upstream whose limit is found by trying. ``draws`` is
    that of ``chat_messages``.

    Turns are dropped in steps of a quarter of the window, so that the cut stays where it is for
    several turns and the upstream's prompt cache keeps its worth.
    """
    head: list[Body] = [{"role": "system", "content": instructions}] if instructions else []
    groups = _inseparable([*turns, new])
    past, last = groups[:-1], groups[-1]
    costs = [sum(map(message_tokens, chat_messages(group, draws=draws))) for group in past]
    fixed = sum(map(message_tokens, [*head, *chat_messages(last, draws=draws)]))
    drop = 0
    if window is not None:
        drop = _oldest_to_drop(costs, fixed, window - reserve, auto=auto)
    if halvings:
        keep = sum(costs) / 2**halvings
        while drop < len(costs) and sum(costs[drop:]) > keep:
            drop += 1
    kept = [item for group in [*past[drop:], last] for item in group]
    return led_by_one_system_message([*head, *chat_messages(kept, draws=draws)])


def _oldest_to_drop(costs: Sequence[int], fixed: int, budget: int, *, auto: bool) -> int:
    excess = fixed + sum(costs) - budget
    if excess <= 0:
        return 0
    if not auto or excess > sum(costs):
        raise ContextLengthExceeded(
            f"The input is about {fixed + sum(costs)} tokens, and the model takes {budget} beside "
            "its answer. Shorten it"
            + (
                ", or set 'truncation' to 'auto' to leave out the oldest turns."
                if not auto
                else "."
            ),
            param="input",
        )
    step = max(1, budget // 4)
    wanted = math.ceil(excess / step) * step
    dropped = drop = 0
    while dropped < excess or (dropped < wanted and drop < len(costs) - 1):
        dropped += costs[drop]
        drop += 1
    return drop


def _inseparable(turns: Iterable[Sequence[Body]]) -> list[list[Body]]:
    """Turns joined with the one before when they answer its function calls."""
    groups: list[list[Body]] = []
    for turn in turns:
        called = {item["call_id"] for item in turn if item["type"] in CALLS}
        answered = {item["call_id"] for item in turn if item["type"] in OUTPUTS}
        if groups and not answered <= called:
            groups[-1] = [*groups[-1], *turn]
        else:
            groups.append(list(turn))
    return groups
