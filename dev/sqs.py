"""A small asynchronous SQS client: its calls can be cancelled, which boto3's cannot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


class SqsError(Exception):
    """SQS refused a call, or could not be reached."""


class Sqs:
    """SQS at one endpoint, in its JSON protocol."""

    def __init__(self, session: aiohttp.ClientSession, endpoint: str, region: str) -> None:
        self._session = session
        self._endpoint = endpoint.rstrip("/") + "/"
        self._signer = SigV4Auth(Credentials("test", "test"), "sqs", region)

    async def receive(self, queue_url: str, limit: int, wait: int) -> list[dict[str, Any]]:
        """At most ``limit`` (1 to 10) messages, waiting up to ``wait`` seconds for the first."""
        answer = await self._call(
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
            await self._call("DeleteMessageBatch", {"QueueUrl": queue_url, "Entries": entries})

    async def _call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        body = json.dumps(parameters).encode()
        request = AWSRequest(
            "POST",
            self._endpoint,
            data=body,
            headers={
                "Content-Type": "application/x-amz-json-1.0",
                "X-Amz-Target": f"AmazonSQS.{operation}",
            },
        )
        self._signer.add_auth(request)
        try:
            async with self._session.post(
                self._endpoint, data=body, headers=dict(request.headers.items())
            ) as response:
                answer = await response.json(content_type=None)
        except (aiohttp.ClientError, ValueError) as error:
            raise SqsError(f"{operation}: {error}") from error
        if response.status != 200:
            raise SqsError(f"{operation}: {answer}")
        return dict(answer or {})
