"""What enforces that guests do not reach their host, what the operator allows them, and what a launcher refuses."""

import ipaddress
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
import structlog.testing
from typer.testing import CliRunner

from launcher.cli.daemon import app
from launcher.composition.providers import require_confinement
from launcher.host.checks import network
from launcher.host.checks.host import Case, Host
from launcher.host.checks.network import DENIED, guests, of_case
from launcher.host.confinement import Reach
from launcher.host.guest_network import PROXY, Enforcement, GuestNetwork
from launcher.host.hypervisor import Hypervisor, QemuMode
from launcher.host.probe import why_not_confined
from launcher.providers.qemu.provider import QemuProvider
from launcher.providers.qemu.settings import HostSettings
from launcher.settings import LauncherSettings, read
from shared.address import LOOPBACK_GATEWAY
from shared.log_events import LogEvent
from shared.settings import SettingsWrong
from tests.launcher.stand_ins import SMALL
from tests.launcher.test_operators_files import SERVICE, SLICE, directives

IN_A_SLICE: Final = Hypervisor(slice="launchyard-vms.slice")
NAMES: Final = {
    "localhost": ("127.0.0.0/8", "::1/128"),
    "link-local": ("169.254.0.0/16", "fe80::/64"),
    "multicast": ("224.0.0.0/4", "ff00::/8"),
}
"""Symbolic names of systemd.resource-control(5)."""
EVERYTHING: Final = "0.0.0.0/0 ::/0"


def confined(_hypervisor: Hypervisor) -> str | None:
    return None


def a_host(folder: Path, denied: str, allowed: str = "", servers: str = "") -> Host:
    """A host with systemd, whose slice has this filter, and with these name servers."""
    systemctl = folder / "systemctl"
    systemctl.write_text(
        f'#!/bin/sh\ncase "$*" in\n*IPAddressDeny*) echo "{denied}";;\n*IPAddressAllow*) echo "{allowed}";;\nesac\n'
    )
    systemctl.chmod(0o755)
    (folder / "etc").mkdir()
    (folder / "etc" / "resolv.conf").write_text("".join(f"nameserver {server}\n" for server in servers.split()))
    return Host(IN_A_SLICE, folder, confines=confined, which=lambda _name: str(systemctl))


def of_the_unit() -> list[str]:
    """Return the networks that the slice's unit denies, as systemd shows them."""
    words = [word for name, value in directives(SLICE, "Slice") if name == "IPAddressDeny" for word in value.split()]
    return [network for word in words for network in NAMES.get(word, (word,))]


def test_the_slice_denies_every_network_of_a_host() -> None:
    denied = [ipaddress.ip_network(text) for text in of_the_unit()]

    assert [one for one in DENIED if not network._within(one, denied)] == []
    assert [name for name, _ in directives(SLICE, "Slice") if name == "IPAddressAllow"] == []


def test_the_service_has_only_the_capabilities_to_change_users_and_end_them_and_none_to_make_namespaces() -> None:
    service = dict(directives(SERVICE, "Service"))

    assert service["CapabilityBoundingSet"].split() == ["CAP_SETUID", "CAP_SETGID", "CAP_KILL"]
    assert (service["NoNewPrivileges"], service["RestrictNamespaces"]) == ("yes", "yes")


def test_a_slice_that_denies_a_hosts_networks_is_what_enforces_it(tmp_path: Path) -> None:
    host = replace(a_host(tmp_path, " ".join(of_the_unit()), servers="8.8.8.8"), own_addresses=lambda: ["10.0.0.7"])

    finding = guests(host)

    assert finding.met, finding.found
    assert "the address filter of launchyard-vms.slice" in finding.found


