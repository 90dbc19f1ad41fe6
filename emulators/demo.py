"""The main job, shown: a capacity order and an export, each in a machine of its own. `make demo`."""

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
from shared.client import ControlPlane, ControlPlaneError
from shared.domain.order import State
from shared.domain.spec import CapacitySpec, ExportSpec, NodeSize
from shared.signals import exit_when_told
from shared.wire.orders import OrderView

HOME: Final = Path(".launchyard/demo")
PI: Final = "01K9MHPYR07M6YMZ1QGR8DZB8S"
TITLE: Final = "Ostrel Valley Land Survey Records"
MODS: Final = "http://www.loc.gov/mods/v3"
INTERRUPTED: Final = 130
PATIENCE_SECONDS: Final = 600.0
SAYS: Final = re.compile(r"\[(worker|guest)\].*")
IN_THE_GUEST: Final = "started on Linux"
FULFILLED: Final = frozenset({State.RUNNING})
NEXT: Final = f"""\
  . .venv/bin/activate
  launchyard up                                    # the local stack, with machines; it runs until `launchyard down`
  launchyard export run {PI} --out out
  launchyard order create task -- uname -a         # a command in a machine of its own
  launchyard down"""
"""What a reader may type after the demo, as it stands."""
LIFE: Final = (State.CLAIMED, State.PROVISIONING, State.RUNNING, State.SUCCEEDED)

out = Console(highlight=False)


class DemoFailed(Exception):
    """Something did not come out as it should."""


@dataclass
class Steps:
    """What happened when, since the demo began."""

    began: datetime
    rows: list[tuple[str, datetime]] = field(default_factory=list)

    def now(self, what: str) -> None:
        self.rows.append((what, datetime.now(UTC)))

    def life(self, name: str, order: OrderView) -> None:
        self.rows.append((f"{name}: placed", order.created_at))
        self.rows.extend((f"{name}: {state}", order.entered[state]) for state in LIFE if state in order.entered)

    def table(self) -> Table:
        table = Table("step", "at", "took", title="Every step")
        before = self.began
        for what, at in sorted(self.rows, key=lambda row: row[1]):
            since, took = (at - self.began).total_seconds(), (at - before).total_seconds()
            table.add_row(what, f"{since:6.1f} s", f"{took:5.1f} s")
            before = at
        return table


def main() -> int:
    exit_when_told()
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
            environment = stack.up(settings, say)
            steps.now("the stack is up")
            with ControlPlane(environment["LAUNCHYARD_URL"], environment["LAUNCHYARD_CLIENT_KEY"]) as api:
                file = run_orders(api, settings.home, steps)
        steps.now("everything is stopped")
    except (StartFailed, ControlPlaneError, DemoFailed) as error:
        out.print(f"The demo failed: {error}", style="red", markup=False)
        out.print(f"The logs are in {settings.home / 'logs'}.", markup=False)
        return 1
    out.print(steps.table())
    out.print(f"{file}: {file.stat().st_size} bytes, valid MODS 3.8, “{TITLE}”", markup=False, soft_wrap=True)
    out.print(f"\nNext, from here:\n{NEXT}", markup=False, soft_wrap=True)
    return 0


def run_orders(api: ControlPlane, home: Path, steps: Steps) -> Path:
    """Place both orders, wait for both, fetch the file, release the capacity; return the file."""
    say("placing a capacity order and an export order; their machines boot side by side")
    capacity = api.create_order(CapacitySpec(datacenter=DATACENTER, node_size=NodeSize.TINY), str(uuid4()))
    export = api.create_order(ExportSpec(pi=PI), str(uuid4()))
    with ThreadPoolExecutor(2) as pool:
        fulfilled = pool.submit(follow, api, capacity.id, PATIENCE_SECONDS, said("capacity"), FULFILLED)
        exported = pool.submit(follow, api, export.id, PATIENCE_SECONDS, said("export"))
    require(fulfilled.result(), State.RUNNING)
    steps.life("export", require(exported.result(), State.SUCCEEDED))
    file = fetch(api, exported.result(), home / "output")
    steps.now("export: downloaded and valid")
    api.cancel_order(capacity.id)
    released = follow(api, capacity.id, PATIENCE_SECONDS, said("capacity"))
    steps.life("capacity", require(released, State.SUCCEEDED))
    show_serial_log(home, exported.result())
    return file


def fetch(api: ControlPlane, order: OrderView, folder: Path) -> Path:
    """Download the record and check it against the schema and the entity it describes."""
    file = download(api, order, folder)
    if wrong := mods.validate(file):
        raise DemoFailed("the file is not valid MODS 3.8: " + "; ".join(wrong))
    title = etree.parse(file).findtext("m:titleInfo/m:title", namespaces={"m": MODS})
    if title != TITLE:
        raise DemoFailed(f"the record's title is {title!r}")
    return file


def show_serial_log(home: Path, order: OrderView) -> None:
    """Print what the worker said on its machine's serial console."""
    log = home / "launcher" / "logs" / f"{order.id}-{order.epoch}.log"
    said = [SAYS.search(line) for line in log.read_text(errors="replace").splitlines()]
    lines = [line.group() for line in said if line is not None]
    if not any(IN_THE_GUEST in line for line in lines):
        raise DemoFailed(f"the worker did not say in {log} that it runs on the guest's kernel")
    say(f"the export's serial console, {log}:")
    for line in lines:
        say(f"  {line}")


def require(order: OrderView, state: State) -> OrderView:
    if order.state is not state:
        raise DemoFailed(f"order {order.id} is {order.state}, not {state}: {order.reason}: {order.message}")
    return order


def said(name: str) -> Callable[[OrderView], None]:
    return lambda order: say(f"  {name}: {order.state}")


def say(line: str) -> None:
    out.print(f"{time.strftime('%H:%M:%S')}  {line}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
