"""The choice of a mode: by a trial boot on this very host, and by what was asked."""

import subprocess
from pathlib import Path

import pytest

from launcher.vm.argv import Mode
from launcher.vm.probe import ModeRefused, QemuMode, boots, choose, has_tdx, probe


def test_a_trial_machine_boots_under_emulation() -> None:
    assert boots(Mode.TCG)


def test_a_kvm_device_that_cannot_boot_a_machine_is_not_chosen() -> None:
    chosen = probe(QemuMode.AUTO)

    assert (chosen is Mode.TCG) == (not kvm_runs_a_machine())


def test_a_machine_that_greets_and_then_aborts_has_not_booted(tmp_path: Path) -> None:
    qemu = tmp_path / "qemu"
    qemu.write_text("""#!/bin/sh\necho '{"QMP": {}}'\ncat > /dev/null\nexit 134\n""")
    qemu.chmod(0o755)

    assert not boots(Mode.KVM, str(qemu))


def test_a_machine_that_never_says_that_it_ran_has_not_booted(tmp_path: Path) -> None:
    qemu = tmp_path / "qemu"
    qemu.write_text("#!/bin/sh\nexit 0\n")
    qemu.chmod(0o755)

    assert not boots(Mode.KVM, str(qemu))


def test_without_qemu_nothing_boots() -> None:
    assert not boots(Mode.TCG, binary="qemu-that-is-absent")


@pytest.mark.parametrize(
    ("asked", "kvm_boots", "host_has_tdx", "chosen"),
    [
        (QemuMode.AUTO, False, False, Mode.TCG),
        (QemuMode.AUTO, False, True, Mode.TCG),
        (QemuMode.AUTO, True, False, Mode.KVM),
        (QemuMode.AUTO, True, True, Mode.TDX),
        (QemuMode.TCG, True, True, Mode.TCG),
        (QemuMode.KVM, True, True, Mode.KVM),
        (QemuMode.TDX, True, True, Mode.TDX),
    ],
)
def test_what_is_asked_is_weighed_against_what_the_host_has(
    asked: QemuMode, kvm_boots: bool, host_has_tdx: bool, chosen: Mode
) -> None:
    assert choose(asked, kvm_boots, host_has_tdx) is chosen


@pytest.mark.parametrize(
    ("asked", "kvm_boots", "lacking"),
    [(QemuMode.TDX, True, "TDX host"), (QemuMode.TDX, False, "usable KVM"), (QemuMode.KVM, False, "usable KVM")],
)
def test_a_mode_that_the_host_lacks_is_refused_with_what_it_lacks(
    asked: QemuMode, kvm_boots: bool, lacking: str
) -> None:
    with pytest.raises(ModeRefused, match=lacking):
        choose(asked, kvm_boots, host_has_tdx=False)


@pytest.mark.parametrize(("content", "has"), [("Y\n", True), ("N\n", False), (None, False)])
def test_the_kernel_says_whether_the_host_has_tdx(tmp_path: Path, content: str | None, has: bool) -> None:
    parameter = tmp_path / "tdx"
    if content is not None:
        parameter.write_text(content)

    assert has_tdx(parameter) is has


def kvm_runs_a_machine() -> bool:
    """Ask by another way than the probe's: the monitor for people."""
    argv = ("qemu-system-x86_64", "-machine", "pc", "-accel", "kvm", "-cpu", "host", "-display", "none", "-m", "16M")
    trial = subprocess.run((*argv, "-monitor", "stdio"), input=b"info status\nquit\n", capture_output=True, check=False)
    return b"VM status: running" in trial.stdout
