"""`--one-shot` and `--max-orders` as processes of their own: what they take, what they leave, and how they exit."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import pytest

from emulators.ports import free_port
from emulators.processes import LOOPBACK
from launcher.machines import directory
from launcher.machines.directory import VmDirectory
from launcher.machines.records import VmLease
from launcher.orders import leftovers
from shared.domain.order import State
from shared.domain.spec import CapacitySpec, NodeSize
from shared.log_events import LogEvent
from shared.wire.launchers import HoldView, StopOrder
from tests.harness.forked import Forked
from tests.launcher.daemons import await_logged
from tests.launcher.fake_control_plane import CALLBACKS, CLAIMS, DEADLINE, HEARTBEATS, HOLDS, UPDATES, FakeControlPlane
from tests.launcher.stand_ins import is_running

ROOT: Final = Path(__file__).parents[2]
TINY: Final = CapacitySpec(datacenter="local:dev", node_size=NodeSize.TINY)
REPORTS: Final = """
import argparse, json, pathlib, time, urllib.request
parser = argparse.ArgumentParser()
parser.add_argument("--config", type=pathlib.Path, required=True)
config = json.loads(parser.parse_args().config.read_bytes())
address = config["control_plane"] + "/v1/callbacks/" + config["order_id"]
urllib.request.urlopen(urllib.request.Request(address, b"{}", {"Content-Type": "application/json"}))
time.sleep(600)
"""
ADOPTION_READS: Final = 2
"""How often a launcher that goes asks what is held, before its loops start."""
NEVER_REPORTS: Final = "import time; print('up', flush=True); time.sleep(600)"
ENDS: Final = "raise SystemExit(3)"
OTHERS: Final = (signal.SIGTERM, signal.SIGHUP)
"""What interrupts it beside SIGINT."""

Start = Callable[..., "subprocess.Popen[str]"]


@dataclass(frozen=True)
class Environment:
    """An environment in which launchers run one after the other; `worker` is their machines' program."""

    folder: Path
    server: FakeControlPlane
    launchers: ExitStack

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def worker(self, program: str) -> None:
        (self.folder / "worker" / "__main__.py").write_text(program)

    def begin(self, *flags: str, url: str | None = None) -> "subprocess.Popen[str]":
        argv = ("run", "--cp-url", url or self.server.url, *flags)
        variables = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "LAUNCHER_API_KEY": "ly_key",
            "LAUNCHER_DATACENTER": "Local:dev",
        }
        launcher = self.launchers.enter_context(
            Forked("launcher", (*argv, "--provider", "process", "--state-dir", str(self.state)), variables, self.folder)
        )
        self.launchers.callback(launcher.kill)
        return launcher

    def run(self, *flags: str, url: str | None = None) -> tuple[int, list[str]]:
        """Return the exit code, and the lines of standard output."""
        launcher = self.begin(*flags, url=url)
        output, _ = launcher.communicate(timeout=DEADLINE)
        return launcher.returncode, output.splitlines()

    def directory(self, order_id: str) -> VmDirectory:
        return directory.read(directory.location(self.state, order_id, 1))

    def machine(self, order_id: str) -> psutil.Process:
        recorded = self.directory(order_id).process()
        assert recorded is not None
        return psutil.Process(recorded.pid)

    def await_boot(self, order_id: str) -> None:
        """Wait until the machine's program runs: a launcher that is killed before that leaves no machine, and loses the
        order.
        """
        self.server.wait_for(lambda: named(self.server, order_id))
        deadline = time.monotonic() + DEADLINE
        while not self._has_printed(order_id):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def leave_booting(self) -> str:
        """Kill a one-shot whose machine boots, while another order waits; return the order of the machine."""
        self.worker(NEVER_REPORTS)
        order_id, _ = self.server.offer(TINY), self.server.offer(TINY)
        killed = self.begin("--one-shot")
        self.await_boot(order_id)
        killed.kill()
        killed.communicate(timeout=DEADLINE)
        return order_id

    def _has_printed(self, order_id: str) -> bool:
        try:
            return bool(self.directory(order_id).serial_log.read_bytes())
        except FileNotFoundError:
            return False

    def hold(self, order_id: str, state: State) -> HoldView:
        return HoldView(order_id=order_id, epoch=1, state=state)


