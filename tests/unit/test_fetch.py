"""Fetching a caller's URL: nothing but the public internet, nothing but pictures."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import httpcore
import httpx
import pytest

from robotchat.drivers.fake import plain_png
from robotchat.errors import (
    ForbiddenUrl,
    ImageTooLarge,
    InvalidImage,
    RobotchatError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from robotchat.net.addresses import check_url, is_loopback, is_public
from robotchat.net.fetch import fetch_image
from robotchat.net.guarded import guarded_client

PNG = plain_png(8, 8)
PUBLIC = "93.184.215.14"

INNER = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "100.100.100.200",
    "169.254.169.254",
    "169.254.170.2",
    "168.63.129.16",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2001:0:5ef5:79fb::1",
    "2001:db8::1",
    "fe80::1",
    "fe80::1%eth0",
    "fe80::5efe:10.0.0.1",
    "2600::5efe:127.0.0.1",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "100::1",
    "3fff::1",
    "5f00::1",
    "not an address",
    "",
]


@pytest.mark.parametrize("address", INNER)
def test_an_inner_address_is_not_public_however_it_is_written(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [PUBLIC, "1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "2002:101:101::1"],
)
def test_a_public_address_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/a.png",
        "ftp://example.com/a.png",
        "file:///etc/passwd",
        "gopher://example.com/",
        "//example.com/a.png",
        "example.com/a.png",
        "https://",
        "https:///a.png",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://user:password@example.com/",
        "https://user@example.com/",
        "https://example.com\\@127.0.0.1/",
        "https://exam ple.com/",
        "https://example.com/\r\nHost: x",
        "https://[::1/",
        "https://localhost/",
        "https://LOCALHOST./",
        "https://a.localhost/",
        "https://metadata.google.internal/",
        "https://printer.local/",
        "https://intranet/",
        "https://127.0.0.1/",
        "https://127.0.0.1./",
        "https://127.1/",
        "https://0177.0.0.1/",
        "https://0x7f.0.0.1/",
        "https://0x7f000001/",
        "https://2130706433/",
        "https://017700000001/",
        "https://127.0.0.256/",
        "https://08.8.8.8/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:7f00:1]/",
        "https://[fe80::1%25eth0]/",
        "https://[64:ff9b::7f00:1]/",
        "https://example.com/" + "x" * 5000,
    ],
)
def test_urls_that_look_wrong_are_refused_at_once(url: str) -> None:
    with pytest.raises(ForbiddenUrl) as caught:
        check_url(url, param="image")
    assert caught.value.param == "image"


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a.png?x=1#y",
        "https://example.com:8443/",
        "https://1.1.1.1/a.png",
        "https://16843009/",
        "https://[2606:4700::1111]/",
        "https://bücher.example/",
    ],
)
def test_urls_that_look_right_are_taken(url: str) -> None:
    assert check_url(url) == url


def test_only_the_local_stack_may_name_this_machine() -> None:
    for url in ("http://127.0.0.1:8080/a.png", "http://localhost/", "https://[::1]/"):
        assert check_url(url, allow_http_loopback=True) == url
        with pytest.raises(ForbiddenUrl):
            check_url(url)
    for url in ("http://example.com/", "http://10.0.0.1/", "https://10.0.0.1/", "http://127.1/"):
        with pytest.raises(ForbiddenUrl):
            check_url(url, allow_http_loopback=True)


# --- over scripted connections --------------------------------------------------------------------


def answer(status: int = 200, body: bytes = PNG, **headers: str) -> bytes:
    lines = [
        f"HTTP/1.1 {status} X",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    if "content_length" not in headers:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join((*lines, "", "")).encode() + body


class Internet(httpcore.NetworkBackend):
    """Names, the addresses they have, and what is answered there; remembers who was called."""

    def __init__(self, *answers: bytes) -> None:
        self.names: dict[str, Sequence[Sequence[str]]] = {"example.com": [[PUBLIC]]}
        self.answers = list(answers)
        self.connected: list[tuple[str, int]] = []
        self.resolved: list[str] = []
        self.tls_names: list[str | None] = []
        self.dead: set[str] = set()

    def resolve(self, host: str, port: int) -> list[str]:
        self.resolved.append(host)
        known = self.names.get(host)
        if known is None:
            raise OSError("no such name")
        # The last answer of a name that changes its mind is repeated.
        return list(known[min(self.resolved.count(host), len(known)) - 1])

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *args: Any, **kwargs: Any
    ) -> httpcore.NetworkStream:
        self.connected.append((host, port))
        if host in self.dead:
            raise httpcore.ConnectError("dead")
        return Wire(self, self.answers.pop(0))

    def client(self, **options: Any) -> Callable[[float], httpx.Client]:
        return lambda seconds: guarded_client(
            timeout=seconds, resolve=self.resolve, network=self, **options
        )

    def fetch(self, url: str = "https://example.com/cat.png", **options: Any) -> bytes:
        return fetch_image(url, client=self.client(), **options)


class Wire(httpcore.MockStream):
    def __init__(self, internet: Internet, data: bytes) -> None:
        super().__init__([data])
        self._internet = internet
        self.closed = threading.Event()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        self._internet.tls_names.append(server_hostname)
        return self


def test_an_image_comes_from_the_address_that_was_checked() -> None:
    internet = Internet(answer())
    assert internet.fetch() == PNG
    assert internet.connected == [(PUBLIC, 443)]
    assert internet.tls_names == ["example.com"]


@pytest.mark.parametrize("address", INNER)
def test_a_name_that_leads_inside_is_never_connected_to(address: str) -> None:
    internet = Internet(answer())
    internet.names["example.com"] = [[address]]
    with pytest.raises(ForbiddenUrl):
        internet.fetch(param="image")
    assert internet.connected == []


def test_one_inner_address_among_public_ones_is_enough() -> None:
    internet = Internet(answer())
    internet.names["example.com"] = [[PUBLIC, "10.0.0.1"]]
    with pytest.raises(ForbiddenUrl) as caught:
        internet.fetch(param="image")
    assert caught.value.param == "image"
    assert internet.connected == []


def test_a_name_is_resolved_once_for_both_the_check_and_the_connection() -> None:
    internet = Internet(answer())
    internet.names["example.com"] = [[PUBLIC], ["127.0.0.1"]]
    assert internet.fetch() == PNG
    assert internet.resolved == ["example.com"]
    assert internet.connected == [(PUBLIC, 443)]


def test_a_name_that_changes_its_mind_between_redirects_is_caught() -> None:
    internet = Internet(answer(302, b"", location="/again"), answer())
    internet.names["example.com"] = [[PUBLIC], ["127.0.0.1"]]
    with pytest.raises(ForbiddenUrl):
        internet.fetch()
    assert internet.connected == [(PUBLIC, 443)]


@pytest.mark.parametrize(
    "location",
    [
        "https://169.254.169.254/latest/meta-data/",
        "http://example.com/cat.png",
        "https://inner.example/",
        "//127.0.0.1/",
        "https://[::ffff:127.0.0.1]/",
        "file:///etc/passwd",
        "https://2130706433/",
    ],
)
def test_a_redirect_cannot_lead_inside(location: str) -> None:
    internet = Internet(answer(302, b"", location=location), answer())
    internet.names["inner.example"] = [["10.0.0.1"]]
    internet.names["2130706433"] = [["127.0.0.1"]]
    with pytest.raises(ForbiddenUrl):
        internet.fetch()
    assert internet.connected == [(PUBLIC, 443)]


def test_redirects_to_other_public_places_are_followed() -> None:
    internet = Internet(
        answer(301, b"", location="/b"),
        answer(302, b"", location="https://cdn.example:8443/c"),
        answer(307, b"", location="d"),
        answer(),
    )
    internet.names["cdn.example"] = [["1.1.1.1"]]
    assert internet.fetch() == PNG
    assert internet.connected == [
        (PUBLIC, 443),
        (PUBLIC, 443),
        ("1.1.1.1", 8443),
        ("1.1.1.1", 8443),
    ]


def test_redirects_come_to_an_end() -> None:
    internet = Internet(*[answer(302, b"", location="/again")] * 5)
    with pytest.raises(InvalidImage, match="redirects"):
        internet.fetch()
    assert len(internet.connected) == 4


def test_the_next_address_is_tried_when_one_is_dead() -> None:
    internet = Internet(answer())
    internet.names["example.com"] = [["2606:4700::1111", PUBLIC]]
    internet.dead.add("2606:4700::1111")
    assert internet.fetch() == PNG
    internet.dead.add(PUBLIC)
    with pytest.raises(UpstreamUnavailable):
        internet.fetch()


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (answer(404), InvalidImage),
        (answer(403), InvalidImage),
        (answer(204, b""), InvalidImage),
        (answer(302, b""), InvalidImage),
        (answer(429), UpstreamUnavailable),
        (answer(500), UpstreamUnavailable),
        (answer(body=b"<html>"), InvalidImage),
        (answer(body=PNG[:-5]), InvalidImage),
        (answer(content_encoding="gzip"), InvalidImage),
        (answer(body=b"x" * 2000), ImageTooLarge),
        (answer(content_length="999999999999"), ImageTooLarge),
        (b"HTTP/1.1 200 X\r\n\r\n" + b"x" * 2000, ImageTooLarge),
        (answer(body=plain_png(100, 101)), ImageTooLarge),
        (b"nonsense\r\n\r\n", UpstreamUnavailable),
        (b"", UpstreamUnavailable),
        (answer(content_length="500"), UpstreamUnavailable),
    ],
)
def test_what_is_no_image_is_refused(reply: bytes, error: type[RobotchatError]) -> None:
    with pytest.raises(RobotchatError) as caught:
        Internet(reply).fetch(max_bytes=1000, max_pixels=10_000, param="image")
    assert type(caught.value) is error
    assert caught.value.param == "image"
    assert "example.com" not in caught.value.message


def test_what_the_server_calls_it_does_not_matter() -> None:
    assert Internet(answer(content_type="text/html")).fetch() == PNG


def test_a_name_that_does_not_exist_is_not_available() -> None:
    with pytest.raises(UpstreamUnavailable):
        Internet().fetch("https://nowhere.example/")


@pytest.mark.parametrize(
    "url", ["https://１２７.0.0.1/", "https://xn--a.b/", "https://a.b/\udc80", "https://-a.b/☃"]
)
def test_a_host_that_no_name_can_be_is_refused(url: str) -> None:
    with pytest.raises((ForbiddenUrl, UpstreamUnavailable)):
        Internet().fetch(url)


def test_a_name_that_cannot_be_written_for_the_resolver_is_not_available() -> None:
    def resolve(host: str, port: int) -> list[str]:
        raise UnicodeError("label too long")

    with pytest.raises(UpstreamUnavailable):
        fetch_image(
            "https://example.com/",
            client=lambda seconds: guarded_client(timeout=seconds, resolve=resolve),
        )


def test_all_of_it_has_one_time_limit() -> None:
    internet = Internet(answer())
    with pytest.raises(UpstreamTimeout):
        internet.fetch(timeout=0)
    assert internet.connected == []


def test_a_resolver_that_hangs_is_not_waited_for() -> None:
    release = threading.Event()

    def hang(host: str, port: int) -> list[str]:
        release.wait()
        return [PUBLIC]

    internet = Internet(answer())
    with pytest.raises(UpstreamTimeout):
        fetch_image(
            "https://example.com/",
            timeout=0.01,
            client=lambda seconds: guarded_client(timeout=seconds, resolve=hang, network=internet),
        )
    release.set()
    assert internet.connected == []


def test_a_slow_trickle_ends_with_the_time() -> None:
    class Trickle(Wire):
        """Gives a byte of an endless header at every read."""

        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            assert timeout is not None
            return b"x"

    class Slow(Internet):
        def connect_tcp(self, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
            return Trickle(self, b"")

    with pytest.raises((UpstreamTimeout, UpstreamUnavailable)):
        Slow().fetch(timeout=0.05)


# --- the client by itself -------------------------------------------------------------------------


def test_the_client_serves_callbacks_as_well() -> None:
    internet = Internet(answer(200, b"thanks"), answer(302, b"", location="https://x.example/"))
    with internet.client()(5.0) as client:
        response = client.post("https://example.com/hook", content=b"{}")
        assert response.content == b"thanks"
        assert client.post("https://example.com/hook").status_code == 302
    internet.names["example.com"] = [["10.0.0.1"]]
    with internet.client()(5.0) as client, pytest.raises(ForbiddenUrl):
        client.post("https://example.com/hook", content=b"{}")


def test_the_local_stack_may_be_allowed_its_own_machine_and_no_other() -> None:
    internet = Internet(answer())
    internet.names |= {"hook.test": [["127.0.0.1"]], "other.test": [["10.0.0.1"]]}
    with internet.client(allow=is_loopback)(5.0) as client:
        assert client.get("http://hook.test:9000/").status_code == 200
        with pytest.raises(ForbiddenUrl):
            client.get("http://other.test/")
    assert internet.connected == [("127.0.0.1", 9000)]
    assert is_loopback("::1")
    assert not is_loopback("example.com")
