"""Ports for servers that are started later."""

from pathlib import Path

from emulators.processes import free_port

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_a_free_port_is_none_that_a_client_may_be_given_before_its_server_starts() -> None:
    ports = [free_port() for _ in range(50)]

    assert max(ports) < int(RANGE.read_text().split()[0])
    assert len(set(ports)) == 50
