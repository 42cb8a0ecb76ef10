"""Conversations: OpenAI's objects and items, for what was said and what was drawn alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

from robotchat.conversation import Conversation
from robotchat.errors import InvalidRequest, NotFound
from robotchat.gpt.driver import Body
from robotchat.gpt.responses.items import (
    ID_PREFIXES,
    REFERENCE,
    image_turn,
    item_page,
    parse_items,
    title_of,
)
from robotchat.gpt.responses.request import check_metadata
from robotchat.gpt.responses.store import ResponseStore
from robotchat.gpt.responses.stored import StoredResponse
from robotchat.ids import new_id
from robotchat.jobs.job import Job
from robotchat.records import PAGE_SIZE

MAX_ADDED_ITEMS = 20
"""Most items that can be put into a conversation at a time, as OpenAI has it."""

Show = Callable[[Body, Job | None], Body]
"""How an item is shown; with the job behind it, for pictures and what belongs to them."""


class ConversationItems:
    """``/v1/conversations`` and their items, over what the store remembers."""

    def __init__(self, store: ResponseStore) -> None:
        self._store = store

    def create(
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
        self._store.add_items(conversation.id, tenant, parsed, title=title_of(parsed))
        return self._store.conversations.get(conversation.id, tenant)

    def update(
        self, conversation_id: str, tenant: str = "local", *, metadata: dict[str, Any]
    ) -> Conversation:
        """``POST /v1/conversations/{id}``: replace the metadata. Raises NotFound."""
        check_metadata(metadata)
        return self._store.conversations.update(conversation_id, tenant, metadata=metadata)

    def items(self, conversation_id: str, tenant: str = "local") -> list[Body]:
        """Everything said and drawn in a conversation, in order. Raises NotFound."""
        return [item for item, _ in self._transcript(conversation_id, tenant)]

    def list_items(
        self,
        conversation_id: str,
        tenant: str = "local",
        *,
        limit: int = PAGE_SIZE,
        order: Literal["asc", "desc"] = "desc",
        after: str | None = None,
        show: Show = lambda item, job: item,
    ) -> Body:
        """``GET /v1/conversations/{id}/items``: what was said and drawn, page by page."""
        transcript = self._transcript(conversation_id, tenant)
        items = [item for item, _ in transcript]
        jobs = {item["id"]: job for item, job in transcript}
        return item_page(
            items,
            limit=limit,
            order=order,
            after=after,
            show=lambda item: show(item, jobs[item["id"]]),
        )

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
        self._store.add_items(conversation_id, tenant, parsed, title=title_of(parsed))
        return item_page(parsed, limit=MAX_ADDED_ITEMS, order="asc")

    def delete_item(self, conversation_id: str, item_id: str, tenant: str = "local") -> Job | None:
        """Forget one item of a conversation. Raises NotFound.

        Where it is a picture, or belongs to a picture turn, its job is given, which is to be
        deleted as jobs are (``Robot.delete_job``); a picture turn goes with it.
        """

        def others(items: Sequence[Body]) -> list[Body]:
            return [item for item in items if item["id"] != item_id]

        def without(stored: StoredResponse) -> StoredResponse:
            response = {**stored.response, "output": others(stored.response["output"])}
            return replace(stored, response=response, input=others(stored.input))

        for stored in self._store.conversation_history(conversation_id, tenant):
            found = next((item for item in stored.items if item["id"] == item_id), None)
            if found is not None:
                self._store.change(stored.id, without)
                drawn = found.get("job_id") if found in stored.response["output"] else None
                return self._store.conversations.image_turn(drawn, tenant) if drawn else None
        for job in self._store.image_turns(conversation_id):
            if any(item["id"] == item_id for item in image_turn(job)):
                return job
        raise _no_item(item_id)

    def _transcript(self, conversation_id: str, tenant: str) -> list[tuple[Body, Job | None]]:
        """The items of a conversation in order, those of pictures with their jobs."""
        history = self._store.conversation_history(conversation_id, tenant)
        return [pair for items in self._store.timeline(conversation_id, history) for pair in items]


def _added_items(given: object) -> list[Body]:
    """Items that a client puts in itself. Their ids are ours, so that no two are the same."""
    parsed = parse_items(given, "items")
    if not 1 <= len(parsed) <= MAX_ADDED_ITEMS:
        raise InvalidRequest(
            f"Between 1 and {MAX_ADDED_ITEMS} items can be added at a time.", param="items"
        )
    for index, item in enumerate(parsed):
        if item["type"] == REFERENCE:
            raise InvalidRequest("Only whole items can be added.", param=f"items[{index}].type")
    ours = ("id", "job_id")
    return [
        {"id": new_id(ID_PREFIXES[item["type"]])} | {k: v for k, v in item.items() if k not in ours}
        for item in parsed
    ]


def _no_item(item_id: str) -> NotFound:
    return NotFound(f"Item with id '{item_id}' not found.", param="item_id")
