"""The answers that the gateway makes itself follow from the errors, for clients of all families."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dev.checks import gateway
from dev.template import Template
from robotchat.aws.problems import problem

ROOT = Path(__file__).parents[2]


def bodies() -> dict[str, dict[str, Any]]:
    responses = Template(ROOT / "template.yaml").api().responses
    return {
        kind: json.loads(found.templates["application/json"]) for kind, found in responses.items()
    }


def test_the_template_has_them_as_they_follow_from_the_errors() -> None:
    assert gateway.written(ROOT) == (ROOT / gateway.TEMPLATE).read_text("utf-8")


def test_what_was_changed_by_hand_is_noticed(tmp_path: Path) -> None:
    text = (ROOT / gateway.TEMPLATE).read_text("utf-8")
    changed = text.replace("This took too long.", "This took far too long.")
    (tmp_path / gateway.TEMPLATE).write_text(changed, "utf-8")
    assert changed != gateway.written(tmp_path) == text


def test_a_template_without_the_comments_is_refused(tmp_path: Path) -> None:
    (tmp_path / gateway.TEMPLATE).write_text("Resources: {}\n", "utf-8")
    with pytest.raises(ValueError, match="gateway-responses"):
        gateway.written(tmp_path)


@pytest.mark.parametrize("kind", gateway.REFUSALS)
def test_clients_of_every_family_can_read_them(kind: str) -> None:
    error, body = gateway.REFUSALS[kind], bodies()[kind]
    assert body["request_id"] == "$context.requestId"
    own = {**problem(error, "robotchat", body["request_id"]).body}
    a1111 = problem(error, "a1111", body["request_id"]).body
    openai = problem(error, "openai", body["request_id"]).body
    if kind.startswith("DEFAULT_"):
        assert "status" not in body, "the gateway's own status holds"
        del own["status"]
    assert own.items() <= body.items()
    assert {name: a1111[name] for name in ("detail", "body", "errors")}.items() <= body.items()
    assert body["error"] == openai["error"]
