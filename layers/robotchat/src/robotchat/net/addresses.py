"""Which of the addresses and URLs that callers name may be reached."""

from __future__ import annotations

import ipaddress
import re
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

from robotchat.errors import (
    ForbiddenUrl,
)

if TYPE_CHECKING:
    pass


Address: TypeAlias = IPv4Address | IPv6Address

MAX_URL_CHARS = 4096

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_IPV4_COMPATIBLE = ipaddress.IPv6Network("::/96")
_NOT_PUBLIC = (
    # Python versions differ about these, which are all for special purposes.
    ipaddress.ip_network("192.0.0.0/24"),
    ipaddress.ip_network("3fff::/20"),
    ipaddress.ip_network("5f00::/16"),
    ipaddress.ip_network("64:ff9b:1::/48"),  # NAT64 within one network
    ipaddress.ip_network("192.88.99.0/24"),  # relays for IPv6 over IPv4
    ipaddress.ip_network("168.63.129.16/32"),  # a cloud's own services, under a public address
)
_INNER_NAMES = re.compile(r"(^|\.)(localhost|local|localdomain|internal|intranet|lan|home|corp)$")


def is_public(address: Address | str) -> bool:
    """Whether an IP address belongs to the public internet, and so does any address inside it.

    IPv6 has several ways to write an IPv4 address; each is judged by what it leads to.
    """
    if isinstance(address, str):
        try:
            # A zone ("fe80::1%eth0") only makes sense on a local link.
            address = ipaddress.ip_address(address)
        except ValueError:
            return False
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return False
        inner = _embedded(address)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local:
            return False
    if any(address in network for network in _NOT_PUBLIC if network.version == address.version):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for, if it does."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64 or address in _IPV4_COMPATIBLE:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if (int(address) >> 32) & 0xFFFFFFFF in (0x00005EFE, 0x02005EFE):  # ISATAP
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def is_loopback(address: Address | str) -> bool:
    """Whether an IP address is this very machine."""
    try:
        return ipaddress.ip_address(str(address)).is_loopback
    except ValueError:
        return False


def check_url(url: str, *, allow_http_loopback: bool = False, param: str | None = None) -> str:
    """The URL, if its form is allowed: https, and not the name or address of an inner machine.

    To be asked when a URL is taken; it makes no connection, and does not replace the check at
    connect time. ``allow_http_loopback`` also lets this machine be named, by http or https: for
    the local stack only. Raises ForbiddenUrl.
    """

    def refused(reason: str) -> ForbiddenUrl:
        return ForbiddenUrl(f"The URL is not accepted: {reason}.", param=param)

    if len(url) > MAX_URL_CHARS:
        raise refused("it is too long")
    if any(ord(letter) <= 0x20 or ord(letter) == 0x7F for letter in url) or "\\" in url:
        raise refused("it holds characters that do not belong into one")
    try:
        url.encode()
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".").lower()
        port = parts.port
    except ValueError as error:
        raise refused("it is malformed") from error
    if not host or port == 0:
        raise refused("it names no host")
    if parts.username is not None or parts.password is not None:
        raise refused("it holds a user name")
    local = allow_http_loopback and (host == "localhost" or is_loopback(host))
    if parts.scheme not in (("http", "https") if local else ("https",)):
        raise refused("only https is")
    if local:
        return url
    literal = _literal(host)
    if literal is not None and not is_public(literal):
        raise refused("its address is not a public one")
    if literal is None and ("." not in host or _INNER_NAMES.search(host)):
        raise refused("its host is not a public one")
    return url


def _literal(host: str) -> Address | None:
    """The IP address that the host of a URL is, even if it is written in an old or odd way."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        # 127.1, 0177.0.0.1, 0x7f000001 and 2130706433 are what the C library still understands.
        parts = host.split(".")
        if len(parts) > 4 or not all(re.fullmatch(r"0x[0-9a-f]*|[0-9]+", part) for part in parts):
            return None
    try:
        *bytes_, last = [_number(part) for part in parts]
        value = sum(byte << (24 - 8 * index) for index, byte in enumerate(bytes_)) + last
        if any(byte > 255 for byte in bytes_) or last >= 1 << (32 - 8 * len(bytes_)):
            raise ValueError(host)
        return IPv4Address(value)
    except ValueError:
        # Nothing else ends in a number: treat it as what can never be public.
        return IPv4Address(0)


def _number(text: str) -> int:
    if text.startswith("0x"):
        return int(text[2:] or "0", 16)
    return int(text, 8) if text.startswith("0") and text != "0" else int(text)
