"""The local stack for tests that kill, freeze and restart its launcher."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from emulators import stack
from emulators.parts import READY, python
from emulators.processes import Server, await_ready, start
from emulators.record import LOGS, Record
from emulators.settings import Backend, ProviderChoice, StackSettings, free_ports
from launcher.machines.directory import PROCESS
from launcher.machines.records import VmProcess
from launcher.orders import leftovers
from shared.client import ControlPlane
from shared.domain.order import State
from shared.wire.orders import OrderView

SECONDS: Final = 300.0
"""How long anything may take before a test fails."""
LOOK_SECONDS: Final = 0.05


@dataclass(frozen=True)
class Stack:
    home: Path
    api: ControlPlane

    @property
    def launcher(self) -> Server:
        """The launcher that was started last."""
        return [server for server in Record(self.home).read() if server.name == "the launcher"][-1]

    @property
    def state(self) -> Path:
        return self.home / "launcher"

    def start_launcher(self, like: dict[str, str], **changes: str) -> Server:
        """Start a launcher with another's environment, but for some settings, and wait until it says that it runs."""
        log = self.home / LOGS / "launcher.log"
        earlier = log.stat().st_size
        server = start("the launcher", [*python("launcher"), "run"], log, like | changes)
        await_ready(server, lambda: READY in log.read_bytes()[earlier:])
        return server

    def await_no_machine(self) -> list[Path]:
        """Wait until no machine's directory is left; return the logs that were kept."""
        deadline = time.monotonic() + SECONDS
        while list(self.state.glob("vms/*")):
            assert time.monotonic() < deadline, "a machine's directory is still there"
            time.sleep(LOOK_SECONDS)
        return list(self.state.glob("logs/*.log"))

    def await_order(self, order_id: str, reached: Callable[[OrderView], bool]) -> OrderView:
        deadline = time.monotonic() + SECONDS
        while not reached(order := self.api.get_order(order_id)):
            assert time.monotonic() < deadline, order
            time.sleep(LOOK_SECONDS)
        return order


@contextmanager
def stack_of(folder: Path, provider: ProviderChoice, backend: Backend, images: Path) -> Iterator[Stack]:
    """A stack in a folder and on ports of its own; whatever is left of it is taken down."""
    chosen = {"home": folder, "images": images, "backend": backend, "provider": provider}
    settings = StackSettings.model_validate(chosen | free_ports())
    try:
        environment = stack.up(settings, lambda _: None)
        with ControlPlane(environment["LAUNCHYARD_URL"], environment["LAUNCHYARD_CLIENT_KEY"]) as api:
            yield Stack(folder, api)
    finally:
        stack.down(folder)
        for other in folder.glob("*/vms"):
            leftovers.clear(other.parent)


def in_state(*states: State) -> Callable[[OrderView], bool]:
    return lambda order: order.state in states


def machine(state: Path) -> psutil.Process | None:
    """The process of the one machine that a launcher with this state directory has; None where it has none."""
    recorded = list(state.glob(f"vms/*/{PROCESS}"))
    if not recorded:
        return None
    try:
        return psutil.Process(VmProcess.model_validate_json(recorded[0].read_bytes()).pid)
    except (psutil.NoSuchProcess, FileNotFoundError):
        return None


def await_machine(state: Path) -> psutil.Process:
    deadline = time.monotonic() + SECONDS
    while (found := machine(state)) is None:
        assert time.monotonic() < deadline, "no machine was started"
        time.sleep(LOOK_SECONDS)
    return found


def lives(process: psutil.Process) -> bool:
    """One that nobody has reaped yet has ended."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def await_end(process: psutil.Process) -> None:
    deadline = time.monotonic() + SECONDS
    while lives(process):
        assert time.monotonic() < deadline, "it still runs"
        time.sleep(LOOK_SECONDS)
