"""The local stack for tests that kill, freeze and restart its launcher."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from emulators import stack
from emulators.processes import Server
from emulators.record import LOGS, Record
from emulators.services import start_launcher
from emulators.settings import BackendChoice, ProviderChoice, StackSettings, free_ports
from launcher.machines.directory import PROCESS
from launcher.machines.records import VmProcess
from launcher.orders import leftovers
from shared.client import ControlPlane
from shared.domain.order import State
from shared.wire.orders import OrderView
from tests.harness.forked import environment_of
from tests.harness.waiting import await_value


@dataclass(frozen=True)
class Stack:
    home: Path
    api: ControlPlane

    @property
    def launcher(self) -> Server:
        """The launcher that was started last."""
        return [server for server in Record(self.home).read() if server.name == "the launcher"][-1]

    @property
    def environment(self) -> dict[str, str]:
        """The variables of the launcher that was started last."""
        return environment_of(self.launcher.pid)

    @property
    def state(self) -> Path:
        return self.home / "launcher"

    def start_launcher(self, like: dict[str, str], **changes: str) -> Server:
        """Start a launcher with another's environment, except for some settings, and wait until it is ready."""
        return start_launcher(self.home / LOGS, like | changes)

    def await_no_machine(self) -> list[Path]:
        """Wait until no machine's directory is left; return the logs that were kept."""
        await_value(lambda: not list(self.state.glob("vms/*")), "the removal of every machine's directory")
        return list(self.state.glob("logs/*.log"))

    def await_order(self, order_id: str, reached: Callable[[OrderView], bool]) -> OrderView:
        return await_order(self.api, order_id, reached)


@contextmanager
def stack_of(
    folder: Path, provider: ProviderChoice, backend: BackendChoice, images: Path, **more: object
) -> Iterator[Stack]:
    """Run a stack in its own folder and on its own ports; stop what is left of it afterwards. `more` are settings."""
    chosen = {"home": folder, "images": images, "backend": backend, "provider": provider, **more}
    settings = StackSettings.model_validate(free_ports() | chosen)
    try:
        environment = stack.up(settings, lambda _: None)
        with ControlPlane(environment["LAUNCHYARD_URL"], environment["LAUNCHYARD_CLIENT_KEY"]) as api:
            yield Stack(folder, api)
    finally:
        stack.down(folder)
        for other in folder.glob("*/vms"):
            leftovers.clear(other.parent)


def await_order(api: ControlPlane, order_id: str, reached: Callable[[OrderView], bool]) -> OrderView:
    """Wait until the order has reached the expected state, and return it."""

    def read() -> OrderView | None:
        order = api.get_order(order_id)
        return order if reached(order) else None

    return await_value(read, f"a change of order {order_id}")


def in_state(*states: State) -> Callable[[OrderView], bool]:
    return lambda order: order.state in states


def machine(state: Path) -> psutil.Process | None:
    """Return the process of the one machine that a launcher with this state directory has; None if it has none."""
    recorded = list(state.glob(f"vms/*/{PROCESS}"))
    if not recorded:
        return None
    try:
        return psutil.Process(VmProcess.model_validate_json(recorded[0].read_bytes()).pid)
    except (psutil.NoSuchProcess, FileNotFoundError):
        return None


def await_machine(state: Path) -> psutil.Process:
    return await_value(lambda: machine(state), "a machine")
