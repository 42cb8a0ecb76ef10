"""``docs/errors.md``: every error code, made from the exception tree.

``python -m dev.checks.errors --write`` writes it, ``--check`` fails when it is not current. What an
error means is said by its class; what to do about it is said here, and a code without such advice
fails.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

from robotchat.aws.problems import Family, problem
from robotchat.errors import RobotchatError

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = Path("docs/errors.md")

ADVICE = {
    "internal_error": "Report it with its `request_id`. It is ours to mend.",
    "invalid_request": "Change what `param`, `errors` or `detail` names.",
    "malformed_request": "Send what the content type says; JSON in UTF-8, usually.",
    "context_length_exceeded": "Shorten the input, begin a new conversation, or set "
    '`truncation: "auto"`.',
    "invalid_image": "Send a whole PNG, JPEG or still WebP picture.",
    "image_too_large": "Make the picture smaller, or upload it with `POST /v1/uploads`.",
    "forbidden_url": "Use a public https URL, or send the picture itself.",
    "unknown_checkpoint": "Choose from `GET /sdapi/v1/sd-models`; see `details.near_matches`.",
    "unknown_sampler": "Choose from `GET /sdapi/v1/samplers`; see `details.near_matches`.",
    "unknown_script": "Choose from `GET /sdapi/v1/scripts`, or ask the operator to allow it.",
    "forbidden_option": "Leave the option out; `details.allowed` lists those that may be set.",
    "work_too_large": "Ask for fewer pixels, steps or pictures; see `details.maximum`.",
    "idempotency_key_reused": "Use a new `Idempotency-Key` for a new request.",
    "payload_too_large": "Upload large pictures with `POST /v1/uploads`, and send their ids.",
    "record_too_large": "Send less of it: shorter texts, metadata and fields of extensions.",
    "unsupported_media_type": "Send `content-type: application/json`.",
    "unauthenticated": "Send a valid key: `Authorization: Bearer`, `x-api-key`, or as the password "
    "of Basic.",
    "forbidden": "Use a key with the scope that the message names.",
    "checkpoint_not_allowed": "Use one of `details.allowed`.",
    "not_found": "Check the id. Things of other tenants, and of long ago, are not found either.",
    "method_not_allowed": "Use a method of the `Allow` header.",
    "conflict": "Read the thing again, then decide.",
    "job_is_final": "Nothing: the job has ended. Read its status.",
    "job_not_retryable": "Only failed and expired jobs can be retried. Send a new request.",
    "job_not_final": "Cancel the job first, or wait for its end.",
    "conversation_busy": "Wait for the answer that is under way, then send again.",
    "stale_version": "Read the present version, apply the change to it, and send its `ETag`.",
    "limit_exceeded": "Wait for `Retry-After`; `details` names the limit. `GET /v1/usage` shows "
    "all of them.",
    "contended": "Try again after `Retry-After`; nothing was changed.",
    "job_canceled": "Nothing: somebody canceled the job. Send a new request.",
    "job_expired": "`POST /v1/jobs/{job_id}/retry`, or send a new request.",
    "worker_lost": "`POST /v1/jobs/{job_id}/retry`, or send the request again with a new "
    "`Idempotency-Key`.",
    "not_configured": "Operator: set what the message names.",
    "upstream_error": "Look at the job or the logs; the model server misbehaved.",
    "upstream_unavailable": "Try again later. Jobs are retried by themselves.",
    "upstream_timeout": "Try again, with less work if it keeps happening.",
    "upstream_garbage": "Try again; if it stays, the operator should look at the model server.",
    "upstream_busy": "Try again after `Retry-After`, or queue the work: `Prefer: respond-async`.",
    "upstream_rate_limited": "Try again after `Retry-After`.",
    "insufficient_quota": "Waiting does not help: the operator must raise the quota at the model's "
    "provider, or set a fallback.",
    "upstream_unauthorized": "Operator: mend this service's credentials for the model server.",
    "upstream_rejected": "Change the request as the message says.",
    "not_supported": "Do without it, or ask the operator for a model server that has it.",
    "wrong_result": "Try again; the model server drew something else. Jobs are retried by "
    "themselves.",
}

_FAMILIES: tuple[tuple[str, Family], ...] = (
    ("robotchat", "robotchat"),
    ("OpenAI", "openai"),
    ("A1111", "a1111"),
)

_HEAD = """\
# Errors

