"""DynamoDB writes for one finished job, counted at the client."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.targets import AtMost
from robotchat.aws.stores import DynamoRecords
from robotchat.conversation import ChatImageRequest
from robotchat.drivers.fake import FakeArt
from robotchat.robot import Robot
from tests.emulator import emulated_table

TARGETS = {
    "chat_text2image, first turn": AtMost(8),
    "chat_text2image, later turn": AtMost(8),
    "text2image, the caller waits": AtMost(8),
}
_WRITES = {"PutItem": 1, "UpdateItem": 1, "DeleteItem": 1}


def measure() -> dict[str, float]:
    from robotchat.art.requests import Text2ImageRequest

    with tempfile.TemporaryDirectory() as folder, emulated_table(Path(folder)) as (client, table):
        counted: Counter[str] = Counter()

        def count(params: dict[str, Any], model: Any, **_: Any) -> None:
            items = params.get("TransactItems", ())
            counted["writes"] += len(items) or _WRITES.get(model.name, 0)

        client.meta.events.register("provide-client-params.dynamodb.*", count)
        robot = Robot(art=FakeArt(), records=DynamoRecords(client, table))

        def writes(work: Any) -> int:
            counted.clear()
            work()
            return counted["writes"]

        first = robot.submit_chat_image(ChatImageRequest(message="a beach"))
        later = ChatImageRequest(message="at sunset", conversation_id=first.conversation_id)
        return {
            "chat_text2image, first turn": writes(
                lambda: robot.submit_chat_image(ChatImageRequest(message="a beach"))
            ),
            "chat_text2image, later turn": writes(lambda: robot.submit_chat_image(later)),
            "text2image, the caller waits": writes(
                lambda: robot.text2image(Text2ImageRequest(prompt="a beach"))
            ),
        }
