"""Connects to public addresses only, if a host is given by its name.

A name is looked up once, and its addresses are checked before one of them is connected to, so that no second look-up
can lead elsewhere. A host that is given by its address is connected to: the caller was configured with it.
"""

import ipaddress
import socket
from collections.abc import Iterable
from typing import Any, Final

import httpcore

from shared.address import is_loopback

NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""Addresses that hold an IPv4 address in their last four bytes (RFC 6052)."""
REFUSED: Final = "its name leads to an address that is not public"


class AddressRefused(Exception):
    """The name leads to no address that may be connected to. The message does not repeat it."""


class PublicBackend(httpcore.SyncBackend):
    """If `private`, private networks count as public: link-local, loopback and multicast addresses never do."""

    def __init__(self, private: bool = False) -> None:
        self._private = private

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *arguments: Any, **options: Any
    ) -> httpcore.NetworkStream:
        """Connect as the base class does, `timeout` seconds an address. Raises AddressRefused, too."""
        if _is_address(host) or is_loopback(host):
            return super().connect_tcp(host, port, timeout, *arguments, **options)
        allowed = [address for address in _looked_up(host, port) if is_public(address, self._private)]
        if not allowed:
            raise AddressRefused(REFUSED)
        for address in allowed[:-1]:
            try:
                return super().connect_tcp(address, port, timeout, *arguments, **options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return super().connect_tcp(allowed[-1], port, timeout, *arguments, **options)


def is_public(address: str, private: bool = False) -> bool:
    """Return whether an IP address is one of the public internet's; if `private`, or of a private network."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)), private)
        if (embedded := ip.ipv4_mapped or ip.sixtofour) is not None:
            return is_public(str(embedded), private)
    if ip.is_multicast or ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip.is_reserved:
        return False
    return ip.is_global or (private and ip.is_private)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _looked_up(host: str, port: int) -> Iterable[str]:
    """Return a name's addresses, each once. Raises httpcore.ConnectError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpcore.ConnectError(error) from error
    return dict.fromkeys(str(address[0]) for *_, address in found)
