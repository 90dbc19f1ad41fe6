"""Prints what a deployment costs a month: `python -m bench.costs` runs one order of each kind and counts.

The figures are upper bounds (`bench.one_of_each`). What repeats while an order runs is multiplied by how often our
launchers and workers do it.
"""

import io
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Final

from rich.console import Console
from rich.table import Table

from bench.one_of_each import KINDS, CostedDeployment, Life, deployment, registered
from bench.operations import Operations, Unit
from bench.prices import DAYS, INSTANCE_SECOND, PUBSUB, cost
from emulators.processes import StartFailed
from functions.domain.access import Role
from shared.signals import exit_on_signals

AN_HOUR: Final = {"renewals": 180, "worker's looks": 120, "client's looks": 60, "progress": 1200}
"""How often each happens while an order runs: every 20, 30, 60 and 3 s."""
HOURS: Final = {"capacity": 24.0, "export": 1 / 6, "task": 1 / 6, "agent's job": 1 / 2}
"""How long an order of each kind is taken to run."""
VOLUMES: Final = (1, 100, 10_000)
"""Orders a day."""
DAY: Final = 86_400
BUSY: Final = DAYS * DAY * INSTANCE_SECOND
"""An instance that always serves a request."""
EVERY: Final = {"the sweep": 60, "a launcher": 20, "an agent launcher that polls": 30}
"""How often each sends a request, in seconds, whether there are orders or not."""
PULL_SECONDS: Final = 5
"""How often a launcher asks Pub/Sub for bells."""


def main() -> None:
    exit_on_signals()
    with redirect_stdout(io.StringIO()), deployment() as here:  # the functions log on standard output
        idle, lives = without_orders(here), {name: run(here) for name, run in KINDS.items()}
    counts = {name: whole(name, life) for name, life in lives.items()}
    out = Console()
    out.print(
        counted("What one order takes", {**{f"{name}, once": life.once for name, life in lives.items()}, **counts})
    )
    out.print(counted("What one request takes if nothing is to do", idle))
    out.print(bill(idle, counts))


def without_orders(here: CostedDeployment) -> dict[str, Operations]:
    """Return what each sends again and again although there are no orders: one request of each."""
    poll = f"/launcher/jobs?launcher_id={registered(here)['launcher_id']}"
    sent = {
        "the sweep": here.sweep,
        "a launcher": here.heartbeat,
        "an agent launcher that polls": lambda: here.ask(Role.LAUNCHER, "GET", poll),
    }
    return {name: here.meter.during(send) for name, send in sent.items()}


def whole(kind: str, life: Life) -> Operations:
    """Return what one order takes from its creation until nothing is left to do for it."""
    counts = Counter(life.once)
    for name, each in life.repeats.items():
        counts += times(each, AN_HOUR[name] * HOURS[kind])
    return counts


def times(each: Operations, factor: float) -> Operations:
    return Counter({unit: round(count * factor) for unit, count in each.items()})


def counted(title: str, rows: Mapping[str, Operations]) -> Table:
    table = Table("", *Unit, title=title)
    for name, counts in rows.items():
        table.add_row(name, *(f"{counts[unit]:,}" if counts[unit] else "" for unit in Unit))
    return table


def bill(idle: Mapping[str, Operations], counts: Mapping[str, Operations]) -> Table:
    table = Table("", "dollars a month", "after the free tiers", title="What it costs")
    for name, each in idle.items():
        a_day = times(each, DAY / EVERY[name])
        pulls = DAYS * DAY / PULL_SECONDS * PUBSUB if name == "a launcher" else 0
        table.add_row(name, dollars(cost(a_day) + pulls), dollars(cost(a_day, free=True)))
    table.add_row("polls that wait, however many", dollars(BUSY), "")
    table.add_section()
    for name, one in counts.items():
        for volume in VOLUMES:
            a_day = times(one, volume)
            row = f"{volume:,} a day: {name}, {HOURS[name]:.2g} h each"
            table.add_row(row, dollars(cost(a_day)), dollars(cost(a_day, free=True)))
        table.add_section()
    return table


def dollars(amount: float) -> str:
    return f"{amount:,.2f}"


if __name__ == "__main__":
    try:
        main()
    except StartFailed as error:
        sys.exit(str(error))
