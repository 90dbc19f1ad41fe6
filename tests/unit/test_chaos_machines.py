"""The chaos run finds its machines in the process table, and what their tasks left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psutil

from tests.chaos import machines
from tests.chaos.observations import Process
from tests.chaos.schedule import RUN

UUID = str(uuid4())
SLEEPS = "import time; print(flush=True); time.sleep(60)"
FORKS = "import os, time; os.fork(); print(flush=True); time.sleep(60)"


@contextmanager
def a_process(*argv: str, program: str = SLEEPS, **environment: str) -> Iterator[int]:
    """Start a process that sleeps, and wait until its program runs. It, and all that it makes, are killed."""
    with subprocess.Popen(
        [sys.executable, *argv[:2], "-c", program, *argv[2:]],
        env=environment,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process.pid
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def seen(home: Path, run: str) -> list[Process]:
    return [process for _, process in machines.processes(home, run)]


def test_a_machine_is_known_by_its_arguments_below_the_runs_home(tmp_path: Path) -> None:
    state = tmp_path.resolve() / "launchers" / "alpha" / "vms" / "config.json"
    with a_process("-X", f"launchyard.vm={UUID}", str(state)) as pid:
        (found,) = seen(tmp_path, "chaos-test")

        assert (found.pid, found.vm, found.machine) == (pid, f"vm-{UUID}", True)
        assert seen(tmp_path / "another", "chaos-test") == []


def test_what_a_machine_makes_is_no_machine_before_it_runs_its_program(tmp_path: Path) -> None:
    """To kill that in the machine's place would end its task and not the machine."""
    state = tmp_path.resolve() / "launchers" / "alpha" / "vms" / "order-1" / "config.json"
    with a_process("-X", f"launchyard.vm={UUID}", str(state), program=FORKS) as pid:
        (child,) = psutil.Process(pid).children()

        assert {(one.pid, one.machine) for one in seen(tmp_path, "chaos-test")} == {(pid, True), (child.pid, False)}
        assert [one.process.pid for one in machines.running(tmp_path, "chaos-test")] == [pid]


def test_a_tasks_child_is_recognised_by_the_runs_name_and_is_not_a_machine(tmp_path: Path) -> None:
    run = f"chaos-{uuid4()}"
    with a_process(**{RUN: run, "LAUNCHYARD_VM": UUID}) as pid:
        (found,) = seen(tmp_path, run)

        assert (found.pid, found.vm, found.machine) == (pid, f"vm-{UUID}", False)
        assert seen(tmp_path, "chaos-another") == []


def test_a_machine_has_a_launcher_and_processes_and_the_oldest_comes_first(tmp_path: Path) -> None:
    run = f"chaos-{uuid4()}"
    orders = [str(uuid4()), str(uuid4())]
    configurations = [
        str(tmp_path.resolve() / "launchers" / launcher / "vms" / f"{order_id}-2" / "config.json")
        for launcher, order_id in zip(("alpha", "beta"), orders, strict=True)
    ]
    other = str(uuid4())
    with (
        a_process("-X", f"launchyard.vm={UUID}", configurations[0]) as first,
        a_process("-X", f"launchyard.vm={other}", configurations[1]),
        a_process(**{RUN: run, "LAUNCHYARD_VM": UUID}) as child,
    ):
        held = machines.running(tmp_path, run)

        assert [(one.launcher, one.order_id, one.vm) for one in held] == [
            ("alpha", orders[0], f"vm-{UUID}"),
            ("beta", orders[1], f"vm-{other}"),
        ]
        assert {process.pid for process in machines.processes_of({f"vm-{UUID}"}, tmp_path, run)} == {first, child}


def test_every_directory_is_listed(tmp_path: Path) -> None:
    for name in ("vms/an-order-1", "vms/.an-order-2.partial", "quarantine/an-order-3"):
        (tmp_path / "launchers" / "alpha" / name).mkdir(parents=True)

    assert set(machines.directories(tmp_path)) == {"an-order-1", ".an-order-2.partial", "quarantine/an-order-3"}
