"""A small asynchronous SQS client: its calls can be cancelled, which boto3's cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

from dev.stack.aws_json import JsonService


class SqsError(Exception):
    """SQS refused a call, or could not be reached."""


class Sqs:
    """SQS at one endpoint, in its JSON protocol."""

    def __init__(self, session: aiohttp.ClientSession, endpoint: str, region: str) -> None:
        self._service = JsonService(
            session,
            endpoint,
            region,
            service="sqs",
            target="AmazonSQS",
            version="1.0",
            error=SqsError,
        )

    async def receive(self, queue_url: str, limit: int, wait: int) -> list[dict[str, Any]]:
        """At most ``limit`` (1 to 10) messages, waiting up to ``wait`` seconds for the first."""
        answer = await self._service.call(
            "ReceiveMessage",
            {
                "QueueUrl": queue_url,
                "MaxNumberOfMessages": limit,
                "WaitTimeSeconds": wait,
                "MessageSystemAttributeNames": ["All"],
                "MessageAttributeNames": ["All"],
            },
        )
        return list(answer.get("Messages") or ())

    async def delete(self, queue_url: str, messages: Sequence[Mapping[str, Any]]) -> None:
        """Acknowledge messages. One that was meanwhile given to somebody else stays."""
        for start in range(0, len(messages), 10):
            batch = messages[start : start + 10]
            entries = [
                {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                for number, message in enumerate(batch)
            ]
            await self._service.call(
                "DeleteMessageBatch", {"QueueUrl": queue_url, "Entries": entries}
            )
