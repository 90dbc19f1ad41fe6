"""A launcher in pieces, around a fake control plane; whatever it started is gone when the test ends."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from launcher.claims import Claims
from launcher.clock import SYSTEM
from launcher.held import Held
from launcher.lanes import served
from launcher.outage import Outage
from launcher.reports import Reports
from launcher.run import Runner
from launcher.runs import Runs
from launcher.slots import Slots
from shared.control_plane import ControlPlane
from shared.vm_config import Sources
from tests.launcher.fake_control_plane import FakeControlPlane, a_control_plane
from tests.launcher.stand_ins import Processes


@dataclass(frozen=True)
class Pieces:
    """Two slots, and the lanes of `local:dev`."""

    server: FakeControlPlane
    client: ControlPlane
    claims: Claims
    provider: Processes
    runner: Runner
    slots: Slots
    runs: Runs
    outage: Outage
    state: Path

    def held(self) -> Held:
        """Return an order that was claimed, and that no thread runs yet."""
        return Held(self.server.a_claimed(), SYSTEM.monotonic(), SYSTEM.monotonic)

    def begin(self) -> Held:
        """Start the run of an order, and return it once its machine was started."""
        claimed = self.server.a_claimed()
        slot = self.slots.reserve()
        assert slot is not None
        self.runs.begin(claimed, slot, SYSTEM.monotonic())
        self.provider.process(claimed.order_id)
        return next(held for held in self.runs.held() if held.claimed == claimed)


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
        provider, outage, slots = Processes(), Outage(SYSTEM.monotonic), Slots(2)
        reports = Reports(client, outage, SYSTEM)
        runner = Runner("alpha", server.url, Sources(), tmp_path, provider, reports)
        runs = Runs(runner.run, slots, SYSTEM)
        claims = Claims(client, "alpha", served("local:dev"))
        yield Pieces(server, client, claims, provider, runner, slots, runs, outage, tmp_path)
        slots.close()
        runs.close()
        runs.hurry()
        runs.await_end()
