"""What is remembered of responses: the records that requests continue from.

A response continues another one (``previous_response_id``) or the last one of a conversation.
Either way the past is a chain of records, each naming the one before. Walking it record by record
would be slow, so the records of one thread or conversation share an index partition and are read
together; the chain decides what counts, since an index may lag behind.

One response at a time may continue a conversation. A claim says which: it is taken before the
model is asked, and given up in the very write that makes the response the conversation's last.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from robotchat.clock import Clock, SystemClock
from robotchat.conversation import Conversations
from robotchat.errors import ConversationBusy, NotFound
from robotchat.gpt.driver import Body
from robotchat.gpt.responses.events import FINAL
from robotchat.gpt.responses.image_files import ImageFiles, bare, bare_items
from robotchat.gpt.responses.items import image_turn, job_of, response_of
from robotchat.gpt.responses.keys import IdempotencyKeys, is_tombstone
from robotchat.gpt.responses.stored import (
    CONTINUED,
    Claim,
    ResponseSuperseded,
    StoredResponse,
    Told,
)
from robotchat.ids import new_id
from robotchat.images import Images
from robotchat.jobs.job import Job
from robotchat.records import Operation, Put, Record, Records, Remove, Retries, Stale, every

CLAIM = timedelta(seconds=60)
"""A claim on a conversation that is not renewed for this long is void."""

QUEUED_CLAIM = timedelta(minutes=15)
"""The same for a response that waits for a worker, which is nobody's to renew."""

INLINE_BYTES = 200_000
"""Larger responses are kept as files: a record must stay well below DynamoDB's 400 KB."""


