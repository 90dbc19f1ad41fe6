"""A machine's QEMU: without rights, with files of its own alone, and stopped and adopted like any other."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

import psutil
import pytest

from launcher.host import users
from launcher.host.checks import service
from launcher.host.checks.host import Case, Host
from launcher.host.confinement import Confinement, PassedFile, User, command
from launcher.host.hypervisor import QUOTE_SOCKET, Hypervisor, QemuMode
from launcher.host.users import TRANSIENT, UNUSED, user_of
from launcher.machines import directory
from launcher.machines.directory import CONFIG, QMP_SOCKET, VmDirectory
from launcher.machines.failures import of_words
from launcher.machines.port import LaunchFailed, MachineState
from launcher.providers.process.identity import end_stragglers, marked, state_of
from launcher.providers.process.supervise import ProcessMachine
from launcher.providers.qemu import monitor as qmp
from launcher.providers.qemu.provider import QemuMachines
from shared.domain.order import Reason
from shared.guest.config import WorkerConfig
from tests.factories import TASK
from tests.harness.waiting import await_value
from tests.launcher.stand_ins import A_LEASE, SMALL, a_manifest
from tests.launcher.test_operators_files import SERVICE, directives
from tests.launcher.test_qemu import A_HOLD, a_directory, a_provider
from tests.security.test_network_of_a_machine import WITHOUT_ADMINISTRATION, bounded, gives_user_namespaces

A_UUID: Final = str(uuid4())
"""Another run on this host has another: machines are found, and ended, by it."""
FILTERED: Final = "2"
"""SECCOMP_MODE_FILTER."""
KEEPS_ITS_USER: Final = """
from launcher.host import forwarder
from launcher.host.privileges import LIBC
PR_GET_DUMPABLE = 3
print(LIBC.prctl(PR_GET_DUMPABLE, 0, 0, 0, 0))
forwarder._confine(None)
print(LIBC.prctl(PR_GET_DUMPABLE, 0, 0, 0, 0))
"""
ENDS_MACHINES: Final = """
import os, subprocess, sys
from pathlib import Path
from launcher.host.confinement import Confinement, command
from launcher.host.users import user_of
from launcher.providers.process.identity import MARK, end_stragglers, marked
from launcher.providers.process.supervise import ProcessMachine

def started():
    user = user_of(uuid, None, Path("/nowhere"))
    argv = command(Confinement(user), ("/bin/sh", "-c", "echo up; read _", "qemu", "-uuid", uuid))
    pipe = subprocess.PIPE
    child = subprocess.Popen(argv, stdin=pipe, stdout=pipe, env={MARK: uuid}, start_new_session=True)
    assert child.stdout.readline() == b"up\\n"
    return child

uuid = sys.argv[1]
machine, left = started(), started()
print(sorted(marked(uuid)) == sorted([machine.pid, left.pid]))
end_stragglers(uuid) if sys.argv[2] == "stragglers" else None
for child in (machine, left):
    print(ProcessMachine(child, os.pidfd_open(child.pid), uuid).destroy() < 0)
"""
NONE: Final = "0000000000000000"


def status_of(pid: int) -> dict[str, list[str]]:
    """Return what proc(5) says of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: words.split() for name, _, words in (line.partition(":") for line in lines)}


@contextmanager
def a_machine(folder: Path) -> Iterator[tuple[ProcessMachine, VmDirectory]]:
    folder.mkdir(exist_ok=True)
    provider = a_provider(folder)
    config = WorkerConfig(order_id="one", epoch=1, control_plane="http://h", callback_token="token", spec=TASK)
    manifest = a_manifest().model_copy(update={"argv": provider.plan(A_HOLD, A_UUID, config).argv, "uuid": A_UUID})
    vm = directory.create(folder, manifest, b"{}", A_LEASE)
    machine = provider.start(vm)
    try:
        yield machine, vm
    finally:
        machine.destroy()


def forwarder_of(vm: VmDirectory, machine: ProcessMachine) -> psutil.Process:
    [other] = [pid for pid in marked(vm.manifest.uuid) if pid != machine.pid]
    return psutil.Process(other)


@pytest.mark.vm
def test_a_running_qemu_filters_its_system_calls_has_no_rights_and_is_not_root(tmp_path: Path) -> None:
    with a_machine(tmp_path) as (machine, vm):
        status = status_of(machine.pid)
        names = [status_of(machine.pid)["Name"][0], Path(f"/proc/{machine.pid}/comm").read_text().strip()]

        assert names == ["qemu-system-x86", "qemu-system-x86"]
        assert status["Seccomp"] == [FILTERED]
        assert status["NoNewPrivs"] == ["1"]
        assert (status["CapEff"], status["CapPrm"], status["CapAmb"]) == ([NONE], [NONE], [NONE])
        assert "0" not in (*status["Uid"], *status["Gid"])
        assert os.readlink(f"/proc/{machine.pid}/ns/net") != os.readlink("/proc/self/ns/net")
        assert qmp.execute(vm.path, "query-uuid")


