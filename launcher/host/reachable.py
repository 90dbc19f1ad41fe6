"""Decides which addresses a machine may reach: public ones, and what the operator allows; none of its host's own.

It imports only the standard library, since the forwarder does.
"""

import ipaddress
import socket
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network

from launcher.host.confinement import Reach
from shared.public_address import Address, embedded, is_of_host, is_public

Network = IPv4Network | IPv6Network


def is_reachable(text: str, port: int, reach: Reach) -> bool:
    """Return whether a machine may connect to an address (not a name) and port."""
    address = embedded(ipaddress.ip_address(text))
    if any(_same(host, address) and port == allowed for host, allowed in reach.endpoints):
        return True
    networks = _networks(reach.networks)
    if any(address in network and network.prefixlen == network.max_prefixlen for network in networks):
        return True
    if is_own(address):
        return False
    return any(address in network for network in networks) or (reach.public and is_public(address))


def is_own(address: Address) -> bool:
    """Return whether an address is this host's: its services are reached there past its firewall."""
    if is_of_host(address):
        return True
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), 9))  # sends nothing; a host's own address is its own source address
        except OSError:
            return False
        return bool(probe.getsockname()[0] == str(address))


def _same(host: str, address: Address) -> bool:
    try:
        return ipaddress.ip_address(host) == address
    except ValueError:
        return False


@lru_cache
def _networks(networks: Sequence[str]) -> tuple[Network, ...]:
    return tuple(map(ipaddress.ip_network, networks))
