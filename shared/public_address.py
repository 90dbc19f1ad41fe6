"""Tells addresses that are anybody's on the Internet from those of a host, a network or a cloud.

It imports only the standard library: a machine's forwarder, which runs in a bare Python, does so, too.
"""

import ipaddress
from ipaddress import IPv4Address, IPv6Address
from typing import Final

Address = IPv4Address | IPv6Address

NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""An IPv4 address in an IPv6 one (RFC 6052)."""
COMPATIBLE: Final = ipaddress.IPv6Network("::/96")
"""The same, deprecated (RFC 4291, 2.5.5.1)."""
SPECIAL: Final = tuple(map(ipaddress.ip_network, ("168.63.129.16", "192.0.0.0/24", "64:ff9b:1::/48", "2001::/23")))
"""Not anybody's, though some versions of Python call them global: Azure's agents and metadata, IETF's own (Oracle's
metadata is there), and local translation (RFC 8215).
"""


def is_public(address: Address, private: bool = False) -> bool:
    """Return whether an address is anybody's on the Internet; if `private`, or of a private network.

    An IPv6 address that stands for an IPv4 address counts as that (`embedded`).
    """
    address = embedded(address)
    special = address.is_multicast or address.is_reserved or any(address in network for network in SPECIAL)
    local = address.is_link_local or (isinstance(address, IPv6Address) and address.is_site_local)
    if special or local or is_of_host(address):
        return False
    return address.is_global or (private and address.is_private)


def is_loopback(host: str) -> bool:
    """Return whether a host, without its port, names this machine to itself."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def is_of_host(address: Address) -> bool:
    """Return whether an address means the very host that connects to it. The unspecified one does, too."""
    return address.is_loopback or address.is_unspecified


def embedded(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for; if it stands for none, the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64 or (address in COMPATIBLE and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else address)