@pytest.mark.vm
def test_a_forwarder_has_no_rights_no_file_of_its_machine_and_a_user_of_its_own(tmp_path: Path) -> None:
    with a_machine(tmp_path) as (machine, vm):
        forwarder = forwarder_of(vm, machine)
        status = await_value(lambda: dropped(forwarder.pid), "a forwarder without rights")
        descriptors = Path(f"/proc/{forwarder.pid}/fd")
        opened = {os.readlink(one) for one in descriptors.iterdir()} if os.geteuid() == 0 else set()

        assert "0" not in status["Uid"]
        assert status["NoNewPrivs"] == ["1"]
        assert os.readlink(f"/proc/{forwarder.pid}/ns/net") == os.readlink("/proc/self/ns/net")
        assert [one for one in opened if str(tmp_path) in one or "memfd" in one] == []
        assert (status["Uid"] != status_of(machine.pid)["Uid"]) == (os.geteuid() == 0)


@pytest.mark.vm
def test_a_forwarders_memory_is_closed_to_its_own_user(tmp_path: Path) -> None:
    with a_machine(tmp_path) as (machine, vm):
        forwarder = forwarder_of(vm, machine)
        await_value(lambda: dropped(forwarder.pid), "a forwarder without rights")

        assert Path(f"/proc/{forwarder.pid}/environ").stat().st_uid == 0  # proc(5): it is not dumpable
        assert Path(f"/proc/{machine.pid}/environ").stat().st_uid == int(status_of(machine.pid)["Uid"][0])


def test_a_forwarder_that_keeps_its_launchers_user_closes_its_memory_by_itself() -> None:
    done = subprocess.run([sys.executable, "-c", KEEPS_ITS_USER], capture_output=True, text=True, check=False)

    assert (done.stdout.split(), done.stderr) == (["1", "0"], "")


def dropped(pid: int) -> dict[str, list[str]] | None:
    status = status_of(pid)
    return status if status["CapEff"] == [NONE] and status["NoNewPrivs"] == ["1"] else None


@pytest.mark.vm
def test_a_forwarder_that_dies_cuts_the_network_and_not_the_machine_and_ends_with_it(tmp_path: Path) -> None:
    with a_machine(tmp_path) as (machine, vm):
        forwarder = forwarder_of(vm, machine)
        assert os.getpgid(forwarder.pid) == machine.pid
        forwarder.kill()
        await_value(lambda: not is_alive(forwarder), "the forwarder's end")
        assert qmp.execute(vm.path, "query-status")
        assert not machine.ended_within(0)

    with a_machine(tmp_path / "another") as (machine, vm):
        forwarder = forwarder_of(vm, machine)
        os.kill(machine.pid, signal.SIGKILL)
        await_value(lambda: not is_alive(forwarder), "the end of the forwarder, which nobody asked")


@pytest.mark.vm
def test_a_confined_machine_is_adopted_and_stopped_and_leaves_no_process(tmp_path: Path) -> None:
    with a_machine(tmp_path) as (_, vm):
        assert state_of(vm) is MachineState.RUNS
        adopted = QemuMachines().adopt(vm)
        assert adopted is not None

        adopted.stop(lambda: 0)
        adopted.reap()

        assert state_of(vm) is MachineState.ENDED
        assert marked(vm.manifest.uuid) == []


def test_a_machines_user_reads_no_other_machines_configuration(tmp_path: Path) -> None:
    vm = a_directory(tmp_path, ("true",))
    user = user_of(A_UUID, None, QUOTE_SOCKET)
    assert [path.stat().st_mode & 0o077 for path in (vm.path, vm.path / CONFIG)] == [0, 0]

    by_path = confined(user, (), "cat", str(vm.path / CONFIG))
    given = confined(user, (PassedFile(10, str(vm.path / CONFIG), "copy"),), "cat", "/proc/self/fd/10")

    assert (by_path.returncode == 0) == (user is None)  # a launcher that is not root has one user
    assert given.stdout == "{}"


def test_a_machines_monitor_is_the_launchers_alone(tmp_path: Path) -> None:
    user = user_of(A_UUID, None, QUOTE_SOCKET)

    done = confined(user, (PassedFile(15, QMP_SOCKET, "listen"),), "readlink", "/proc/self/fd/15", folder=tmp_path)

    assert done.stdout.startswith("socket:")
    assert (tmp_path / QMP_SOCKET).stat().st_uid == os.geteuid()


