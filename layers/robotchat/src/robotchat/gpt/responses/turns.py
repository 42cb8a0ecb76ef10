"""One response being made: its place in a conversation, its record, and how that is written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from robotchat.clock import Clock
from robotchat.errors import Conflict, ConversationBusy, InvalidRequest, NotFound
from robotchat.gpt.driver import Body
from robotchat.gpt.responses.events import FINAL, AnswerBuilder, closed
from robotchat.gpt.responses.growing import grow
from robotchat.gpt.responses.image_tool import CALL
from robotchat.gpt.responses.items import REFERENCE, identified, title_of
from robotchat.gpt.responses.request import Request, response_object
from robotchat.gpt.responses.store import ResponseStore
from robotchat.gpt.responses.stored import CONTINUED, Claim, ResponseSuperseded, StoredResponse
from robotchat.jobs.job import Job, JobStatus
from robotchat.periodic import Periodic
from robotchat.records import Operation

logger = logging.getLogger(__name__)

PATIENCE = timedelta(minutes=16)
"""For how long a response in the background is offered to other workers when its own is dead: a
little more than a function may take."""

INTERRUPTED = "The response was interrupted. Ask again."

_OF_IMAGES = tuple(f"response.{CALL}.{step}" for step in ("generating", "completed"))
"""Events at which the item of a picture has something new to be kept."""

Ending = Callable[[Body], Operation]
"""The write of the last event, for the commit that stores the final response."""


@dataclass(frozen=True)
class Past:
    """What a response continues: the items of the turns so far, oldest first."""

    turns: list[Sequence[Body]]
    left: frozenset[str] = frozenset()
    """Conversations whose past this is, while the response itself is not part of them."""


@dataclass
class Turn:
    """One response being made: what is asked, its record, and its place in a conversation."""

    request: Request
    stored: StoredResponse
    claim: Claim | None
    previous: StoredResponse | None = None
    """What it continues, if that has been read already."""
    past: Past | None = None
    """All that it continues, if that has been read already."""
    begun: bool = False
    """Whether its record is in the store."""
    noted: bool = False
    """Whether it was tried to store that it has begun."""

    @property
    def recorded(self) -> bool:
        # In a conversation also what may not be read back by its id is remembered.
        return self.request.stored or self.claim is not None

    def as_of(self, answer: AnswerBuilder) -> StoredResponse:
        """The record with what the answer has come to."""
        # Of a conversation, the upstream keeps nothing that could be continued there.
        upstream_id = answer.upstream_id if self.claim is None else None
        return replace(self.stored, response=answer.response, upstream_id=upstream_id)


class Turns:
    """Begins turns and concludes them. ``model`` is used where a request names none. Whoever makes
    a response and shows no sign of life for as long as ``alive`` is taken for dead."""

    def __init__(
        self, store: ResponseStore, *, model: str | None, clock: Clock, alive: timedelta
    ) -> None:
        self._store = store
        self._model = model
        self._clock = clock
        self._alive = alive
        self.sign_of_life = alive.total_seconds() / 3
        """Seconds between two signs of life."""

    def begin(self, request: Request, tenant: str, status: str, response_id: str) -> Turn:
        """Find what the request continues, and claim the conversation. Raises NotFound."""
        items = self._resolved(identified(request.items, response_id), request, tenant)
        request = replace(request, items=items)
        stored = StoredResponse(
            tenant=tenant,
            response=response_object(
                request, response_id, model=self._model, created_at=self.now(), status=status
            ),
            input=request.items,
            thread=f"thread#{response_id}",
            alive_until=None if request.background else self._clock.now() + self._alive,
        )
        if request.conversation_id is not None:
            claim = self._store.claim(
                request.conversation_id,
                tenant,
                response_id,
                title=title_of(request.items),
                queued=request.background,
            )
            thread = f"conversation#{claim.conversation_id}"
            stored = replace(stored, previous=claim.head, thread=thread, position=claim.turn)
            return Turn(request, stored, claim)
        if request.previous_response_id is None:
            return Turn(request, stored, None)
        previous = self._previous(request.previous_response_id, tenant)
        if previous.conversation_id is None:
            thread, position = previous.thread, previous.position + 1
        else:
            # The thread there is the conversation's own; a branch of it must not appear in it.
            thread, position = f"thread#{previous.id}", 1
        stored = replace(stored, previous=previous.id, thread=thread, position=position)
        return Turn(request, stored, None, previous)

    def context(self, request: Request, tenant: str) -> list[Body]:
        """All items that a request would be answered by: what it continues, and its own."""
        items = identified(request.items, "resp_")
        return [*self._continued(request, tenant), *self._resolved(items, request, tenant)]

    def _resolved(self, items: list[Body], request: Request, tenant: str) -> list[Body]:
        """Items with those in the place of references that are meant by them."""
        known: set[str] | None = None
        resolved: list[Body] = []
        for index, item in enumerate(items):
            if item["type"] == CALL:
                # Said again, also if it is part of the context: it is the one to go on from.
                item = self._image(item, tenant, f"input[{index}].id")
            elif item["type"] == REFERENCE:
                if known is None:
                    known = {one["id"] for one in [*self._continued(request, tenant), *resolved]}
                found = self._store.item(item["id"], tenant)
                if item["id"] in known and (found is None or found["type"] != CALL):
                    # What is part of the context already need not be said twice.
                    continue
                if found is None or self._deleted(found, tenant):
                    raise _no_item(item["id"], f"input[{index}].id")
                item = found
            if known is not None:
                known.add(item["id"])
            resolved.append(item)
        if not resolved:
            raise InvalidRequest("'input' has nothing that is new.", param="input")
        return resolved

    def _image(self, item: Body, tenant: str, param: str) -> Body:
        """A picture that was given back: as it is remembered, else as it was given."""
        found = self._store.item(item["id"], tenant)
        if found is not None and found["type"] == CALL and not self._deleted(found, tenant):
            return found
        if not item.get("result") and item["status"] != "failed":
            raise _no_item(item["id"], param)
        # What it says of a job is its sender's word.
        return {name: value for name, value in item.items() if name != "job_id"}

    def _deleted(self, item: Body, tenant: str) -> bool:
        """Whether an item was an image whose file is gone."""
        if item["type"] != CALL or not item.get("job_id"):
            return False
        job = self._store.conversations.image_turn(item["job_id"], tenant)
        return job is None or job.deleted

    def _continued(self, request: Request, tenant: str) -> list[Body]:
        """The items that the request continues."""
        if request.conversation_id is not None:
            history = self._store.conversation_history(request.conversation_id, tenant)
            turns = self._store.timeline(request.conversation_id, history)
            return [item for items in turns for item, _ in items]
        if request.previous_response_id is not None:
            last = self._previous(request.previous_response_id, tenant)
            return [item for stored in self._store.history(last) for item in stored.items]
        return []

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

    def note(self, turn: Turn, answer: AnswerBuilder, event: Body) -> None:
        """Store that a response is being made, once something was said, so that it can be seen;
        and its pictures, as soon as they are there: they are, also if it comes to no end."""
        if not turn.recorded or not answer.response["output"]:
            return
        if turn.begun and event["type"] in _OF_IMAGES:
            with suppress(NotFound):  # deleted meanwhile
                self._store.change(turn.stored.id, lambda found: self._as_far(turn, answer, found))
        if turn.noted:
            return
        turn.noted = True
        claim = turn.claim
        try:
            self._store.add(
                turn.as_of(answer), lambda stored: [self._store.keeping(claim)] if claim else []
            )
        except (ConversationBusy, NotFound):
            # The conversation has gone on without this response, or is gone; see `conclude`.
            return
        turn.begun = True

    def _as_far(self, turn: Turn, answer: AnswerBuilder, found: StoredResponse) -> StoredResponse:
        if found.final:
            return found
        alive_until = self._clock.now() + self._alive
        return replace(turn.as_of(answer), version=found.version, alive_until=alive_until)

    def conclude(self, turn: Turn, answer: AnswerBuilder, ending: Ending | None = None) -> None:
        """Store the final response, whatever became of its conversation."""
        try:
            self.settle(turn, answer, ending)
        except ConversationBusy as error:
            answer.fail(error)
            self.settle(replace(turn, claim=None), answer, ending)

    def settle(self, turn: Turn, answer: AnswerBuilder, ending: Ending | None = None) -> None:
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
            if ending is not None:
                operations.append(ending(answer.terminal()))
            return operations

        def finish(present: StoredResponse) -> StoredResponse:
            if present.final or present.attempt != turn.stored.attempt:
                raise ResponseSuperseded(present.id)
            return replace(turn.as_of(answer), version=present.version)

        try:
            if turn.begun:
                self._store.change(turn.stored.id, finish, also)
            else:
                self._store.add(turn.as_of(answer), also)
            if turn.request.stored:
                self._store.note_items(turn.stored)
        except (NotFound, ResponseSuperseded):
            logger.info("response superseded", extra={"response_id": turn.stored.id})
            if claim is not None:
                self._store.release(claim)

    @contextmanager
    def holding(self, turn: Turn) -> Iterator[None]:
        """Release the conversation when the turn comes to nothing."""
        try:
            yield
        except BaseException:
            if turn.claim is not None:
                self._store.release(turn.claim)
            raise

    @contextmanager
    def renewing(self, turn: Turn) -> Iterator[None]:
        """Keep the claim on the conversation for as long as this takes, and show that the response
        is being made."""
        renewal = (self.sign_of_life, lambda: self._show_life(turn))
        with Periodic(f"renewal-{turn.stored.id}", renewal, until=ResponseSuperseded):
            yield

    def _show_life(self, turn: Turn) -> None:
        if turn.claim is not None:
            self._store.renew(turn.claim)
        if not turn.begun:
            return

        def extend(found: StoredResponse) -> StoredResponse:
            if found.final:
                raise ResponseSuperseded(found.id)
            return replace(found, alive_until=self._clock.now() + self._alive)

        with suppress(NotFound):  # deleted meanwhile
            self._store.change(turn.stored.id, extend)

    def now(self) -> int:
        return int(self._clock.now().timestamp())

    def present(self, response_id: str, tenant: str) -> StoredResponse:
        """The response; failed, if whoever was making it is gone without a trace."""
        stored = self._store.get(response_id, tenant)
        if not self._lost(stored):
            return stored
        return self._store.change(
            response_id, lambda found: self._interrupted(found) if self._lost(found) else found
        )

    def _interrupted(self, stored: StoredResponse) -> StoredResponse:
        """A response whose maker is gone, as far as it came."""
        output = [dict(item) for item in stored.response["output"]]
        for event in self._store.told(stored.id).events:
            grow(output, event)
        output = [closed(self._as_drawn(item, stored.tenant)) for item in output]
        error = {"code": "server_error", "message": INTERRUPTED}
        response = {**stored.response, "status": "failed", "error": error, "output": output}
        return replace(stored, response=response)

    def _as_drawn(self, item: Body, tenant: str) -> Body:
        """The item of a picture whose job has drawn it since nobody watched it any more."""
        if item["type"] != CALL or item["status"] in FINAL or not item.get("job_id"):
            return item
        job: Job | None = self._store.conversations.image_turn(item["job_id"], tenant)
        if job is None or job.status is not JobStatus.SUCCEEDED or not job.images:
            return item
        return {**item, "status": "completed", "result": None, "revised_prompt": job.prompt}

    def _lost(self, stored: StoredResponse) -> bool:
        # Work in the background is first offered to another worker.
        patience = PATIENCE if stored.response["background"] else timedelta()
        return (
            stored.status == "in_progress"
            and stored.alive_until is not None
            and self._clock.now() > stored.alive_until + patience
        )


def _no_item(item_id: str, param: str) -> NotFound:
    return NotFound(
        f"Item with id '{item_id}' not found: it was deleted, or its response had 'store' false. "
        "Send the item itself.",
        param=param,
    )
