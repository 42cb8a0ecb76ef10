"""The control API as methods, for any instance of the stand-in."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any


class Control:
    """Speaks to the stand-in at ``url``. Its OpenAI API is at ``base_url``."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.base_url = f"{url}/v1"

    def script(self, *scripts: dict[str, Any], **fields: Any) -> None:
        """Say how to answer: scripts as objects, or one of them by its fields."""
        self._call("POST", "script", [*scripts, *([fields] if fields else [])])

    def release(self) -> int:
        """Let go on what is stalled, and say how much that was."""
        return int(self._call("POST", "release")["released"])

    def requests(self) -> list[dict[str, Any]]:
        """Every request since the last reset, in the order of arrival."""
        return list(self._call("GET", "requests")["requests"])

    def wait(self, state: str, match: str = "", *, timeout: float = 10.0) -> dict[str, Any]:
        """The first request containing ``match`` that is in ``state``. Raises TimeoutError."""
        query = urllib.parse.urlencode({"state": state, "match": match, "timeout": timeout})
        try:
            return self._call("GET", f"wait?{query}", timeout=timeout + 5)
        except urllib.error.HTTPError as error:
            with error:
                if error.code != 408:
                    raise
            raise TimeoutError(f"no request with {match!r} became {state}") from None

    def reset(self) -> None:
        """Forget everything."""
        self._call("POST", "reset")

    def _call(
        self, method: str, path: str, body: object = None, *, timeout: float = 10.0
    ) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 - the stand-in's own address
            f"{self.url}/_control/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
            found: dict[str, Any] = json.load(answer)
            return found
