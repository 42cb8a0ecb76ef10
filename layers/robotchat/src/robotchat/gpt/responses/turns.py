"""One response being made: its place in a conversation, its record, and how that is written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

from robotchat.clock import Clock
from robotchat.errors import Conflict, ConversationBusy, InvalidRequest, NotFound
from robotchat.gpt.driver import Body
from robotchat.gpt.responses.events import AnswerBuilder, closed
from robotchat.gpt.responses.image_tool import CALL
from robotchat.gpt.responses.items import REFERENCE, identified, title_of
from robotchat.gpt.responses.request import Request, response_object
from robotchat.gpt.responses.store import (
    CONTINUED,
    Claim,
    ResponseStore,
    ResponseSuperseded,
    StoredResponse,
)
from robotchat.periodic import Periodic
from robotchat.records import Operation

logger = logging.getLogger(__name__)

INLINE_LIFETIME = timedelta(minutes=16)
"""Longest that a request may take which its caller waits for: a little more than a function may."""

SIGN_OF_LIFE = 20.0
"""Seconds between two signs of life."""

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
    """Begins turns and concludes them. ``model`` is used where a request names none."""

    def __init__(self, store: ResponseStore, *, model: str | None, clock: Clock) -> None:
        self._store = store
        self._model = model
        self._clock = clock

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
            alive_until=None if request.background else self._clock.now() + INLINE_LIFETIME,
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
                if found is None:
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
        if found is not None and found["type"] == CALL:
            return found
        if not item.get("result") and item["status"] != "failed":
            raise _no_item(item["id"], param)
        # What it says of a job is its sender's word.
        return {name: value for name, value in item.items() if name != "job_id"}

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

    def note_beginning(self, turn: Turn, answer: AnswerBuilder) -> None:
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
            # The conversation has gone on without this response, or is gone; see `conclude`.
            return
        turn.begun = True

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
        """Keep the claim on the conversation for as long as this takes."""
        claim = turn.claim
        if claim is None:
            yield
            return
        renewal = (SIGN_OF_LIFE, lambda: self._store.renew(claim))
        with Periodic(f"renewal-{turn.stored.id}", renewal, until=ResponseSuperseded):
            yield

    def now(self) -> int:
        return int(self._clock.now().timestamp())

    def present(self, response_id: str, tenant: str) -> StoredResponse:
        """The response; failed, if whoever was making it is gone without a trace."""
        stored = self._store.get(response_id, tenant)
        if not self._lost(stored):
            return stored
        return self._store.change(
            response_id, lambda found: interrupted(found) if self._lost(found) else found
        )

    def _lost(self, stored: StoredResponse) -> bool:
        # Work in the background is first offered to another worker.
        patience = INLINE_LIFETIME if stored.response["background"] else timedelta()
        return (
            stored.status == "in_progress"
            and stored.alive_until is not None
            and self._clock.now() > stored.alive_until + patience
        )


def _no_item(item_id: str, param: str) -> NotFound:
    return NotFound(
        f"Item with id '{item_id}' not found. Items of responses with 'store' false are not "
        "remembered: send the item itself.",
        param=param,
    )


def interrupted(stored: StoredResponse) -> StoredResponse:
    error = {"code": "server_error", "message": "The response was interrupted. Ask again."}
    response = {**stored.response, "status": "failed", "error": error}
    response["output"] = [closed(item) for item in response["output"]]
    return replace(stored, response=response)
