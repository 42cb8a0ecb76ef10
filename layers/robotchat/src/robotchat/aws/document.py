"""The API's own description, as ``GET /openapi.json`` serves it."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def openapi_document() -> dict[str, Any]:
    """The OpenAPI 3.1 document, as ``python -m dev.checks.openapi --write`` made it."""
    text = files("robotchat.aws").joinpath("openapi.json").read_text("utf-8")
    document: dict[str, Any] = json.loads(text)
    return document