class ResponseStore:
    """Responses and their events in a document store, large ones as files."""

    def __init__(
        self,
        records: Records,
        conversations: Conversations,
        files: Images,
        *,
        clock: Clock | None = None,
        retention: timedelta = timedelta(days=30),
    ) -> None:
        self.conversations = conversations
        self._records = records
        self._files = files
        self._clock = clock or SystemClock()
        self._retention = retention
        self.keys = IdempotencyKeys(records, self._clock, retention)
        self.shown = ImageFiles(conversations, files)
        """Puts pictures back into what is read here, for whoever is to see them."""

    def get(self, response_id: str, tenant: str) -> StoredResponse:
        """The tenant's response. Raises NotFound, also for another tenant's id."""
        found = self.find(response_id) if response_id.startswith("resp_") else None
        if found is None or found.tenant != tenant or found.response["store"] is False:
            raise NotFound(f"Response with id '{response_id}' not found.", param="response_id")
        return found

    def find(self, response_id: str) -> StoredResponse | None:
        """The response as it is now, whoever it belongs to."""
        record = self._records.get(f"response#{response_id}", "response")
        return None if record is None or is_tombstone(record) else self._present(record)

    def history(self, last: StoredResponse) -> list[StoredResponse]:
        """A response and all that it continues, oldest first. Deleted ones are left out."""
        known = self._thread(last) if last.previous else {}
        chain = [last]
        previous = last.previous
        while previous is not None:
            record = known.get(previous)
            if record is None or record.data.get("status") not in FINAL:
                record = self._records.get(f"response#{previous}", "response")
            if record is None:
                break
            if not is_tombstone(record):
                chain.append(self._present(record))
            previous = record.data["previous"]
        chain.reverse()
        return chain

    def conversation_history(self, conversation_id: str, tenant: str) -> list[StoredResponse]:
        """What was said in a conversation, oldest first. Raises NotFound."""
        self.conversations.get(conversation_id, tenant)
        claim = self._records.get(f"conversation#{conversation_id}", "answering")
        head = self.find(claim.data["head"]) if claim and claim.data["head"] else None
        return self.history(head) if head else []

    def image_turns(self, conversation_id: str) -> Iterable[Job]:
        """What was drawn in a conversation, in order."""
        return self.conversations.turns(conversation_id)

    def timeline(
        self, conversation_id: str, history: Sequence[StoredResponse]
    ) -> list[list[tuple[Body, Job | None]]]:
        """The turns of a conversation, spoken and drawn, in the order in which they were asked for.

        ``history`` is what was said. Each turn is a list of its items; with that of a picture
        comes its job. What was drawn for a response is part of that turn, and no other.
        """
        jobs = {job.id: job for job in self.image_turns(conversation_id)}
        turns = [
            (stored.position, [(item, jobs.get(item.get("job_id", ""))) for item in stored.items])
            for stored in history
        ]
        told = {item.get("job_id") for stored in history for item in stored.response["output"]}
        for job in jobs.values():
            if job.id not in told:
                turns.append((job.turn or 0, [(item, job) for item in image_turn(job)]))
        return [items for _, items in sorted(turns, key=lambda turn: turn[0])]

    def item(self, item_id: str, tenant: str) -> Body | None:
        """An item of a response that the tenant has stored, its input or its output; or that of
        a picture turn."""
        if (job_id := job_of(item_id)) is not None:
            job = self.conversations.image_turn(job_id, tenant)
            drawn = image_turn(job) if job is not None else []
            return next((item for item in drawn if item["id"] == item_id), None)
        response_id = response_of(item_id)
        if response_id is None:
            record = self._records.get(*_item_key(tenant, item_id))
            response_id = record.data["response"] if record else None
        found = self.find(response_id) if response_id else None
        if found is None or found.tenant != tenant or found.response["store"] is False:
            return None
        return next((item for item in found.items if item["id"] == item_id), None)

    def note_items(self, stored: StoredResponse) -> None:
        """Let items be found later whose ids their sender chose; the others say whose they are."""
        for item in stored.input:
            if response_of(item["id"]) is not None:
                continue
            key = _item_key(stored.tenant, item["id"])
            if self._records.get(*key) is not None:
                continue
            data = {"response": stored.id}
            try:
                self._records.commit(Put(Record(*key, data=data, expires_at=self._expiry(stored))))
            except Stale:
                # Another request with the same item was faster: it has the same words.
                continue

    def add(
        self,
        stored: StoredResponse,
        also: Callable[[StoredResponse], Iterable[Operation]] = lambda stored: (),
    ) -> StoredResponse:
        """Store a new response, together with ``also``.

        Raises ResponseSuperseded when there is one of this id, and whatever ``also`` raises.
        """
        retries = Retries()
        while True:
            try:
                self._records.commit(Put(self._record(stored)), *also(stored))
            except Stale:
                if self._records.get(f"response#{stored.id}", "response") is not None:
                    raise ResponseSuperseded(stored.id) from None
                retries.spend()
                continue
            return replace(stored, version=1)

    def change(
        self,
        response_id: str,
        transition: Callable[[StoredResponse], StoredResponse],
        also: Callable[[StoredResponse], Iterable[Operation]] = lambda stored: (),
    ) -> StoredResponse:
        """Apply a transition as one conditional write, again when another was faster.

        Raises NotFound, and whatever ``transition`` or ``also`` raise.
        """
        retries = Retries()
        while True:
            present = self.find(response_id)
            if present is None:
                raise NotFound(f"Response with id '{response_id}' not found.")
            changed = transition(present)
            if changed is present:
                return present
            try:
                self._records.commit(Put(self._record(changed)), *also(changed))
            except Stale:
                retries.spend()
                continue
            if present.file is not None:
                self._files.delete(present.file)
            return replace(changed, version=present.version + 1)

    def remove(self, stored: StoredResponse) -> None:
        """Take a response back that nothing can have continued, as if it had never been."""
        self._erase(f"response#{stored.id}", "response")
        self._files.delete(self._prefix(stored))

    def delete(self, stored: StoredResponse) -> None:
        """Forget what a response says. Its place in the chain stays, for those that follow it."""

        def bury(record: Record) -> Record:
            data = {"tombstone": True, "tenant": stored.tenant, "previous": stored.previous}
            return replace(record, data={**data, "status": "deleted"})

        retries = Retries()
        while True:
            record = self._records.get(f"response#{stored.id}", "response")
            if record is None:
                return
            try:
                self._records.commit(Put(bury(record)))
            except Stale:
                retries.spend()
                continue
            break
        self._erase_events(stored.id)
        self._files.delete(self._prefix(stored))

    def _erase_events(self, response_id: str) -> None:
        index = 0
        while self._erase(f"response#{response_id}", f"events#{index:06d}"):
            index += 1

    def _erase(self, pk: str, sk: str) -> bool:
        """Delete a record, whatever it says by now. Tells whether there was one."""
        retries = Retries()
        while (record := self._records.get(pk, sk)) is not None:
            try:
                self._records.commit(Remove(record))
            except Stale:
                retries.spend()
                continue
            return True
        return False

    # Claims on conversations.

    def _until(self, duration: timedelta) -> Body:
        return {"until": (self._clock.now() + duration).isoformat()}

    def claim(
        self, conversation_id: str, tenant: str, holder: str, *, title: str, queued: bool = False
    ) -> Claim:
        """Begin a turn of a conversation. Raises NotFound, and ConversationBusy for a second one.

        ``title`` names a conversation that has none.
        """
        retries = Retries()
        while True:
            conversation = self.conversations.get(conversation_id, tenant)
            record = self._claim_record(conversation_id)
            now = self._clock.now()
            # Its own id is in it when an earlier attempt at the same response died.
            held = record.data["holder"] not in (None, holder)
            if held and now < datetime.fromisoformat(record.data["until"]):
                raise ConversationBusy(
                    "Another request is continuing this conversation.",
                    param="conversation",
                    retry_after=1.0,
                )
            begun = conversation.model_copy(
                update={
                    "turns": conversation.turns + 1,
                    "updated_at": now,
                    "title": conversation.title or title or None,
                }
            )
            claimed = self._held(record, holder, QUEUED_CLAIM if queued else CLAIM)
            try:
                self._records.commit(self.conversations.put(begun), Put(claimed))
            except Stale:
                retries.spend()
                continue
            return Claim(conversation_id, holder, begun.turns, record.data["head"])

    def renew(self, claim: Claim) -> None:
        """Show that a claim's holder is alive; a claim that is lost stays lost."""
        record = self._claim_record(claim.conversation_id)
        retries = Retries()
        while record.data["holder"] == claim.holder:
            try:
                self._records.commit(Put(self._held(record, claim.holder, CLAIM)))
            except Stale:
                retries.spend()
                record = self._claim_record(claim.conversation_id)
                continue
            return

    def release(self, claim: Claim) -> None:
        """Give up a claim without a turn; one that is lost already needs no release."""
        record = self._claim_record(claim.conversation_id)
        retries = Retries()
        while record.data["holder"] == claim.holder:
            try:
                self._records.commit(Put(replace(record, data={**record.data, "holder": None})))
            except Stale:
                retries.spend()
                record = self._claim_record(claim.conversation_id)
                continue
            return

    def closing(self, claim: Claim, stored: StoredResponse) -> Operation:
        """The write that ends a claim, for the commit that stores the final response.

        A response that was said becomes the conversation's last. Raises ConversationBusy when the
        claim was lost, and NotFound when the conversation was deleted.
        """
        record = self._kept(claim)
        # Of a turn that was left before the first word, there is nothing to continue.
        continued = stored.status == "completed" or (
            stored.status in CONTINUED and bool(stored.response["output"])
        )
        head = stored.id if continued else record.data["head"]
        return Put(replace(record, data={**record.data, "holder": None, "head": head}))

    def keeping(self, claim: Claim) -> Operation:
        """The write that renews a claim, for a commit that needs it to be still held.

        Raises what ``closing`` raises.
        """
        return Put(self._held(self._kept(claim), claim.holder, CLAIM))

    def _kept(self, claim: Claim) -> Record:
        record = self._claim_record(claim.conversation_id)
        if not record.version:
            raise NotFound("The conversation was deleted.", param="conversation")
        if record.data["holder"] != claim.holder:
            raise ConversationBusy(
                "The conversation went on while this response was made; it is not part of it.",
                param="conversation",
            )
        return record

    def forget_conversation(self, conversation_id: str, tenant: str) -> None:
        """Delete everything that was said in a conversation; the conversation itself stays.

        What is being said meanwhile is not stored. If this ends halfway, it can be done again.
        """
        claim = self._claim_record(conversation_id)
        known = {claim.data["head"], claim.data["holder"]} - {None}  # if the index lags behind
        for record in every(self._records, "group", f"conversation#{conversation_id}"):
            if record.sk == "response":
                known.add(record.pk.removeprefix("response#"))
        # First of all: nothing under way can be stored without it.
        self._erase(claim.pk, claim.sk)
        for response_id in known:
            self._erase_events(response_id)
            self._erase(f"response#{response_id}", "response")
        self._files.delete(self._conversation_prefix(conversation_id, tenant))

    def add_items(
        self, conversation_id: str, tenant: str, items: Sequence[Body], *, title: str = ""
    ) -> None:
        """Append items that a client put into a conversation itself."""
        holder = new_id("items")
        claim = self.claim(conversation_id, tenant, holder, title=title)
        stored = StoredResponse(
            tenant=tenant,
            response={
                "id": holder,
                "status": "completed",
                "output": [],
                "store": False,
                "conversation": {"id": conversation_id},
            },
            input=items,
            previous=claim.head,
            thread=f"conversation#{conversation_id}",
            position=claim.turn,
        )
        self.add(stored, lambda stored: [self.closing(claim, stored)])

    # Events of responses in the background.

    def events_put(
        self,
        stored: StoredResponse,
        index: int,
        events: Sequence[Body],
        ahead: Body | None = None,
    ) -> Put:
        """The write of a batch of events, the ``index``-th of its response, and of what is to be
        done next."""
        prefix = self._prefix(stored)
        data: Body = {
            "events": [self.shown.event_to_store(event, prefix) for event in events],
            "ahead": ahead,
        }
        encoded = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
        if len(encoded) > INLINE_BYTES:
            # A name of its own, as for a response: of two attempts, only one is recorded.
            data = {"file": f"{prefix}{new_id('events')}.json"}
            self._files.put(data["file"], encoded, "application/json")
        return Put(
            Record(
                pk=f"response#{stored.id}",
                sk=f"events#{index:06d}",
                data=data,
                expires_at=self._expiry(stored),
            )
        )

    def write_events(
        self,
        stored: StoredResponse,
        index: int,
        events: Sequence[Body],
        ahead: Body | None = None,
    ) -> None:
        """Store a batch of events. Raises ResponseSuperseded when another attempt has stored it."""
        try:
            self._records.commit(self.events_put(stored, index, events, ahead))
        except Stale:
            raise ResponseSuperseded(stored.id) from None

    def read_events(self, response_id: str, index: int) -> Sequence[Body] | None:
        """A batch of events, None if there is none yet."""
        batch = self._batch(response_id, index)
        return batch["events"] if batch is not None else None

    def told(self, response_id: str) -> Told:
        """All events so far, and what was to be done next."""
        events: list[Body] = []
        ahead: Body | None = None
        index = 0
        while (batch := self._batch(response_id, index)) is not None:
            events.extend(batch["events"])
            ahead = batch.get("ahead")
            index += 1
        return Told(events, index, ahead)

    def _batch(self, response_id: str, index: int) -> Body | None:
        record = self._records.get(f"response#{response_id}", f"events#{index:06d}")
        if record is None:
            return None
        data: Body = record.data
        return json.loads(self._files.get(data["file"])) if "file" in data else data

    def _claim_record(self, conversation_id: str) -> Record:
        key = (f"conversation#{conversation_id}", "answering")
        empty: Body = {"holder": None, "until": None, "head": None}
        return self._records.get(*key) or Record(*key, data=empty)

    def _held(self, record: Record, holder: str, duration: timedelta) -> Record:
        data = {**record.data, "holder": holder, **self._until(duration)}
        return replace(record, data=data)

    def _thread(self, last: StoredResponse) -> dict[str, Record]:
        known: dict[str, Record] = {}
        cursor: str | None = None
        while True:
            page = self._records.query(
                "group", last.thread, up_to=f"{last.position:08d}", cursor=cursor
            )
            for record in page.records:
                if record.sk == "response":
                    known[record.pk.removeprefix("response#")] = record
            cursor = page.cursor
            if cursor is None:
                return known

    def _record(self, stored: StoredResponse) -> Record:
        alive_until = stored.alive_until
        content: Body = {
            "response": bare(stored.response),
            "input": bare_items(stored.input),
            "request": stored.request,
        }
        data: Body = {
            "tenant": stored.tenant,
            "status": stored.status,
            "previous": stored.previous,
            "attempt": stored.attempt,
            "alive_until": alive_until.isoformat() if alive_until else None,
            "upstream_id": stored.upstream_id,
        }
        encoded = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        if len(encoded) > INLINE_BYTES:
            # A name of its own for each version: a write that loses its race must not replace
            # the file of the one that won.
            data["file"] = f"{self._prefix(stored)}{new_id('v')}.json"
            self._files.put(data["file"], encoded, "application/json")
        else:
            data.update(content)
        return Record(
            pk=f"response#{stored.id}",
            sk="response",
            data=data,
            version=stored.version,
            group=(stored.thread, f"{stored.position:08d}"),
            expires_at=self._expiry(stored),
        )

    def _present(self, record: Record) -> StoredResponse:
        """The response in a record, or as it is now if a change has just moved its words."""
        while True:
            try:
                return self._load(record)
            except NotFound:
                again = self._records.get(record.pk, record.sk)
                if again is None or is_tombstone(again) or again.version == record.version:
                    raise
                record = again

    def _load(self, record: Record) -> StoredResponse:
        data = record.data
        content: dict[str, Any] = data
        if "file" in data:
            content = json.loads(self._files.get(data["file"]))
        thread, position = record.group or ("", "0")
        alive_until = data["alive_until"]
        return StoredResponse(
            tenant=data["tenant"],
            response=content["response"],
            input=content["input"],
            previous=data["previous"],
            thread=thread,
            position=int(position),
            request=content["request"],
            attempt=data["attempt"],
            alive_until=datetime.fromisoformat(alive_until) if alive_until else None,
            upstream_id=data["upstream_id"],
            file=data.get("file"),
            version=record.version,
        )

    def _prefix(self, stored: StoredResponse) -> str:
        # Conversations are kept until they are deleted, other responses for a time: the files of
        # the two lie apart, so that a rule of the file store can let the latter expire.
        if stored.conversation_id is not None:
            return f"{self._conversation_prefix(stored.conversation_id, stored.tenant)}{stored.id}/"
        return f"responses/{stored.tenant}/{stored.id}/"

    @staticmethod
    def _conversation_prefix(conversation_id: str, tenant: str) -> str:
        return f"conversations/{tenant}/{conversation_id}/"

    def _expiry(self, stored: StoredResponse) -> float | None:
        # A conversation is kept until it is deleted.
        if stored.conversation_id is not None:
            return None
        return (self._clock.now() + self._retention).timestamp()


def _item_key(tenant: str, item_id: str) -> tuple[str, str]:
    return f"item#{tenant}#{item_id}", "item"
