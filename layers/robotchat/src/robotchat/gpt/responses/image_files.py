"""Pictures in items and events: taken out of what is stored, and put back into what is shown.

The file of a picture belongs to its job and is stored once, with that job's retention. An item of
a response names the job, and has the file in it (``result``) only where a client sees it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from robotchat.conversation import Conversations
from robotchat.errors import NotFound
from robotchat.gpt.driver import Body
from robotchat.gpt.responses.image_tool import CALL
from robotchat.ids import new_id
from robotchat.images import Images, decode_base64, encode_base64

_PARTIAL = "partial_image_b64"


def bare_items(items: Iterable[Body]) -> list[Body]:
    """Items without the files of their jobs."""
    return [
        {**item, "result": None} if item.get("job_id") and item.get("result") else item
        for item in items
    ]


def bare(response: Body) -> Body:
    """A response without them."""
    return {**response, "output": bare_items(response["output"])}


class ImageFiles:
    """Where the files of items and events are."""

    def __init__(self, conversations: Conversations, files: Images) -> None:
        self._conversations = conversations
        self._files = files

    def event_to_store(self, event: Body, prefix: str) -> Body:
        """An event without its picture; one that is in no job is stored below ``prefix``."""
        event = dict(event)
        if "response" in event:
            event["response"] = bare(event["response"])
        if "item" in event:
            (event["item"],) = bare_items([event["item"]])
        if isinstance(event.get(_PARTIAL), str):
            key = f"{prefix}{new_id('partial')}"
            data = decode_base64(event[_PARTIAL], max_bytes=len(event[_PARTIAL]))
            self._files.put(key, data, "application/octet-stream")
            event[_PARTIAL] = {"file": key}
        return event

    def event_to_show(self, event: Mapping[str, Any], tenant: str) -> Body:
        """A stored event as it was told."""
        event = dict(event)
        if "response" in event:
            event["response"] = self.response(event["response"], tenant)
        if "item" in event:
            event["item"] = self.item(event["item"], tenant)
        if isinstance(event.get(_PARTIAL), dict):
            event[_PARTIAL] = self._file(event[_PARTIAL]["file"])
        return event

    def response(self, response: Body, tenant: str) -> Body:
        """A response with the files of its pictures."""
        output = [self.item(item, tenant) for item in response["output"]]
        return {**response, "output": output}

    def item(self, item: Body, tenant: str) -> Body:
        """An item with the file of its picture; with an empty text when it is not stored any
        more, since clients take no other."""
        drawn = item["type"] == CALL and item["status"] == "completed" and item.get("job_id")
        if not drawn or item.get("result"):
            return item
        job = self._conversations.image_turn(item["job_id"], tenant)
        return {**item, "result": self._file(job.images[0].key) if job and job.images else ""}

    def _file(self, key: str) -> str:
        try:
            return encode_base64(self._files.get(key))
        except NotFound:
            return ""