@pytest.fixture
def environment(tmp_path: Path, server: FakeControlPlane) -> Iterator[Environment]:
    (tmp_path / "worker").mkdir()
    with ExitStack() as launchers:
        launchers.callback(leftovers.clear, tmp_path / "state")
        one = Environment(tmp_path, server, launchers)
        one.worker(REPORTS)
        yield one


def test_one_shot_without_an_order_exits_with_0_having_asked_once_for_capacity_that_it_will_not_attend(
    environment: Environment,
) -> None:
    environment.server.offer()  # a task

    assert environment.run("--one-shot") == (0, [])

    (claim,) = environment.server.bodies(CLAIMS)
    assert claim["lanes"] == [f"local:dev/capacity/{size}" for size in NodeSize]
    assert claim["attended"] is False


def test_one_shot_takes_one_order_and_leaves_its_machine_running_once_it_runs(environment: Environment) -> None:
    order_id, other = environment.server.offer(TINY), environment.server.offer(TINY)

    code, output = environment.run("--one-shot", "--node-size", "tiny")

    vm = environment.directory(order_id)
    assert code == 0
    assert output == [
        f"[launcher] claimed order={order_id} dc=local:dev size=tiny",
        f"[launcher] order={order_id} fulfilled vm={vm.manifest.vm}",
    ]
    assert is_running(environment.machine(order_id))
    assert vm.lease().never_expires
    assert environment.server.statuses(order_id) == ["provisioning"]
    assert not environment.server.statuses(other)
    assert {body["attended"] for body in environment.server.bodies(HEARTBEATS)} == {False}


@pytest.mark.parametrize("status", [401, 503])
def test_one_shot_that_cannot_claim_exits_with_1(environment: Environment, status: int) -> None:
    environment.server.refuse(CLAIMS, status)

    assert environment.run("--one-shot") == (1, [])


def test_without_a_control_plane_it_reports_that_and_exits_with_1(environment: Environment) -> None:
    launcher = environment.begin("--one-shot", url=f"http://{LOOPBACK}:{free_port()}")

    _, output = launcher.communicate(timeout=DEADLINE)

    assert launcher.returncode == 1
    assert output.splitlines()[-1].startswith("The control plane at http://127.0.0.1")


def test_one_shot_whose_machine_ends_before_it_runs_reports_that_and_exits_with_1(environment: Environment) -> None:
    environment.worker(ENDS)
    order_id = environment.server.offer(TINY)

    code, output = environment.run("--one-shot")

    assert (code, output) == (1, [f"[launcher] claimed order={order_id} dc=local:dev size=tiny"])
    assert environment.server.statuses(order_id) == ["provisioning", "machine_gone"]


def test_one_shot_whose_order_is_lost_while_it_boots_ends_the_machine_and_exits_with_1(
    environment: Environment,
) -> None:
    environment.worker(NEVER_REPORTS)
    order_id = environment.server.offer(TINY)
    launcher = environment.begin("--one-shot")
    environment.await_boot(order_id)

    environment.server.stops = [StopOrder(order_id=order_id, epoch=1, why="lease_lost")]
    launcher.communicate(timeout=DEADLINE)

    assert launcher.returncode == 1
    assert not list((environment.state / "vms").iterdir())


@pytest.mark.parametrize("flags", [("--one-shot",), ("--max-orders", "3")], ids=" ".join)
@pytest.mark.parametrize("number", [signal.SIGINT, *(pytest.param(one, marks=pytest.mark.slow) for one in OTHERS)])
def test_interrupted_while_a_machine_boots_it_hands_the_order_back_and_exits_with_130(
    environment: Environment, flags: tuple[str, ...], number: signal.Signals
) -> None:
    environment.worker(NEVER_REPORTS)
    order_id = environment.server.offer(TINY)
    launcher = environment.begin(*flags)
    environment.await_boot(order_id)

    launcher.send_signal(number)
    launcher.communicate(timeout=DEADLINE)

    assert launcher.returncode == 130
    assert environment.server.statuses(order_id) == ["provisioning", "returned"]
    assert not list((environment.state / "vms").iterdir())


