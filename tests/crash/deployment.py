"""One control plane and one launcher in a project of their own, which die at the points of a scenario."""

import json
import math
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from emulators.fakes.fly.server import start_fly
from emulators.fakes.tdx_quote import TdxQuote
from emulators.ports import free_port
from emulators.processes import LOOPBACK, Server, stop, unproxied
from functions.adapters.firestore import FirestoreOrderStore
from launcher.orders import leftovers
from shared.client import ControlPlane
from shared.client_errors import Unreachable
from shared.crash_points import Point
from shared.domain.order import State
from shared.wire.operators import SweepRequest
from tests.fly import APP, TOKEN, Fake
from tests.harness.clients import Client
from tests.harness.forked import await_end, fork_server
from tests.harness.machines import MARK, scan
from tests.harness.processes import KILLED, SupervisedServer
from tests.harness.projects import Projects
from tests.harness.waiting import await_value

LEASE_SECONDS: Final = 20.0
"""Much longer than a server takes to start again: a lapsed lease uses up one of three attempts."""
POLL_SECONDS: Final = 0.5
SWEEP_SECONDS: Final = 1.0
SELDOM_SECONDS: Final = 5.0
"""The time between two sweeps while a scenario only waits for its leases to last."""
STALE_SECONDS: Final = 20.0
"""The time after which a silent launcher of agents' jobs is lost: much longer than a restart takes, too."""
TRUSTED: Final = TdxQuote(b"\xaa" * 48)
"""The quote of a machine that the control plane trusts."""
FUNCTIONS: Final = {
    "LAUNCHYARD_LEASE_SECONDS": f"{LEASE_SECONDS:g}",
    "LAUNCHYARD_EXPORT_IMAGE": "registry.example/exports:1",  # which the launcher does not run; a step does
    "LAUNCHER_POLL_TIMEOUT": "1",
    "LAUNCHYARD_STALE_SECONDS": f"{STALE_SECONDS:g}",
    "CAPACITY_ORDER_CLAIM_TTL_SECONDS": "1",  # the control plane makes that 30, its minimum
    "LAUNCHYARD_TRUSTED_MRTDS": json.dumps([{"mrtd": TRUSTED.mrtd.hex(), "type": "agent"}]),
}
LAUNCHER: Final = {
    "LAUNCHYARD_LAUNCHER_NAME": "alpha",
    "LAUNCHYARD_PROVIDER": "process",
    "LAUNCHYARD_HEARTBEAT_SECONDS": "2",
    "LAUNCHYARD_SLOTS": "4",
}

Deaths = Sequence[Point | None]
"""Where a server's first processes die, in turn. None: a step kills that one."""


class CrashingServer(SupervisedServer):
    """The first processes die at the points in `deaths`, one after the other; the next one must continue."""

    def __init__(
        self, module: str, options: Sequence[str], variables: dict[str, str], log: Path, deaths: Deaths
    ) -> None:
        points = iter(deaths)

        def launch() -> Server:
            point = next(points, None)
            armed = ["--point", point.name] if point else []
            environment = {**os.environ, **unproxied(os.environ), **variables}
            self._process, ticks = fork_server(module, [*options, *armed], log, environment, log.parent)
            assert self._process.pid is not None
            return Server(module, self._process.pid, ticks, log)

        super().__init__(module, launch)
        self.planned = deaths

    @property
    def died_as_planned(self) -> bool:
        return self.deaths == [KILLED] * len(self.planned)

    @property
    def has_died(self) -> bool:
        """Return whether every planned death has happened."""
        return len(self.deaths) >= len(self.planned)

    def has_died_at(self, point: Point) -> bool:
        return point in self.planned[: len(self.deaths)]

    def _await_end(self, server: Server) -> int | None:
        return await_end(self._process)


@dataclass(frozen=True, slots=True)
class Ending:
    """The expected end of an order. `state` is None if it must be removed; `output` is None if it must have none."""

    state: State | None
    output: bytes | None = None


