"""QEMU's arguments, against golden files: one argument with its value a line."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from launcher.host.confinement import PassedFile
from launcher.host.hypervisor import Hypervisor, QemuMode
from launcher.machines.bounded_log import CONSOLE
from launcher.machines.resources import Size, Sizes
from launcher.providers.qemu.argv import KERNEL, Guest, build, files
from shared.domain.spec import NodeSize
from shared.guest.config import sha384
from shared.guest.image import ImageFile, ImageManifest

GOLDEN: Final = Path(__file__).parent / "golden"
GUEST: Final = Guest(
    uuid="6f1c1c58-6c2f-4d8b-9a53-0c7a4f0d2b11",
    manifest=ImageManifest(
        kernel=ImageFile(name="vmlinuz", sha256="1" * 64),
        unpacked_kernel=ImageFile(name="vmlinux", sha256="4" * 64),
        initrd=ImageFile(name="initrd.zst", sha256="2" * 64),
        root=ImageFile(name="root.img", sha256="3" * 64),
        cmdline="console=ttyS0 panic=-1 quiet",
    ),
    memory_mib=256,
    vcpus=1,
    config_digest=sha384(b"{}"),
)
GPUS: Final = ("0000:17:00.0", "0000:65:00.0")


def sized(size: Size) -> Guest:
    return replace(GUEST, memory_mib=size.memory_mib, vcpus=size.vcpus, disk_mib=size.disk_mib)


OF_SIZE: Final[Mapping[str, Guest]] = {
    **{size: sized(Sizes().of_node(size)) for size in NodeSize},
    "llm-gpus": replace(sized(Sizes().llm), gpus=GPUS),
}
ONLY_IN_TDX: Final = {"-object", "-bios"}
MAY_DIFFER: Final = {"-accel", "-cpu", "-machine"}


@pytest.mark.parametrize("mode", QemuMode)
def test_the_arguments_are_those_of_the_golden_file(mode: QemuMode) -> None:
    assert lines(build(mode, GUEST)) == (GOLDEN / f"{mode}.txt").read_text().splitlines()


@pytest.mark.parametrize("size", OF_SIZE)
@pytest.mark.parametrize("mode", [QemuMode.TCG, QemuMode.TDX])
def test_the_arguments_of_a_node_size_are_those_of_its_golden_file(mode: QemuMode, size: str) -> None:
    assert lines(build(mode, OF_SIZE[size])) == (GOLDEN / f"{mode}-{size}.txt").read_text().splitlines()


def test_a_firmware_starts_the_packed_kernel_and_qemu_itself_the_unpacked_one() -> None:
    started = {mode: files(mode, Path("/image"), GUEST.manifest, has_data_disk=False)[0] for mode in QemuMode}

    assert started == {
        QemuMode.TCG: PassedFile(KERNEL, "/image/vmlinux"),
        QemuMode.KVM: PassedFile(KERNEL, "/image/vmlinux"),
        QemuMode.TDX: PassedFile(KERNEL, "/image/vmlinuz"),
    }


def test_the_arguments_name_every_file_by_its_descriptor_and_no_other() -> None:
    guest = OF_SIZE[NodeSize.LLM]
    given = {file.descriptor for file in files(QemuMode.TDX, Path("/image"), guest.manifest, has_data_disk=True)}

    words = " ".join(build(QemuMode.TDX, guest))

    named = {int(number) for number in re.findall(r"(?:/proc/self/fd/|/dev/fdset/|\bfd=)(\d+)", words)}
    assert named == given | {CONSOLE}
    assert "/image" not in words


def test_a_guest_without_gpus_has_no_iommufd_and_one_without_a_data_disk_none() -> None:
    words = " ".join(build(QemuMode.TDX, OF_SIZE[NodeSize.STANDARD]))

    assert "iommufd" not in words
    assert "vfio-pci" not in words
    assert "data.img" not in words


def test_firmware_and_quote_socket_are_those_of_this_hosts_settings() -> None:
    hypervisor = Hypervisor("/opt/qemu", Path("/opt/OVMF.inteltdx.fd"), Path("/run/qgs"))

    argv = build(QemuMode.TDX, GUEST, hypervisor)

    assert argv[0] == "/opt/qemu"
    assert argv[argv.index("-bios") + 1] == "/opt/OVMF.inteltdx.fd"
    assert '"path":"/run/qgs"' in argv[argv.index("-object") + 1]


def test_tcg_and_tdx_differ_only_in_accelerator_cpu_machine_firmware_and_the_tdx_guest() -> None:
    tcg, tdx = set(lines(build(QemuMode.TCG, GUEST))), set(lines(build(QemuMode.TDX, GUEST)))

    assert {options(line) for line in tcg - tdx} == MAY_DIFFER
    assert {options(line) for line in tdx - tcg} == MAY_DIFFER | ONLY_IN_TDX


def lines(argv: tuple[str, ...]) -> list[str]:
    """Return the arguments with each value beside its option."""
    return "\0".join(argv).replace("\0-", "\n-").replace("\0", " ").splitlines()


def options(line: str) -> str:
    return line.split(" ")[0]
