"""GET /openapi.json, with its event."""

from __future__ import annotations

import json
from pathlib import Path

from functions.admin.openapi.app import handler

EVENT = json.loads((Path(__file__).parents[2] / "events/admin/openapi.json").read_text("utf-8"))


def test_anyone_can_read_the_description_of_the_api() -> None:
    answer = handler(EVENT, None)
    assert answer["statusCode"] == 200
    document = json.loads(answer["body"])
    assert document["openapi"] == "3.1.0"
    assert "/openapi.json" in document["paths"]
