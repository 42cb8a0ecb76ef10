"""Fetching over real connections: certificates are checked against the name, not the address."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from robotchat.drivers.fake import plain_png
from robotchat.errors import ForbiddenUrl, UpstreamUnavailable
from robotchat.net.addresses import is_loopback
from robotchat.net.fetch import fetch_image
from robotchat.net.guarded import guarded_client

PNG = plain_png(8, 8)
NAME = "pictures.example"


class Images(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("location", "https://127.0.0.2/inner")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("content-length", str(len(PNG)))
        self.end_headers()
        self.wfile.write(PNG)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Clients break off here on purpose."""


def certificate(folder: Path) -> Path:
    """A self-signed certificate for the name, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


def serve(server: ThreadingHTTPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def plain_port() -> Iterator[int]:
    yield from serve(Server(("127.0.0.1", 0), Images))


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    return certificate(tmp_path)


@pytest.fixture
def tls_port(pem: Path) -> Iterator[int]:
    server = Server(("127.0.0.1", 0), Images)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    # The handshake belongs into the connection's thread.
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    yield from serve(server)


def client(seconds: float, pem: Path) -> httpx.Client:
    return guarded_client(
        timeout=seconds,
        allow=lambda address: ipaddress.ip_address(address) == ipaddress.ip_address("127.0.0.1"),
        resolve=lambda host, port: ["127.0.0.1" if host.endswith(".example") else host],
        ssl_context=ssl.create_default_context(cafile=str(pem)),
    )


def test_the_certificate_is_checked_against_the_name(tls_port: int, pem: Path) -> None:
    url = f"https://{NAME}:{tls_port}/cat.png"
    assert fetch_image(url, client=lambda seconds: client(seconds, pem)) == PNG
    with pytest.raises(UpstreamUnavailable):
        fetch_image(
            f"https://other.example:{tls_port}/", client=lambda seconds: client(seconds, pem)
        )


def test_an_unknown_authority_is_not_trusted(tls_port: int) -> None:
    def trusting_nobody_new(seconds: float) -> httpx.Client:
        return guarded_client(
            timeout=seconds, allow=is_loopback, resolve=lambda host, port: ["127.0.0.1"]
        )

    with pytest.raises(UpstreamUnavailable):
        fetch_image(f"https://{NAME}:{tls_port}/", client=trusting_nobody_new)


def test_a_redirect_to_an_inner_address_is_refused(tls_port: int, pem: Path) -> None:
    with pytest.raises(ForbiddenUrl):
        fetch_image(f"https://{NAME}:{tls_port}/moved", client=lambda seconds: client(seconds, pem))


def test_the_local_stack_may_fetch_from_its_own_machine(plain_port: int) -> None:
    url = f"http://127.0.0.1:{plain_port}/cat.png"
    assert fetch_image(url, allow_http_loopback=True) == PNG
    localhost = f"http://localhost:{plain_port}/cat.png"
    assert fetch_image(localhost, allow_http_loopback=True) == PNG
    with pytest.raises(ForbiddenUrl):
        fetch_image(url)


def test_a_real_name_that_leads_to_this_machine_is_refused() -> None:
    with guarded_client(timeout=5) as session, pytest.raises(ForbiddenUrl):
        session.get("http://localhost/")
