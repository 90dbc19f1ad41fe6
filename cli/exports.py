"""`launchyard export …`: place an export, wait for it, and download its file."""

from typing import Annotated
from uuid import uuid4

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from cli import view
from cli.results import Folder, download, follow
from cli.settings import open_control_plane
from shared.client import ControlPlane
from shared.domain.order import State
from shared.domain.spec import ExportSpec
from shared.exit_codes import FAILED
from shared.wire.orders import OrderView

app = typer.Typer(help="Run exports.", no_args_is_help=True)


@app.callback()
def exports() -> None:
    """Run exports."""


@app.command()
def run(
    pi: Annotated[str, typer.Argument(help="The entity's 26-character identifier.")],
    to: Folder,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the export to end.", min=1)] = 600,
) -> None:
    """Export an entity's MODS record in a machine of its own, and download it. Exit 1 if it fails."""
    with open_control_plane() as api:
        order = _run(api, ExportSpec(pi=pi), timeout)
        if order.state is not State.SUCCEEDED:
            view.print_end(order)
            raise typer.Exit(FAILED)
        file = download(api, order, to)
    view.print_summary(order, file)


def _run(api: ControlPlane, spec: ExportSpec, timeout: float) -> OrderView:
    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=view.out, transient=True) as progress:
        bar = progress.add_task("placing the order", total=None)
        order = api.create_order(spec, str(uuid4()))
        view.print_placed(order)
        return follow(api, order.id, timeout, on_change=lambda now: progress.update(bar, description=now.state))
