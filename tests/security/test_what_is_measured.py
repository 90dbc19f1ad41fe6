"""A machine is said to have a verified root only if its measured command line has the root's hash."""

from pathlib import Path
from typing import Final

import pytest
from typer.testing import CliRunner

from launcher.cli.vm import app
from launcher.host.hypervisor import QemuMode
from launcher.machines import directory
from launcher.machines.directory import VmDirectory
from launcher.providers.qemu import argv
from launcher.vm_tool import facts
from shared.guest.image import MANIFEST, ImageManifest
from tests.launcher.stand_ins import A_LEASE, a_manifest
from tests.launcher.test_qemu import write_image

HASH: Final = "0123456789abcdef" * 4
VERIFIED: Final = f"console=ttyS0 quiet rootblocks=7 roothash={HASH}"
UNVERIFIED: Final = [
    "console=ttyS0 quiet",
    "quiet roothash=",
    f"quiet roothash={HASH[1:]}",
    f"quiet xroothash={HASH}",
    f"quiet roothash={HASH} roothash={HASH[::-1]}",
    "quiet roothash=none",
]


def a_machine(folder: Path, cmdline: str) -> VmDirectory:
    write_image(folder / "image", cmdline)
    image = ImageManifest.model_validate_json((folder / "image" / MANIFEST).read_bytes())
    guest = argv.Guest("uuid", image, memory_mib=64, vcpus=1, config_digest=b"")
    return directory.create(folder, a_manifest(argv=argv.build(QemuMode.TCG, guest)), b"{}", A_LEASE)


def test_a_machine_whose_command_line_has_the_roots_hash_has_a_verified_root(tmp_path: Path) -> None:
    assert facts.described(a_machine(tmp_path, VERIFIED))["verity"] is True


@pytest.mark.parametrize("cmdline", UNVERIFIED)
def test_a_machine_of_an_image_without_a_hash_of_its_root_has_none(tmp_path: Path, cmdline: str) -> None:
    assert facts.described(a_machine(tmp_path, cmdline))["verity"] is False


@pytest.mark.parametrize("cmdline", UNVERIFIED)
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_registers_that_cover_any_root_are_not_printed(tmp_path: Path, cmdline: str, form: tuple[str, ...]) -> None:
    write_image(tmp_path / "image", cmdline)
    state = str(tmp_path / "state")

    done = CliRunner().invoke(app, ["measure", "-i", str(tmp_path / "image"), "--state-dir", state, *form])

    assert (done.exit_code, done.stdout) == (1, "")
    assert "no hash of its root" in done.stderr
