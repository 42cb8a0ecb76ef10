"""A tenant's defaults: what it set as options, applied to its own requests and nobody else's.

On a host of its own, a client of the web UI changes the host's options. Several tenants share
these hosts, so what one of them sets is kept here and goes along with each of its requests as
``override_settings``; the hosts' own options are never changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from robotchat.art.requests import DrawRequest
from robotchat.errors import PayloadTooLarge
from robotchat.records import Put, Record, Records, Retries, Stale
from robotchat.text import json_size

MAX_BYTES = 16 * 1024
"""Bytes of a tenant's options as JSON."""

R = TypeVar("R", bound=DrawRequest)


class TenantOptions:
    """The defaults of all tenants, in a document store."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def get(self, tenant: str) -> dict[str, Any]:
        """What the tenant has set."""
        record = self._records.get(f"tenant#{tenant}", "options")
        return dict(record.data) if record else {}

    def change(self, tenant: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Set options; None takes one back. Gives all that is set then. Raises PayloadTooLarge for
        more than goes along with every request."""
        retries = Retries()
        while True:
            record = self._records.get(f"tenant#{tenant}", "options")
            options = {**(record.data if record else {}), **changes}
            options = {name: value for name, value in options.items() if value is not None}
            if json_size(options) > MAX_BYTES:
                raise PayloadTooLarge(
                    f"The options that are set may have at most {MAX_BYTES} bytes as JSON.",
                    details={"max_bytes": MAX_BYTES},
                )
            version = record.version if record else 0
            try:
                self._records.commit(Put(Record(f"tenant#{tenant}", "options", options, version)))
            except Stale:
                retries.spend()
                continue
            return options


def what_differs(
    posted: Mapping[str, Any], shown: Mapping[str, Any], own: Mapping[str, Any]
) -> dict[str, Any]:
    """Of options that a client posts, those that are not already so.

    Clients post back all that they have read, to change one. ``shown`` is what they could read,
    ``own`` what the tenant has set of it.
    """
    return {
        name: value
        for name, value in posted.items()
        if (name in own if value is None else not (name in shown and same(shown[name], value)))
    }


def same(one: Any, other: Any) -> bool:
    """Whether two values of an option are one: 1 and 1.0 are, 1 and true are not."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def with_defaults(request: R, options: Mapping[str, Any]) -> R:
    """The request with these options, as far as it does not set them itself."""
    if not options:
        return request
    merged = {**options, **(request.override_settings or {})}
    return request.model_copy(update={"override_settings": merged})
