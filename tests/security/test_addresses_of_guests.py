"""Which addresses a machine in a network of its own may reach."""

import ipaddress
import socket

import psutil
import pytest

from launcher.host import reachable
from launcher.host.confinement import Reach
from launcher.host.reachable import is_reachable

NOTHING_ALLOWED = Reach()


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.0.0.53", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.0.1", "100.64.0.1"),  # noqa: S104
        *("169.254.169.254", "168.63.129.16", "192.0.0.192", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1", "64:ff9b:1::1"),
    ],
)
def test_an_address_that_is_not_a_public_one_is_not_reached(address: str) -> None:
    assert not is_reachable(address, 80, NOTHING_ALLOWED)


@pytest.mark.parametrize("form", ["::ffff:{}", "64:ff9b::{}", "::{}", "2002:{hex}::1", "2001:0:808:808::{inverted}"])
@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "169.254.169.254"])
def test_an_ipv4_address_within_an_ipv6_one_counts_as_itself(form: str, address: str) -> None:
    number = int(ipaddress.IPv4Address(address))
    groups = {"hex": number, "inverted": number ^ 0xFFFFFFFF}
    words = {name: f"{value >> 16:x}:{value & 0xFFFF:x}" for name, value in groups.items()}

    assert not is_reachable(form.format(address, **words), 80, NOTHING_ALLOWED)


@pytest.mark.parametrize("address", ["8.8.8.8", "::ffff:8.8.8.8", "2606:4700:4700::1111"])
def test_a_public_address_is_reached_unless_the_operator_closes_that(address: str) -> None:
    assert is_reachable(address, 443, NOTHING_ALLOWED)
    assert not is_reachable(address, 443, Reach(public=False))


def test_an_address_of_this_host_is_not_reached_even_if_it_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reachable, "is_public", lambda _address: True)
    of_interfaces = [one.address for addresses in psutil.net_if_addrs().values() for one in addresses]
    own = [address for address in of_interfaces if is_ipv4(address)]

    assert own
    assert [address for address in own if is_reachable(address, 80, NOTHING_ALLOWED)] == []
    assert [address for address in own if is_reachable(address, 80, Reach(networks=("0.0.0.0/0",)))] == []


def test_what_the_operator_allows_is_reached_and_nothing_beside_it() -> None:
    allowed = Reach(endpoints=(("127.0.0.1", 8080), ("10.1.2.3", 443)), networks=("10.2.0.0/16", "fd00::/8"))

    assert is_reachable("127.0.0.1", 8080, allowed)
    assert is_reachable("::ffff:127.0.0.1", 8080, allowed)
    assert is_reachable("10.1.2.3", 443, allowed)
    assert is_reachable("10.2.3.4", 22, allowed)
    assert is_reachable("fd00::1", 22, allowed)
    assert not is_reachable("127.0.0.1", 8081, allowed)
    assert not is_reachable("10.1.2.3", 80, allowed)
    assert not is_reachable("10.3.0.1", 443, allowed)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.53", "0.0.0.0", "::", "::1", "::ffff:127.9.9.9"])  # noqa: S104
def test_no_network_that_is_allowed_has_this_hosts_loopback_in_it(address: str) -> None:
    everything = Reach(networks=("0.0.0.0/0", "::/0"))

    assert not is_reachable(address, 22, everything)
    assert is_reachable("10.1.2.3", 22, everything)


def is_ipv4(text: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET, text)
    except OSError:
        return False
    return True
