"""Responses that a worker makes, and whose events can be read again from any point."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from datetime import timedelta

from robotchat.clock import Clock
from robotchat.errors import InvalidRequest, NotFound, RobotchatError
from robotchat.gpt.driver import Body
from robotchat.gpt.responses.events import FINAL, AnswerBuilder, closed, told
from robotchat.gpt.responses.request import Request, parse_request
from robotchat.gpt.responses.rounds import Rounds
from robotchat.gpt.responses.store import ResponseStore
from robotchat.gpt.responses.stored import Claim, ResponseSuperseded, StoredResponse, Told
from robotchat.gpt.responses.stream import ResponseStream
from robotchat.gpt.responses.turns import INTERRUPTED, Turn, Turns
from robotchat.jobs.states import StillRunning
from robotchat.periodic import Periodic
from robotchat.records import Operation

logger = logging.getLogger(__name__)

MOST_ATTEMPTS = 5
"""How often a response is begun or taken over, before it is what kills its workers."""

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

    ``rounds`` makes the one that a turn takes. A response whose worker shows no sign of life for
    as long as ``alive`` is taken over.
    """

    def __init__(
        self,
        store: ResponseStore,
        turns: Turns,
        rounds: Callable[[Turn], Rounds],
        *,
        enqueue: Callable[[str, str], None] | None,
        clock: Clock,
        alive: timedelta,
    ) -> None:
        self._store = store
        self._turns = turns
        self._rounds = rounds
        self._clock = clock
        self._alive = alive
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
        """Make a queued response: what a worker does. ``beat`` is called again and again, as a
        sign of life.

        A response that is final already, or deleted, is left alone. Raises StillRunning while
        another worker is on it. Of a worker that died, another one takes over the drawing; what
        died in the middle of the upstream's words leaves a failed response, since they cannot be
        taken back. Before the first word, it starts anew.
        """
        stored = self._take_up(response_id)
        if stored is None:
            return
        request = parse_request(stored.request or {})
        turn = Turn(request, stored, Claim.of(stored), begun=True)
        if turn.claim is not None:
            self._store.renew(turn.claim)
        rounds = self._rounds(turn)
        answer = rounds.answer
        told_before = self._store.told(response_id)
        log = _EventLog(self._store, stored, rounds.ahead, told_before.batches)
        watch = _Watch(rounds)
        beside = Periodic(
            f"background-{response_id}",
            (FLUSH_AFTER, log.flush),
            (CANCEL_CHECK, lambda: self._look(stored, watch)),
            (self._turns.sign_of_life, lambda: self._show_life(turn, beat)),
            until=ResponseSuperseded,
            extra={"response_id": response_id},
        )
        with beside:
            try:
                self._listen(rounds, told_before, stored.attempt, log, watch)
            except ResponseSuperseded:
                watch.supersede()
            except Exception as error:  # noqa: BLE001 - told, and logged where it is ours
                if not watch.superseded:
                    answer.fail(told(error, response_id))
        if watch.superseded:
            # Cancelled, deleted or taken over: whoever did that has written what is to be known.
            logger.info("response superseded", extra={"response_id": response_id})
            self._leave(stored)
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

    def _leave(self, stored: StoredResponse) -> None:
        """Raises StillRunning if nobody else has the response: then it was one that was taken for
        dead, and has told something after all."""
        present = self._store.find(stored.id)
        if present is not None and not present.final and present.attempt == stored.attempt:
            raise StillRunning(self._alive.total_seconds())

    def _listen(
        self, rounds: Rounds, told: Told, attempt: int, log: _EventLog, watch: _Watch
    ) -> None:
        if not told.events:
            # The first events are not written before the first words: until then, the work of a
            # worker that dies can be done again.
            log.hold(rounds.answer.start())
        elif not rounds.resume(told.events, told.ahead) or attempt > MOST_ATTEMPTS:
            raise RobotchatError(INTERRUPTED)
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
            return replace(
                stored,
                response={**stored.response, "status": "in_progress"},
                attempt=stored.attempt + 1,
                alive_until=now + self._alive,
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
            return replace(stored, alive_until=self._clock.now() + self._alive)

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

    def __init__(
        self,
        store: ResponseStore,
        stored: StoredResponse,
        ahead: Callable[[], Body | None],
        index: int,
    ) -> None:
        """``index`` is the number of the first batch; ``ahead`` gives what is to be done next."""
        self._ahead = ahead
        self._store = store
        self._stored = stored
        self._lock = threading.Lock()
        self._held: list[Body] = []
        self._pending: list[Body] = []
        self._index = index
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
            self._store.write_events(self._stored, self._index, batch, self._ahead())
            self._held, self._pending = [], []
            self._index += 1
            self._flushed = time.monotonic()
