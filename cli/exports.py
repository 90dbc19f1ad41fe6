"""`launchyard export …`: place an export, wait for it, and fetch its file."""

from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from cli.fetching import fetch
from cli.session import control_plane
from cli.view import out
from cli.watching import follow
from shared.api import OrderView
from shared.control_plane import ControlPlane
from shared.domain.order import State
from shared.domain.spec import ExportSpec

app = typer.Typer(help="Run exports.", no_args_is_help=True)


@app.callback()
def exports() -> None:
    """Run exports."""


@app.command()
def run(
    pi: Annotated[str, typer.Argument(help="The entity's 26-character identifier.")],
    to: Annotated[Path, typer.Option("--out", help="Folder for the file; made where it is missing.", file_okay=False)],
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the export's end.", min=1)] = 600,
) -> None:
    """Export an entity's MODS record in a machine of its own, and download it; exit 1 where it fails."""
    with control_plane() as api:
        order = _run(api, ExportSpec(pi=pi), timeout)
        if order.state is not State.SUCCEEDED:
            out.print(f"[red]{order.state}[/]: {order.reason}: {order.message or 'no message'}")
            raise typer.Exit(1)
        file = fetch(api, order, to)
    _summarise(order, file)


def _run(api: ControlPlane, spec: ExportSpec, timeout: float) -> OrderView:
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=out, transient=True) as progress:
        bar = progress.add_task("placing the order", total=None)
        order = api.create_order(spec, str(uuid4()))
        out.print(f"order {order.id}", markup=False)
        return follow(api, order.id, timeout, seen=lambda now: progress.update(bar, description=now.state))


def _summarise(order: OrderView, file: Path) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("file", f"{file}")
    table.add_row("size", f"{file.stat().st_size} bytes")
    table.add_row("attempts", f"{order.attempt}")
    for name, value in sorted(order.metrics.items()):
        table.add_row(name.replace("_", " "), f"{value}")
    out.print(table)
