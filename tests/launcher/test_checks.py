"""The table of checks, against a host made of files: a healthy one, and the same with one thing missing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.host.checks.host import Case
from launcher.host.checks.registry import TABLE, Verdict, examine, missing
from launcher.host.hypervisor import QemuMode
from launcher.machines.port import LaunchFailed
from launcher.machines.resources import Resources
from launcher.providers.qemu.provider import require
from shared.domain.order import Reason
from tests.launcher.fake_control_plane import FakeControlPlane
from tests.launcher.tdx_host import GPU, SOCKET, a_case, a_tdx_host, write

OLD = '#!/bin/sh\necho "QEMU emulator version 9.2.4"\necho tdx-guest\nexit 33\n'
BARE = '#!/bin/sh\n[ "$1" = --version ] && echo "QEMU emulator version 10.1.0"\n[ "$1" = -object ] || exit 33\n'
STUCK = '#!/bin/sh\n[ "$1" = --version ] && echo "QEMU emulator version 10.1.0"\necho tdx-guest\n'
DEVICE = f"sys/bus/pci/devices/{GPU}"

Spoil = Callable[[Path], object]


def without(name: str) -> Spoil:
    return lambda root: (root / name).unlink()


def with_content(name: str, content: str) -> Spoil:
    return lambda root: write(root / name, content)


def with_qemu(script: str) -> Spoil:
    return lambda root: write(root.parent / "qemu-system-x86_64", script)


def without_filter(root: Path) -> None:
    write(root.parent / "systemctl", "#!/bin/sh\n")


def driven_by_nvidia(root: Path) -> None:
    (root / DEVICE / "driver").unlink()
    (root / DEVICE / "driver").symlink_to("../../drivers/nvidia")


SPOILT: list[tuple[str, Spoil, str, Reason | None]] = [
    ("kvm", with_qemu(STUCK), "does not run a trial machine", None),
    ("tdx processor", with_content("proc/cpuinfo", "flags : vmx\n"), "no tdx_host_platform", Reason.HYPERVISOR_MISSING),
    ("tdx module", with_content("sys/module/kvm_intel/parameters/tdx", "N\n"), "is N", Reason.HYPERVISOR_MISSING),
    ("tdx module", without("sys/module/kvm_intel/parameters/tdx"), "not there", Reason.HYPERVISOR_MISSING),
    ("tdx keys", with_content("sys/fs/cgroup/misc.current", "tdx 63\n"), "0 of 63", None),
    ("tdx keys", without("sys/fs/cgroup/misc.capacity"), "of 0 TDX keys", None),
    ("qemu version", with_qemu(OLD), "QEMU version 9.2.4", Reason.HYPERVISOR_MISSING),
    ("tdx-guest", with_qemu(BARE), "does not know tdx-guest", Reason.HYPERVISOR_MISSING),
    ("firmware", without("usr/share/ovmf/OVMF.fd"), "no firmware", Reason.IMAGE_MISSING),
    ("firmware", with_content("usr/share/ovmf/OVMF.fd", "FV" * 9000), "no TDX metadata", Reason.IMAGE_MISSING),
    ("quote service", without(SOCKET), "nothing listens", Reason.HYPERVISOR_MISSING),
    ("iommu", without("dev/iommu"), "no /dev/iommu", Reason.HYPERVISOR_MISSING),
    ("gpus", driven_by_nvidia, "driver nvidia", Reason.HYPERVISOR_MISSING),
    ("gpus", without(f"{DEVICE}/driver"), "driver none", Reason.HYPERVISOR_MISSING),
    ("gpus", without(f"{DEVICE}/iommu_group"), "IOMMU group none", Reason.HYPERVISOR_MISSING),
    ("gpus", with_content(f"{DEVICE}/vendor", "0x1002\n"), f"no GPU {GPU}", Reason.HYPERVISOR_MISSING),
    ("guest network", without_filter, "does not deny 127.0.0.0/8", None),
    ("scopes", lambda root: (root / "run/systemd/system").rmdir(), "not systemd", None),
]


def test_a_healthy_tdx_host_lacks_nothing(tmp_path: Path) -> None:
    with a_tdx_host(tmp_path) as host:
        results = examine(a_case(host))

        assert missing(results) == ()
        assert len(results) == len(TABLE)
        require(a_case(host))


@pytest.mark.parametrize(("name", "spoil", "found", "reason"), SPOILT)
def test_each_missing_thing_is_the_one_that_is_reported(
    tmp_path: Path, name: str, spoil: Spoil, found: str, reason: Reason | None
) -> None:
    with a_tdx_host(tmp_path, "launchyard-vms.slice") as host:
        spoil(host.root)
        case = a_case(host)

        [lacking] = missing(examine(case))

        assert (lacking.check.name, lacking.check.reason) == (name, reason)
        assert found in lacking.finding.found
        assert lacking.finding.to_do
        assert refusal(case) == ((reason, f"{name}: {lacking.finding}") if reason else None)


@pytest.mark.parametrize(
    ("executor", "missing_directory", "lacking", "found"),
    [
        (("sh", "-c", "cat"), False, [], ""),
        (("{folder}/executor", "--flag"), False, [], ""),
        (("no-such-executor",), False, ["executor"], "no-such-executor is not there"),
        (("{folder}/not-executable",), False, ["executor"], "cannot be executed"),
        (("sh",), True, ["project directories"], "missing"),
    ],
)
def test_what_sessions_need_is_checked_if_they_run_here(
    tmp_path: Path, executor: tuple[str, ...], missing_directory: bool, lacking: list[str], found: str
) -> None:
    write(tmp_path / "executor", "#!/bin/sh\n").chmod(0o755)
    write(tmp_path / "not-executable", "")
    directories = (tmp_path, *([tmp_path / "missing"] if missing_directory else []))
    command = tuple(word.format(folder=tmp_path) for word in executor)
    with a_tdx_host(tmp_path) as host:
        results = missing(examine(a_case(host, executor=command, project_dirs=directories)))

    assert [result.check.name for result in results] == lacking
    assert all(found in result.finding.found and result.finding.to_do for result in results)


def refusal(case: Case) -> tuple[Reason, str] | None:
    try:
        require(case)
    except LaunchFailed as failed:
        return failed.reason, str(failed)
    return None


def test_a_launch_is_refused_with_all_that_is_missing(tmp_path: Path) -> None:
    with a_tdx_host(tmp_path) as host:
        for name in (SOCKET, "dev/iommu", "usr/share/ovmf/OVMF.fd"):
            (host.root / name).unlink()

        with pytest.raises(LaunchFailed) as failed:
            require(a_case(host))

    assert [line.split(":")[0] for line in str(failed.value).splitlines()] == ["firmware", "quote service", "iommu"]


def test_systemd_without_systemd_run_makes_no_scopes(tmp_path: Path) -> None:
    with a_tdx_host(tmp_path, "launchyard-vms.slice") as host:
        found = missing(
            examine(
                a_case(
                    replace(
                        host,
                        which=lambda name: (
                            "/qemu" if "qemu" in name else host.which(name) if name == "systemctl" else None
                        ),
                    )
                )
            )
        )

    assert [result.check.name for result in found] == ["scopes"]


def test_a_host_without_qemu_lacks_it_in_every_mode(tmp_path: Path) -> None:
    with a_tdx_host(tmp_path) as host:
        bare = replace(host, hypervisor=replace(host.hypervisor, binary="qemu-that-is-absent"))

        for mode in QemuMode:
            assert "qemu" in [result.check.name for result in missing(examine(a_case(bare, mode)))]
            with pytest.raises(LaunchFailed, match="no qemu-that-is-absent on the PATH"):
                require(a_case(bare, mode))


def test_checks_that_a_mode_does_not_need_are_shown_and_do_not_count(tmp_path: Path) -> None:
    with a_tdx_host(tmp_path) as host:
        (host.root / SOCKET).unlink()
        results = {result.check.name: result for result in examine(a_case(host, QemuMode.TCG, gpus=()))}

    assert missing(tuple(results.values())) == ()
    assert {name for name, result in results.items() if result.verdict is Verdict.UNNEEDED} >= {
        *("kvm", "tdx processor", "tdx module", "tdx keys", "qemu version", "tdx-guest", "firmware", "quote service"),
        *("iommu", "gpus", "scopes", "image", "control plane", "executor", "project directories"),
    }
    assert "nothing listens" in results["quote service"].finding.found
    assert GPU in results["gpus"].finding.found


@pytest.mark.parametrize("mode", [QemuMode.TDX, QemuMode.TCG])
def test_a_guest_without_gpus_needs_no_iommu(tmp_path: Path, mode: QemuMode) -> None:
    with a_tdx_host(tmp_path) as host:
        (host.root / "dev/iommu").unlink()

        require(a_case(host, mode, gpus=()))


@pytest.mark.parametrize(
    ("name", "asked", "found"),
    [
        ("memory", {"memory_mib": 4607}, "enough for no size"),
        ("vcpus", {"vcpus": 3}, "enough for no size"),
        ("disk", {"sizes": {"tiny": Resources(disk_mib=1 << 40)}}, "enough for no size"),
    ],
)
def test_a_host_must_have_room_for_one_size(tmp_path: Path, name: str, asked: dict[str, Any], found: str) -> None:
    with a_tdx_host(tmp_path) as host:
        [lacking] = missing(examine(a_case(host, **asked)))

    assert lacking.check.name == name
    assert found in lacking.finding.found


def test_the_sizes_that_fit_and_those_that_do_not_are_named(tmp_path: Path) -> None:
    with a_tdx_host(tmp_path) as host:
        results = examine(a_case(host, memory_mib=8000))

    [memory] = [result.finding.found for result in results if result.check.name == "memory"]
    assert memory == "8000 MiB of memory: enough for tiny, not for llm"


def test_a_disk_is_looked_at_before_the_state_directory_is_made(tmp_path: Path) -> None:
    with a_tdx_host(tmp_path) as host:
        assert missing(examine(a_case(host, state=tmp_path / "not" / "yet"))) == ()


@pytest.mark.parametrize(
    ("digest", "found"), [(None, "no digest"), ("0" * 64, "does not have the digest"), ("absent", "cannot be read")]
)
def test_an_image_that_would_not_be_booted_is_reported(tmp_path: Path, digest: str | None, found: str) -> None:
    image = tmp_path / "image"
    if digest != "absent":
        write(image / "manifest.json", "{}")
    with a_tdx_host(tmp_path) as host:
        [lacking] = missing(examine(a_case(host, image=image, image_digest=digest)))

    assert lacking.check.name == "image"
    assert found in lacking.finding.found


def test_a_control_plane_that_does_not_answer_is_reported(tmp_path: Path, server: FakeControlPlane) -> None:
    server.refuse("/v1/health", 503)
    with a_tdx_host(tmp_path) as host:
        [wrong] = missing(examine(a_case(host, url=server.url)))
        [absent] = missing(examine(a_case(host, url="http://127.0.0.1:9")))

    assert (wrong.check.name, absent.check.name) == ("control plane", "control plane")
    assert wrong.finding.found.endswith("503")
    assert absent.finding.found.endswith("nothing listens there")


def test_a_socket_with_a_long_path_is_reached(tmp_path: Path) -> None:
    with a_tdx_host(tmp_path / ("d" * 120)) as host:
        assert host.connects(Path("/") / SOCKET)
