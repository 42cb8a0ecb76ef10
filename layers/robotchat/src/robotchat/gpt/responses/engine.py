"""The Responses API over any chat completions upstream: answers that remember what was said.

``Responses`` does what ``/v1/responses`` does, in OpenAI's own bodies. The turns are kept in a
``ResponseStore``; each request sends the upstream the whole conversation so far, or, where the
upstream knows ``/v1/responses`` itself and is trusted with the state (``mode="responses"``), only
what is new.

What is stored is what was said. A stream that its client leaves is stored as incomplete with the
text so far; one that the upstream breaks is stored as failed.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, cast

from robotchat.clock import Clock, SystemClock
from robotchat.conversation import Conversation, Conversations
from robotchat.errors import (
    Conflict,
    ContextLengthExceeded,
    ConversationBusy,
    InvalidRequest,
    NotFound,
    RobotchatError,
    UpstreamError,
    UpstreamRejected,
)
from robotchat.gpt.driver import Body, ChatDriver, EventStream, ResponsesDriver
from robotchat.gpt.responses.events import FINAL, Answer, ChatAnswer, RelayedAnswer
from robotchat.gpt.responses.items import (
    Request,
    chat_body,
    check_metadata,
    fit,
    parse_items,
    parse_request,
    picture_turn,
    relayed_items,
    response_object,
)
from robotchat.gpt.responses.store import (
    CONTINUED,
    Claim,
    ResponseStore,
    StoredResponse,
    Superseded,
)
from robotchat.ids import checked_key, fingerprint, id_for_key, new_id
from robotchat.images import MemoryImages
from robotchat.jobs.job import Job
from robotchat.jobs.states import StillRunning
from robotchat.jobs.store import Jobs
from robotchat.records import MemoryRecords, Operation

logger = logging.getLogger(__name__)

T = TypeVar("T")

INLINE_LIFETIME = timedelta(minutes=16)
"""Longest that a request may take which its caller waits for: a little more than a function may."""

WORKER_LIFETIME = timedelta(seconds=60)
"""A response in the background whose worker shows no sign of life for this long is taken over."""

SIGN_OF_LIFE = 20.0
"""Seconds between two signs of life."""

CANCEL_CHECK = 1.0
"""Seconds between two looks whether a response in the background was cancelled."""

FLUSH_AFTER = 0.25
"""Seconds for which events of a response in the background are collected into one write."""

TAIL_INTERVAL = 0.2
"""Seconds between two looks for new events of a response in the background."""

MAX_HALVINGS = 3
"""How often the past is halved for an upstream that says that the context is too long."""

KEY_PATIENCE = timedelta(seconds=60)
"""How long a request waits for an earlier one that has the same idempotency key."""

MAX_ADDED_ITEMS = 20
"""Most items that can be put into a conversation at a time, as OpenAI has it."""

Show = Callable[[Body, Job | None], Body]
"""How an item is shown; with the job behind it, for the items of a picture turn."""


@dataclass(frozen=True)
class Options:
    """How the upstream is used."""

    mode: Literal["chat", "responses"] = "chat"
    """Who keeps the state: we, over chat completions, or an upstream with ``/v1/responses``."""
    context_window: int | None = None
    """Tokens that the model takes in all; None when only the upstream knows."""
    max_tokens_field: str = "max_tokens"
    """How the upstream calls the limit of an answer; some want ``max_completion_tokens``."""
    cache_prompt: bool = False
    """Ask llama.cpp to keep the evaluated prompt for the next request of the conversation."""


@dataclass
class _Turn:
    """One response being made: what is asked, its record, and its place in a conversation."""

    request: Request
    stored: StoredResponse
    claim: Claim | None
    previous: StoredResponse | None = None
    """What it continues, if that has been read already."""
    begun: bool = False
    """Whether its record is in the store."""
    noted: bool = False
    """Whether it was tried to store that it has begun."""

    @property
    def recorded(self) -> bool:
        # In a conversation also what may not be read back by its id is remembered.
        return self.request.stored or self.claim is not None

    def as_of(self, answer: Answer) -> StoredResponse:
        """The record with what the answer has come to."""
        # Of a conversation, the upstream keeps nothing that could be continued there.
        upstream_id = answer.upstream_id if self.claim is None else None
        return replace(self.stored, response=answer.response, upstream_id=upstream_id)


class Responses:
    """The Responses API. ``tenant`` separates callers who must not see each other's responses.

    ``model`` is used where a request names none. ``enqueue`` hands the id of a background
    response (and its tenant) to a worker, which calls ``run``; by default a thread of this process
    does. What was drawn in a conversation of the ``store`` can be talked about.
    """

    def __init__(
        self,
        driver: ChatDriver,
        *,
        model: str | None = None,
        store: ResponseStore | None = None,
        options: Options | None = None,
        enqueue: Callable[[str, str], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._driver = driver
        self._model = model
        self._clock = clock or SystemClock()
        self._store = store or memory_store(self._clock)
        self._options = options or Options()
        self._enqueue = enqueue or self._run_in_thread

    # Making responses.

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
        request = parse_request(body)
        if idempotency_key is None:
            return self._make(request, tenant, new_id("resp"))
        return self._make_once(request, tenant, idempotency_key, fingerprint({"body": body}))

    def _make(self, request: Request, tenant: str, response_id: str) -> Body:
        if request.background:
            return self._queue(request, tenant, response_id).response
        turn = self._begin(request, tenant, "in_progress", response_id)
        with self._holding(turn), self._renewing(turn):
            answer = self._ask(turn)
            self._settle(turn, answer)
        return answer.response

    def _make_once(self, request: Request, tenant: str, key: str, said: str) -> Body:
        """The response of an idempotency key: made now, or before."""
        if not request.stored:
            raise InvalidRequest(
                "An idempotency key needs a response that is stored.", param="Idempotency-Key"
            )
        response_id = id_for_key("resp", tenant, checked_key(key))
        token = self._reserved(response_id, said)
        if token is None:
            stored = self._store.get(response_id, tenant)
            if stored.status == "queued":
                # Whoever stored it may have died before this; twice does no harm.
                self._enqueue(response_id, tenant)
            return stored.response
        try:
            renewal = (SIGN_OF_LIFE, lambda: self._store.renew_key(response_id, token))
            with _Beside(response_id, renewal):
                return self._make(request, tenant, response_id)
        except BaseException:
            self._store.release_key(response_id, token)
            raise

    def _reserved(self, response_id: str, said: str) -> str | None:
        """As ``ResponseStore.reserve``, after another request with the key has ended."""
        until = self._clock.now() + KEY_PATIENCE
        while True:
            try:
                return self._store.reserve(response_id, said)
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
        request = parse_request(body)
        if request.background:
            queued = self.create(body, tenant, idempotency_key=idempotency_key)
            return self.events(queued["id"], tenant)
        if idempotency_key is not None:
            raise InvalidRequest(
                "A stream can be repeated only when it is made with 'background'.",
                param="Idempotency-Key",
            )
        turn = self._begin(request, tenant, "in_progress", new_id("resp"))
        with self._holding(turn):
            source = self._open(turn)
            return ResponseStream(lambda cut: self._play(turn, source, cut), source.close)

    def _play(
        self, turn: _Turn, source: EventStream, cut: threading.Event
    ) -> Generator[Body, None, None]:
        answer = self._answer(turn)
        concluded = False
        with self._renewing(turn):
            try:
                yield {}  # see ResponseStream
                try:
                    yield from answer.start()
                    for event in source:
                        yield from answer.feed(event)
                        # Not before: the first word must not wait for the store.
                        self._note_beginning(turn, answer)
                    if cut.is_set():
                        return
                    yield from answer.end(self._now())
                except UpstreamError as error:
                    if cut.is_set():
                        return
                    answer.fail(error)
                # Before the last event, so that a client which continues at once finds it.
                concluded = True
                self._conclude(turn, answer)
                yield answer.terminal()
            finally:
                source.close()
                if not concluded:
                    answer.cut()
                    self._conclude(turn, answer)

    # Responses in the background.

    def _queue(self, request: Request, tenant: str, response_id: str) -> StoredResponse:
        turn = self._begin(request, tenant, "queued", response_id)
        with self._holding(turn):
            body = {**request.body, "input": request.items}
            stored = self._store.add(replace(turn.stored, request=body))
            try:
                self._enqueue(stored.id, tenant)
            except BaseException:
                self._store.remove(stored)
                raise
        return stored

    def run(self, response_id: str, *, beat: Callable[[], None] = lambda: None) -> None:
        """Make a queued response: what a worker does. ``beat`` is called every 20 s or so.

        A response that is final already, or deleted, is left alone. Raises StillRunning while
        another worker is on it. A worker that died after the first words leaves a failed
        response, since the words cannot be taken back; before that, another one starts anew.
        """
        stored = self._take_up(response_id)
        if stored is None:
            return
        request = parse_request(stored.request or {})
        turn = _Turn(request, stored, Claim.of(stored), begun=True)
        answer = self._answer(turn)
        log = _EventLog(self._store, stored)
        watch = _Watch()
        beside = _Beside(
            response_id,
            (FLUSH_AFTER, log.flush),
            (CANCEL_CHECK, lambda: self._look(stored, watch)),
            (SIGN_OF_LIFE, lambda: self._show_life(turn, beat)),
        )
        with beside:
            try:
                self._listen(turn, answer, log, watch)
            except RobotchatError as error:
                answer.fail(error)
            except Superseded:
                watch.supersede()
        if watch.superseded:
            # Cancelled, deleted or taken over: whoever did that has written what is to be known.
            logger.info("response superseded", extra={"response_id": response_id})
            return
        self._conclude(turn, answer, log)

    def _listen(self, turn: _Turn, answer: Answer, log: _EventLog, watch: _Watch) -> None:
        # The first events are not written before the first words: until then, the work of a
        # worker that dies can be done again.
        log.hold(answer.start())
        source = self._open(turn)
        watch.over(source)
        try:
            for event in source:
                log.add(answer.feed(event))
        finally:
            source.close()
        if not watch.superseded:
            log.add(answer.end(self._now()))

    def _take_up(self, response_id: str) -> StoredResponse | None:
        def take(stored: StoredResponse) -> StoredResponse:
            now = self._clock.now()
            if stored.final:
                return stored
            if stored.alive_until and now < stored.alive_until:
                raise StillRunning((stored.alive_until - now).total_seconds())
            if self._store.read_events(response_id, 0) is not None:
                return _interrupted(stored)
            return replace(
                stored,
                response={**stored.response, "status": "in_progress"},
                attempt=stored.attempt + 1,
                alive_until=now + WORKER_LIFETIME,
            )

        try:
            taken = self._store.change(response_id, take)
        except NotFound:
            return None
        return None if taken.final else taken

    def _look(self, stored: StoredResponse, watch: _Watch) -> None:
        present = self._store.find(stored.id)
        if present is None or present.final or present.attempt != stored.attempt:
            watch.supersede()

    def _show_life(self, turn: _Turn, beat: Callable[[], None]) -> None:
        def extend(stored: StoredResponse) -> StoredResponse:
            if stored.final or stored.attempt != turn.stored.attempt:
                return stored
            return replace(stored, alive_until=self._clock.now() + WORKER_LIFETIME)

        self._store.change(turn.stored.id, extend)
        if turn.claim is not None:
            self._store.renew(turn.claim)
        beat()

    def _run_in_thread(self, response_id: str, tenant: str) -> None:
        name = f"response-{response_id}"
        threading.Thread(target=self.run, args=(response_id,), name=name, daemon=True).start()

    # Looking at responses.

    def get(self, response_id: str, tenant: str = "local") -> Body:
        """``GET /v1/responses/{id}``. Raises NotFound."""
        return self._present(response_id, tenant).response

    def events(
        self, response_id: str, tenant: str = "local", *, starting_after: int = -1
    ) -> ResponseStream:
        """``GET /v1/responses/{id}?stream=true``: the events after a sequence number.

        Follows a response in the background to its end. Raises NotFound, and InvalidRequest for
        one that was not made in the background.
        """
        if not self._present(response_id, tenant).response["background"]:
            raise InvalidRequest(
                "Only a response made with 'background' can be streamed again.", param="stream"
            )
        return ResponseStream(lambda cut: self._tail(response_id, starting_after, cut))

    def _tail(
        self, response_id: str, after: int, cut: threading.Event
    ) -> Generator[Body, None, None]:
        yield {}  # see ResponseStream
        last = -1
        index = 0
        ended: StoredResponse | None = None
        while not cut.is_set():
            batch = self._store.read_events(response_id, index)
            if batch is not None:
                index += 1
                for event in batch:
                    last = event["sequence_number"]
                    if last > after:
                        yield event
                    if event["type"] in _TERMINAL:
                        return
            elif ended is not None:
                # It ended without a last event: it was cancelled, or its worker is gone.
                kind = "response.failed" if ended.status == "failed" else "response.incomplete"
                yield {"type": kind, "sequence_number": last + 1, "response": ended.response}
                return
            else:
                stored = self._store.find(response_id)
                if stored is None:
                    raise NotFound("The response was deleted.")
                if stored.final:
                    ended = stored
                else:
                    self._clock.sleep(TAIL_INTERVAL)

    def input_items(
        self,
        response_id: str,
        tenant: str = "local",
        *,
        limit: int = 20,
        order: Literal["asc", "desc"] = "desc",
        after: str | None = None,
    ) -> Body:
        """``GET /v1/responses/{id}/input_items``: what the response was asked, page by page."""
        items = self._store.get(response_id, tenant).input
        return item_page(items, limit=limit, order=order, after=after)

    def delete(self, response_id: str, tenant: str = "local") -> Body:
        """``DELETE /v1/responses/{id}``. What continues it stays, without its words."""
        stored = self._store.get(response_id, tenant)
        if stored.upstream_id is not None:
            cast(ResponsesDriver, self._driver).delete_response(stored.upstream_id)
        self._store.delete(stored)
        return {"id": response_id, "object": "response", "deleted": True}

    def cancel(self, response_id: str, tenant: str = "local") -> Body:
        """``POST /v1/responses/{id}/cancel``; a final response is given back as it is.

        Raises NotFound, and InvalidRequest for one that was not made in the background.
        """
        stored = self._store.get(response_id, tenant)
        if not stored.response["background"]:
            raise InvalidRequest(
                "Only a response made with 'background' can be cancelled.", param="response_id"
            )

        def cancel(present: StoredResponse) -> StoredResponse:
            if present.final:
                return present
            return replace(present, response={**present.response, "status": "cancelled"})

        cancelled = self._store.change(response_id, cancel)
        if claim := Claim.of(cancelled):
            self._store.release(claim)
        return cancelled.response

    # Conversations.

    def create_conversation(
        self,
        tenant: str = "local",
        *,
        metadata: dict[str, Any] | None = None,
        items: object = None,
    ) -> Conversation:
        """``POST /v1/conversations``: a new one, with items already in it or not."""
        check_metadata(metadata or {})
        parsed = _added_items(items) if items else []
        conversation = self._store.conversations.create(tenant, metadata=metadata)
        if not parsed:
            return conversation
        self._store.add_items(conversation.id, tenant, parsed, title=_title(parsed))
        return self._store.conversations.get(conversation.id, tenant)

    def update_conversation(
        self, conversation_id: str, tenant: str = "local", *, metadata: dict[str, Any]
    ) -> Conversation:
        """``POST /v1/conversations/{id}``: replace the metadata. Raises NotFound."""
        check_metadata(metadata)
        return self._store.conversations.update(conversation_id, tenant, metadata=metadata)

    def conversation_items(self, conversation_id: str, tenant: str = "local") -> list[Body]:
        """Everything said and drawn in a conversation, in order. Raises NotFound."""
        return [item for item, _ in self._transcript(conversation_id, tenant)]

    def list_items(
        self,
        conversation_id: str,
        tenant: str = "local",
        *,
        limit: int = 20,
        order: Literal["asc", "desc"] = "desc",
        after: str | None = None,
        show: Show = lambda item, job: item,
    ) -> Body:
        """``GET /v1/conversations/{id}/items``: what was said and drawn, page by page."""
        transcript = self._transcript(conversation_id, tenant)
        items = [item for item, _ in transcript]
        page = item_page(items, limit=limit, order=order, after=after)
        jobs = {item["id"]: job for item, job in transcript}
        return {**page, "data": [show(item, jobs[item["id"]]) for item in page["data"]]}

    def item(
        self,
        conversation_id: str,
        item_id: str,
        tenant: str = "local",
        *,
        show: Show = lambda item, job: item,
    ) -> Body:
        """``GET /v1/conversations/{id}/items/{item_id}``. Raises NotFound."""
        for item, job in self._transcript(conversation_id, tenant):
            if item["id"] == item_id:
                return show(item, job)
        raise _no_item(item_id)

    def add_items(self, conversation_id: str, items: object, tenant: str = "local") -> Body:
        """``POST /v1/conversations/{id}/items``: put items in; the list as it is stored.

        Raises InvalidRequest, NotFound, and ConversationBusy while a response is being made.
        """
        parsed = _added_items(items)
        self._store.add_items(conversation_id, tenant, parsed, title=_title(parsed))
        return item_page(parsed, limit=MAX_ADDED_ITEMS, order="asc")

    def delete_item(self, conversation_id: str, item_id: str, tenant: str = "local") -> Job | None:
        """Forget one item of a conversation. Raises NotFound.

        An item of a picture turn is not forgotten here: its job is given, which is to be deleted
        as jobs are (``Robot.delete_job``), and takes the turn with it.
        """

        def others(items: Sequence[Body]) -> list[Body]:
            return [item for item in items if item["id"] != item_id]

        def without(stored: StoredResponse) -> StoredResponse:
            response = {**stored.response, "output": others(stored.response["output"])}
            return replace(stored, response=response, input=others(stored.input))

        for stored in self._store.conversation_history(conversation_id, tenant):
            if any(item["id"] == item_id for item in stored.items):
                self._store.change(stored.id, without)
                return None
        for job in self._store.pictures(conversation_id):
            if any(item["id"] == item_id for item in picture_turn(job)):
                return job
        raise _no_item(item_id)

    def _transcript(self, conversation_id: str, tenant: str) -> list[tuple[Body, Job | None]]:
        """The items of a conversation in order, with the jobs behind those of picture turns."""
        history = self._store.conversation_history(conversation_id, tenant)
        return [
            (item, job) for items, job in self._turns(conversation_id, history) for item in items
        ]

    def _present(self, response_id: str, tenant: str) -> StoredResponse:
        """The response; failed, if whoever was making it is gone without a trace."""
        stored = self._store.get(response_id, tenant)
        if not self._lost(stored):
            return stored
        return self._store.change(
            response_id, lambda found: _interrupted(found) if self._lost(found) else found
        )

    def _lost(self, stored: StoredResponse) -> bool:
        # Work in the background is first offered to another worker.
        patience = INLINE_LIFETIME if stored.response["background"] else timedelta()
        return (
            stored.status == "in_progress"
            and stored.alive_until is not None
            and self._clock.now() > stored.alive_until + patience
        )

    # One turn.

    def _begin(self, request: Request, tenant: str, status: str, response_id: str) -> _Turn:
        """Find what the request continues, and claim the conversation."""
        stored = StoredResponse(
            tenant=tenant,
            response=response_object(
                request, response_id, model=self._model, created_at=self._now(), status=status
            ),
            input=request.items,
            thread=f"thread#{response_id}",
            alive_until=None if request.background else self._clock.now() + INLINE_LIFETIME,
        )
        if request.conversation_id is not None:
            claim = self._store.claim(
                request.conversation_id,
                tenant,
                response_id,
                title=_title(request.items),
                queued=request.background,
            )
            thread = f"conversation#{claim.conversation_id}"
            stored = replace(stored, previous=claim.head, thread=thread, position=claim.turn)
            return _Turn(request, stored, claim)
        if request.previous_response_id is None:
            return _Turn(request, stored, None)
        previous = self._previous(request.previous_response_id, tenant)
        if previous.conversation_id is None:
            thread, position = previous.thread, previous.position + 1
        else:
            # The thread there is the conversation's own; a branch of it must not appear in it.
            thread, position = f"thread#{previous.id}", 1
        stored = replace(stored, previous=previous.id, thread=thread, position=position)
        return _Turn(request, stored, None, previous)

    def _previous(self, response_id: str, tenant: str) -> StoredResponse:
        try:
            previous = self._store.get(response_id, tenant)
        except NotFound:
            raise NotFound(
                f"Previous response with id '{response_id}' not found.",
                param="previous_response_id",
            ) from None
        if not previous.final:
            raise Conflict(
                "The previous response is not finished yet.",
                param="previous_response_id",
                retry_after=1.0,
            )
        if previous.status not in CONTINUED:
            raise InvalidRequest(
                f"The previous response is {previous.status}: there is nothing to continue.",
                param="previous_response_id",
            )
        return previous

    def _answer(self, turn: _Turn) -> Answer:
        response = {**turn.stored.response, "status": "in_progress", "output": []}
        if self._options.mode == "responses":
            return RelayedAnswer(response)
        return ChatAnswer(response)

    def _ask(self, turn: _Turn) -> Answer:
        """Ask the upstream for a whole answer."""
        answer = self._answer(turn)
        if isinstance(answer, RelayedAnswer):
            driver = cast(ResponsesDriver, self._driver)
            answer.take(driver.create_response(self._relay_body(turn)))
        elif isinstance(answer, ChatAnswer):
            _drain(answer.feed_whole(self._fitting(turn, self._driver.chat_completion)))
        _drain(answer.end(self._now()))
        return answer

    def _open(self, turn: _Turn) -> EventStream:
        """Ask the upstream for a stream, and wait for its first event."""
        if self._options.mode == "responses":
            driver = cast(ResponsesDriver, self._driver)
            return driver.stream_response(self._relay_body(turn))
        usage = {"stream_options": {"include_usage": True}}
        return self._fitting(
            turn, lambda body: self._driver.stream_chat_completion({**body, **usage})
        )

    def _fitting(self, turn: _Turn, ask: Callable[[Body], T]) -> T:
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

    def _relay_body(self, turn: _Turn) -> Body:
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

    def _history(self, turn: _Turn) -> list[Sequence[Body]]:
        last = self._last(turn)
        history = self._store.history(last) if last else []
        if turn.claim is None:
            return [stored.items for stored in history]
        return [items for items, _ in self._turns(turn.claim.conversation_id, history)]

    def _last(self, turn: _Turn) -> StoredResponse | None:
        if turn.previous is None and turn.stored.previous is not None:
            turn.previous = self._store.find(turn.stored.previous)
        return turn.previous

    def _turns(
        self, conversation_id: str, history: Sequence[StoredResponse]
    ) -> list[tuple[Sequence[Body], Job | None]]:
        """What was said and what was drawn, in the order in which it was asked for."""
        said = [(stored.position, stored.items, None) for stored in history]
        jobs = self._store.pictures(conversation_id)
        drawn = [(job.turn or 0, picture_turn(job), job) for job in jobs]
        turns: list[tuple[int, list[Body], Job | None]] = [*said, *drawn]
        return [(items, job) for _, items, job in sorted(turns, key=lambda turn: turn[0])]

    def _note_beginning(self, turn: _Turn, answer: Answer) -> None:
        """Store that a response is being made, once something was said, so that it can be seen."""
        if not turn.recorded or turn.noted or not answer.response["output"]:
            return
        turn.noted = True
        claim = turn.claim
        try:
            self._store.add(
                turn.as_of(answer), lambda stored: [self._store.keeping(claim)] if claim else []
            )
        except (ConversationBusy, NotFound):
            # The conversation has gone on without this response, or is gone; see `_conclude`.
            return
        turn.begun = True

    def _conclude(self, turn: _Turn, answer: Answer, log: _EventLog | None = None) -> None:
        """Store the final response, whatever became of its conversation."""
        try:
            self._settle(turn, answer, log)
        except ConversationBusy as error:
            answer.fail(error)
            self._settle(replace(turn, claim=None), answer, log)

    def _settle(self, turn: _Turn, answer: Answer, log: _EventLog | None = None) -> None:
        """Store the final response, its place in the conversation and its last events at once.

        Raises ConversationBusy when the conversation went on without this response. One that was
        deleted, cancelled or taken over meanwhile stays as it is.
        """
        if not turn.recorded:
            return
        claim = turn.claim

        def also(stored: StoredResponse) -> list[Operation]:
            operations = []
            if claim is not None:
                operations.append(self._store.closing(claim, stored))
            if log is not None:
                operations.append(log.ending(answer.terminal()))
            return operations

        def finish(present: StoredResponse) -> StoredResponse:
            if present.final or present.attempt != turn.stored.attempt:
                raise Superseded(present.id)
            return replace(turn.as_of(answer), version=present.version)

        try:
            if turn.begun:
                self._store.change(turn.stored.id, finish, also)
            else:
                self._store.add(turn.as_of(answer), also)
        except (NotFound, Superseded):
            logger.info("response superseded", extra={"response_id": turn.stored.id})
            if claim is not None:
                self._store.release(claim)

    @contextmanager
    def _holding(self, turn: _Turn) -> Iterator[None]:
        """Give the conversation free when the turn comes to nothing."""
        try:
            yield
        except BaseException:
            if turn.claim is not None:
                self._store.release(turn.claim)
            raise

    @contextmanager
    def _renewing(self, turn: _Turn) -> Iterator[None]:
        """Keep the claim on the conversation for as long as this takes."""
        claim = turn.claim
        if claim is None:
            yield
            return
        with _Beside(turn.stored.id, (SIGN_OF_LIFE, lambda: self._store.renew(claim))):
            yield

    def _now(self) -> int:
        return int(self._clock.now().timestamp())


class ResponseStream:
    """The events of a response. ``close`` may be called from another thread at any time.

    When it returns, the upstream's work is ended and what was said is stored. ``play`` makes the
    events; its first one is swallowed here, so that the generator has begun and closing it always
    runs its ``finally``. It learns by an event whether it was closed.
    """

    def __init__(
        self,
        play: Callable[[threading.Event], Generator[Body, None, None]],
        unblock: Callable[[], None] = lambda: None,
    ) -> None:
        self._cut = threading.Event()
        self._unblock = unblock
        self._events = play(self._cut)
        self._turn = threading.Lock()
        next(self._events)

    def __iter__(self) -> Iterator[Body]:
        return self

    def __next__(self) -> Body:
        with self._turn:
            return next(self._events)

    def close(self) -> None:
        """Stop, and store what was said so far."""
        self._cut.set()
        self._unblock()
        with self._turn:
            self._events.close()


class _Watch:
    """Notices that a response in the background is someone else's now, and stops its source."""

    def __init__(self) -> None:
        self._source: EventStream | None = None
        self.superseded = False

    def over(self, source: EventStream) -> None:
        self._source = source
        if self.superseded:
            source.close()

    def supersede(self) -> None:
        self.superseded = True
        if self._source is not None:
            self._source.close()


