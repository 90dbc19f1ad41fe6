"""A launcher in the test's own process, around a fake control plane. Whatever it started is ended with the test."""

import dataclasses
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from launcher.host.clock import SYSTEM, Clock
from launcher.machines.port import Provider
from launcher.machines.records import VmLease
from launcher.machines.resources import Resources
from launcher.orders import leftovers
from launcher.orders.admission import Admission, Reservation
from launcher.orders.assignment import Assignment
from launcher.orders.assignments import Assignments, Shutdown
from launcher.orders.attempt import AttemptRunner
from launcher.orders.claims import OrderClaimer
from launcher.orders.lanes import Lanes, served
from launcher.orders.outage import Outage
from launcher.orders.reports import ReportSender
from launcher.providers.registry import Providers
from shared.client import ControlPlane
from shared.guest.config import Sources
from shared.wire.launchers import Claimed, Hold
from tests.launcher.daemons import WORKER, Start, a_daemon
from tests.launcher.fake_control_plane import DEADLINE, FakeControlPlane, a_control_plane
from tests.launcher.stand_ins import TASKS, Processes


@dataclass(frozen=True)
class InProcessLauncher:
    """Two slots, and the lanes of `local:dev`."""

    server: FakeControlPlane
    client: ControlPlane
    claims: OrderClaimer
    provider: Processes
    runner: AttemptRunner
    admission: Admission
    assignments: Assignments
    outage: Outage
    state: Path

    def assignment(self) -> Assignment:
        """Return an order that was claimed, and that no thread runs yet."""
        return an_assignment(self.server.a_claimed())

    def run(self, assignment: Assignment, provider: Provider | None = None) -> None:
        """Run an order that is held, on this thread."""
        providers = Providers({}, provider or self.provider)
        runner = dataclasses.replace(self.runner, providers=providers)
        runner.run(assignment, self.server.a_claimed().model_copy(update=assignment.hold.model_dump()))
        assignment.close()

    def begin(self) -> Assignment:
        """Start the run of an order, and return it once its machine was started."""
        claimed = self.server.a_claimed()
        self.assignments.begin(claimed, self.reserve(), SYSTEM.monotonic())
        self.provider.process(claimed.order_id)
        return next(
            assignment for assignment in self.assignments.held() if assignment.hold.order_id == claimed.order_id
        )

    def reserve(self) -> Reservation:
        room = self.admission.reserve(TASKS)
        assert room is not None
        return room

    def room(self) -> int:
        return self.admission.room(TASKS)

    def await_room(self, machines: int) -> None:
        """Wait until there is room for this many: a run frees its own as the last thing it does."""
        deadline = time.monotonic() + DEADLINE
        while self.room() != machines:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def an_assignment(claimed: Claimed, clock: Clock = SYSTEM) -> Assignment:
    hold = Hold(order_id=claimed.order_id, epoch=claimed.epoch)
    lease = VmLease(ends=clock.monotonic() + claimed.lease_seconds, seconds=claimed.lease_seconds)
    return Assignment(hold, lease, clock.monotonic)


def room_for(state: Path, machines: int) -> Admission:
    """An admission that counts machines, and nothing else."""
    return Admission(state, Resources(machines=machines), lambda: 0, SYSTEM.monotonic)


@pytest.fixture(autouse=True)
def quiet_log() -> Iterator[None]:
    """Keep the threads of a launcher off pytest's own standard output, which changes under them."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.reset_defaults()


@pytest.fixture
def server() -> Iterator[FakeControlPlane]:
    with a_control_plane() as fake:
        yield fake


@pytest.fixture
def launcher(server: FakeControlPlane, tmp_path: Path) -> Iterator[InProcessLauncher]:
    with ControlPlane(server.url, "ly_key") as client:
        provider, outage, admission = Processes(), Outage(SYSTEM.monotonic), room_for(tmp_path, 2)
        reports = ReportSender(client, SYSTEM)
        providers = Providers({"local": provider}, provider)
        runner = AttemptRunner("alpha", server.url, Sources(), tmp_path, providers, reports, admission.rest)
        assignments = Assignments(runner.run, admission, SYSTEM)
        claims = OrderClaimer(client, "alpha", Lanes(served(providers, "local:dev")))
        yield InProcessLauncher(server, client, claims, provider, runner, admission, assignments, outage, tmp_path)
        admission.close()
        assignments.shutdown(Shutdown.RETURN)
        assignments.shutdown(Shutdown.HURRY)
        assignments.await_end()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start daemons in a folder where `worker` is the stand-in above."""
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker" / "__main__.py").write_text(WORKER)
    with ExitStack() as daemons:
        daemons.callback(leftovers.clear, tmp_path / "state")
        yield lambda url, log=subprocess.PIPE, **settings: daemons.enter_context(a_daemon(tmp_path, url, settings, log))
