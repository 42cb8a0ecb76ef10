"""Calls of AWS services in their JSON protocol that can be cancelled, which boto3's cannot."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import aiohttp
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


class JsonService:
    """One service at one endpoint.

    ``target`` stands before the operation's name, ``version`` is the protocol's (1.0 or 1.1), and
    ``error`` is raised, with the reason, for a call that was refused or did not get there.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        endpoint: str,
        region: str,
        *,
        service: str,
        target: str,
        version: str,
        error: type[Exception],
    ) -> None:
        self._session = session
        self._endpoint = endpoint.rstrip("/") + "/"
        self._target = target
        self._content_type = f"application/x-amz-json-{version}"
        self._error = error
        self._signer = SigV4Auth(Credentials("test", "test"), service, region)

    async def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Call an operation and give its answer."""
        body = json.dumps(parameters).encode()
        request = AWSRequest(
            "POST",
            self._endpoint,
            data=body,
            headers={
                "Content-Type": self._content_type,
                "X-Amz-Target": f"{self._target}.{operation}",
            },
        )
        self._signer.add_auth(request)
        try:
            async with self._session.post(
                self._endpoint, data=body, headers=dict(request.headers.items())
            ) as response:
                answer = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise self._error(f"{operation}: {error!r}") from error
        if response.status != 200:
            raise self._error(f"{operation}: {answer}")
        return dict(answer or {})