class _EventLog:
    """Collects events for a short while, and writes them as numbered batches."""

    def __init__(self, store: ResponseStore, stored: StoredResponse) -> None:
        self._store = store
        self._stored = stored
        self._lock = threading.Lock()
        self._held: list[Body] = []
        self._pending: list[Body] = []
        self._index = 0
        self._flushed = float("-inf")

    def hold(self, events: Iterable[Body]) -> None:
        """Events to write together with the next ones."""
        self._held.extend(events)

    def add(self, events: Iterable[Body]) -> None:
        with self._lock:
            self._pending.extend(events)
            if time.monotonic() - self._flushed >= FLUSH_AFTER:
                self._write()

    def flush(self) -> None:
        with self._lock:
            self._write()

    def ending(self, terminal: Body) -> Operation:
        """The write of the last events."""
        last = [*self._held, *self._pending, terminal]
        return self._store.events_put(self._stored, self._index, last)

    def _write(self) -> None:
        if self._pending:
            batch = [*self._held, *self._pending]
            self._store.write_events(self._stored, self._index, batch)
            self._held, self._pending = [], []
            self._index += 1
            self._flushed = time.monotonic()


class _Beside:
    """A thread beside the work that does things every so many seconds."""

    def __init__(self, name: str, *tasks: tuple[float, Callable[[], None]]) -> None:
        self._name = name
        self._tasks = tasks
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"beside-{name}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        tick = min(interval for interval, _ in self._tasks)
        started = time.monotonic()
        due = [started + interval for interval, _ in self._tasks]
        while not self._stop.wait(tick):
            now = time.monotonic()
            for number, (interval, task) in enumerate(self._tasks):
                if now < due[number]:
                    continue
                due[number] = now + interval
                try:
                    task()
                except Superseded:
                    return
                except Exception:
                    # The store may be away for a moment; the next time tries again.
                    logger.exception("work beside failed", extra={"response_id": self._name})


