"""An engine of responses with everything around it, and how its events are checked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from robotchat.conversation import Conversations
from robotchat.drivers.fake import FakeChat
from robotchat.gpt.driver import Body
from robotchat.gpt.responses.engine import Responses
from robotchat.gpt.responses.inference import Options
from robotchat.gpt.responses.store import ResponseStore
from robotchat.images import MemoryImages
from robotchat.jobs.store import Jobs
from robotchat.records import MemoryRecords
from tests.cases.clock import FakeClock

EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)


class World:
    """An engine with everything around it."""

    def __init__(self, *scripts: Any, **options: Any) -> None:
        self.clock = FakeClock()
        self.chat = FakeChat(scripts)
        self.records = MemoryRecords()
        self.files = MemoryImages()
        self.conversations = Conversations(self.records, Jobs(self.records, self.clock), self.clock)
        self.store = ResponseStore(self.records, self.conversations, self.files, clock=self.clock)
        self.queue: list[str] = []
        self.responses = Responses(
            options.pop("driver", self.chat),
            model="default-model",
            store=self.store,
            enqueue=options.pop(
                "enqueue", lambda response_id, tenant: self.queue.append(response_id)
            ),
            clock=self.clock,
            options=Options(**options),
        )

    def conversation(self, tenant: str = "local") -> str:
        return self.conversations.create(tenant).id

    def sent(self, index: int = -1) -> list[Body]:
        messages: list[Body] = self.chat.requests[index]["messages"]
        return messages


def text(response: Body) -> str:
    return "".join(p["text"] for i in response["output"] for p in i.get("content", ()))


def checked(events: Iterable[Body]) -> list[Body]:
    """Events that the official SDK's types accept, in unbroken order."""
    found = []
    for event in events:
        EVENT.validate_python(event)
        found.append(event)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def kinds(events: Iterable[Body]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def deltas(events: Iterable[Body]) -> str:
    return "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")


WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}}

CALL = {
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city":"Rome"}'},
                    }
                ],
            },
            "finish_reason": "tool_calls",
        }
    ]
}