def test_a_machine_that_a_killed_one_shot_left_booting_is_the_next_ones_only_order(environment: Environment) -> None:
    order_id = environment.leave_booting()
    machine = environment.machine(order_id)
    environment.server.holds = [environment.hold(order_id, State.PROVISIONING)]
    environment.server.states[order_id] = State.RUNNING

    code, output = environment.run("--one-shot")

    vm = environment.directory(order_id).manifest.vm
    assert (code, output) == (0, [f"[launcher] order={order_id} fulfilled vm={vm}"])
    assert len(environment.server.bodies(CLAIMS)) == 1
    assert is_running(machine)


def test_booting_orders_are_counted_before_any_heartbeat(environment: Environment) -> None:
    order_id = environment.leave_booting()
    environment.server.holds = [environment.hold(order_id, State.PROVISIONING)]
    known, beats = len(environment.server.bodies(HOLDS)), len(environment.server.bodies(HEARTBEATS))

    def before(path: str) -> None:
        """Hold back the intake's look at what is held until the launcher has learnt that the order runs."""
        if (
            path == HEARTBEATS and len(environment.server.bodies(HEARTBEATS)) > beats + 1
        ):  # the first is the adoption's own
            environment.server.states[order_id] = State.RUNNING
        if path == HOLDS and len(environment.server.bodies(HOLDS)) > known + ADOPTION_READS:
            environment.server.wait_for(lambda: len(environment.server.bodies(HEARTBEATS)) > beats + 3)

    environment.server.before = before

    code, _ = environment.run("--one-shot")

    assert code == 0
    assert environment.server.states == {order_id: State.RUNNING}
    assert len(environment.server.bodies(CLAIMS)) == 1


def test_machines_that_run_are_left_alone_by_the_next_one_shot_although_their_lease_was_not_renewed(
    environment: Environment,
) -> None:
    first = environment.server.offer(TINY)
    environment.run("--one-shot")
    machine = environment.machine(first)
    environment.server.holds = [environment.hold(first, State.RUNNING)]
    environment.directory(first).record_lease(VmLease(ends=0, seconds=60))  # as where it was killed before it was told
    second = environment.server.offer(TINY)

    code, output = environment.run("--one-shot")

    assert code == 0
    assert [line.split()[1] for line in output] == ["claimed", f"order={second}"]
    assert is_running(machine)
    assert is_running(environment.machine(second))
    assert environment.server.statuses(first) == ["provisioning"]


def test_a_machine_whose_order_has_ended_meanwhile_is_ended_by_the_next_one_shot(environment: Environment) -> None:
    first = environment.server.offer(TINY)
    environment.run("--one-shot")
    machine = environment.machine(first)
    environment.server.stops = [StopOrder(order_id=first, epoch=1, why="finished")]

    assert environment.run("--one-shot") == (0, [])

    assert not is_running(machine)
    assert not list((environment.state / "vms").iterdir())
    assert environment.server.statuses(first) == ["provisioning"]


def test_so_many_orders_are_taken_failed_ones_counted_and_then_it_exits_with_0(environment: Environment) -> None:
    environment.worker(ENDS)
    order_ids = [environment.server.offer(TINY) for _ in range(3)]

    code, output = environment.run("--max-orders", "2")

    assert code == 0
    assert output == [f"[launcher] claimed order={order_id} dc=local:dev size=tiny" for order_id in order_ids[:2]]
    assert not environment.server.statuses(order_ids[2])


