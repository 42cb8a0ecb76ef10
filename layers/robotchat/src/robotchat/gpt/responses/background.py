"""Responses that a worker makes, and whose events can be read again from any point."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from datetime import timedelta

from robotchat.clock import Clock
from robotchat.errors import InvalidRequest, NotFound
from robotchat.gpt.driver import Body
from robotchat.gpt.responses.events import FINAL, AnswerBuilder, closed, told
from robotchat.gpt.responses.request import Request, parse_request
from robotchat.gpt.responses.rounds import Rounds
from robotchat.gpt.responses.store import Claim, ResponseStore, ResponseSuperseded, StoredResponse
from robotchat.gpt.responses.stream import ResponseStream
from robotchat.gpt.responses.turns import SIGN_OF_LIFE, Turn, Turns, interrupted
from robotchat.jobs.states import StillRunning
from robotchat.periodic import Periodic
from robotchat.records import Operation

logger = logging.getLogger(__name__)

WORKER_LIFETIME = timedelta(seconds=60)
"""A response in the background whose worker shows no sign of life for this long is taken over."""

CANCEL_CHECK = 1.0
"""Seconds between two looks whether a response in the background was cancelled."""

FLUSH_AFTER = 0.25
"""Seconds for which events of a response in the background are collected into one write."""

CONCLUDE_AGAIN = (0.5, 2.0, 5.0)
"""Seconds between attempts to store how a response ended."""

TAIL_INTERVAL = 0.2
"""Seconds between two looks for new events of a response in the background."""

_TERMINAL = frozenset(f"response.{status}" for status in FINAL)


class Background:
    """Makes responses in the background. ``enqueue`` hands the id (and tenant) to a worker.

    ``rounds`` makes the one that a turn takes.
    """

    def __init__(
        self,
        store: ResponseStore,
        turns: Turns,
        rounds: Callable[[Turn], Rounds],
        *,
        enqueue: Callable[[str, str], None] | None,
        clock: Clock,
    ) -> None:
        self._store = store
        self._turns = turns
        self._rounds = rounds
        self._clock = clock
        self.enqueue = enqueue or self._run_in_thread

    def queue(self, request: Request, tenant: str, response_id: str) -> StoredResponse:
        turn = self._turns.begin(request, tenant, "queued", response_id)
        with self._turns.holding(turn):
            self._rounds(turn)  # raises what cannot be drawn
            body = {**request.body, "input": request.items}
            stored = self._store.add(replace(turn.stored, request=body))
            try:
                self.enqueue(stored.id, tenant)
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
        turn = Turn(request, stored, Claim.of(stored), begun=True)
        rounds = self._rounds(turn)
        answer = rounds.answer
        log = _EventLog(self._store, stored)
        watch = _Watch(rounds)
        beside = Periodic(
            f"background-{response_id}",
            (FLUSH_AFTER, log.flush),
            (CANCEL_CHECK, lambda: self._look(stored, watch)),
            (SIGN_OF_LIFE, lambda: self._show_life(turn, beat)),
            until=ResponseSuperseded,
            extra={"response_id": response_id},
        )
        with beside:
            try:
                self._listen(rounds, log, watch)
            except ResponseSuperseded:
                watch.supersede()
            except Exception as error:  # noqa: BLE001 - told, and logged where it is ours
                if not watch.superseded:
                    answer.fail(told(error, response_id))
        if watch.superseded:
            # Cancelled, deleted or taken over: whoever did that has written what is to be known.
            logger.info("response superseded", extra={"response_id": response_id})
            return
        self._conclude(turn, answer, log)

    def _conclude(self, turn: Turn, answer: AnswerBuilder, log: _EventLog) -> None:
        """Store how it ended, patiently: what was answered once must not be asked again."""
        for pause in CONCLUDE_AGAIN:
            try:
                return self._turns.conclude(turn, answer, log.ending)
            except Exception:
                extra = {"response_id": turn.stored.id}
                logger.exception("the end of a response could not be stored", extra=extra)
            self._clock.sleep(pause)
        return self._turns.conclude(turn, answer, log.ending)

    def _listen(self, rounds: Rounds, log: _EventLog, watch: _Watch) -> None:
        # The first events are not written before the first words: until then, the work of a
        # worker that dies can be done again.
        log.hold(rounds.answer.start())
        for event in rounds.events():
            log.add([event])
        if not watch.superseded:
            log.add(rounds.answer.end(self._turns.now()))

    def _take_up(self, response_id: str) -> StoredResponse | None:
        def take(stored: StoredResponse) -> StoredResponse:
            now = self._clock.now()
            if stored.final:
                return stored
            if stored.alive_until and now < stored.alive_until:
                raise StillRunning((stored.alive_until - now).total_seconds())
            if self._store.read_events(response_id, 0) is not None:
                return interrupted(stored)
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

    def _show_life(self, turn: Turn, beat: Callable[[], None]) -> None:
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

    def events(
        self, response_id: str, tenant: str = "local", *, starting_after: int = -1
    ) -> ResponseStream:
        """``GET /v1/responses/{id}?stream=true``: the events after a sequence number.

        Follows a response in the background to its end. Raises NotFound, and InvalidRequest for
        one that was not made in the background.
        """
        if not self._turns.present(response_id, tenant).response["background"]:
            raise InvalidRequest(
                "Only a response made with 'background' can be streamed again.", param="stream"
            )
        return ResponseStream(lambda cut: self._tail(response_id, tenant, starting_after, cut))

    def _tail(
        self, response_id: str, tenant: str, after: int, cut: threading.Event
    ) -> Generator[Body, None, None]:
        yield {}  # see ResponseStream
        shown = self._store.shown
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
                        yield shown.event_to_show(event, tenant)
                    if event["type"] in _TERMINAL:
                        return
            elif ended is not None:
                # It ended without a last event: it was cancelled, or its worker is gone.
                kind = "response.failed" if ended.status == "failed" else "response.incomplete"
                response = shown.response(ended.response, tenant)
                yield {"type": kind, "sequence_number": last + 1, "response": response}
                return
            else:
                stored = self._store.find(response_id)
                if stored is None:
                    raise NotFound("The response was deleted.")
                if stored.final:
                    ended = stored
                else:
                    self._clock.sleep(TAIL_INTERVAL)

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
            output = [closed(item) for item in present.response["output"]]
            return replace(
                present, response={**present.response, "status": "cancelled", "output": output}
            )

        cancelled = self._store.change(response_id, cancel)
        if claim := Claim.of(cancelled):
            self._store.release(claim)
        return self._store.shown.response(cancelled.response, tenant)


class _Watch:
    """Notices that a response in the background is someone else's now, and stops its source."""

    def __init__(self, rounds: Rounds) -> None:
        self._rounds = rounds
        self.superseded = False

    def supersede(self) -> None:
        self.superseded = True
        self._rounds.close()


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
