"""Links to S3: the host that they name in every region, and how long they promise to work."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.credentials import Credentials, RefreshableCredentials

from robotchat.aws.links import LONGEST_TERM, SESSION_TERM, s3_config, term
from robotchat.aws.stores import S3Images
from robotchat.images import MemoryImages
from robotchat.jobs.job import JobImage
from robotchat.views import Viewer
from tests.cases.clock import FakeClock

REGIONS = [
    *("us-east-1", "us-east-2", "us-west-2", "eu-central-1", "eu-west-1", "ap-northeast-1"),
    # Opened after March 2019: these refuse the global host.
    *("ap-east-1", "me-south-1", "eu-south-1", "af-south-1", "ap-southeast-3", "il-central-1"),
    *("ap-southeast-5", "mx-central-1", "us-gov-west-1"),
]


def images(region: str, config: Config, endpoint: str | None = None, **options: Any) -> S3Images:
    session = boto3.Session("AKID", "secret", "token", region_name=region)
    return S3Images(session.client("s3", config=config, endpoint_url=endpoint), "pics", **options)


def links(store: S3Images) -> list[str]:
    return [
        store.url("a/0.png", expires_in=600),
        store.upload_url("a/1", content_type="image/png", size=3, expires_in=600),
    ]


@pytest.mark.parametrize("region", REGIONS)
def test_links_name_the_regions_own_host(region: str) -> None:
    for link in links(images(region, s3_config(None))):
        parts = urlsplit(link)
        assert (parts.scheme, parts.hostname) == ("https", f"pics.s3.{region}.amazonaws.com")
        assert f"/{region}/s3/" in parse_qs(parts.query)["X-Amz-Credential"][0]


def test_links_of_china_are_of_its_own_domain() -> None:
    for link in links(images("cn-north-1", s3_config(None))):
        assert urlsplit(link).hostname == "pics.s3.cn-north-1.amazonaws.com.cn"


def test_without_that_they_would_name_the_global_host() -> None:
    for link in links(images("eu-south-1", Config(signature_version="s3v4"))):
        assert urlsplit(link).hostname == "pics.s3.amazonaws.com"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "host.docker.internal"])
def test_a_stand_in_is_named_as_it_is(host: str) -> None:
    endpoint = f"http://{host}:4566"
    for link in links(images("us-east-1", s3_config(endpoint), endpoint)):
        assert link.startswith(f"{endpoint}/pics/a/")


def sessions(seconds: float) -> RefreshableCredentials:
    """Credentials that end so many seconds from now; then they are renewed for an hour."""
    now = datetime.now(UTC)

    def renewed() -> dict[str, str]:
        end = (now + timedelta(hours=1)).isoformat()
        return {"access_key": "B", "secret_key": "b", "token": "t", "expiry_time": end}

    return RefreshableCredentials(
        "A", "a", "t", now + timedelta(seconds=seconds), renewed, "container-role"
    )


def test_a_link_lasts_no_longer_than_the_session_that_signs_it() -> None:
    assert term(sessions(1800), 3600) == pytest.approx(1800, abs=60)
    assert term(sessions(7200), 3600) == 3600
    # About to end: they are renewed first, as they are for the link itself.
    assert term(sessions(30), 36_000) == pytest.approx(3600, abs=60)


def test_a_session_that_does_not_tell_its_end_is_trusted_for_an_hour() -> None:
    assert term(Credentials("A", "a", "token"), 36_000) == SESSION_TERM
    assert term(Credentials("A", "a"), 10 * LONGEST_TERM) == LONGEST_TERM


def test_the_term_is_in_the_link() -> None:
    store = images("eu-west-1", s3_config(None), link_term=lambda wanted: min(wanted, 300))
    for link in links(store):
        assert parse_qs(urlsplit(link).query)["X-Amz-Expires"] == ["300"]


def test_an_image_tells_until_when_its_link_works() -> None:
    class Lent(MemoryImages):
        def link_term(self, wanted: float, /) -> float:
            return min(wanted, 300)

    store = Lent()
    store.put("a/0.png", b"png", "image/png")
    clock = FakeClock()
    viewer = Viewer(store, link_ttl=3600, clock=clock)
    image = JobImage(key="a/0.png", width=1, height=1, sha256="0", content_type="image/png")
    (seen,) = viewer.image_views([image])
    assert seen.url
    assert seen.expires_at == clock.now() + timedelta(seconds=300)
    deleted = clock.now() + timedelta(seconds=60)
    (seen,) = viewer.image_views([image], until=deleted)
    assert seen.expires_at == deleted
    (seen,) = viewer.image_views([image], until=clock.now())
    assert (seen.url, seen.expires_at) == (None, None)