def test_with_a_limit_it_waits_for_orders_and_goes_once_all_it_took_run(environment: Environment) -> None:
    launcher = environment.begin("--max-orders", "2")
    environment.server.wait_for(lambda: bool(environment.server.bodies(CLAIMS)))
    order_ids = [environment.server.offer(TINY), environment.server.offer(TINY)]

    output, _ = launcher.communicate(timeout=DEADLINE)

    assert launcher.returncode == 0
    assert sum("fulfilled" in line for line in output.splitlines()) == 2
    assert all(is_running(environment.machine(order_id)) for order_id in order_ids)


def test_a_daemon_takes_over_the_watch_of_machines_that_were_left_to_themselves(environment: Environment) -> None:
    order_id = environment.server.offer(TINY)
    environment.run("--one-shot")
    beats = len(environment.server.bodies(HEARTBEATS))

    daemon = environment.begin()
    environment.server.wait_for(lambda: named(environment.server, order_id, beats))
    environment.server.wait_for(lambda: bool(environment.server.bodies(CLAIMS)[1:]))
    daemon.send_signal(signal.SIGINT)
    await_logged(daemon, LogEvent.SHUTDOWN_STARTED)  # of two at once, either may come first
    daemon.send_signal(signal.SIGTERM)
    daemon.communicate(timeout=DEADLINE)

    assert daemon.returncode == 130
    assert environment.server.bodies(HEARTBEATS)[beats]["attended"] is True
    assert environment.server.bodies(CLAIMS)[-1]["attended"] is True
    assert environment.server.statuses(order_id) == ["provisioning", "returned"]
    assert not list((environment.state / "vms").iterdir())


@pytest.mark.parametrize("flags", [(), ("--max-orders", "2")], ids=["daemon", "limited"])
def test_a_machine_that_a_killed_one_shot_left_booting_is_adopted_after_its_leases_end(
    environment: Environment, flags: tuple[str, ...]
) -> None:
    order_id = environment.server.offer(TINY)
    environment.run("--one-shot")
    machine = environment.machine(order_id)
    environment.server.holds = [environment.hold(order_id, State.RUNNING)]
    environment.directory(order_id).record_lease(VmLease(ends=0, seconds=60))
    beats, claims = len(environment.server.bodies(HEARTBEATS)), len(environment.server.bodies(CLAIMS))

    launcher = environment.begin(*flags)
    environment.server.wait_for(lambda: named(environment.server, order_id, beats))
    environment.server.wait_for(lambda: len(environment.server.bodies(CLAIMS)) > claims)

    assert is_running(machine)
    assert environment.directory(order_id).lease().ends > 0
    assert environment.server.statuses(order_id) == ["provisioning"]
    launcher.kill()


@pytest.mark.parametrize("refused", [HOLDS, HEARTBEATS])
def test_a_one_shot_that_cannot_renew_leases_touches_nothing_and_exits_with_1(
    environment: Environment, refused: str
) -> None:
    order_id = environment.server.offer(TINY)
    environment.run("--one-shot")
    machine = environment.machine(order_id)
    environment.server.holds = [environment.hold(order_id, State.RUNNING)]
    environment.directory(order_id).record_lease(VmLease(ends=0, seconds=60))
    environment.server.refuse(refused, 503)

    assert environment.run("--one-shot") == (1, [])

    assert is_running(machine)
    assert environment.directory(order_id).lease().ends == 0


def test_a_one_shot_whose_output_is_not_read_does_its_work_and_exits(environment: Environment) -> None:
    order_id = environment.server.offer(TINY)
    launcher = environment.begin("--one-shot")
    assert launcher.stdout is not None
    launcher.stdout.close()

    assert launcher.wait(DEADLINE) == 0

    assert is_running(environment.machine(order_id))


def named(server: FakeControlPlane, order_id: str, since: int = 0) -> bool:
    """Return whether a heartbeat since then named the order, and its machine has been told of."""
    actual = bool(server.bodies(f"{UPDATES}/{order_id}")) or bool(server.bodies(f"{CALLBACKS}/{order_id}"))
    beats = server.bodies(HEARTBEATS)[since:]
    return actual and any(hold["order_id"] == order_id for body in beats for hold in body["holds"])
