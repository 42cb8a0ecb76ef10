"""One structured log for every function: JSON lines on stdout, with the request's id in each.

The library logs with the standard library's ``logging.getLogger(__name__)``; those loggers are
children of the one made here, so that their lines come out in the same shape.
"""

from __future__ import annotations

import io
import logging
import re
import sys
from functools import cache
from typing import IO, Any, cast

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter

from robotchat import correlation

_SECRETS = (
    # API keys, whoever put them into a message.
    (re.compile(r"\brk_[A-Za-z0-9_-]{8,}"), "rk_***"),
    (re.compile(r"(?i)\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=-]{8,}"), r"\1\2***"),
    # Pictures, and anything else that is long and looks like base64. Python quotes at most 200
    # characters of a value in its own messages.
    (re.compile(r"[A-Za-z0-9+/]{100,}={0,2}"), "<base64>"),
    # What pydantic quotes of the caller's input.
    (re.compile(r"input_value=.*?, input_type=(\w+)\]"), r"input_value=***, input_type=\1]"),
)


class _Formatter(LambdaPowertoolsFormatter):
    """Takes keys, pictures and quoted input out of a finished line."""

    def serialize(self, log: Any) -> str:
        # The logger has one id for all; a process that runs several jobs has one per thread.
        if (own := correlation.correlation_id()) is not None:
            log["correlation_id"] = own
        line = super().serialize(log)
        for pattern, replacement in _SECRETS:
            line = pattern.sub(replacement, line)
        return line


class _Stdout(io.TextIOBase):
    """Whatever ``sys.stdout`` is at the time of writing, not at the time of the first log line."""

    def write(self, text: str, /) -> int:
        return sys.stdout.write(text)

    def flush(self) -> None:
        sys.stdout.flush()


def correlate(request_id: str | None) -> None:
    """Let all that follows, log lines and jobs alike, carry the id of this request."""
    correlation.correlate(request_id)
    logger().set_correlation_id(request_id)


@cache
def logger() -> Logger:
    """The process's logger, built on first use; its level is ``POWERTOOLS_LOG_LEVEL``."""
    stdout = cast(IO[str], _Stdout())
    # It tells the URL of every request at INFO, with whatever secret is in its query.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # The traceback is in a line once already, as text.
    formatter = _Formatter(serialize_stacktrace=False)
    return Logger(service="robotchat", stream=stdout, logger_formatter=formatter)
