"""One control plane and one launcher on a project of their own, with a client, a scheduler that asks for sweeps, an
operator, and, where a scenario has any, workers of the capacity contract."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from emulators.fakes.tdx_quote import TdxQuote
from emulators.processes import LOOPBACK, free_port
from functions.adapters.firestore import FirestoreOrderStore
from launcher.orders import leftovers
from shared.crash_points import Point
from shared.domain.order import State
from tests.crash.client import Client
from tests.crash.ground import Ground
from tests.crash.lives import Lives, Program
from tests.crash.machines import Machines
from tests.crash.waiting import await_value

LEASE_SECONDS: Final = 6.0
SWEEP_SECONDS: Final = 0.5
GENUINE: Final = TdxQuote(b"\xaa" * 48)
"""The quote of a machine that is trusted."""
FUNCTIONS: Final = {
    "LAUNCHYARD_LEASE_SECONDS": f"{LEASE_SECONDS:g}",
    "CAPACITY_ORDER_CLAIM_TTL_SECONDS": "1",  # which is never under 30
    "LAUNCHYARD_TRUSTED_MRTDS": json.dumps([{"mrtd": GENUINE.mrtd.hex(), "type": "agent"}]),
}
LAUNCHER: Final = {
    "LAUNCHYARD_LAUNCHER_NAME": "alpha",
    "LAUNCHYARD_PROVIDER": "process",
    "LAUNCHYARD_HEARTBEAT_SECONDS": "1",
    "LAUNCHYARD_SLOTS": "4",
}


@dataclass(frozen=True, slots=True)
class Ending:
    """How an order is to end: None where it is to be gone. `output` is what it leaves, None where that is nothing."""

    state: State | None
    output: bytes | None = None


@dataclass
class Stage:
    """`endings` says how each order is to end; `last` is the one that was placed last."""

    functions: Lives
    launcher: Lives
    client: Client
    scheduler: Client
    operator: Client
    store: FirestoreOrderStore
    state: Path
    """The launcher's state directory."""
    machines: Machines
    endings: dict[str, Ending] = field(default_factory=dict)
    last: str = ""
    strange: list[str] = field(default_factory=list)
    """Names of directories that the launcher is to put aside, and nothing else."""
    elsewhere: list[str] = field(default_factory=list)
    """Names of the machines that workers of the capacity contract run: no processes of ours."""
    workers: list[Client] = field(default_factory=list)
    sweeps: int = 0

    @classmethod
    @contextmanager
    def prepared(
        cls, point: Point, ground: Ground, home: Path, earlier: Sequence[Point | None], polling: bool
    ) -> Iterator[Self]:
        """Yield a stage on which nothing runs yet. `earlier` and `polling` are as in `scenarios.Scenario`."""
        of_launcher = point.name.startswith("LAUNCHER_")
        port, state = free_port(), home / "launcher"
        url = f"http://{LOOPBACK}:{port}"
        with ground.project() as project:
            told = {**project.environment, "LAUNCHYARD_URL": url, "LAUNCHYARD_STATE_DIR": str(state)}
            functions = Program(
                ("tests.crash.functions", "--port", f"{port}"), told | FUNCTIONS, home / "functions.log"
            )
            own = LAUNCHER | ({"LAUNCHYARD_SUBSCRIPTION": ""} if polling else {})
            launcher = Program(("tests.crash.launcher",), told | own, home / "launcher.log")
            stage = cls(
                functions=Lives(functions, () if of_launcher else (point,)),
                launcher=Lives(launcher, (*earlier, point) if of_launcher else ()),
                client=Client(url, told["LAUNCHYARD_CLIENT_KEY"]),
                scheduler=Client(url, told["LAUNCHYARD_ADMIN_KEY"]),
                operator=Client(url, told["LAUNCHYARD_ADMIN_KEY"]),
                store=project.store,
                state=state,
                machines=Machines(state),
            )
            try:
                yield stage
            finally:
                stage.client.close()
                stage.scheduler.close()
                stage.operator.close()
                for worker in stage.workers:
                    worker.close()

    @contextmanager
    def playing(self) -> Iterator[None]:
        """Have everything run until the end of the context."""
        over = threading.Event()
        sweeping = threading.Thread(target=self._sweep, args=(over,))
        self.functions.begin()
        self.launcher.begin()
        sweeping.start()
        try:
            yield
        finally:
            self.launcher.end()
            over.set()
            sweeping.join()
            self.functions.end()
            leftovers.clear(self.state)

    @property
    def victim(self) -> Lives:
        """Whichever is to die."""
        return self.functions if self.functions.armed else self.launcher

    def expect(self, order_id: str, ending: Ending) -> None:
        self.last = order_id
        self.endings[order_id] = ending

    def worker(self, key: str) -> Client:
        """Return a client for a worker of the capacity contract, which has this key."""
        self.workers.append(Client(self.client.url, key))
        return self.workers[-1]

    def await_death(self) -> None:
        await_value(lambda: self.victim.died.is_set() or None, "a death at the point")

    def await_state(self, state: State) -> None:
        """Wait until the last order is in this state."""
        await_value(lambda: self.client.read(self.last).state is state or None, f"the state {state}")

    def await_sweeps(self, count: int) -> None:
        wanted = self.sweeps + count
        await_value(lambda: self.sweeps >= wanted or None, f"{count} sweeps")

    def _sweep(self, over: threading.Event) -> None:
        while not over.wait(SWEEP_SECONDS):
            self.machines.look()
            self.sweeps += self.scheduler.sweep()