@dataclass
class Deployment:
    """`endings` says how each order is to end; `last` is the id of the order that was placed last."""

    functions: CrashingServer
    launcher: CrashingServer
    client: Client
    operator: Client
    projects: Projects
    store: FirestoreOrderStore
    state: Path
    """The launcher's state directory."""
    cleanup: ExitStack
    fly: Fake | None = None
    endings: dict[str, Ending] = field(default_factory=dict)
    last: str = ""
    unreadable: list[str] = field(default_factory=list)
    """Names of the directories that the launcher is to quarantine."""
    elsewhere: list[str] = field(default_factory=list)
    """Names of the machines that workers of the capacity contract run: no processes on this host."""
    sweeps: int = 0
    sweep_seconds: float = SWEEP_SECONDS
    _names: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run both servers, and sweep, until the end of the context."""
        over = threading.Event()
        sweeping = threading.Thread(target=self._sweep, args=(over,))
        self.functions.keep_running()
        self.launcher.keep_running()
        sweeping.start()
        try:
            yield
        finally:
            self.launcher.stop()
            over.set()
            sweeping.join()
            self.functions.stop()
            leftovers.clear(self.state)

    def expect(self, order_id: str, ending: Ending) -> None:
        self.last = order_id
        self.endings[order_id] = ending

    def client_of(self, key: str) -> Client:
        """Return a client with this key."""
        return self.cleanup.enter_context(Client(self.client.url, key))

    def await_state(self, state: State) -> None:
        """Wait until the last order is in this state."""
        await_value(lambda: self.client.read(self.last).state is state, f"the state {state}")

    def await_death(self, point: Point) -> None:
        servers = (self.functions, self.launcher)
        await_value(lambda: any(server.has_died_at(point) for server in servers), f"a death at {point.name}")

    def await_deaths(self) -> None:
        """Wait until every planned death has happened."""
        servers = (self.functions, self.launcher)
        await_value(lambda: all(server.has_died for server in servers), "the last planned death")

    def await_sweeps(self, count: int) -> None:
        enough = self.sweeps + count
        await_value(lambda: self.sweeps >= enough, f"{count} sweeps")

    def let_pass(self, seconds: float) -> None:
        """Wait for so long, at least, while sweeps are seldom."""
        self.sweep_seconds = SELDOM_SECONDS
        try:
            self.await_sweeps(math.ceil(seconds / SELDOM_SECONDS) + 1)
        finally:
            self.sweep_seconds = SWEEP_SECONDS

    def machines(self) -> list[str]:
        """Return `<order>-<epoch>` for each machine, and `<order>-<epoch> (left)` for what runs on without its machine.

        The latter is known only if an earlier look saw the machine: so a thread looks again and again.
        """
        found = list(scan(self.state, MARK))
        machines = [(one.uuid, one.path.split("/")[1]) for one in found if one.path and one.path.startswith("vms/")]
        self._names |= {uuid: name for uuid, name in machines if uuid}
        names = [name for _, name in machines]
        left = {self._names[one.uuid] for one in found if one.path is None and one.uuid in self._names} - set(names)
        return sorted([*names, *(f"{name} (left)" for name in left)])

    def _sweep(self, over: threading.Event) -> None:
        last = -math.inf
        while not over.wait(POLL_SECONDS):
            self.machines()
            if time.monotonic() >= last + self.sweep_seconds:
                last = time.monotonic()
                self.sweeps += _is_answered(self.operator.api)


def _is_answered(api: ControlPlane) -> bool:
    try:
        api.sweep(SweepRequest())
    except Unreachable:
        return False
    return True


@contextmanager
def deployed(
    projects: Projects, home: Path, functions: Deaths, launcher: Deaths, polling: bool, fly: bool
) -> Iterator[Deployment]:
    """Yield a deployment that does not run yet. `functions` and `launcher` list the points at which each dies. If
    `polling`, the launcher pulls no bells, and claims the next order. If `fly`, its machines are those of a local Fly.
    """
    port, state = free_port(), home / "launcher"
    url = f"http://{LOOPBACK}:{port}"
    with projects.create() as project, ExitStack() as cleanup:
        shared = {**project.variables, "LAUNCHYARD_URL": url, "LAUNCHYARD_STATE_DIR": str(state)}
        own = LAUNCHER | ({"LAUNCHYARD_SUBSCRIPTION": ""} if polling else {})
        if fly:
            own |= cleanup.enter_context(_a_fly(home))
        yield Deployment(
            CrashingServer(
                "tests.harness.functions",
                ["--port", f"{port}", "--small-parts"],
                shared | FUNCTIONS,
                home / "functions.log",
                functions,
            ),
            CrashingServer("tests.crash.launcher", [], shared | own, home / "launcher.log", launcher),
            cleanup.enter_context(Client(url, shared["LAUNCHYARD_CLIENT_KEY"])),
            cleanup.enter_context(Client(url, shared["LAUNCHYARD_ADMIN_KEY"])),
            projects,
            project.store,
            state,
            cleanup,
            Fake(own["LAUNCHYARD_FLY_ENDPOINT"], own["LAUNCHYARD_FLY_API_TOKEN"]) if fly else None,
        )


@contextmanager
def _a_fly(home: Path) -> Iterator[dict[str, str]]:
    """Run a local Fly; yield the settings of a launcher that makes its machines there."""
    port = free_port()
    of_fly = {"LAUNCHYARD_FLY_APP": APP, "LAUNCHYARD_FLY_API_TOKEN": TOKEN}
    server = start_fly(port, home / "fly", of_fly, {})
    try:
        yield {
            **of_fly,
            "LAUNCHYARD_PROVIDERS": "fly",
            "LAUNCHYARD_DATACENTER": "",
            "LAUNCHYARD_FLY_ENDPOINT": f"http://{LOOPBACK}:{port}",
        }
    finally:
        stop(server)