@pytest.mark.parametrize(
    ("denied", "allowed", "servers", "own", "found"),
    [
        ("", "", "", "10.0.0.7", "does not deny 127.0.0.0/8, 169.254.0.0/16, 10.0.0.0/8"),
        ("127.0.0.0/8 ::1/128", "", "", "10.0.0.7", "does not deny 169.254.0.0/16, 10.0.0.0/8"),
        (None, "", "", "198.51.100.7", "does not deny this host's own 198.51.100.7/32"),
        (None, "10.0.0.7", "", "10.0.0.7", "does not deny this host's own 10.0.0.7/32"),
        (None, "127.0.0.53", "127.0.0.53", "10.0.0.7", "allows 127.0.0.53/32, and with it this host's loopback"),
        (None, "::/0", "", "10.0.0.7", "allows ::/0, and with it this host's loopback"),
        (None, "", "10.0.0.53", "10.0.0.7", "denies the name server 10.0.0.53/32"),
        (None, "", "127.0.0.53", "10.0.0.7", "denies the name server 127.0.0.53/32"),
    ],
)
def test_a_slice_that_leaves_something_open_or_no_name_server_is_missing_something(
    tmp_path: Path,
    denied: str | None,
    allowed: str,
    servers: str,
    own: str,
    found: str,
) -> None:
    host = a_host(tmp_path, " ".join(of_the_unit()) if denied is None else denied, allowed, servers)
    host = replace(host, own_addresses=lambda: [own])

    finding = guests(host)

    assert not finding.met
    assert found in finding.found
    assert "systemctl edit launchyard-vms.slice" in finding.to_do


def test_a_hosts_own_addresses_are_those_of_all_its_interfaces() -> None:
    own = set(Host().own_addresses())
    interfaces = [one.address for addresses in psutil.net_if_addrs().values() for one in addresses]

    assert {"127.0.0.1"} <= own
    assert {address for address in interfaces if address.count(".") == 3} <= own


def test_this_host_confines_machines() -> None:
    assert why_not_confined(Hypervisor()) is None
    assert guests(Host()).met


@pytest.mark.parametrize(
    ("hypervisor", "confines"),
    [(Hypervisor(), lambda _: "The machine cannot be confined: no namespace"), (IN_A_SLICE, lambda _: None)],
)
def test_a_launcher_refuses_to_make_machines_that_would_reach_their_host(
    tmp_path: Path, hypervisor: Hypervisor, confines: Callable[[Hypervisor], str | None]
) -> None:
    host = replace(a_host(tmp_path, ""), hypervisor=hypervisor, confines=confines)

    with pytest.raises(SettingsWrong, match=r"^Machines would reach this host: .*To do: "):
        require_confinement(host)


def test_a_launcher_that_cannot_confine_machines_exits_with_2_before_it_takes_an_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = {"URL": "http://127.0.0.1:1", "LAUNCHER_KEY": "ly_x", "IMAGE": str(tmp_path), "IMAGE_DIGEST": "0" * 64}
    for name, value in (needed | {"SLICE": "no-such.slice"}).items():
        monkeypatch.setenv(f"LAUNCHYARD_{name}", value)

    done = CliRunner().invoke(app, ["run", "--one-shot", "--state-dir", str(tmp_path)])

    assert done.exit_code == 2
    assert done.stderr.startswith("Machines would reach this host: no-such.slice does not deny 127.0.0.0/8")


def test_an_open_network_is_a_warning_of_the_launcher_and_missing_for_the_doctor() -> None:
    host = Host(Hypervisor(network=GuestNetwork.OPEN))

    with structlog.testing.capture_logs() as logs:
        require_confinement(host)

    assert [(line["event"], line["log_level"]) for line in logs] == [(LogEvent.GUESTS_REACH_HOST, "warning")]
    assert not guests(host).met


def test_the_doctor_says_that_plain_processes_reach_their_host() -> None:
    assert "reach what its user reaches" in of_case(Case(Host(), QemuMode.TCG, in_machines=False)).found


