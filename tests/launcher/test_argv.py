"""QEMU's arguments, against golden files: one argument with its value a line."""

from pathlib import Path
from typing import Final

import pytest

from launcher.vm.argv import Guest, Mode, build
from shared.image import ImageFile, ImageManifest
from shared.vm_config import sha384

GOLDEN: Final = Path(__file__).parent / "golden"
GUEST: Final = Guest(
    uuid="6f1c1c58-6c2f-4d8b-9a53-0c7a4f0d2b11",
    image=Path("/image"),
    manifest=ImageManifest(
        kernel=ImageFile(name="vmlinuz", sha256="1" * 64),
        initrd=ImageFile(name="initrd.gz", sha256="2" * 64),
        root=ImageFile(name="root.squashfs", sha256="3" * 64),
        cmdline="console=ttyS0 panic=-1 quiet",
    ),
    memory_mib=256,
    vcpus=1,
    config_digest=sha384(b"{}"),
)
ONLY_IN_TDX: Final = {"-object", "-bios"}
MAY_DIFFER: Final = {"-accel", "-cpu", "-machine"}


@pytest.mark.parametrize("mode", Mode)
def test_the_arguments_are_those_of_the_golden_file(mode: Mode) -> None:
    assert lines(build(mode, GUEST)) == (GOLDEN / f"{mode}.txt").read_text().splitlines()


def test_tcg_and_tdx_differ_only_in_accelerator_cpu_machine_firmware_and_the_tdx_guest() -> None:
    tcg, tdx = set(lines(build(Mode.TCG, GUEST))), set(lines(build(Mode.TDX, GUEST)))

    assert {options(line) for line in tcg - tdx} == MAY_DIFFER
    assert {options(line) for line in tdx - tcg} == MAY_DIFFER | ONLY_IN_TDX


def test_a_comma_in_the_images_path_cannot_add_options_to_a_drive() -> None:
    guest = Guest(GUEST.uuid, Path("/image,readonly=off"), GUEST.manifest, 256, 1, GUEST.config_digest)

    (drive,) = [line for line in lines(build(Mode.TCG, guest)) if options(line) == "-blockdev"]

    assert '"filename":"/image,readonly=off/root.squashfs"' in drive


def lines(argv: tuple[str, ...]) -> list[str]:
    """Return the arguments with each value beside its option."""
    return "\0".join(argv).replace("\0-", "\n-").replace("\0", " ").splitlines()


def options(line: str) -> str:
    return line.split(" ")[0]
