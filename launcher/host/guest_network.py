"""What keeps machines under QEMU from this host and its networks, and what they reach all the same."""

import ipaddress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import httpx

from launcher.host.confinement import PROXY_PORT, Reach
from shared.address import LOOPBACK_GATEWAY
from shared.public_address import is_loopback

PROXY: Final = f"http://{LOOPBACK_GATEWAY}:{PROXY_PORT}"
MAX_ENDPOINTS: Final = 64
PORTS: Final = {"http": 80, "https": 443}


class GuestNetwork(StrEnum):
    """What an operator may ask for. `open`: machines reach whatever this host reaches, itself included."""

    CONFINED = "confined"
    OPEN = "open"


class Enforcement(StrEnum):
    """What enforces it: the address filter of the systemd slice, a network namespace for each machine, or nothing."""

    SLICE = "slice"
    NAMESPACE = "namespace"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Allowed:
    """What an operator allows: endpoints, as host and port, and networks."""

    endpoints: tuple[tuple[str, int], ...] = ()
    networks: tuple[str, ...] = ()


def parse(items: tuple[str, ...]) -> Allowed:
    """Read a list of `host:port`, addresses and networks. Raises ValueError."""
    endpoints, networks = list[tuple[str, int]](), list[str]()
    for item in items:
        if network := _network(item):
            if network.is_loopback or network.is_unspecified:
                raise ValueError("the loopback is allowed by host and port alone, such as 127.0.0.1:8080")
            networks.append(str(network))
        else:
            endpoints.append(_endpoint(item))
    return Allowed(tuple(endpoints), tuple(networks))


def reach(allowed: Allowed, urls: tuple[str, ...], public: bool) -> Reach:
    """Return what machines reach: also the servers of these addresses. Raises ValueError."""
    endpoints = tuple(dict.fromkeys((*map(_of_url, urls), *allowed.endpoints)))
    ports = [port for host, port in endpoints if is_loopback(host)]
    if PROXY_PORT in ports:
        raise ValueError(f"the port {PROXY_PORT} of the loopback is that of machines' proxy: use another")
    if len(set(ports)) < len(ports):
        raise ValueError("two addresses of the loopback have one port: a machine tells them apart by the port alone")
    if len(endpoints) > MAX_ENDPOINTS:
        raise ValueError(f"it is longer than {MAX_ENDPOINTS} endpoints: name a network instead")
    return Reach(endpoints, allowed.networks, public)


def reaches_loopback(reach: Reach) -> bool:
    return any(is_loopback(host) for host, _ in reach.endpoints)


def _network(item: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(item)
    except ValueError:
        return None


def _endpoint(item: str) -> tuple[str, int]:
    host, colon, port = item.rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit() and 0 < int(port) < 65536) or "/" in item:
        raise ValueError("it is a list of HOST:PORT, addresses and networks, such as 10.1.2.3:443,10.2.0.0/16")
    return host.strip("[]").lower(), int(port)


def _of_url(text: str) -> tuple[str, int]:
    url = httpx.URL(text)
    return url.host.lower(), url.port or PORTS[url.scheme]