<!-- Made from the exception tree by `python -m dev.checks.errors --write`. -->

Every error has a stable machine code, says whether the same request may succeed later
(`retryable`), and names the request (`request_id`, also the header `x-request-id`). Its shape is
the one that clients of its endpoint parse:

| endpoints | shape | the code is in |
|---|---|---|
| robotchat's own (`/v1/jobs`, `/v1/chat/text2image` ...) | `application/problem+json` (RFC 9457) \
| `code` |
| OpenAI's (`/v1/chat/completions`, `/v1/responses` ...) | `{"error": {...}}` | `error.code` |
| A1111's (`/sdapi/v1/...`, `/controlnet/...`) | `detail`, `errors` | `code` and `error` |

What the gateway refuses by itself, before it knows the endpoint, has the fields of all three.
An error that a stream meets after its first byte is sent as an `error` event of the same content.
A failed job has the same codes in its `error`. `Retry-After` says when to come again, where that
is known; answers to a limit also have `x-ratelimit-limit`, `x-ratelimit-remaining` and
`x-ratelimit-reset` (seconds).

OpenAI's own API knows no 422, so its endpoints answer 400 instead; and A1111's knows one status,
422, for every body that it cannot read.

| code | status | retryable | meaning | what to do |
|---|---|---|---|---|
"""


class NoAdvice(Exception):
    """There are codes that nobody says what to do about, or the other way round."""


def tree(kind: type[RobotchatError] = RobotchatError) -> Iterator[type[RobotchatError]]:
    """Every class of the exception tree that has a code of its own, a parent first."""
    yield kind
    for sub in kind.__subclasses__():
        if sub.__module__ == RobotchatError.__module__:
            yield from tree(sub)


def document() -> str:
    """The Markdown. Raises NoAdvice."""
    rows = []
    for kind in tree():
        if kind.code not in ADVICE:
            raise NoAdvice(f"dev/checks/errors.py does not say what to do about {kind.code}.")
        meaning = " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())
        if kind is RobotchatError:
            meaning = "Something went wrong on our side."
        cells = (
            f"`{kind.code}`",
            _statuses(kind),
            "yes" if kind.retryable else "no",
            meaning.replace("``", "`"),
            ADVICE[kind.code],
        )
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    unknown = sorted(set(ADVICE) - {kind.code for kind in tree()})
    if unknown:
        raise NoAdvice(
            f"dev/checks/errors.py knows codes that there are not: {', '.join(unknown)}."
        )
    return _HEAD + "".join(rows)


def _statuses(kind: type[RobotchatError]) -> str:
    """The status, and those that differ by the family of the endpoint."""
    usual = kind.status
    others = [
        f"{status} ({name})"
        for name, family in _FAMILIES
        if (status := problem(kind("-"), family, "-").status) != usual
    ]
    return ", ".join([str(usual), *others])


def main() -> int:
    """Check the document, or write it."""
    parser = argparse.ArgumentParser(prog="python -m dev.checks.errors", description=__doc__)
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--check", action="store_true", help="fail if the document is not current")
    choice.add_argument("--write", action="store_true", help="write the document")
    asked = parser.parse_args()
    try:
        text = document()
    except NoAdvice as error:
        print(error, file=sys.stderr)
        return 1
    path = ROOT / DOCUMENT
    if asked.write:
        path.write_text(text, "utf-8")
    elif not path.exists() or path.read_text("utf-8") != text:
        print(
            f"{DOCUMENT} is not current: run `python -m dev.checks.errors --write`.",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
