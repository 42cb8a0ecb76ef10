"""Asking the upstream to continue a turn, with as much of the past as fits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, cast

from robotchat.clock import Clock
from robotchat.errors import ContextLengthExceeded, UpstreamRejected
from robotchat.gpt.driver import AnswerStream, Body, ChatDriver, ResponsesDriver
from robotchat.gpt.responses.budget import fit
from robotchat.gpt.responses.events import AnswerBuilder, ChatAnswer, RelayedAnswer
from robotchat.gpt.responses.request import Request
from robotchat.gpt.responses.store import ResponseStore, StoredResponse
from robotchat.gpt.responses.translation import chat_body, relayed_items
from robotchat.gpt.responses.turns import Turn

T = TypeVar("T")

MAX_HALVINGS = 3
"""How often the past is halved for an upstream that says that the context is too long."""


@dataclass(frozen=True)
class Options:
    """How the upstream is used."""

    mode: Literal["chat", "responses"] = "chat"
    """Who keeps the state: we, over chat completions, or an upstream with ``/v1/responses``."""
    context_window: int | None = None
    """Tokens that the model takes in all; None when only the upstream knows."""
    max_tokens_field: str = "max_tokens"
    """The upstream's name for the limit on an answer; some want ``max_completion_tokens``."""
    cache_prompt: bool = False
    """Ask llama.cpp to keep the evaluated prompt for the next request of the conversation."""


class Inference:
    """Asks the upstream for the answer to a turn."""

    def __init__(
        self,
        driver: ChatDriver,
        store: ResponseStore,
        *,
        model: str | None,
        options: Options,
        clock: Clock,
    ) -> None:
        self._driver = driver
        self._store = store
        self._model = model
        self._options = options
        self._clock = clock

    def begin_answer(self, turn: Turn) -> AnswerBuilder:
        response = {**turn.stored.response, "status": "in_progress", "output": []}
        if self._options.mode == "responses":
            return RelayedAnswer(response)
        return ChatAnswer(response)

    def ask(self, turn: Turn) -> AnswerBuilder:
        """Ask the upstream for a whole answer."""
        answer = self.begin_answer(turn)
        if isinstance(answer, RelayedAnswer):
            driver = cast(ResponsesDriver, self._driver)
            answer.take(driver.create_response(self._relay_body(turn)))
        elif isinstance(answer, ChatAnswer):
            _drain(answer.feed_whole(self._fitting(turn, self._driver.chat_completion)))
        _drain(answer.end(int(self._clock.now().timestamp())))
        return answer

    def open(self, turn: Turn) -> AnswerStream:
        """Ask the upstream for a stream, and wait for its first event."""
        if self._options.mode == "responses":
            driver = cast(ResponsesDriver, self._driver)
            return driver.stream_response(self._relay_body(turn))
        usage = {"stream_options": {"include_usage": True}}
        return self._fitting(
            turn, lambda body: self._driver.stream_chat_completion({**body, **usage})
        )

    def count(self, request: Request, items: Sequence[Body]) -> Body:
        """Have the upstream count the tokens of a request with these items."""
        ours = ("conversation", "background", "previous_response_id", "stream", "store")
        body = {name: value for name, value in request.body.items() if name not in ours}
        if request.model is None and self._model is not None:
            body["model"] = self._model
        return self._driver.count_input_tokens({**body, "input": relayed_items(items)})

    def _fitting(self, turn: Turn, ask: Callable[[Body], T]) -> T:
        """Ask with as much of the past as fits."""
        request = turn.request
        history = self._history(turn)
        window = self._options.context_window
        halvings = 0
        while True:
            messages = fit(
                history,
                request.items,
                instructions=request.body.get("instructions"),
                window=window,
                reserve=request.body.get("max_output_tokens") or min(1024, (window or 0) // 4),
                auto=request.auto_truncation,
                halvings=halvings,
            )
            body = chat_body(
                request,
                messages,
                model=self._model,
                max_tokens_field=self._options.max_tokens_field,
                cache_prompt=self._options.cache_prompt,
            )
            try:
                return ask(body)
            except UpstreamRejected as error:
                if not _says_too_long(error):
                    raise
                if not request.auto_truncation or not history or halvings == MAX_HALVINGS:
                    raise ContextLengthExceeded(error.message, param="input") from None
            halvings += 1

    def _relay_body(self, turn: Turn) -> Body:
        """The request in an upstream's own terms: with its id of what is continued."""
        asked = turn.request.body
        ours = ("conversation", "background", "previous_response_id", "stream")
        body = {name: value for name, value in asked.items() if name not in ours}
        if turn.request.model is None and self._model is not None:
            body["model"] = self._model
        previous = self._last(turn)
        if previous is not None and previous.upstream_id and turn.claim is None:
            body["previous_response_id"] = previous.upstream_id
        elif previous is not None or turn.claim is not None:
            if turn.claim is not None:
                # All of the conversation is sent each time: it need not be kept there too.
                body["store"] = False
            history = [item for items in self._history(turn) for item in items]
            body["input"] = relayed_items([*history, *turn.request.items])
        return body

    def _history(self, turn: Turn) -> list[Sequence[Body]]:
        last = self._last(turn)
        history = self._store.history(last) if last else []
        if turn.claim is None:
            return [stored.items for stored in history]
        return [items for items, _ in self._store.timeline(turn.claim.conversation_id, history)]

    def _last(self, turn: Turn) -> StoredResponse | None:
        if turn.previous is None and turn.stored.previous is not None:
            turn.previous = self._store.find(turn.stored.previous)
        return turn.previous


_TOO_LONG = re.compile(r"context (length|size|window)|maximum context", re.IGNORECASE)


def _says_too_long(error: UpstreamRejected) -> bool:
    codes = {error.details.get("code"), error.details.get("type")}
    return bool(codes & {"context_length_exceeded", "exceed_context_size_error"}) or bool(
        _TOO_LONG.search(error.message)
    )


def _drain(events: Iterable[Body]) -> None:
    for _ in events:
        continue