@pytest.mark.parametrize(
    ("hypervisor", "enforcement", "proxy"),
    [
        (Hypervisor(), Enforcement.NAMESPACE, PROXY),
        (IN_A_SLICE, Enforcement.SLICE, None),
        (replace(IN_A_SLICE, network=GuestNetwork.OPEN), Enforcement.NOTHING, None),
    ],
)
def test_a_machine_in_a_network_of_its_own_is_given_the_proxy(
    tmp_path: Path, hypervisor: Hypervisor, enforcement: Enforcement, proxy: str | None
) -> None:
    provider = QemuProvider(QemuMode.TCG, tmp_path, "0" * 64, SMALL, host=Host(hypervisor))

    assert (hypervisor.enforcement, provider.proxy) == (enforcement, proxy)
    confinement = hypervisor.confinement("6f1c1c58-6c2f-4d8b-9a53-0c7a4f0d2b11")
    assert (confinement.reach is not None) == (enforcement is Enforcement.NAMESPACE)


@pytest.mark.parametrize(
    ("endpoints", "gateway"),
    [
        ((), None),
        ((("control-plane.example", 443), ("10.1.2.3", 80)), None),
        ((("127.0.0.1", 8080),), LOOPBACK_GATEWAY),
        ((("localhost", 8080),), LOOPBACK_GATEWAY),
    ],
)
def test_a_machine_is_given_a_way_to_the_loopback_only_if_something_of_it_is_allowed(
    tmp_path: Path, endpoints: tuple[tuple[str, int], ...], gateway: str | None
) -> None:
    host = Host(Hypervisor(reach=Reach(endpoints=endpoints)))

    assert QemuProvider(QemuMode.TCG, tmp_path, "0" * 64, SMALL, host=host).loopback_gateway == gateway


def test_machines_reach_the_servers_of_the_launchers_settings_and_what_the_operator_allows() -> None:
    settings = a_launcher(
        url="http://127.0.0.1:8080",
        source_api="https://source.example",
        source_ipfs="https://10.9.9.9:4000",
        guest_allow=" 127.0.0.1:8690, Registry.Internal:5000,[fd00::1]:443,10.1.2.3 ,10.2.0.0/16,",
    )

    assert settings.hypervisor.reach == Reach(
        endpoints=(
            *(("127.0.0.1", 8080), ("source.example", 443), ("10.9.9.9", 4000)),
            *(("127.0.0.1", 8690), ("registry.internal", 5000), ("fd00::1", 443)),
        ),
        networks=("10.1.2.3/32", "10.2.0.0/16"),
    )


def test_an_operator_may_close_public_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCHYARD_GUEST_PUBLIC", "false")

    assert not HostSettings().hypervisor.reach.public


@pytest.mark.parametrize(
    ("allow", "why"),
    [
        ("127.0.0.0/8", "by host and port alone"),
        ("127.0.0.1", "by host and port alone"),
        ("::1", "by host and port alone"),
        ("0.0.0.0", "by host and port alone"),  # noqa: S104
        ("::", "by host and port alone"),
        ("example.com", "HOST:PORT"),
        ("example.com:http", "HOST:PORT"),
        ("example.com:0", "HOST:PORT"),
        ("http://example.com:80", "HOST:PORT"),
        ("10.0.0.1/8", "HOST:PORT"),
        ("127.0.0.1:3128", "the port 3128"),
        ("127.0.0.1:9000,localhost:9000", "have one port"),
    ],
)
def test_what_cannot_be_allowed_is_a_wrong_setting(allow: str, why: str) -> None:
    with pytest.raises(SettingsWrong, match=f"LAUNCHYARD_GUEST_ALLOW: .*{why}"):
        _ = a_launcher(guest_allow=allow).hypervisor


@pytest.mark.parametrize("user", ["0", "no-such-user", "-1", "4294967295"])
def test_machines_never_run_as_root_or_as_nobody_knows_whom(user: str) -> None:
    with pytest.raises(SettingsWrong, match="LAUNCHYARD_VM_USER"):
        a_launcher(vm_user=user)


def a_launcher(**given: Any) -> LauncherSettings:
    needed = {"url": "http://127.0.0.1:1", "launcher_key": "ly_x", "image": "/image", "image_digest": "0" * 64}
    return read(needed | given)
