"""A QEMU that supports TDX, from Debian's backports, accepts all our arguments and boots the guest."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

from launcher.host.confinement import Confinement, command
from launcher.host.hypervisor import Hypervisor, QemuMode
from launcher.machines.bounded_log import CONSOLE
from launcher.providers.qemu.argv import Guest, build, files
from shared.domain.spec import CapacitySpec, NodeSize
from shared.guest.config import sha384
from shared.guest.image import verify
from tests.worker.control_plane import serving
from worker.guest import archive, packages, trees
from worker.guest.exclusive import alone_in
from worker.guest.root import PROJECT
from worker.guest.suite import BACKPORTS, Tree
from worker.guest.trees import LIBRARIES, LOADER, Unpacked

pytestmark = [pytest.mark.vm, pytest.mark.slow]

KEPT: Final = PROJECT / ".launchyard" / "cache" / "debs"
PACKAGES: Final = ("qemu-system-x86", "seabios")
QEMU: Final = "usr/bin/qemu-system-x86_64"
DATA: Final = ("usr/share/qemu", "usr/share/seabios")
LIMIT_SECONDS: Final = 600.0
NO_TDX: Final = "vm-type TDX not supported by KVM"
NO_KVM: Final = "Could not access KVM kernel module"


@pytest.fixture(scope="module")
def later_qemu(tmp_path_factory: pytest.TempPathFactory) -> Unpacked:
    """QEMU of Debian's backports with its dependencies: checked like the image's packages, unpacked, not installed."""
    with alone_in(KEPT, lambda _: None), archive.opened(KEPT, None) as debian:
        chosen = debian.closure(Tree.TOOLS, PACKAGES, BACKPORTS)
        packages.keep(chosen, KEPT, debian, lambda _: None)
    return trees.unpack((KEPT / package.file for package in chosen), tmp_path_factory.mktemp("later") / "qemu")


@pytest.fixture
def guest(guest_image: Path, tmp_path: Path) -> Guest:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "data.img").write_bytes(bytes(4096))
    return Guest(
        uuid=str(uuid4()),
        manifest=verify(guest_image, guest_image.name),
        memory_mib=256,
        vcpus=1,
        config_digest=sha384(b"{}"),
    )


def started(qemu: Unpacked, image: Path, argv: Sequence[str], mode: QemuMode) -> list[str]:
    """Return the command that runs our arguments with that QEMU: its own loader, libraries and data.

    It gets its files as from a launcher. Its serial console, there a pipe, is a file here.
    """
    given = Confinement(files=files(mode, image, verify(image, image.name), has_data_disk=True))
    loader = (str(qemu.folder / LOADER), "--library-path", str(qemu.folder / LIBRARIES), str(qemu.folder / QEMU))
    data = (word for folder in DATA for word in ("-L", str(qemu.folder / folder)))
    return ["/bin/sh", "-c", f'exec "$@" {CONSOLE}>serial.log', "sh", *command(given, (*loader, *data, *argv[1:]))]


def last_words(qemu: Unpacked, image: Path, argv: Sequence[str], folder: Path) -> str:
    ended = subprocess.run(
        started(qemu, image, argv, QemuMode.TDX),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    return ended.stderr.splitlines()[-1]


def tdx(qemu: Unpacked, guest: Guest) -> tuple[str, ...]:
    firmware = qemu.folder / "usr/share/seabios/bios-256k.bin"  # none is run: KVM comes first
    return build(QemuMode.TDX, guest, Hypervisor(firmware=firmware))


def test_qemu_accepts_every_argument_of_a_trust_domain_and_fails_only_without_tdx(
    later_qemu: Unpacked, guest_image: Path, guest: Guest, tmp_path: Path
) -> None:
    words = last_words(later_qemu, guest_image, tdx(later_qemu, guest), tmp_path)

    assert (NO_TDX if os.access("/dev/kvm", os.R_OK | os.W_OK) else NO_KVM) in words


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ('"mrconfigid"', '"mrconfigit"', "Parameter 'mrconfigit' is unexpected"),
        ('"quote-generation-socket"', '"quote-socket"', "Parameter 'quote-socket' is unexpected"),
        ("confidential-guest-support=tdx", "confidential-guest=tdx", ".confidential-guest' not found"),
        ("hpet=off", "hpte=off", ".hpte' not found"),
        ('"read-only":true', '"read-onyl":true', "Parameter 'read-onyl' is unexpected"),
    ],
)
def test_a_misspelt_property_of_a_trust_domain_is_an_error(
    later_qemu: Unpacked, guest_image: Path, guest: Guest, tmp_path: Path, right: str, wrong: str, message: str
) -> None:
    argv = tdx(later_qemu, guest)
    misspelt = [word.replace(right, wrong, 1) for word in argv]
    assert misspelt != list(argv)

    assert message in last_words(later_qemu, guest_image, misspelt, tmp_path)


def test_a_guest_reaches_its_worker_under_it(
    later_qemu: Unpacked, guest_image: Path, guest: Guest, tmp_path: Path
) -> None:
    """With a data disk, so with the devices of a trust domain: QEMU refuses one here before it looks at them."""
    with serving() as plane:
        config = plane.config(CapacitySpec(datacenter="local:dev", node_size=NodeSize.TINY), gateway="10.0.2.2")
        (tmp_path / "config.json").write_bytes(config.canonical())
        argv = started(later_qemu, guest_image, build(QemuMode.TCG, replace(guest, disk_mib=1)), QemuMode.TCG)
        with (tmp_path / "qemu.log").open("wb") as log:
            running = subprocess.Popen(argv, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            plane.await_event("started", LIMIT_SECONDS)
        finally:
            running.kill()
            running.wait()
    assert plane.steps == ["started"]
