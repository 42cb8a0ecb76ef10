"""Who is calling: the request authorizer of the API.

API Gateway asks it before every call and passes its answer on to the function that is called,
which reads it with `robotchat.aws.api.caller`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from robotchat.aws.keys import ApiKey, find_key
from robotchat.aws.log import logger
from robotchat.clock import Clock, SystemClock
from robotchat.records import Records

#: How long a key is remembered; a revoked one works for at most that much longer.
REMEMBERED = timedelta(seconds=30)
_MOST_REMEMBERED = 1000


class Unauthorized(Exception):
    """Makes API Gateway answer 401, by having exactly this text."""

    def __init__(self) -> None:
        super().__init__("Unauthorized")


class Authorizer:
    """The handler: turns the key in a request's headers into the tenant that it belongs to.

    ``records`` is called at the first request, so that nothing is built while the function loads.
    """

    def __init__(self, records: Callable[[], Records], clock: Clock | None = None) -> None:
        self._records = records
        self._clock = clock or SystemClock()
        self._remembered: dict[str, tuple[datetime, ApiKey]] = {}

    def __call__(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """Allow the call. Raises `Unauthorized` without a key that is valid now."""
        secret = secret_of(event.get("headers") or {})
        key = self._find(secret) if secret else None
        if key is None or not key.valid(self._clock.now()):
            logger().info("refused", reason="no valid key" if secret else "no key")
            raise Unauthorized
        return {
            "principalId": key.key_id,
            "policyDocument": {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Action": "execute-api:Invoke",
                        "Resource": _whole_stage(event["methodArn"]),
                    }
                ],
            },
            # API Gateway passes on plain values only, hence no list.
            "context": {
                "tenant": key.tenant,
                "key_id": key.key_id,
                "scopes": " ".join(key.scopes),
            },
        }

    def _find(self, secret: str) -> ApiKey | None:
        now = self._clock.now()
        if secret in self._remembered:
            until, key = self._remembered[secret]
            if now < until:
                return key
            del self._remembered[secret]
        # Unknown keys are not remembered: a new key works at once, and nobody fills the memory.
        found = find_key(self._records(), secret)
        if found is not None:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[secret] = (now + REMEMBERED, found)
        return found


def secret_of(headers: Mapping[str, str]) -> str | None:
    """The key in a request: ``Authorization: Bearer``, ``x-api-key``, ``api-key``, or Basic.

    ``api-key`` is what clients of Azure's OpenAI send. Of Basic, which clients of the SD web UI
    use, it is the password; the user name does not matter.
    """
    by_name = {name.lower(): value for name, value in headers.items()}
    scheme, _, credentials = by_name.get("authorization", "").strip().partition(" ")
    credentials = credentials.strip()
    if scheme.lower() == "bearer" and credentials:
        return credentials
    if scheme.lower() == "basic" and credentials:
        try:
            _, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return password or None
    given = (by_name.get(name, "").strip() for name in ("x-api-key", "api-key"))
    return next(filter(None, given), None)


def _whole_stage(method_arn: str) -> str:
    """The ARN of every method of the stage.

    A policy for the one method would deny the next call where the gateway caches policies.
    """
    api, stage, *_ = method_arn.split("/")
    return f"{api}/{stage}/*/*"