_TERMINAL = frozenset(f"response.{status}" for status in FINAL)

_TOO_LONG = re.compile(r"context (length|size|window)|maximum context", re.IGNORECASE)


def _says_too_long(error: UpstreamRejected) -> bool:
    codes = {error.details.get("code"), error.details.get("type")}
    return bool(codes & {"context_length_exceeded", "exceed_context_size_error"}) or bool(
        _TOO_LONG.search(error.message)
    )


def _interrupted(stored: StoredResponse) -> StoredResponse:
    error = {"code": "server_error", "message": "The response was interrupted. Ask again."}
    response = {**stored.response, "status": "failed", "error": error}
    return replace(stored, response=response)


def _added_items(given: object) -> list[Body]:
    parsed = parse_items(given, "items")
    if not 1 <= len(parsed) <= MAX_ADDED_ITEMS:
        raise InvalidRequest(
            f"Between 1 and {MAX_ADDED_ITEMS} items can be added at a time.", param="items"
        )
    return parsed


def _no_item(item_id: str) -> NotFound:
    return NotFound(f"Item with id '{item_id}' not found.", param="item_id")


def _title(items: Iterable[Body]) -> str:
    for item in items:
        if item["type"] == "message" and item["role"] == "user":
            texts = [part["text"] for part in item["content"] if part["type"] == "input_text"]
            return " ".join(texts)[:80]
    return ""


def _drain(events: Iterable[Body]) -> None:
    for _ in events:
        continue


def item_page(
    items: Sequence[Body],
    *,
    limit: int = 20,
    order: Literal["asc", "desc"] = "desc",
    after: str | None = None,
) -> Body:
    """A page of a list of items, as the API gives it. Raises InvalidRequest."""
    if not 1 <= limit <= 100:
        raise InvalidRequest("'limit' must be between 1 and 100.", param="limit")
    ordered = list(items) if order == "asc" else list(reversed(items))
    if after is not None:
        ids = [item["id"] for item in ordered]
        if after not in ids:
            raise InvalidRequest("'after' is not the id of an item in this list.", param="after")
        ordered = ordered[ids.index(after) + 1 :]
    page = ordered[:limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(ordered) > limit,
    }


def memory_store(clock: Clock | None = None) -> ResponseStore:
    """A store in this process, for the library and for tests."""
    clock = clock or SystemClock()
    records = MemoryRecords()
    conversations = Conversations(records, Jobs(records, clock), clock)
    return ResponseStore(records, conversations, MemoryImages(), clock=clock)
