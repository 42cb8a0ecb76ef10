"""The Responses API over any chat completions upstream: answers that remember what was said.

``Responses`` does what ``/v1/responses`` does, in OpenAI's own bodies. The turns are kept in a
``ResponseStore``; each request sends the upstream the whole conversation so far, or, where the
upstream knows ``/v1/responses`` itself and is trusted with the state (``mode="responses"``), only
what is new.

What is stored is what was said. A stream that its client leaves is stored as incomplete with the
text so far; one that the upstream breaks is stored as failed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from typing import Any, Literal, cast

from robotchat.clock import Clock, SystemClock
from robotchat.conversation import Conversations
from robotchat.errors import Conflict, InvalidRequest, UpstreamError
from robotchat.gpt.driver import Body, ChatDriver, ResponsesDriver
from robotchat.gpt.responses.background import TAIL_INTERVAL, Background
from robotchat.gpt.responses.conversations import ConversationItems
from robotchat.gpt.responses.events import AnswerBuilder, told
from robotchat.gpt.responses.image_tool import CALL
from robotchat.gpt.responses.inference import Inference, Options
from robotchat.gpt.responses.items import item_page
from robotchat.gpt.responses.painting import Draws, Painter, given_images
from robotchat.gpt.responses.request import Request, parse_request
from robotchat.gpt.responses.rounds import Rounds
from robotchat.gpt.responses.store import ResponseStore
from robotchat.gpt.responses.stored import ResponseSuperseded
from robotchat.gpt.responses.stream import Opening, ResponseStream
from robotchat.gpt.responses.turns import Turn, Turns
from robotchat.ids import checked_key, fingerprint, id_for_key, new_id
from robotchat.images import MemoryImages
from robotchat.jobs.job import ALIVE
from robotchat.jobs.states import StillRunning
from robotchat.jobs.store import Jobs
from robotchat.periodic import Periodic
from robotchat.records import PAGE_SIZE, MemoryRecords

FIRST_EVENT_PATIENCE = 4.0
"""Seconds for which a stream waits for its first event before it begins without: until then, what
the upstream says decides the status of the answer, and afterwards the client learns that its
request is being worked on, and we whether it still listens."""

KEY_PATIENCE = timedelta(seconds=60)
"""How long a request waits for an earlier one that has the same idempotency key."""


class Responses:
    """The Responses API. ``tenant`` separates callers who must not see each other's responses.

    ``model`` is used where a request names none. ``enqueue`` hands the id of a background
    response (and its tenant) to a worker, which calls
    ``background.run``; by default a thread of this process
    does. What was drawn in a conversation of the ``store`` can be talked about; with ``draws``,
    of the same robot, the tool ``image_generation`` draws there. Whoever makes a response and shows
    no sign of life for as long as ``alive`` is taken for dead.
    """

    def __init__(
        self,
        driver: ChatDriver,
        *,
        model: str | None = None,
        store: ResponseStore | None = None,
        options: Options | None = None,
        enqueue: Callable[[str, str], None] | None = None,
        draws: Draws | None = None,
        clock: Clock | None = None,
        alive: timedelta = ALIVE,
    ) -> None:
        self._driver = driver
        self._clock = clock or SystemClock()
        self._store = store or memory_store(self._clock)
        self._draws = draws
        self._turns = Turns(self._store, model=model, clock=self._clock, alive=alive)
        self._inference = Inference(
            driver, self._store, model=model, options=options or Options(), clock=self._clock
        )
        self.background = Background(
            self._store,
            self._turns,
            self._rounds,
            enqueue=enqueue,
            clock=self._clock,
            alive=alive,
        )
        """Responses that a worker makes."""
        self.conversations = ConversationItems(self._store)
        """Conversations, and what was said and drawn in them."""

    def create(
        self,
        body: Mapping[str, Any],
        tenant: str = "local",
        *,
        idempotency_key: str | None = None,
    ) -> Body:
        """``POST /v1/responses``: the finished Response, or the queued one for ``background``.

        The same ``idempotency_key`` with the same body gives the same response. Raises
        InvalidRequest (IdempotencyKeyReused too), NotFound, ConversationBusy,
        ContextLengthExceeded and the ``Upstream*`` errors; nothing is stored then, and the key
        can be used again.
        """
        request = self._parsed(body, tenant)
        if idempotency_key is None:
            return self._make(request, tenant, new_id("resp"))
        return self._make_once(request, tenant, idempotency_key, fingerprint({"body": body}))

    def _make(self, request: Request, tenant: str, response_id: str) -> Body:
        if request.background:
            return self.background.queue(request, tenant, response_id).response
        turn = self._turns.begin(request, tenant, "in_progress", response_id)
        with self._turns.holding(turn), self._turns.renewing(turn):
            rounds = self._rounds(turn, whole=True)
            answer = rounds.answer
            try:
                for _ in rounds.events():
                    continue
                for _ in answer.end(self._turns.now()):
                    continue
            except UpstreamError as error:
                # An image that was drawn is not to be drawn again because its caller asks again.
                if not any(item["type"] == CALL for item in answer.response["output"]):
                    raise
                answer.fail(error)
            self._turns.settle(turn, answer)
        return answer.response

    def _parsed(self, body: Mapping[str, Any], tenant: str) -> Request:
        """A request that can be answered here, also if it wants pictures."""
        request = parse_request(body)
        if (tool := request.image_tool) is not None:
            param = f"tools[{request.body['tools'].index(tool)}]"
            if self._draws is None:
                raise InvalidRequest("There is nobody here who draws.", param=param)
            self._draws.check(tool, param, tenant)
            for text, where in given_images(request.items):
                self._draws.check_image(text, where)
        return request

    def _rounds(self, turn: Turn, *, whole: bool = False) -> Rounds:
        """The way of a turn to its answer. Raises InvalidRequest where it has no picture to
        change, and must change one."""
        painter: Painter | None = None
        tool = turn.request.image_tool
        if tool is not None and self._draws is not None:
            past = self._inference.past(turn)
            items = [item for items in past.turns for item in items]
            painter = Painter(self._draws, turn, items, left=past.left, clock=self._clock)
            if tool.get("action") == "edit" and painter.source() is None:
                raise InvalidRequest(
                    "There is no picture to change: send one, or continue from one.", param="input"
                )
        return Rounds(self._inference, turn, painter, whole=whole)

    def _make_once(self, request: Request, tenant: str, key: str, request_hash: str) -> Body:
        """The response of an idempotency key: made now, or before."""
        if not request.stored:
            raise InvalidRequest(
                "An idempotency key needs a response that is stored.", param="Idempotency-Key"
            )
        response_id = id_for_key("resp", tenant, checked_key(key))
        token = self._reserved(response_id, request_hash)
        if token is None:
            stored = self._store.get(response_id, tenant)
            if stored.status == "queued":
                # Whoever stored it may have died before this; twice does no harm.
                self.background.enqueue(response_id, tenant)
            return self._store.shown.response(stored.response, tenant)
        try:
            renewal = (self._turns.sign_of_life, lambda: self._store.keys.renew(response_id, token))
            with Periodic(f"renewal-{response_id}", renewal, until=ResponseSuperseded):
                return self._make(request, tenant, response_id)
        except BaseException:
            self._store.keys.release(response_id, token)
            raise

    def _reserved(self, response_id: str, request_hash: str) -> str | None:
        """As ``IdempotencyKeys.reserve``, after another request with the key has ended."""
        until = self._clock.now() + KEY_PATIENCE
        while True:
            try:
                return self._store.keys.reserve(response_id, request_hash)
            except StillRunning:
                if self._clock.now() >= until:
                    raise Conflict(
                        "An earlier request with this idempotency key is still being answered.",
                        param="Idempotency-Key",
                        retry_after=5.0,
                    ) from None
                self._clock.sleep(TAIL_INTERVAL)

    def stream(
        self,
        body: Mapping[str, Any],
        tenant: str = "local",
        *,
        idempotency_key: str | None = None,
    ) -> ResponseStream:
        """``POST /v1/responses`` with ``stream: true``: the official events.

        Raises what ``create`` raises, before the first event. From then on failures are events.
        An ``idempotency_key`` is for responses in the background only: no other stream can be
        given a second time.
        """
        request = self._parsed(body, tenant)
        if request.background:
            queued = self.create(body, tenant, idempotency_key=idempotency_key)
            return self.background.events(queued["id"], tenant)
        if idempotency_key is not None:
            raise InvalidRequest(
                "A stream can be repeated only when it is made with 'background'.",
                param="Idempotency-Key",
            )
        turn = self._turns.begin(request, tenant, "in_progress", new_id("resp"))
        with self._turns.holding(turn), ExitStack() as stack:
            stack.enter_context(self._turns.renewing(turn))
            rounds = self._rounds(turn)
            opening = Opening(rounds.open)
            stack.callback(opening.close)
            if opening.ended(FIRST_EVENT_PATIENCE):
                opening.stream()  # raises what kept it from being opened
            held = stack.pop_all()

            def close() -> None:
                rounds.close()
                opening.close()

            return ResponseStream(lambda cut: self._play(turn, rounds, opening, held, cut), close)

    def _play(
        self,
        turn: Turn,
        rounds: Rounds,
        opening: Opening,
        held: ExitStack,
        cut: threading.Event,
    ) -> Generator[Body, None, None]:
        answer = rounds.answer
        concluded = False
        with held:
            try:
                yield {}  # see ResponseStream
                try:
                    yield from answer.start()
                    for event in rounds.events(opening.stream()):
                        yield event
                        # Not before: the first word must not wait for the store.
                        self._turns.note(turn, answer, event)
                    if cut.is_set():
                        return
                    yield from answer.end(self._turns.now())
                except Exception as error:  # noqa: BLE001 - told, and logged where it is ours
                    if cut.is_set():
                        return
                    answer.fail(told(error, turn.stored.id))
                # Before the last event, so that a client which continues at once finds it.
                concluded = True
                self._conclude(turn, answer)
                yield answer.terminal()
            finally:
                opening.close()
                if not concluded:
                    answer.cut()
                    self._turns.conclude(turn, answer)

    def _conclude(self, turn: Turn, answer: AnswerBuilder) -> None:
        try:
            self._turns.conclude(turn, answer)
        except Exception as error:  # noqa: BLE001 - told, and logged where it is ours
            # The client must not take for remembered what is not.
            answer.fail(told(error, turn.stored.id))

    def count_input_tokens(self, body: Mapping[str, Any], tenant: str = "local") -> Body:
        """``POST /v1/responses/input_tokens``, by an upstream that counts them.

        What the request continues is counted with it. Raises InvalidRequest, NotFound and the
        ``Upstream*`` errors.
        """
        request = parse_request(body)
        items = self._turns.context(request, tenant)
        return self._inference.count(request, items)

    def get(self, response_id: str, tenant: str = "local") -> Body:
        """``GET /v1/responses/{id}``. Raises NotFound."""
        return self._store.shown.response(self._turns.present(response_id, tenant).response, tenant)

    def input_items(
        self,
        response_id: str,
        tenant: str = "local",
        *,
        limit: int = PAGE_SIZE,
        order: Literal["asc", "desc"] = "desc",
        after: str | None = None,
    ) -> Body:
        """``GET /v1/responses/{id}/input_items``: what the response was asked, page by page."""
        items = self._store.get(response_id, tenant).input
        return item_page(
            items,
            limit=limit,
            order=order,
            after=after,
            show=lambda item: self._store.shown.item(item, tenant),
        )

    def delete(self, response_id: str, tenant: str = "local") -> Body:
        """``DELETE /v1/responses/{id}``, with what it drew. What continues it stays, without its
        words."""
        stored = self._store.get(response_id, tenant)
        for item in stored.response["output"]:
            if self._draws is not None and item.get("job_id"):
                self._draws.delete(item["job_id"], tenant)
        if stored.upstream_id is not None:
            cast(ResponsesDriver, self._driver).delete_response(stored.upstream_id)
        self._store.delete(stored)
        return {"id": response_id, "object": "response", "deleted": True}


def memory_store(clock: Clock | None = None) -> ResponseStore:
    """A store in this process, for the library and for tests."""
    clock = clock or SystemClock()
    records = MemoryRecords()
    conversations = Conversations(records, Jobs(records, clock), clock)
    return ResponseStore(records, conversations, MemoryImages(), clock=clock)
