"""What a log line says, and what it never says."""

from __future__ import annotations

import base64
import json
import logging
import os
import subprocess
import sys

import pytest
from pydantic import TypeAdapter, ValidationError

from robotchat.aws.log import correlate, logger


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_librarys_own_loggers_come_out_in_the_same_shape(
    capsys: pytest.CaptureFixture[str],
) -> None:
    correlate("request-1")
    logging.getLogger("robotchat.jobs").warning("slow")
    [line] = lines(capsys)
    assert (line["message"], line["level"]) == ("slow", "WARNING")
    assert (line["service"], line["correlation_id"]) == ("robotchat", "request-1")


@pytest.mark.parametrize(("lambdas", "expected"), [("INFO", []), ("DEBUG", ["fine"])])
def test_what_is_logged_is_what_lambda_keeps(lambdas: str, expected: list[str]) -> None:
    code = (
        "import logging; from robotchat.aws.log import correlate, logger; logger();"
        "logging.getLogger('robotchat.jobs').debug('fine')"
    )
    environment = {"POWERTOOLS_LOG_LEVEL": "DEBUG", "AWS_LAMBDA_LOG_LEVEL": lambdas}
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={"PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert [json.loads(line)["message"] for line in said.splitlines()] == expected


@pytest.mark.parametrize(
    "secret",
    [
        "rk_0123456789abcdefghijABCDEFGHIJ",
        "Authorization: Bearer sk-proj-0123456789abcdef",
        "authorization: basic YW55b25lOnJrX3NlY3JldA==",
        base64.b64encode(bytes(range(256))).decode(),
    ],
)
def test_keys_and_images_are_taken_out_wherever_they_stand(
    secret: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logger().error("upstream said %s", secret, extra={"note": secret})
    said = capsys.readouterr().out
    assert secret.rpartition(" ")[2] not in said
    assert json.loads(said)["level"] == "ERROR"


def test_a_validation_error_does_not_quote_the_callers_words(
    capsys: pytest.CaptureFixture[str],
) -> None:
    wish = " ".join(("my", "secret", "wish"))  # not as such in the traceback's source lines
    try:
        TypeAdapter(dict[str, int]).validate_python({"steps": wish})
    except ValidationError:
        logger().exception("unforeseen")
    [line] = lines(capsys)
    assert "unable to parse string as an integer" in str(line["exception"])
    assert wish not in str(line)
    assert "stack_trace" not in line
