"""Loaded by schemathesis: what its configuration cannot say."""

from __future__ import annotations

import re
from itertools import count
from typing import Any

import schemathesis

_KEY = re.compile(r"[\x21-\x7e]{1,200}")
_numbers = count(1)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Make each good idempotency key one of its own.

    The same one is sent with every request otherwise, and all but the first are refused for it
    before anything else of them is looked at.
    """
    for name, value in dict(case.headers or {}).items():
        if name.lower() == "idempotency-key" and _KEY.fullmatch(str(value)):
            case.headers[name] = f"{value}-{next(_numbers)}"
