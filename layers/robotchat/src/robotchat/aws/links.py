"""Links to S3 that work: with the region's own host, and no longer than their credentials.

A link is checked by S3 with the credentials that signed it. Those of a function are a session's:
when that has ended, all of its links are dead, whatever term they were given.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from botocore.config import Config

SESSION_TERM = 3600.0
"""Seconds for which a link is given when it is signed by a session that does not tell its end.
Lambda puts such into a function's environment; they were seen to last for 12 hours, and Lambda ends
the environment hours before that."""

LONGEST_TERM = 7 * 24 * 3600.0
"""Seconds that S3 takes at most."""


def s3_config(endpoint: str | None) -> Config:
    """How to speak to S3, at ``endpoint`` if it is not AWS itself.

    boto3 signs links for the global host (``bucket.s3.amazonaws.com``) by default. The regions
    since 2019 refuse that; the others redirect to their own host at first, for which the signature
    is not good.
    """
    from botocore.config import Config

    regional: Any = {"addressing_style": "virtual", "us_east_1_regional_endpoint": "regional"}
    return Config(
        retries={"mode": "standard", "max_attempts": 5},
        # Links that cannot be tampered with need the fourth version of signatures.
        signature_version="s3v4",
        # A stand-in has one host name, with no bucket in front.
        s3=None if endpoint else regional,
    )


def origin(bucket: str, region: str, endpoint: str | None) -> str:
    """The scheme and host of links that are signed with such a configuration."""
    if endpoint:
        parts = urlsplit(endpoint)
        return f"{parts.scheme}://{parts.netloc}"
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://{bucket}.s3.{region}.{domain}"


def term(credentials: Any, wanted: float) -> float:
    """For how many of the ``wanted`` seconds a link works that is signed by these credentials."""
    frozen = credentials.get_frozen_credentials()  # refreshes them, if they are about to end
    # botocore tells nobody but itself when credentials end. Those that it refreshes do.
    end: datetime | None = getattr(credentials, "_expiry_time", None)
    if end is not None:
        left = (end - datetime.now(UTC)).total_seconds()
    else:
        left = LONGEST_TERM if frozen.token is None else SESSION_TERM
    return max(1.0, min(wanted, left))
