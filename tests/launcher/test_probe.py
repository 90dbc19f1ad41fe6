"""The mode is chosen by a trial boot on this host, and by the operator's request."""

import errno
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Final, NoReturn

import pytest
from typer.testing import CliRunner

from launcher.cli.daemon import app
from launcher.host.hypervisor import Hypervisor, QemuMode
from launcher.host.probe import ModeRefused, QemuChoice, TrialImpossible, boots, choose, has_tdx, probe

KVM: Final = Path("/dev/kvm")
NOBODY: Final = 65534


def test_a_trial_machine_boots_under_emulation() -> None:
    assert boots(QemuMode.TCG)


def test_a_kvm_device_that_cannot_boot_a_machine_is_not_chosen() -> None:
    chosen = probe(QemuChoice.AUTO)

    assert (chosen is QemuMode.TCG) == (not kvm_runs_a_machine())


def test_a_machine_that_greets_and_then_aborts_has_not_booted(tmp_path: Path) -> None:
    qemu = tmp_path / "qemu"
    qemu.write_text("""#!/bin/sh\necho '{"QMP": {}}'\ncat > /dev/null\nexit 134\n""")
    qemu.chmod(0o755)

    assert not boots(QemuMode.KVM, Hypervisor(str(qemu)))


def test_a_machine_that_never_reports_that_it_ran_has_not_booted(tmp_path: Path) -> None:
    qemu = tmp_path / "qemu"
    qemu.write_text("#!/bin/sh\nexit 0\n")
    qemu.chmod(0o755)

    assert not boots(QemuMode.KVM, Hypervisor(str(qemu)))


def test_without_qemu_nothing_boots() -> None:
    assert not boots(QemuMode.TCG, Hypervisor("qemu-that-is-absent"))


def test_a_trial_needs_no_folder_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/nowhere")
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    monkeypatch.setenv("TMPDIR", "/nowhere")

    assert boots(QemuMode.TCG)


@pytest.mark.parametrize("impossible", ["memfd_create", "pipe"])
def test_a_host_on_which_no_trial_can_be_made_is_not_taken_to_lack_the_mode(
    monkeypatch: pytest.MonkeyPatch, impossible: str
) -> None:
    no_descriptors_left(monkeypatch, impossible)

    with pytest.raises(TrialImpossible, match=r"^The trial cannot be made: Too many open files\.$"):
        boots(QemuMode.KVM)


def test_a_launcher_that_cannot_make_its_trial_says_so_in_one_line_and_exits_with_1_to_be_started_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    no_descriptors_left(monkeypatch, "memfd_create")
    needed = {"URL": "http://127.0.0.1:1", "LAUNCHER_KEY": "ly_x", "IMAGE": str(tmp_path), "IMAGE_DIGEST": "0" * 64}
    for name, value in needed.items():
        monkeypatch.setenv(f"LAUNCHYARD_{name}", value)

    done = CliRunner().invoke(app, ["run", "--state-dir", str(tmp_path)])

    assert done.exit_code == 1
    assert done.stderr == "The trial cannot be made: Too many open files.\n"


def test_the_doctor_has_a_row_for_a_trial_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    no_descriptors_left(monkeypatch, "memfd_create")

    done = CliRunner().invoke(app, ["doctor", "--mode", "auto", "--json"])

    assert done.exit_code == 1
    [row] = [check for check in json.loads(done.stdout)["checks"] if check["name"] == "emulation"]
    assert row["verdict"] == "missing"
    assert row["found"] == "The trial cannot be made: Too many open files"


@pytest.mark.parametrize(
    ("asked", "kvm_boots", "host_has_tdx", "chosen"),
    [
        (QemuChoice.AUTO, False, False, QemuMode.TCG),
        (QemuChoice.AUTO, False, True, QemuMode.TCG),
        (QemuChoice.AUTO, True, False, QemuMode.KVM),
        (QemuChoice.AUTO, True, True, QemuMode.TDX),
        (QemuChoice.TCG, True, True, QemuMode.TCG),
        (QemuChoice.KVM, True, True, QemuMode.KVM),
        (QemuChoice.TDX, True, True, QemuMode.TDX),
    ],
)
def test_the_sizes_are_compared_with_the_hosts_resources(
    asked: QemuChoice, kvm_boots: bool, host_has_tdx: bool, chosen: QemuMode
) -> None:
    assert choose(asked, kvm_boots, host_has_tdx) is chosen


@pytest.mark.parametrize(
    ("asked", "kvm_boots", "lacking"),
    [
        (QemuChoice.TDX, True, "TDX host.*LAUNCHYARD_QEMU_MODE=kvm"),
        (QemuChoice.TDX, False, "usable KVM"),
        (QemuChoice.KVM, False, "usable KVM"),
    ],
)
def test_a_mode_that_the_host_does_not_support_is_refused_with_the_reason(
    asked: QemuChoice, kvm_boots: bool, lacking: str
) -> None:
    with pytest.raises(ModeRefused, match=lacking):
        choose(asked, kvm_boots, host_has_tdx=False)


@pytest.mark.parametrize(("content", "has"), [("Y\n", True), ("N\n", False), (None, False)])
def test_the_kernel_says_whether_the_host_has_tdx(tmp_path: Path, content: str | None, has: bool) -> None:
    parameter = tmp_path / "tdx"
    if content is not None:
        parameter.write_text(content)

    assert has_tdx(parameter) is has


def no_descriptors_left(monkeypatch: pytest.MonkeyPatch, whatever: str) -> None:
    def refuse(*_: object) -> NoReturn:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, whatever, refuse)


def kvm_runs_a_machine() -> bool:
    """Ask by another way than the probe's, the monitor for people, and as nobody if we are root, as machines are."""
    group = KVM.stat().st_gid if KVM.exists() else 0
    nobody = {"user": NOBODY, "group": group or NOBODY, "extra_groups": ()} if os.geteuid() == 0 else {}
    argv = ("qemu-system-x86_64", "-machine", "pc", "-accel", "kvm", "-cpu", "host", "-display", "none", "-m", "16M")
    monitor = (*argv, "-monitor", "stdio")
    trial = subprocess.run(monitor, input=b"info status\nquit\n", capture_output=True, check=False, **nobody)  # type: ignore[call-overload]
    return b"VM status: running" in trial.stdout
