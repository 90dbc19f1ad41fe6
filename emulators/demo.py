"""`make demo`: runs a capacity order and an export, each in its own machine, and shows every step."""

import re
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

from lxml import etree
from rich.console import Console
from rich.table import Table

from cli.results import download, follow
from emulators import mods, stack
from emulators.processes import StartFailed
from emulators.settings import DATACENTER, StackSettings, free_ports
from shared.client import ControlPlane
from shared.client_errors import ControlPlaneError
from shared.domain.order import State
from shared.domain.spec import CapacitySpec, ExportSpec, NodeSize
from shared.exit_codes import FAILED, INTERRUPTED
from shared.signals import exit_on_signals
from shared.wire.orders import OrderView

HOME: Final = Path(".launchyard/demo")
PI: Final = "01K9MHPYR07M6YMZ1QGR8DZB8S"
TITLE: Final = "Ostrel Valley Land Survey Records"
MODS: Final = "http://www.loc.gov/mods/v3"
TIMEOUT_SECONDS: Final = 600.0
SERIAL_LINE: Final = re.compile(r"\[(worker|guest)\].*")
IN_THE_GUEST: Final = "started on Linux"
FULFILLED: Final = frozenset({State.RUNNING})
NEXT: Final = f"""\
  . .venv/bin/activate
  launchyard up                                    # the local stack, with machines; it runs until `launchyard down`
  launchyard export run {PI} --out out
  launchyard order create task -- uname -a         # a command in a machine of its own
  launchyard down"""
"""Commands that a reader can run after the demo."""
STATES: Final = (State.CLAIMED, State.PROVISIONING, State.RUNNING, State.SUCCEEDED)

out = Console(highlight=False)


class DemoFailed(Exception):
    """A result of the demo is wrong."""


@dataclass
class Steps:
    """The times of all steps of the demo."""

    began: datetime
    rows: list[tuple[str, datetime]] = field(default_factory=list)

    def add_now(self, what: str) -> None:
        self.rows.append((what, datetime.now(UTC)))

    def add_order(self, name: str, order: OrderView) -> None:
        self.rows.append((f"{name}: placed", order.created_at))
        self.rows.extend((f"{name}: {state}", order.entered[state]) for state in STATES if state in order.entered)

    def table(self) -> Table:
        table = Table("step", "at", "took", title="Every step")
        before = self.began
        for what, at in sorted(self.rows, key=lambda row: row[1]):
            since, took = (at - self.began).total_seconds(), (at - before).total_seconds()
            table.add_row(what, f"{since:6.1f} s", f"{took:5.1f} s")
            before = at
        return table


def main() -> int:
    exit_on_signals()
    try:
        return demonstrate()
    except KeyboardInterrupt:
        return INTERRUPTED


def demonstrate() -> int:
    steps = Steps(datetime.now(UTC))
    home = HOME / f"{steps.began:%Y%m%d-%H%M%S-%f}"
    settings = StackSettings.model_validate({"home": home, **free_ports()})
    try:
        with ExitStack() as cleanup:
            cleanup.callback(stack.down, settings.home)
            environment = stack.up(settings, print_step)
            steps.add_now("the stack is up")
            with ControlPlane(environment["LAUNCHYARD_URL"], environment["LAUNCHYARD_CLIENT_KEY"]) as api:
                file = run_orders(api, settings.home, steps)
        steps.add_now("everything is stopped")
    except (StartFailed, ControlPlaneError, DemoFailed) as error:
        out.print(f"The demo failed: {error}", style="red", markup=False)
        out.print(f"The logs are in {settings.home / 'logs'}.", markup=False)
        return FAILED
    out.print(steps.table())
    out.print(f"{file}: {file.stat().st_size} bytes, valid MODS 3.8, “{TITLE}”", markup=False, soft_wrap=True)
    out.print(f"\nNext, from here:\n{NEXT}", markup=False, soft_wrap=True)
    return 0


def run_orders(api: ControlPlane, home: Path, steps: Steps) -> Path:
    """Place both orders, wait for both, download the file, release the capacity order; return the file."""
    print_step("placing a capacity order and an export order; their machines boot in parallel")
    capacity = api.create_order(CapacitySpec(datacenter=DATACENTER, node_size=NodeSize.TINY), str(uuid4()))
    export = api.create_order(ExportSpec(pi=PI), str(uuid4()))
    with ThreadPoolExecutor(2) as pool:
        fulfilled = pool.submit(follow, api, capacity.id, TIMEOUT_SECONDS, print_state("capacity"), FULFILLED)
        exported = pool.submit(follow, api, export.id, TIMEOUT_SECONDS, print_state("export"))
    require(fulfilled.result(), State.RUNNING)
    steps.add_order("export", require(exported.result(), State.SUCCEEDED))
    file = download_record(api, exported.result(), home / "output")
    steps.add_now("export: downloaded and valid")
    api.cancel_order(capacity.id)
    released = follow(api, capacity.id, TIMEOUT_SECONDS, print_state("capacity"))
    steps.add_order("capacity", require(released, State.SUCCEEDED))
    show_serial_log(home, exported.result())
    return file


def download_record(api: ControlPlane, order: OrderView, folder: Path) -> Path:
    """Download the record and check it against the schema and the entity it describes."""
    file = download(api, order, folder)
    if wrong := mods.validate(file):
        raise DemoFailed("the file is not valid MODS 3.8: " + "; ".join(wrong))
    title = etree.parse(file).findtext("m:titleInfo/m:title", namespaces={"m": MODS})
    if title != TITLE:
        raise DemoFailed(f"the record's title is {title!r}")
    return file


def show_serial_log(home: Path, order: OrderView) -> None:
    """Print the worker's lines from its machine's serial console."""
    log = home / "launcher" / "logs" / f"{order.id}-{order.epoch}.log"
    lines = [found.group() for found in map(SERIAL_LINE.search, log.read_text(errors="replace").splitlines()) if found]
    if not any(IN_THE_GUEST in line for line in lines):
        raise DemoFailed(f"{log} does not show that the worker ran on the guest's kernel")
    print_step(f"the export's serial console, {log}:")
    for line in lines:
        print_step(f"  {line}")


def require(order: OrderView, state: State) -> OrderView:
    if order.state is not state:
        raise DemoFailed(f"order {order.id} is {order.state}, not {state}: {order.reason}: {order.message}")
    return order


def print_state(name: str) -> Callable[[OrderView], None]:
    return lambda order: print_step(f"  {name}: {order.state}")


def print_step(line: str) -> None:
    out.print(f"{time.strftime('%H:%M:%S')}  {line}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