def test_each_machine_and_each_forwarder_has_a_user_that_nothing_else_uses() -> None:
    pairs = [user_of(str(uuid4()), None, QUOTE_SOCKET) for _ in range(100)]
    numbers = [user for one in pairs if one is not None for user in (one.uid, one.forwarder)]

    assert len(set(numbers)) == len(numbers) == (200 if os.geteuid() == 0 else 0)
    assert all(user in UNUSED or user in TRANSIENT for user in numbers)
    assert all(0 not in (one.gid, *one.groups) for one in pairs if one is not None)


def test_the_user_that_an_operator_names_is_every_machines() -> None:
    user = user_of(A_UUID, 4711, QUOTE_SOCKET)

    assert user is None or (user.uid, user.gid, user.forwarder) == (4711, 4711, 4711)


def test_machines_are_in_the_groups_that_use_devices_and_never_in_roots(tmp_path: Path) -> None:
    used, closed, absent = tmp_path / "used", tmp_path / "closed", tmp_path / "absent"
    used.touch(mode=0o660)
    closed.touch(mode=0o600)
    used.chmod(0o660)
    group = used.stat().st_gid

    assert users._groups([used, closed, absent]) == (() if group == 0 else (group,))
    if os.geteuid() == 0:
        os.chown(used, 0, 4711)
        assert users._groups([used, closed, absent]) == (4711,)


@pytest.mark.parametrize(
    ("confinement", "why"),
    [
        (Confinement(files=(PassedFile(10, "no-such-file"),)), "No such file or directory"),
        (Confinement(user=User(4711, 4711, (), 4711)), "cannot become user 4711 .*LAUNCHYARD_VM_USER"),
    ],
)
def test_a_process_that_cannot_be_confined_does_not_run(tmp_path: Path, confinement: Confinement, why: str) -> None:
    argv = [*bounded("-setuid"), *command(confinement, ("/bin/echo", "runs"))]

    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (1, "")
    assert re.match(rf"The machine cannot be confined: .*{why}", done.stderr)


def test_a_launcher_that_may_make_no_network_confines_machines_in_a_user_namespace() -> None:
    """Where the host gives no user namespace, no machine starts."""
    confined = command(Hypervisor().confinement(A_UUID), ("/bin/cat", "/proc/self/status", "/proc/self/net/dev"))
    argv = [*WITHOUT_ADMINISTRATION, *confined]

    done = subprocess.run(argv, capture_output=True, text=True, check=False)

    if not gives_user_namespaces():
        assert (done.returncode, done.stdout) == (1, "")
        assert "this host gives it no network namespace" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    status = {name: words.split() for name, _, words in (line.partition(":") for line in done.stdout.splitlines())}
    assert "0" not in status["Uid"]
    assert (status["CapEff"], status["NoNewPrivs"]) == ([NONE], ["1"])
    assert [name.strip() for name in status if name.strip() in psutil.net_if_addrs()] == ["lo"]


@pytest.mark.parametrize("way", ["stragglers", "signals"])
def test_a_launcher_with_the_units_rights_sees_and_ends_the_machines_of_other_users(way: str) -> None:
    given = dict(directives(SERVICE, "Service"))["CapabilityBoundingSet"].split()
    of_the_unit = ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in given)])
    argv = [*bounded(of_the_unit), sys.executable, "-c", ENDS_MACHINES, A_UUID, way]

    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    finally:
        end_stragglers(A_UUID)

    assert done.stdout.split() == ["True", "True", "True"], done.stderr


def confined(
    user: User | None, files: tuple[PassedFile, ...], *program: str, folder: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    argv = command(Confinement(user, None, files), (f"/bin/{program[0]}", *program[1:]))
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_an_image_that_machines_may_not_read_is_refused_and_shown_by_the_doctor(tmp_path: Path) -> None:
    provider = a_provider(tmp_path)
    (tmp_path / "image" / "kernel").chmod(0o600)
    case = Case(Host(), QemuMode.TCG, image=provider.image, image_digest=provider.digest)
    if os.geteuid() != 0:
        provider.plan_guest(A_UUID, SMALL.work, b"{}")
        return

    with pytest.raises(LaunchFailed, match="may not read kernel") as refused:
        provider.plan_guest(A_UUID, SMALL.work, b"{}")

    assert refused.value.reason is Reason.IMAGE_MISSING
    assert "chmod a+r" in service.image(case).found


def test_a_machine_that_cannot_be_confined_is_the_hosts_failure() -> None:
    failed = of_words("The machine cannot be confined: this host gives it no network namespace", "QEMU ended")

    assert failed.reason is Reason.HYPERVISOR_MISSING
