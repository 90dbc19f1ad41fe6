"""Decides which addresses a machine may reach: public ones, and what the operator allows; none of its host's own.

It imports only the standard library, since the forwarder does.
"""

import ipaddress
import socket
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from launcher.host.confinement import Reach

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""An IPv4 address in an IPv6 one (RFC 6052)."""
COMPATIBLE: Final = ipaddress.IPv6Network("::/96")
"""The same, deprecated (RFC 4291, 2.5.5.1)."""
SPECIAL: Final = tuple(map(ipaddress.ip_network, ("168.63.129.16", "192.0.0.0/24", "64:ff9b:1::/48", "2001::/23")))
"""Not anybody's, though some versions of Python call them global: Azure's agents and metadata, IETF's own (Oracle's
metadata is there), and local translation (RFC 8215).
"""


def is_reachable(text: str, port: int, reach: Reach) -> bool:
    """Return whether a machine may connect to an address (not a name) and port."""
    address = _embedded(ipaddress.ip_address(text))
    if any(_same(host, address) and port == allowed for host, allowed in reach.endpoints):
        return True
    networks = _networks(reach.networks)
    if any(address in network and network.prefixlen == network.max_prefixlen for network in networks):
        return True
    if is_own(str(address)):
        return False
    return any(address in network for network in networks) or (reach.public and is_public(address))


def is_public(address: Address) -> bool:
    """Return whether an address is anybody's on the Internet, and not a network's or a cloud's own."""
    special = address.is_multicast or address.is_reserved or address.is_unspecified or address.is_loopback
    local = address.is_link_local or (isinstance(address, IPv6Address) and address.is_site_local)
    return address.is_global and not (special or local or any(address in network for network in SPECIAL))


def is_own(address: str) -> bool:
    """Return whether an address is this host's: its services are reached there past its firewall."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 9))  # sends nothing; a host's own address is its own source address
        except OSError:
            return False
        return bool(probe.getsockname()[0] == address)


def _embedded(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for, if it does."""
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64 or (address in COMPATIBLE and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else address)


def _same(host: str, address: Address) -> bool:
    try:
        return ipaddress.ip_address(host) == address
    except ValueError:
        return False


@lru_cache
def _networks(networks: Sequence[str]) -> tuple[Network, ...]:
    return tuple(map(ipaddress.ip_network, networks))
