"""``python -m dev.stack.strict_aws``: MiniStack, and what DynamoDB refuses although it takes it.

That is keys of the wrong size, in indexes and queries: AWS would not do them, whoever asks. It is
served by uvicorn, which takes half the processor time of MiniStack's own server for a request.
"""

from __future__ import annotations

import json
import logging
import os
from typing import Any

import uvicorn
from ministack.app import app  # type: ignore[import-untyped]
from ministack.core.responses import error_response_json  # type: ignore[import-untyped]
from ministack.services import dynamodb  # type: ignore[import-untyped]

from dev.stack.dynamodb_rules import fault

KEEP_ALIVE = 75
"""Seconds that an idle connection is kept, as MiniStack's own server does."""


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


def main() -> None:
    """Serve on ``$BIND_HOST:$GATEWAY_PORT`` until SIGTERM."""
    uvicorn.run(
        app,
        host=os.environ["BIND_HOST"],
        port=int(os.environ["GATEWAY_PORT"]),
        log_level=logging.WARNING,
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE,
    )


if __name__ == "__main__":
    be_strict()
    main()
