"""The way of one response to its end: asking the upstream, and drawing what it calls for, in turns.

Without the ``image_generation`` tool there is one round. With it, the upstream is asked again after
it has called the tool, and is told what came of it, until it has nothing more to draw. Where the
tool is forced there is nothing to ask again for; and an upstream that does not call it then, since
it knows no tools, is not needed: the message itself is drawn, as in a conversation that draws.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from robotchat.errors import Misconfigured, UpstreamError
from robotchat.gpt.driver import AnswerStream, Body, Interrupt
from robotchat.gpt.responses.events import ChatAnswer
from robotchat.gpt.responses.image_tool import CALL, MAX_IMAGES, TOOL, ImageCall, is_forced
from robotchat.gpt.responses.inference import Inference
from robotchat.gpt.responses.painting import Painter
from robotchat.gpt.responses.request import Request
from robotchat.gpt.responses.tools import CALLS
from robotchat.gpt.responses.turns import Turn

logger = logging.getLogger(__name__)

LONG_ENOUGH = 200
"""Characters that an upstream says instead of calling a forced tool, before it is given up."""


@dataclass(frozen=True)
class _Plan:
    """What is to be drawn, once the upstream has ended its round."""

    first: int | None
    """Where in the output the first of these pictures is; None before that."""
    calls: tuple[ImageCall | None, ...]
    """None for one that the message itself is drawn for."""


class Rounds:
    """One response in the making. ``painter`` draws, if the request has the tool.

    ``close`` may be called from another thread at any time: it ends the upstream's work and the
    drawing.
    """

    def __init__(
        self, inference: Inference, turn: Turn, painter: Painter | None, *, whole: bool = False
    ) -> None:
        """``whole``: the upstream is not asked for streams."""
        self.answer = inference.begin_answer(turn)
        self._inference = inference
        self._turn = turn
        self._painter = painter
        self._whole = whole
        self._forced = painter is not None and is_forced(turn.request.body)
        self._most = min(MAX_IMAGES, turn.request.body.get("max_tool_calls") or MAX_IMAGES)
        self._plan = _Plan(None, ())
        self._resumed = False
        self._told: list[str] = []
        self._closed = threading.Event()
        self._interrupt = Interrupt()
        self._stream: AnswerStream | None = None

    def open(self) -> AnswerStream:
        """Ask for the first time, and wait for the first event. Raises what the upstream says."""
        try:
            return self._ask(self._turn.request)
        except (UpstreamError, Misconfigured) as error:
            if not self._forced or self._closed.is_set():
                raise
            self._does_without(error)
            return _Silence()

    def events(self, first: AnswerStream | None = None) -> Iterator[Body]:
        """The events between the first and the last ones, of the ``first`` stream and all that
        follows it. Raises what the upstream says, and of a drawing nothing: its item has it."""
        if not isinstance(self.answer, ChatAnswer) or self._painter is None:
            yield from self._heard(first or self.open())
            return
        answer, painter = self.answer, self._painter
        answer.muted = self._forced
        if not self._resumed:
            yield from self._round(answer, first or self.open())
        while not self._closed.is_set():
            yield from self._draw(answer, painter)
            if self._closed.is_set():
                return
            if not self._plan.calls or self._forced or answer.cut_short or self._client_is_asked():
                yield from self._last_words(answer, painter.reply)
                return
            yield from self._round(answer, self._ask(self._next_request()))

    def ahead(self) -> Body | None:
        """What is to be done next, for whoever has to `resume`: once the upstream has ended, the
        pictures that it called for."""
        plan, answer = self._plan, self.answer
        if not isinstance(answer, ChatAnswer) or plan.first is None:
            return None
        calls = [asdict(call) if call is not None else None for call in plan.calls]
        used = self._painter.used if self._painter is not None else {}
        return {"first": plan.first, "calls": calls, "upstream": answer.heard(), "used": used}

    def resume(self, told: Sequence[Body], ahead: Body | None) -> bool:
        """Take over what another one has ``told`` of this response, and was to do next when it
        died. Tells whether the answer can be gone on with: where the upstream was in the middle
        of its words it cannot, since they cannot be taken back."""
        self.answer.take_over(told)
        output = self.answer.response["output"]
        if not isinstance(self.answer, ChatAnswer) or self._painter is None or ahead is None:
            return False
        calls = tuple(ImageCall(**call) if call else None for call in ahead["calls"])
        self._plan = _Plan(ahead["first"], calls)
        drawn = output[ahead["first"] :]
        if len(drawn) > len(calls) or any(item["type"] != CALL for item in drawn):
            return False
        self.answer.hear_again(ahead["upstream"])
        self._painter.used.update(ahead["used"])
        if drawn and drawn[-1]["status"] in ("in_progress", "generating"):
            self._told = [e["type"] for e in told if e.get("item_id") == drawn[-1]["id"]]
            self._told.append("response.output_item.added")
        self._resumed = True
        return True

    def close(self) -> None:
        """Stop asking and drawing."""
        self._closed.set()
        self._interrupt.set()
        if self._stream is not None:
            self._stream.close()

    def _round(self, answer: ChatAnswer, stream: AnswerStream) -> Iterator[Body]:
        """What the upstream says, up to its end; then it is known what it called for."""
        yield from self._listen(stream)
        if self._closed.is_set():
            return
        yield from answer.pause()
        called: list[ImageCall | None] = [*answer.image_calls]
        answer.image_calls.clear()
        if self._forced and not called:
            called = [None]
        most = self._most - self._drawn()
        self._plan = _Plan(len(answer.response["output"]), tuple(called[:most]))

    def _draw(self, answer: ChatAnswer, painter: Painter) -> Iterator[Body]:
        """The pictures of the round that are not finished yet."""
        told, self._told = self._told, []
        begun = len(answer.response["output"]) - (self._plan.first or 0)
        for call in self._plan.calls[begun - bool(told) :]:
            yield from painter.paint(answer, call, self._closed, told=told)
            if self._closed.is_set():
                return
            told = []

    def _ask(self, request: Request) -> AnswerStream:
        said = self.answer.response["output"]
        with self._interrupt.armed():
            return self._inference.open(self._turn, request, said, whole=self._whole)

    def _listen(self, stream: AnswerStream) -> Iterator[Body]:
        """As ``_heard``; where the tool is forced, an upstream that fails is not needed."""
        try:
            yield from self._heard(stream)
        except UpstreamError as error:
            if not self._forced or self._closed.is_set():
                raise
            self._does_without(error)

    def _heard(self, stream: AnswerStream) -> Iterator[Body]:
        self._stream = stream
        if self._closed.is_set():
            stream.close()
        try:
            for event in stream:
                yield from self.answer.feed(event)
                if self._says_enough():
                    break
        finally:
            stream.close()

    def _says_enough(self) -> bool:
        return isinstance(self.answer, ChatAnswer) and self.answer.left_out > LONG_ENOUGH

    def _does_without(self, error: Exception) -> None:
        extra = {"response_id": self._turn.stored.id, "code": getattr(error, "code", None)}
        logger.warning("the message is drawn without the language model", extra=extra)

    def _drawn(self) -> int:
        return sum(item["type"] == CALL for item in self.answer.response["output"])

    def _client_is_asked(self) -> bool:
        """Whether the model called what the client runs, and must be answered first."""
        return any(item["type"] in CALLS for item in self.answer.response["output"])

    def _next_request(self) -> Request:
        """The request as it is asked again, now that its tool has drawn."""
        body: dict[str, Any] = dict(self._turn.request.body)
        # What was required has been done; required again, it would never end.
        body.pop("tool_choice", None)
        if self._drawn() >= self._most:
            others = [tool for tool in body["tools"] if tool["type"] != TOOL]
            body |= {"tools": others} if others else {"tool_choice": "none"}
        return replace(self._turn.request, body=body)

    def _last_words(self, answer: ChatAnswer, reply: str | None) -> Iterator[Body]:
        """A message behind pictures, without which agents ask again and again."""
        output = answer.response["output"]
        if self._client_is_asked() or not output or output[-1]["type"] != CALL:
            return
        error = output[-1].get("error")
        if error and self._forced:
            reply = error["message"]
        yield from answer.say(reply or "")


class _Silence:
    """The stream of an upstream that is done without."""

    def __iter__(self) -> Iterator[Body]:
        return self

    def __next__(self) -> Body:
        raise StopIteration

    def close(self) -> None:
        """Nothing is open."""
