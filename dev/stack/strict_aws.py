"""``python -m dev.stack.strict_aws``: MiniStack, and what DynamoDB refuses although it takes it.

That is keys of the wrong size, in indexes and queries: AWS would not do them, whoever asks.
"""

from __future__ import annotations

import json
from typing import Any

from ministack.app import main  # type: ignore[import-untyped]
from ministack.core.responses import error_response_json  # type: ignore[import-untyped]
from ministack.services import dynamodb  # type: ignore[import-untyped]

from dev.stack.dynamodb_rules import fault


def be_strict() -> None:
    """Put the rules in front of DynamoDB."""
    handle = dynamodb.handle_request

    async def handle_request(
        method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]
    ) -> Any:
        try:
            asked = json.loads(body or b"{}")
        except ValueError:
            asked = {}  # which it refuses itself
        if (why := fault(asked)) is not None:
            return error_response_json("ValidationException", why, 400)
        return await handle(method, path, headers, body, query)

    dynamodb.handle_request = handle_request


if __name__ == "__main__":
    be_strict()
    main()
