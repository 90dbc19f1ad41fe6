"""`up` starts and `down` stops exactly the stack's servers, and failures are explained."""

import json
import signal
import socket
from contextlib import suppress
from dataclasses import dataclass

import psutil
import pytest

from emulators.processes import LOOPBACK, Server, family, running
from emulators.record import Record
from launcher.machines.start_times import started_at
from shared.client import ControlPlane
from shared.domain.order import State
from tests.harness.processes import is_running
from tests.harness.stack import await_order, in_state
from tests.harness.waiting import MAX_SECONDS, await_value
from tests.stack.conftest import Terminal, make_terminal

OTHERS = (signal.SIGHUP, signal.SIGINT)
"""What ends a command beside SIGTERM."""
"""Seconds: on a busy host eight servers take a minute to start, and an interrupted start waits for those under way."""


@dataclass(frozen=True)
class Ended:
    """A stack that was up, and is down. `printed` is what `up` printed, `servers` and `children` are what then ran."""

    terminal: Terminal
    printed: str
    servers: list[Server]
    children: list[Server]
    bystander_ran: bool


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    terminal = make_terminal(tmp_path_factory.mktemp("ended"))
    bystander = psutil.Popen(["sleep", "600"])
    try:
        printed = terminal.succeed("up", "--backend", "memory", "--provider", "process")
        servers = Record(terminal.folder / ".launchyard").alive()
        children = [child for server in servers for child in psutil.Process(server.pid).children(recursive=True)]
        families = list[Server]()
        for child in children:
            with suppress(psutil.NoSuchProcess, FileNotFoundError):  # it has ended since
                families.append(Server(child.name(), child.pid, started_at(child.pid), terminal.folder))
        terminal.succeed("down")
        return Ended(terminal, printed, servers, families, bystander.is_running())
    finally:
        bystander.kill()
        bystander.wait()


def test_down_stops_exactly_what_up_started(ended: Ended) -> None:
    assert "backend memory" in ended.printed
    assert {"the control plane", "the launcher", "the scheduler", "the Compute Engine"} <= {
        server.name for server in ended.servers
    }
    assert ended.children
    assert not [server for server in (*ended.servers, *ended.children) if running(server)]
    assert ended.bystander_ran


def test_a_busy_port_is_named_with_the_setting_that_moves_it(terminal: Terminal) -> None:
    with socket.socket() as squatter:
        squatter.bind((LOOPBACK, int(terminal.environment["LAUNCHYARD_PORT"])))
        squatter.listen()
        done = terminal.run("up", "--backend", "memory", "--provider", "process")
    assert done.returncode == 1
    assert terminal.environment["LAUNCHYARD_PORT"] in done.stderr
    assert "LAUNCHYARD_PORT" in done.stderr
    assert not Record(terminal.folder / ".launchyard").alive()


@pytest.mark.slow
def test_started_servers_are_stopped_if_the_rest_does_not_start(terminal: Terminal) -> None:
    terminal.environment["LAUNCHYARD_MACHINE_VCPUS"] = "none"
    done = terminal.run("up", "--backend", "memory", "--provider", "process")
    assert done.returncode == 1
    assert "the launcher ended while starting" in done.stderr
    assert "the control plane answers" in done.stdout
    assert not Record(terminal.folder / ".launchyard").alive()


@pytest.mark.parametrize("interrupt", [signal.SIGTERM, *(pytest.param(one, marks=pytest.mark.slow) for one in OTHERS)])
def test_an_up_that_is_interrupted_leaves_nothing_running(terminal: Terminal, interrupt: signal.Signals) -> None:
    record = Record(terminal.folder / ".launchyard")
    with terminal.start("up", "--backend", "memory", "--provider", "process") as up:
        await_value(lambda: len(record.read()) >= 2, "two servers")
        started = record.read()
        up.send_signal(interrupt)
        assert up.wait(MAX_SECONDS) in (143, 129, 130)
    assert not [server for server in started if family(server)]
    assert not record.read()


@pytest.mark.slow
def test_down_stops_what_a_killed_server_left(terminal: Terminal) -> None:
    terminal.succeed("up", "--backend", "memory", "--provider", "process")
    servers = Record(terminal.folder / ".launchyard").read()
    control_plane = next(server for server in servers if server.name == "the control plane")
    launcher = next(server for server in servers if server.name == "the launcher")
    order = json.loads(terminal.succeed("order", "create", "capacity", "--json", "local:dev", "tiny"))["id"]
    lines = (terminal.folder / ".launchyard" / "dev.env").read_text().splitlines()
    variables = dict(line.split("=", 1) for line in lines)
    with ControlPlane(variables["LAUNCHYARD_URL"], variables["LAUNCHYARD_CLIENT_KEY"]) as api:
        await_order(api, order, in_state(State.RUNNING))
    machines = psutil.Process(launcher.pid).children(recursive=True)
    assert machines
    for server in (control_plane, launcher):
        psutil.Process(server.pid).kill()
    assert "up already, except for the control plane, the launcher" in terminal.run("up").stderr
    terminal.succeed("down")
    assert not [server for server in servers if family(server)]
    await_value(lambda: not [machine for machine in machines if is_running(machine)], "the end of the machines")


def test_wrong_settings_are_all_named_at_once(terminal: Terminal) -> None:
    terminal.environment.update({"LAUNCHYARD_PORT": "seventy", "LAUNCHYARD_SLOTS": "0"})
    done = terminal.run("up")
    assert done.returncode == 2
    assert "LAUNCHYARD_PORT" in done.stderr
    assert "LAUNCHYARD_SLOTS" in done.stderr


def test_commands_without_a_stack_explain_how_to_start_one(terminal: Terminal) -> None:
    done = terminal.run("order", "list")
    assert done.returncode == 2
    assert "launchyard up" in done.stderr


def test_down_is_no_error_if_nothing_runs(terminal: Terminal) -> None:
    assert terminal.succeed("down") == "nothing was running\n"


def test_a_command_without_an_answer_names_the_control_plane_and_how_to_start_it(terminal: Terminal) -> None:
    url = f"http://{LOOPBACK}:{terminal.environment['LAUNCHYARD_PORT']}"
    terminal.environment.update({"LAUNCHYARD_URL": url, "LAUNCHYARD_CLIENT_KEY": "ly_none"})
    done = terminal.run("order", "list")
    assert done.returncode == 1
    assert url in done.stderr
    assert "launchyard up" in done.stderr


def test_after_down_a_command_explains_how_to_start(ended: Ended) -> None:
    done = ended.terminal.run("order", "list")
    assert done.returncode == 2
    assert "launchyard up" in done.stderr
