"""Connects to public addresses only, if a host is given by its name.

A name is looked up once, and its addresses are checked before one of them is connected to, so that no second look-up
can lead elsewhere. A host that is given by its address is connected to: the caller was configured with it.
"""

import ipaddress
import socket
from collections.abc import Iterable
from typing import Any, Final

import httpcore

from shared.public_address import Address, is_loopback, is_public

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
        allowed = [address for address in _looked_up(host, port) if is_public(_address(address), self._private)]
        if not allowed:
            raise AddressRefused(REFUSED)
        for address in allowed[:-1]:
            try:
                return super().connect_tcp(address, port, timeout, *arguments, **options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return super().connect_tcp(allowed[-1], port, timeout, *arguments, **options)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _address(text: str) -> Address:
    return ipaddress.ip_address(text.partition("%")[0])


def _looked_up(host: str, port: int) -> Iterable[str]:
    """Return a name's addresses, each once. Raises httpcore.ConnectError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpcore.ConnectError(error) from error
    return dict.fromkeys(str(address[0]) for *_, address in found)
