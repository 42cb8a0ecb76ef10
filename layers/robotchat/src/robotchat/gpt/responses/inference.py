"""Asking the upstream to continue a turn, with as much of the past as fits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, cast

from robotchat.clock import Clock
from robotchat.errors import ContextLengthExceeded, UpstreamRejected
from robotchat.gpt.driver import AnswerStream, Body, ChatDriver, ResponsesDriver
from robotchat.gpt.normalize import chunks_of
from robotchat.gpt.responses import image_tool
from robotchat.gpt.responses.budget import fit
from robotchat.gpt.responses.events import AnswerBuilder, ChatAnswer, RelayedAnswer
from robotchat.gpt.responses.request import Request
from robotchat.gpt.responses.store import ResponseStore
from robotchat.gpt.responses.stored import StoredResponse
from robotchat.gpt.responses.translation import chat_body, relayed_items
from robotchat.gpt.responses.turns import Past, Turn

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
        if self._relays(turn.request):
            return RelayedAnswer(response)
        return ChatAnswer(response)

    def open(
        self, turn: Turn, request: Request, said: Sequence[Body], *, whole: bool = False
    ) -> AnswerStream:
        """Ask the upstream for a stream, and wait for its first event.

        ``request`` is the turn's, or as it is to be asked now, when the items in ``said`` have
        been answered already. With ``whole`` the answer is not streamed: its events are there at
        once.
        """
        if self._relays(turn.request):
            driver = cast(ResponsesDriver, self._driver)
            if not whole:
                return driver.stream_response(self._relay_body(turn))
            response = driver.create_response(self._relay_body(turn))
            return _Whole([{"type": "response.completed", "response": response}])
        if whole:
            completion = self._fitting(turn, request, said, self._driver.chat_completion)
            return _Whole(chunks_of(completion))
        usage = {"stream_options": {"include_usage": True}}
        return self._fitting(
            turn,
            request,
            said,
            lambda body: self._driver.stream_chat_completion({**body, **usage}),
        )

    def _relays(self, request: Request) -> bool:
        # Where we draw, the upstream is asked in rounds, and cannot keep the state.
        return self._options.mode == "responses" and request.image_tool is None

    def count(self, request: Request, items: Sequence[Body]) -> Body:
        """Have the upstream count the tokens of a request with these items."""
        ours = ("conversation", "background", "previous_response_id", "stream", "store")
        body = {name: value for name, value in request.body.items() if name not in ours}
        if "tools" in body:
            body["tools"] = image_tool.as_functions(body["tools"])
        if request.model is None and self._model is not None:
            body["model"] = self._model
        return self._driver.count_input_tokens({**body, "input": relayed_items(items)})

    def _fitting(
        self, turn: Turn, request: Request, said: Sequence[Body], ask: Callable[[Body], T]
    ) -> T:
        """Ask with as much of the past as fits."""
        history = self.past(turn).turns
        window = self._options.context_window
        halvings = 0
        while True:
            messages = fit(
                history,
                [*request.items, *said],
                instructions=request.body.get("instructions"),
                window=window,
                reserve=request.body.get("max_output_tokens") or min(1024, (window or 0) // 4),
                auto=request.auto_truncation,
                halvings=halvings,
                draws=turn.request.image_tool is not None,
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
            history = [item for items in self.past(turn).turns for item in items]
            body["input"] = relayed_items([*history, *turn.request.items])
        if "tools" in body:
            body["tools"] = image_tool.as_functions(body["tools"])
        return body

    def past(self, turn: Turn) -> Past:
        """What a turn continues."""
        if turn.past is None:
            last = self._last(turn)
            history = self._store.history(last) if last else []
            if turn.claim is None:
                left = frozenset(one.conversation_id for one in history if one.conversation_id)
                turn.past = Past([stored.items for stored in history], left)
            else:
                turns = self._store.timeline(turn.claim.conversation_id, history)
                turn.past = Past([[item for item, _ in items] for items in turns])
        return turn.past

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


class _Whole:
    """An answer that was not streamed, as the events that it amounts to."""

    def __init__(self, events: Iterable[Body]) -> None:
        self._events = iter(events)

    def __iter__(self) -> Iterator[Body]:
        return self._events

    def __next__(self) -> Body:
        return next(self._events)

    def close(self) -> None:
        """Nothing is open."""
