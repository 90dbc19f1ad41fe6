"""Checks of what keeps machines under QEMU from this host and its networks."""

import ipaddress
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Final

from launcher.host.checks.host import Case, Finding, Host
from launcher.host.guest_network import Enforcement

Network = IPv4Network | IPv6Network

DENIED: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            *("127.0.0.0/8", "169.254.0.0/16", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"),
            *("224.0.0.0/4", "::1/128", "fe80::/64", "fc00::/7", "ff00::/8"),
        ),
    )
)
"""What the filter of a slice must deny: loopback, link-local, private and shared networks, and multicast."""
LOOPBACK: Final = tuple(map(ipaddress.ip_network, ("127.0.0.0/8", "::1")))
UPLINKS: Final = Path("/run/systemd/resolve/resolv.conf")
"""The name servers behind systemd's stub, which the launcher's unit gives to machines."""
RESOLVERS: Final = Path("/etc/resolv.conf")


def of_case(case: Case) -> Finding:
    return guests(case.host) if case.in_machines else _processes()


def guests(host: Host) -> Finding:
    """Check what enforces that guests do not reach their host."""
    match host.hypervisor.enforcement:
        case Enforcement.SLICE:
            return _slice(host)
        case Enforcement.NAMESPACE:
            return _namespace(host)
        case Enforcement.NOTHING:
            return Finding(
                met=False,
                found="LAUNCHYARD_GUEST_NETWORK is open: machines reach all that this host reaches, itself included",
                needed="machines that do not reach their host",
                to_do="unset LAUNCHYARD_GUEST_NETWORK",
            )


def _namespace(host: Host) -> Finding:
    why_not = host.confines(host.hypervisor)
    return Finding(
        met=why_not is None,
        found=why_not or "a network namespace and a user for each machine",
        needed="a network namespace, and a user that is not root's",
        to_do="as the line says; or, if nobody else's orders run here, set LAUNCHYARD_GUEST_NETWORK=open",
    )


def _slice(host: Host) -> Finding:
    """Check the filter of the slice: what it denies, this host's own addresses, and that names can be looked up."""
    slice_name = host.hypervisor.slice or ""
    denied, allowed = (
        _networks(host.systemctl("show", "--value", f"--property={name}", slice_name))
        for name in ("IPAddressDeny", "IPAddressAllow")
    )
    open_networks = [str(network) for network in DENIED if not _within(network, denied)]
    addresses = map(ipaddress.ip_network, host.own_addresses())
    own = [str(one) for one in addresses if not _within(one, denied) or _within(one, allowed)]
    opened = [str(one) for one in allowed if any(_within(one, (loop,)) or _within(loop, (one,)) for loop in LOOPBACK)]
    mute = [str(one) for one in _resolvers(host) if _within(one, denied) and not _within(one, allowed)]
    wrong = [
        *([f"{slice_name} does not deny {', '.join(open_networks)}"] if open_networks else []),
        *([f"{slice_name} does not deny this host's own {', '.join(own)}"] if own and not open_networks else []),
        *([f"{slice_name} allows {', '.join(opened)}, and with it this host's loopback"] if opened else []),
        *([f"{slice_name} denies the name server {', '.join(mute)}"] if mute else []),
    ]
    why_not = None if wrong else host.confines(host.hypervisor)
    return Finding(
        met=not wrong and why_not is None,
        found="; ".join(wrong) or why_not or f"the address filter of {slice_name}, and a user for each machine",
        needed="a slice whose IPAddressDeny= has every network of this host, and a user that is not root's",
        to_do=f"run `launchyard launcher install`, and add to the slice (systemctl edit {slice_name}): "
        "IPAddressDeny= with this host's public addresses, IPAddressAllow= with its name server's",
    )


def _processes() -> Finding:
    return Finding(
        met=True,
        found="workers are plain processes of this host, and reach what its user reaches: run nobody else's orders",
        needed="",
        to_do="",
    )


def _resolvers(host: Host) -> list[Network]:
    text = host.text(UPLINKS) or host.text(RESOLVERS)
    words = [line.split() for line in text.splitlines()]
    return _networks(" ".join(word[1] for word in words if len(word) > 1 and word[0] == "nameserver"))


def _networks(text: str) -> list[Network]:
    found = list[Network]()
    for word in text.split():
        try:
            found.append(ipaddress.ip_network(word.partition("%")[0]))
        except ValueError:  # not an address: it denies, and allows, nothing
            continue
    return found


def _within(inner: Network, outer: Iterable[Network]) -> bool:
    return any(one.version == inner.version and inner.subnet_of(one) for one in outer)  # type: ignore[arg-type]
