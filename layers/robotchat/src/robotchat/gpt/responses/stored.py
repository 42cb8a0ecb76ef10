"""What a response is in the store: its record, and the right to make a turn of a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from robotchat.gpt.driver import Body
from robotchat.gpt.responses.events import FINAL

CONTINUED = frozenset({"completed", "incomplete"})
"""States of a response that a conversation goes on from: what was said, was said."""


@dataclass(frozen=True)
class StoredResponse:
    """A response, what it was asked, and what it continues."""

    tenant: str
    response: Body
    input: Sequence[Body]
    previous: str | None = None
    """The stored response before this one."""
    thread: str = ""
    """Index partition of all responses with the same beginning."""
    position: int = 0
    """Place in the thread, or turn of the conversation."""
    request: Body | None = None
    """What a worker answers, for a response in the background."""
    attempt: int = 0
    alive_until: datetime | None = None
    """While in progress: whoever makes it is taken for dead after this moment."""
    upstream_id: str | None = None
    """Its id at an upstream that keeps the state itself."""
    file: str | None = None
    """Where the words are, if they are not in the record."""
    version: int = 0

    @property
    def id(self) -> str:
        return str(self.response["id"])

    @property
    def status(self) -> str:
        return str(self.response["status"])

    @property
    def final(self) -> bool:
        return self.status in FINAL

    @property
    def conversation_id(self) -> str | None:
        conversation = self.response.get("conversation")
        return conversation["id"] if conversation else None

    @property
    def items(self) -> list[Body]:
        """What this turn added: its input and its output."""
        return [*self.input, *self.response["output"]]


class ResponseSuperseded(Exception):
    """The response is final already, or another one makes it: write nothing more."""


@dataclass(frozen=True)
class Told:
    """What was told of a response in the background so far, for whoever takes it over."""

    events: Sequence[Body]
    batches: int
    """In how many writes."""
    ahead: Body | None
    """What was to be done next when the last events were stored: see `Rounds.ahead`."""


@dataclass(frozen=True)
class Claim:
    """The right to make one turn of a conversation."""

    conversation_id: str
    holder: str
    turn: int
    head: str | None
    """The conversation's last response, which this turn continues."""

    @classmethod
    def of(cls, stored: StoredResponse) -> Claim | None:
        """The claim that was taken for a stored response, if it belongs to a conversation."""
        if stored.conversation_id is None:
            return None
        return cls(stored.conversation_id, stored.id, stored.position, stored.previous)
