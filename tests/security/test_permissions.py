"""Nobody but their owner reads the files and folders of the local stack and of a launcher, whatever the umask is."""

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from emulators.environment import write_environment
from emulators.fakes.compute.guests import WorkerGuests
from emulators.fakes.fly.machine import Launch
from emulators.fakes.fly.programs import ImagePrograms
from emulators.processes import start, stop
from emulators.record import Record, make_logs
from emulators.settings import BackendChoice, ProviderChoice
from launcher.daemon.state_directory import locked
from launcher.machines import directory
from launcher.machines.bounded_log import BoundedLog
from shared.domain.order import State
from shared.domain.spec import CapacitySpec, NodeSize, TaskSpec
from tests.harness.permissions import readable
from tests.harness.stack import in_state, stack_of
from tests.harness.waiting import await_value
from tests.launcher.stand_ins import A_LEASE, a_manifest


@pytest.fixture(autouse=True)
def _generous() -> Iterator[None]:
    """Take nothing from the modes that the product asks for. What a test starts inherits it."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_the_local_stack_leaves_nothing_that_others_can_read(tmp_path: Path) -> None:
    home = tmp_path / "above" / "home"
    with stack_of(home, ProviderChoice.PROCESS, BackendChoice.MEMORY, tmp_path / "images") as stack:
        machine = stack.api.create_order(CapacitySpec(datacenter="local:dev", node_size=NodeSize.TINY), "machine")
        task = stack.api.create_order(TaskSpec(command=("echo", "a secret of a task")), "task")
        stack.await_order(task.id, in_state(State.SUCCEEDED))
        stack.await_order(machine.id, in_state(State.RUNNING))
        assert readable(home.parent) == []
    assert readable(home.parent) == []
    assert list(home.rglob("*.log"))


def test_logs_of_an_earlier_version_are_closed_to_others(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir(mode=0o755)
    (logs / "functions.log").write_text("an earlier line")

    assert make_logs(tmp_path) == logs
    assert stat.S_IMODE(logs.stat().st_mode) == 0o700


def test_the_record_and_the_log_of_a_server_are_its_owners(tmp_path: Path) -> None:
    home = tmp_path / "home"
    stop(start("a server", [sys.executable, "-c", "print('a line')"], home / "logs" / "server.log"))
    write_environment(home, {"LAUNCHYARD_ADMIN_KEY": "a secret"})

    assert readable(home) == []
    assert Record(home).read() != []


def test_the_guests_and_programs_of_local_clouds_write_their_owners_files(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    guests = WorkerGuests(logs)
    guests.start("instance", "{}")
    guests.stop("instance")
    programs = ImagePrograms({"image": ("true",)}, logs)
    programs.start(Launch("one", "machine", "image", (), {}))
    await_value(programs.ended, "the program's end")

    assert readable(logs) == []
    assert {"instance.json", "instance.log", "fly-machine.log", "started.jsonl"} <= {
        path.name for path in logs.iterdir()
    }


def test_a_machines_directory_its_logs_and_all_above_are_their_owners(tmp_path: Path) -> None:
    state = tmp_path / "lib" / "state"
    vm = directory.create(state, a_manifest(), b"{}", A_LEASE)
    log = BoundedLog(vm.serial_log, 64)
    for _ in range(4):
        log.write(b"a line of a guest, which may be secret\n")
    assert readable(tmp_path / "lib") == []

    vm.remove()

    assert readable(tmp_path / "lib") == []
    assert vm.kept_log.exists()


def test_a_launchers_state_directory_is_its_owners(tmp_path: Path) -> None:
    state = tmp_path / "lib" / "state"
    with locked(state):
        assert readable(tmp_path / "lib") == []
