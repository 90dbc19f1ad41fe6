"""A launcher in pieces, around a fake control plane; whatever it started is gone when the test ends."""

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from launcher.host.clock import SYSTEM, Clock
from launcher.machines.port import Provider
from launcher.machines.records import VmLease
from launcher.machines.resources import Resources
from launcher.orders.admission import Admission, Reservation
from launcher.orders.assignment import Held
from launcher.orders.assignments import Runs
from launcher.orders.attempt import Runner
from launcher.orders.claims import Claims
from launcher.orders.lanes import Lanes, served
from launcher.orders.outage import Outage
from launcher.orders.reports import Reports
from launcher.providers.registry import Providers
from shared.client import ControlPlane
from shared.guest.config import Sources
from shared.wire.launchers import Claimed, Hold
from tests.launcher.fake_control_plane import DEADLINE, FakeControlPlane, a_control_plane
from tests.launcher.stand_ins import TASKS, Processes


@dataclass(frozen=True)
class Pieces:
    """Two slots, and the lanes of `local:dev`."""

    server: FakeControlPlane
    client: ControlPlane
    claims: Claims
    provider: Processes
    runner: Runner
    admission: Admission
    runs: Runs
    outage: Outage
    state: Path

    def held(self) -> Held:
        """Return an order that was claimed, and that no thread runs yet."""
        return a_held(self.server.a_claimed())

    def run(self, held: Held, provider: Provider | None = None) -> None:
        """Run an order that is held, on this thread."""
        providers = Providers({}, provider or self.provider)
        runner = dataclasses.replace(self.runner, providers=providers)
        runner.run(held, self.server.a_claimed().model_copy(update=held.hold.model_dump()))
        held.close()

    def begin(self) -> Held:
        """Start the run of an order, and return it once its machine was started."""
        claimed = self.server.a_claimed()
        self.runs.begin(claimed, self.reserve(), SYSTEM.monotonic())
        self.provider.process(claimed.order_id)
        return next(held for held in self.runs.held() if held.hold.order_id == claimed.order_id)

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


def a_held(claimed: Claimed, clock: Clock = SYSTEM) -> Held:
    hold = Hold(order_id=claimed.order_id, epoch=claimed.epoch)
    lease = VmLease(ends=clock.monotonic() + claimed.lease_seconds, seconds=claimed.lease_seconds)
    return Held(hold, lease, clock.monotonic)


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
def pieces(server: FakeControlPlane, tmp_path: Path) -> Iterator[Pieces]:
    with ControlPlane(server.url, "ly_key") as client:
        provider, outage, admission = Processes(), Outage(SYSTEM.monotonic), room_for(tmp_path, 2)
        reports = Reports(client, SYSTEM)
        providers = Providers({"local": provider}, provider)
        runner = Runner("alpha", server.url, Sources(), tmp_path, providers, reports, admission.rest)
        runs = Runs(runner.run, admission, SYSTEM)
        claims = Claims(client, "alpha", Lanes(served(providers, "local:dev")))
        yield Pieces(server, client, claims, provider, runner, admission, runs, outage, tmp_path)
        admission.close()
        runs.close()
        runs.hurry()
        runs.await_end()
