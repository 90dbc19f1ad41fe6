"""The provider `qemu` with real QEMU processes: a kernel of two instructions, or the firmware with nothing to boot."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

import psutil
import pytest
import structlog.testing

from launcher.host.hypervisor import QemuMode
from launcher.machines import directory
from launcher.machines.directory import LAUNCH_LOG, VmDirectory
from launcher.machines.port import LaunchFailed
from launcher.machines.records import VmManifest, VmProcess
from launcher.machines.resources import GIB, Resources
from launcher.machines.start_times import started_at
from launcher.providers.process.supervise import ProcessMachine
from launcher.providers.qemu import monitor as qmp
from launcher.providers.qemu import provider as qemu
from launcher.providers.qemu.argv import MONITOR
from launcher.providers.qemu.provider import QemuProvider
from launcher.vm_tool import console
from shared.guest.config import WorkerConfig
from shared.guest.image import ImageFile, ImageManifest
from shared.log_events import LogEvent
from shared.wire.launchers import Hold
from tests.factories import TASK
from tests.launcher.stand_ins import A_LEASE, SMALL, STAYS

pytestmark = pytest.mark.vm

A_HOLD: Final = Hold(order_id="one", epoch=1)
IMPATIENT: Final = 0.2
BARE: Final = (
    *("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-m", "16M", "-nodefaults", "-nographic"),
    *("-chardev", f"socket,id=qmp,fd={MONITOR},server=on,wait=off", "-mon", "chardev=qmp,mode=control"),
)


def test_the_arguments_of_a_planned_guest_are_taken_by_qemu_and_its_machine_runs(tmp_path: Path) -> None:
    provider = a_provider(tmp_path)
    config = WorkerConfig(order_id="one", epoch=1, control_plane="http://h", callback_token="token", spec=TASK)
    uuid = str(uuid4())

    with machine_of(provider, a_directory(tmp_path, provider.plan(A_HOLD, uuid, config).argv)) as (machine, vm):
        assert qmp.execute(vm.path, "query-uuid") == {"UUID": uuid}
        assert qmp.execute(vm.path, "query-status")
        assert vm.process() == VmProcess(pid=machine.pid, started=started_at(machine.pid))


def test_a_guests_console_output_is_in_its_serial_log(tmp_path: Path) -> None:
    provider = a_provider(tmp_path)
    config = WorkerConfig(order_id="one", epoch=1, control_plane="http://h", callback_token="token", spec=TASK)

    with machine_of(provider, a_directory(tmp_path, provider.plan(A_HOLD, str(uuid4()), config).argv)) as (machine, vm):
        while "SeaBIOS" not in console.read(vm):
            assert not machine.ended_within(0.05)


def test_qemu_quits_if_its_machine_ignores_the_power_button(tmp_path: Path) -> None:
    with machine_of(a_provider(tmp_path), a_directory(tmp_path, (*BARE, "-S"))) as (machine, _):
        assert rung_of(machine, patience=60) == "quit"


def test_a_machine_whose_monitor_is_busy_is_terminated(tmp_path: Path) -> None:
    with machine_of(a_provider(tmp_path), a_directory(tmp_path, BARE)) as (machine, vm):
        (vm.path / "qmp.sock").unlink()

        assert rung_of(machine, patience=60) == "SIGTERM"


def test_a_machine_whose_monitor_cannot_be_opened_is_terminated(tmp_path: Path) -> None:
    with machine_of(a_provider(tmp_path), a_directory(tmp_path, BARE)) as (machine, vm):
        vm.path.rename(tmp_path / "elsewhere")

        assert rung_of(machine, patience=60) == "SIGTERM"


def test_a_start_that_breaks_leaves_no_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(_directory: Path, _command: str, _seconds: float) -> object:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(qmp, "execute", breaks)
    vm = a_directory(tmp_path, BARE)

    with pytest.raises(RuntimeError):
        a_provider(tmp_path).start(vm)

    process = vm.process()
    assert process is not None
    assert not psutil.pid_exists(process.pid)


def test_a_machine_is_killed_at_once_if_there_is_no_time(tmp_path: Path) -> None:
    with machine_of(a_provider(tmp_path), a_directory(tmp_path, BARE)) as (machine, _):
        assert rung_of(machine, patience=0) is None


def test_a_machine_that_reacts_to_nothing_is_killed(tmp_path: Path) -> None:
    with machine_of(a_provider(tmp_path), a_directory(tmp_path, BARE)) as (machine, vm):
        (vm.path / "qmp.sock").unlink()
        psutil.Process(machine.pid).suspend()

        assert rung_of(machine, patience=IMPATIENT) is None


def test_the_monitor_of_a_machine_in_a_long_path_answers(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)

    with machine_of(a_provider(tmp_path), a_directory(deep, BARE)) as (_, vm):
        assert qmp.execute(vm.path, "query-status")


def test_qemu_that_does_not_start_fails_the_launch_in_its_own_words_and_leaves_nothing(tmp_path: Path) -> None:
    vm = a_directory(tmp_path, (*BARE, "-device", "no-such-device"))

    with pytest.raises(LaunchFailed, match="no-such-device"):
        a_provider(tmp_path).start(vm)

    process = vm.process()
    assert process is not None
    assert not psutil.pid_exists(process.pid)
    assert (vm.path / LAUNCH_LOG).exists()


def test_a_monitor_that_does_not_answer_in_time_is_reported_with_the_time_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qemu, "READY_SECONDS", 1)
    vm = a_directory(tmp_path, STAYS)

    with pytest.raises(LaunchFailed, match=r"did not answer within 1 s: QEMU wrote nothing\. To do: .*MEMORY_MIB"):
        a_provider(tmp_path).start(vm)

    process = vm.process()
    assert process is not None
    assert not psutil.pid_exists(process.pid)


@pytest.mark.parametrize(
    ("memory_mib", "gpus", "seconds"), [(256, 0, 30), (16 * GIB, 0, 30), (128 * GIB, 0, 128), (128 * GIB, 8, 512)]
)
def test_the_time_that_qemu_has_until_its_monitor_answers_grows_with_its_memory(
    memory_mib: int, gpus: int, seconds: float
) -> None:
    assert qemu.ready_seconds(Resources(memory_mib=memory_mib, gpus=gpus)) == seconds


@contextmanager
def machine_of(provider: QemuProvider, vm: VmDirectory) -> Iterator[tuple[ProcessMachine, VmDirectory]]:
    machine = provider.start(vm)
    try:
        yield machine, vm
    finally:
        machine.stop(lambda: 0)
        machine.reap()
    assert not psutil.pid_exists(machine.pid)


def rung_of(machine: ProcessMachine, patience: float) -> str | None:
    """Stop the machine, and return the step that ended it; None if it was killed."""
    with structlog.testing.capture_logs() as logs:
        machine.stop(lambda: patience)
    return next((line["by"] for line in logs if line["event"] == LogEvent.MACHINE_STOPPED), None)


def a_provider(tmp_path: Path) -> QemuProvider:
    digest = write_image(tmp_path / "image")
    return QemuProvider(QemuMode.TCG, tmp_path / "image", digest, sizes=SMALL, powerdown_seconds=IMPATIENT)


def a_directory(state: Path, argv: tuple[str, ...]) -> VmDirectory:
    manifest = VmManifest(
        order_id="one",
        epoch=1,
        vm="vm-one",
        uuid=str(uuid4()),
        provider="qemu",
        mode="tcg",
        image_digest=None,
        argv=argv,
        resources=Resources(),
    )
    return directory.create(state, manifest, b"{}", A_LEASE)


def write_image(path: Path, cmdline: str = f"quiet rootblocks=1 roothash={'0' * 64}") -> str:
    """Write an image whose kernel halts at once, and return its digest."""
    contents = {"kernel": a_kernel(), "initrd": b"\0" * 512, "root.img": b"\0" * 4096}
    path.mkdir()
    files = {}
    for name, content in contents.items():
        (path / name).write_bytes(content)
        files[name] = ImageFile(name=name, sha256=hashlib.sha256(content).hexdigest())
    manifest = ImageManifest(
        kernel=files["kernel"],
        unpacked_kernel=files["kernel"],
        initrd=files["initrd"],
        root=files["root.img"],
        cmdline=cmdline,
    )
    (path / "manifest.json").write_bytes(manifest.canonical())
    return manifest.digest()


def a_kernel() -> bytes:
    """Return a kernel by the Linux boot protocol 2.04 (kernel.org, x86/boot): one setup sector, then `hlt; jmp`."""
    kernel = bytearray(4096)
    kernel[0x1F1] = 1
    kernel[0x1FE:0x200] = b"\x55\xaa"
    kernel[0x202:0x206] = b"HdrS"
    kernel[0x206:0x208] = b"\x04\x02"
    kernel[0x211] = 1
    kernel[0x22C:0x230] = b"\xff\xff\xff\x07"
    kernel[0x200:0x202] = b"\xf4\xeb"
    return bytes(kernel)
